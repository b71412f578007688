//! Forecasts with the compiled-in data for pins that CAs recommended.

use pinhold::policy::{PinRole, Scope};
use pinhold::{Host, SpkiFingerprint, TrustAnchors, UserAddedRoots};
use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{Certainty, HostForecast, RootStore, Severity};
use crate::doctor::judge::{self, Roots};
use crate::doctor::observation::Observations;
use crate::doctor::pki::PkiData;
use crate::doctor::subject::{Pin, Probe, Subject};
use crate::rfc3339;

/// Returns the pin of a root of Mozilla's list, by a part of its subject.
fn root(name: &str) -> SpkiFingerprint {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let mut roots = roots.filter(|root| {
        let facts = crate::certificate::Facts::of(root).unwrap();
        facts
            .subject
            .split(',')
            .any(|part| part.trim() == format!("CN={name}"))
    });
    let root = roots.next().unwrap_or_else(|| panic!("no root {name}"));
    SpkiFingerprint::of_certificate(root).unwrap()
}

fn forecast(names: &[&str], at: &str) -> HostForecast {
    forecast_of(names.iter().map(|name| root(name)), at)
}

fn forecast_of(pins: impl Iterator<Item = SpkiFingerprint>, at: &str) -> HostForecast {
    let host = Host::parse("api.example").unwrap();
    let pins = pins.map(|fingerprint| Pin {
        role: PinRole::Any,
        fingerprint,
    });
    let subject = Subject {
        probe: Probe::Name(host.clone()),
        host,
        scope: Scope::Host,
        source: "pins.json".to_owned(),
        port: 443,
        groups: vec![pins.collect()],
        expiry: None,
        staleness: None,
        is_enforced: true,
        refused_keys: Vec::new(),
        user_added_roots: UserAddedRoots::SkipPins,
    };
    let data = PkiData::load(None).unwrap_or_else(|error| panic!("{error}"));
    let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
    let roots = Roots::of_list(RootStore::Mozilla, &TrustAnchors::webpki_roots(), mozilla);
    let judged = vec![(subject, Observations::default())];
    let mut report = judge::report(judged, &data, &roots, date(at), date(at));
    report.hosts.remove(0)
}

fn date(text: &str) -> UnixTime {
    rfc3339::parse_date(text).unwrap()
}

const STARFIELD: &str = "Starfield Services Root Certificate Authority - G2";
const AMAZON: [&str; 5] = [
    "Amazon Root CA 1",
    "Amazon Root CA 2",
    "Amazon Root CA 3",
    "Amazon Root CA 4",
    STARFIELD,
];

/// The other four pins hold afterwards, so that it is a notice.
#[test]
fn of_the_pins_of_aws_starfield_leaves_first_and_the_others_in_2030() {
    let forecast = forecast(&AMAZON, "2026-11-30");
    let mut findings = forecast.findings.iter();
    let leaves = findings.find(|it| it.id == "root-leaves-mozilla").unwrap();
    assert!(
        leaves.evidence.starts_with(STARFIELD),
        "{}",
        leaves.evidence
    );
    assert_eq!(leaves.date, Some(date("2027-04-15")));
    assert_eq!(
        (leaves.severity, leaves.certainty),
        (Severity::Notice, Certainty::Announced)
    );
    let one_ca = forecast.findings.iter().find(|it| it.id == "one-ca");
    assert_eq!(one_ca.map(|it| it.severity), Some(Severity::Warning));
    let lock_out = forecast.lock_out.unwrap();
    assert_eq!(
        (lock_out.at, lock_out.certainty),
        (date("2030-05-26"), Certainty::Announced)
    );
}

#[test]
fn starfield_alone_is_an_error_before_and_a_lock_out_after_it_leaves() {
    let before = forecast(&[STARFIELD], "2026-11-30");
    let mut findings = before.findings.iter();
    let leaves = findings.find(|it| it.id == "root-leaves-mozilla").unwrap();
    assert_eq!(
        (leaves.severity, leaves.date),
        (Severity::Error, Some(date("2027-04-15")))
    );
    assert_eq!(before.lock_out.unwrap().at, date("2027-04-15"));
    let after = forecast(&[STARFIELD], "2027-04-15");
    assert_eq!(after.findings[0].id, "locked-out");
    assert_eq!(after.findings[0].severity, Severity::LockedOut);
}

#[test]
fn the_roots_of_lets_encrypt_hold_until_2035_though_x1_leaves_in_2030() {
    let forecast = forecast(&["ISRG Root X1", "ISRG Root X2"], "2026-11-30");
    let leaves = forecast
        .findings
        .iter()
        .filter(|it| it.id == "root-leaves-mozilla");
    let leaves = leaves.map(|it| (it.date, it.severity)).collect::<Vec<_>>();
    let [x1, x2] = ["2030-06-04", "2035-09-04"].map(|at| (Some(date(at)), Severity::Notice));
    assert_eq!(leaves, [x1, x2]);
    assert_eq!(forecast.lock_out.unwrap().at, date("2035-09-04"));
}

/// Root YR and Root YE are in no list yet, and cross-signed by roots that are; the cross-signs of 2025 were
/// replaced.
#[test]
fn the_new_roots_of_lets_encrypt_hold_by_their_cross_signs() {
    for (pin, date) in [
        ("fk6IOKit1ild5647BH06ujSIq5XbCgqlbYl6ANhhi88=", "2030-06-04"),
        (
            "sCkq5UWXjg+7mKu9lMhhYF5bGLsy7VI/UNW3tccdR7w=",
            "2032-09-02T23:59:59Z",
        ),
        // YR1 and YE1.
        (
            "LoMHBotttiDko50Gi13uXW71eIy7LAttI+rYT8wXF4w=",
            "2028-09-02T23:59:59Z",
        ),
        (
            "brzvtCELCIZUo4sD/qPX0ccRtPsd3DY6RfmxpOU9oB4=",
            "2028-09-02T23:59:59Z",
        ),
    ] {
        let pin = format!("sha256/{pin}").parse().unwrap();
        let forecast = forecast_of([pin].into_iter(), "2026-11-30");
        let lock_out = forecast.lock_out.unwrap();
        assert_eq!(
            rfc3339::print(lock_out.at),
            rfc3339::print(rfc3339::parse_date(date).unwrap())
        );
        assert!(forecast.findings.iter().all(|it| it.id != "locked-out"));
    }
}

/// The announcement of 2026-04 is not known before it was made.
#[test]
fn what_is_published_later_does_not_count() {
    let before = forecast(&[STARFIELD], "2023-09-11");
    assert!(
        before
            .findings
            .iter()
            .all(|it| it.id != "root-leaves-mozilla")
    );
}
