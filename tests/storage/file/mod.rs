//! `FileStorage` with a file that is corrupt, was written by another program or a newer version, or
//! is not a regular file, and with other processes that write it. Static pins are enforced in every
//! case.

mod impostor;
mod journal;
mod locked;
mod lost;
mod not_regular;
mod several_processes;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use crate::common::noted::{Hosts, file_names, numbered_pin, pinning, temp_dir};
use crate::common::{Clock, NOW, TIMEOUT, now, policy_with};
use pinhold::header::Noted;
use pinhold::storage::{Corruption, Storage, StorageError};
use pinhold::{Decision, FileStorage, PinStore, Pinning};
use tempfile::TempDir;

/// A file with noted pins of `a.example`, `b.example` and `c.example`.
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
        // The hosts of one commit are written in any order.
        store.flush().unwrap();
    }
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

/// Notes a host that is not in the file of the fixture.
fn note_d_example(store: &PinStore, seconds: u64) {
    let hosts = Hosts::blocking(&["d.example"]);
    let value = hosts.value(numbered_pin(1), "max-age=1000");
    let noted = hosts.note(&pinning(store), 0, &value, seconds);
    assert_eq!(noted, Noted::Added);
}

impl Fixture {
    /// Overwrites the file.
    fn write(&self, bytes: &[u8]) {
        fs::write(&self.file, bytes).unwrap();
    }

    /// Returns the lines of the original file, including their line feeds.
    fn lines(&self) -> Vec<&[u8]> {
        self.bytes.split_inclusive(|byte| *byte == b'\n').collect()
    }

    /// Returns the store that `open_or_recover` opens, and the error, and asserts that static pins
    /// are enforced.
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

    /// Asserts that `open` fails, and that `open_or_recover` recovers these hosts and keeps the
    /// corrupt file under another name.
    #[track_caller]
    fn assert_recovered(&self, expected: &Corruption, kept: &[&str]) {
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
            "a failed `open` changes nothing"
        );

        let (store, error) = self.recover();
        assert_eq!(names(&store), kept);
        let Some(StorageError::Corrupt {
            corruption,
            moved_to: Some(moved_to),
            ..
        }) = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(corruption, *expected);
        assert_eq!(fs::read(&moved_to).unwrap(), bytes, "nothing is lost");
        assert_eq!(
            names(&open(&self.file).unwrap()),
            kept,
            "the file is repaired"
        );
        self.assert_stores_new_hosts(&store, kept);
    }

    /// Asserts that a new host is written to the file beside those known.
    #[track_caller]
    fn assert_stores_new_hosts(&self, store: &PinStore, known: &[&str]) {
        let hosts = Hosts::blocking(&["new.example"]);
        let value = hosts.value(numbered_pin(1), "max-age=1000");
        assert_eq!(hosts.note(&pinning(store), 0, &value, NOW), Noted::Added);
        store.flush().unwrap();
        assert_eq!(
            names(&open(&self.file).unwrap()),
            [known, &["new.example"]].concat()
        );
    }

    /// Asserts that `open` fails, and that `open_or_recover` keeps these hosts in memory and
    /// changes no file.
    #[track_caller]
    fn assert_left_unchanged(&self, expected: impl Fn(&StorageError) -> bool, kept: &[&str]) {
        let before = file_names(&self.folder);
        let bytes = fs::read(&self.file).ok();
        let refused = open(&self.file).unwrap_err();
        assert!(expected(&refused), "{refused:?}");
        let (store, error) = self.recover();
        assert!(error.as_ref().is_some_and(&expected), "{error:?}");
        assert_eq!(names(&store), kept);
        let value = self.hosts.value(numbered_pin(1), "max-age=2000");
        self.hosts.note(&pinning(&store), 0, &value, NOW);
        assert!(
            names(&store).contains(&"a.example".to_owned()),
            "pins are still noted in memory"
        );
        store.flush().unwrap();
        drop(store);
        assert_eq!(file_names(&self.folder), before);
        assert_eq!(fs::read(&self.file).ok(), bytes);
    }
}

const ALL: [&str; 3] = ["a.example", "b.example", "c.example"];

// The four cases of Firefox's tests: a state file that is absent, empty, garbage, or huge.

#[test]
fn firefox_1_an_absent_file_is_an_empty_store() {
    let fixture = fixture();
    fs::remove_file(&fixture.file).unwrap();
    let (store, error) = fixture.recover();
    assert!(error.is_none(), "{error:?}");
    assert!(store.list().is_empty());
    assert!(!fixture.file.exists(), "only the first commit creates it");
    fixture.assert_stores_new_hosts(&store, &[]);
}

#[test]
fn firefox_2_an_empty_file_is_corrupt() {
    let fixture = fixture();
    fixture.write(b"");
    fixture.assert_recovered(&Corruption::Empty, &[]);
}

/// What a power cut leaves of a file, where the file system allocates space before it writes.
#[test]
fn attack_10_a_file_of_nul_bytes_or_with_a_part_of_the_header_is_corrupt() {
    let bytes = fixture().bytes;
    for left in [&[0; 4096][..], &bytes[..1], &bytes[..10], &bytes[..30]] {
        let fixture = fixture();
        fixture.write(left);
        fixture.assert_recovered(&Corruption::Header, &[]);
    }
}

#[test]
fn firefox_3_garbage_is_not_a_store_file() {
    let fixture = fixture();
    for garbage in [
        &b"\xff\xfe\0\0garbage\n\n\n"[..],
        b"[pins]\nhost = 1\n",
        b"{}\n",
    ] {
        fixture.write(garbage);
        fixture.assert_left_unchanged(is_not_a_store, &[]);
    }
}

fn is_not_a_store(error: &StorageError) -> bool {
    let expected = Corruption::NotAStoreFile;
    matches!(error, StorageError::Corrupt { corruption, readable: 0, moved_to: None, .. }
        if *corruption == expected)
}

/// A wrong path must not cost the user a file, such as one with certificates.
#[test]
fn attack_10_a_file_of_another_kind_is_neither_moved_nor_changed() {
    let fixture = fixture();
    fs::remove_file(fixture.folder.path().join("pins.jsonl.lock")).unwrap();
    for other in [
        &b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"[..],
        b"{\"format\":\"other\",\"version\":1}\n{}\n",
        b"\n",
        b"\0\0\0\x01",
    ] {
        fixture.write(other);
        fixture.assert_left_unchanged(is_not_a_store, &[]);
    }
}

/// Another program replaces the file while the store is open.
#[test]
fn attack_10_a_commit_does_not_replace_a_file_of_another_kind() {
    let fixture = fixture();
    let (sender, errors) = channel();
    let builder = PinStore::builder().on_error(move |error| drop(sender.send(error.clone())));
    let store = builder.open(FileStorage::new(&fixture.file)).unwrap();
    let other = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fixture.write(other);
    let before = file_names(&fixture.folder);
    store.forget(fixture.hosts.host(0));
    let failed = store.flush().unwrap_err();
    assert!(is_not_a_store(&failed), "{failed:?}");
    assert!(is_not_a_store(&errors.recv_timeout(TIMEOUT).unwrap()));
    drop(store);
    assert_eq!(fs::read(&fixture.file).unwrap(), other);
    assert_eq!(file_names(&fixture.folder), before);
}

#[test]
fn firefox_4_a_huge_file_is_not_read_beyond_its_limit() {
    let fixture = fixture();
    fixture.write(&fixture.bytes);
    let len = 8 * FileStorage::MAX_LEN;
    // A sparse file, which takes no space on the disk.
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
    // A boxed storage, as of an application that selects it at run time.
    let boxed: Box<dyn Storage> = Box::new(FileStorage::new(&fixture.file));
    let (store, error) = PinStore::open_or_recover(boxed);
    assert_eq!(names(&store), ALL);
    let Some(StorageError::Corrupt {
        moved_to: Some(moved_to),
        ..
    }) = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(fs::metadata(moved_to).unwrap().len(), len);
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL);
}

/// What a crash leaves of the last commit, which no response has waited for.
#[test]
fn attack_10_what_follows_the_last_readable_line_is_cut_by_the_next_commit() {
    let fixture = fixture();
    let two = fixture.lines()[..3].concat();
    for rest in [&fixture.lines()[3][..50], b"\0\0\0\0", b"{\n", b"\n", b""] {
        fixture.write(&[&two, rest].concat());
        let store = open(&fixture.file).unwrap();
        assert_eq!(names(&store), ALL[..2]);
        note_d_example(&store, NOW);
        store.flush().unwrap();
        let bytes = fs::read(&fixture.file).unwrap();
        assert!(bytes.starts_with(&two));
        let left = bytes.strip_prefix(&*two).unwrap();
        assert!(
            left.trim_ascii_start()
                .starts_with(b"{\"kind\":\"noted-pins\",\"key\":\"d.example")
        );
        assert_eq!(
            names(&open(&fixture.file).unwrap()),
            ["a.example", "b.example", "d.example"]
        );
    }
}

/// The last line is complete except for its line feed.
#[test]
fn attack_10_a_readable_line_without_its_line_feed_is_kept() {
    let fixture = fixture();
    fixture.write(fixture.bytes.strip_suffix(b"\n").unwrap());
    let store = open(&fixture.file).unwrap();
    assert_eq!(names(&store), ALL);
    let other = open(&fixture.file).unwrap();
    for store in [&store, &other] {
        store.forget(fixture.hosts.host(0));
        store.flush().unwrap();
    }
    assert_eq!(names(&store), ALL[1..]);
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL[1..]);
    assert!(fs::read(&fixture.file).unwrap().starts_with(&fixture.bytes));
}

#[test]
fn attack_10_a_record_in_the_place_of_a_missing_header_is_recovered() {
    let fixture = fixture();
    fixture.write(&fixture.lines()[1..].concat());
    fixture.assert_recovered(&Corruption::Header, &ALL);
}

#[test]
fn attack_10_all_lines_but_one_with_a_flipped_bit_are_recovered() {
    let fixture = fixture();
    let lines = fixture.lines();
    let mut flipped = fixture.bytes.clone();
    flipped[lines[0].len() + lines[1].len() + 30] ^= 1;
    fixture.write(&flipped);
    fixture.assert_recovered(&Corruption::Line(3), &["a.example", "c.example"]);
}

#[test]
fn attack_10_a_file_of_another_version_is_left_unchanged() {
    let fixture = fixture();
    let text = String::from_utf8(fixture.bytes.clone()).unwrap();
    let newer = text.replacen("\"version\":2", "\"version\":3", 1);
    let elsewhere = r#"{"format":"pinhold","version":3,"entries":"in pins.db"}"#;
    for (bytes, kept) in [(newer.as_str(), &ALL[..]), (elsewhere, &[])] {
        fixture.write(bytes.as_bytes());
        let is_newer =
            |error: &StorageError| matches!(error, StorageError::UnknownVersion { version: 3, .. });
        fixture.assert_left_unchanged(is_newer, kept);
        assert_eq!(fs::read(&fixture.file).unwrap(), bytes.as_bytes());
    }
}

#[test]
fn attack_10_a_newer_version_that_appears_while_the_process_runs_is_left_unchanged() {
    let fixture = fixture();
    let store = open(&fixture.file).unwrap();
    let newer = br#"{"format":"pinhold","version":4}"#;
    fixture.write(newer);
    store.forget(fixture.hosts.host(0));
    let error = store.flush().unwrap_err();
    assert!(
        matches!(error, StorageError::UnknownVersion { version: 4, .. }),
        "{error:?}"
    );
    assert_eq!(fs::read(&fixture.file).unwrap(), newer);
}

/// Another process has written the file, and then a bit was flipped. The repaired file has the
/// entries in memory, the readable entries of the file, and the changes of this process.
#[test]
fn attack_10_corruption_while_the_process_runs_is_repaired() {
    let fixture = fixture();
    let (sender, errors) = channel();
    let store = PinStore::builder()
        .on_error(move |error| drop(sender.send(error.clone())))
        .open(FileStorage::new(&fixture.file))
        .unwrap();
    let other = open(&fixture.file).unwrap();
    note_d_example(&other, NOW);
    drop(other);
    let mut flipped = fs::read(&fixture.file).unwrap();
    // In the lines that this process has read, and in those that it has not.
    let line_of_c = flipped.windows(9).position(|bytes| bytes == b"c.example");
    flipped[line_of_c.unwrap()] ^= 1;
    let first_of_d = flipped.windows(9).position(|bytes| bytes == b"d.example");
    let line_of_d = flipped[fixture.bytes.len()..].to_vec();
    flipped[first_of_d.unwrap()] ^= 1;
    flipped.extend(line_of_d);
    fixture.write(&flipped);

    store.forget(fixture.hosts.host(0));
    let error = errors.recv_timeout(TIMEOUT).unwrap();
    let StorageError::Corrupt {
        moved_to: Some(moved_to),
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(fs::read(moved_to).unwrap(), flipped);
    store.flush().unwrap();
    let expected = ["b.example", "c.example", "d.example"];
    assert_eq!(names(&open(&fixture.file).unwrap()), expected);
    assert_eq!(names(&store), expected);
}

#[test]
fn a_missing_folder_is_an_error_when_the_store_is_opened() {
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
fn other_users_can_not_read_which_hosts_were_visited() {
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
fn only_the_file_and_its_lock_file_remain() {
    let fixture = fixture();
    let names = ["pins.jsonl", "pins.jsonl.lock"].map(PathBuf::from);
    assert_eq!(file_names(&fixture.folder), names);
}

#[test]
fn reading_creates_no_lock_file_and_changes_nothing() {
    let fixture = fixture();
    fs::remove_file(fixture.folder.path().join("pins.jsonl.lock")).unwrap();
    let store = open(&fixture.file).unwrap();
    assert_eq!(names(&store), ALL);
    store.flush().unwrap();
    drop(store);
    assert_eq!(file_names(&fixture.folder), [PathBuf::from("pins.jsonl")]);
    assert_eq!(fs::read(&fixture.file).unwrap(), fixture.bytes);
}

#[test]
fn a_removed_file_is_written_again() {
    let fixture = fixture();
    let store = open(&fixture.file).unwrap();
    fs::remove_file(&fixture.file).unwrap();
    store.forget(fixture.hosts.host(0));
    store.flush().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL[1..]);
}
