//! Events of the feature `tracing`: level, message and fields are those of the table at `Event`.
#![cfg(all(feature = "hyper", feature = "tracing"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Once};

use common::noted::{Hosts, numbered_pin, pinning, temp_dir};
use common::recording::{
    Fixture, Latch, ReleaseOnDrop, URI, builder, failing_policy, with_recorder,
};
use common::server::{HyperClient, Server, get};
use common::{NOW, TIMEOUT, header_value, now, policy_with, provider};
use http_body_util::Empty;
use pinhold::header::Noted;
use pinhold::layer::NotePins;
use pinhold::report::{DropReason, Report, Reporter};
use pinhold::storage::StorageError;
use pinhold::{Enforcement, FileStorage, Host, PinStore, Pinning, PinningVerifier, TrustAnchors};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use tower::Service;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// An event of this crate: its level, its message, and its fields sorted by name.
#[derive(Clone, Debug, PartialEq)]
struct LogEvent(Level, String, Vec<(&'static str, String)>);

impl LogEvent {
    fn new(event: &Event<'_>) -> Self {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap();
        let fields = fields.0.into_iter().collect();
        Self(*event.metadata().level(), message, fields)
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// A subscriber that calls a closure for every event of this crate.
struct OnEvent<F>(F);

impl<F: Fn(&Event<'_>) + 'static> Subscriber for OnEvent<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pinhold"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.0(event);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Receives all events from now on, including those of tests that run concurrently.
fn listen() -> Receiver<LogEvent> {
    static SENDERS: Mutex<Vec<Sender<LogEvent>>> = Mutex::new(Vec::new());
    static SET: Once = Once::new();
    SET.call_once(|| {
        let subscriber = OnEvent(|event: &Event<'_>| {
            let event = LogEvent::new(event);
            for sender in &*SENDERS.lock().unwrap() {
                let _ = sender.send(event.clone());
            }
        });
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    let (sender, events) = channel();
    SENDERS.lock().unwrap().push(sender);
    events
}

/// Returns the next event that matches.
fn next_matching(events: &Receiver<LogEvent>, matches: impl Fn(&LogEvent) -> bool) -> LogEvent {
    loop {
        let event = events.recv_timeout(TIMEOUT).unwrap();
        if matches(&event) {
            return event;
        }
    }
}

#[tokio::test]
async fn a_subscriber_that_panics_changes_no_decision_and_stops_no_observer() {
    let fixture = Fixture::start().await;
    let (pinning, recorder) = with_recorder(builder().static_pins("example.com", failing_policy()));
    let is_called = Arc::new(AtomicBool::new(false));
    let called = Arc::clone(&is_called);
    let subscriber = OnEvent(move |_: &Event<'_>| {
        called.store(true, Ordering::SeqCst);
        panic!("expected by the test");
    });
    let _guard = tracing::subscriber::set_default(subscriber);
    fixture.visit(&pinning).await.unwrap_err().unwrap();
    assert!(is_called.load(Ordering::SeqCst));
    recorder.violation(&pinning);
}

#[test]
fn storage_errors_are_events() {
    let events = listen();
    let expect_warning = |message: &str, expected: &StorageError| {
        let LogEvent(level, _, fields) = next_matching(&events, |event| event.1 == message);
        assert_eq!(level, Level::WARN);
        assert_eq!(fields, [("error", expected.to_string())]);
    };
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    fs::write(&file, "").unwrap();
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    expect_warning("noted pins were corrupt", &error.unwrap());

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let hosts = Hosts::blocking(&["a.example"]);
    let value = hosts.value(numbered_pin(1), "max-age=1");
    hosts.note(&pinning(&store), 0, &value, NOW);
    let error = store.flush().unwrap_err();
    expect_warning("noted pins can't be stored", &error);

    let (_, error) = PinStore::open_or_recover(FileStorage::new(&file));
    let expected = [("error", error.unwrap().to_string())];
    let mut rest = std::iter::from_fn(|| events.recv_timeout(TIMEOUT).ok());
    assert!(rest.any(|LogEvent(level, _, fields)| level == Level::WARN && fields == expected));
}

#[test]
fn events_are_emitted_while_no_lock_is_held() {
    let (sender, done) = channel();
    std::thread::spawn(move || {
        let hosts = Hosts::blocking(&["a.example"]);
        let policies = [
            failing_policy().enforcement(Enforcement::ReportOnly),
            failing_policy(),
            policy_with(hosts.leaf.pin()),
        ];
        for (policy, passes) in policies.into_iter().zip([true, false, true]) {
            let pinning = builder().static_pins("a.example", policy).build().unwrap();
            let changed = pinning.clone();
            let is_called = Arc::new(AtomicBool::new(false));
            let called = Arc::clone(&is_called);
            let subscriber = OnEvent(move |_: &Event<'_>| {
                called.store(true, Ordering::SeqCst);
                // Each call takes a lock, so it blocks forever if the emitting code holds one.
                changed.restore_static();
                changed.store().clear();
            });
            let _guard = tracing::subscriber::set_default(subscriber);
            let value = hosts.value(numbered_pin(1), "max-age=100");
            let noted = hosts.note(&pinning, 0, &value, NOW);
            assert_eq!(noted == Noted::Added, passes);
            let verifier = PinningVerifier::builder(pinning).with_anchors(hosts.anchors.clone());
            let verifier = verifier.with_provider(provider());
            let verifier = verifier.verifier_without_resumption_check().unwrap();
            let (name, leaf) = (ServerName::try_from("a.example"), &hosts.leaf.chain[0]);
            let verified = verifier.verify_server_cert(leaf, &[], &name.unwrap(), &[], now());
            assert_eq!(verified.is_ok(), passes);
            assert!(is_called.load(Ordering::SeqCst));
        }
        sender.send(()).unwrap();
    });
    done.recv_timeout(TIMEOUT).unwrap();
}

/// Makes a request, without sending it, and returns how many connections it has retired. `on_retired`
/// is called for each.
fn retired_by_request(
    mut client: NotePins<HyperClient>,
    on_retired: impl Fn() + Send + Sync + 'static,
) -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let subscriber = OnEvent(move |event: &Event<'_>| {
        assert!(
            LogEvent::new(event)
                .1
                .starts_with("pooled connection retired")
        );
        counted.fetch_add(1, Ordering::SeqCst);
        on_retired();
    });
    let request = http::Request::get(URI).body(Empty::new()).unwrap();
    tracing::subscriber::with_default(subscriber, || drop(client.call(request)));
    count.load(Ordering::SeqCst)
}

/// Both connections fail the new pins, and the first is retired while another thread makes a request.
#[tokio::test]
async fn a_request_does_not_get_a_connection_that_another_request_is_about_to_retire() {
    let fixture = Fixture::start().await;
    let pinning = builder().build().unwrap();
    let mut client = fixture.client(&pinning);
    for uri in [URI, "https://example.com:9443/"] {
        get(&mut client, uri).await.unwrap();
    }
    let policies = [("example.com", failing_policy())];
    pinning.replace_pins(policies).unwrap();
    let by_other = Arc::new(AtomicUsize::new(0));
    let (seen, other) = (Arc::clone(&by_other), client.clone());
    let by_first = retired_by_request(client, move || {
        let other = other.clone();
        let thread = std::thread::spawn(|| retired_by_request(other, || {}));
        seen.fetch_add(thread.join().unwrap(), Ordering::SeqCst);
    });
    assert_eq!((by_first, by_other.load(Ordering::SeqCst)), (1, 1));
}

/// The writer thread hangs, so that removals accumulate until all of them are dropped.
#[test]
fn a_subscriber_may_use_the_store_when_removals_are_dropped() {
    let events = listen();
    let (sender, done) = channel();
    let (emit, emitted) = channel();
    std::thread::spawn(move || {
        let folder = temp_dir();
        let store = PinStore::open(FileStorage::new(folder.path().join("pins.jsonl"))).unwrap();
        store.flush().unwrap();
        let lock = File::create(folder.path().join("pins.jsonl.lock")).unwrap();
        lock.lock().unwrap();
        let used = store.clone();
        let subscriber = OnEvent(move |event: &Event<'_>| {
            // Each call takes a lock, so it blocks forever if the emitting code holds one.
            drop(used.list());
            drop(used.durable());
            emit.send(LogEvent::new(event)).unwrap();
        });
        let guard = tracing::subscriber::set_default(subscriber);
        // More than twice the limit, since the writer thread may take up to the limit before it hangs.
        for number in 0..12_000 {
            store.forget(&Host::parse(&format!("h{number}.example")).unwrap());
        }
        drop(guard);
        drop(lock);
        sender.send(()).unwrap();
    });
    done.recv_timeout(TIMEOUT).unwrap();
    let message = "too many removals are waiting for the storage, all of them are dropped";
    let is_expected = |event: &LogEvent| event.1 == message;
    // The removals are dropped by this thread, or before that by the writer thread.
    let of_thread = emitted.try_iter().find(is_expected);
    let LogEvent(level, ..) = of_thread.unwrap_or_else(|| next_matching(&events, is_expected));
    assert_eq!(level, Level::WARN);
}

/// A reporter that drops every report.
struct DropAll;

impl Reporter for DropAll {
    fn report(&self, _: Report) -> Result<(), DropReason> {
        Err(DropReason::RateLimit)
    }
}

const HOST: (&str, &str) = ("host", "example.com");

/// Checks the next event about `example.com`. Other tests use other hosts.
#[track_caller]
fn expect_event(
    events: &Receiver<LogEvent>,
    level: Level,
    message: &str,
    fields: &[(&'static str, &str)],
) {
    let fields = fields
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    let expected = LogEvent(level, message.to_owned(), fields.collect());
    let is_about_host = |event: &LogEvent| event.2.contains(&("host", "example.com".to_owned()));
    assert_eq!(next_matching(events, is_about_host), expected);
}

#[tokio::test]
async fn each_event_of_the_table_has_its_message_level_and_fields() {
    let events = listen();
    let fixture = Fixture::start().await;
    check_events_of_handshakes(&fixture, &events).await;
    check_events_of_headers(&fixture, &events).await;
}

async fn check_events_of_handshakes(fixture: &Fixture, events: &Receiver<LogEvent>) {
    let (noted_hostname, port) = (("noted_hostname", "example.com"), ("port", "8443"));
    let refusing = builder().static_pins("example.com", failing_policy());
    let refusing = refusing.reporter(|_| Ok(DropAll)).build().unwrap();
    fixture.visit(&refusing).await.unwrap_err().unwrap();
    let fields = [HOST, noted_hostname, port];
    expect_event(events, Level::WARN, "pin violation", &fields);
    let reason = ("reason", "the limit of reports within an hour is reached");
    expect_event(events, Level::WARN, "report dropped", &[HOST, reason]);

    let policy = failing_policy().enforcement(Enforcement::ReportOnly);
    let reporting = builder().static_pins("example.com", policy);
    let reporting = reporting.build().unwrap();
    fixture.visit(&reporting).await.unwrap();
    expect_event(events, Level::WARN, "pins would have failed", &fields);

    let anchors = TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    let skipping = builder().static_pins("example.com", failing_policy());
    let skipping = skipping.build().unwrap();
    let visit = fixture.visit_by(&skipping, anchors.unwrap());
    visit.await.unwrap();
    expect_event(events, Level::WARN, "pins skipped", &[HOST]);
}

async fn check_events_of_headers(fixture: &Fixture, events: &Receiver<LogEvent>) {
    let noting = Pinning::builder().build().unwrap();
    let value = header_value(fixture.leaf.pin(), "max-age=100");
    for (value, level, message, reason) in [
        (&*value, Level::INFO, "pins noted", None),
        (
            "max-age=0",
            Level::INFO,
            "pins removed",
            Some("max-age is 0"),
        ),
        (
            "max-age=0",
            Level::DEBUG,
            "pin header ignored",
            Some("the host has no noted pins to remove"),
        ),
    ] {
        let server = Server::start(&fixture.leaf, &[("public-key-pins", value)]).await;
        fixture.visit_at(&server, &noting).await.unwrap();
        let fields = [Some(HOST), reason.map(|reason| ("reason", reason))];
        let fields = fields.into_iter().flatten().collect::<Vec<_>>();
        expect_event(events, level, message, &fields);
    }
}

#[test]
fn lost_events_are_counted_in_an_event() {
    let events = listen();
    let hosts = Hosts::blocking(&["a.example"]);
    let latch = Latch::default();
    let release = ReleaseOnDrop(latch.clone());
    let observed = builder().observer(move |_| latch.wait()).build().unwrap();
    for number in 0..1_000 {
        // Each header changes the pins, so each emits an event.
        let value = hosts.value(numbered_pin(number % 2), "max-age=1000");
        hosts.note(&observed, 0, &value, NOW);
    }
    drop(release);
    assert!(observed.flush_reports(TIMEOUT));
    let LogEvent(level, _, fields) = next_matching(&events, |event| event.1 == "events lost");
    assert_eq!(level, Level::WARN);
    let lost = fields[0].1.parse::<u64>().unwrap();
    assert_eq!(fields[0].0, "events");
    // 64 events about one host wait, and one more may be in delivery.
    assert!((935..=936).contains(&lost), "{lost}");
    assert_eq!(fields[1], ("violations", "0".to_owned()));
}
