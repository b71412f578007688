//! The thread of the observers: nobody waits for it, it forgets nothing unsaid, and it ends.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::convert::Infallible;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use common::header::{directive, pin};
use common::recording::{
    ChannelReporter, Fixture, Latch, ReleaseOnDrop, builder, failing_policy, next_event,
    with_observer, with_recorder,
};
use common::validated::{built_in_anchors, verified_connection};
use common::{TIMEOUT, provider};
use http::{Request, Response};
use pinhold::report::{DropReason, Report, Reporter};
use pinhold::{
    Enforcement, Event, Host, NotePinsLayer, PinPolicy, PinViolation, Pinning, PinningVerifier,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

const PKP: &str = "public-key-pins";
const RO: &str = "public-key-pins-report-only";

#[tokio::test]
async fn an_observer_that_panics_is_contained_and_told_what_comes_next() {
    let fixture = Fixture::start().await;
    let (sender, entered) = channel();
    let builder = builder().static_pins("example.com", failing_policy());
    let builder = builder.observer(move |event| {
        sender.send(event.clone()).unwrap();
        panic!("as the test wants");
    });
    let (builder, events) = with_observer(builder);
    let pinning = builder.build().unwrap();
    for _ in 0..3 {
        fixture.visit(&pinning).await.unwrap_err().unwrap();
        assert!(matches!(next_event(&entered), Event::Violation(_)));
        assert!(matches!(next_event(&events), Event::Violation(_)));
    }
}

#[tokio::test]
async fn no_handshake_waits_for_an_observer_or_a_reporter() {
    struct Slow(Latch, Sender<()>);
    impl Reporter for Slow {
        fn report(&self, _: Report) -> Result<(), DropReason> {
            self.1.send(()).unwrap();
            self.0.wait();
            Ok(())
        }
    }
    for of_reporter in [false, true] {
        let policy = failing_policy().enforcement(Enforcement::ReportOnly);
        let builder = builder().static_pins("example.com", policy);
        let (latch, (sender, entered)) = (Latch::default(), channel());
        let _opens = ReleaseOnDrop(latch.clone());
        let builder = if of_reporter {
            builder.reporter(move |_| Ok(Slow(latch, sender)))
        } else {
            builder.observer(move |_| {
                sender.send(()).unwrap();
                latch.wait();
            })
        };
        let pinning = builder.build().unwrap();
        let fixture = Fixture::start().await;
        fixture.visit(&pinning).await.unwrap();
        entered.recv_timeout(TIMEOUT).unwrap();
        // It is inside, and stays there.
        for _ in 0..5 {
            fixture.visit(&pinning).await.unwrap();
        }
        assert_eq!(fixture.server.requests(), 6);
        assert!(!pinning.flush_reports(Duration::ZERO));
        assert!(!pinning.flush_reports(Duration::from_millis(1)));
        assert!(entered.try_recv().is_err());
    }
}

/// The connection and its host, past the layer as often as wanted.
async fn respond(layer: &NotePinsLayer, connection: &pinhold::VerifiedConnection) {
    let client = service_fn(|_: Request<()>| async {
        let response = Response::builder().header(RO, directive(pin(1)));
        let response = response.extension(connection.clone());
        Ok::<_, Infallible>(response.body(()).unwrap())
    });
    let request = Request::get("https://example.com/").body(()).unwrap();
    layer.layer(client).oneshot(request).await.unwrap();
}

#[tokio::test]
async fn of_a_hundred_thousand_violations_few_wait_and_the_rest_is_counted() {
    const SENT: u64 = 100_000;
    let fixture = Fixture::start().await;
    let (latch, (sender, entered)) = (Latch::default(), channel());
    let opens = ReleaseOnDrop(latch.clone());
    let builder = builder().observer(move |_| latch.wait());
    let builder = builder.observer(move |event| sender.send(event.clone()).unwrap());
    let pinning = builder.build().unwrap();
    let anchors = built_in_anchors(&[&fixture.root]);
    let known = verified_connection(&fixture.leaf, "example.com", &anchors).await;
    let layer = NotePinsLayer::new(pinning.clone());
    for _ in 0..SENT {
        respond(&layer, &known).await;
    }
    drop(opens);
    assert!(pinning.flush_reports(TIMEOUT));
    let (mut told, mut lost) = (0, 0);
    for event in entered.try_iter() {
        match event {
            Event::WouldBeViolation(_) if lost == 0 => told += 1,
            Event::Lost { events } => lost += events,
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(told + lost, SENT);
    // Those that waited, and the one that was being told.
    assert!((256..=257).contains(&told), "{told}");
    // Afterwards it goes on as before.
    respond(&layer, &known).await;
    assert!(matches!(next_event(&entered), Event::WouldBeViolation(_)));
}

#[tokio::test]
async fn refusals_of_a_bare_verifier_are_bounded_too() {
    const SENT: u64 = 1_000;
    let fixture = Fixture::start().await;
    let (latch, (sender, entered)) = (Latch::default(), channel());
    let opens = ReleaseOnDrop(latch.clone());
    let builder = builder().static_pins("example.com", failing_policy());
    let builder = builder.observer(move |event| {
        latch.wait();
        sender.send(event.clone()).unwrap();
    });
    let pinning = builder.build().unwrap();
    let verifier = PinningVerifier::builder(pinning.clone(), built_in_anchors(&[&fixture.root]));
    let verifier = verifier.with_provider(provider());
    let verifier = verifier.verifier_without_resumption_check().unwrap();
    let (name, leaf) = (ServerName::try_from("example.com"), &fixture.leaf.chain[0]);
    let name = name.unwrap();
    for _ in 0..SENT {
        let refused = verifier.verify_server_cert(leaf, &[], &name, &[], common::now());
        assert!(PinViolation::find(&refused.unwrap_err()).is_some());
    }
    drop(opens);
    assert!(pinning.flush_reports(TIMEOUT));
    let count = |event| match event {
        Event::Violation(_) => 1,
        Event::Lost { events } => events,
        event => panic!("{event:?}"),
    };
    assert_eq!(entered.try_iter().map(count).sum::<u64>(), SENT);
}

/// Sends when dropped.
struct Farewell(Sender<()>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Keeps the handle that it was made with, as one that sends over HTTP does.
struct Keeps(
    #[expect(dead_code, reason = "kept")] Pinning,
    ChannelReporter,
);

impl Reporter for Keeps {
    fn report(&self, report: Report) -> Result<(), DropReason> {
        self.1.report(report)
    }
}

#[tokio::test]
async fn with_the_last_handle_the_thread_ends_once_it_has_told_everything() {
    for visits in [0, 1, 3] {
        let fixture = Fixture::start().await;
        let (gone, farewell) = channel();
        let (reports, reported) = channel();
        let (builder, events) =
            with_observer(builder().static_pins("example.com", failing_policy()));
        let guard = Farewell(gone);
        let builder = builder.observer(move |_| {
            let _guard = &guard;
        });
        let builder = builder.reporter(|quiet| Ok(Keeps(quiet, ChannelReporter(reports))));
        let pinning = builder.build().unwrap();
        for _ in 0..visits {
            fixture.visit(&pinning).await.unwrap_err().unwrap();
        }
        // Sessions, connectors and clients are gone already.
        let clone = pinning.clone();
        drop(pinning);
        assert!(farewell.try_recv().is_err());
        drop(clone);
        // Before the ten seconds are over that an idle thread stays for more.
        farewell.recv_timeout(Duration::from_secs(9)).unwrap();
        // Reports, and events, until their sender is gone.
        assert_eq!(reported.iter().count(), visits);
        assert_eq!(events.iter().count(), visits);
    }
}

#[tokio::test]
async fn a_handle_of_a_reporter_tells_nobody_of_its_own_connections() {
    // 7469-2.1.4-g
    struct Quiet(Arc<OnceLock<Pinning>>);
    impl Reporter for Quiet {
        fn report(&self, _: Report) -> Result<(), DropReason> {
            panic!("{}", self.0.get().is_some());
        }
    }
    let fixture = Fixture::with_fields(&[(PKP, "junk;")]).await;
    let handle = Arc::<OnceLock<Pinning>>::default();
    let kept = Arc::clone(&handle);
    let (builder, events) = with_observer(builder().static_pins("example.com", failing_policy()));
    let builder = builder.reporter(move |quiet| {
        kept.set(quiet).unwrap();
        Ok(Quiet(kept))
    });
    let pinning = builder.build().unwrap();
    let quiet = handle.get().unwrap();
    // The same pins, which hold.
    fixture.visit(quiet).await.unwrap_err().unwrap();
    assert!(quiet.flush_reports(TIMEOUT) && pinning.flush_reports(TIMEOUT));
    assert!(events.try_recv().is_err());
    pinning
        .replace_pins(std::iter::empty::<(Host, PinPolicy)>())
        .unwrap();
    fixture.visit(quiet).await.unwrap();
    assert!(pinning.flush_reports(TIMEOUT));
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn an_observer_can_change_pins_and_wait_for_nothing() {
    let fixture = Fixture::start().await;
    let own = Arc::<OnceLock<Weak<Mutex<Pinning>>>>::default();
    let (known, (sender, flushed)) = (Arc::clone(&own), channel());
    let builder = builder().static_pins("example.com", failing_policy());
    let builder = builder.observer(move |_| {
        let Some(pinning) = known.get().and_then(Weak::upgrade) else {
            return;
        };
        let pinning = pinning.lock().unwrap().clone();
        let none = std::iter::empty::<(Host, PinPolicy)>();
        pinning.replace_pins(none).unwrap();
        let begin = Instant::now();
        let is_flushed = pinning.flush_reports(4 * TIMEOUT);
        sender.send((is_flushed, begin.elapsed())).unwrap();
    });
    let pinning = builder.build().unwrap();
    let shared = Arc::new(Mutex::new(pinning.clone()));
    own.set(Arc::downgrade(&shared)).unwrap();
    fixture.visit(&pinning).await.unwrap_err().unwrap();
    let (is_flushed, took) = flushed.recv_timeout(TIMEOUT).unwrap();
    assert!(!is_flushed && took < TIMEOUT, "{took:?}");
    // The observer's pins hold from then on.
    fixture.visit(&pinning).await.unwrap();
}

#[tokio::test]
async fn to_flush_is_to_flush_the_reporter_as_well() {
    struct Keeping(Mutex<Vec<bool>>);
    impl Reporter for Keeping {
        fn report(&self, _: Report) -> Result<(), DropReason> {
            Ok(())
        }

        fn flush(&self, within: Duration) -> bool {
            assert!(within <= TIMEOUT);
            self.0.lock().unwrap().pop().unwrap()
        }
    }
    let keeping = Keeping(Mutex::new(vec![true, false]));
    let pinning = builder().reporter(|_| Ok(keeping)).build().unwrap();
    assert!(!pinning.flush_reports(TIMEOUT));
    assert!(pinning.flush_reports(TIMEOUT));
    // Nobody is there to be told.
    let unobserved = builder().build().unwrap();
    assert!(unobserved.flush_reports(Duration::ZERO));
    // A panic in it is contained.
    assert!(!pinning.flush_reports(TIMEOUT));
    assert!(with_recorder(builder()).0.flush_reports(Duration::MAX));
}
