//! Lookup of the policies that apply to a host at a given time (RFC 7469 sections 2.1.3, 2.3.3, 2.7
//! and 4.2).

use crate::common::header::{directive, parse, pin};
use crate::common::pki::{Ca, Leaf};
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{DAY, NOW, at, header_value, policy_with, unrelated_pin};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::policy::{AppliedPolicy, HostError, HostMatch, PinSource};
use pinhold::{BuildError, Decision, Host, PinPolicy, PinStore, Pinning, TrustAnchors};

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

/// A root that issues a certificate for each host, and the trust anchors of the clients.
struct Network {
    root: Ca,
    anchors: TrustAnchors,
}

impl Network {
    fn new() -> Self {
        let root = Ca::root("Root");
        Self {
            anchors: built_in_anchors(&[&root]),
            root,
        }
    }

    /// Notes a header of `name`, received on a connection with a new certificate.
    async fn note(&self, pinning: &Pinning, name: &str, rest: &str, seconds: u64) -> Noted {
        self.note_with(pinning, &self.root.leaf(&[name]), name, rest, seconds)
            .await
    }

    async fn note_with(
        &self,
        pinning: &Pinning,
        leaf: &Leaf,
        name: &str,
        rest: &str,
        seconds: u64,
    ) -> Noted {
        let chain = verified_chain(leaf, name, &self.anchors).await;
        let header = parse(header_value(leaf.pin(), rest)).unwrap();
        pinning.note(&host(name), &header, &chain, at(seconds))
    }
}

fn unpinned() -> Pinning {
    Pinning::builder().build().unwrap()
}

fn noted(pinning: &Pinning, name: &str, seconds: u64) -> Option<AppliedPolicy> {
    pinning.policies(&host(name), at(seconds)).noted
}

/// Returns the host whose noted pins apply to `name`.
fn noted_hostname(pinning: &Pinning, name: &str, seconds: u64) -> Option<String> {
    let policy = noted(pinning, name, seconds)?;
    Some(policy.noted_hostname.to_string())
}

fn static_policy(pinning: &Pinning, name: &str) -> Option<AppliedPolicy> {
    pinning.policies(&host(name), at(NOW)).static_policy
}

#[tokio::test]
async fn include_sub_domains_covers_every_depth_on_label_boundaries() {
    // 7469-2.1.3-b
    let network = Network::new();
    let pinning = unpinned();
    let rest = "max-age=100; includeSubDomains";
    network.note(&pinning, "example.com", rest, NOW).await;
    network
        .note(&pinning, "alone.example", "max-age=100", NOW)
        .await;
    for (name, covered) in [
        ("example.com", true),
        ("www.example.com", true),
        ("a.b.c.d.example.com", true),
        ("notexample.com", false),
        ("com", false),
        ("example.com.evil.net", false),
        ("alone.example", true),
        ("www.alone.example", false),
    ] {
        assert_eq!(noted(&pinning, name, NOW).is_some(), covered, "{name}");
    }
    let matched = |name| noted(&pinning, name, NOW).unwrap().matched;
    assert_eq!(matched("example.com"), HostMatch::Congruent);
    assert_eq!(matched("a.example.com"), HostMatch::Superdomain);
}

#[tokio::test]
async fn a_subdomain_has_its_own_entry_in_either_order_of_visits() {
    // 7469-2.3.3-e, 7469-4.2-a, D-01
    let network = Network::new();
    let (parent, child) = ("example.com", "sub.example.com");
    let (parent_leaf, child_leaf) = (network.root.leaf(&[parent]), network.root.leaf(&[child]));
    let rest = "max-age=100; includeSubDomains";

    // If the child is visited first, its own pins apply.
    let pinning = unpinned();
    let noted = network.note_with(&pinning, &child_leaf, child, "max-age=100", NOW);
    assert_eq!(noted.await, Noted::Added);
    let noted = network.note_with(&pinning, &parent_leaf, parent, rest, NOW);
    assert_eq!(noted.await, Noted::Added);
    assert_eq!(noted_hostname(&pinning, child, NOW).unwrap(), child);
    // An entry without includeSubDomains is skipped in the lookup for a subdomain.
    assert_eq!(
        noted_hostname(&pinning, "x.sub.example.com", NOW).unwrap(),
        parent
    );

    // If the parent is visited first, the child has other keys and fails, so it cannot be noted.
    let pinning = unpinned();
    network
        .note_with(&pinning, &parent_leaf, parent, rest, NOW)
        .await;
    let noted = network.note_with(&pinning, &child_leaf, child, "max-age=100", NOW);
    assert_eq!(noted.await, Noted::Ignored(IgnoreReason::PinsFailed));
    assert_eq!(noted_hostname(&pinning, child, NOW).unwrap(), parent);

    // With a shared key the child passes, and has its own entry beside the parent's.
    let shared = network.root.leaf(&[parent, child]);
    let pinning = unpinned();
    for (name, rest) in [(parent, rest), (child, "max-age=50")] {
        let noted = network.note_with(&pinning, &shared, name, rest, NOW);
        assert_eq!(noted.await, Noted::Added);
    }
    assert_eq!(pinning.store().list().len(), 2);
    assert_eq!(noted_hostname(&pinning, child, NOW).unwrap(), child);
}

#[tokio::test]
async fn a_header_of_a_subdomain_never_changes_its_parent() {
    // 7469-2.3.3-i
    let network = Network::new();
    let shared = network.root.leaf(&["example.com", "sub.example.com"]);
    let chain = verified_chain(&shared, "sub.example.com", &network.anchors).await;
    let pinning = unpinned();
    let rest = "max-age=100; includeSubDomains";
    network
        .note_with(&pinning, &shared, "example.com", rest, NOW)
        .await;
    let before = pinning.store().list();
    for (value, expected) in [
        (
            "max-age=0".to_owned(),
            Noted::Ignored(IgnoreReason::NotKnown),
        ),
        (
            "pin-x=\"y\"; max-age=1".to_owned(),
            Noted::Ignored(IgnoreReason::NotKnown),
        ),
        (header_value(shared.pin(), "max-age=1"), Noted::Added),
        (
            header_value(shared.pin(), "max-age=9; includeSubDomains"),
            Noted::Refreshed,
        ),
        (
            "max-age=0".to_owned(),
            Noted::Removed(pinhold::header::RemovalReason::MaxAgeZero),
        ),
    ] {
        let header = parse(&value).unwrap();
        let noted = pinning.note(&host("sub.example.com"), &header, &chain, at(NOW + 1));
        assert_eq!(noted, expected, "{value}");
        assert!(pinning.store().list().contains(&before[0]), "{value}");
    }
    assert_eq!(pinning.store().list(), before);
}

#[tokio::test]
async fn an_expired_entry_does_not_apply_and_is_kept() {
    // 7469-2.3.3-a, 7469-2.3.3-b, 7469-2.3.3-c, D-20
    let network = Network::new();
    let shared = network.root.leaf(&["example.com", "sub.example.com"]);
    let pinning = unpinned();
    for (name, rest) in [
        ("example.com", "max-age=100; includeSubDomains"),
        ("sub.example.com", "max-age=50"),
    ] {
        network.note_with(&pinning, &shared, name, rest, NOW).await;
    }
    let other = network.root.leaf(&["sub.example.com"]);
    let other = verified_chain(&other, "sub.example.com", &network.anchors).await;
    let child = "sub.example.com";
    for (seconds, expected) in [
        (NOW, Some(child)),
        (NOW + 50, Some(child)),
        (NOW + 51, Some("example.com")),
        (NOW + 100, Some("example.com")),
        (NOW + 101, None),
        // A clock that was ahead for a while and is corrected causes no loss of entries.
        (NOW + 50, Some(child)),
    ] {
        assert_eq!(
            noted_hostname(&pinning, child, seconds).as_deref(),
            expected
        );
        let decision = pinning.check(&host(child), &other, at(seconds));
        match expected {
            Some(_) => assert!(matches!(decision, Decision::Refuse(_)), "{seconds}"),
            None => assert!(matches!(decision, Decision::NotPinned), "{seconds}"),
        }
    }
    // An expired host is not a known pinned host: its pins were not checked, so a header cannot
    // remove its entry.
    let zero = parse("max-age=0").unwrap();
    let noted = pinning.note(&host(child), &zero, &other, at(NOW + 101));
    assert_eq!(noted, Noted::Ignored(IgnoreReason::NotKnown));
    assert_eq!(pinning.store().list().len(), 2);
}

#[test]
fn a_name_has_one_canonical_form_or_is_an_error() {
    // 7469-2.3-a, D-16
    let pinning = |name: &str| {
        let builder = Pinning::builder().static_pins(name, policy_with(unrelated_pin()));
        builder.build()
    };
    for name in ["EXAMPLE.com", "example.COM.", "example.com"] {
        let pinning = pinning(name).unwrap();
        for queried in ["example.com", "Example.Com", "example.com."] {
            assert!(
                static_policy(&pinning, queried).is_some(),
                "{name}: {queried}"
            );
        }
    }
    for name in ["example.com..", ".example.com", "exa mple.com", "", "."] {
        let refused = matches!(
            pinning(name),
            Err(BuildError::Host(HostError::Invalid { .. }))
        );
        assert!(refused, "{name:?}");
    }
    // U-labels are the same host as the A-labels, or an error: no policy is silently unused.
    let built = pinning("B\u{dc}CHER.example");
    if cfg!(feature = "idn") {
        let pinning = built.unwrap();
        assert!(static_policy(&pinning, "XN--bcher-kva.example.").is_some());
        assert!(static_policy(&pinning, "b\u{fc}cher.example").is_some());
    } else {
        let error = built.unwrap_err();
        let idn_needed = matches!(error, BuildError::Host(HostError::IdnFeatureNeeded { .. }));
        assert!(idn_needed, "{error:?}");
    }
    assert!(pinning("b\u{fc}\u{ad}\u{378}.example").is_err());
}

#[test]
fn an_ip_address_is_not_a_pinned_host_in_any_notation() {
    // 7469-2.3.3-d
    for name in [
        "192.0.2.1",
        "192.0.2.1.",
        "::1",
        "2001:db8::1",
        "[2001:db8::1]",
        "[v1.x]",
        "127.1",
        "2130706433",
        "0x7f.1",
    ] {
        let built = Pinning::builder()
            .static_pins(name, policy_with(unrelated_pin()))
            .build();
        let refused = matches!(built, Err(BuildError::Host(HostError::IpAddress { .. })));
        assert!(refused, "{name}: {built:?}");
    }
}

#[tokio::test]
async fn a_single_label_can_only_be_pinned_statically() {
    // D-18
    let network = Network::new();
    let leaf = network.root.leaf(&["intranet"]);
    let pinning = Pinning::builder()
        .static_pins("intranet", policy_with(leaf.pin()))
        .build()
        .unwrap();
    let noted = network.note_with(&pinning, &leaf, "intranet", "max-age=100", NOW);
    assert_eq!(noted.await, Noted::Ignored(IgnoreReason::SingleLabel));
    assert!(pinning.store().list().is_empty());
    let chain = network.root.leaf(&["intranet"]);
    let chain = verified_chain(&chain, "intranet", &network.anchors).await;
    let decision = pinning.check(&host("intranet"), &chain, at(NOW));
    assert!(matches!(decision, Decision::Refuse(_)));
}

#[tokio::test]
async fn noted_and_static_pins_are_found_by_one_lookup_and_both_must_pass() {
    // 7469-2.2.1-b, 7469-2.7-a, 7469-2.7-c, D-05
    let network = Network::new();
    let [one, two] = [(); 2].map(|()| network.root.leaf(&["example.com"]));
    let chains = [
        verified_chain(&one, "example.com", &network.anchors).await,
        verified_chain(&two, "example.com", &network.anchors).await,
    ];
    let both = parse(header_value(
        one.pin(),
        &format!("{}; max-age=100", directive(two.pin())),
    ));
    let only_one = parse(header_value(one.pin(), "max-age=100")).unwrap();
    for (pins, header, passes) in [
        // Static pins, the noted header, and whether each of the two chains passes.
        (vec![one.pin(), pin(1)], None, [true, false]),
        (vec![one.pin(), two.pin()], None, [true, true]),
        (vec![one.pin(), two.pin()], Some(&only_one), [true, false]),
        (
            vec![one.pin(), pin(1)],
            Some(both.as_ref().unwrap()),
            [true, false],
        ),
    ] {
        let pinning = Pinning::builder()
            .static_pins("example.com", PinPolicy::new(pins).unwrap())
            .build()
            .unwrap();
        if let Some(header) = header {
            let noted = pinning.note(&host("example.com"), header, &chains[0], at(NOW));
            assert_eq!(noted, Noted::Added);
        }
        let applied = pinning.policies(&host("example.com"), at(NOW));
        let sources = applied
            .iter()
            .map(|policy| policy.source)
            .collect::<Vec<_>>();
        match header {
            None => assert_eq!(sources, [PinSource::Static]),
            Some(_) => assert_eq!(sources, [PinSource::Static, PinSource::Noted]),
        }
        for (chain, passes) in chains.iter().zip(passes) {
            match pinning.check(&host("example.com"), chain, at(NOW)) {
                Decision::Pass => assert!(passes),
                Decision::Refuse(_) => assert!(!passes),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_header_never_changes_static_pins() {
    // D-05, 7469-2.7-c
    let network = Network::new();
    let (one, two) = (
        network.root.leaf(&["example.com"]),
        network.root.leaf(&["example.com"]),
    );
    let passing = verified_chain(&one, "example.com", &network.anchors).await;
    let failing = verified_chain(&two, "example.com", &network.anchors).await;
    let name = host("example.com");
    let pinning = Pinning::builder()
        .static_pins("example.com", policy_with(one.pin()))
        .build()
        .unwrap();
    let before = static_policy(&pinning, "example.com");
    for value in [
        header_value(one.pin(), &format!("{}; max-age=100", directive(two.pin()))),
        header_value(two.pin(), "max-age=100; includeSubDomains"),
        "max-age=0".to_owned(),
        "pin-x=\"y\"; max-age=100".to_owned(),
    ] {
        let header = parse(&value).unwrap();
        pinning.note(&name, &header, &passing, at(NOW));
        let failed = Noted::Ignored(IgnoreReason::PinsFailed);
        assert_eq!(
            pinning.note(&name, &header, &failing, at(NOW)),
            failed,
            "{value}"
        );
        assert_eq!(static_policy(&pinning, "example.com"), before, "{value}");
        let decision = pinning.check(&name, &failing, at(NOW));
        assert!(matches!(decision, Decision::Refuse(_)), "{value}");
    }
    assert!(
        pinning
            .policies(&host("sub.example.com"), at(NOW))
            .is_empty()
    );
}

#[test]
fn static_pins_can_be_disabled_and_restored() {
    // 7469-2.7-b
    let pinning = Pinning::builder()
        .static_pins("example.com", policy_with(pin(1)).include_subdomains())
        .static_pins("own.example.com", policy_with(pin(2)))
        .static_pins("example.net", policy_with(pin(3)))
        .build()
        .unwrap();
    let names = [
        "example.com",
        "a.example.com",
        "own.example.com",
        "example.net",
    ];
    let applies = || names.map(|name| static_policy(&pinning, name).is_some());
    assert_eq!(applies(), [true; 4]);
    pinning.disable_static(&host("example.com"));
    assert_eq!(applies(), [false, false, true, true]);
    pinning.disable_all_static();
    assert_eq!(applies(), [false; 4]);
    pinning.restore_static();
    assert_eq!(applies(), [true; 4]);
}

#[tokio::test]
async fn noted_pins_can_be_listed_queried_and_cleared() {
    // 7469-4.5-a, 7469-5-b, 7469-7-b
    let network = Network::new();
    let pinning = unpinned();
    for name in ["b.example", "a.example", "c.example"] {
        network.note(&pinning, name, "max-age=100", NOW).await;
    }
    let names = || {
        let list = pinning.store().list();
        list.iter()
            .map(|entry| entry.host.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["a.example", "b.example", "c.example"]);
    assert!(noted(&pinning, "b.example", NOW).is_some());
    let forgotten = pinning.store().forget(&host("b.example")).unwrap();
    assert_eq!(forgotten.host, host("b.example"));
    assert!(pinning.store().forget(&host("b.example")).is_none());
    assert!(noted(&pinning, "b.example", NOW).is_none());
    assert_eq!(names(), ["a.example", "c.example"]);
    pinning.store().clear();
    assert!(names().is_empty());
}

#[tokio::test]
async fn a_full_store_keeps_confirmed_entries_and_evicts_first_seen_ones() {
    // D-24
    let network = Network::new();
    // One entry may be first-seen, and three may be confirmed.
    let store = PinStore::builder().capacity(4).in_memory();
    let pinning = Pinning::builder().store(store).build().unwrap();
    // A time after the release, since an earlier one confirms no entry.
    let later = 1_800_000_000;
    let leaf = network.root.leaf(&["a.example", "b.test", "c.invalid"]);
    let mut known = Vec::new();
    for (name, seconds, expected) in [
        ("a.example", 0, Noted::Added),
        ("a.example", DAY, Noted::Refreshed),
        ("b.test", DAY, Noted::Added),
        // The entry of a.example is older.
        ("c.invalid", DAY + 1, Noted::Added),
    ] {
        let rest = format!("max-age={}", 2 * DAY);
        let noted = network.note_with(&pinning, &leaf, name, &rest, later + seconds);
        assert_eq!(noted.await, expected, "{name}");
    }
    for name in ["a.example", "b.test", "c.invalid"] {
        known.extend(noted(&pinning, name, later + DAY + 1).map(|_| name));
    }
    assert_eq!(known, ["a.example", "c.invalid"]);
}
