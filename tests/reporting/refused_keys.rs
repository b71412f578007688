//! Events and reports of refused keys.

use std::collections::BTreeSet;

use crate::common::header::directive;
use crate::common::pki::Ca;
use crate::common::recording::{Fixture, builder, failing_policy, with_recorder};
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::common::{policy_with, unrelated_pin};
use pinhold::policy::PinSource;
use pinhold::report::{Report, ReportDetail, ReportForm};
use pinhold::{Event, PinViolation, TrustAnchors};
use serde_json::{Value, json};

fn encode(report: &Report, detail: ReportDetail) -> Value {
    let json = report.to_json(&ReportForm::new().detail(detail));
    serde_json::from_str(&json).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_has_no_known_pins_and_names_the_refused_keys_of_the_chain() {
    let fixture = Fixture::start().await;
    let pinned = builder().static_pins("example.com", policy_with(fixture.leaf.pin()));
    for pins in [builder(), pinned] {
        let keys = [fixture.root.pin(), unrelated_pin()];
        let (pinning, recorder) = with_recorder(pins.refuse_keys(keys));
        assert!(fixture.visit(&pinning).await.unwrap_err().is_some());
        let reports = recorder.reports(&pinning);
        let [report] = &reports[..] else {
            panic!("{reports:?}");
        };
        let refused = json!([directive(fixture.root.pin())]);
        for detail in [ReportDetail::Full, ReportDetail::Fingerprints] {
            let json = encode(report, detail);
            assert_eq!(json["known-pins"], json!([]));
            assert_eq!(json["refused-keys"], refused);
        }
        let json = encode(report, ReportDetail::Full);
        assert_eq!(json["hostname"], "example.com");
        assert_eq!(json["noted-hostname"], "example.com");
        assert_eq!(json["port"], 8443);
        assert_eq!(json["include-subdomains"], false);
        let names = json.as_object().unwrap().keys().map(String::as_str);
        let expected = [
            "date-time",
            "effective-expiration-date",
            "hostname",
            "include-subdomains",
            "known-pins",
            "noted-hostname",
            "port",
            "refused-keys",
            "served-certificate-chain",
            "validated-certificate-chain",
        ];
        assert_eq!(names.collect::<BTreeSet<_>>(), expected.into());
        for name in expected {
            assert!(ReportForm::new().field(name, "x").is_err(), "{name}");
        }
        // Without keys, as the name says.
        let json = encode(report, ReportDetail::Counts);
        assert_eq!(json["refused-keys"], json!([]));
        assert_eq!(
            (&json["pins"], &json["validated-keys"]),
            (&json!(1), &json!(2))
        );
        assert!(!json.to_string().contains(&fixture.root.pin().to_base64()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_other_pins_has_no_refused_keys() {
    let fixture = Fixture::start().await;
    let builder = builder().static_pins("example.com", failing_policy());
    let (pinning, recorder) = with_recorder(builder.refuse_keys([unrelated_pin()]));
    assert!(fixture.visit(&pinning).await.unwrap_err().is_some());
    let reports = recorder.reports(&pinning);
    let json = encode(&reports[0], ReportDetail::Full);
    assert!(json.get("refused-keys").is_none());
    assert_eq!(json["known-pins"].as_array().unwrap().len(), 2);
}

/// Each failed policy has a report of its own, and the refused key comes first.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_and_failed_pins_are_two_violations() {
    let fixture = Fixture::start().await;
    let builder = builder().static_pins("example.com", failing_policy());
    let (pinning, recorder) = with_recorder(builder.refuse_keys([fixture.leaf.pin()]));
    let violation = fixture.visit(&pinning).await.unwrap_err().unwrap();
    assert_eq!(violation.policy().source, PinSource::RefusedKeys);
    let sources = recorder
        .events(&pinning)
        .into_iter()
        .map(|event| match event {
            Event::Violation(report) => report.violation().policy().source,
            event => panic!("{event:?}"),
        });
    let expected = [PinSource::RefusedKeys, PinSource::Static];
    assert_eq!(sources.collect::<Vec<_>>(), expected);
    assert_eq!(recorder.reports(&pinning).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_an_ip_address_has_its_text_as_hostname() {
    let root = Ca::root("Root");
    for (name, uri) in [
        ("127.0.0.1", "https://127.0.0.1/"),
        ("::1", "https://[::1]:444/"),
    ] {
        let server = Server::start(&root.leaf(&[name]), &[]).await;
        let names = Names::new([(name, &server), ("[::1]", &server)]);
        let (pinning, recorder) = with_recorder(builder().refuse_keys([root.pin()]));
        let mut client = client(&pinning, built_in_anchors(&[&root]), &names);
        let error = get(&mut client, uri).await.unwrap_err();
        assert!(PinViolation::find(&error).is_some());
        let reports = recorder.reports(&pinning);
        let json = encode(&reports[0], ReportDetail::Full);
        assert_eq!(json["hostname"], name);
    }
}

/// RFC 7469 section 2.6: a chain to a root of the user is not reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_on_a_chain_to_a_user_added_root_is_an_event_but_no_report() {
    let fixture = Fixture::start().await;
    let builder = builder().refuse_keys([fixture.leaf.pin()]);
    let (pinning, recorder) = with_recorder(builder);
    let anchors = TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    let visit = fixture.visit_by(&pinning, anchors.unwrap()).await;
    assert!(visit.unwrap_err().is_some());
    let events = recorder.events(&pinning);
    assert!(matches!(&events[..], [Event::Violation(_)]), "{events:?}");
    assert!(recorder.reports(&pinning).is_empty());
}
