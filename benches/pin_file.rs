//! Pin files of 10,000 hosts: the cost of opening one as a ratio to reading it into a
//! `serde_json::Value`, and the latency of [`Pinning::check`] while another thread replaces the pins
//! by such files: the 99.9th percentile as a ratio to the median of the same period.
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

use std::fs;
use std::hint::black_box;
use std::thread;
use std::time::Instant;

use common::now;
use common::pki::Ca;
use common::validated::{built_in_anchors, verified_chain};
use figures::{Figures, compare, cpu_time, quantile};
use pinhold::pin_file::PinFile;
use pinhold::{Decision, Host, Pinning, SpkiFingerprint, ValidatedChain};
use serde_json::Value;

const HOSTS: u32 = 10_000;
const HOST: &str = "host-77.apps.example";

/// The number of times that all pins are replaced, about 4 s.
const REPLACEMENTS: u32 = 300;

fn main() {
    let mut figures = Figures::default();
    let root = Ca::root("Root");
    let text = file(root.pin());
    open(&text, &mut figures);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let leaf = root.leaf(&[HOST]);
    let anchors = built_in_anchors(&[&root]);
    let chain = verified_chain(&leaf, HOST, &anchors);
    let chain = runtime.unwrap().block_on(chain);
    replace(&text, &chain, &mut figures);
    figures.conclude();
}

/// Returns the text of a pin file whose hosts all have `pin` and a backup pin of their own.
fn file(pin: SpkiFingerprint) -> String {
    let policies = (0..HOSTS).map(|number| {
        let mut digest = [0xb5; 32];
        let (start, _) = digest.split_first_chunk_mut().unwrap();
        *start = number.to_be_bytes();
        let backup = SpkiFingerprint::from_digest(digest);
        format!(
            r#"    {{
      "hosts": ["host-{number}.apps.example"],
      "scope": "host-and-subdomains",
      "pins": ["{pin}", "{backup}"]
    }}"#
        )
    });
    let policies = policies.collect::<Vec<_>>().join(",\n");
    format!("{{\n  \"version\": 1,\n  \"policies\": [\n{policies}\n  ]\n}}\n")
}

fn open(text: &str, figures: &mut Figures) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("pins.json");
    fs::write(&path, text).unwrap();
    let [value, ours] = compare(101, |_, variant| match variant {
        0 => cpu_time(|| {
            let text = fs::read_to_string(&path).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()
        }),
        _ => cpu_time(|| PinFile::open(&path).unwrap()),
    });
    figures.add("pin-file/open/10k", ours.ratio, "<=2");
    println!(
        "open: {:.2} ms, serde_json::Value {:.2} ms",
        1e3 * ours.seconds,
        1e3 * value.seconds
    );
}

fn replace(text: &str, chain: &ValidatedChain, figures: &mut Figures) {
    let file = PinFile::parse(text).unwrap();
    let pinning = Pinning::builder().pins(file.clone()).build().unwrap();
    let host = Host::parse(HOST).unwrap();
    let times = thread::scope(|scope| {
        let replacing = scope.spawn(|| {
            for _ in 0..REPLACEMENTS {
                pinning.replace_pins(file.clone()).unwrap();
            }
        });
        let mut times = Vec::new();
        while !replacing.is_finished() {
            let start = Instant::now();
            let decision = black_box(pinning.check(&host, chain, now()));
            times.push(start.elapsed().as_nanos() as f64);
            assert!(matches!(decision, Decision::Pass));
        }
        times
    });
    let [median, tail, longest] = [0.5, 0.999, 1.0].map(|part| quantile(times.clone(), part));
    figures.add("pin-file/replace/check/p99.9", tail / median, "<=20");
    figures.add("pin-file/replace/check/longest", longest / median, "info");
    println!(
        "{} checks: median {median:.0} ns, p99.9 {tail:.0} ns, longest {longest:.0} ns",
        times.len()
    );
}
