//! What is durable when: a storage that the test steers stands below the store.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use common::noted::{Hosts, numbered_pin, pinning};
use common::{NOW, TIMEOUT, at};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::policy::KnownPinnedHost;
use pinhold::storage::{Batch, Change, Recovered, Storage, StorageError};
use pinhold::{Host, NotePinsLayer, PinStore};

/// Asks the test what to do with each commit.
struct Steered {
    commits: Sender<Vec<Change>>,
    verdicts: Receiver<Verdict>,
}

enum Verdict {
    Fail,
    Panic,
    Store,
    /// And this is what is stored then.
    StoreAs(Vec<KnownPinnedHost>),
}

impl Storage for Steered {
    fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
        let changes = batch.changes().to_vec();
        let snapshot = batch.snapshot();
        let in_snapshot = |change: &Change| match change {
            Change::Noted { entry, .. } | Change::Refreshed { entry, .. } => {
                snapshot.iter().any(|known| known.host == entry.host)
            }
            _ => true,
        };
        assert!(changes.iter().all(in_snapshot));
        // The test may have ended.
        let _ = self.commits.send(changes);
        match self.verdicts.recv_timeout(TIMEOUT) {
            Ok(Verdict::Store) | Err(_) => Ok(None),
            Ok(Verdict::StoreAs(stored)) => Ok(Some(stored)),
            Ok(Verdict::Fail) => Err(StorageError::other("no")),
            Ok(Verdict::Panic) => panic!("as the test wants"),
        }
    }
}

struct Fixture {
    hosts: Hosts,
    store: PinStore,
    commits: Receiver<Vec<Change>>,
    verdicts: Sender<Verdict>,
    errors: Receiver<StorageError>,
}

async fn fixture() -> Fixture {
    let (sender, commits) = channel();
    let (verdicts, receiver) = channel();
    let (told, errors) = channel();
    let steered = Steered {
        commits: sender,
        verdicts: receiver,
    };
    let store = PinStore::open(steered).unwrap();
    Fixture {
        hosts: Hosts::connect(&["a.example", "b.example", "c.example"]).await,
        store: store.on_error(move |error| drop(told.send(error.clone()))),
        commits,
        verdicts,
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

    /// Waits for the next commit and names its changes; it goes on after [`answer`](Self::answer).
    #[track_caller]
    fn commit(&self) -> Vec<String> {
        let changes = self.commits.recv_timeout(TIMEOUT).unwrap();
        let mut names = changes.iter().map(name).collect::<Vec<_>>();
        // The clearing comes first; hosts have no order.
        names.sort();
        names
    }

    fn answer(&self, verdict: Verdict) {
        self.verdicts.send(verdict).unwrap();
    }

    fn no_commit_is_under_way(&self) -> bool {
        self.commits.try_recv().is_err()
    }

    fn knows(&self, name: &str) -> bool {
        let host = Host::parse(name).unwrap();
        self.store.query(&host, at(NOW)).is_some()
    }
}

fn name(change: &Change) -> String {
    match change {
        Change::ClearedSince(time) => format!("!{}", time.as_secs()),
        Change::Noted { entry, .. } | Change::Refreshed { entry, .. } => {
            let backup = entry
                .pins
                .iter()
                .find_map(common::noted::pin_number)
                .unwrap();
            format!("{} {backup}", entry.host)
        }
        Change::Removed { host, .. } => format!("-{host}"),
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
        assert!(begin.elapsed() < TIMEOUT, "nobody woke the future");
    }
}

#[tokio::test]
async fn memory_knows_at_once_and_durable_tells_when_the_storage_does() {
    let fixture = fixture().await;
    assert_eq!(fixture.note(0, 1, NOW), Noted::Added);
    assert!(fixture.knows("a.example"));
    let mut durable = fixture.store.durable();
    assert_eq!(fixture.commit(), ["a.example 1"]);
    assert!(is_pending(&mut durable));
    fixture.answer(Verdict::Store);
    durable.await.unwrap();
    assert!(fixture.no_commit_is_under_way());
}

#[tokio::test]
async fn what_comes_during_a_commit_makes_one_more() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    assert_eq!(fixture.commit(), ["a.example 1"]);
    fixture.note(0, 2, NOW + 1);
    fixture.note(1, 3, NOW);
    fixture.note(2, 4, NOW);
    fixture.store.forget(fixture.hosts.host(2));
    let mut durable = fixture.store.durable();
    fixture.answer(Verdict::Store);
    assert_eq!(
        fixture.commit(),
        ["-c.example", "a.example 2", "b.example 3"]
    );
    assert!(
        is_pending(&mut durable),
        "the first commit did not have them"
    );
    fixture.answer(Verdict::Store);
    durable.await.unwrap();
    assert!(fixture.no_commit_is_under_way());
}

#[tokio::test]
async fn clearing_comes_before_what_is_noted_after_it() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    assert_eq!(fixture.commit(), ["a.example 1"]);
    fixture.note(1, 2, NOW + 10);
    fixture.store.clear_since(at(NOW + 5));
    // Of two the one that reaches further back.
    fixture.store.clear_since(at(NOW + 50));
    fixture.note(2, 3, NOW + 20);
    fixture.answer(Verdict::Store);
    let changes = fixture.commits.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(changes[0], Change::ClearedSince(at(NOW + 5)));
    assert_eq!(
        changes[1..].iter().map(name).collect::<Vec<_>>(),
        ["c.example 3"]
    );
    fixture.answer(Verdict::Store);
    assert!(fixture.knows("a.example") && !fixture.knows("b.example"));
}

/// Added, changed and removed: each response waits. Without a runtime: the test's own thread polls.
#[test]
fn a_response_waits_until_what_it_changed_is_durable() {
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
        assert_eq!(fixture.commit(), [expected]);
        assert!(is_pending(&mut response));
        fixture.answer(Verdict::Store);
        let response = block_on(response);
        let noted = response.extensions().get::<Noted>().unwrap();
        assert!(!matches!(noted, Noted::Ignored(_)), "{noted:?}");
    }
    // What was ignored waits for nothing.
    let ignored = block_on(fixture.hosts.respond(&layer, 0, "max-age=1"));
    assert!(matches!(
        ignored.extensions().get(),
        Some(Noted::Ignored(_))
    ));
}

/// Two connections at once: what the second response met is not durable yet either.
#[test]
fn a_response_waits_for_what_another_one_changed() {
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
        assert_eq!(fixture.commit(), [change]);
        assert!(is_pending(&mut other));
        fixture.answer(Verdict::Store);
        block_on(one);
        let response = block_on(other);
        assert_eq!(response.extensions().get(), Some(&second));
        // The refresh is not urgent.
        assert!(fixture.no_commit_is_under_way());
    }
}

#[test]
fn a_response_waits_no_longer_than_told_and_a_failure_ends_the_wait() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(fixture());
    drop(runtime);
    for patience in [Duration::ZERO, Duration::from_millis(20)] {
        let layer = NotePinsLayer::new(pinning(&fixture.store)).storage_timeout(patience);
        let value = fixture.value(u64::from(patience.subsec_millis()));
        let response = block_on(fixture.hosts.respond(&layer, 0, &value));
        assert!(matches!(
            response.extensions().get(),
            Some(Noted::Added | Noted::Refreshed)
        ));
    }
    let slow = fixture.errors.recv_timeout(TIMEOUT).unwrap();
    assert!(matches!(slow, StorageError::Slow { .. }), "{slow:?}");
    // The storage still has the first commit, and fails it: the wait ends with the next ones.
    assert_eq!(fixture.commit(), ["a.example 0"]);
    fixture.answer(Verdict::Fail);
    let layer = NotePinsLayer::new(pinning(&fixture.store)).storage_timeout(Duration::MAX);
    let value = fixture.value(3);
    let mut response = Box::pin(fixture.hosts.respond(&layer, 1, &value));
    assert!(is_pending(&mut response));
    // As many as it takes: the response's change comes with the second or the third.
    (0..3).for_each(|_| fixture.answer(Verdict::Fail));
    let response = block_on(response);
    assert_eq!(response.extensions().get(), Some(&Noted::Added));
    assert!(fixture.knows("b.example"), "memory keeps the truth");
}

#[tokio::test]
async fn a_mere_refresh_waits_for_nothing_and_is_written_later() {
    let fixture = fixture().await;
    let store = fixture
        .store
        .clone()
        .refresh_delay(Duration::from_secs(60 * 60));
    fixture.note(0, 1, NOW);
    assert_eq!(fixture.commit(), ["a.example 1"]);
    fixture.answer(Verdict::Store);
    store.durable().await.unwrap();

    assert_eq!(fixture.note(0, 1, NOW + 100), Noted::Refreshed);
    let entry = fixture.store.list()[0].clone();
    assert_eq!(entry.noted_at, at(NOW + 100), "memory knows at once");
    let layer = NotePinsLayer::new(pinning(&fixture.store));
    let value = fixture.value(1);
    let response = fixture.hosts.respond(&layer, 0, &value).await;
    assert_eq!(response.extensions().get(), Some(&Noted::Refreshed));
    assert!(fixture.no_commit_is_under_way());

    // Many of them make one commit, with the next change that can't wait.
    for seconds in 101..150 {
        assert_eq!(fixture.note(0, 1, NOW + seconds), Noted::Refreshed);
        thread::yield_now();
    }
    fixture.note(1, 1, NOW);
    assert_eq!(fixture.commit(), ["a.example 1", "b.example 1"]);
    fixture.answer(Verdict::Store);
    store.durable().await.unwrap();
    // With another lifetime it is a change.
    let shorter = fixture.hosts.value(numbered_pin(1), "max-age=500");
    fixture.hosts.note(&pinning(&store), 0, &shorter, NOW + 100);
    assert_eq!(fixture.commit(), ["a.example 1"]);
    fixture.answer(Verdict::Store);
}

#[tokio::test]
async fn a_refresh_is_written_once_its_delay_is_over() {
    let fixture = fixture().await;
    let _store = fixture
        .store
        .clone()
        .refresh_delay(Duration::from_millis(1));
    fixture.note(0, 1, NOW);
    assert_eq!(fixture.commit(), ["a.example 1"]);
    fixture.answer(Verdict::Store);
    fixture.note(0, 1, NOW + 100);
    assert_eq!(fixture.commit(), ["a.example 1"]);
    fixture.answer(Verdict::Store);
}

#[tokio::test]
async fn a_failure_is_told_and_tried_again_with_what_has_changed_since() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    fixture.note(1, 1, NOW);
    fixture.commit();
    fixture.note(0, 2, NOW + 1);
    fixture.store.forget(fixture.hosts.host(2));
    fixture.answer(Verdict::Fail);
    let error = fixture.errors.recv_timeout(TIMEOUT).unwrap();
    assert!(matches!(error, StorageError::Other(_)), "{error:?}");
    let expected = ["-c.example", "a.example 2", "b.example 1"];
    assert_eq!(fixture.commit(), expected);
    fixture.answer(Verdict::Fail);
    // Nothing has changed: the pause ends by itself.
    assert_eq!(fixture.commit(), expected);
    fixture.store.clear();
    fixture.note(0, 3, NOW + 2);
    fixture.answer(Verdict::Fail);
    assert_eq!(
        fixture.commit(),
        ["!0", "a.example 3", "-c.example"]
            .map(str::to_owned)
            .sorted()
    );
    fixture.answer(Verdict::Store);
    let durable = fixture.store.durable();
    durable.await.unwrap();
    assert_eq!(fixture.errors.try_iter().count(), 2);
    assert!(fixture.no_commit_is_under_way());
}

trait Sorted {
    fn sorted(self) -> Self;
}

impl Sorted for [String; 3] {
    fn sorted(mut self) -> Self {
        self.sort();
        self
    }
}

#[test]
fn flush_says_what_went_wrong() {
    struct Fails(Arc<AtomicBool>);
    impl Storage for Fails {
        fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError> {
            Ok(Vec::new())
        }

        fn commit(&mut self, _: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
            if self.0.load(Ordering::SeqCst) {
                Err(StorageError::other("no"))
            } else {
                Ok(None)
            }
        }
    }
    let fails = Arc::new(AtomicBool::new(true));
    let store = PinStore::open(Fails(Arc::clone(&fails))).unwrap();
    store.clear();
    for _ in 0..3 {
        let error = store.flush().unwrap_err();
        assert!(matches!(error, StorageError::Other(_)), "{error:?}");
    }
    fails.store(false, Ordering::SeqCst);
    store.flush().unwrap();
}

#[tokio::test]
async fn a_panic_of_the_storage_or_of_the_callback_ends_nothing() {
    let fixture = fixture().await;
    let (told, errors) = channel();
    let _store = fixture.store.clone().on_error(move |error| {
        let _ = told.send(error.clone());
        panic!("as the test wants");
    });
    fixture.note(0, 1, NOW);
    fixture.commit();
    fixture.answer(Verdict::Panic);
    let error = errors.recv_timeout(TIMEOUT).unwrap();
    assert!(matches!(error, StorageError::Panicked), "{error:?}");
    assert_eq!(fixture.commit(), ["a.example 1"]);
    fixture.answer(Verdict::Store);
    fixture.store.durable().await.unwrap();
}

#[tokio::test]
async fn the_last_handle_has_the_rest_written() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    assert_eq!(fixture.commit(), ["a.example 1"]);
    fixture.answer(Verdict::Store);
    fixture.store.durable().await.unwrap();
    fixture.note(0, 1, NOW + 1);
    let other = fixture.store.clone();
    drop(other);
    assert!(fixture.no_commit_is_under_way(), "not the last one");
    // Answered beforehand, since the drop waits for it.
    fixture.answer(Verdict::Store);
    drop(fixture.store);
    let changes = fixture.commits.try_recv().unwrap();
    assert_eq!(
        changes.iter().map(name).collect::<Vec<_>>(),
        ["a.example 1"]
    );
}

#[tokio::test]
async fn the_last_handle_waits_for_no_storage_that_hangs() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    fixture.commit();
    let begin = Instant::now();
    drop(fixture.store);
    assert!(begin.elapsed() < TIMEOUT);
}

/// A database is opened again right after the store that had it is gone.
#[test]
fn the_last_handle_leaves_the_storage_free() {
    struct Open {
        _lock: Arc<()>,
    }
    impl Storage for Open {
        fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError> {
            Ok(Vec::new())
        }

        fn commit(&mut self, _: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
            Ok(None)
        }
    }
    let lock = Arc::new(());
    for _ in 0..100 {
        let _lock = Arc::clone(&lock);
        let store = PinStore::open(Open { _lock }).unwrap();
        store.clear();
        drop(store);
        assert_eq!(Arc::strong_count(&lock), 1);
    }
}

/// Hosts that come and go while the disk is full must not fill the memory.
#[tokio::test]
async fn what_waits_to_be_written_is_bounded() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    fixture.commit();
    for number in 0..10_000 {
        let host = Host::parse(&format!("h{number}.example")).unwrap();
        fixture.store.forget(&host);
    }
    fixture.answer(Verdict::Fail);
    let changes = fixture.commits.recv_timeout(TIMEOUT).unwrap();
    assert!(changes.len() <= 4097, "{}", changes.len());
    assert!(changes.iter().map(name).any(|name| name == "a.example 1"));
    fixture.answer(Verdict::Store);
}

#[tokio::test]
async fn what_others_stored_is_taken_over_but_for_what_has_changed_since() {
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    fixture.note(1, 1, NOW);
    fixture.note(2, 1, NOW);
    let entries = fixture.store.list();
    let entry = |index: usize| (*entries[index]).clone();
    fixture.commit();
    // The first commit may have had the first alone.
    fixture.answer(Verdict::Fail);
    assert_eq!(fixture.commit().len(), 3);
    fixture.note(0, 2, NOW + 1);
    fixture.store.forget(fixture.hosts.host(1));
    fixture.answer(Verdict::StoreAs(vec![entry(0), entry(1)]));
    fixture.commit();
    assert_eq!(fixture.store.list().len(), 1);
    assert!(fixture.store.list()[0].pins.contains(&numbered_pin(2)));
    assert!(!fixture.knows("b.example"), "forgotten since");
    assert!(!fixture.knows("c.example"), "somebody else removed it");
    fixture.answer(Verdict::Store);
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

/// A task that is gone in a bad way.
#[tokio::test]
async fn a_waker_that_panics_does_not_end_the_writing() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("as the test wants");
        }
    }
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    let mut durable = fixture.store.durable();
    let waker = Waker::from(Arc::new(Panics));
    let polled = std::pin::Pin::new(&mut durable).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    fixture.commit();
    fixture.answer(Verdict::Store);
    durable.await.unwrap();
    fixture.note(1, 1, NOW);
    assert_eq!(fixture.commit(), ["b.example 1"]);
    fixture.answer(Verdict::Store);
    fixture.store.durable().await.unwrap();
}

/// Responses that wait in vain for a disk that hangs leave nothing behind.
#[tokio::test]
async fn who_waits_no_more_leaves_no_waker() {
    struct Counted;
    impl Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }
    let fixture = fixture().await;
    fixture.note(0, 1, NOW);
    fixture.commit();
    let counted = Arc::new(Counted);
    let waker = Waker::from(Arc::clone(&counted));
    let mut durable = fixture.store.durable();
    for _ in 0..3 {
        let polled = std::pin::Pin::new(&mut durable).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        assert_eq!(
            Arc::strong_count(&counted),
            3,
            "the test's two, and one that is kept"
        );
    }
    drop(durable);
    assert_eq!(Arc::strong_count(&counted), 2);
    fixture.answer(Verdict::Store);
}

#[test]
fn a_panic_while_it_is_opened_is_an_error() {
    struct Panics;
    impl Storage for Panics {
        fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError> {
            panic!("as the test wants")
        }

        fn commit(&mut self, _: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
            panic!("as the test wants")
        }

        fn recover(&mut self, _: StorageError) -> (Recovered, StorageError) {
            panic!("as the test wants")
        }
    }
    let error = PinStore::open(Panics).unwrap_err();
    assert!(matches!(error, StorageError::Panicked), "{error:?}");
    let (store, error) = PinStore::open_or_recover(Panics);
    assert!(matches!(error, Some(StorageError::Panicked)), "{error:?}");
    store.flush().unwrap();
}

/// A storage that can't be read and knows no recovery.
#[test]
fn without_a_recovery_pins_live_in_memory() {
    struct Broken;
    impl Storage for Broken {
        fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError> {
            Err(StorageError::other("broken"))
        }

        fn commit(&mut self, _: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
            panic!("nothing may be written over what could not be read")
        }
    }
    assert!(matches!(
        PinStore::open(Broken),
        Err(StorageError::Other(_))
    ));
    let (store, error) = PinStore::open_or_recover(Broken);
    assert!(matches!(error, Some(StorageError::Other(_))));
    store.clear();
    store.flush().unwrap();
}
