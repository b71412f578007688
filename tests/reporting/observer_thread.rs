//! The observer thread: it blocks no handshake, counts every event that it loses, and ends
//! when the last handle is dropped.

use std::convert::Infallible;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::common::header::{directive, pin};
use crate::common::recording::{
    ChannelReporter, Fixture, Latch, ReleaseOnDrop, builder, failing_policy, next_event,
    with_observer, with_recorder,
};
use crate::common::validated::{built_in_anchors, verified_connection};
use crate::common::{TIMEOUT, provider};
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
async fn an_observer_that_panics_still_receives_later_events() {
    let fixture = Fixture::start().await;
    let (sender, entered) = channel();
    let builder = builder().static_pins("example.com", failing_policy());
    let builder = builder.observer(move |event| {
        sender.send(event.clone()).unwrap();
        panic!("expected by the test");
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
async fn no_handshake_is_blocked_by_an_observer_or_a_reporter() {
    struct BlockingReporter(Latch, Sender<()>);
    impl Reporter for BlockingReporter {
        fn report(&self, _: Report) -> Result<(), DropReason> {
            self.1.send(()).unwrap();
            self.0.wait();
            Ok(())
        }
    }
    for in_reporter in [false, true] {
        let policy = failing_policy().enforcement(Enforcement::ReportOnly);
        let builder = builder().static_pins("example.com", policy);
        let (latch, (sender, entered)) = (Latch::default(), channel());
        let _release = ReleaseOnDrop(latch.clone());
        let builder = if in_reporter {
            builder.reporter(move |_| Ok(BlockingReporter(latch, sender)))
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
        // The observer or reporter has been called and blocks.
        for _ in 0..5 {
            fixture.visit(&pinning).await.unwrap();
        }
        assert_eq!(fixture.server.requests(), 6);
        assert!(!pinning.flush_reports(Duration::ZERO));
        assert!(!pinning.flush_reports(Duration::from_millis(1)));
        assert!(entered.try_recv().is_err());
    }
}

/// Passes a report-only response of this connection through the layer.
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
async fn of_10_000_violations_few_are_queued_and_the_rest_are_counted() {
    const SENT: u64 = 10_000;
    let fixture = Fixture::start().await;
    let (latch, (sender, entered)) = (Latch::default(), channel());
    let release = ReleaseOnDrop(latch.clone());
    let builder = builder().observer(move |_| latch.wait());
    let builder = builder.observer(move |event| sender.send(event.clone()).unwrap());
    let pinning = builder.build().unwrap();
    let anchors = built_in_anchors(&[&fixture.root]);
    let connection = verified_connection(&fixture.leaf, "example.com", &anchors).await;
    let layer = NotePinsLayer::new(pinning.clone());
    for _ in 0..SENT {
        respond(&layer, &connection).await;
    }
    drop(release);
    assert!(pinning.flush_reports(TIMEOUT));
    let (mut received, mut lost) = (0, 0);
    for event in entered.try_iter() {
        match event {
            Event::WouldBeViolation(_) if lost == 0 => received += 1,
            Event::Lost { events, violations } => {
                assert_eq!(events, violations);
                lost += events;
            }
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(received + lost, SENT);
    // The queue holds 64 events about one host; one more was being delivered.
    assert!((64..=65).contains(&received), "{received}");
    // Later events are delivered as usual.
    respond(&layer, &connection).await;
    assert!(matches!(next_event(&entered), Event::WouldBeViolation(_)));
}

#[tokio::test]
async fn refusals_by_a_bare_verifier_are_bounded_too() {
    const SENT: u64 = 1_000;
    let fixture = Fixture::start().await;
    let (latch, (sender, entered)) = (Latch::default(), channel());
    let release = ReleaseOnDrop(latch.clone());
    let builder = builder().static_pins("example.com", failing_policy());
    let builder = builder.observer(move |event| {
        latch.wait();
        sender.send(event.clone()).unwrap();
    });
    let pinning = builder.build().unwrap();
    let verifier =
        PinningVerifier::builder(pinning.clone()).with_anchors(built_in_anchors(&[&fixture.root]));
    let verifier = verifier.with_provider(provider());
    let verifier = verifier.verifier_without_resumption_check().unwrap();
    let (name, leaf) = (ServerName::try_from("example.com"), &fixture.leaf.chain[0]);
    let name = name.unwrap();
    for _ in 0..SENT {
        let refused = verifier.verify_server_cert(leaf, &[], &name, &[], crate::common::now());
        assert!(PinViolation::find(&refused.unwrap_err()).is_some());
    }
    drop(release);
    assert!(pinning.flush_reports(TIMEOUT));
    let count = |event| match event {
        Event::Violation(_) => 1,
        Event::Lost { events, .. } => events,
        event => panic!("{event:?}"),
    };
    assert_eq!(entered.try_iter().map(count).sum::<u64>(), SENT);
}

/// Sends a message when dropped.
struct SendOnDrop(Sender<()>);

impl Drop for SendOnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Keeps the handle that it was built with, as a reporter that sends over HTTP does.
struct HandleKeeper(
    #[expect(dead_code, reason = "kept, not used")] Pinning,
    ChannelReporter,
);

impl Reporter for HandleKeeper {
    fn report(&self, report: Report) -> Result<(), DropReason> {
        self.1.report(report)
    }
}

#[tokio::test]
async fn the_thread_delivers_all_events_and_ends_when_the_last_handle_is_dropped() {
    for visits in [0, 1, 3] {
        let fixture = Fixture::start().await;
        let (dropped, observer_dropped) = channel();
        let (reports, reported) = channel();
        let (builder, events) =
            with_observer(builder().static_pins("example.com", failing_policy()));
        let guard = SendOnDrop(dropped);
        let builder = builder.observer(move |_| {
            let _guard = &guard;
        });
        let builder = builder.reporter(|handle| Ok(HandleKeeper(handle, ChannelReporter(reports))));
        let pinning = builder.build().unwrap();
        for _ in 0..visits {
            fixture.visit(&pinning).await.unwrap_err().unwrap();
        }
        // Sessions, connectors and clients are already dropped.
        let clone = pinning.clone();
        drop(pinning);
        assert!(observer_dropped.try_recv().is_err());
        drop(clone);
        // An idle thread waits ten seconds for more events; this must be sooner.
        observer_dropped
            .recv_timeout(Duration::from_secs(9))
            .unwrap();
        // The iterators end when the reporter and the observer are dropped.
        assert_eq!(reported.iter().count(), visits);
        assert_eq!(events.iter().count(), visits);
    }
}

#[tokio::test]
async fn connections_by_the_handle_of_a_reporter_emit_no_events() {
    // 7469-2.1.4-g
    struct FailOnReport(Arc<OnceLock<Pinning>>);
    impl Reporter for FailOnReport {
        fn report(&self, _: Report) -> Result<(), DropReason> {
            panic!("{}", self.0.get().is_some());
        }
    }
    let fixture = Fixture::with_fields(&[(PKP, "junk;")]).await;
    let shared = Arc::<OnceLock<Pinning>>::default();
    let kept = Arc::clone(&shared);
    let (builder, events) = with_observer(builder().static_pins("example.com", failing_policy()));
    let builder = builder.reporter(move |handle| {
        kept.set(handle).unwrap();
        Ok(FailOnReport(kept))
    });
    let pinning = builder.build().unwrap();
    let handle = shared.get().unwrap();
    // The handle enforces the same pins.
    fixture.visit(handle).await.unwrap_err().unwrap();
    assert!(handle.flush_reports(TIMEOUT) && pinning.flush_reports(TIMEOUT));
    assert!(events.try_recv().is_err());
    pinning
        .replace_pins(std::iter::empty::<(Host, PinPolicy)>())
        .unwrap();
    fixture.visit(handle).await.unwrap();
    assert!(pinning.flush_reports(TIMEOUT));
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn an_observer_can_change_pins_and_its_flush_does_not_block() {
    let fixture = Fixture::start().await;
    let own = Arc::<OnceLock<Weak<Mutex<Pinning>>>>::default();
    let (handle, (sender, flushed)) = (Arc::clone(&own), channel());
    let builder = builder().static_pins("example.com", failing_policy());
    let builder = builder.observer(move |_| {
        let Some(pinning) = handle.get().and_then(Weak::upgrade) else {
            return;
        };
        let pinning = pinning.lock().unwrap().clone();
        let none = std::iter::empty::<(Host, PinPolicy)>();
        pinning.replace_pins(none).unwrap();
        let start = Instant::now();
        let is_flushed = pinning.flush_reports(4 * TIMEOUT);
        sender.send((is_flushed, start.elapsed())).unwrap();
    });
    let pinning = builder.build().unwrap();
    let shared = Arc::new(Mutex::new(pinning.clone()));
    own.set(Arc::downgrade(&shared)).unwrap();
    fixture.visit(&pinning).await.unwrap_err().unwrap();
    let (is_flushed, took) = flushed.recv_timeout(TIMEOUT).unwrap();
    assert!(!is_flushed && took < TIMEOUT, "{took:?}");
    // The pins set by the observer apply to later connections.
    fixture.visit(&pinning).await.unwrap();
}

#[tokio::test]
async fn a_flush_flushes_the_reporter_as_well() {
    struct ScriptedFlush(Mutex<Vec<bool>>);
    impl Reporter for ScriptedFlush {
        fn report(&self, _: Report) -> Result<(), DropReason> {
            Ok(())
        }

        fn flush(&self, within: Duration) -> bool {
            assert!(within <= TIMEOUT);
            self.0.lock().unwrap().pop().unwrap()
        }
    }
    let reporter = ScriptedFlush(Mutex::new(vec![true, false]));
    let pinning = builder().reporter(|_| Ok(reporter)).build().unwrap();
    assert!(!pinning.flush_reports(TIMEOUT));
    assert!(pinning.flush_reports(TIMEOUT));
    // Without observer and reporter there is nothing to flush.
    let unobserved = builder().build().unwrap();
    assert!(unobserved.flush_reports(Duration::ZERO));
    // The script has ended, so the reporter panics; the panic is contained.
    assert!(!pinning.flush_reports(TIMEOUT));
    assert!(with_recorder(builder()).0.flush_reports(Duration::MAX));
}
