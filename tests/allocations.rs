//! Allocations of checks and verifications: a check that passes allocates nothing, and the keys of
//! an unpinned host's chain are not hashed.
#![cfg(feature = "hyper")]
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

/// Longer than a host name that is stored inline.
const LONG: &str = "a-name-that-is-too-long-to-be-inline.and-so-is-its.example.com";

#[tokio::test]
async fn a_check_that_passes_allocates_nothing() {
    let root = Ca::root("Root");
    let (host, parent) = (Host::parse(LONG).unwrap(), "and-so-is-its.example.com");
    let builder = || Pinning::builder().time_provider(Clock::new());
    let connection =
        verified_connection(&root.leaf(&[LONG]), LONG, &built_in_anchors(&[&root])).await;
    let chain = connection.chain();
    let unpinned = builder().build().unwrap();
    let decision = unpinned.check(&host, chain, now());
    assert!(matches!(decision, Decision::NotPinned));
    // The keys are hashed on first use only: neither the handshake, the resumption check, the
    // connector and the layer, nor the check have hashed them.
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
    // Called here because allocations are counted for all threads, and tests run concurrently.
    a_verification_allocates_lists_and_a_chain();
}

/// At most three lists for an unpinned host (algorithms, anchors and path). For a pinned host also
/// its policy and the chain, which sessions, observers and violations may keep.
fn a_verification_allocates_lists_and_a_chain() {
    let root = Ca::root("Root");
    let leaf = root.intermediate("CA").leaf(&["example.com"]);
    let (served, intermediates) = leaf.chain.split_first().unwrap();
    let name = ServerName::try_from("example.com").unwrap();
    let verifier = |builder: PinningBuilder| {
        let verifier = PinningVerifier::builder(builder.build().unwrap())
            .with_anchors(built_in_anchors(&[&root]));
        let verifier = verifier.with_provider(provider());
        verifier.verifier_without_resumption_check().unwrap()
    };
    let unpinned = verifier(Pinning::builder());
    let pinned = verifier(Pinning::builder().static_pins("example.com", policy_with(root.pin())));
    let [unpinned, pinned] = [unpinned, pinned].map(|verifier| {
        let verify = || verifier.verify_server_cert(served, intermediates, &name, &[], now());
        // Fills the signature cache.
        verify().unwrap();
        let region = Region::new(ALLOCATOR);
        verify().unwrap();
        region.change().allocations
    });
    assert!(
        unpinned <= 3 && pinned <= 11,
        "{unpinned} for an unpinned host, {pinned} for a pinned one"
    );
}
