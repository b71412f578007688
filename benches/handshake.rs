//! What the session gate adds to the client's side of a resumed TLS handshake, as a ratio against
//! rustls with plain `WebPkiServerVerifier` and its own memory of sessions, in the same run.
//!
//! Prints a line per figure: `ratio`, name, value, target, separated by tabs. `instructions` are
//! those between two runs of this program under callgrind, one of which makes twice as many
//! handshakes: what happens once cancels. `cpu` is the median of the ratios of many rounds, in each
//! of which both clients take turns, in thread CPU time. Neither counts the server.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

mod callgrind;
#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use common::pki::{Ca, Leaf};
use common::server::server_config;
use common::tls::VERSIONS;
use common::validated::trusting;
use common::{pinned_to, provider};
use pinhold::{Pinning, PinningVerifier};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};

const HOST: &str = "example.com";
const NAMES: [&str; 2] = ["tls12", "tls13"];
const TARGET: &str = "<=1.01";
/// Rounds of one figure; odd, so that the median is one of them.
const ROUNDS: u32 = 401;
/// Handshakes of one client in one round: 1 to 3 ms.
const BATCH: u32 = 16;
/// Handshakes of the shorter run under callgrind.
const COUNTED: u32 = 200;

fn main() {
    if let Some(task) = callgrind::task() {
        return be_counted(&task);
    }
    let has_callgrind = callgrind::is_there();
    for (name, versions) in NAMES.into_iter().zip(VERSIONS) {
        if has_callgrind {
            let count = |client: &str| {
                let task = format!("{name} {client}");
                callgrind::instructions("handshake::counted", &task, COUNTED)
            };
            print(name, "instructions", count("pinned") / count("plain"));
        }
        let [mut plain, mut pinned] = Scene::new(versions).clients(clocked);
        print(name, "cpu", measure(&mut plain, &mut pinned));
    }
    if !has_callgrind {
        println!("no valgrind here: instructions were not counted");
    }
}

fn print(name: &str, unit: &str, value: f64) {
    println!("ratio\tresumed/{name}/{unit}\t{value:.4}\t{TARGET}");
}

/// A server and who it is.
struct Scene {
    root: Ca,
    leaf: Leaf,
    versions: &'static [&'static SupportedProtocolVersion],
}

impl Scene {
    fn new(versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        let root = Ca::root("Root");
        let leaf = root.intermediate("CA").leaf(&[HOST]);
        Self {
            root,
            leaf,
            versions,
        }
    }

    /// The plain one and the pinned one, each with a server of its own.
    fn clients(&self, run: Run) -> [Client; 2] {
        [self.plain(), self.pinned()].map(|config| {
            let server = server_config(&self.leaf, provider(), self.versions);
            Client::new(config, server, run)
        })
    }

    fn plain(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.certificate()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider());
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_webpki_verifier(verifier.build().unwrap())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    fn pinned(&self) -> ClientConfig {
        // The pin that matches is the last one of the path, the worst case.
        let pinning = Pinning::builder().static_pins(HOST, pinned_to(self.root.pin()));
        PinningVerifier::builder(pinning.build().unwrap(), trusting(&[&self.root]))
            .with_provider(provider())
            .with_protocol_versions(self.versions)
            .client_config()
            .unwrap()
    }
}

type Run = fn(&mut dyn FnMut()) -> Duration;

/// A client with sessions to resume, the server that it knows, and the time that it took so far.
struct Client {
    config: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    /// Runs a step of the client, and says how long it took.
    run: Run,
    spent: Duration,
}

impl Client {
    fn new(config: ClientConfig, server: ServerConfig, run: Run) -> Self {
        let mut client = Self {
            config: Arc::new(config),
            server: Arc::new(server),
            run: uncounted,
            spent: Duration::ZERO,
        };
        assert_eq!(client.handshake(), HandshakeKind::Full);
        // So many that tables and the memory of sessions have their final size.
        client.resume(BATCH);
        client.run = run;
        client
    }

    fn resume(&mut self, handshakes: u32) {
        for _ in 0..handshakes {
            assert_eq!(self.handshake(), HandshakeKind::Resumed);
        }
    }

    /// A handshake, and two bytes from the server, so that its tickets have come, too.
    fn handshake(&mut self) -> HandshakeKind {
        let mut server = Connection::from(ServerConnection::new(self.server.clone()).unwrap());
        let mut client = None;
        let config = self.config.clone();
        self.step(&mut || {
            let name = ServerName::try_from(HOST).unwrap();
            client = Some(ClientConnection::new(config.clone(), name).unwrap());
        });
        let mut client = Connection::from(client.unwrap());
        while client.is_handshaking() || server.is_handshaking() {
            self.exchange(&mut client, &mut server);
        }
        server.writer().write_all(b"ok").unwrap();
        self.exchange(&mut client, &mut server);
        let mut bytes = [0; 2];
        client.reader().read_exact(&mut bytes).unwrap();
        assert_eq!(client.handshake_kind(), server.handshake_kind());
        client.handshake_kind().unwrap()
    }

    fn step(&mut self, step: &mut dyn FnMut()) {
        self.spent += (self.run)(step);
    }

    /// All that the client has to say, then all that the server has.
    fn exchange(&mut self, client: &mut Connection, server: &mut Connection) {
        let mut bytes = Vec::new();
        self.step(&mut || {
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
        });
        take(server, &bytes);
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        self.step(&mut || take(client, &bytes));
    }
}

fn take(end: &mut Connection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        end.read_tls(&mut bytes).unwrap();
        end.process_new_packets().unwrap();
    }
}

fn measure(plain: &mut Client, pinned: &mut Client) -> f64 {
    let mut ratios = (0..ROUNDS)
        .map(|round| {
            // Taking turns in who goes first cancels what the first one warms up for the second.
            if round % 2 == 0 {
                let plain = time(plain);
                time(pinned) / plain
            } else {
                let pinned = time(pinned);
                pinned / time(plain)
            }
        })
        .collect::<Vec<_>>();
    ratios.sort_by(f64::total_cmp);
    *ratios.get(ratios.len() / 2).unwrap()
}

/// The client's thread CPU time of one batch.
fn time(client: &mut Client) -> f64 {
    client.spent = Duration::ZERO;
    client.resume(BATCH);
    client.spent.as_secs_f64()
}

fn uncounted(step: &mut dyn FnMut()) -> Duration {
    step();
    Duration::ZERO
}

fn clocked(step: &mut dyn FnMut()) -> Duration {
    let start = callgrind::cpu();
    step();
    callgrind::cpu() - start
}

/// Callgrind knows it by its name, and the clock of rustix fails under it.
#[inline(never)]
fn counted(step: &mut dyn FnMut()) -> Duration {
    step();
    black_box(Duration::ZERO)
}

/// Under callgrind.
fn be_counted(task: &str) {
    let mut words = task.split(' ');
    let [version, client, handshakes] = [(); 3].map(|()| words.next().unwrap());
    let version = NAMES.iter().position(|name| *name == version).unwrap();
    let [mut plain, mut pinned] = Scene::new(VERSIONS.get(version).unwrap()).clients(counted);
    let client = match client {
        "plain" => &mut plain,
        _ => &mut pinned,
    };
    client.resume(handshakes.parse().unwrap());
}
