//! A judgement that nobody will read allocates nothing, and a chain without pins is not hashed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::alloc::System;

use common::header::parse;
use common::pki::Ca;
use common::validated::{built_in_anchors, verified_connection};
use common::{Clock, header_value, now, policy_with, provider};
use pinhold::header::Noted;
use pinhold::policy::ReportUri;
use pinhold::{Decision, Host, PinPolicy, Pinning, PinningBuilder, PinningVerifier};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Longer than what a host keeps within itself.
const LONG: &str = "a-name-that-is-too-long-to-be-inline.and-so-is-its.example.com";

#[tokio::test]
async fn a_check_that_finds_nothing_to_say_allocates_nothing() {
    let root = Ca::root("Root");
    let (host, parent) = (Host::parse(LONG).unwrap(), "and-so-is-its.example.com");
    let builder = || Pinning::builder().time_provider(Clock::new());
    let connection =
        verified_connection(&root.leaf(&[LONG]), LONG, &built_in_anchors(&[&root])).await;
    let chain = connection.chain();
    let unpinned = builder().build().unwrap();
    let decision = unpinned.check(&host, chain, now());
    assert!(matches!(decision, Decision::NotPinned));
    // Neither handshake, gate, connector and layer have hashed it, nor the check.
    let allocations = [(); 2].map(|()| {
        let region = Region::new(ALLOCATOR);
        let _ = chain.fingerprints();
        region.change().allocations
    });
    assert!(
        matches!(allocations, [1..=usize::MAX, 0]),
        "{allocations:?}"
    );

    let uri = ReportUri::parse("https://reports.example/pins").unwrap();
    let policy: PinPolicy = policy_with(root.pin()).report_uri(uri).include_subdomains();

    let elsewhere = builder().static_pins("other.example", policy.clone());
    let elsewhere = elsewhere.build().unwrap();
    let inherited = builder().static_pins(parent, policy.clone());
    let inherited = inherited.build().unwrap();
    let both = builder().static_pins(LONG, policy).build().unwrap();
    let value = header_value(root.pin(), "max-age=60; report-uri=\"https://a.example/\"");
    let noted = both.note(&host, &parse(&value).unwrap(), chain, now());
    assert_eq!(noted, Noted::Added);

    for (pinning, passes) in [
        (&unpinned, false),
        (&elsewhere, false),
        (&inherited, true),
        (&both, true),
    ] {
        let region = Region::new(ALLOCATOR);
        let decision = pinning.check(&host, chain, now());
        let change = region.change();
        let allocations = change.allocations + change.reallocations;
        assert_eq!(allocations, 0, "{decision:?}");
        assert_eq!(matches!(decision, Decision::Pass), passes);
        assert_eq!(matches!(decision, Decision::NotPinned), !passes);
    }
    // Not a test of its own: allocations are counted for all threads.
    a_verification_allocates_lists_and_a_chain();
}

/// Of an unpinned host three lists (algorithms, anchors, the path); of a pinned one its policy, too,
/// and the chain, which sessions, observers and violations may want.
fn a_verification_allocates_lists_and_a_chain() {
    let root = Ca::root("Root");
    let leaf = root.intermediate("CA").leaf(&["example.com"]);
    let (served, intermediates) = leaf.chain.split_first().unwrap();
    let name = ServerName::try_from("example.com").unwrap();
    let verifier = |builder: PinningBuilder| {
        let verifier =
            PinningVerifier::builder(builder.build().unwrap(), built_in_anchors(&[&root]));
        let verifier = verifier.with_provider(provider());
        verifier.verifier_without_resumption_check().unwrap()
    };
    let unpinned = verifier(Pinning::builder());
    let pinned = verifier(Pinning::builder().static_pins("example.com", policy_with(root.pin())));
    let [unpinned, pinned] = [unpinned, pinned].map(|verifier| {
        let verify = || verifier.verify_server_cert(served, intermediates, &name, &[], now());
        // So that its signatures are known.
        verify().unwrap();
        let region = Region::new(ALLOCATOR);
        verify().unwrap();
        region.change().allocations
    });
    assert!(unpinned <= 3 && pinned <= 11, "{unpinned}, {pinned}");
}
