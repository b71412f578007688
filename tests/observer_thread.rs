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
use common::recording::{Forward, Gate, Opens, Scene, builder, failing, next, observed, told_by};
use common::validated::{trusting, verified_connection};
use common::{PATIENCE, provider};
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
    let scene = Scene::start().await;
    let (sender, entered) = channel();
    let builder = builder().static_pins("example.com", failing());
    let builder = builder.observer(move |event| {
        sender.send(event.clone()).unwrap();
        panic!("as the test wants");
    });
    let (builder, events) = observed(builder);
    let pinning = builder.build().unwrap();
    for _ in 0..3 {
        scene.visit(&pinning).await.unwrap_err().unwrap();
        assert!(matches!(next(&entered), Event::Violation(_)));
        assert!(matches!(next(&events), Event::Violation(_)));
    }
}

#[tokio::test]
async fn no_handshake_waits_for_an_observer_or_a_reporter() {
    struct Slow(Gate, Sender<()>);
    impl Reporter for Slow {
        fn report(&self, _: Report) -> Result<(), DropReason> {
            self.1.send(()).unwrap();
            self.0.pass();
            Ok(())
        }
    }
    for of_reporter in [false, true] {
        let policy = failing().enforcement(Enforcement::ReportOnly);
        let builder = builder().static_pins("example.com", policy);
        let (gate, (sender, entered)) = (Gate::default(), channel());
        let _opens = Opens(gate.clone());
        let builder = if of_reporter {
            builder.reporter(move |_| Ok(Slow(gate, sender)))
        } else {
            builder.observer(move |_| {
                sender.send(()).unwrap();
                gate.pass();
            })
        };
        let pinning = builder.build().unwrap();
        let scene = Scene::start().await;
        scene.visit(&pinning).await.unwrap();
        entered.recv_timeout(PATIENCE).unwrap();
        // It is inside, and stays there.
        for _ in 0..5 {
            scene.visit(&pinning).await.unwrap();
        }
        assert_eq!(scene.server.requests(), 6);
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
    let scene = Scene::start().await;
    let (gate, (sender, entered)) = (Gate::default(), channel());
    let opens = Opens(gate.clone());
    let builder = builder().observer(move |_| gate.pass());
    let builder = builder.observer(move |event| sender.send(event.clone()).unwrap());
    let pinning = builder.build().unwrap();
    let anchors = trusting(&[&scene.root]);
    let known = verified_connection(&scene.leaf, "example.com", &anchors).await;
    let layer = NotePinsLayer::new(pinning.clone());
    for _ in 0..SENT {
        respond(&layer, &known).await;
    }
    drop(opens);
    assert!(pinning.flush_reports(PATIENCE));
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
    assert!(matches!(next(&entered), Event::WouldBeViolation(_)));
}

#[tokio::test]
async fn refusals_of_a_bare_verifier_are_bounded_too() {
    const SENT: u64 = 1_000;
    let scene = Scene::start().await;
    let (gate, (sender, entered)) = (Gate::default(), channel());
    let opens = Opens(gate.clone());
    let builder = builder().static_pins("example.com", failing());
    let builder = builder.observer(move |event| {
        gate.pass();
        sender.send(event.clone()).unwrap();
    });
    let pinning = builder.build().unwrap();
    let verifier = PinningVerifier::builder(pinning.clone()).with_anchors(trusting(&[&scene.root]));
    let verifier = verifier.with_provider(provider());
    let verifier = verifier.verifier_without_resumption_check().unwrap();
    let (name, leaf) = (ServerName::try_from("example.com"), &scene.leaf.chain[0]);
    let name = name.unwrap();
    for _ in 0..SENT {
        let refused = verifier.verify_server_cert(leaf, &[], &name, &[], common::now());
        assert!(PinViolation::find(&refused.unwrap_err()).is_some());
    }
    drop(opens);
    assert!(pinning.flush_reports(PATIENCE));
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
struct Keeps(#[expect(dead_code, reason = "kept")] Pinning, Forward);

impl Reporter for Keeps {
    fn report(&self, report: Report) -> Result<(), DropReason> {
        self.1.report(report)
    }
}

#[tokio::test]
async fn with_the_last_handle_the_thread_ends_once_it_has_told_everything() {
    for visits in [0, 1, 3] {
        let scene = Scene::start().await;
        let (gone, farewell) = channel();
        let (reports, reported) = channel();
        let (builder, events) = observed(builder().static_pins("example.com", failing()));
        let guard = Farewell(gone);
        let builder = builder.observer(move |_| {
            let _guard = &guard;
        });
        let builder = builder.reporter(|quiet| Ok(Keeps(quiet, Forward(reports))));
        let pinning = builder.build().unwrap();
        for _ in 0..visits {
            scene.visit(&pinning).await.unwrap_err().unwrap();
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
    let scene = Scene::answering(&[(PKP, "junk;")]).await;
    let handle = Arc::<OnceLock<Pinning>>::default();
    let kept = Arc::clone(&handle);
    let (builder, events) = observed(builder().static_pins("example.com", failing()));
    let builder = builder.reporter(move |quiet| {
        kept.set(quiet).unwrap();
        Ok(Quiet(kept))
    });
    let pinning = builder.build().unwrap();
    let quiet = handle.get().unwrap();
    // The same pins, which hold.
    scene.visit(quiet).await.unwrap_err().unwrap();
    assert!(quiet.flush_reports(PATIENCE) && pinning.flush_reports(PATIENCE));
    assert!(events.try_recv().is_err());
    pinning
        .replace_pins(std::iter::empty::<(Host, PinPolicy)>())
        .unwrap();
    scene.visit(quiet).await.unwrap();
    assert!(pinning.flush_reports(PATIENCE));
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn an_observer_can_change_pins_and_wait_for_nothing() {
    let scene = Scene::start().await;
    let own = Arc::<OnceLock<Weak<Mutex<Pinning>>>>::default();
    let (known, (sender, flushed)) = (Arc::clone(&own), channel());
    let builder = builder().static_pins("example.com", failing());
    let builder = builder.observer(move |_| {
        let Some(pinning) = known.get().and_then(Weak::upgrade) else {
            return;
        };
        let pinning = pinning.lock().unwrap().clone();
        let none = std::iter::empty::<(Host, PinPolicy)>();
        pinning.replace_pins(none).unwrap();
        let begin = Instant::now();
        let is_flushed = pinning.flush_reports(4 * PATIENCE);
        sender.send((is_flushed, begin.elapsed())).unwrap();
    });
    let pinning = builder.build().unwrap();
    let shared = Arc::new(Mutex::new(pinning.clone()));
    own.set(Arc::downgrade(&shared)).unwrap();
    scene.visit(&pinning).await.unwrap_err().unwrap();
    let (is_flushed, took) = flushed.recv_timeout(PATIENCE).unwrap();
    assert!(!is_flushed && took < PATIENCE, "{took:?}");
    // The observer's pins hold from then on.
    scene.visit(&pinning).await.unwrap();
}

#[tokio::test]
async fn to_flush_is_to_flush_the_reporter_as_well() {
    struct Keeping(Mutex<Vec<bool>>);
    impl Reporter for Keeping {
        fn report(&self, _: Report) -> Result<(), DropReason> {
            Ok(())
        }

        fn flush(&self, within: Duration) -> bool {
            assert!(within <= PATIENCE);
            self.0.lock().unwrap().pop().unwrap()
        }
    }
    let keeping = Keeping(Mutex::new(vec![true, false]));
    let pinning = builder().reporter(|_| Ok(keeping)).build().unwrap();
    assert!(!pinning.flush_reports(PATIENCE));
    assert!(pinning.flush_reports(PATIENCE));
    // Nobody is there to be told.
    let unobserved = builder().build().unwrap();
    assert!(unobserved.flush_reports(Duration::ZERO));
    // A panic in it is contained.
    assert!(!pinning.flush_reports(PATIENCE));
    assert!(told_by(builder()).0.flush_reports(Duration::MAX));
}
