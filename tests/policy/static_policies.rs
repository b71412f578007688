//! Static policies: the hosts that each covers, exemptions, and build errors.

use crate::common::{NOW, at, now, policy_with, unrelated_pin};
use pinhold::policy::{AfterExpiry, HostError, HostMatch, ParseFingerprintError, PolicyError};
use pinhold::{BuildError, Host, PinPolicy, PinSet, Pinning, SpkiFingerprint};

fn policy() -> PinPolicy {
    policy_with(unrelated_pin())
}

/// Returns the host whose policy applies to `host`, and how it matches.
fn applied(pinning: &Pinning, host: &str) -> Option<(String, HostMatch)> {
    let policies = pinning.policies(&Host::parse(host).unwrap(), now());
    let policy = policies.static_policy?;
    Some((policy.noted_hostname.to_string(), policy.matched))
}

#[test]
fn the_nearest_policy_that_covers_a_host_applies() {
    let pinning = Pinning::builder()
        .static_pins("Example.com.", policy().include_subdomains())
        .static_pins("b.example.com", policy())
        .static_pins("localhost", policy())
        .build()
        .unwrap();
    let congruent = |name: &str| Some((name.to_owned(), HostMatch::Congruent));
    let superdomain = |name: &str| Some((name.to_owned(), HostMatch::Superdomain));
    assert_eq!(applied(&pinning, "example.com"), congruent("example.com"));
    assert_eq!(
        applied(&pinning, "b.example.com"),
        congruent("b.example.com")
    );
    assert_eq!(
        applied(&pinning, "a.example.com"),
        superdomain("example.com")
    );
    assert_eq!(
        applied(&pinning, "a.b.example.com"),
        superdomain("example.com")
    );
    assert_eq!(applied(&pinning, "localhost"), congruent("localhost"));
    assert_eq!(applied(&pinning, "notexample.com"), None);
    assert_eq!(applied(&pinning, "com"), None);
}

#[test]
fn an_exemption_covers_its_host_and_all_subdomains_without_a_policy() {
    let exempting = policy()
        .include_subdomains()
        .exempt("dev.example.com")
        .unwrap();
    let pinning = Pinning::builder()
        .static_pins("example.com", exempting)
        .static_pins("safe.dev.example.com", policy())
        .build()
        .unwrap();
    assert!(applied(&pinning, "www.example.com").is_some());
    assert_eq!(applied(&pinning, "dev.example.com"), None);
    assert_eq!(applied(&pinning, "a.b.dev.example.com"), None);
    assert!(applied(&pinning, "safe.dev.example.com").is_some());
    assert_eq!(applied(&pinning, "www.safe.dev.example.com"), None);
}

/// Another policy that covers the name must not be switched off by the exemption.
#[test]
fn an_exemption_takes_a_name_out_of_the_policy_that_states_it_alone() {
    let exempting = |name: &str| {
        let policy = policy().include_subdomains();
        policy.exempt(name).unwrap()
    };
    let build = |parent: PinPolicy, child: PinPolicy| {
        let builder = Pinning::builder().static_pins("example.com", parent);
        let builder = builder.static_pins("sub.example.com", child);
        builder.build().unwrap()
    };
    let applied_by = |host: &str| Some((host.to_owned(), HostMatch::Superdomain));
    let name = "a.sub.example.com";
    let by_parent = build(exempting(name), policy().include_subdomains());
    assert_eq!(applied(&by_parent, name), applied_by("sub.example.com"));
    let below = "b.a.sub.example.com";
    assert_eq!(applied(&by_parent, below), applied_by("sub.example.com"));
    let by_child = build(policy().include_subdomains(), exempting(name));
    assert_eq!(applied(&by_child, name), applied_by("example.com"));
    let by_both = build(exempting(name), exempting(name));
    assert_eq!(applied(&by_both, name), None);
    // A policy that has expired applies to no name, exempt or not.
    let expired = policy().include_subdomains();
    let expired = expired.expires(at(NOW - 1), AfterExpiry::Unpin);
    assert_eq!(applied(&build(exempting(name), expired), name), None);
}

#[test]
fn static_pins_can_be_disabled_for_a_host_and_for_all() {
    // 7469-2.7-b
    let pinning = Pinning::builder()
        .static_pins("example.com", policy().include_subdomains())
        .static_pins("api.example.com", policy())
        .build()
        .unwrap();
    let other_handle = pinning.clone();
    other_handle.disable_static(&Host::parse("example.com").unwrap());
    assert_eq!(applied(&pinning, "example.com"), None);
    assert_eq!(applied(&pinning, "www.example.com"), None);
    assert!(
        applied(&pinning, "api.example.com").is_some(),
        "it has its own policy"
    );
    pinning.disable_all_static();
    assert_eq!(applied(&pinning, "api.example.com"), None);
    pinning.restore_static();
    assert!(applied(&pinning, "example.com").is_some());
}

#[test]
fn an_invalid_policy_is_an_error_that_names_the_reason() {
    let pin = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=";
    let same = "0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3";
    assert_eq!(PinPolicy::new([pin]), Err(PolicyError::NoBackup));
    assert_eq!(
        PinPolicy::new([pin, same]),
        Err(PolicyError::NoBackup),
        "two encodings of one key"
    );
    assert!(PinPolicy::without_backup([pin]).is_ok());
    assert_eq!(PinPolicy::new(Vec::<&str>::new()), Err(PolicyError::NoPins));
    assert_eq!(
        PinPolicy::without_backup(Vec::<&str>::new()),
        Err(PolicyError::NoPins)
    );
    assert_eq!(PinSet::new([]), Err(PolicyError::NoPins));
    let bad = PolicyError::Pin(ParseFingerprintError::Base64);
    assert_eq!(PinPolicy::new([pin, "sha256/?"]), Err(bad));
    let exempt = policy().exempt("https://dev.example.com");
    assert!(matches!(
        exempt,
        Err(PolicyError::Exemption(HostError::Url { .. }))
    ));
    let pins = [unrelated_pin(), SpkiFingerprint::from_digest([1; 32])];
    assert_eq!(PinPolicy::new(pins).unwrap().pins().len(), 2);
}

#[test]
fn an_invalid_build_is_an_error_that_names_the_reason() {
    let build = |host: &str, policy: PinPolicy| {
        let builder = Pinning::builder().static_pins("pinned.example.com", self::policy());
        builder.static_pins(host, policy).build().unwrap_err()
    };
    let duplicate = build("PINNED.example.com.", policy());
    assert!(matches!(duplicate, BuildError::DuplicateHost { .. }));
    let host_error = |host: &str| match build(host, policy()) {
        BuildError::Host(error) => error,
        error => panic!("{error:?}"),
    };
    assert!(matches!(
        host_error("https://example.com/"),
        HostError::Url { .. }
    ));
    assert!(matches!(
        host_error("example.com:443"),
        HostError::Port { .. }
    ));
    assert!(matches!(
        host_error("192.0.2.1"),
        HostError::IpAddress { .. }
    ));
    assert!(matches!(
        host_error("*.example.com"),
        HostError::Invalid { .. }
    ));
    assert!(matches!(host_error(""), HostError::Invalid { .. }));
    let subdomains = || policy().include_subdomains();
    for exempting in [
        policy().exempt("dev.example.com").unwrap(),
        subdomains().exempt("example.com").unwrap(),
        subdomains().exempt("dev.example.net").unwrap(),
    ] {
        let error = build("example.com", exempting);
        assert!(matches!(error, BuildError::Exemption { .. }), "{error:?}");
    }
    let note_only = Pinning::builder().note_only(["example.com", "/"]).build();
    assert!(matches!(
        note_only,
        Err(BuildError::Host(HostError::Url { .. }))
    ));
}
