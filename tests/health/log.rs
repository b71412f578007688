//! The `tracing` events of health: message, level and fields as in the table at `Event`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use pinhold::policy::AfterExpiry;
use pinhold::{PinPolicy, Pinning, TrustAnchors};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::common::{DAY, NOW, at};
use crate::world::{HOST, World};

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

type Logged = (Level, BTreeMap<&'static str, String>);

/// Collects the events of one thread. For each it calls methods that take locks, and would block
/// forever if the emitting code held one.
struct Collector {
    thread: ThreadId,
    pinning: Pinning,
    logged: Arc<Mutex<Vec<Logged>>>,
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pinhold"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if std::thread::current().id() != self.thread {
            return;
        }
        drop(self.pinning.health());
        self.pinning.restore_static();
        self.pinning.store().clear();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        self.logged.lock().unwrap().push((level, fields.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn each_event_is_logged_while_no_lock_is_held() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    let logged = Arc::<Mutex<Vec<Logged>>>::default();
    let collector = Collector {
        thread: std::thread::current().id(),
        pinning: app.pinning.clone(),
        logged: Arc::clone(&logged),
    };
    // Only this test sets one. One that is set for a thread misses events whose first one other
    // threads emit.
    tracing::subscriber::set_global_default(collector).unwrap();
    let replace = |policy: PinPolicy| app.pinning.replace_pins([(HOST, policy)]).unwrap();
    app.connect_on(&world, (0..=90).step_by(10)).await;
    world.serve(1);
    app.connect_on(&world, 91..99).await;
    replace(PinPolicy::new([world.pin(1), world.root.pin()]).unwrap());
    app.connect_on(&world, [99]).await;
    world.serve(2);
    app.connect_on(&world, (100..136).step_by(5)).await;
    let policy = || world.policy([2, 1]);
    replace(policy().expires(at(NOW + 136 * DAY), AfterExpiry::ReportOnly));
    app.connect_on(&world, [136, 137]).await;
    replace(world.policy([0, 1]));
    let user_added = TrustAnchors::new().with_user_added([world.root.certificate()]);
    assert!(app.connect_with(&world, user_added.unwrap()).await);

    let expected = [
        (Level::INFO, "backup pin was never seen", None),
        (
            Level::WARN,
            "only the backup pin matches",
            Some(world.pin(1)),
        ),
        (Level::WARN, "last pin", Some(world.root.pin())),
        (Level::WARN, "pins expire soon", None),
        (Level::WARN, "last pin", Some(world.pin(2))),
        (Level::WARN, "pins are stale", None),
        (Level::WARN, "pins are bypassed", None),
    ];
    let expected = expected
        .map(|(level, message, pin)| (level, message.to_owned(), pin.map(|pin| pin.to_string())));
    assert_eq!(messages(&logged.lock().unwrap()), expected);
}

/// Returns level, message and pin of the events of health, each once.
fn messages(logged: &[Logged]) -> Vec<(Level, String, Option<String>)> {
    let mut messages = Vec::new();
    for (level, fields) in logged {
        let message = fields["message"].clone();
        // Open connections are closed where pins change.
        if message == "pins skipped" || message == "pin violation" {
            continue;
        }
        assert_eq!(fields["host"], HOST);
        let logged = (*level, message, fields.get("pin").cloned());
        if !messages.contains(&logged) {
            messages.push(logged);
        }
    }
    messages
}
