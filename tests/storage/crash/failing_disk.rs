//! Disks that are full, folders that are not writable, and renames and syncs that fail.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use pinhold::storage::{Storage, StorageError};
use pinhold::{FileStorage, PinStore};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{NAMES, assert_succeeds, child, child_arguments, names, note, open, with_history};
use crate::common::NOW;
use crate::common::noted::{Hosts, numbered_pin, pinning, temp_dir};
use crate::common::peers::program;

#[track_caller]
fn assert_io_error(result: Result<(), StorageError>, kind: io::ErrorKind) {
    match result {
        Err(StorageError::Io { error, .. }) if error.kind() == kind => {}
        other => panic!("{other:?}"),
    }
}

/// Asserts that a failed write changes no entry on disk, and that the change is written once that is
/// possible again. The change is longer than what is free in a block of the file.
fn assert_fails_and_recovers(
    file: &Path,
    kind: io::ErrorKind,
    block: impl Fn(),
    unblock: impl Fn(),
) {
    let more = (10..30).map(|number| format!("h{number}.example"));
    let all = NAMES[..2].iter().map(ToString::to_string).chain(more);
    let all = all.collect::<Vec<_>>();
    let hosts = Hosts::blocking(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let store = open(file);
    note(&hosts, &store, 0).unwrap();
    block();
    let value = hosts.value(numbered_pin(0), "max-age=1000");
    for index in 1..all.len() {
        hosts.note(&pinning(&store), index, &value, NOW);
    }
    assert_io_error(store.flush(), kind);
    assert_eq!(names(&store), all, "the changes are kept in memory");
    // Some of the first commits may have fitted.
    let stored = names(&open(file));
    assert!(
        stored.len() < all.len() && all.starts_with(&stored),
        "{stored:?}"
    );
    unblock();
    store.flush().unwrap();
    assert_eq!(names(&open(file)), all);
    for index in 2..all.len() {
        store.forget(hosts.host(index));
    }
    store.flush().unwrap();
}

/// EFBIG: the process must not write a file of more than 600 bytes.
#[test]
fn a_file_size_limit_is_reported_and_the_change_is_written_later() {
    let name = "failing_disk::a_file_size_limit_is_reported_and_the_change_is_written_later";
    let Some(file) = child_arguments() else {
        let folder = temp_dir();
        let file = folder.path().join("pins.jsonl");
        // Ignored, since the signal SIGXFSZ would end the process.
        let wrapper = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
        return assert_succeeds(child(name, file.to_str().unwrap(), &wrapper));
    };
    let limit = |bytes: Option<u64>| {
        let maximum = getrlimit(Resource::Fsize).maximum;
        let current = bytes;
        setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    };
    let (block, unblock) = (|| limit(Some(600)), || limit(None));
    assert_fails_and_recovers(
        Path::new(&file),
        io::ErrorKind::FileTooLarge,
        block,
        unblock,
    );
}

/// ENOSPC on a small file system, and a rename that fails because the file is a mount point.
#[test]
fn a_full_disk_and_a_failed_rename_are_reported_and_the_change_is_written_later() {
    let name = "failing_disk::a_full_disk_and_a_failed_rename_are_reported_and_the_change_is_written_later";
    if let Some(arguments) = child_arguments() {
        return on_a_small_disk(Path::new(&arguments));
    }
    let folder = temp_dir();
    let Some(unshare) = program("unshare") else {
        return;
    };
    let unshare = [unshare.to_str().unwrap(), "--mount", "--map-root-user"];
    let mut probe = Command::new(unshare[0]);
    probe
        .args(&unshare[1..])
        .args(["mount", "-t", "tmpfs", "-o", "size=512k", "none"]);
    if !probe.arg(folder.path()).output().unwrap().status.success() {
        // Containers may forbid mounts. Written to the standard error itself, which is shown even
        // if the test passes.
        let _ = writeln!(io::stderr(), "skipped: this system does not allow mounts");
        return;
    }
    let mount = "mount -t tmpfs -o size=512k none \"$1\" && shift && exec \"$@\"";
    let wrapper = [
        &unshare[..],
        &["sh", "-c", mount, "sh", folder.path().to_str().unwrap()],
    ];
    assert_succeeds(child(
        name,
        folder.path().to_str().unwrap(),
        &wrapper.concat(),
    ));
}

fn on_a_small_disk(folder: &Path) {
    let filler = folder.join("filler");
    let fill = || {
        let mut file = fs::File::create(&filler).unwrap();
        let full = io::copy(&mut io::repeat(0), &mut file).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    };
    let free = || fs::remove_file(&filler).unwrap();
    assert_fails_and_recovers(
        &folder.join("full.jsonl"),
        io::ErrorKind::StorageFull,
        fill,
        free,
    );

    // A corrupt file without space for a repaired one: no entry is lost, and no copy is left.
    let file = folder.join("full.jsonl");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[1..]).unwrap();
    fill();
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    let is_in_place = matches!(error, Some(StorageError::Corrupt { moved_to: None, .. }));
    assert!(is_in_place, "{error:?}");
    assert_eq!(names(&store), NAMES[..2]);
    let copies = || {
        let entries = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        entries
            .filter(|name| name.to_string_lossy().contains("corrupt"))
            .count()
    };
    assert_eq!(copies(), 0);
    free();
    store.forget(&pinhold::Host::parse("z.example").unwrap());
    assert!((0..3).any(|_| store.flush().is_ok()));
    assert_eq!(names(&open(&file)), NAMES[..2]);
    assert_eq!(copies(), 1);

    let file = folder.join("pins.jsonl");
    let run = |arguments: &[&str]| {
        let status = Command::new(arguments[0])
            .args(&arguments[1..])
            .arg(&file)
            .status();
        assert!(status.unwrap().success());
    };
    rename_fails(&file, &run);
}

/// The first commit and a compaction rename a file.
fn rename_fails(file: &Path, run: &impl Fn(&[&str])) {
    let hosts = Hosts::blocking(&NAMES[..2]);
    let store = open(file);
    note(&hosts, &store, 0).unwrap();
    drop(store);
    let history = with_history(&fs::read(file).unwrap());
    fs::write(file, &history).unwrap();
    run(&["mount", "--bind", file.to_str().unwrap()]);
    let mut storage = FileStorage::new(file);
    storage.load().unwrap();
    assert_io_error(storage.compact(), io::ErrorKind::ResourceBusy);
    assert_eq!(fs::read(file).unwrap(), history);
    assert!(
        !file.with_extension("jsonl.compact").exists(),
        "it is removed"
    );
    run(&["umount"]);
    storage.pull().unwrap();
    storage.compact().unwrap();
    assert!(fs::metadata(file).unwrap().len() < 1000);
    let store = open(file);
    note(&hosts, &store, 1).unwrap();
    assert_eq!(names(&open(file)), NAMES[..2]);
}

/// Returns the wrapper by which permissions apply to root, too; `None` if it is not installed.
fn without_privileges() -> Option<Vec<String>> {
    if !rustix::process::geteuid().is_root() {
        return Some(Vec::new());
    }
    let setpriv = program("setpriv")?.to_str().unwrap().to_owned();
    Some(vec![
        setpriv,
        "--bounding-set=-dac_override,-dac_read_search".to_owned(),
    ])
}

#[test]
fn without_permission_the_file_is_left_unchanged() {
    let name = "failing_disk::without_permission_the_file_is_left_unchanged";
    if let Some(folder) = child_arguments() {
        return without_permission(Path::new(&folder));
    }
    let folder = temp_dir();
    let Some(wrapper) = without_privileges() else {
        return;
    };
    let wrapper = wrapper.iter().map(String::as_str).collect::<Vec<_>>();
    assert_succeeds(child(name, folder.path().to_str().unwrap(), &wrapper));
}

fn without_permission(folder: &Path) {
    let file = folder.join("pins.jsonl");
    let allow = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let forbid = || allow(&file, 0o400);
    assert_fails_and_recovers(&file, io::ErrorKind::PermissionDenied, forbid, || {
        allow(&file, 0o600);
    });
    let (block, unblock) = (|| allow(folder, 0o500), || allow(folder, 0o700));

    check_folder_that_cannot_be_synced(&folder.join("merged.jsonl"), &allow);

    // A corrupt file in a folder that is not writable: the readable entries are enforced.
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[1..]).unwrap();
    block();
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    let is_in_place = matches!(error, Some(StorageError::Corrupt { moved_to: None, .. }));
    assert!(is_in_place, "{error:?}");
    assert_eq!(names(&store), NAMES[..2]);
    unblock();
    store.forget(&pinhold::Host::parse("z.example").unwrap());
    // The first commit that succeeds moves the corrupt file and reports that; later ones are
    // normal.
    assert!((0..3).any(|_| store.flush().is_ok()));
    assert_eq!(names(&open(&file)), NAMES[..2]);

    // A file that can't be read is not overwritten.
    let bytes = fs::read(&file).unwrap();
    allow(&file, 0o000);
    let error = PinStore::open(FileStorage::new(&file)).unwrap_err();
    assert_io_error(Err(error), io::ErrorKind::PermissionDenied);
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    assert_io_error(Err(error.unwrap()), io::ErrorKind::PermissionDenied);
    let hosts = Hosts::blocking(&NAMES[..1]);
    note(&hosts, &store, 0).unwrap();
    drop(store);
    allow(&file, 0o600);
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

/// If the rename succeeds and the sync of the folder fails, the next attempt syncs the folder, and must
/// not lose the corrupt file.
fn check_folder_that_cannot_be_synced(file: &Path, allow: &impl Fn(&Path, u32)) {
    let folder = file.parent().unwrap();
    let hosts = Hosts::blocking(&NAMES);
    let one = open(file);
    allow(folder, 0o300);
    for _ in 0..3 {
        one.forget(hosts.host(2));
        assert_io_error(one.flush(), io::ErrorKind::PermissionDenied);
    }
    allow(folder, 0o700);
    note(&hosts, &one, 0).unwrap();
    note(&hosts, &one, 1).unwrap();
    assert_eq!(names(&open(file)), NAMES[..2]);
    drop(one);

    let mut corrupt = fs::read(file).unwrap();
    corrupt[2] ^= 1;
    fs::write(file, &corrupt).unwrap();
    allow(folder, 0o300);
    let (store, error) = PinStore::open_or_recover(FileStorage::new(file));
    assert!(
        matches!(error, Some(StorageError::Corrupt { .. })),
        "{error:?}"
    );
    assert_eq!(names(&store), NAMES[..2]);
    allow(folder, 0o700);
    let mut files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    assert!(
        files.any(|file| fs::read(file).unwrap() == corrupt),
        "the corrupt file is kept"
    );
}
