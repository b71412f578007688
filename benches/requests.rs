//! Cost of a GET over a kept-alive connection on loopback, as a ratio to the same hyper-util client
//! over plain hyper-rustls in the same run: without a `Public-Key-Pins` field in the response
//! (`absent`), and with a field whose pins are noted already (`unchanged`).
//!
//! `instructions` is the difference between two runs under callgrind, one of which makes twice as
//! many requests, so that one-time costs cancel. `cpu` is thread CPU time: the median of the ratios
//! of many rounds, in each of which both clients run. The server and the writer of the store have
//! their own threads, which are not counted.
#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

mod callgrind;
#[path = "../tests/common/mod.rs"]
mod common;
mod figures;

use std::fmt::Debug;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use common::pki::{Ca, Leaf};
use common::server::{HyperClient, Loopback, Names, Server};
use common::validated::built_in_anchors;
use common::{header_value, policy_with, provider};
use figures::{Figures, compare, cpu_time};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::header::Noted;
use pinhold::layer::NotePins;
use pinhold::{FileStorage, NotePinsLayer, PinStore, Pinning, PinningConnector, PinningVerifier};
use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::Service;
use tower_layer::Layer;

const HOST: &str = "example.com";
const URI: &str = "https://example.com/";
/// Rounds per figure; odd, so that the median is one of the values.
const ROUNDS: u32 = 401;
/// Requests per client and round, which take 1 to 3 ms.
const BATCH: u32 = 32;
/// Requests in the shorter run under callgrind.
const COUNTED: u32 = 500;

fn main() {
    if let Some(task) = callgrind::task() {
        return run_task(&task);
    }
    callgrind::require();
    let mut figures = Figures::default();
    for protocol in ["h1", "h2"] {
        for header in ["absent", "unchanged"] {
            let label = format!("kept-alive/{protocol}/{header}");
            let target = match header {
                "absent" => "<=1.02",
                _ => "<=1.03",
            };
            let [plain, pinned] = ["plain", "pinned"].map(|client| {
                let task = format!("{protocol} {header} {client}");
                callgrind::instructions("requests::counted", &task, COUNTED)
            });
            figures.add(&format!("{label}/instructions"), pinned / plain, target);
            let mut scene = Scene::new(protocol, header);
            let [_, pinned] = compare(ROUNDS, |_, client| {
                cpu_time(|| match client {
                    0 => scene.get_plain(BATCH),
                    _ => scene.get_pinned(BATCH),
                })
            });
            figures.add(&format!("{label}/cpu"), pinned.ratio, target);
        }
    }
    figures.conclude();
}

/// A server and two clients with one connection each.
struct Scene {
    runtime: Runtime,
    plain: PlainClient,
    pinned: NotePins<HyperClient>,
    connections: Arc<AtomicUsize>,
    /// Contains the file of the store.
    _folder: TempDir,
}

type PlainClient = Client<HttpsConnector<Loopback>, Empty<Bytes>>;

impl Scene {
    fn new(protocol: &str, header: &str) -> Self {
        let root = Ca::root("Root");
        let leaf = root.intermediate("CA").leaf(&[HOST]);
        let value = header_value(root.pin(), "max-age=5184000");
        let (address, connections) = match header {
            "absent" => serve(leaf, Vec::new()),
            _ => serve(leaf, vec![("public-key-pins", value)]),
        };
        let names = Names::default();
        names.point_to(HOST, address);
        let folder = tempfile::tempdir().unwrap();
        let store = PinStore::open(FileStorage::new(folder.path().join("noted.jsonl")));
        let mut scene = Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            plain: plain_client(protocol, &root, &names),
            pinned: pinned_client(protocol, &root, &names, store.unwrap()),
            connections,
            _folder: folder,
        };
        scene.warm_up(protocol, header);
        scene
    }

    fn warm_up(&mut self, protocol: &str, header: &str) {
        self.runtime.block_on(get(&mut self.plain, BATCH));
        let last = self.runtime.block_on(get(&mut self.pinned, BATCH));
        let version = match protocol {
            "h1" => http::Version::HTTP_11,
            _ => http::Version::HTTP_2,
        };
        assert_eq!(last.version(), version);
        let noted = (header == "unchanged").then_some(&Noted::Refreshed);
        assert_eq!(last.extensions().get(), noted);
    }

    fn get_plain(&mut self, requests: u32) {
        self.runtime.block_on(get(&mut self.plain, requests));
    }

    fn get_pinned(&mut self, requests: u32) {
        self.runtime.block_on(get(&mut self.pinned, requests));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let connections = self.connections.load(Ordering::SeqCst);
        assert_eq!(
            connections, 2,
            "expected one kept-alive connection per client"
        );
    }
}

/// Starts a server on its own thread, which runs until the program exits.
fn serve(leaf: Leaf, fields: Vec<(&'static str, String)>) -> (SocketAddr, Arc<AtomicUsize>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fields = fields.iter().map(|(name, value)| (*name, &**value));
            let server = Server::start(&leaf, &fields.collect::<Vec<_>>()).await;
            sender
                .send((server.address, server.connections.clone()))
                .unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

fn plain_client(protocol: &str, root: &Ca, names: &Names) -> PlainClient {
    let mut roots = RootCertStore::empty();
    roots.add(root.certificate()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider());
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_webpki_verifier(verifier.build().unwrap())
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only();
    let connector = match protocol {
        "h1" => connector
            .enable_http1()
            .wrap_connector(Loopback::new(names)),
        _ => connector
            .enable_http2()
            .wrap_connector(Loopback::new(names)),
    };
    Client::builder(TokioExecutor::new()).build(connector)
}

fn pinned_client(
    protocol: &str,
    root: &Ca,
    names: &Names,
    store: PinStore,
) -> NotePins<HyperClient> {
    let pinning = Pinning::builder()
        .static_pins(HOST, policy_with(root.pin()))
        .store(store)
        .build()
        .unwrap();
    let config = PinningVerifier::builder(pinning.clone())
        .with_anchors(built_in_anchors(&[root]))
        .with_provider(provider())
        .client_config()
        .unwrap();
    let connector = PinningConnector::builder(pinning.clone())
        .with_tls_config(config)
        .https_only();
    let connector = match protocol {
        "h1" => connector.http1_only(),
        _ => connector.http2_only(),
    };
    let connector = connector.wrap_connector(Loopback::new(names)).unwrap();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    NotePinsLayer::new(pinning).layer(client)
}

/// Sends requests one after the other, reads each response to its end, and returns the last one.
async fn get<S>(client: &mut S, requests: u32) -> http::Response<Bytes>
where
    S: Service<http::Request<Empty<Bytes>>, Response = http::Response<Incoming>, Error: Debug>,
{
    let mut last = None;
    for _ in 0..requests {
        let request = http::Request::get(http::Uri::from_static(URI));
        let response = client.call(request.body(Empty::new()).unwrap()).await;
        let (parts, body) = response.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!(&*body, b"ok");
        last = Some(http::Response::from_parts(parts, body));
    }
    last.unwrap()
}

/// Runs the task of a run under callgrind.
fn run_task(task: &str) {
    let mut words = task.split(' ');
    let [protocol, header, client, requests] = [(); 4].map(|()| words.next().unwrap());
    let mut scene = Scene::new(protocol, header);
    let requests = requests.parse().unwrap();
    match client {
        "plain" => counted(&mut || scene.get_plain(requests)),
        _ => counted(&mut || scene.get_pinned(requests)),
    };
}

/// Callgrind selects this function by its name and counts what it executes, on its thread.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
    black_box(());
}
