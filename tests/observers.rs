//! What observers are told, by real traffic: each kind of event.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Mutex;

use common::recording::{Scene, URI, builder, failing, next, observed};
use common::server::{Names, Server, client, get};
use common::validated::{trusting, verified_chain};
use common::{NOW, PATIENCE, header_value, now};
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
    let scene = Scene::start().await;
    let (builder, events) = observed(builder().static_pins("example.com", failing()));
    let pinning = builder.build().unwrap();
    let violation = scene.visit(&pinning).await.unwrap_err().unwrap();
    let event = next(&events);
    assert!(matches!(event, Event::Violation(_)));
    let report = reported(&event);
    assert_eq!(report.port(), 8443);
    assert_eq!(report.violation().at(), violation.at());
    assert_eq!(report.violation().host(), violation.host());
    assert!(pinning.flush_reports(PATIENCE));
    assert!(events.try_recv().is_err());
    assert_eq!(scene.server.requests(), 0);
}

#[tokio::test]
async fn an_open_connection_that_new_pins_end_is_told_once() {
    let scene = Scene::start().await;
    let (builder, events) = observed(builder());
    let pinning = builder.build().unwrap();
    let mut client = scene.client(&pinning);
    get(&mut client, URI).await.unwrap();
    assert!(events.try_recv().is_err());
    pinning.replace_pins([("example.com", failing())]).unwrap();
    // Nobody uses it: its task is woken.
    let told = tokio::task::spawn_blocking(move || (next(&events), events));
    let (event, events) = told.await.unwrap();
    assert!(matches!(event, Event::Violation(_)));
    assert_eq!(reported(&event).port(), 8443);
    drop(client);
    assert!(pinning.flush_reports(PATIENCE));
    assert!(events.try_recv().is_err());
    assert_eq!(scene.server.requests(), 1);
}

#[tokio::test]
async fn what_would_be_refused_and_what_is_skipped_is_told() {
    let scene = Scene::start().await;
    let policy = failing().enforcement(Enforcement::ReportOnly);
    let (of_policy, events) = observed(builder().static_pins("example.com", policy));
    let pinning = of_policy.build().unwrap();
    scene.visit(&pinning).await.unwrap();
    let event = next(&events);
    assert!(matches!(event, Event::WouldBeViolation(_)));
    assert_eq!(reported(&event).port(), 8443);

    let (of_policy, events) = observed(builder().static_pins("example.com", failing()));
    let pinning = of_policy.build().unwrap();
    let anchors = TrustAnchors::new().with_user_added([scene.root.certificate()]);
    let names = Names::new([("example.com", &scene.server)]);
    let mut client = client(&pinning, anchors.unwrap(), &names);
    get(&mut client, URI).await.unwrap();
    assert!(matches!(next(&events), Event::Skipped { host } if host.as_str() == "example.com"));
}

#[tokio::test]
async fn what_headers_change_is_told_a_mere_refresh_is_not() {
    let scene = Scene::start().await;
    let (builder, events) = observed(builder());
    let pinning = builder.build().unwrap();
    let value = |rest| header_value(scene.leaf.pin(), rest);
    let is_noted = |event| matches!(event, Event::Noted { host } if host.as_str() == "example.com");
    for (value, changes) in [
        (value("max-age=100"), true),
        (value("max-age=100"), false),
        (value("max-age=200"), true),
        (value("max-age=200; includeSubDomains"), true),
        (value("max-age=200; includeSubDomains"), false),
    ] {
        let server = Server::start(&scene.leaf, &[(PKP, &value)]).await;
        let names = Names::new([("example.com", &server)]);
        let mut client = client(&pinning, trusting(&[&scene.root]), &names);
        get(&mut client, URI).await.unwrap();
        assert!(pinning.flush_reports(PATIENCE));
        let told = events.try_iter().collect::<Vec<_>>();
        assert_eq!(told.len(), usize::from(changes), "{value}: {told:?}");
        assert!(told.into_iter().all(is_noted));
    }
    for (value, expected) in [
        ("max-age=0", Some(RemovalReason::MaxAgeZero)),
        ("max-age=0", None),
    ] {
        let server = Server::start(&scene.leaf, &[(PKP, value)]).await;
        let names = Names::new([("example.com", &server)]);
        let mut client = client(&pinning, trusting(&[&scene.root]), &names);
        get(&mut client, URI).await.unwrap();
        match (next(&events), expected) {
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
    let scene = Scene::start().await;
    let value = header_value(scene.leaf.pin(), "max-age=100");
    let scene = Scene {
        server: Server::start(&scene.leaf, &[(PKP, &value)]).await,
        ..scene
    };
    let (builder, events) = observed(builder().store(PinStore::open(Fails).unwrap()));
    let pinning = builder.build().unwrap();
    scene.visit(&pinning).await.unwrap();
    let mut seen = [false; 2];
    while seen != [true; 2] {
        match next(&events) {
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
    let scene = Scene::start().await;
    let (builder, events) = observed(builder().static_pins("example.com", failing()));
    let answers = Mutex::new(vec![None, Some(DropReason::RateLimit)]);
    let builder = builder.reporter(|_| Ok(Answers(answers)));
    let pinning = builder.build().unwrap();
    for expected in [
        Some(DropReason::RateLimit),
        Some(DropReason::Reporter),
        None,
    ] {
        scene.visit(&pinning).await.unwrap_err().unwrap();
        let violation = next(&events);
        assert!(pinning.flush_reports(PATIENCE));
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
    let scene = Scene::start().await;
    let chain = verified_chain(&scene.leaf, "example.com", &trusting(&[&scene.root])).await;
    let (builder, events) = observed(builder().static_pins("example.com", failing()));
    let pinning = builder.build().unwrap();
    pinning.disable_static(&Host::parse("example.com").unwrap());
    let host = chain.host().unwrap();
    let noted = pinning.note(host, &header(scene.leaf.pin()), &chain, now());
    assert_eq!(noted, Noted::Added);
    assert!(matches!(next(&events), Event::Noted { .. }));
    pinning.restore_static();
    let other = Server::start(&scene.root.leaf(&["example.com"]), &[]).await;
    let visit = scene.visit_at(&other, &pinning).await;
    assert!(visit.unwrap_err().is_some());
    let told = [(); 2].map(|()| reported(&next(&events)).violation().policy().source);
    assert_eq!(told, [PinSource::Static, PinSource::Noted]);
    assert!(pinning.flush_reports(PATIENCE));
    assert!(events.try_recv().is_err());
}

/// A reporter has a handle of the pins, in threads that live on.
#[tokio::test]
async fn the_last_handle_of_the_application_leaves_a_stored_store_also_with_a_reporter() {
    let scene = Scene::start().await;
    let chain = verified_chain(&scene.leaf, "example.com", &trusting(&[&scene.root])).await;
    let folder = tempfile::tempdir().unwrap();
    let open = || PinStore::open(FileStorage::new(folder.path().join("noted.jsonl"))).unwrap();
    let builder = builder().store(open());
    let builder = builder.reporter(|pinning| Ok(Keeps(pinning)));
    let pinning = builder.build().unwrap();
    let header = header(scene.leaf.pin());
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
