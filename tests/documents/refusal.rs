//! The refusal that the README shows.

use pinhold::{Decision, PinPolicy, Pinning};

use crate::blocks::blocks;
use crate::common::now;
use crate::common::pki::Ca;
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::readme;

const HOST: &str = "api.example.com";

#[tokio::test]
async fn the_readme_shows_what_a_violation_prints() {
    let root = Ca::root("Other CA");
    let leaf = root.leaf(&[HOST]);
    let chain = verified_chain(&leaf, HOST, &built_in_anchors(&[&root])).await;
    let policy = PinPolicy::new([
        "sha256/UvrJ7xWQqIai1LiDUqrxuenMtEA5O+GkGhR09c59iJk=",
        "sha256/dQM9OzcacVHH/cQgoluB6qJ5CSvgqL5ejLzW7eR3Av4=",
    ]);
    let pinning = Pinning::builder().static_pins(HOST, policy.unwrap());
    let decision = pinning
        .build()
        .unwrap()
        .check(chain.host().unwrap(), &chain, now());
    let Decision::Refuse(violation) = decision else {
        panic!("{decision:?}");
    };

    let (name, text) = readme();
    let shown = blocks(&name, &text, Vec::new());
    let shown = shown.iter().find(|block| block.kind == "text").unwrap();
    assert_eq!(
        without_seen_pins(&shown.text),
        without_seen_pins(&violation.to_string())
    );
}

/// Replaces the pins of the chain, whose keys are new in each run.
fn without_seen_pins(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| match line.trim_start().split_once(' ') {
            Some((pin, rest)) if pin.starts_with("sha256/") => format!("    PIN {rest}"),
            _ => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}
