//! What observers receive after the application has dropped its last handle, and how long that
//! drop waits for a disk that does not respond.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::common::recording::{Fixture, Latch, ReleaseOnDrop, builder, next_event, with_observer};
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{NOW, TIMEOUT, at, header_value};
use pinhold::header::{HeaderSyntax, Noted, PinHeader};
use pinhold::report::{DropReason, Report, Reporter};
use pinhold::storage::{Change, Merged, Record, Storage, StorageError};
use pinhold::{Event, PinStore, Pinning};

/// Keeps a handle to the pins, as a reporter that connects with the same pins does.
struct HandleKeeper(#[expect(dead_code, reason = "kept, not used")] Pinning);

impl Reporter for HandleKeeper {
    fn report(&self, _: Report) -> Result<(), DropReason> {
        Ok(())
    }
}

/// A storage that fails once it is told to.
struct FailsLater(Arc<AtomicBool>);

impl Storage for FailsLater {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
        if self.0.load(Ordering::SeqCst) {
            return Err(StorageError::other("expected by the test"));
        }
        Ok(Merged::Nothing)
    }
}

#[tokio::test]
async fn observers_receive_the_error_of_the_last_commit() {
    for (has_reporter, keeps_store) in [(true, false), (true, true), (false, false)] {
        let fixture = Fixture::start().await;
        let anchors = built_in_anchors(&[&fixture.root]);
        let chain = verified_chain(&fixture.leaf, "example.com", &anchors).await;
        let fails = Arc::<AtomicBool>::default();
        let store = PinStore::open(FailsLater(Arc::clone(&fails))).unwrap();
        let kept = keeps_store.then(|| store.clone());
        let (mut builder, events) = with_observer(builder().store(store));
        if has_reporter {
            builder = builder.reporter(|pinning| Ok(HandleKeeper(pinning)));
        }
        let pinning = builder.build().unwrap();
        let value = header_value(fixture.leaf.pin(), "max-age=60");
        let header = PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469).unwrap();
        let note = |now| pinning.note(chain.host().unwrap(), &header, &chain, at(now));
        assert_eq!(note(NOW), Noted::Added);
        assert!(matches!(next_event(&events), Event::Noted { .. }));
        pinning.store().flush().unwrap();
        fails.store(true, Ordering::SeqCst);
        // A refresh is written with the next change, or when the last handle is dropped.
        assert_eq!(note(NOW + 5), Noted::Refreshed);
        drop(pinning);
        let event = next_event(&events);
        assert!(
            matches!(event, Event::StorageFailed(StorageError::Other(_))),
            "{has_reporter} {keeps_store}: {event:?}"
        );
        drop(kept);
    }
}

/// A storage whose commits wait for a latch.
struct Hanging(Latch);

impl Storage for Hanging {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
        self.0.wait();
        Ok(Merged::Nothing)
    }
}

/// The reporter's handle is the last one of the store. If it were dropped by the application's
/// thread, that thread would wait twice.
#[test]
fn the_last_drop_waits_for_a_disk_once_and_observers_receive_the_error() {
    let latch = Latch::default();
    let _release = ReleaseOnDrop(latch.clone());
    let store = PinStore::open(Hanging(latch)).unwrap();
    let (builder, events) = with_observer(builder().store(store));
    let (sender, dropped) = channel::<()>();
    let builder = builder.observer(move |_| {
        let _sender = &sender;
    });
    let builder = builder.reporter(|pinning| Ok(HandleKeeper(pinning)));
    let pinning = builder.build().unwrap();
    // Changes the store without an event, so that no observer thread runs yet.
    pinning.store().clear();
    let start = Instant::now();
    drop(pinning);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    let event = events.recv_timeout(TIMEOUT).unwrap();
    assert!(
        matches!(event, Event::StorageFailed(StorageError::Slow { .. })),
        "{event:?}"
    );
    assert_ended(&dropped);
}

/// Waits until the observer is dropped, which ends the channel.
fn assert_ended(dropped: &Receiver<()>) {
    let ended = dropped.recv_timeout(TIMEOUT);
    assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}
