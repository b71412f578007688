//! Latency of [`Pinning::check`] while another thread notes 100,000 hosts in a store with a file:
//! the 99.9th percentile (`p99.9`) as a ratio to the median of the same period.
//!
//! Measured in wall time, because a user also waits while other threads, such as the writer of the
//! file, occupy the processor.
#![allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod figures;

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use common::header::parse;
use common::pki::Ca;
use common::server::server_config;
use common::tls::VERSIONS;
use common::validated::built_in_anchors;
use common::{Clock, header_value, now, policy_with, provider};
use figures::{Figures, quantile};
use http::Extensions;
use hyper_util::client::legacy::connect::Connection;
use hyper_util::rt::TokioIo;
use pinhold::header::{Noted, PinHeader};
use pinhold::{
    Decision, FileStorage, Host, PinStore, Pinning, PinningConnector, PinningVerifier,
    ValidatedChain, VerifiedConnection,
};
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tower::{Service, ServiceExt, service_fn};

const HOSTS: u32 = 100_000;

fn main() {
    let root = Ca::root("Root");
    let header = header_value(root.pin(), "max-age=5184000");
    let header = parse(header).unwrap();
    // Each host needs a validated chain for its name before it can be noted.
    let chains = Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap()
        .block_on(chains(&root));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // All hosts are first-seen, and may fill a quarter of the capacity.
    let store = PinStore::builder()
        .capacity(4 * usize::try_from(HOSTS).unwrap())
        .open(FileStorage::new(folder.path().join("noted.jsonl")))
        .unwrap();
    let pinning = Pinning::builder()
        .time_provider(Clock::new())
        .static_pins("pinned.example", policy_with(root.pin()))
        .store(store);
    let pinning = pinning.build().unwrap();
    let times = thread::scope(|scope| {
        let noting = scope.spawn(|| note(&pinning, &header, &chains));
        let host = Host::parse("pinned.example").unwrap();
        let mut times = Vec::new();
        while !noting.is_finished() {
            let start = Instant::now();
            let decision = black_box(pinning.check(&host, chains.first().unwrap(), now()));
            times.push(start.elapsed().as_nanos() as f64);
            assert!(matches!(decision, Decision::Pass));
        }
        times
    });
    let mut figures = Figures::default();
    let [median, tail] = [0.5, 0.999].map(|part| quantile(times.clone(), part));
    figures.add("noting/check/p99.9", tail / median, "<=20");
    let longest = quantile(times.clone(), 1.0);
    figures.add("noting/check/longest", longest / median, "info");
    println!(
        "{} checks: median {median:.0} ns, p99.9 {tail:.0} ns, longest {longest:.0} ns",
        times.len()
    );
    figures.conclude();
}

fn note(pinning: &Pinning, header: &PinHeader, chains: &[ValidatedChain]) {
    for chain in chains {
        let noted = pinning.note(chain.host().unwrap(), header, chain, now());
        assert_eq!(noted, Noted::Added);
    }
}

/// Returns one validated chain per host, from handshakes of an unpinned client.
async fn chains(root: &Ca) -> Vec<ValidatedChain> {
    let leaf = root.leaf(&["*.hosts.example"]);
    let config = server_config(&leaf, provider(), VERSIONS[1]);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let transport = service_fn(move |_: http::Uri| {
        let acceptor = acceptor.clone();
        async move {
            let (client, server) = UnixStream::pair().unwrap();
            tokio::spawn(acceptor.accept(server));
            Ok::<_, Infallible>(TokioIo::new(client))
        }
    });
    let pinning = Pinning::builder().time_provider(Clock::new());
    let pinning = pinning.build().unwrap();
    let config = PinningVerifier::builder(pinning.clone())
        .with_anchors(built_in_anchors(&[root]))
        .with_provider(provider())
        .client_config();
    let connector = PinningConnector::builder(pinning).with_tls_config(config.unwrap());
    let mut connector = connector.https_only().wrap_connector(transport).unwrap();
    let mut chains = Vec::new();
    for number in 0..HOSTS {
        let uri = format!("https://host-{number}.hosts.example/");
        let connector = connector.ready().await.unwrap();
        let stream = connector.call(uri.parse().unwrap()).await.unwrap();
        let mut extensions = Extensions::new();
        stream.connected().get_extras(&mut extensions);
        let connection = extensions.get::<VerifiedConnection>().unwrap();
        chains.push(connection.chain().clone());
    }
    chains
}
