//! What becomes of noted pins when their file is damaged, foreign, newer, or no file at all, and
//! when other processes write it. Static pins hold in every case.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use common::noted::{Hosts, file_names, numbered_pin, pinning, temp_dir};
use common::{Clock, DAY, NOW, TIMEOUT, now, policy_with};
use pinhold::header::Noted;
use pinhold::storage::{Corruption, Storage, StorageError};
use pinhold::{Decision, FileStorage, Host, PinStore, Pinning};
use tempfile::TempDir;

/// A file in which `a.example` to `c.example` are noted.
struct Fixture {
    hosts: Hosts,
    folder: TempDir,
    file: PathBuf,
    bytes: Vec<u8>,
}

fn fixture() -> Fixture {
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let hosts = Hosts::blocking(&["a.example", "b.example", "c.example"]);
    let store = open(&file).unwrap();
    for index in 0..3 {
        let value = hosts.value(numbered_pin(0), "max-age=1000; includeSubDomains");
        assert_eq!(
            hosts.note(&pinning(&store), index, &value, NOW),
            Noted::Added
        );
    }
    store.flush().unwrap();
    let bytes = fs::read(&file).unwrap();
    Fixture {
        hosts,
        folder,
        file,
        bytes,
    }
}

fn open(file: &Path) -> Result<PinStore, StorageError> {
    PinStore::open(FileStorage::new(file))
}

fn names(store: &PinStore) -> Vec<String> {
    let list = store.list();
    list.iter().map(|entry| entry.host.to_string()).collect()
}

/// A host that the fixture does not know.
fn note_d_example(store: &PinStore, seconds: u64) {
    let hosts = Hosts::blocking(&["d.example"]);
    let value = hosts.value(numbered_pin(1), "max-age=1000");
    let noted = hosts.note(&pinning(store), 0, &value, seconds);
    assert_eq!(noted, Noted::Added);
}

impl Fixture {
    /// Lays this down in place of the file.
    fn lay(&self, bytes: &[u8]) {
        fs::write(&self.file, bytes).unwrap();
    }

    /// The lines of the file, ends included.
    fn lines(&self) -> Vec<&[u8]> {
        self.bytes.split_inclusive(|byte| *byte == b'\n').collect()
    }

    /// The store that there always is, with static pins that hold, and what was wrong.
    #[track_caller]
    fn recover(&self) -> (PinStore, Option<StorageError>) {
        let (store, error) = PinStore::open_or_recover(FileStorage::new(&self.file));
        let pinned = Pinning::builder()
            .time_provider(Clock::new())
            .static_pins("c.example", policy_with(numbered_pin(7)))
            .store(store.clone())
            .build()
            .unwrap();
        let decision = pinned.check(self.hosts.host(2), self.hosts.chain(2), now());
        assert!(matches!(decision, Decision::Refuse(_)), "{decision:?}");
        (store, error)
    }

    /// `open` refuses, `open_or_recover` keeps these hosts and the file under another name.
    #[track_caller]
    fn is_damaged(&self, expected: &Corruption, kept: &[&str]) {
        let bytes = fs::read(&self.file).unwrap();
        let before = file_names(&self.folder);
        let refused = open(&self.file).unwrap_err();
        assert!(
            matches!(&refused, StorageError::Corrupt { corruption, readable, moved_to: None, .. }
                if corruption == expected && *readable == kept.len()),
            "{refused:?}"
        );
        assert_eq!(
            file_names(&self.folder),
            before,
            "a refusal touches nothing"
        );

        let (store, error) = self.recover();
        assert_eq!(names(&store), kept);
        let Some(StorageError::Corrupt {
            corruption,
            moved_to: Some(aside),
            ..
        }) = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(corruption, *expected);
        assert_eq!(fs::read(&aside).unwrap(), bytes, "nothing is lost");
        assert_eq!(
            names(&open(&self.file).unwrap()),
            kept,
            "and it is sound again"
        );
        self.can_be_noted_into(&store, kept);
    }

    /// A new host goes to disk, beside what is there.
    #[track_caller]
    fn can_be_noted_into(&self, store: &PinStore, known: &[&str]) {
        let hosts = Hosts::blocking(&["new.example"]);
        let value = hosts.value(numbered_pin(1), "max-age=1000");
        assert_eq!(hosts.note(&pinning(store), 0, &value, NOW), Noted::Added);
        store.flush().unwrap();
        assert_eq!(
            names(&open(&self.file).unwrap()),
            [known, &["new.example"]].concat()
        );
    }

    /// `open` refuses, `open_or_recover` keeps these hosts in memory and touches nothing.
    #[track_caller]
    fn is_left_alone(&self, expected: impl Fn(&StorageError) -> bool, kept: &[&str]) {
        let before = file_names(&self.folder);
        let refused = open(&self.file).unwrap_err();
        assert!(expected(&refused), "{refused:?}");
        let (store, error) = self.recover();
        assert!(error.as_ref().is_some_and(&expected), "{error:?}");
        assert_eq!(names(&store), kept);
        let value = self.hosts.value(numbered_pin(1), "max-age=2000");
        self.hosts.note(&pinning(&store), 0, &value, NOW);
        assert!(
            names(&store).contains(&"a.example".to_owned()),
            "memory goes on"
        );
        store.flush().unwrap();
        drop(store);
        assert_eq!(file_names(&self.folder), before);
    }
}

const ALL: [&str; 3] = ["a.example", "b.example", "c.example"];

// Firefox's four: a state file that is absent, empty, garbage, huge.

#[test]
fn firefox_1_an_absent_file_is_an_empty_store() {
    let fixture = fixture();
    fs::remove_file(&fixture.file).unwrap();
    let (store, error) = fixture.recover();
    assert!(error.is_none(), "{error:?}");
    assert!(store.list().is_empty());
    assert!(!fixture.file.exists(), "made with the first commit");
    fixture.can_be_noted_into(&store, &[]);
}

#[test]
fn firefox_2_an_empty_file_is_damage() {
    let fixture = fixture();
    fixture.lay(b"");
    fixture.is_damaged(&Corruption::Empty, &[]);
}

#[test]
fn firefox_3_garbage_is_foreign() {
    let fixture = fixture();
    for garbage in [
        &b"\xff\xfe\0\0garbage\n\n\n"[..],
        b"[pins]\nhost = 1\n",
        b"{}\n",
    ] {
        fixture.lay(garbage);
        let refused = open(&fixture.file).unwrap_err();
        let foreign = Corruption::Foreign;
        assert!(
            matches!(&refused, StorageError::Corrupt { corruption, .. } if *corruption == foreign),
            "{refused:?}"
        );
    }
    fixture.is_damaged(&Corruption::Foreign, &[]);
}

#[test]
fn firefox_4_a_huge_file_is_not_read_beyond_its_limit() {
    let fixture = fixture();
    fixture.lay(&fixture.bytes);
    let len = 8 * FileStorage::MAX_LEN;
    // Sparse: no disk is filled.
    let file = File::options().write(true).open(&fixture.file).unwrap();
    file.set_len(len).unwrap();
    drop(file);
    let limit = FileStorage::MAX_LEN;
    let refused = open(&fixture.file).unwrap_err();
    let oversized = Corruption::Oversized { len, limit };
    assert!(
        matches!(&refused, StorageError::Corrupt { corruption, readable: 3, .. }
            if *corruption == oversized),
        "{refused:?}"
    );
    // A storage that was chosen while the program runs.
    let chosen: Box<dyn Storage> = Box::new(FileStorage::new(&fixture.file));
    let (store, error) = PinStore::open_or_recover(chosen);
    assert_eq!(names(&store), ALL);
    let Some(StorageError::Corrupt {
        moved_to: Some(aside),
        ..
    }) = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(fs::metadata(aside).unwrap().len(), len);
    assert_eq!(fs::read(&fixture.file).unwrap(), fixture.bytes);
}

#[test]
fn attack_10_a_file_cut_short_keeps_its_whole_lines() {
    let fixture = fixture();
    let lines = fixture.lines();
    let two = [lines[0], lines[1], lines[2]].concat();
    fixture.lay(&two);
    fixture.is_damaged(&Corruption::Cut, &ALL[..2]);
    fixture.lay(&[&two, &lines[3][..50]].concat());
    fixture.is_damaged(&Corruption::Cut, &ALL[..2]);
}

#[test]
fn attack_10_a_flipped_bit_costs_one_line() {
    let fixture = fixture();
    let lines = fixture.lines();
    let mut flipped = fixture.bytes.clone();
    flipped[lines[0].len() + lines[1].len() + 30] ^= 1;
    fixture.lay(&flipped);
    fixture.is_damaged(&Corruption::Line(3), &["a.example", "c.example"]);
}

#[test]
fn attack_10_a_newer_version_is_left_alone() {
    let fixture = fixture();
    let text = String::from_utf8(fixture.bytes.clone()).unwrap();
    let newer = text.replacen("\"version\":1", "\"version\":3", 1);
    let elsewhere = r#"{"format":"pinhold","version":3,"entries":"in pins.db"}"#;
    for (bytes, kept) in [(newer.as_str(), &ALL[..]), (elsewhere, &[])] {
        fixture.lay(bytes.as_bytes());
        let is_newer =
            |error: &StorageError| matches!(error, StorageError::NewerVersion { version: 3, .. });
        fixture.is_left_alone(is_newer, kept);
        assert_eq!(fs::read(&fixture.file).unwrap(), bytes.as_bytes());
    }
}

#[test]
fn attack_10_a_newer_version_that_comes_while_the_process_runs_is_left_alone() {
    let fixture = fixture();
    let store = open(&fixture.file).unwrap();
    let newer = br#"{"format":"pinhold","version":2}"#;
    fixture.lay(newer);
    store.forget(fixture.hosts.host(0));
    let error = store.flush().unwrap_err();
    assert!(
        matches!(error, StorageError::NewerVersion { version: 2, .. }),
        "{error:?}"
    );
    assert_eq!(fs::read(&fixture.file).unwrap(), newer);
}

/// Another process has written, and then a bit flipped: what this one knows, what verifies, and
/// what has changed here make one sound file.
#[test]
fn attack_10_damage_that_comes_while_the_process_runs_is_mended() {
    let fixture = fixture();
    let (told, errors) = channel();
    let store = open(&fixture.file).unwrap();
    let store = store.on_error(move |error| drop(told.send(error.clone())));
    let other = open(&fixture.file).unwrap();
    note_d_example(&other, NOW);
    drop(other);
    let mut flipped = fs::read(&fixture.file).unwrap();
    let line_of_c = flipped
        .windows(9)
        .position(|bytes| bytes == b"c.example")
        .unwrap();
    flipped[line_of_c] ^= 1;
    fixture.lay(&flipped);

    store.forget(fixture.hosts.host(0));
    let error = errors.recv_timeout(TIMEOUT).unwrap();
    let StorageError::Corrupt {
        moved_to: Some(aside),
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(fs::read(aside).unwrap(), flipped);
    store.flush().unwrap();
    let expected = ["b.example", "c.example", "d.example"];
    assert_eq!(names(&open(&fixture.file).unwrap()), expected);
    assert_eq!(names(&store), expected);
}

#[test]
fn attack_10_a_directory_in_its_place_is_refused() {
    let fixture = fixture();
    fs::remove_file(&fixture.file).unwrap();
    fs::create_dir(&fixture.file).unwrap();
    fixture.is_left_alone(|error| matches!(error, StorageError::NotAFile { .. }), &[]);
}

#[cfg(unix)]
#[test]
fn attack_10_a_symbolic_link_is_refused() {
    let fixture = fixture();
    let elsewhere = fixture.folder.path().join("elsewhere");
    fs::rename(&fixture.file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &fixture.file).unwrap();
    fixture.is_left_alone(|error| matches!(error, StorageError::NotAFile { .. }), &[]);
    assert_eq!(fs::read(&elsewhere).unwrap(), fixture.bytes);
}

/// Somebody who may write to the folder wants a file of this user's overwritten.
#[cfg(unix)]
#[test]
fn attack_10_links_in_place_of_the_files_beside_it_are_not_followed() {
    let fixture = fixture();
    let precious = fixture.folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    let store = open(&fixture.file).unwrap();

    let temporary = fixture.folder.path().join("pins.jsonl.tmp");
    std::os::unix::fs::symlink(&precious, &temporary).unwrap();
    store.forget(fixture.hosts.host(0));
    store.flush().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL[1..]);

    let lock = fixture.folder.path().join("pins.jsonl.lock");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&precious, &lock).unwrap();
    store.forget(fixture.hosts.host(1));
    let error = store.flush().unwrap_err();
    assert!(matches!(error, StorageError::NotAFile { .. }), "{error:?}");
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
}

#[cfg(unix)]
#[test]
fn attack_10_a_socket_or_a_device_is_refused_without_being_opened() {
    let fixture = fixture();
    fs::remove_file(&fixture.file).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&fixture.file).unwrap();
    fixture.is_left_alone(|error| matches!(error, StorageError::NotAFile { .. }), &[]);
    // Reading it would never end.
    let error = open(Path::new("/dev/zero")).unwrap_err();
    assert!(matches!(error, StorageError::NotAFile { .. }), "{error:?}");
}

#[test]
fn attack_10_a_lock_that_is_held_delays_writing_and_not_reading() {
    let fixture = fixture();
    let store = open(&fixture.file).unwrap();
    let lock = File::open(fixture.folder.path().join("pins.jsonl.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL);
    store.forget(fixture.hosts.host(0));
    let error = store.flush().unwrap_err();
    assert!(matches!(error, StorageError::Locked { .. }), "{error:?}");
    assert_eq!(names(&store), ALL[1..], "memory keeps the truth");
    drop(lock);
    store.flush().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL[1..]);
}

#[test]
fn a_missing_folder_is_told_when_it_is_opened() {
    let folder = temp_dir();
    for path in ["missing/pins.jsonl", "file/pins.jsonl", ""] {
        fs::write(folder.path().join("file"), "").unwrap();
        let path = match path {
            "" => PathBuf::new(),
            path => folder.path().join(path),
        };
        let error = open(&path).unwrap_err();
        assert!(
            matches!(error, StorageError::Io { .. }),
            "{path:?}: {error:?}"
        );
        let (store, error) = PinStore::open_or_recover(FileStorage::new(&path));
        assert!(matches!(error, Some(StorageError::Io { .. })), "{error:?}");
        assert!(store.list().is_empty());
    }
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_which_hosts_were_visited() {
    use std::os::unix::fs::PermissionsExt;

    let fixture = fixture();
    let mode = |name: &str| {
        let metadata = fs::metadata(fixture.folder.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("pins.jsonl"), 0o600);
    assert_eq!(mode("pins.jsonl.lock"), 0o600);
}

#[test]
fn nothing_but_the_file_and_its_lock_is_left_behind() {
    let fixture = fixture();
    let names = ["pins.jsonl", "pins.jsonl.lock"].map(PathBuf::from);
    assert_eq!(file_names(&fixture.folder), names);
}

#[test]
fn reading_makes_no_lock_and_changes_nothing() {
    let fixture = fixture();
    fs::remove_file(fixture.folder.path().join("pins.jsonl.lock")).unwrap();
    let store = open(&fixture.file).unwrap();
    assert_eq!(names(&store), ALL);
    store.flush().unwrap();
    drop(store);
    assert_eq!(file_names(&fixture.folder), [PathBuf::from("pins.jsonl")]);
    assert_eq!(fs::read(&fixture.file).unwrap(), fixture.bytes);
}

/// Two handles on one file stand for two processes: they share nothing but the file.
#[test]
fn what_another_process_stored_is_taken_over_and_never_lost() {
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
        "what the first forgot is gone here, too"
    );
    // The first learns of the new host with its own next commit.
    one.forget(fixture.hosts.host(1));
    one.flush().unwrap();
    assert_eq!(names(&one), expected[1..]);
}

#[test]
fn of_two_processes_the_later_noting_wins_whoever_writes_last() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    // A mere refresh, which is written late.
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

/// One makes room by evicting what has expired, which the other has refreshed meanwhile.
#[test]
fn evicting_reaches_the_file_but_not_what_another_process_refreshed() {
    let fixture = fixture();
    let one = open(&fixture.file).unwrap().capacity(3);
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
fn a_server_s_removal_reaches_the_file_but_not_what_was_noted_after_it() {
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

/// What this process refreshed and has not written yet, the user had forgotten in another one.
#[test]
fn a_late_refresh_brings_nothing_back() {
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

/// The clock was ahead by an hour when the entries were noted, and has been set right.
#[test]
fn what_is_noted_after_the_clock_was_set_back_is_kept() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    note_d_example(&other, NOW);
    other.flush().unwrap();
    // One commit, which meets what the other one wrote.
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
fn times_that_were_mended_stay_so_when_files_are_merged() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    let clock = Clock::new();
    // Long before the entries were noted: they are taken as noted then.
    let early = NOW - 300 * DAY;
    clock.set(early);
    let builder = Pinning::builder().store(one.clone()).time_provider(clock);
    let _mended = builder.build().unwrap();
    other.forget(fixture.hosts.host(2));
    other.flush().unwrap();
    one.flush().unwrap();
    for store in [&one, &open(&fixture.file).unwrap()] {
        assert_eq!(names(store), ALL[..2]);
        assert!(
            store
                .list()
                .iter()
                .all(|known| known.noted_at.as_secs() == early)
        );
    }
}

/// More removals than are remembered while nothing can be written.
#[test]
fn too_many_removals_cost_another_process_nothing() {
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
fn clearing_reaches_what_another_process_stored() {
    let fixture = fixture();
    let (one, other) = (open(&fixture.file).unwrap(), open(&fixture.file).unwrap());
    note_d_example(&other, NOW + 10);
    other.flush().unwrap();
    one.clear_since(common::at(NOW + 5));
    one.flush().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL);
    one.clear();
    one.flush().unwrap();
    assert!(open(&fixture.file).unwrap().list().is_empty());
    assert!(FileStorage::new(&fixture.file).load().unwrap().is_empty());
}

#[test]
fn a_file_that_was_removed_is_written_anew() {
    let fixture = fixture();
    let store = open(&fixture.file).unwrap();
    fs::remove_file(&fixture.file).unwrap();
    store.forget(fixture.hosts.host(0));
    store.flush().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL[1..]);
}
