//! What the pin check adds to `verify_server_cert` on a chain seen for the first time, as a ratio
//! against plain `WebPkiServerVerifier` in the same run.
//!
//! Once with pins alone, and once with a candidate that fails and an observer that is told of it,
//! every time. Observers have a thread of their own, whose time is not counted.
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

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use common::pki::{Ca, Leaf};
use common::{foreign_pin, now, pinned_to, providers};
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
const HOST: &str = "example.com";

fn main() {
    let root = Ca::root("Root");
    let two = root.intermediate("CA").leaf(&[HOST]);
    let three = root
        .intermediate("Upper CA")
        .intermediate("CA")
        .leaf(&[HOST]);
    for provider in providers() {
        let name = match format!("{:?}", provider.secure_random).contains("Ring") {
            true => "ring",
            false => "aws-lc-rs",
        };
        for leaf in [&two, &three] {
            let certificates = leaf.chain.len();
            for (way, pinning, target) in [
                ("", pinned(&root), "<=1.02"),
                ("/candidate-and-observer", observed(&root), "<=1.03"),
            ] {
                let ratio = measure(&root, leaf, &provider, pinning);
                println!("ratio\tverify/p256-{certificates}/{name}{way}\t{ratio:.4}\t{target}");
            }
        }
    }
}

/// The pin that matches is the last one of the path, the worst case.
fn pinned(root: &Ca) -> Pinning {
    let builder = Pinning::builder().static_pins(HOST, pinned_to(root.pin()));
    builder.build().unwrap()
}

/// A candidate that fails beside pins that pass: each connection is judged by both, and told.
fn observed(root: &Ca) -> Pinning {
    let policy = pinned_to(root.pin()).candidate([foreign_pin()]).unwrap();
    let builder = Pinning::builder().static_pins(HOST, policy);
    builder
        .observer(|event| drop(black_box(event.clone())))
        .build()
        .unwrap()
}

fn measure(root: &Ca, leaf: &Leaf, provider: &Arc<CryptoProvider>, pinning: Pinning) -> f64 {
    let mut store = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    store.add(root.certificate()).unwrap();
    let anchors = TrustAnchors::new().with_anchors(AnchorOrigin::BuiltIn, store.roots.clone());
    let plain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone());
    let plain = plain.build().unwrap();
    let pinned = PinningVerifier::builder(pinning, anchors)
        .with_provider(provider.clone())
        .signature_memory(0)
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
    let name = ServerName::try_from(HOST).unwrap();
    let (leaf, intermediates) = leaf.chain.split_first().unwrap();
    let start = cpu();
    for _ in 0..BATCH {
        let verdict = verifier.verify_server_cert(leaf, intermediates, &name, &[], now());
        black_box(verdict).unwrap();
    }
    cpu() - start
}

fn cpu() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}
