//! Cost of a self-test with Mozilla's roots, in milliseconds of thread CPU time.
//!
//! For both crypto providers: `cargo bench --bench self_test --features ring,self-test`.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod figures;

use common::{policy_with, providers, unrelated_pin};
use figures::{Figures, compare, cpu_time};
use pinhold::{Pinning, PinningVerifier, TrustAnchors};

const ROUNDS: u32 = 51;

fn main() {
    let mut figures = Figures::default();
    for provider in providers() {
        let is_ring = format!("{:?}", provider.secure_random).contains("Ring");
        let name = if is_ring { "ring" } else { "aws-lc-rs" };
        let builder = Pinning::builder().static_pins("example.com", policy_with(unrelated_pin()));
        let pinning = builder.build().unwrap();
        let config = PinningVerifier::builder(pinning.clone())
            .with_anchors(TrustAnchors::webpki_roots())
            .with_provider(provider)
            .client_config()
            .unwrap();
        let first = cpu_time(|| drop(pinning.self_test(&config).unwrap()));
        let milliseconds = first.as_secs_f64() * 1000.0;
        figures.add(&format!("self_test/{name}/first_ms"), milliseconds, "");
        let [all] = compare(ROUNDS, |_, _| {
            cpu_time(|| drop(pinning.self_test(&config).unwrap()))
        });
        let milliseconds = all.seconds * 1000.0;
        figures.add(&format!("self_test/{name}/ms"), milliseconds, "<=20");
    }
    figures.conclude();
}
