//! Cost of the client's side of a TLS handshake in memory, as a ratio to rustls with the plain
//! `WebPkiServerVerifier` in the same run: `resumed` with the resumption check, and `full` with a
//! chain that was verified before. `vs-accept-any` compares a full handshake with a client that
//! accepts any chain, the minimum.
//!
//! `instructions` is the difference between two runs under callgrind, one of which makes twice as
//! many handshakes, so that one-time costs cancel. `cpu` is thread CPU time: the median of the
//! ratios of many rounds, in each of which all clients run. Neither counts the server.
//! For both crypto providers: `cargo bench --bench handshake --features ring`.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

mod callgrind;
mod chains;
#[path = "../tests/common/mod.rs"]
mod common;
mod figures;
mod verifiers;

use std::hint::black_box;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chains::{Chains, HOST, Shape};
use common::pki::{Ca, Leaf};
use common::server::server_config;
use common::tls::VERSIONS;
use common::validated::built_in_anchors;
use common::{policy_with, provider};
use figures::{Figures, compare};
use pinhold::{Pinning, PinningVerifier};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, NamedGroup, RootCertStore,
    ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use verifiers::{Accepting, anchors, named_providers, pinning, plain};

const NAMES: [&str; 2] = ["tls12", "tls13"];
const GROUPS: [NamedGroup; 2] = [NamedGroup::X25519, NamedGroup::X25519MLKEM768];
/// Rounds per figure of resumed handshakes; odd, so that the median is one of the values.
const ROUNDS: u32 = 401;
/// Resumed handshakes per client and round, which take 1 to 3 ms.
const BATCH: u32 = 16;
/// Rounds per figure of full handshakes, which take longer.
const FULL_ROUNDS: u32 = 101;
const FULL_BATCH: u32 = 6;
/// Handshakes in the shorter run under callgrind.
const COUNTED: u32 = 200;
const FULL_COUNTED: u32 = 40;

fn main() {
    if let Some(task) = callgrind::task() {
        return run_task(&task);
    }
    callgrind::require();
    let mut figures = Figures::default();
    for (name, versions) in NAMES.into_iter().zip(VERSIONS) {
        let [plain, pinned] = [0, 1].map(|client| {
            let task = format!("{name} {client}");
            callgrind::instructions("handshake::counted", &task, COUNTED)
        });
        figures.add(
            &format!("resumed/{name}/instructions"),
            pinned / plain,
            "<=1.01",
        );
        let mut clients = Scene::new(versions).clients(clocked);
        let [_, pinned] = compare(ROUNDS, |_, client| clients[client].batch(BATCH));
        figures.add(&format!("resumed/{name}/cpu"), pinned.ratio, "<=1.01");
    }
    for shape in [Shape::P256x2, Shape::P256x3, Shape::LetsEncrypt] {
        let chains = Chains::new(shape, 0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chains");
        chains.write(&path);
        for (name, provider) in named_providers() {
            for group in GROUPS {
                let Some(provider) = with_group(&provider, group) else {
                    continue;
                };
                let label = format!("{}/{name}/{group:?}", shape.name());
                let task = format!("{} {name} {group:?} {}", shape.name(), path.display());
                measure_full(&chains, &provider, &label, &task, &mut figures);
            }
        }
    }
    figures.conclude();
}

/// Returns the provider with this key exchange alone, or `None` if it does not support it.
fn with_group(provider: &CryptoProvider, group: NamedGroup) -> Option<Arc<CryptoProvider>> {
    let mut provider = provider.clone();
    provider.kx_groups.retain(|known| known.name() == group);
    (!provider.kx_groups.is_empty()).then(|| provider.into())
}

fn measure_full(
    chains: &Chains,
    provider: &Arc<CryptoProvider>,
    label: &str,
    task: &str,
    figures: &mut Figures,
) {
    let target = match (label.contains("lets-encrypt"), label.contains("ring")) {
        (true, true) => "<=0.20",
        (true, false) => "<=0.43",
        (false, _) => "<=0.66",
    };
    let [plain, pinned, accept_any] = [0, 1, 2].map(|client| {
        let task = format!("{task} {client}");
        callgrind::instructions("handshake::counted", &task, FULL_COUNTED)
    });
    figures.add(
        &format!("full/{label}/instructions"),
        pinned / plain,
        target,
    );
    figures.add(
        &format!("vs-accept-any/{label}/instructions"),
        pinned / accept_any,
        "<=1.04",
    );
    let mut clients = full_clients(chains, provider, clocked);
    let [_, pinned, accept_any] =
        compare(FULL_ROUNDS, |_, client| clients[client].batch(FULL_BATCH));
    figures.add(&format!("full/{label}/cpu"), pinned.ratio, target);
    let ratio = pinned.ratio / accept_any.ratio;
    figures.add(&format!("vs-accept-any/{label}/cpu"), ratio, "<=1.04");
}

/// Returns the plain client, the pinned one, and one that accepts any chain. Their servers store no
/// sessions.
fn full_clients(chains: &Chains, provider: &Arc<CryptoProvider>, run: Run) -> [Client; 3] {
    let config = |verifier: Arc<dyn ServerCertVerifier>| {
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(VERSIONS[1]).unwrap();
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    };
    let pinned = PinningVerifier::builder(pinning(&chains.root))
        .with_anchors(anchors(&chains.root))
        .with_provider(provider.clone())
        .with_protocol_versions(VERSIONS[1])
        .client_config();
    let accept_any = config(Arc::new(Accepting(provider.clone())));
    let plain = config(plain(&chains.root, provider));
    [plain, pinned.unwrap(), accept_any].map(|config| {
        let mut server = server_config(&chains.first, provider.clone(), VERSIONS[1]);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Client::new(config, server, HandshakeKind::Full, run)
    })
}

/// The certificates and TLS versions of a server.
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

    /// Returns the plain and the pinned client, each with its own server.
    fn clients(&self, run: Run) -> [Client; 2] {
        [self.plain(), self.pinned()].map(|config| {
            let server = server_config(&self.leaf, provider(), self.versions);
            Client::new(config, server, HandshakeKind::Resumed, run)
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
        // The pins match the last key of the path, the worst case.
        let pinning = Pinning::builder().static_pins(HOST, policy_with(self.root.pin()));
        PinningVerifier::builder(pinning.build().unwrap())
            .with_anchors(built_in_anchors(&[&self.root]))
            .with_provider(provider())
            .with_protocol_versions(self.versions)
            .client_config()
            .unwrap()
    }
}

type Run = fn(&mut dyn FnMut()) -> Duration;

/// A client, its server, and the time that the client has used.
struct Client {
    config: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    /// The expected kind of every handshake after the first.
    kind: HandshakeKind,
    /// Runs a step of the client and returns its duration.
    run: Run,
    spent: Duration,
}

impl Client {
    fn new(config: ClientConfig, server: ServerConfig, kind: HandshakeKind, run: Run) -> Self {
        let mut client = Self {
            config: Arc::new(config),
            server: Arc::new(server),
            kind,
            run: uncounted,
            spent: Duration::ZERO,
        };
        assert_eq!(client.handshake(), HandshakeKind::Full);
        // Warms up, so that tables and the session store have their final size.
        client.batch(BATCH);
        client.run = run;
        client
    }

    /// Returns the client's time for this many handshakes.
    fn batch(&mut self, handshakes: u32) -> Duration {
        self.spent = Duration::ZERO;
        for _ in 0..handshakes {
            assert_eq!(self.handshake(), self.kind);
        }
        self.spent
    }

    /// Makes a handshake and receives two bytes from the server, which follow its session tickets.
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

    /// Transfers everything the client has to send, then everything the server has.
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

fn uncounted(step: &mut dyn FnMut()) -> Duration {
    step();
    Duration::ZERO
}

fn clocked(step: &mut dyn FnMut()) -> Duration {
    let start = figures::cpu();
    step();
    figures::cpu() - start
}

/// Callgrind selects this function by its name. The clock of rustix fails under callgrind.
#[inline(never)]
fn counted(step: &mut dyn FnMut()) -> Duration {
    step();
    black_box(Duration::ZERO)
}

/// Runs the task of a run under callgrind.
fn run_task(task: &str) {
    let words = task.split(' ').collect::<Vec<_>>();
    let (clients, client, handshakes) = match words[..] {
        [shape, name, group, path, client, handshakes] => {
            let group = GROUPS
                .into_iter()
                .find(|known| format!("{known:?}") == group);
            let mut all = named_providers().into_iter();
            let (_, provider) = all.find(|(known, _)| *known == name).unwrap();
            let provider = with_group(&provider, group.unwrap()).unwrap();
            let chains = Chains::read(Shape::named(shape), Path::new(path));
            let clients = Vec::from(full_clients(&chains, &provider, counted));
            (clients, client, handshakes)
        }
        [version, client, handshakes] => {
            let version = NAMES.iter().position(|name| *name == version).unwrap();
            let clients = Scene::new(VERSIONS[version]).clients(counted);
            (Vec::from(clients), client, handshakes)
        }
        _ => panic!("unknown task: {task}"),
    };
    let mut client = clients.into_iter().nth(client.parse().unwrap()).unwrap();
    client.batch(handshakes.parse().unwrap());
}
