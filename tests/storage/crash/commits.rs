//! Every moment of a commit and of a recovery: the files that a crash can leave, and the order of
//! system calls.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use pinhold::header::Noted;
use pinhold::storage::StorageError;
use pinhold::{FileStorage, PinStore};

use super::{NAMES, assert_succeeds, child, child_arguments, names, note, open};
use crate::common::NOW;
use crate::common::noted::{Hosts, file_names, numbered_pin, pinning, temp_dir};
use crate::common::peers::program;

/// The file before and after a commit.
struct Commit {
    before: Option<Vec<u8>>,
    after: Vec<u8>,
    names_before: Vec<String>,
    names_after: Vec<String>,
}

/// Returns the first commit of a file, and a commit to a file with an entry.
fn commits() -> [Commit; 2] {
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let hosts = Hosts::blocking(&NAMES[..2]);
    let store = open(&file);
    [0, 1].map(|index| {
        let (before, names_before) = (fs::read(&file).ok(), names(&store));
        let value = hosts.value(numbered_pin(0), "max-age=1000");
        assert_eq!(
            hosts.note(&pinning(&store), index, &value, NOW),
            Noted::Added
        );
        store.flush().unwrap();
        Commit {
            before,
            after: fs::read(&file).unwrap(),
            names_before,
            names_after: names(&store),
        }
    })
}

#[test]
fn every_moment_of_a_commit_leaves_the_old_file_or_the_new_one() {
    let hosts = Hosts::blocking(&["z.example"]);
    for commit in commits() {
        let folder = temp_dir();
        let file = folder.path().join("pins.jsonl");
        let temporary = folder.path().join("pins.jsonl.tmp");
        // Before the rename, while the temporary file is written.
        for len in 0..=commit.after.len() {
            match &commit.before {
                Some(before) => fs::write(&file, before).unwrap(),
                None => drop(fs::remove_file(&file)),
            }
            fs::write(&temporary, &commit.after[..len]).unwrap();
            let store = open(&file);
            assert_eq!(names(&store), commit.names_before, "{len}");
            let (store, error) = match len % 16 {
                0 => (store, None),
                _ => PinStore::open_or_recover(FileStorage::new(&file)),
            };
            assert!(error.is_none(), "{error:?}");
            if len % 16 == 0 {
                // The next commit replaces the temporary file.
                let value = hosts.value(numbered_pin(1), "max-age=1000");
                hosts.note(&pinning(&store), 0, &value, NOW);
                store.flush().unwrap();
                assert!(!temporary.exists());
                assert!(names(&open(&file)).contains(&"z.example".to_owned()));
            }
        }
        // After the rename.
        fs::write(&file, &commit.after).unwrap();
        assert_eq!(names(&open(&file)), commit.names_after);
    }
}

/// The corrupt file already has its second name while the repaired one is written.
#[test]
fn no_moment_of_a_recovery_loses_an_entry() {
    let [_, commit] = commits();
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let temporary = folder.path().join("pins.jsonl.tmp");
    let mut corrupt = commit.after.clone();
    *corrupt.last_mut().unwrap() = b'x';
    for len in (0..=commit.before.as_ref().unwrap().len()).step_by(7) {
        fs::write(&file, &corrupt).unwrap();
        fs::write(folder.path().join("pins.jsonl.corrupt-before"), &corrupt).unwrap();
        fs::write(&temporary, &commit.before.as_ref().unwrap()[..len]).unwrap();
        let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
        assert!(
            matches!(error, Some(StorageError::Corrupt { readable: 1, .. })),
            "{error:?}"
        );
        assert_eq!(names(&store), commit.names_before, "{len}");
        assert_eq!(names(&open(&file)), commit.names_before, "{len}");
    }
    // Each recovery kept the file under another name.
    let kept = file_names(&folder);
    let kept = kept
        .iter()
        .filter(|name| name.to_string_lossy().contains("corrupt"));
    assert!(kept.count() > 50);
}

/// Ensures that a power cut loses nothing, which killing a process can't test, since the system
/// continues to run. Each commit syncs the temporary file before the rename, and the folder after.
#[test]
fn a_commit_is_synced_before_and_after_its_rename() {
    let name = "commits::a_commit_is_synced_before_and_after_its_rename";
    if let Some(file) = child_arguments() {
        let store = open(Path::new(&file));
        let hosts = Hosts::blocking(&NAMES[..2]);
        note(&hosts, &store, 0).unwrap();
        return note(&hosts, &store, 1).unwrap();
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
        .filter(|line| line.contains("pins.jsonl.tmp") || is_sync(line));
    let calls = calls.map(|line| {
        if !is_sync(line) {
            "rename"
        } else if line.contains("pins.jsonl.tmp>") {
            "sync file"
        } else {
            "sync folder"
        }
    });
    let commit = ["sync file", "rename", "sync folder"];
    assert_eq!(calls.collect::<Vec<_>>(), [commit, commit].concat());
}

fn is_sync(line: &str) -> bool {
    line.contains(" fsync(") || line.contains(" fdatasync(")
}
