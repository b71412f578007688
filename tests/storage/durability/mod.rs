//! When changes of a store become durable, with a storage whose commits the test controls.

mod closing;
mod expiries;
mod failures;
mod locks;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::common::noted::{Hosts, numbered_pin, pinning};
use crate::common::{NOW, TIMEOUT, at};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::policy::KnownPinnedHost;
use pinhold::storage::{Change, Merged, PinStoreBuilder, Record, Storage, StorageError, Update};
use pinhold::{Host, NotePinsLayer, PinStore};

/// A storage whose commits wait until the test sets their outcome.
struct ControlledStorage {
    commits: Sender<Vec<Change>>,
    outcomes: Receiver<Outcome>,
}

enum Outcome {
    Fail,
    Panic,
    Store,
    /// The commit succeeds, and these are the records that are stored then.
    StoreAs(Vec<Record>),
}

impl Storage for ControlledStorage {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Merged, StorageError> {
        // The test may have ended.
        // Clearing a store also clears the records of other kinds.
        let of_pins = changes.iter().filter(|change| is_of_pins(change));
        let _ = self.commits.send(of_pins.cloned().collect());
        match self.outcomes.recv_timeout(TIMEOUT) {
            Ok(Outcome::Store) | Err(_) => Ok(Merged::Nothing),
            Ok(Outcome::StoreAs(stored)) => Ok(Merged::All(stored)),
            Ok(Outcome::Fail) => Err(StorageError::other("no")),
            Ok(Outcome::Panic) => panic!("expected by the test"),
        }
    }
}

struct Fixture {
    hosts: Hosts,
    store: PinStore,
    commits: Receiver<Vec<Change>>,
    outcomes: Sender<Outcome>,
    errors: Receiver<StorageError>,
}

async fn fixture() -> Fixture {
    fixture_with(PinStore::builder()).await
}

async fn fixture_with(builder: PinStoreBuilder) -> Fixture {
    let (sender, errors) = channel();
    fixture_with_callback(builder, errors, move |error| {
        drop(sender.send(error.clone()));
    })
    .await
}

async fn fixture_with_callback(
    builder: PinStoreBuilder,
    errors: Receiver<StorageError>,
    on_error: impl Fn(&StorageError) + Send + Sync + 'static,
) -> Fixture {
    let (sender, commits) = channel();
    let (outcomes, receiver) = channel();
    let storage = ControlledStorage {
        commits: sender,
        outcomes: receiver,
    };
    Fixture {
        hosts: Hosts::connect(&["a.example", "b.example", "c.example"]).await,
        store: builder.on_error(on_error).open(storage).unwrap(),
        commits,
        outcomes,
        errors,
    }
}

impl Fixture {
    /// Notes a header with this backup pin.
    fn note(&self, index: usize, backup: u64, seconds: u64) -> Noted {
        let value = self.value(backup);
        self.hosts
            .note(&pinning(&self.store), index, &value, seconds)
    }

    fn value(&self, backup: u64) -> String {
        self.hosts.value(numbered_pin(backup), "max-age=1000")
    }

    /// Waits for the next commit and returns its changes as text.
    /// [`finish_commit`](Self::finish_commit) lets it return.
    #[track_caller]
    fn next_commit(&self) -> Vec<String> {
        let changes = self.commits.recv_timeout(TIMEOUT).unwrap();
        let mut names = changes.iter().map(name).collect::<Vec<_>>();
        // The changes of different hosts are in no particular order.
        names.sort();
        names
    }

    /// Sets the outcome of the commit in progress, or of the next one.
    fn finish_commit(&self, outcome: Outcome) {
        self.outcomes.send(outcome).unwrap();
    }

    fn has_no_commit(&self) -> bool {
        self.commits.try_recv().is_err()
    }

    fn is_known(&self, name: &str) -> bool {
        let host = Host::parse(name).unwrap();
        self.store.query(&host, at(NOW)).is_some()
    }
}

/// Returns `HOST BACKUP` for an entry, `-HOST` for a removal, and `!TIME` for a clearing.
fn is_of_pins(change: &Change) -> bool {
    let kind = match change.update() {
        Update::ClearedSince { kind, .. } | Update::Removed { kind, .. } => kind,
        Update::Put(record) => record.kind(),
    };
    kind == Record::NOTED_PINS
}

fn name(change: &Change) -> String {
    match change.update() {
        Update::ClearedSince { time, .. } => format!("!{}", time.as_secs()),
        Update::Put(record) => {
            let known = KnownPinnedHost::try_from(record).unwrap();
            let pins = &mut known.pins.iter();
            let backup = pins.find_map(crate::common::noted::pin_number).unwrap();
            format!("{} {backup}", known.host)
        }
        Update::Removed { key, .. } => format!("-{key}"),
    }
}

fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    std::pin::Pin::new(future).poll(&mut context).is_pending()
}

/// Runs a future without any runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let begin = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(TIMEOUT);
        assert!(begin.elapsed() < TIMEOUT, "the future was not woken");
    }
}

#[tokio::test]
async fn a_change_is_in_memory_at_once_and_durable_once_it_is_committed() {
    let fixture = fixture().await;
    assert_eq!(fixture.note(0, 1, NOW), Noted::Added);
    assert!(fixture.is_known("a.example"));
    let mut durable = fixture.store.durable();
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    assert!(is_pending(&mut durable));
    fixture.finish_commit(Outcome::Store);
    durable.await.unwrap();
    assert!(fixture.has_no_commit());
}

#[tokio::test]
async fn changes_during_a_commit_are_combined_into_the_next_one() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    fixture.note(0, 2, NOW + 1);
    fixture.note(1, 3, NOW);
    fixture.note(2, 4, NOW);
    fixture.store.forget(fixture.hosts.host(2));
    let mut durable = fixture.store.durable();
    fixture.finish_commit(Outcome::Store);
    assert_eq!(
        fixture.next_commit(),
        ["-c.example", "a.example 2", "b.example 3"]
    );
    assert!(
        is_pending(&mut durable),
        "the first commit does not include the changes"
    );
    fixture.finish_commit(Outcome::Store);
    durable.await.unwrap();
    assert!(fixture.has_no_commit());
}

#[tokio::test]
async fn a_clearing_precedes_the_entries_noted_after_it() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    fixture.note(1, 2, NOW + 10);
    fixture.store.clear_since(at(NOW + 5));
    // Of two clearings the one with the earlier time includes the other.
    fixture.store.clear_since(at(NOW + 50));
    fixture.note(2, 3, NOW + 20);
    fixture.finish_commit(Outcome::Store);
    let changes = fixture.commits.recv_timeout(TIMEOUT).unwrap();
    let expected = [format!("!{}", NOW + 5), "c.example 3".to_owned()];
    assert_eq!(changes.iter().map(name).collect::<Vec<_>>(), expected);
    fixture.finish_commit(Outcome::Store);
    assert!(fixture.is_known("a.example") && !fixture.is_known("b.example"));
}

/// Applies to an entry that is added, changed and removed. No runtime is needed: the thread of the
/// test polls.
#[test]
fn a_response_waits_until_its_change_is_durable() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(fixture());
    drop(runtime);
    let layer = NotePinsLayer::new(pinning(&fixture.store));
    let max_age_zero = fixture.hosts.value(numbered_pin(3), "max-age=0");
    for (value, expected) in [
        (fixture.value(1), "a.example 1"),
        (fixture.value(2), "a.example 2"),
        (max_age_zero, "-a.example"),
    ] {
        let mut response = Box::pin(fixture.hosts.respond(&layer, 0, &value));
        assert!(is_pending(&mut response));
        assert_eq!(fixture.next_commit(), [expected]);
        assert!(is_pending(&mut response));
        fixture.finish_commit(Outcome::Store);
        let response = block_on(response);
        let noted = response.extensions().get::<Noted>().unwrap();
        assert!(!matches!(noted, Noted::Ignored(_)), "{noted:?}");
    }
    // A response whose header is ignored does not wait.
    let ignored = block_on(fixture.hosts.respond(&layer, 0, "max-age=1"));
    assert!(matches!(
        ignored.extensions().get(),
        Some(Noted::Ignored(_))
    ));
}

/// Of two simultaneous responses the second one finds a change that is not durable yet.
#[test]
fn a_response_waits_until_the_change_by_another_one_is_durable() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(fixture());
    drop(runtime);
    let layer = NotePinsLayer::new(pinning(&fixture.store));
    let remove = fixture.hosts.value(numbered_pin(1), "max-age=0");
    for (value, change, second) in [
        (fixture.value(1), "a.example 1", Noted::Refreshed),
        (remove, "-a.example", Noted::Ignored(IgnoreReason::NotKnown)),
    ] {
        let mut one = Box::pin(fixture.hosts.respond(&layer, 0, &value));
        let mut other = Box::pin(fixture.hosts.respond(&layer, 0, &value));
        assert!(is_pending(&mut one));
        assert!(is_pending(&mut other));
        assert_eq!(fixture.next_commit(), [change]);
        assert!(is_pending(&mut other));
        fixture.finish_commit(Outcome::Store);
        block_on(one);
        let response = block_on(other);
        assert_eq!(response.extensions().get(), Some(&second));
        // The refresh is written later.
        assert!(fixture.has_no_commit());
    }
}

#[test]
fn a_response_waits_until_the_timeout_or_the_failure_of_a_commit() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(fixture());
    drop(runtime);
    let respond = |timeout: Duration, backup| {
        let layer = NotePinsLayer::new(pinning(&fixture.store)).storage_timeout(timeout);
        let value = fixture.value(backup);
        let response = block_on(fixture.hosts.respond(&layer, 0, &value));
        let noted = response.extensions().get::<Noted>();
        assert!(matches!(noted, Some(Noted::Added | Noted::Refreshed)));
    };
    respond(Duration::ZERO, 0);
    // The first commit has begun, so that it does not include the second change.
    assert_eq!(fixture.next_commit(), ["a.example 0"]);
    respond(Duration::from_millis(20), 20);
    let slow = fixture.errors.recv_timeout(TIMEOUT).unwrap();
    assert!(matches!(slow, StorageError::Slow { .. }), "{slow:?}");
    // The first commit is still running and fails. The next response waits for a later one.
    fixture.finish_commit(Outcome::Fail);
    let layer = NotePinsLayer::new(pinning(&fixture.store)).storage_timeout(Duration::MAX);
    let value = fixture.value(3);
    let mut response = Box::pin(fixture.hosts.respond(&layer, 1, &value));
    assert!(is_pending(&mut response));
    // The change of the response is in the second or the third commit.
    (0..3).for_each(|_| fixture.finish_commit(Outcome::Fail));
    let response = block_on(response);
    assert_eq!(response.extensions().get(), Some(&Noted::Added));
    assert!(
        fixture.is_known("b.example"),
        "the change is kept in memory"
    );
}

#[tokio::test]
async fn a_refresh_is_written_later_and_no_response_waits_for_it() {
    let hour = Duration::from_secs(60 * 60);
    let fixture = fixture_with(PinStore::builder().refresh_delay(hour)).await;
    let store = &fixture.store;
    fixture.note(0, 1, NOW);
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    fixture.finish_commit(Outcome::Store);
    store.durable().await.unwrap();

    assert_eq!(fixture.note(0, 1, NOW + 100), Noted::Refreshed);
    let entry = fixture.store.list()[0].clone();
    assert_eq!(entry.noted_at, at(NOW + 100), "it is in memory at once");
    let layer = NotePinsLayer::new(pinning(&fixture.store));
    let value = fixture.value(1);
    let response = fixture.hosts.respond(&layer, 0, &value).await;
    assert_eq!(response.extensions().get(), Some(&Noted::Refreshed));
    assert!(fixture.has_no_commit());

    // Many refreshes are in one commit, with the next change that is written without delay.
    for seconds in 101..150 {
        assert_eq!(fixture.note(0, 1, NOW + seconds), Noted::Refreshed);
        thread::yield_now();
    }
    fixture.note(1, 1, NOW);
    assert_eq!(fixture.next_commit(), ["a.example 1", "b.example 1"]);
    fixture.finish_commit(Outcome::Store);
    store.durable().await.unwrap();
    // A header with another `max-age` is a change, not a refresh.
    let shorter = fixture.hosts.value(numbered_pin(1), "max-age=500");
    fixture.hosts.note(&pinning(store), 0, &shorter, NOW + 100);
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    fixture.finish_commit(Outcome::Store);
}

#[tokio::test]
async fn a_refresh_is_written_after_its_delay() {
    let delay = Duration::from_millis(1);
    let fixture = fixture_with(PinStore::builder().refresh_delay(delay)).await;
    fixture.note(0, 1, NOW);
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    fixture.finish_commit(Outcome::Store);
    fixture.note(0, 1, NOW + 100);
    assert_eq!(fixture.next_commit(), ["a.example 1"]);
    fixture.finish_commit(Outcome::Store);
}

/// Hosts that are added and removed while the disk is full must not fill the memory.
#[tokio::test]
async fn pending_removals_are_limited() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    fixture.next_commit();
    for number in 0..10_000 {
        let host = Host::parse(&format!("h{number}.example")).unwrap();
        fixture.store.forget(&host);
    }
    fixture.finish_commit(Outcome::Fail);
    let changes = fixture.commits.recv_timeout(TIMEOUT).unwrap();
    assert!(changes.len() <= 4097, "{}", changes.len());
    assert!(changes.iter().map(name).any(|name| name == "a.example 1"));
    fixture.finish_commit(Outcome::Store);
}

#[tokio::test]
async fn entries_of_another_process_replace_those_in_memory_except_changes_since() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    fixture.note(1, 1, NOW);
    fixture.note(2, 1, NOW);
    let entries = fixture.store.list();
    let entry = |index: usize| Record::from(&*entries[index]);
    fixture.next_commit();
    // The first commit may have included the first host alone.
    fixture.finish_commit(Outcome::Fail);
    assert_eq!(fixture.next_commit().len(), 3);
    fixture.note(0, 2, NOW + 1);
    fixture.store.forget(fixture.hosts.host(1));
    fixture.finish_commit(Outcome::StoreAs(vec![entry(0), entry(1)]));
    fixture.next_commit();
    assert_eq!(fixture.store.list().len(), 1);
    assert!(fixture.store.list()[0].pins.contains(&numbered_pin(2)));
    assert!(!fixture.is_known("b.example"), "removed since");
    assert!(
        !fixture.is_known("c.example"),
        "removed by the other process"
    );
    fixture.finish_commit(Outcome::Store);
}

#[tokio::test]
async fn a_store_in_memory_is_durable_at_once() {
    let store = PinStore::in_memory();
    let hosts = Hosts::connect(&["a.example"]).await;
    let value = hosts.value(numbered_pin(1), "max-age=1000");
    assert_eq!(hosts.note(&pinning(&store), 0, &value, NOW), Noted::Added);
    store.durable().await.unwrap();
    store.flush().unwrap();
}

/// The waker of a task may panic once its runtime is gone, also when it is dropped.
#[tokio::test]
async fn a_waker_that_panics_does_not_end_the_writer_thread() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("expected by the test");
        }
    }
    struct PanicsWhenDropped;
    impl Wake for PanicsWhenDropped {
        fn wake(self: Arc<Self>) {}
        fn wake_by_ref(self: &Arc<Self>) {}
    }
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("expected by the test");
        }
    }
    let fixture = fixture().await;
    let wakers = [
        Waker::from(Arc::new(Panics)),
        Waker::from(Arc::new(PanicsWhenDropped)),
    ];
    for (index, waker) in wakers.into_iter().enumerate() {
        fixture.note(index, 1, NOW);
        let mut durable = fixture.store.durable();
        let polled = std::pin::Pin::new(&mut durable).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        // The store has the last one.
        drop(waker);
        fixture.next_commit();
        fixture.finish_commit(Outcome::Store);
        // `durable` is neither polled nor dropped before: that would drop the waker.
        fixture.store.durable().await.unwrap();
        drop(durable);
    }
    fixture.note(2, 1, NOW);
    assert_eq!(fixture.next_commit(), ["c.example 1"]);
    fixture.finish_commit(Outcome::Store);
    fixture.store.durable().await.unwrap();
}

/// Responses that no longer wait for a disk that hangs must not fill the memory.
#[tokio::test]
async fn a_dropped_future_leaves_no_waker_behind() {
    struct Counted;
    impl Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    fixture.next_commit();
    let counted = Arc::new(Counted);
    let waker = Waker::from(Arc::clone(&counted));
    let mut durable = fixture.store.durable();
    for _ in 0..3 {
        let polled = std::pin::Pin::new(&mut durable).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        assert_eq!(
            Arc::strong_count(&counted),
            3,
            "two references of the test and one of the store"
        );
    }
    drop(durable);
    assert_eq!(Arc::strong_count(&counted), 2);
    fixture.finish_commit(Outcome::Store);
}
