//! Cost of building a verifier, a configuration and a connector with Mozilla's roots and one static
//! pin, as a ratio to plain hyper-rustls in the same run, in thread CPU time.
//!
//! For both crypto providers: `cargo bench --bench startup --features ring`.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod figures;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use common::{policy_with, providers, unrelated_pin};
use figures::{Figures, compare, cpu_time};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use pinhold::{Pinning, PinningConnector, PinningVerifier, TrustAnchors};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};

const ROUNDS: u32 = 201;
/// Connectors built per variant and round.
const BATCH: u32 = 20;

fn main() {
    let mut figures = Figures::default();
    for provider in providers() {
        let is_ring = format!("{:?}", provider.secure_random).contains("Ring");
        let name = if is_ring { "ring" } else { "aws-lc-rs" };
        let [_, pinned] = compare(ROUNDS, |_, variant| match variant {
            0 => batch(|| plain(&provider)),
            _ => batch(|| pinned(&provider)),
        });
        figures.add(&format!("startup/{name}/cpu"), pinned.ratio, "<=1.2");
    }
    figures.conclude();
}

fn batch<T>(build: impl Fn() -> T) -> Duration {
    cpu_time(|| {
        for _ in 0..BATCH {
            drop(black_box(build()));
        }
    })
}

fn plain(provider: &Arc<CryptoProvider>) -> HttpsConnector<HttpConnector> {
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    builder.https_only().enable_http1().enable_http2().build()
}

fn pinned(provider: &Arc<CryptoProvider>) -> PinningConnector<HttpConnector> {
    let builder = Pinning::builder().static_pins("example.com", policy_with(unrelated_pin()));
    let pinning = builder.build().unwrap();
    let verifier =
        PinningVerifier::builder(pinning.clone()).with_anchors(TrustAnchors::webpki_roots());
    let config = verifier.with_provider(Arc::clone(provider));
    PinningConnector::builder(pinning)
        .with_tls_config(config.client_config().unwrap())
        .https_only()
        .build()
        .unwrap()
}
