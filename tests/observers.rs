//! What observers are told, by real traffic: each kind of event.
#![cfg(all(feature = "hyper", feature = "reports"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Mutex;

use common::recording::{Fixture, URI, builder, failing_policy, next_event, with_observer};
use common::server::{Names, Server, client, get};
use common::validated::{built_in_anchors, verified_chain};
use common::{NOW, TIMEOUT, header_value, now};
use pinhold::header::{HeaderSyntax, IgnoreReason, Noted, PinHeader, RemovalReason};
use pinhold::policy::{KnownPinnedHost, PinSource};
use pinhold::report::{DropReason, Report, Reporter};
use pinhold::storage::{Batch, Storage, StorageError};
use pinhold::{
    Enforcement, Event, FileStorage, Host, PinStore, Pinning, SpkiFingerprint, TrustAnchors,
};

const PKP: &str = "public-key-pins";

fn reported(event: &Event) -> &Report {
    match event {
        Event::Violation(report) | Event::WouldBeViolation(report) => report,
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn a_refused_handshake_is_told_once_and_the_connection_ended_all_the_same() {
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
async fn an_open_connection_that_new_pins_end_is_told_once() {
    let fixture = Fixture::start().await;
    let (builder, events) = with_observer(builder());
    let pinning = builder.build().unwrap();
    let mut client = fixture.client(&pinning);
    get(&mut client, URI).await.unwrap();
    assert!(events.try_recv().is_err());
    pinning
        .replace_pins([("example.com", failing_policy())])
        .unwrap();
    // Nobody uses it: its task is woken.
    let told = tokio::task::spawn_blocking(move || (next_event(&events), events));
    let (event, events) = told.await.unwrap();
    assert!(matches!(event, Event::Violation(_)));
    assert_eq!(reported(&event).port(), 8443);
    drop(client);
    assert!(pinning.flush_reports(TIMEOUT));
    assert!(events.try_recv().is_err());
    assert_eq!(fixture.server.requests(), 1);
}

#[tokio::test]
async fn what_would_be_refused_and_what_is_skipped_is_told() {
    let fixture = Fixture::start().await;
    let policy = failing_policy().enforcement(Enforcement::ReportOnly);
    let (of_policy, events) = with_observer(builder().static_pins("example.com", policy));
    let pinning = of_policy.build().unwrap();
    fixture.visit(&pinning).await.unwrap();
    let event = next_event(&events);
    assert!(matches!(event, Event::WouldBeViolation(_)));
    assert_eq!(reported(&event).port(), 8443);

    let (of_policy, events) = with_observer(builder().static_pins("example.com", failing_policy()));
    let pinning = of_policy.build().unwrap();
    let anchors = TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    let names = Names::new([("example.com", &fixture.server)]);
    let mut client = client(&pinning, anchors.unwrap(), &names);
    get(&mut client, URI).await.unwrap();
    assert!(
        matches!(next_event(&events), Event::Skipped { host } if host.as_str() == "example.com")
    );
}

#[tokio::test]
async fn what_headers_change_is_told_a_mere_refresh_is_not() {
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
        let told = events.try_iter().collect::<Vec<_>>();
        assert_eq!(told.len(), usize::from(changes), "{value}: {told:?}");
        assert!(told.into_iter().all(is_noted));
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
            (Event::HeaderIgnored { host, reason }, None) => {
                assert_eq!(host.unwrap().as_str(), "example.com");
                assert_eq!(reason, IgnoreReason::NotKnown);
            }
            (event, _) => panic!("{event:?}"),
        }
    }
}

/// A storage on which nothing can be stored.
struct Fails;

impl Storage for Fails {
    fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
        Err(StorageError::other("as the test wants"))
    }
}

#[tokio::test]
async fn trouble_with_the_storage_is_told_after_the_header() {
    let fixture = Fixture::start().await;
    let value = header_value(fixture.leaf.pin(), "max-age=100");
    let fixture = Fixture {
        server: Server::start(&fixture.leaf, &[(PKP, &value)]).await,
        ..fixture
    };
    let (builder, events) = with_observer(builder().store(PinStore::open(Fails).unwrap()));
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

/// Answers reports as it is told to.
struct Answers(Mutex<Vec<Option<DropReason>>>);

impl Reporter for Answers {
    fn report(&self, _: Report) -> Result<(), DropReason> {
        let answer = self.0.lock().unwrap().pop();
        match answer {
            Some(Some(reason)) => Err(reason),
            Some(None) => panic!("as the test wants"),
            None => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_dropped_report_is_told_and_a_panic_of_the_reporter_is_one() {
    let fixture = Fixture::start().await;
    let (builder, events) = with_observer(builder().static_pins("example.com", failing_policy()));
    let answers = Mutex::new(vec![None, Some(DropReason::RateLimit)]);
    let builder = builder.reporter(|_| Ok(Answers(answers)));
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
            told => panic!("{told:?}"),
        }
    }
}

fn header(pin: SpkiFingerprint) -> PinHeader {
    let value = header_value(pin, "max-age=60; report-uri=\"https://a.example/\"");
    PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469).unwrap()
}

/// Each may name an endpoint of its own. 7469-2.3.2-e
#[tokio::test]
async fn static_and_noted_pins_that_both_refuse_are_both_told() {
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
    let told = [(); 2].map(|()| reported(&next_event(&events)).violation().policy().source);
    assert_eq!(told, [PinSource::Static, PinSource::Noted]);
    assert!(pinning.flush_reports(TIMEOUT));
    assert!(events.try_recv().is_err());
}

/// A reporter has a handle of the pins, in threads that live on.
#[tokio::test]
async fn the_last_handle_of_the_application_leaves_a_stored_store_also_with_a_reporter() {
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
    let builder = builder.reporter(|pinning| Ok(Keeps(pinning)));
    let pinning = builder.build().unwrap();
    let header = header(fixture.leaf.pin());
    for (at, expected) in [(NOW, Noted::Added), (NOW + 5, Noted::Refreshed)] {
        let noted = pinning.note(chain.host().unwrap(), &header, &chain, common::at(at));
        assert_eq!(noted, expected);
    }
    drop(pinning);
    assert_eq!(open().list()[0].noted_at, common::at(NOW + 5));
}

/// Has a handle of the pins, as one that sends reports over connections with pins.
struct Keeps(Pinning);

impl Reporter for Keeps {
    fn report(&self, _: Report) -> Result<(), DropReason> {
        assert!(!format!("{:?}", self.0).is_empty());
        Ok(())
    }
}
