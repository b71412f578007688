//! What the pin check adds to `verify_server_cert` on a chain seen for the first time, as a ratio
//! against plain `WebPkiServerVerifier` in the same run.
//!
//! Prints a line per figure: `ratio`, name, value, target, separated by tabs. Each value is the
//! median of the ratios of many rounds; in each round both verifiers take turns, in thread CPU
//! time. Run `cargo bench --bench verify --features ring` for both crypto providers.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::Duration;

use common::pki::{Ca, Leaf};
use common::{now, pinned_to, providers};
use pinhold::{AnchorOrigin, Pinning, PinningVerifier, TrustAnchors};
use rustix::time::{ClockId, clock_gettime};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;

/// Rounds of one figure; odd, so that the median is one of them.
const ROUNDS: usize = 301;
/// Verifications of one verifier in one round: about 2 ms.
const BATCH: usize = 16;
const TARGET: &str = "<=1.02";

fn main() {
    let root = Ca::root("Root");
    let two = root.intermediate("CA").leaf(&["example.com"]);
    let three = root
        .intermediate("Upper CA")
        .intermediate("CA")
        .leaf(&["example.com"]);
    for provider in providers() {
        let name = match format!("{:?}", provider.secure_random).contains("Ring") {
            true => "ring",
            false => "aws-lc-rs",
        };
        for leaf in [&two, &three] {
            let ratio = measure(&root, leaf, &provider);
            let certificates = leaf.chain.len();
            println!("ratio\tverify/p256-{certificates}/{name}\t{ratio:.4}\t{TARGET}");
        }
    }
}

fn measure(root: &Ca, leaf: &Leaf, provider: &Arc<CryptoProvider>) -> f64 {
    let mut store = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    store.add(root.certificate()).unwrap();
    let anchors = TrustAnchors::new().with_anchors(AnchorOrigin::BuiltIn, store.roots.clone());
    let plain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone());
    let plain = plain.build().unwrap();
    // The pin that matches is the last one of the path, the worst case.
    let pinning = Pinning::builder()
        .static_pins("example.com", pinned_to(root.pin()))
        .build()
        .unwrap();
    let pinned = PinningVerifier::builder(pinning, anchors)
        .with_provider(provider.clone())
        .verifier_without_session_gate()
        .unwrap();
    let mut ratios = (0..ROUNDS)
        .map(|round| {
            // Taking turns in who goes first cancels what the first one warms up for the second.
            if round % 2 == 0 {
                let plain = time(&*plain, leaf);
                time(&pinned, leaf).as_secs_f64() / plain.as_secs_f64()
            } else {
                let pinned = time(&pinned, leaf);
                pinned.as_secs_f64() / time(&*plain, leaf).as_secs_f64()
            }
        })
        .collect::<Vec<_>>();
    ratios.sort_by(f64::total_cmp);
    *ratios.get(ROUNDS / 2).unwrap()
}

/// Thread CPU time of one batch.
fn time(verifier: &dyn ServerCertVerifier, leaf: &Leaf) -> Duration {
    let name = ServerName::try_from("example.com").unwrap();
    let (leaf, intermediates) = leaf.chain.split_first().unwrap();
    let start = cpu();
    for _ in 0..BATCH {
        let verdict = verifier.verify_server_cert(leaf, intermediates, &name, &[], now());
        std::hint::black_box(verdict).unwrap();
    }
    cpu() - start
}

fn cpu() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}
