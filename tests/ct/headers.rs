//! The obsolete header `Expect-CT`.

use pinhold::Event;
use pinhold::ct::{CtMode, CtOptions, ExpectCt, ExpectCtError};

use crate::common::server::{Names, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::log::Precertificate;
use crate::world::{App, HOST, World, short_lived};

#[test]
fn the_examples_of_rfc_9163_are_parsed() {
    let field = ExpectCt::parse(b"max-age=86400, enforce").unwrap();
    assert_eq!(
        (field.max_age, field.enforce, field.report_uri),
        (86_400, true, None)
    );
    let field = br#"max-age=86400,report-uri="https://foo.example/report""#;
    let field = ExpectCt::parse(field).unwrap();
    assert_eq!((field.max_age, field.enforce), (86_400, false));
    let uri = field.report_uri.unwrap();
    assert_eq!(uri.as_str(), "https://foo.example/report");
    let field = br#"MAX-AGE="5", other="a,b", enforce,, report-uri="https://foo.example/a,b""#;
    let field = ExpectCt::parse(field).unwrap();
    assert_eq!((field.max_age, field.enforce), (5, true));
    assert_eq!(
        ExpectCt::parse(b"max-age=99999999999999999999")
            .unwrap()
            .max_age,
        u64::MAX
    );
}

#[test]
fn malformed_fields_are_refused() {
    for (field, error) in [
        (&b""[..], ExpectCtError::MaxAge),
        (b"enforce", ExpectCtError::MaxAge),
        (b"max-age", ExpectCtError::MaxAge),
        (b"max-age=", ExpectCtError::MaxAge),
        (b"max-age=-1", ExpectCtError::MaxAge),
        (b"max-age=1, max-age=1", ExpectCtError::Syntax),
        (b"max-age=1, enforce=1", ExpectCtError::Syntax),
        (b"max-age=1, enforce, enforce", ExpectCtError::Syntax),
        (b"max-age=\"1", ExpectCtError::Syntax),
        (b"max-age=\"1\"2", ExpectCtError::Syntax),
        (b"max-age=1, \xff", ExpectCtError::Syntax),
    ] {
        let text = String::from_utf8_lossy(field);
        assert_eq!(ExpectCt::parse(field).unwrap_err(), error, "{text}");
    }
    let field = b"max-age=1, report-uri=\"no URI\"";
    let error = ExpectCt::parse(field).unwrap_err();
    assert!(matches!(error, ExpectCtError::ReportUri(_)), "{error:?}");
}

/// The header requests a report, and has no other effect.
#[tokio::test]
async fn a_host_that_requests_reports_is_observed_if_its_certificate_does_not_comply() {
    let world = World::new();
    let field = (
        "expect-ct",
        "max-age=86400, enforce, report-uri=\"https://r.example/\"",
    );
    let bare = world.ca.leaf_from(short_lived());
    let logged = Precertificate::new(&world.ca, short_lived());
    let logged = logged.logged(&[&world.elm, &world.ash]);
    let forgotten = ("expect-ct", "max-age=0");
    for (leaf, field, expected) in [
        (&bare, field, 1),
        (&logged, field, 0),
        (&bare, forgotten, 0),
    ] {
        let options = CtOptions::new(world.list()).other_hosts(CtMode::ReportOnly);
        let app = App::new(options);
        let server = Server::start(leaf, &[field]).await;
        let names = Names::new([(HOST, &server)]);
        let mut client = client(&app.pinning, built_in_anchors(&[&world.root]), &names);
        get(&mut client, "https://example.com/").await.unwrap();
        let events = app.events().into_iter();
        let requested = events.filter(|event| matches!(event, Event::ExpectCt { .. }));
        assert_eq!(requested.count(), expected);
    }
}
