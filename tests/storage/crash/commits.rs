//! Every moment of a commit, of a compaction and of a recovery: the files that a crash can leave, and the order of
//! system calls.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use pinhold::storage::{Storage, StorageError};
use pinhold::{FileStorage, PinStore};

use super::{NAMES, assert_succeeds, child, child_arguments, names, note, open, with_history};
use crate::common::noted::{Hosts, file_names, temp_dir};
use crate::common::peers::program;

/// Returns the file after its first commit, and after one that appends an entry.
fn two_commits() -> [Vec<u8>; 2] {
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let hosts = Hosts::blocking(&NAMES[..2]);
    let store = open(&file);
    [0, 1].map(|index| {
        note(&hosts, &store, index).unwrap();
        fs::read(&file).unwrap()
    })
}

/// Asserts that the file has these names, and that the next commit adds one.
#[track_caller]
fn assert_continues(file: &Path, hosts: &Hosts, expected: &[&str]) {
    let store = open(file);
    assert_eq!(names(&store), expected);
    note(hosts, &store, 0).unwrap();
    assert_eq!(names(&open(file)), [expected, &["z.example"]].concat());
}

#[test]
fn every_moment_of_the_first_commit_leaves_no_file_or_the_whole_one() {
    let hosts = Hosts::blocking(&["z.example"]);
    let [first, _] = two_commits();
    for len in (0..=first.len()).step_by(9) {
        let folder = temp_dir();
        let file = folder.path().join("pins.jsonl");
        fs::write(folder.path().join("pins.jsonl.tmp"), &first[..len]).unwrap();
        assert_continues(&file, &hosts, &[]);
        assert!(!folder.path().join("pins.jsonl.tmp").exists());
        // After the rename.
        fs::write(&file, &first).unwrap();
        assert_continues(&file, &hosts, &NAMES[..1]);
    }
}

#[test]
fn every_moment_of_a_commit_leaves_the_entries_before_it_or_all() {
    let hosts = Hosts::blocking(&["z.example"]);
    let [before, after] = two_commits();
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    for len in before.len()..=after.len() {
        fs::write(&file, &after[..len]).unwrap();
        // The last line is whole without its line feed, too.
        let committed = if len + 1 < after.len() { 1 } else { 2 };
        assert_continues(&file, &hosts, &NAMES[..committed]);
    }
}

/// The file as a commit leaves it that is followed by a compaction, and the compacted file.
fn compaction() -> [Vec<u8>; 2] {
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    fs::write(&file, with_history(&two_commits()[1])).unwrap();
    let mut storage = FileStorage::new(&file);
    assert_eq!(storage.load().unwrap().len(), 2);
    let before = fs::read(&file).unwrap();
    storage.compact().unwrap();
    let after = fs::read(&file).unwrap();
    assert!(2 * after.len() < before.len());
    [before, after]
}

#[test]
fn every_moment_of_a_compaction_leaves_all_entries() {
    let hosts = Hosts::blocking(&["z.example"]);
    let [before, after] = compaction();
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    for len in (0..=after.len()).step_by(40) {
        fs::write(&file, &before).unwrap();
        fs::write(folder.path().join("pins.jsonl.compact"), &after[..len]).unwrap();
        assert_continues(&file, &hosts, &NAMES[..2]);
    }
    fs::write(&file, &after).unwrap();
    assert_continues(&file, &hosts, &NAMES[..2]);
}

/// The corrupt file already has its second name while the repaired one is written.
#[test]
fn no_moment_of_a_recovery_loses_an_entry() {
    let [_, intact] = two_commits();
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let temporary = folder.path().join("pins.jsonl.tmp");
    let mut corrupt = intact.clone();
    corrupt[2] ^= 1;
    for len in (0..=intact.len()).step_by(15) {
        fs::write(&file, &corrupt).unwrap();
        fs::write(folder.path().join("pins.jsonl.corrupt-before"), &corrupt).unwrap();
        fs::write(&temporary, &intact[..len]).unwrap();
        let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
        assert!(
            matches!(error, Some(StorageError::Corrupt { readable: 2, .. })),
            "{error:?}"
        );
        assert_eq!(names(&store), NAMES[..2], "{len}");
        assert_eq!(names(&open(&file)), NAMES[..2], "{len}");
    }
    // Each recovery kept the file under another name.
    let kept = file_names(&folder);
    let kept = kept
        .iter()
        .filter(|name| name.to_string_lossy().contains("corrupt"));
    assert!(kept.count() > 50);
}

/// Ensures that a power cut loses nothing, which killing a process can't test, since the system
/// continues to run. A commit syncs what it appends. A new file is synced before its rename, and the
/// folder after: of the first commit, and of a compaction.
#[test]
fn a_commit_is_synced_and_so_is_a_rename() {
    let name = "commits::a_commit_is_synced_and_so_is_a_rename";
    if let Some(file) = child_arguments() {
        return write_and_compact(Path::new(&file));
    }
    let folder = temp_dir();
    let (file, log) = (
        folder.path().join("pins.jsonl"),
        folder.path().join("calls"),
    );
    let Some(strace) = program("strace") else {
        return;
    };
    let trace = "trace=fsync,fdatasync,rename,renameat,renameat2";
    let strace = [strace.to_str().unwrap(), "-f", "-y", "-e", trace];
    let strace = [&strace[..], &["-o", log.to_str().unwrap()]].concat();
    if !Command::new(strace[0])
        .args(&strace[1..])
        .arg("true")
        .status()
        .unwrap()
        .success()
    {
        let _ = writeln!(io::stderr(), "skipped: this system does not allow strace");
        return;
    }
    assert_succeeds(child(name, file.to_str().unwrap(), &strace));
    let calls = fs::read_to_string(&log).unwrap();
    let calls = calls
        .lines()
        .filter(|line| line.contains("pins.jsonl.") || is_sync(line));
    let calls = calls.map(|line| {
        if !is_sync(line) {
            "rename"
        } else if line.contains("pins.jsonl.tmp>") || line.contains("pins.jsonl.compact>") {
            "sync new file"
        } else if line.contains("pins.jsonl>") {
            "sync appended"
        } else {
            "sync folder"
        }
    });
    let renamed = ["sync new file", "rename", "sync folder"];
    let expected = [&renamed[..], &["sync appended"], &renamed[..]].concat();
    assert_eq!(calls.collect::<Vec<_>>(), expected);
}

fn write_and_compact(file: &Path) {
    let store = open(file);
    let hosts = Hosts::blocking(&NAMES[..2]);
    note(&hosts, &store, 0).unwrap();
    note(&hosts, &store, 1).unwrap();
    drop(store);
    fs::write(file, with_history(&fs::read(file).unwrap())).unwrap();
    let mut storage = FileStorage::new(file);
    storage.load().unwrap();
    storage.compact().unwrap();
}

fn is_sync(line: &str) -> bool {
    line.contains(" fsync(") || line.contains(" fdatasync(")
}
