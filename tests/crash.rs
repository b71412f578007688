//! What is on disk after a crash, on a full disk, without permission, while two processes write.
//!
//! A test that needs a process of its own runs itself in one: [`child`] starts this program again
//! with [`ROLE`] in the environment.
#![cfg(all(unix, feature = "hyper"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use common::noted::{Hosts, file_names, numbered_pin, pin_number, pinning, temp_dir};
use common::peers::program;
use common::{NOW, Random};
use pinhold::header::Noted;
use pinhold::policy::KnownPinnedHost;
use pinhold::storage::StorageError;
use pinhold::{FileStorage, NotePinsLayer, PinStore};
use rcgen::KeyPair;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

fn open(file: &Path) -> PinStore {
    PinStore::open(FileStorage::new(file)).unwrap()
}

/// Host and number of the backup pin of each entry.
fn state(store: &PinStore) -> BTreeMap<String, u64> {
    let backup = |entry: &KnownPinnedHost| entry.pins.iter().find_map(pin_number).unwrap();
    let list = store.list();
    list.iter()
        .map(|entry| (entry.host.to_string(), backup(entry)))
        .collect()
}

/// The environment variable in which a child finds what it is for.
const ROLE: &str = "PINHOLD_CHILD";

fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// This program once more, running this test only, in that role; below `wrapper`, if there is one.
fn child(test: &str, role: &str, wrapper: &[&str]) -> Command {
    let program = env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(&program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(&program);
            command
        }
    };
    command
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, role);
    command.stdin(Stdio::null());
    command
}

#[track_caller]
fn succeeds(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}\n{complained}");
}

/// A folder with the key that all children's servers have.
fn folder_with_key() -> TempDir {
    let folder = temp_dir();
    let key = KeyPair::generate().unwrap().serialize_pem();
    fs::write(folder.path().join("key.pem"), key).unwrap();
    folder
}

/// Hosts with the key that lies beside the file.
async fn hosts_with_key(names: &[&str], file: &Path) -> Hosts {
    let key = fs::read_to_string(file.with_file_name("key.pem")).unwrap();
    Hosts::connect_with(names, KeyPair::from_pem(&key).unwrap()).await
}

// A process that notes in a loop is killed.

const NAMES: [&str; 3] = ["a.example", "b.example", "c.example"];
const KILLS: u64 = 504;
/// Kill loops that go on beside each other, each with a file of its own.
const LANES: u64 = 4;

/// What response number `number` does to which host: every fifth one removes its entry.
fn host_of(number: u64) -> &'static str {
    NAMES[usize::try_from(number).unwrap() % NAMES.len()]
}

fn removes(number: u64) -> bool {
    number % 5 == 4
}

#[test]
fn what_was_handed_on_survives_sigkill() {
    if let Some(role) = role() {
        return hand_on_for_ever(&role);
    }
    let lanes = (0..LANES).map(|lane| thread::spawn(move || kill_again_and_again(lane)));
    #[expect(
        clippy::needless_collect,
        reason = "all begin before one is waited for"
    )]
    let lanes = lanes.collect::<Vec<_>>();
    let handed_on = lanes
        .into_iter()
        .map(|lane| lane.join().unwrap())
        .sum::<u64>();
    // Else the children were killed before they did anything.
    assert!(handed_on > KILLS, "{handed_on} responses");
}

/// Prints the number of each response that was handed on.
fn hand_on_for_ever(role: &str) {
    let (first, file) = role.split_once(' ').unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let hosts = hosts_with_key(&NAMES, Path::new(file)).await;
        let layer = NotePinsLayer::new(pinning(&open(Path::new(file))));
        let layer = layer.storage_timeout(Duration::MAX);
        for number in first.parse().unwrap().. {
            let index = NAMES
                .iter()
                .position(|name| *name == host_of(number))
                .unwrap();
            let max_age = if removes(number) {
                "max-age=0"
            } else {
                "max-age=5000"
            };
            let value = hosts.value(numbered_pin(number), max_age);
            let response = hosts.respond(&layer, index, &value).await;
            let noted = response.extensions().get::<Noted>().unwrap();
            assert!(
                !matches!(noted, Noted::Ignored(_)) || removes(number),
                "{noted:?}"
            );
            println!("\nhanded on {number}");
        }
    });
}

/// One lane; returns how many responses were handed on.
fn kill_again_and_again(lane: u64) -> u64 {
    let folder = folder_with_key();
    let file = folder.path().join("pins.jsonl");
    let mut random = Random::new(lane);
    let mut expected = BTreeMap::new();
    let mut next = 0;
    for _ in 0..KILLS / LANES {
        let role = format!("{next} {}", file.display());
        let mut child = child("what_was_handed_on_survives_sigkill", &role, &[]);
        let child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        for handed_on in killed_at_random(child.unwrap(), &mut random) {
            assert_eq!(handed_on, next, "responses come in order");
            apply(&mut expected, next);
            next += 1;
        }
        // Strictly: no crash leaves a file that can't be read.
        let found = state(&open(&file));
        if found != expected {
            // At most the one response that was under way.
            apply(&mut expected, next);
            assert_eq!(found, expected, "lane {lane}, response {next}");
        }
    }
    next
}

fn apply(state: &mut BTreeMap<String, u64>, number: u64) {
    if removes(number) {
        drop(state.remove(host_of(number)))
    } else {
        drop(state.insert(host_of(number).to_owned(), number))
    }
}

/// Kills the child after some responses, and some time beyond; returns what it handed on.
fn killed_at_random(mut child: Child, random: &mut Random) -> Vec<u64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut numbers = lines.map_while(Result::ok).filter_map(|line| {
        let number = line.strip_prefix("handed on ")?;
        Some(number.parse::<u64>().unwrap())
    });
    let count = random.below(8);
    let mut handed_on = (0..count)
        .map(|_| numbers.next().expect("the child ended by itself"))
        .collect::<Vec<_>>();
    // A commit takes about a millisecond: any moment of it is hit.
    let (begin, moment) = (Instant::now(), Duration::from_micros(random.below(2000)));
    while begin.elapsed() < moment {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    handed_on.extend(numbers);
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "the child ended by itself");
    handed_on
}

// What a crash leaves is laid down and opened.

/// A file before and after a commit.
struct Commit {
    before: Option<Vec<u8>>,
    after: Vec<u8>,
    names_before: Vec<String>,
    names_after: Vec<String>,
}

fn names(store: &PinStore) -> Vec<String> {
    state(store).into_keys().collect()
}

/// The first commit of a file, and one to a file with an entry.
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
        // While the temporary file grows, until it is renamed.
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
                // The next commit does not mind what lies there.
                let value = hosts.value(numbered_pin(1), "max-age=1000");
                hosts.note(&pinning(&store), 0, &value, NOW);
                store.flush().unwrap();
                assert!(!temporary.exists());
                assert!(names(&open(&file)).contains(&"z.example".to_owned()));
            }
        }
        // Once it is renamed.
        fs::write(&file, &commit.after).unwrap();
        assert_eq!(names(&open(&file)), commit.names_after);
    }
}

/// The damaged file has its second name, and the sound one is being written.
#[test]
fn every_moment_of_a_recovery_loses_nothing() {
    let [_, commit] = commits();
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let temporary = folder.path().join("pins.jsonl.tmp");
    let mut damaged = commit.after.clone();
    *damaged.last_mut().unwrap() = b'x';
    for len in (0..=commit.before.as_ref().unwrap().len()).step_by(7) {
        fs::write(&file, &damaged).unwrap();
        fs::write(folder.path().join("pins.jsonl.damaged-before"), &damaged).unwrap();
        fs::write(&temporary, &commit.before.as_ref().unwrap()[..len]).unwrap();
        let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
        assert!(
            matches!(error, Some(StorageError::Corrupt { readable: 1, .. })),
            "{error:?}"
        );
        assert_eq!(names(&store), commit.names_before, "{len}");
        assert_eq!(names(&open(&file)), commit.names_before, "{len}");
    }
    // Each recovery kept the file under a name of its own.
    let kept = file_names(&folder);
    let kept = kept
        .iter()
        .filter(|name| name.to_string_lossy().contains("damaged"));
    assert!(kept.count() > 50);
}

/// What no killed process can show, since the system outlives it: a power cut. Each commit syncs
/// the temporary file before it renames it, and the folder afterwards.
#[test]
fn a_commit_is_synced_before_and_after_its_rename() {
    let name = "a_commit_is_synced_before_and_after_its_rename";
    if let Some(file) = role() {
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
        let _ = writeln!(
            io::stderr(),
            "nothing may be traced here: a test passes over itself"
        );
        return;
    }
    succeeds(child(name, file.to_str().unwrap(), &strace));
    let calls = fs::read_to_string(&log).unwrap();
    let calls = calls
        .lines()
        .filter(|line| line.contains("pins.jsonl.tmp") || is_sync(line));
    let calls = calls.map(|line| match is_sync(line) {
        true if line.contains("pins.jsonl.tmp>") => "sync file",
        true => "sync folder",
        false => "rename",
    });
    let commit = ["sync file", "rename", "sync folder"];
    assert_eq!(calls.collect::<Vec<_>>(), [commit, commit].concat());
}

fn is_sync(line: &str) -> bool {
    line.contains(" fsync(") || line.contains(" fdatasync(")
}

// The disk is full, or can't be written to.

/// Notes `index` and says what writing it came to.
fn note(hosts: &Hosts, store: &PinStore, index: usize) -> Result<(), StorageError> {
    let value = hosts.value(numbered_pin(0), "max-age=1000");
    assert_eq!(
        hosts.note(&pinning(store), index, &value, NOW),
        Noted::Added
    );
    store.flush()
}

#[track_caller]
fn is_io(result: Result<(), StorageError>, kind: io::ErrorKind) {
    match result {
        Err(StorageError::Io { error, .. }) if error.kind() == kind => {}
        other => panic!("{other:?}"),
    }
}

/// What holds after a write that failed, and that it is made good once it can be.
fn fails_and_heals(file: &Path, kind: io::ErrorKind, block: impl Fn(), heal: impl Fn()) {
    let hosts = Hosts::blocking(&NAMES[..2]);
    let store = open(file);
    note(&hosts, &store, 0).unwrap();
    block();
    is_io(note(&hosts, &store, 1), kind);
    assert_eq!(names(&store), NAMES[..2], "memory keeps the truth");
    assert_eq!(
        names(&open(file)),
        NAMES[..1],
        "the file is the last one that was written"
    );
    let temporary = file.with_extension("jsonl.tmp");
    assert!(
        !temporary.exists(),
        "no room is taken by what could not be written"
    );
    heal();
    store.flush().unwrap();
    assert_eq!(names(&open(file)), NAMES[..2]);
}

/// EFBIG: the process may write no file of more than 600 bytes, where two entries need 800.
#[test]
fn a_file_that_may_not_grow_is_told_and_made_good() {
    let name = "a_file_that_may_not_grow_is_told_and_made_good";
    let Some(file) = role() else {
        let folder = temp_dir();
        let file = folder.path().join("pins.jsonl");
        // The signal that comes with the limit would end the process.
        let wrapper = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
        return succeeds(child(name, file.to_str().unwrap(), &wrapper));
    };
    let limit = |bytes: Option<u64>| {
        let maximum = getrlimit(Resource::Fsize).maximum;
        let current = bytes;
        setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    };
    let (block, heal) = (|| limit(Some(600)), || limit(None));
    fails_and_heals(Path::new(&file), io::ErrorKind::FileTooLarge, block, heal);
}

/// ENOSPC, and a rename that fails: a small file system of its own, and a mount point in place of
/// the file.
#[test]
fn a_full_disk_and_a_failed_rename_are_told_and_made_good() {
    let name = "a_full_disk_and_a_failed_rename_are_told_and_made_good";
    if let Some(role) = role() {
        return on_a_small_disk(Path::new(&role));
    }
    let folder = temp_dir();
    let Some(unshare) = program("unshare") else {
        return;
    };
    let unshare = [unshare.to_str().unwrap(), "--mount", "--map-root-user"];
    let mut probe = Command::new(unshare[0]);
    probe
        .args(&unshare[1..])
        .args(["mount", "-t", "tmpfs", "-o", "size=64k", "none"]);
    if !probe.arg(folder.path()).output().unwrap().status.success() {
        // Containers may forbid it, and no package helps.
        // Past the capture of passing tests, so that it is seen.
        let _ = writeln!(
            io::stderr(),
            "no mount may be made here: a test passes over itself"
        );
        return;
    }
    let mount = "mount -t tmpfs -o size=64k none \"$1\" && shift && exec \"$@\"";
    let wrapper = [
        &unshare[..],
        &["sh", "-c", mount, "sh", folder.path().to_str().unwrap()],
    ];
    succeeds(child(
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
    fails_and_heals(
        &folder.join("full.jsonl"),
        io::ErrorKind::StorageFull,
        fill,
        free,
    );

    // A damaged file and no room for a sound one: nothing is lost, and no copies pile up.
    let file = folder.join("full.jsonl");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    fill();
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    let is_told = matches!(error, Some(StorageError::Corrupt { moved_to: None, .. }));
    assert!(is_told, "{error:?}");
    assert_eq!(names(&store), NAMES[..1]);
    let copies = || {
        let entries = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        entries
            .filter(|name| name.to_string_lossy().contains("damaged"))
            .count()
    };
    assert_eq!(copies(), 0);
    free();
    store.forget(&pinhold::Host::parse("z.example").unwrap());
    assert!((0..3).any(|_| store.flush().is_ok()));
    assert_eq!(names(&open(&file)), NAMES[..1]);
    assert_eq!(copies(), 1);

    let file = folder.join("pins.jsonl");
    let run = |arguments: &[&str]| {
        let status = Command::new(arguments[0])
            .args(&arguments[1..])
            .arg(&file)
            .status();
        assert!(status.unwrap().success());
    };
    let mount = || run(&["mount", "--bind", file.to_str().unwrap()]);
    let unmount = || run(&["umount"]);
    fails_and_heals(&file, io::ErrorKind::ResourceBusy, mount, unmount);
}

/// The wrapper that makes permissions count for root, too; `None` where it can't be had.
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
fn without_permission_the_file_stays_as_it_is() {
    let name = "without_permission_the_file_stays_as_it_is";
    if let Some(folder) = role() {
        return without_permission(Path::new(&folder));
    }
    let folder = temp_dir();
    let Some(wrapper) = without_privileges() else {
        return;
    };
    let wrapper = wrapper.iter().map(String::as_str).collect::<Vec<_>>();
    succeeds(child(name, folder.path().to_str().unwrap(), &wrapper));
}

fn without_permission(folder: &Path) {
    let file = folder.join("pins.jsonl");
    let allow = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let (block, heal) = (|| allow(folder, 0o500), || allow(folder, 0o700));
    fails_and_heals(&file, io::ErrorKind::PermissionDenied, block, heal);

    a_folder_that_cannot_be_synced(&folder.join("merged.jsonl"), &allow);

    // A damaged file where nothing can be put aside: the entries that verify hold.
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    block();
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    let is_kept = matches!(error, Some(StorageError::Corrupt { moved_to: None, .. }));
    assert!(is_kept, "{error:?}");
    assert_eq!(names(&store), NAMES[..1]);
    heal();
    store.forget(&pinhold::Host::parse("z.example").unwrap());
    // The first commit that succeeds puts it aside, says so, and the next one is as any other.
    let mended = (0..3).find(|_| store.flush().is_ok());
    assert!(mended.is_some());
    assert_eq!(names(&open(&file)), NAMES[..1]);

    // A file that can't be read is not written over.
    let bytes = fs::read(&file).unwrap();
    allow(&file, 0o000);
    let error = PinStore::open(FileStorage::new(&file)).unwrap_err();
    is_io(Err(error), io::ErrorKind::PermissionDenied);
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    is_io(Err(error.unwrap()), io::ErrorKind::PermissionDenied);
    let hosts = Hosts::blocking(&NAMES[..1]);
    note(&hosts, &store, 0).unwrap();
    drop(store);
    allow(&file, 0o600);
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

/// The rename succeeds, its sync does not: what another process stored, and what was damaged, must
/// not be lost by the next attempt.
fn a_folder_that_cannot_be_synced(file: &Path, allow: &impl Fn(&Path, u32)) {
    let folder = file.parent().unwrap();
    let hosts = Hosts::blocking(&NAMES);
    let (one, other) = (open(file), open(file));
    note(&hosts, &other, 0).unwrap();
    note(&hosts, &other, 1).unwrap();
    allow(folder, 0o300);
    is_io(note(&hosts, &one, 2), io::ErrorKind::PermissionDenied);
    is_io(one.flush(), io::ErrorKind::PermissionDenied);
    allow(folder, 0o700);
    one.flush().unwrap();
    assert_eq!(names(&one), NAMES);
    assert_eq!(names(&open(file)), NAMES);
    drop((one, other));

    let mut damaged = fs::read(file).unwrap();
    *damaged.last_mut().unwrap() = b'x';
    fs::write(file, &damaged).unwrap();
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
        files.any(|file| fs::read(file).unwrap() == damaged),
        "it is kept somewhere"
    );
}

// Two processes write one file.

const NOTES: u64 = 150;

#[test]
fn of_two_processes_that_note_at_once_neither_loses_anything() {
    let name = "of_two_processes_that_note_at_once_neither_loses_anything";
    if let Some(role) = role() {
        let (index, file) = role.split_once(' ').unwrap();
        return note_many(index.parse().unwrap(), Path::new(file));
    }
    let folder = folder_with_key();
    let file = folder.path().join("pins.jsonl");
    let children = ["0", "1"].map(|index| {
        let role = format!("{index} {}", file.display());
        let mut child = child(name, &role, &[]);
        child
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    for child in children {
        let output = child.wait_with_output().unwrap();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complained}");
    }
    // Each had two hosts of its own, and both had the third.
    let found = state(&open(&file));
    let own = found
        .iter()
        .filter(|(host, _)| host.as_str() != "both.example");
    assert!(own.clone().all(|(_, number)| *number == NOTES), "{found:?}");
    assert_eq!(own.count(), 4, "{found:?}");
    assert_eq!(found.get("both.example"), Some(&NOTES), "{found:?}");
}

fn note_many(process: usize, file: &Path) {
    let own = [["a.example", "b.example"], ["c.example", "d.example"]][process];
    let names = [own[0], own[1], "both.example"];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let hosts = runtime.block_on(hosts_with_key(&names, file));
    let store = open(file);
    let pinning = pinning(&store);
    for number in 1..=NOTES {
        for index in 0..3 {
            let value = hosts.value(numbered_pin(number), "max-age=50000");
            let noted = hosts.note(&pinning, index, &value, NOW + number);
            assert!(
                matches!(noted, Noted::Added | Noted::Refreshed),
                "{noted:?}"
            );
        }
        store.flush().unwrap();
        // What this process handed on is there, whatever the other one did meanwhile.
        let found = state(&open(file));
        for host in own {
            assert_eq!(found.get(host), Some(&number));
        }
        assert!(found["both.example"] >= number);
    }
}
