//! How headers change the store, and over which connections (RFC 7469 sections 2.3 and 2.5).

use std::sync::Arc;
use std::time::Duration;

use crate::common::header::{directive, parse, parse_report_only, pin};
use crate::common::pki::{Ca, Leaf};
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{NOW, at, header_value};
use pinhold::header::{IgnoreReason, Noted, RemovalReason};
use pinhold::policy::KnownPinnedHost;
use pinhold::roots::AnchorOrigin;
use pinhold::{Decision, Host, PinStore, Pinning, TrustAnchors, ValidatedChain};

/// `example.com` behind a root and an intermediate.
struct Fixture {
    root: Ca,
    ca: Ca,
    leaf: Leaf,
    host: Host,
    chain: ValidatedChain,
    pinning: Pinning,
}

async fn fixture() -> Fixture {
    let root = Ca::root("Root");
    let ca = root.intermediate("CA");
    let leaf = ca.leaf(&["example.com"]);
    Fixture {
        chain: verified_chain(&leaf, "example.com", &built_in_anchors(&[&root])).await,
        pinning: Pinning::builder().build().unwrap(),
        host: host("example.com"),
        root,
        ca,
        leaf,
    }
}

impl Fixture {
    fn note(&self, value: &str, seconds: u64) -> Noted {
        self.note_over(&self.chain, value, seconds)
    }

    fn note_over(&self, chain: &ValidatedChain, value: &str, seconds: u64) -> Noted {
        let header = parse(value).unwrap();
        self.pinning.note(&self.host, &header, chain, at(seconds))
    }

    /// Returns a header with the leaf's pin and a backup pin.
    fn value(&self, rest: &str) -> String {
        header_value(self.leaf.pin(), rest)
    }

    fn entry(&self) -> Arc<KnownPinnedHost> {
        let list = self.pinning.store().list();
        assert_eq!(list.len(), 1);
        list[0].clone()
    }

    fn is_empty(&self) -> bool {
        self.pinning.store().list().is_empty()
    }

    /// Returns another valid chain for the same host, which has only the root in common.
    async fn other_chain(&self) -> (Leaf, ValidatedChain) {
        let leaf = self.root.leaf(&["example.com"]);
        let chain = verified_chain(&leaf, "example.com", &built_in_anchors(&[&self.root])).await;
        (leaf, chain)
    }
}

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

#[tokio::test]
async fn a_valid_header_notes_a_host_with_all_its_metadata() {
    // 7469-1-b, 7469-2.1-j, 7469-2.3.1-a, 7469-2.3.3-f, 7469-2.5-b
    let fixture = fixture().await;
    let value = fixture.value("max-age=100; includeSubDomains; report-uri=\"https://r.example/\"");
    assert_eq!(fixture.note(&value, NOW), Noted::Added);
    let entry = fixture.entry();
    assert_eq!(entry.host, fixture.host);
    assert_eq!(entry.pins.len(), 2);
    assert!(entry.pins.contains(&fixture.leaf.pin()));
    assert!(entry.pins.contains(&crate::common::unrelated_pin()));
    assert!(entry.includes_subdomains);
    assert_eq!(
        entry.report_uri.as_ref().unwrap().as_str(),
        "https://r.example/"
    );
    assert_eq!((entry.noted_at, entry.expires_at), (at(NOW), at(NOW + 100)));
    // Connections to the host are now checked.
    let decision = fixture
        .pinning
        .check(&fixture.host, &fixture.chain, at(NOW));
    assert!(matches!(decision, Decision::Pass));
}

#[tokio::test]
async fn each_header_replaces_all_metadata() {
    // 7469-2.3.1-b, 7469-2.5-d
    let fixture = fixture().await;
    let with_report_uri = "max-age=50; report-uri=\"https://r.example/\"";
    let mut pins = [fixture.leaf.pin(), crate::common::unrelated_pin()];
    pins.sort_unstable();
    for (value, outcome, lifetime, subdomains, reports) in [
        ("max-age=100", Noted::Added, 100, false, false),
        ("max-age=50", Noted::Refreshed, 50, false, false),
        (
            "max-age=50; includeSubDomains",
            Noted::Refreshed,
            50,
            true,
            false,
        ),
        ("max-age=50", Noted::Refreshed, 50, false, false),
        (with_report_uri, Noted::Refreshed, 50, false, true),
        ("max-age=50", Noted::Refreshed, 50, false, false),
    ] {
        assert_eq!(fixture.note(&fixture.value(value), NOW), outcome, "{value}");
        let entry = fixture.entry();
        assert!(entry.pins.iter().eq(&pins), "{value}");
        assert_eq!(entry.expires_at, at(NOW + lifetime), "{value}");
        assert_eq!(entry.includes_subdomains, subdomains, "{value}");
        assert_eq!(entry.report_uri.is_some(), reports, "{value}");
    }
}

#[tokio::test]
async fn no_pin_of_the_previous_header_is_kept() {
    // 7469-2.3.1-b, 7469-2.5-d
    let fixture = fixture().await;
    fixture.note(&fixture.value("max-age=50"), NOW);
    let ca = directive(fixture.ca.pin());
    let (one, other) = (directive(pin(7)), directive(pin(8)));
    // Order and repetition make no difference.
    for (value, backup) in [
        (format!("{one}; {ca}; {one}; max-age=50"), pin(7)),
        (format!("{ca}; max-age=50; {other}"), pin(8)),
    ] {
        assert_eq!(fixture.note(&value, NOW), Noted::Refreshed, "{value}");
        let entry = fixture.entry();
        let mut pins = [fixture.ca.pin(), backup];
        pins.sort_unstable();
        assert!(entry.pins.iter().eq(&pins), "{value}");
        assert_eq!(entry.expires_at, at(NOW + 50), "{value}");
        assert!(!entry.includes_subdomains, "{value}");
        assert!(entry.report_uri.is_none(), "{value}");
    }
}

#[tokio::test]
async fn max_age_counts_from_the_latest_observation() {
    // 7469-2.1.2-a, 7469-2.3.1-c, 7469-2.3.3-a
    let fixture = fixture().await;
    for (seen_at, max_age, expires_at) in [
        (NOW, 100, NOW + 100),
        (NOW + 50, 100, NOW + 150),
        (NOW + 60, 10, NOW + 70),
        // In the second of the expiry the host is still known, so the entry is refreshed.
        (NOW + 70, 30, NOW + 100),
    ] {
        fixture.note(&fixture.value(&format!("max-age={max_age}")), seen_at);
        let entry = fixture.entry();
        assert_eq!(entry.noted_at, at(seen_at));
        assert_eq!(entry.expires_at, at(expires_at));
        assert!(!entry.is_expired(at(expires_at)));
        assert!(entry.is_expired(at(expires_at + 1)));
    }
    let again = fixture.note(&fixture.value("max-age=10"), NOW + 101);
    assert_eq!(again, Noted::Added, "the entry had expired");
}

#[tokio::test]
async fn max_age_is_capped() {
    // 7469-2.3.3-h, 7469-4.1-a, 7469-2.1.2-e, 7469-4.5-a
    let days = |days: u64| days * crate::common::DAY;
    let digits45 = "9".repeat(45);
    let week = Duration::from_secs(7 * crate::common::DAY);
    for (cap, max_age, lifetime) in [
        (None, "5184000", days(60)),
        (None, "7776000", days(60)),
        (None, "5183999", days(60) - 1),
        (None, &*digits45, days(60)),
        (Some(week), "604801", days(7)),
        (Some(week), "604799", days(7) - 1),
    ] {
        let mut fixture = fixture().await;
        if let Some(cap) = cap {
            let store = PinStore::builder().max_age_cap(cap).in_memory();
            fixture.pinning = Pinning::builder().store(store).build().unwrap();
        }
        fixture.note(&fixture.value(&format!("max-age={max_age}")), NOW);
        assert_eq!(fixture.entry().expires_at, at(NOW + lifetime), "{max_age}");
    }
    // A cap of less than a second is treated as `max-age=0`.
    let mut fixture = fixture().await;
    let store = PinStore::builder()
        .max_age_cap(Duration::from_millis(999))
        .in_memory();
    fixture.pinning = Pinning::builder().store(store).build().unwrap();
    let not_known = Noted::Ignored(IgnoreReason::NotKnown);
    assert_eq!(fixture.note(&fixture.value("max-age=100"), NOW), not_known);
}

#[tokio::test]
async fn a_report_uri_that_is_too_long_is_dropped_and_the_pins_are_noted() {
    // D-09
    let fixture = fixture().await;
    for (length, kept) in [(2048, true), (2049, false)] {
        let uri = format!("{:a<length$}", "https://r.example/");
        let value = fixture.value(&format!("max-age=100; report-uri=\"{uri}\""));
        fixture.note(&value, NOW);
        assert_eq!(fixture.entry().report_uri.is_some(), kept, "{length}");
    }
}

#[tokio::test]
async fn max_age_zero_removes_the_entry_and_notes_nothing() {
    // 7469-2.3.1-d, D-02
    let fixture = fixture().await;
    let removed = Noted::Removed(RemovalReason::MaxAgeZero);
    let not_known = Noted::Ignored(IgnoreReason::NotKnown);
    for zero in [
        "max-age=0".to_owned(),
        "max-age=\"000\"; includeSubDomains".to_owned(),
        fixture.value("max-age=0"),
        fixture.value("max-age=0; includeSubDomains"),
        // The header's own pins need not be valid: the connection has passed the noted ones.
        format!("{}; max-age=0", directive(pin(9))),
        "max-age=0; pin-x=\"y\"".to_owned(),
    ] {
        assert_eq!(fixture.note(&zero, NOW), not_known, "{zero}");
        assert!(fixture.is_empty());
        fixture.note(&fixture.value("max-age=100; includeSubDomains"), NOW);
        assert_eq!(fixture.note(&zero, NOW + 1), removed, "{zero}");
        assert!(fixture.is_empty());
        for name in ["example.com", "sub.example.com"] {
            assert!(
                fixture
                    .pinning
                    .policies(&host(name), at(NOW + 1))
                    .is_empty()
            );
        }
        assert_eq!(fixture.note(&zero, NOW + 2), not_known, "{zero}");
    }
}

#[tokio::test]
async fn a_header_without_recognised_pins_removes_the_entry() {
    // 7469-2.1.1-e, 7469-2.1.1-f, D-03
    let fixture = fixture().await;
    let unknown = "pin-sha512=\"eA==\"; pin-x=\"y\"; max-age=100";
    let not_known = Noted::Ignored(IgnoreReason::NotKnown);
    assert_eq!(fixture.note(unknown, NOW), not_known);
    fixture.note(&fixture.value("max-age=100"), NOW);
    let removed = Noted::Removed(RemovalReason::NoRecognisedPins);
    assert_eq!(fixture.note(unknown, NOW + 1), removed);
    assert!(fixture.is_empty());

    // Without any pin directive, or with a recognised pin but no backup, the entry stays.
    fixture.note(&fixture.value("max-age=100"), NOW);
    let only = directive(fixture.leaf.pin());
    for (value, reason) in [
        ("max-age=100".to_owned(), IgnoreReason::NoPins),
        ("max-age=100; foo=\"bar\"".to_owned(), IgnoreReason::NoPins),
        (
            format!("max-age=100; pin-x=\"y\"; {only}"),
            IgnoreReason::NoBackupPin,
        ),
    ] {
        assert_eq!(
            fixture.note(&value, NOW + 1),
            Noted::Ignored(reason),
            "{value}"
        );
        assert_eq!(fixture.entry().expires_at, at(NOW + 100));
    }
}

#[tokio::test]
async fn one_pin_must_be_in_the_chain_and_one_must_not() {
    // 7469-2.5-b, 7469-2.5-c, 7469-4.3-a, 7469-2.1.1-d, 7469-2.4-c
    let fixture = fixture().await;
    let (leaf, ca, root) = (fixture.leaf.pin(), fixture.ca.pin(), fixture.root.pin());
    let no_pin = Noted::Ignored(IgnoreReason::NoPinInChain);
    let no_backup = Noted::Ignored(IgnoreReason::NoBackupPin);
    let cases = [
        (vec![leaf, pin(1)], Noted::Added),
        (vec![pin(1), ca], Noted::Added),
        (vec![root, pin(1), pin(2)], Noted::Added),
        (vec![leaf, ca, root, pin(1)], Noted::Added),
        (vec![leaf], no_backup.clone()),
        (vec![leaf, leaf], no_backup.clone()),
        (vec![leaf, ca, root], no_backup),
        (vec![pin(1)], no_pin.clone()),
        (vec![pin(1), pin(2)], no_pin),
    ];
    for (pins, expected) in cases {
        let pins = pins.iter().copied().map(directive).collect::<Vec<_>>();
        let value = format!("{}; max-age=100", pins.join("; "));
        assert_eq!(fixture.note(&value, NOW), expected, "{value}");
        assert_eq!(fixture.is_empty(), expected != Noted::Added, "{value}");
        // A pin with an unknown algorithm counts neither as live nor as backup.
        fixture.pinning.store().clear();
        let base64 = leaf.to_base64();
        let more = format!("{value}; pin-sha512=\"{base64}\"; pin-sha1=\"eA==\"");
        assert_eq!(fixture.note(&more, NOW), expected, "{more}");
        if let [entry] = &*fixture.pinning.store().list() {
            assert!(entry.pins.len() >= 2, "recognised pins are noted");
        }
        fixture.pinning.store().clear();
    }
}

#[tokio::test]
async fn an_invalid_header_leaves_the_entry_unchanged() {
    // 7469-2.5-c, 7469-2.3.1-f
    let fixture = fixture().await;
    fixture.note(&fixture.value("max-age=100; includeSubDomains"), NOW);
    let before = fixture.entry();
    for value in [
        format!("{}; max-age=9", directive(fixture.leaf.pin())),
        format!("{}; {}; max-age=9", directive(pin(1)), directive(pin(2))),
        "max-age=9".to_owned(),
        "max-age=9; includeSubDomains; foo=bar".to_owned(),
    ] {
        let noted = fixture.note(&value, NOW + 1);
        assert!(matches!(noted, Noted::Ignored(_)), "{value}: {noted:?}");
        assert_eq!(fixture.entry(), before, "{value}");
    }
}

#[tokio::test]
async fn a_connection_that_fails_its_pins_changes_nothing() {
    // 7469-2.5-b, 7469-2.1-j, D-02, D-03
    let fixture = fixture().await;
    let (other, other_chain) = fixture.other_chain().await;
    fixture.note(&fixture.value("max-age=100"), NOW);
    let before = fixture.entry();
    for value in [
        header_value(other.pin(), "max-age=100"),
        fixture.value("max-age=50"),
        "max-age=0".to_owned(),
        header_value(other.pin(), "max-age=0"),
        "pin-x=\"y\"; max-age=100".to_owned(),
    ] {
        let noted = fixture.note_over(&other_chain, &value, NOW + 1);
        assert_eq!(noted, Noted::Ignored(IgnoreReason::PinsFailed), "{value}");
        assert_eq!(fixture.entry(), before, "{value}");
    }
    // After the entry has expired, the host is not known, and the next header is trusted.
    let value = header_value(other.pin(), "max-age=100");
    assert_eq!(
        fixture.note_over(&other_chain, &value, NOW + 101),
        Noted::Added
    );
}

#[tokio::test]
async fn a_connection_that_skips_pins_changes_nothing() {
    // D-04
    let proxy = Ca::root("Proxy");
    let intercepted = proxy.leaf(&["example.com"]);
    for (anchors, origin) in [
        (
            TrustAnchors::new().with_user_added([proxy.certificate()]),
            AnchorOrigin::UserAdded,
        ),
        (
            TrustAnchors::new().with_unknown([proxy.certificate()]),
            AnchorOrigin::Unknown,
        ),
    ] {
        let chain = verified_chain(&intercepted, "example.com", &anchors.unwrap()).await;
        let ignored = Noted::Ignored(IgnoreReason::AnchorNotBuiltIn(origin));
        let fixture = fixture().await;
        let own = header_value(intercepted.pin(), "max-age=100");
        assert_eq!(fixture.note_over(&chain, &own, NOW), ignored, "noted");
        assert!(fixture.is_empty());

        // The entry is unchanged although it has the proxy's pin, so that the chain satisfies it.
        let both = fixture.value(&format!("{}; max-age=100", directive(proxy.pin())));
        fixture.note(&both, NOW);
        let before = fixture.entry();
        for value in [&*both, &own, "max-age=0", "pin-x=\"y\"; max-age=100"] {
            let noted = fixture.note_over(&chain, value, NOW + 1);
            assert_eq!(noted, ignored, "{value}");
            assert_eq!(fixture.entry(), before, "{value}");
        }
    }
}

#[tokio::test]
async fn a_report_only_header_is_never_noted() {
    // 7469-2.3.3-j, 7469-2.1.2-c, 7469-2.3.2-d
    let fixture = fixture().await;
    let report = "report-uri=\"https://r.example/\"";
    let values = [
        (fixture.value(report), IgnoreReason::ReportOnly),
        (
            fixture.value(&format!("max-age=100; {report}")),
            IgnoreReason::ReportOnly,
        ),
        (
            fixture.value(&format!("max-age=0; {report}")),
            IgnoreReason::ReportOnly,
        ),
        (fixture.value("max-age=0"), IgnoreReason::ReportOnly),
        (
            format!("pin-x=\"y\"; max-age=0; {report}"),
            IgnoreReason::NoPins,
        ),
    ];
    let note = |value: &str| {
        let header = parse_report_only(value).unwrap();
        fixture
            .pinning
            .note(&fixture.host, &header, &fixture.chain, at(NOW))
    };
    for (value, reason) in &values {
        assert_eq!(note(value), Noted::Ignored(reason.clone()), "{value}");
        assert!(fixture.is_empty());
    }
    fixture.note(&fixture.value("max-age=100"), NOW);
    let before = fixture.entry();
    for (value, reason) in &values {
        assert_eq!(note(value), Noted::Ignored(reason.clone()), "{value}");
        assert_eq!(fixture.entry(), before, "{value}");
    }
}

#[tokio::test]
async fn a_header_applies_only_to_the_verified_host() {
    // D-14
    let fixture = fixture().await;
    for name in ["www.example.com", "com", "example.net"] {
        let header = parse(fixture.value("max-age=100")).unwrap();
        let noted = fixture
            .pinning
            .note(&host(name), &header, &fixture.chain, at(NOW));
        assert_eq!(noted, Noted::Ignored(IgnoreReason::OtherHost), "{name}");
    }
    assert!(fixture.is_empty());
}
