//! Cost of new TLS 1.3 connections over loopback to a server whose chain was verified before,
//! through this crate's connector, as a ratio to plain hyper-rustls in the same run.
//!
//! `cpu` is the CPU time of the client's thread; `per-second` is the number of sequential
//! connections per second, which includes the server's time. `vs-accept-any` compares with a client
//! that accepts any chain, the minimum. All are medians of the ratios of many rounds, in each of
//! which all clients run. The server has its own thread and stores no sessions.
//!
//! For both crypto providers: `cargo bench --bench connections --features ring`.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

mod chains;
#[path = "../tests/common/mod.rs"]
mod common;
mod figures;
mod verifiers;

use std::net::SocketAddr;
use std::sync::Arc;

use chains::{Chains, HOST, Shape};
use common::pki::Leaf;
use common::server::{Loopback, Names, server_config};
use common::tls::VERSIONS;
use figures::{Figures, compare, cpu_time, wall_time};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use pinhold::{PinningConnector, PinningVerifier};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;
use tower::{Service, ServiceExt};
use verifiers::{Accepting, anchors, named_providers, pinning, plain};

/// Rounds per figure; odd, so that the median is one of the values.
const ROUNDS: u32 = 101;
/// Connections per client and round, which take 5 to 20 ms.
const BATCH: u32 = 8;

fn main() {
    let mut figures = Figures::default();
    for shape in [Shape::P256x2, Shape::LetsEncrypt] {
        let chains = Chains::new(shape, 0);
        for (name, provider) in named_providers() {
            let mut scene = Scene::new(&chains, &provider);
            // Warms up, so that tables and caches have their final size.
            (0..3).for_each(|client| scene.connect(client));
            let [_, cpu, accept_any] =
                compare(ROUNDS, |_, client| cpu_time(|| scene.connect(client)));
            let [_, wall] = compare(ROUNDS, |_, client| wall_time(|| scene.connect(client)));
            let (most_cpu, least_rate) = match (shape, name) {
                (Shape::LetsEncrypt, "ring") => ("<=0.25", ">=2.6"),
                (Shape::LetsEncrypt, _) => ("<=0.48", ">=1.6"),
                _ => ("<=0.74", ">=1.2"),
            };
            let label = format!("connections/{}/{name}", shape.name());
            figures.add(&format!("{label}/cpu"), cpu.ratio, most_cpu);
            let ratio = cpu.ratio / accept_any.ratio;
            figures.add(&format!("{label}/vs-accept-any/cpu"), ratio, "info");
            figures.add(
                &format!("{label}/per-second"),
                wall.ratio.recip(),
                least_rate,
            );
        }
    }
    figures.conclude();
}

/// The clients, which run on this thread, and their runtime.
struct Scene {
    runtime: Runtime,
    plain: HttpsConnector<Loopback>,
    pinned: PinningConnector<Loopback>,
    /// Accepts any chain, the minimum cost of a connection.
    accept_any: HttpsConnector<Loopback>,
}

impl Scene {
    fn new(chains: &Chains, provider: &Arc<CryptoProvider>) -> Self {
        let names = Names::default();
        names.point_to(HOST, serve(&chains.first, provider));
        let hyper_rustls = |verifier: Arc<dyn ServerCertVerifier>| {
            let config = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(VERSIONS[1])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth();
            let builder = HttpsConnectorBuilder::new().with_tls_config(config);
            let builder = builder.https_only().enable_http1().enable_http2();
            builder.wrap_connector(Loopback::new(&names))
        };
        let pinning = pinning(&chains.root);
        let config = PinningVerifier::builder(pinning.clone())
            .with_anchors(anchors(&chains.root))
            .with_provider(provider.clone())
            .with_protocol_versions(VERSIONS[1])
            .client_config();
        let pinned = PinningConnector::builder(pinning)
            .with_tls_config(config.unwrap())
            .https_only();
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            plain: hyper_rustls(plain(&chains.root, provider)),
            accept_any: hyper_rustls(Arc::new(Accepting(provider.clone()))),
            pinned: pinned.wrap_connector(Loopback::new(&names)).unwrap(),
        }
    }

    fn connect(&mut self, client: usize) {
        match client {
            0 => self.runtime.block_on(connect(&mut self.plain)),
            1 => self.runtime.block_on(connect(&mut self.pinned)),
            _ => self.runtime.block_on(connect(&mut self.accept_any)),
        }
    }
}

/// Makes the connections of one round, one after the other.
async fn connect<S: Service<http::Uri>>(connector: &mut S) {
    for _ in 0..BATCH {
        let connector = connector
            .ready()
            .await
            .unwrap_or_else(|_| panic!("not ready"));
        let uri = http::Uri::from_static("https://example.com/");
        let connection = connector.call(uri).await;
        drop(connection.unwrap_or_else(|_| panic!("no connection")));
    }
}

/// Starts a server on its own thread, which runs until the program exits and waits for the end of
/// each connection.
fn serve(leaf: &Leaf, provider: &Arc<CryptoProvider>) -> SocketAddr {
    let mut config = server_config(leaf, provider.clone(), VERSIONS[1]);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(socket).await.unwrap();
                let _ = stream.read(&mut [0; 16]).await;
            }
        });
    });
    receiver.recv().unwrap()
}
