//! What a file has lost, or what a process has not read yet, must unpin no host: repairs, deleted
//! files, failed writes of others, and reading without writing.

use std::fs;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use pinhold::header::Noted;
use pinhold::storage::{Change, Merged, Record, Storage, StorageError, StorageWaker};
use pinhold::{FileStorage, PinStore};

use super::{ALL, fixture, names, note_d_example, open};
use crate::common::noted::{Hosts, numbered_pin, pinning};
use crate::common::{NOW, TIMEOUT, at};

/// Waits until a store has this number of hosts.
#[track_caller]
fn wait_for(store: &PinStore, hosts: usize) {
    let begin = Instant::now();
    while store.list().len() != hosts {
        assert!(begin.elapsed() < TIMEOUT, "{:?}", names(store));
        std::thread::yield_now();
    }
}

/// The refresh itself causes the commit that finds the corrupt line of its host.
#[test]
fn a_refresh_of_a_host_whose_line_is_corrupt_keeps_its_pins() {
    let fixture = fixture();
    let store = open(&fixture.file).unwrap();
    let mut corrupt = fixture.bytes.clone();
    corrupt[fixture.lines()[0].len() + 40] ^= 1;
    // Another identity, so that the file is read again.
    let moved = [b"{", &corrupt[..]].concat();
    fixture.write(&moved);
    let same = fixture
        .hosts
        .value(numbered_pin(0), "max-age=1000; includeSubDomains");
    let noted = fixture.hosts.note(&pinning(&store), 0, &same, NOW + 10);
    assert_eq!(noted, Noted::Refreshed);
    store.flush().unwrap();
    for store in [&store, &open(&fixture.file).unwrap()] {
        assert_eq!(names(store), ALL);
        assert_eq!(store.list()[0].noted_at, at(NOW + 10));
    }
}

/// The last commit of a process repairs the file.
#[test]
fn the_last_commit_of_a_store_on_a_corrupt_file_is_written() {
    let fixture = fixture();
    let store = open(&fixture.file).unwrap();
    fixture.write(&fixture.bytes[1..]);
    // A refresh is not written before the store is dropped.
    let same = fixture
        .hosts
        .value(numbered_pin(0), "max-age=1000; includeSubDomains");
    fixture.hosts.note(&pinning(&store), 2, &same, NOW + 10);
    drop(store);
    let list = open(&fixture.file).unwrap().list();
    assert_eq!(list.len(), 3);
    assert_eq!(list[2].noted_at, at(NOW + 10));
}

/// A storage that has lost its records, and whose next commit fails.
struct Loses {
    file: FileStorage,
    outcomes: Vec<Result<(), ()>>,
}

impl Storage for Loses {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        self.file.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Merged, StorageError> {
        match self.outcomes.pop() {
            Some(Err(())) => Err(StorageError::other("full")),
            _ => self.file.commit(changes),
        }
    }
}

#[test]
fn a_deleted_file_is_complete_again_also_if_the_second_commit_fails() {
    let fixture = fixture();
    let storage = Loses {
        file: FileStorage::new(&fixture.file),
        outcomes: vec![Err(()), Ok(())],
    };
    let store = PinStore::open(storage).unwrap();
    fs::remove_file(&fixture.file).unwrap();
    store.forget(fixture.hosts.host(0));
    // The first attempt may have failed before.
    let _ = store.flush();
    store.flush().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL[1..]);
}

/// Both are in one commit, and another process has stored other pins of the host since.
#[test]
fn a_note_after_a_clear_is_stored_although_another_process_noted_the_host_before() {
    for is_replaced in [false, true] {
        let fixture = fixture();
        // The first commit fails, so that the next one has both changes.
        let storage = Loses {
            file: FileStorage::new(&fixture.file),
            outcomes: vec![Err(())],
        };
        let store = PinStore::open(storage).unwrap();
        let other = open(&fixture.file).unwrap();
        note_d_example(&other, NOW + 10);
        drop(other);
        if is_replaced {
            // With another header, so that the file is read as a whole.
            let empty = fixture.folder.path().join("empty.jsonl");
            FileStorage::new(&empty).commit(&[]).unwrap();
            let bytes = fs::read(&fixture.file).unwrap();
            let lines = bytes.split_inclusive(|byte| *byte == b'\n').skip(1);
            let lines = lines.collect::<Vec<_>>().concat();
            fixture.write(&[fs::read(empty).unwrap(), lines].concat());
        }
        store.clear();
        let hosts = Hosts::blocking(&["d.example"]);
        let value = hosts.value(numbered_pin(7), "max-age=1000");
        hosts.note(&pinning(&store), 0, &value, NOW + 20);
        let _ = store.flush();
        store.flush().unwrap();
        for store in [&store, &open(&fixture.file).unwrap()] {
            assert_eq!(names(store), ["d.example"]);
            assert!(store.list()[0].pins.contains(&numbered_pin(7)));
        }
    }
}

/// Another process appended a line, failed to sync it and cut it, after this one had read it.
#[test]
fn a_line_that_was_cut_after_it_was_read_is_replaced_by_what_is_there_now() {
    let fixture = fixture();
    let mut storage = FileStorage::new(&fixture.file);
    storage.load().unwrap();
    let record = |key, value: &str| Record::new("kind", key, value, at(NOW)).unwrap();
    let append = |key, value: &str| {
        let mut other = FileStorage::new(&fixture.file);
        other.load().unwrap();
        other.commit(&[Change::put(record(key, value))]).unwrap();
    };
    append("cut", "1");
    assert!(matches!(storage.pull().unwrap(), Merged::Updates(updates) if updates.len() == 1));
    fixture.write(&fixture.bytes);
    append("kept", "\"longer\"");
    let Merged::All(records) = storage.commit(&[Change::put(record("own", "2"))]).unwrap() else {
        panic!("the file was not read as a whole");
    };
    let mut keys = records.iter().map(Record::key).collect::<Vec<_>>();
    keys.sort_unstable();
    assert_eq!(keys, [&ALL[..], &["kept", "own"]].concat());
    let left = FileStorage::new(&fixture.file).load().unwrap();
    assert_eq!(left.len(), 5);
}

#[test]
fn a_store_reads_what_another_process_has_noted_at_its_interval() {
    let fixture = fixture();
    let interval = Duration::from_millis(1);
    let one = PinStore::open(FileStorage::new(&fixture.file).pull_every(interval)).unwrap();
    let other = open(&fixture.file).unwrap();
    note_d_example(&other, NOW);
    other.flush().unwrap();
    wait_for(&one, 4);
    other.clear();
    other.flush().unwrap();
    wait_for(&one, 0);
    // A change of this process is not lost meanwhile.
    note_d_example(&one, NOW + 1);
    one.flush().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ["d.example"]);
}

/// A file whose storage passes on its waker.
struct Notified(FileStorage, std::sync::mpsc::Sender<StorageWaker>);

impl Storage for Notified {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        self.0.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Merged, StorageError> {
        self.0.commit(changes)
    }

    fn pull(&mut self) -> Result<Merged, StorageError> {
        self.0.pull()
    }

    fn set_waker(&mut self, waker: StorageWaker) {
        self.1.send(waker).unwrap();
    }
}

#[test]
fn a_store_reads_what_another_process_has_noted_when_its_storage_wakes_it() {
    let fixture = fixture();
    let (sender, wakers) = channel();
    let one = PinStore::open(Notified(FileStorage::new(&fixture.file), sender)).unwrap();
    let waker = wakers.recv_timeout(TIMEOUT).unwrap();
    let other = open(&fixture.file).unwrap();
    note_d_example(&other, NOW);
    other.flush().unwrap();
    assert_eq!(names(&one), ALL);
    waker.wake();
    wait_for(&one, 4);
    drop(one);
    waker.wake();
}

/// Each process makes one commit, when it closes the store.
#[test]
fn processes_that_commit_once_compact_the_file() {
    let fixture = fixture();
    let same = fixture
        .hosts
        .value(numbered_pin(0), "max-age=1000; includeSubDomains");
    let repeated = fixture.lines()[1..].concat().repeat(70);
    fixture.write(&[fixture.lines()[0], &repeated].concat());
    let store = open(&fixture.file).unwrap();
    fixture.hosts.note(&pinning(&store), 0, &same, NOW + 1);
    drop(store);
    assert!(fs::metadata(&fixture.file).unwrap().len() < 3000);
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL);
}

/// Such a file has no line feed for a long time, as a database or an image may.
#[test]
fn attack_10_a_file_of_another_kind_without_line_feeds_is_left_unchanged() {
    let fixture = fixture();
    let other = vec![b'x'; 2 * 1024 * 1024];
    fixture.write(&other);
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&fixture.file));
    assert!(matches!(
        error,
        Some(StorageError::Corrupt {
            readable: 0,
            moved_to: None,
            ..
        })
    ));
    note_d_example(&store, NOW);
    store.flush().unwrap();
    drop(store);
    assert!(fs::read(&fixture.file).unwrap() == other);
}
