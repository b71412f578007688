//! An impostor with a valid certificate whose headers arrive in a process that has not read what
//! another process has noted of the host.

use std::path::Path;
use std::sync::mpsc::channel;

use pinhold::header::Noted;
use pinhold::{Decision, FileStorage, Host, PinStore};
use tempfile::TempDir;

use super::several_processes::SteppedFile;
use super::{names, open};
use crate::common::noted::{Hosts, numbered_pin, pinning, temp_dir};
use crate::common::{NOW, TIMEOUT, at};

const BANK: &str = "bank.example";

struct Fixture {
    genuine: Hosts,
    impostor: Hosts,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            genuine: Hosts::blocking(&[BANK]),
            impostor: Hosts::blocking(&[BANK]),
            folder: temp_dir(),
        }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("pins.jsonl")
    }

    /// Asserts that the genuine pins are enforced.
    #[track_caller]
    fn assert_genuine(&self, store: &PinStore, file: &Path) {
        for store in [store, &open(file).unwrap()] {
            assert_eq!(names(store), [BANK]);
            let check =
                |hosts: &Hosts| pinning(store).check(hosts.host(0), hosts.chain(0), at(NOW + 20));
            assert!(matches!(check(&self.genuine), Decision::Pass));
            assert!(matches!(check(&self.impostor), Decision::Refuse(_)));
        }
    }
}

fn note(hosts: &Hosts, store: &PinStore, backup: u64, max_age: u64, seconds: u64) -> Noted {
    let value = hosts.value(numbered_pin(backup), &format!("max-age={max_age}"));
    hosts.note(&pinning(store), 0, &value, seconds)
}

#[test]
fn an_impostor_replaces_no_pins_through_a_process_that_has_not_read_them() {
    // Each number is the `max-age` of one header.
    for headers in [&[1000][..], &[1000, 900], &[1000, 0], &[1000, 0, 1000]] {
        let fixture = Fixture::new();
        let file = fixture.file();
        let (stale, other) = (open(&file).unwrap(), open(&file).unwrap());
        assert_eq!(note(&fixture.genuine, &other, 1, 1000, NOW), Noted::Added);
        other.flush().unwrap();
        // Until the storage can be written, all of it is one commit.
        let held = std::fs::File::open(fixture.folder.path().join("pins.jsonl.lock")).unwrap();
        held.lock().unwrap();
        for (seconds, max_age) in (NOW + 10..).zip(headers) {
            let noted = note(&fixture.impostor, &stale, 2, *max_age, seconds);
            assert!(!matches!(noted, Noted::Ignored(_)), "{noted:?}");
        }
        drop(held);
        stale.flush().unwrap();
        fixture.assert_genuine(&stale, &file);
    }
}

/// The impostor has a key that was pinned before the other process noted the change of keys.
#[test]
fn an_impostor_with_a_retired_key_replaces_no_newer_pins() {
    for max_age in [1000, 900, 0] {
        let fixture = Fixture::new();
        let file = fixture.file();
        let (retired, genuine) = (&fixture.impostor, &fixture.genuine);
        let other = open(&file).unwrap();
        let first = retired.value(genuine.leaf.pin(), "max-age=1000");
        retired.note(&pinning(&other), 0, &first, NOW);
        other.flush().unwrap();
        let stale = open(&file).unwrap();
        assert_eq!(note(genuine, &other, 1, 1000, NOW + 5), Noted::Refreshed);
        other.flush().unwrap();
        let again = retired.value(genuine.leaf.pin(), &format!("max-age={max_age}"));
        let noted = retired.note(&pinning(&stale), 0, &again, NOW + 10);
        assert!(!matches!(noted, Noted::Ignored(_)), "{noted:?}");
        stale.flush().unwrap();
        fixture.assert_genuine(&stale, &file);
    }
}

/// The headers take effect during a commit: of the first one, or of a change of another host.
#[test]
fn an_impostor_replaces_no_pins_by_a_header_during_a_commit() {
    for (max_age, is_first_committed) in [(900, true), (0, true), (900, false), (0, false)] {
        let fixture = Fixture::new();
        let file = fixture.file();
        let ((arrived, has_arrived), (begin, may_begin)) = (channel(), channel());
        let storage = FileStorage::new(&file);
        let stale = PinStore::open(SteppedFile::new(storage, arrived, may_begin)).unwrap();
        let other = open(&file).unwrap();
        note(&fixture.genuine, &other, 1, 1000, NOW);
        other.flush().unwrap();
        if !is_first_committed {
            stale.forget(&Host::parse("z.example").unwrap());
            has_arrived.recv_timeout(TIMEOUT).unwrap();
        }
        note(&fixture.impostor, &stale, 2, 1000, NOW + 10);
        if is_first_committed {
            has_arrived.recv_timeout(TIMEOUT).unwrap();
        }
        note(&fixture.impostor, &stale, 3, max_age, NOW + 11);
        (0..2).for_each(|_| begin.send(()).unwrap());
        stale.flush().unwrap();
        fixture.assert_genuine(&stale, &file);
        drop(begin);
    }
}
