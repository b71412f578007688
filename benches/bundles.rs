//! Pin bundles with 1,000 hosts: the cost of applying one, without a write to a disk, as a ratio to
//! reading and setting a pin file with the same hosts; and that of a lookup with a bundle in effect as a
//! ratio to one without.
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

use std::fmt::Write;
use std::hint::black_box;

use common::bundles::{Body, ISSUED, Operator, pins};
use common::pki::Ca;
use common::validated::{built_in_anchors, verified_chain};
use common::{at, provider};
use figures::{Figures, compare, cpu_time};
use pinhold::bundle::PinBundles;
use pinhold::pin_file::PinFile;
use pinhold::{Decision, Host, Pinning, SpkiFingerprint, ValidatedChain};

const HOSTS: u32 = 1000;
const HOST: &str = "host-77.apps.example";
/// The number of lookups in one round.
const LOOKUPS: u32 = 2000;

fn main() {
    let mut figures = Figures::default();
    let root = Ca::root("Root");
    let text = file(root.pin());
    apply(&text, &mut figures);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let leaf = root.leaf(&[HOST]);
    let anchors = built_in_anchors(&[&root]);
    let chain = verified_chain(&leaf, HOST, &anchors);
    let chain = runtime.unwrap().block_on(chain);
    lookup(&text, &chain, &mut figures);
    figures.conclude();
}

/// Returns the text of a pin file whose hosts all have `pin` and a backup pin.
fn file(pin: SpkiFingerprint) -> String {
    let backup = pins(7)[0];
    let mut text = "{ \"version\": 1, \"policies\": [\n".to_owned();
    for number in 0..HOSTS {
        let comma = if number + 1 < HOSTS { "," } else { "" };
        let host = format!("host-{number}.apps.example");
        writeln!(
            text,
            r#"    {{ "hosts": ["{host}"], "pins": ["{pin}", "{backup}"] }}{comma}"#
        )
        .unwrap();
    }
    text + "  ] }"
}

fn bundles(operator: &Operator) -> PinBundles {
    let built_in = Body::new(1, [("other.example.com", pins(1))]);
    PinBundles::new(operator.root.clone(), operator.sign(&built_in)).with_provider(provider())
}

/// A store in memory costs no write.
fn apply(text: &str, figures: &mut Figures) {
    let operator = Operator::default();
    let body = Body::new(2, []).with("pins", text);
    let bundle = operator.sign(&body);
    let [file, ours] = compare(101, |_, variant| {
        let builder = Pinning::builder();
        if variant == 0 {
            let pinning = builder.build().unwrap();
            let set = || pinning.replace_pins(PinFile::parse(text).unwrap());
            return cpu_time(|| set().unwrap());
        }
        let pinning = builder.bundles(bundles(&operator)).build().unwrap();
        cpu_time(|| pinning.apply_bundle(&bundle).unwrap())
    });
    figures.add("bundles/apply/1k", ours.ratio, "info");
    println!(
        "bundle of {} KiB: {:.2} ms, pin file {:.2} ms",
        bundle.len() / 1024,
        1e3 * ours.seconds,
        1e3 * file.seconds
    );
    figures.add("bundles/apply/1k/ms", 1e3 * ours.seconds, "<=5");
}

fn lookup(text: &str, chain: &ValidatedChain, figures: &mut Figures) {
    let operator = Operator::default();
    let file = PinFile::parse(text).unwrap();
    let without = Pinning::builder().pins(file).build().unwrap();
    let with = Pinning::builder()
        .bundles(bundles(&operator))
        .build()
        .unwrap();
    let body = Body::new(2, []).with("pins", text);
    with.apply_bundle(&operator.sign(&body)).unwrap();
    let host = Host::parse(HOST).unwrap();
    let [_, ours] = compare(301, |_, variant| {
        let pinning = if variant == 0 { &without } else { &with };
        cpu_time(|| {
            for _ in 0..LOOKUPS {
                let decision = black_box(pinning.check(&host, chain, at(ISSUED)));
                assert!(matches!(decision, Decision::Pass));
            }
        })
    });
    figures.add("bundles/check", ours.ratio, "<=1.1");
}
