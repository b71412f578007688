//! Several processes that share a file. Two stores on one file represent them, since they share
//! nothing but the file.

use std::fs::File;

use pinhold::header::Noted;
use pinhold::storage::Storage;
use pinhold::{FileStorage, Host, PinStore, Pinning};

use super::{ALL, fixture, names, note_d_example, open};
use crate::common::noted::{Hosts, numbered_pin, pinning};
use crate::common::{Clock, DAY, NOW, at};

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

/// The user has removed an entry in another process before this one writes a refresh of it.
#[test]
fn a_delayed_refresh_does_not_restore_a_removed_entry() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    let same = fixture
        .hosts
        .value(numbered_pin(0), "max-age=1000; includeSubDomains");
    let noted = fixture.hosts.note(&pinning(&one), 0, &same, NOW + 9);
    assert_eq!(noted, Noted::Refreshed);
    other.clear();
    other.flush().unwrap();
    one.flush().unwrap();
    assert!(open(&fixture.file).unwrap().list().is_empty());
    assert!(one.list().is_empty());
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
