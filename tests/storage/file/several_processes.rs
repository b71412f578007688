//! Several processes that share a file. Two stores on one file represent them, since they share
//! nothing but the file.

use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};

use pinhold::header::{IgnoreReason, Noted};
use pinhold::storage::{Change, Merged, Record, Storage, StorageError};
use pinhold::{FileStorage, Host, PinStore, Pinning};

use super::{ALL, fixture, names, note_d_example, open};
use crate::common::noted::{Hosts, numbered_pin, pin_number, pinning, temp_dir};
use crate::common::{Clock, DAY, NOW, TIMEOUT, at};

/// A time after the release, since an earlier one confirms no entry.
const LATER: u64 = 1_800_000_000;

#[test]
fn entries_stored_by_another_process_are_read_and_never_lost() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    one.forget(fixture.hosts.host(0));
    one.flush().unwrap();
    note_d_example(&other, NOW);
    other.flush().unwrap();
    let expected = ["b.example", "c.example", "d.example"];
    assert_eq!(names(&open(&fixture.file).unwrap()), expected);
    assert_eq!(
        names(&other),
        expected,
        "the entry that the first store has removed is removed here, too"
    );
    // The first store reads the new host with its own next commit.
    one.forget(fixture.hosts.host(1));
    one.flush().unwrap();
    assert_eq!(names(&one), expected[1..]);
}

#[test]
fn of_two_processes_the_entry_noted_later_is_kept_in_either_order_of_writes() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    // A refresh, which is written with a delay.
    let same = fixture
        .hosts
        .value(numbered_pin(0), "max-age=1000; includeSubDomains");
    let noted = fixture.hosts.note(&pinning(&one), 0, &same, NOW + 10);
    assert_eq!(noted, Noted::Refreshed);
    let changed = fixture.hosts.value(numbered_pin(9), "max-age=1000");
    fixture.hosts.note(&pinning(&other), 0, &changed, NOW + 20);
    other.flush().unwrap();
    one.flush().unwrap();
    for store in [&one, &other, &open(&fixture.file).unwrap()] {
        let list = store.list();
        assert!(list[0].pins.contains(&numbered_pin(9)));
        assert_eq!(list[0].noted_at.as_secs(), NOW + 20);
    }
}

/// A file whose commits begin when the test lets them.
pub(super) struct SteppedFile {
    file: FileStorage,
    arrived: Sender<()>,
    begin: Receiver<()>,
}

impl SteppedFile {
    pub(super) fn new(file: FileStorage, arrived: Sender<()>, begin: Receiver<()>) -> Self {
        Self {
            file,
            arrived,
            begin,
        }
    }
}

impl Storage for SteppedFile {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        self.file.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Merged, StorageError> {
        // The test may have ended.
        let _ = self.arrived.send(());
        let _ = self.begin.recv_timeout(TIMEOUT);
        self.file.commit(changes)
    }
}

/// The first process notes a header while it merges what the second has noted later.
#[test]
fn a_note_that_waits_for_the_next_commit_replaces_nothing_it_was_not_evaluated_against() {
    let fixture = fixture();
    let ((arrived, has_arrived), (begin, may_begin)) = (channel(), channel());
    let storage = SteppedFile::new(FileStorage::new(&fixture.file), arrived, may_begin);
    let (one, other) = (
        PinStore::open(storage).unwrap(),
        open(&fixture.file).unwrap(),
    );
    let value = |backup| fixture.hosts.value(numbered_pin(backup), "max-age=1000");
    let remove = fixture.hosts.value(numbered_pin(9), "max-age=0");
    for index in 0..3 {
        fixture
            .hosts
            .note(&pinning(&other), index, &value(9), NOW + 20);
    }
    other.flush().unwrap();
    // The batch of the first commit has this removal alone.
    one.forget(&Host::parse("z.example").unwrap());
    has_arrived.recv_timeout(TIMEOUT).unwrap();
    let noted = [
        fixture.hosts.note(&pinning(&one), 0, &value(5), NOW + 10),
        fixture.hosts.note(&pinning(&one), 1, &value(5), NOW + 20),
        fixture.hosts.note(&pinning(&one), 2, &remove, NOW + 20),
    ];
    assert!(
        matches!(
            &noted,
            [Noted::Refreshed, Noted::Refreshed, Noted::Removed(_)]
        ),
        "{noted:?}"
    );
    (0..2).for_each(|_| begin.send(()).unwrap());
    one.flush().unwrap();
    for store in [&one, &open(&fixture.file).unwrap()] {
        let list = store.list();
        assert_eq!(names(store), ALL);
        assert!(
            list.iter()
                .all(|known| known.pins.contains(&numbered_pin(9)))
        );
    }
    drop(begin);
}

/// A header that was received before one that another process has noted, and takes effect after
/// that was merged.
#[test]
fn a_merged_entry_is_replaced_by_a_later_header_or_after_the_clock_was_set_back() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    let value = |backup| fixture.hosts.value(numbered_pin(backup), "max-age=1000");
    let remove = fixture.hosts.value(numbered_pin(9), "max-age=0");
    let note = |index, value: &str, seconds| {
        let noted = fixture.hosts.note(&pinning(&one), index, value, seconds);
        one.flush().unwrap();
        noted
    };
    for index in 0..2 {
        fixture
            .hosts
            .note(&pinning(&other), index, &value(9), NOW + 20);
    }
    other.flush().unwrap();
    assert_eq!(note(2, &value(5), NOW + 11), Noted::Refreshed);
    let not_latest = Noted::Ignored(IgnoreReason::NotLatest);
    for seconds in [10, 19] {
        assert_eq!(note(0, &value(5), NOW + seconds), not_latest);
        assert_eq!(note(1, &remove, NOW + seconds), not_latest);
    }
    let backup = |index: usize| {
        let stored = open(&fixture.file).unwrap().list();
        assert_eq!(one.list(), stored);
        let pins = &stored[index].pins;
        pins.iter().find_map(pin_number).unwrap()
    };
    assert_eq!((backup(0), backup(1)), (9, 9));
    assert_eq!(note(0, &value(6), NOW + 20), Noted::Refreshed);
    assert_eq!((backup(0), backup(1)), (6, 9));
    // The clock is set back.
    note(2, &value(7), NOW + 30);
    assert_eq!(note(0, &value(7), NOW + 15), Noted::Refreshed);
    assert_eq!((backup(0), backup(1)), (7, 9));
    assert!(matches!(note(1, &remove, NOW + 16), Noted::Removed(_)));
    assert_eq!(
        names(&open(&fixture.file).unwrap()),
        ["a.example", "c.example"]
    );
}

/// A third process had a clock that was ahead by a year.
#[test]
fn an_entry_from_the_future_neither_blocks_its_host_nor_lets_older_headers_replace_others() {
    let fixture = fixture();
    let note = |store: &PinStore, index, backup, seconds| {
        let value = fixture.hosts.value(numbered_pin(backup), "max-age=1000");
        let noted = fixture.hosts.note(&pinning(store), index, &value, seconds);
        store.flush().unwrap();
        noted
    };
    for index in 0..3 {
        note(&open(&fixture.file).unwrap(), index, 0, LATER);
    }
    let one = open(&fixture.file).unwrap();
    note(&open(&fixture.file).unwrap(), 2, 9, LATER + 365 * DAY);
    // The first process reads that entry with its commit, and replaces it by a later header.
    assert_eq!(note(&one, 0, 5, LATER + 10), Noted::Refreshed);
    assert_eq!(one.list()[2].noted_at.as_secs(), LATER + 365 * DAY);
    assert_eq!(note(&one, 2, 6, LATER + 11), Noted::Refreshed);

    // Another one opens the file with such an entry, and reads later what the first has noted.
    note(&open(&fixture.file).unwrap(), 2, 9, LATER + 365 * DAY);
    let two = open(&fixture.file).unwrap();
    note(&one, 1, 5, LATER + 30);
    assert_eq!(note(&two, 0, 6, LATER + 20), Noted::Refreshed);
    let not_latest = Noted::Ignored(IgnoreReason::NotLatest);
    assert_eq!(note(&two, 1, 6, LATER + 29), not_latest);
    assert!(
        open(&fixture.file).unwrap().list()[1]
            .pins
            .contains(&numbered_pin(5))
    );
}

/// The first process notes as new what the second one has confirmed since the file was opened. If
/// the pins differ, the second one's stay: the header was evaluated against no pins. The next header
/// is evaluated against them.
#[test]
fn an_entry_that_another_process_has_confirmed_stays_confirmed() {
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let hosts = Hosts::blocking(&["a.example", "b.example"]);
    let (one, other) = (open(&file).unwrap(), open(&file).unwrap());
    let note = |store: &PinStore, index, backup, seconds| {
        let value = hosts.value(numbered_pin(backup), "max-age=5000000");
        hosts.note(&pinning(store), index, &value, seconds)
    };
    for seconds in [LATER, LATER + DAY] {
        note(&other, 0, 1, seconds);
        note(&other, 1, 1, seconds);
    }
    other.flush().unwrap();
    // The first commit of this process reads what the other one has noted.
    let held = File::open(folder.path().join("pins.jsonl.lock")).unwrap();
    held.lock().unwrap();
    assert_eq!(note(&one, 0, 1, LATER + DAY + 5), Noted::Added);
    assert_eq!(note(&one, 1, 2, LATER + DAY + 5), Noted::Added);
    drop(held);
    one.flush().unwrap();
    for store in [&one, &open(&file).unwrap()] {
        for (known, seconds) in store.list().iter().zip([5, 0]) {
            assert!(known.pins.contains(&numbered_pin(1)));
            assert!(known.is_confirmed());
            assert_eq!(known.noted_at.as_secs(), LATER + DAY + seconds);
        }
    }
    assert_eq!(note(&one, 1, 2, LATER + DAY + 6), Noted::Refreshed);
    one.flush().unwrap();
    let known = &open(&file).unwrap().list()[1];
    assert!(known.pins.contains(&numbered_pin(2)) && known.is_confirmed());
}

/// One process evicts the expired entries, one of which the other process has refreshed since.
#[test]
fn evicted_entries_are_removed_from_the_file_unless_another_process_refreshed_them() {
    let fixture = fixture();
    let builder = PinStore::builder().capacity(3);
    let one = builder.open(FileStorage::new(&fixture.file)).unwrap();
    let other = open(&fixture.file).unwrap();
    let same = fixture
        .hosts
        .value(numbered_pin(0), "max-age=1000; includeSubDomains");
    fixture.hosts.note(&pinning(&other), 1, &same, NOW + 900);
    other.flush().unwrap();
    let hosts = Hosts::blocking(&["d.test"]);
    let value = hosts.value(numbered_pin(1), "max-age=1000");
    assert_eq!(
        hosts.note(&pinning(&one), 0, &value, NOW + 1001),
        Noted::Added
    );
    one.flush().unwrap();
    for store in [&one, &open(&fixture.file).unwrap()] {
        assert_eq!(names(store), ["b.example", "d.test"]);
    }
}

#[test]
fn an_entry_removed_by_a_header_is_removed_from_the_file_unless_noted_again_since() {
    for (removed, left) in [(0, &ALL[1..]), (1, &ALL[..])] {
        let fixture = fixture();
        let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
        let newer = fixture.hosts.value(numbered_pin(9), "max-age=1000");
        fixture.hosts.note(&pinning(&other), 1, &newer, NOW + 20);
        other.flush().unwrap();
        let remove = fixture.hosts.value(numbered_pin(0), "max-age=0");
        let noted = fixture
            .hosts
            .note(&pinning(&one), removed, &remove, NOW + 10);
        assert!(matches!(noted, Noted::Removed(_)), "{noted:?}");
        one.flush().unwrap();
        assert_eq!(names(&open(&fixture.file).unwrap()), left);
    }
}

/// The user has removed an entry in another process before this one writes a header of its host.
#[test]
fn a_header_of_a_known_host_does_not_restore_an_entry_that_was_removed() {
    for (backup, is_expired) in [(0, false), (9, false), (9, true)] {
        let fixture = fixture();
        let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
        let value = fixture
            .hosts
            .value(numbered_pin(backup), "max-age=1000; includeSubDomains");
        other.clear();
        other.flush().unwrap();
        let seconds = if is_expired { NOW + 2000 } else { NOW + 9 };
        let noted = fixture.hosts.note(&pinning(&one), 0, &value, seconds);
        assert_eq!(noted == Noted::Added, is_expired, "{noted:?}");
        one.flush().unwrap();
        // A host without live pins counts as new.
        for store in [&one, &open(&fixture.file).unwrap()] {
            assert_eq!(names(store), ALL[..usize::from(is_expired)]);
        }
    }
}

/// The clock was ahead by an hour when the entries were noted, and has been corrected since.
#[test]
fn changes_after_the_clock_was_set_back_are_kept() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    note_d_example(&other, NOW);
    other.flush().unwrap();
    // The lock delays the changes, so that one commit merges both with the other store's entry.
    let rotated = fixture.hosts.value(numbered_pin(9), "max-age=1000");
    let remove = fixture.hosts.value(numbered_pin(0), "max-age=0");
    let held = File::open(fixture.folder.path().join("pins.jsonl.lock")).unwrap();
    held.lock().unwrap();
    fixture.hosts.note(&pinning(&one), 0, &rotated, NOW - 3600);
    fixture.hosts.note(&pinning(&one), 1, &remove, NOW - 3600);
    drop(held);
    one.flush().unwrap();
    for store in [&one, &open(&fixture.file).unwrap()] {
        assert_eq!(names(store), ["a.example", "c.example", "d.example"]);
        assert!(store.list()[0].pins.contains(&numbered_pin(9)));
    }
}

/// D-20, while another process writes.
#[test]
fn times_in_the_future_are_kept_when_files_are_merged() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    let clock = Clock::new();
    // Long before the entries were noted.
    let early = NOW - 300 * DAY;
    clock.set(early);
    let builder = Pinning::builder().store(one.clone()).time_provider(clock);
    let _pinning = builder.build().unwrap();
    other.forget(fixture.hosts.host(2));
    other.flush().unwrap();
    note_d_example(&one, early);
    one.flush().unwrap();
    for store in [&one, &open(&fixture.file).unwrap()] {
        let times = store.list();
        let times = times.iter().map(|known| known.noted_at.as_secs());
        assert_eq!(names(store), ["a.example", "b.example", "d.example"]);
        assert_eq!(times.collect::<Vec<_>>(), [NOW, NOW, early]);
    }
}

/// There are more removals than are remembered while nothing can be written.
#[test]
fn too_many_removals_do_not_affect_entries_of_another_process() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    note_d_example(&other, NOW);
    other.flush().unwrap();
    let held = File::open(fixture.folder.path().join("pins.jsonl.lock")).unwrap();
    held.lock().unwrap();
    for number in 0..6000 {
        one.forget(&Host::parse(&format!("h{number}.example")).unwrap());
    }
    drop(held);
    one.flush().unwrap();
    assert_eq!(
        names(&open(&fixture.file).unwrap()),
        [&ALL[..], &["d.example"]].concat()
    );
}

#[test]
fn clearing_also_removes_entries_stored_by_another_process() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    note_d_example(&other, NOW + 10);
    other.flush().unwrap();
    one.clear_since(at(NOW + 5));
    one.flush().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL);
    one.clear();
    one.flush().unwrap();
    assert!(open(&fixture.file).unwrap().list().is_empty());
    assert!(FileStorage::new(&fixture.file).load().unwrap().is_empty());
}
