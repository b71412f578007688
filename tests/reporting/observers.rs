//! Each kind of event that observers receive, emitted by real connections.

use std::sync::Mutex;

use crate::common::recording::{Fixture, URI, builder, failing_policy, next_event, with_observer};
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{NOW, TIMEOUT, header_value, now};
use pinhold::header::{HeaderSyntax, IgnoreReason, Noted, PinHeader, RemovalReason};
use pinhold::policy::PinSource;
use pinhold::report::{DropReason, Report, Reporter};
use pinhold::storage::{Change, Merged, Record, Storage, StorageError};
use pinhold::{
    Enforcement, Event, FileStorage, Host, PinStore, Pinning, SpkiFingerprint, TrustAnchors,
};

const PKP: &str = "public-key-pins";

/// The report of a violation event.
fn reported(event: &Event) -> &Report {
    match event {
        Event::Violation(report) | Event::WouldBeViolation(report) => report,
        event => panic!("expected a violation, found {event:?}"),
    }
}

#[tokio::test]
async fn a_refused_handshake_emits_one_event_and_closes_the_connection() {
    // 7469-2.3.2-e
    let fixture = Fixture::start().await;
    let (builder, events) = with_observer(builder().static_pins("example.com", failing_policy()));
    let pinning = builder.build().unwrap();
    let violation = fixture.visit(&pinning).await.unwrap_err().unwrap();
    let event = next_event(&events);
    assert!(matches!(event, Event::Violation(_)));
    let report = reported(&event);
    assert_eq!(report.port(), 8443);
    assert_eq!(report.violation().at(), violation.at());
    assert_eq!(report.violation().host(), violation.host());
    assert!(pinning.flush_reports(TIMEOUT));
    assert!(events.try_recv().is_err());
    assert_eq!(fixture.server.requests(), 0);
}

#[tokio::test]
async fn an_open_connection_that_new_pins_close_emits_one_event() {
    let fixture = Fixture::start().await;
    let (builder, events) = with_observer(builder());
    let pinning = builder.build().unwrap();
    let mut client = fixture.client(&pinning);
    get(&mut client, URI).await.unwrap();
    assert!(events.try_recv().is_err());
    pinning
        .replace_pins([("example.com", failing_policy())])
        .unwrap();
    // The connection is idle, so its task must be woken.
    let received = tokio::task::spawn_blocking(move || (next_event(&events), events));
    let (event, events) = received.await.unwrap();
    assert!(matches!(event, Event::Violation(_)));
    assert_eq!(reported(&event).port(), 8443);
    drop(client);
    assert!(pinning.flush_reports(TIMEOUT));
    assert!(events.try_recv().is_err());
    assert_eq!(fixture.server.requests(), 1);
}

#[tokio::test]
async fn report_only_failures_and_skipped_checks_emit_events() {
    let fixture = Fixture::start().await;
    let policy = failing_policy().enforcement(Enforcement::ReportOnly);
    let (observed, events) = with_observer(builder().static_pins("example.com", policy));
    let pinning = observed.build().unwrap();
    fixture.visit(&pinning).await.unwrap();
    let event = next_event(&events);
    assert!(matches!(event, Event::WouldBeViolation(_)));
    assert_eq!(reported(&event).port(), 8443);

    let (observed, events) = with_observer(builder().static_pins("example.com", failing_policy()));
    let pinning = observed.build().unwrap();
    let anchors = TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    let names = Names::new([("example.com", &fixture.server)]);
    let mut client = client(&pinning, anchors.unwrap(), &names);
    get(&mut client, URI).await.unwrap();
    assert!(
        matches!(next_event(&events), Event::Skipped { host } if host.as_str() == "example.com")
    );
}

#[tokio::test]
async fn headers_that_change_pins_emit_events_and_refreshes_do_not() {
    let fixture = Fixture::start().await;
    let (builder, events) = with_observer(builder());
    let pinning = builder.build().unwrap();
    let value = |rest| header_value(fixture.leaf.pin(), rest);
    let is_noted = |event| matches!(event, Event::Noted { host } if host.as_str() == "example.com");
    for (value, changes) in [
        (value("max-age=100"), true),
        (value("max-age=100"), false),
        (value("max-age=200"), true),
        (value("max-age=200; includeSubDomains"), true),
        (value("max-age=200; includeSubDomains"), false),
    ] {
        let server = Server::start(&fixture.leaf, &[(PKP, &value)]).await;
        let names = Names::new([("example.com", &server)]);
        let mut client = client(&pinning, built_in_anchors(&[&fixture.root]), &names);
        get(&mut client, URI).await.unwrap();
        assert!(pinning.flush_reports(TIMEOUT));
        let received = events.try_iter().collect::<Vec<_>>();
        assert_eq!(
            received.len(),
            usize::from(changes),
            "{value}: {received:?}"
        );
        assert!(received.into_iter().all(is_noted));
    }
    for (value, expected) in [
        ("max-age=0", Some(RemovalReason::MaxAgeZero)),
        ("max-age=0", None),
    ] {
        let server = Server::start(&fixture.leaf, &[(PKP, value)]).await;
        let names = Names::new([("example.com", &server)]);
        let mut client = client(&pinning, built_in_anchors(&[&fixture.root]), &names);
        get(&mut client, URI).await.unwrap();
        match (next_event(&events), expected) {
            (Event::Removed { reason, .. }, Some(expected)) => assert_eq!(reason, expected),
            (
                Event::HeaderIgnored {
                    host,
                    reason,
                    headers,
                },
                None,
            ) => {
                assert_eq!(headers, 1);
                assert_eq!(host.unwrap().as_str(), "example.com");
                assert_eq!(reason, IgnoreReason::NotKnown);
            }
            (event, _) => panic!("{event:?}"),
        }
    }
}

/// A storage whose commits fail.
struct FailingStorage;

impl Storage for FailingStorage {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
        Err(StorageError::other("expected by the test"))
    }
}

#[tokio::test]
async fn a_storage_error_emits_an_event_in_addition_to_the_noted_pins() {
    let fixture = Fixture::start().await;
    let value = header_value(fixture.leaf.pin(), "max-age=100");
    let fixture = Fixture {
        server: Server::start(&fixture.leaf, &[(PKP, &value)]).await,
        ..fixture
    };
    let (builder, events) = with_observer(builder().store(PinStore::open(FailingStorage).unwrap()));
    let pinning = builder.build().unwrap();
    fixture.visit(&pinning).await.unwrap();
    let mut seen = [false; 2];
    while seen != [true; 2] {
        match next_event(&events) {
            Event::Noted { .. } => seen[0] = true,
            Event::StorageFailed(StorageError::Other(_)) => seen[1] = true,
            event => panic!("{event:?}"),
        }
    }
}

/// A reporter with scripted results: `None` panics. Accepts reports once the script has ended.
struct ScriptedReporter(Mutex<Vec<Option<DropReason>>>);

impl Reporter for ScriptedReporter {
    fn report(&self, _: Report) -> Result<(), DropReason> {
        let result = self.0.lock().unwrap().pop();
        match result {
            Some(Some(reason)) => Err(reason),
            Some(None) => panic!("expected by the test"),
            None => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_dropped_report_and_a_panic_of_the_reporter_emit_an_event() {
    let fixture = Fixture::start().await;
    let (builder, events) = with_observer(builder().static_pins("example.com", failing_policy()));
    let script = Mutex::new(vec![None, Some(DropReason::RateLimit)]);
    let builder = builder.reporter(|_| Ok(ScriptedReporter(script)));
    let pinning = builder.build().unwrap();
    for expected in [
        Some(DropReason::RateLimit),
        Some(DropReason::Reporter),
        None,
    ] {
        fixture.visit(&pinning).await.unwrap_err().unwrap();
        let violation = next_event(&events);
        assert!(pinning.flush_reports(TIMEOUT));
        match (events.try_recv(), expected) {
            (Ok(Event::ReportDropped { report, reason, .. }), Some(expected)) => {
                assert_eq!(reason, expected);
                assert_eq!(report.id(), reported(&violation).id());
            }
            (Err(_), None) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn header(pin: SpkiFingerprint) -> PinHeader {
    let value = header_value(pin, "max-age=60; report-uri=\"https://a.example/\"");
    PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469).unwrap()
}

/// Each policy may have its own report endpoint. 7469-2.3.2-e
#[tokio::test]
async fn static_and_noted_pins_that_both_refuse_emit_one_event_each() {
    let fixture = Fixture::start().await;
    let chain = verified_chain(
        &fixture.leaf,
        "example.com",
        &built_in_anchors(&[&fixture.root]),
    )
    .await;
    let (builder, events) = with_observer(builder().static_pins("example.com", failing_policy()));
    let pinning = builder.build().unwrap();
    pinning.disable_static(&Host::parse("example.com").unwrap());
    let host = chain.host().unwrap();
    let noted = pinning.note(host, &header(fixture.leaf.pin()), &chain, now());
    assert_eq!(noted, Noted::Added);
    assert!(matches!(next_event(&events), Event::Noted { .. }));
    pinning.restore_static();
    let other = Server::start(&fixture.root.leaf(&["example.com"]), &[]).await;
    let visit = fixture.visit_at(&other, &pinning).await;
    assert!(visit.unwrap_err().is_some());
    let sources = [(); 2].map(|()| reported(&next_event(&events)).violation().policy().source);
    assert_eq!(sources, [PinSource::Static, PinSource::Noted]);
    assert!(pinning.flush_reports(TIMEOUT));
    assert!(events.try_recv().is_err());
}

/// A reporter keeps a handle to the pins in threads that outlive the application's handles.
#[tokio::test]
async fn dropping_the_last_handle_flushes_the_store_even_with_a_reporter() {
    let fixture = Fixture::start().await;
    let chain = verified_chain(
        &fixture.leaf,
        "example.com",
        &built_in_anchors(&[&fixture.root]),
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let open = || PinStore::open(FileStorage::new(folder.path().join("noted.jsonl"))).unwrap();
    let builder = builder().store(open());
    let builder = builder.reporter(|pinning| Ok(HandleKeeper(pinning)));
    let pinning = builder.build().unwrap();
    let header = header(fixture.leaf.pin());
    for (at, expected) in [(NOW, Noted::Added), (NOW + 5, Noted::Refreshed)] {
        let noted = pinning.note(
            chain.host().unwrap(),
            &header,
            &chain,
            crate::common::at(at),
        );
        assert_eq!(noted, expected);
    }
    drop(pinning);
    assert_eq!(open().list()[0].noted_at, crate::common::at(NOW + 5));
}

/// Keeps a handle to the pins, as a reporter that connects with the same pins does.
struct HandleKeeper(Pinning);

impl Reporter for HandleKeeper {
    fn report(&self, _: Report) -> Result<(), DropReason> {
        assert!(!format!("{:?}", self.0).is_empty());
        Ok(())
    }
}
