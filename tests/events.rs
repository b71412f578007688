//! What the feature `tracing` tells, as the table at `Event` has it.
#![cfg(all(feature = "hyper", feature = "tracing"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex, Once};
use std::{fmt, fs};

use common::noted::{Hosts, numbered_pin, pinning, temp_dir};
use common::recording::{Fixture, builder, failing_policy, with_recorder};
use common::server::Server;
use common::{NOW, TIMEOUT, header_value, now, policy_with, provider};
use pinhold::header::Noted;
use pinhold::report::{DropReason, Report, Reporter};
use pinhold::{Enforcement, FileStorage, PinStore, Pinning, PinningVerifier, TrustAnchors};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// An event of ours: its level, its message, and its fields in the order of their names.
#[derive(Clone, Debug, PartialEq)]
struct Said(Level, String, Vec<(&'static str, String)>);

/// Sends each to all who listen.
#[derive(Default)]
struct Listener(Mutex<Vec<Sender<Said>>>);

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for &'static Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pinhold"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap();
        let fields = fields.0.into_iter().collect();
        let said = Said(*event.metadata().level(), message, fields);
        for sender in &*self.0.lock().unwrap() {
            let _ = sender.send(said.clone());
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// As a subscriber should not be.
struct Panicking;

impl Subscriber for Panicking {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pinhold"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        panic!("as the test wants");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_subscriber_that_panics_changes_no_verdict_and_silences_nobody() {
    let fixture = Fixture::start().await;
    let (pinning, told) = with_recorder(builder().static_pins("example.com", failing_policy()));
    let _here = tracing::subscriber::set_default(Panicking);
    fixture.visit(&pinning).await.unwrap_err().unwrap();
    told.violation(&pinning);
}

/// All that is said from now on, by whatever test.
fn listen() -> Receiver<Said> {
    static LISTENER: LazyLock<Listener> = LazyLock::new(Listener::default);
    static SET: Once = Once::new();
    SET.call_once(|| tracing::subscriber::set_global_default(&*LISTENER).unwrap());
    let (sender, events) = channel();
    LISTENER.0.lock().unwrap().push(sender);
    events
}

/// The next event that is wanted.
fn next(events: &Receiver<Said>, is_wanted: impl Fn(&Said) -> bool) -> Said {
    loop {
        let said = events.recv_timeout(TIMEOUT).unwrap();
        if is_wanted(&said) {
            return said;
        }
    }
}

#[test]
fn trouble_with_the_storage_is_an_event() {
    let events = listen();
    let warned = |message: &str, expected: &pinhold::storage::StorageError| {
        let Said(level, _, fields) = next(&events, |said| said.1 == message);
        assert_eq!(level, Level::WARN);
        assert_eq!(fields, [("error", expected.to_string())]);
    };
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    fs::write(&file, "").unwrap();
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    warned("noted pins were damaged", &error.unwrap());

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let hosts = Hosts::blocking(&["a.example"]);
    hosts.note(
        &pinning(&store),
        0,
        &hosts.value(numbered_pin(1), "max-age=1"),
        NOW,
    );
    let error = store.flush().unwrap_err();
    warned("noted pins can't be stored", &error);

    let (_, error) = PinStore::open_or_recover(FileStorage::new(&file));
    let of_opening = [("error", error.unwrap().to_string())];
    let mut said = std::iter::from_fn(|| events.recv_timeout(TIMEOUT).ok());
    assert!(said.any(|Said(level, _, fields)| level == Level::WARN && fields == of_opening));
}

/// Changes the pins at every event, in the thread where it happened.
struct Meddles(Pinning);

impl Subscriber for Meddles {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pinhold"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        // Each waits for a lock that whoever told of the event must not hold.
        self.0.restore_static();
        self.0.store().clear();
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn events_are_told_while_no_lock_is_held() {
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
            let subscriber = Meddles(pinning.clone());
            let _meddling = tracing::subscriber::set_default(subscriber);
            let noted = hosts.note(
                &pinning,
                0,
                &hosts.value(numbered_pin(1), "max-age=100"),
                NOW,
            );
            assert_eq!(noted == Noted::Added, passes);
            let verifier = PinningVerifier::builder(pinning, hosts.anchors.clone());
            let verifier = verifier.with_provider(provider());
            let verifier = verifier.verifier_without_resumption_check().unwrap();
            let (name, leaf) = (ServerName::try_from("a.example"), &hosts.leaf.chain[0]);
            let verified = verifier.verify_server_cert(leaf, &[], &name.unwrap(), &[], now());
            assert_eq!(verified.is_ok(), passes);
        }
        sender.send(()).unwrap();
    });
    done.recv_timeout(TIMEOUT).unwrap();
}

/// Takes no report.
struct Refuses;

impl Reporter for Refuses {
    fn report(&self, _: Report) -> Result<(), DropReason> {
        Err(DropReason::RateLimit)
    }
}

#[tokio::test]
async fn each_event_of_the_table_has_its_message_level_and_fields() {
    let events = listen();
    let said = |level, message: &str, fields: &[(&'static str, &str)]| {
        let fields = fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let expected = Said(level, message.to_owned(), fields.collect());
        // Not of the other tests.
        let is_ours = |said: &Said| said.2.contains(&("host", "example.com".to_owned()));
        assert_eq!(next(&events, is_ours), expected);
    };
    let (host, named) = (("host", "example.com"), ("noted_hostname", "example.com"));
    let port = ("port", "8443");
    let fixture = Fixture::start().await;
    let refused = builder().static_pins("example.com", failing_policy());
    let refused = refused.reporter(|_| Ok(Refuses)).build().unwrap();
    fixture.visit(&refused).await.unwrap_err().unwrap();
    said(Level::WARN, "pin violation", &[host, named, port]);
    let reason = (
        "reason",
        "the limit of reports within an hour is reached",
    );
    said(Level::WARN, "report dropped", &[host, reason]);

    let policy = failing_policy().enforcement(Enforcement::ReportOnly);
    let told = builder()
        .static_pins("example.com", policy)
        .build()
        .unwrap();
    fixture.visit(&told).await.unwrap();
    said(Level::WARN, "pins would have failed", &[host, named, port]);

    let anchors = TrustAnchors::new().with_user_added([fixture.root.certificate()]);
    let skipped = builder()
        .static_pins("example.com", failing_policy())
        .build()
        .unwrap();
    fixture.visit_by(&skipped, anchors.unwrap()).await.unwrap();
    said(Level::WARN, "pins skipped", &[host]);

    let noting = Pinning::builder().build().unwrap();
    for (value, level, message, more) in [
        (
            &*header_value(fixture.leaf.pin(), "max-age=100"),
            Level::INFO,
            "pins noted",
            None,
        ),
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
        let fields = [Some(host), more.map(|reason| ("reason", reason))];
        said(
            level,
            message,
            &fields.into_iter().flatten().collect::<Vec<_>>(),
        );
    }
}

#[test]
fn lost_events_are_counted_aloud() {
    let events = listen();
    let hosts = Hosts::blocking(&["a.example"]);
    let latch = common::recording::Latch::default();
    let (opens, pass) = (common::recording::ReleaseOnDrop(latch.clone()), latch);
    let observed = builder().observer(move |_| pass.wait()).build().unwrap();
    for _ in 0..1_000 {
        // No pin of it is in the chain.
        hosts.note(&observed, 0, &common::header::valid_header(""), NOW);
    }
    drop(opens);
    assert!(observed.flush_reports(TIMEOUT));
    let Said(level, _, fields) = next(&events, |said| said.1 == "events lost");
    assert_eq!(level, Level::WARN);
    let lost = fields[0].1.parse::<u64>().unwrap();
    assert_eq!(fields[0].0, "events");
    assert!((743..=744).contains(&lost), "{lost}");
}
