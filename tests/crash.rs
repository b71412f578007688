//! The file of a `FileStorage` after a crash, on a full disk, without permissions, and with two
//! processes that write it.
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

use common::noted::{Hosts, folder, listing, number, numbered, pinning};
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

/// Returns the number of the backup pin of each host.
fn state(store: &PinStore) -> BTreeMap<String, u64> {
    let backup = |entry: &KnownPinnedHost| entry.pins.iter().find_map(number).unwrap();
    let list = store.list();
    list.iter()
        .map(|entry| (entry.host.to_string(), backup(entry)))
        .collect()
}

/// The environment variable that has the arguments of a child.
const ROLE: &str = "PINHOLD_CHILD";

fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Returns a command that runs only this test of this program with these arguments, by `wrapper` if
/// there is one.
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
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{stdout}\n{stderr}");
}

/// Returns a folder with the key of the servers of all children.
fn folder_with_key() -> TempDir {
    let folder = folder();
    let key = KeyPair::generate().unwrap().serialize_pem();
    fs::write(folder.path().join("key.pem"), key).unwrap();
    folder
}

/// Returns hosts with the key in the folder of the file.
async fn hosts_with_key(names: &[&str], file: &Path) -> Hosts {
    let key = fs::read_to_string(file.with_file_name("key.pem")).unwrap();
    Hosts::connect_with(names, KeyPair::from_pem(&key).unwrap()).await
}

// Processes that note headers in a loop are killed.

const NAMES: [&str; 3] = ["a.example", "b.example", "c.example"];
const KILLS: u64 = 504;
/// The number of parallel loops, each with its own file.
const LANES: u64 = 4;

/// Returns the host that the response of this number comes from.
fn host_of(number: u64) -> &'static str {
    NAMES[usize::try_from(number).unwrap() % NAMES.len()]
}

/// Every fifth response removes the entry of its host.
fn removes(number: u64) -> bool {
    number % 5 == 4
}

#[test]
fn the_changes_of_returned_responses_survive_sigkill() {
    if let Some(role) = role() {
        return return_responses_until_killed(&role);
    }
    let lanes = (0..LANES).map(|lane| thread::spawn(move || kill_repeatedly(lane)));
    #[expect(
        clippy::needless_collect,
        reason = "all threads start before one is joined"
    )]
    let lanes = lanes.collect::<Vec<_>>();
    let returned = lanes
        .into_iter()
        .map(|lane| lane.join().unwrap())
        .sum::<u64>();
    // With fewer, the children were killed before they did anything.
    assert!(returned > KILLS, "{returned} responses");
}

/// Prints the number of each response that the layer has returned.
fn return_responses_until_killed(role: &str) {
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
            let value = hosts.value(numbered(number), max_age);
            let response = hosts.respond(&layer, index, &value).await;
            let noted = response.extensions().get::<Noted>().unwrap();
            assert!(
                !matches!(noted, Noted::Ignored(_)) || removes(number),
                "{noted:?}"
            );
            println!("\nreturned {number}");
        }
    });
}

/// Runs one loop and returns the number of returned responses.
fn kill_repeatedly(lane: u64) -> u64 {
    let folder = folder_with_key();
    let file = folder.path().join("pins.jsonl");
    let mut random = Random::new(lane);
    let mut expected = BTreeMap::new();
    let mut next = 0;
    for _ in 0..KILLS / LANES {
        let role = format!("{next} {}", file.display());
        let mut child = child(
            "the_changes_of_returned_responses_survive_sigkill",
            &role,
            &[],
        );
        let child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        for returned in kill_at_random(child.unwrap(), &mut random) {
            assert_eq!(returned, next, "responses are in order");
            apply(&mut expected, next);
            next += 1;
        }
        // Opened without recovery, since no crash may leave a corrupt file.
        let found = state(&open(&file));
        if found != expected {
            // Only the response that was pending may have had an effect, too.
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

/// Kills the child a random time after a random number of responses. Returns the numbers of the
/// returned responses.
fn kill_at_random(mut child: Child, random: &mut Random) -> Vec<u64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut numbers = lines.map_while(Result::ok).filter_map(|line| {
        let number = line.strip_prefix("returned ")?;
        Some(number.parse::<u64>().unwrap())
    });
    let count = random.below(8);
    let mut returned = (0..count)
        .map(|_| {
            numbers
                .next()
                .expect("the child ended before it was killed")
        })
        .collect::<Vec<_>>();
    // A commit takes about a millisecond, so that every moment of it is hit.
    let (begin, moment) = (Instant::now(), Duration::from_micros(random.below(2000)));
    while begin.elapsed() < moment {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    returned.extend(numbers);
    let status = child.wait().unwrap();
    assert_eq!(
        status.signal(),
        Some(9),
        "the child ended before it was killed"
    );
    returned
}

// The files that a crash can leave are created and opened.

/// The file before and after a commit.
struct Commit {
    before: Option<Vec<u8>>,
    after: Vec<u8>,
    names_before: Vec<String>,
    names_after: Vec<String>,
}

fn names(store: &PinStore) -> Vec<String> {
    state(store).into_keys().collect()
}

/// Returns the first commit of a file, and a commit to a file with an entry.
fn commits() -> [Commit; 2] {
    let folder = folder();
    let file = folder.path().join("pins.jsonl");
    let hosts = Hosts::blocking(&NAMES[..2]);
    let store = open(&file);
    [0, 1].map(|index| {
        let (before, names_before) = (fs::read(&file).ok(), names(&store));
        let value = hosts.value(numbered(0), "max-age=1000");
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
        let folder = folder();
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
                let value = hosts.value(numbered(1), "max-age=1000");
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
    let folder = folder();
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
    let kept = listing(&folder);
    let kept = kept
        .iter()
        .filter(|name| name.to_string_lossy().contains("corrupt"));
    assert!(kept.count() > 50);
}

/// Ensures that a power cut loses nothing, which killing a process can't test, since the system
/// continues to run. Each commit syncs the temporary file before the rename, and the folder after.
#[test]
fn a_commit_is_synced_before_and_after_its_rename() {
    let name = "a_commit_is_synced_before_and_after_its_rename";
    if let Some(file) = role() {
        let store = open(Path::new(&file));
        let hosts = Hosts::blocking(&NAMES[..2]);
        note(&hosts, &store, 0).unwrap();
        return note(&hosts, &store, 1).unwrap();
    }
    let folder = folder();
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
    succeeds(child(name, file.to_str().unwrap(), &strace));
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

// The disk is full or not writable.

/// Notes the host `index` and returns the result of writing it.
fn note(hosts: &Hosts, store: &PinStore, index: usize) -> Result<(), StorageError> {
    let value = hosts.value(numbered(0), "max-age=1000");
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

/// Asserts that a failed write changes nothing on disk, and that the change is written once that is
/// possible again.
fn fails_and_recovers(file: &Path, kind: io::ErrorKind, block: impl Fn(), unblock: impl Fn()) {
    let hosts = Hosts::blocking(&NAMES[..2]);
    let store = open(file);
    note(&hosts, &store, 0).unwrap();
    block();
    is_io(note(&hosts, &store, 1), kind);
    assert_eq!(names(&store), NAMES[..2], "the change is kept in memory");
    assert_eq!(names(&open(file)), NAMES[..1], "the file is unchanged");
    let temporary = file.with_extension("jsonl.tmp");
    assert!(!temporary.exists(), "the temporary file is removed");
    unblock();
    store.flush().unwrap();
    assert_eq!(names(&open(file)), NAMES[..2]);
}

/// EFBIG: the process must not write a file of more than 600 bytes, and two entries need 800.
#[test]
fn a_file_size_limit_is_reported_and_the_change_is_written_later() {
    let name = "a_file_size_limit_is_reported_and_the_change_is_written_later";
    let Some(file) = role() else {
        let folder = folder();
        let file = folder.path().join("pins.jsonl");
        // Ignored, since the signal SIGXFSZ would end the process.
        let wrapper = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
        return succeeds(child(name, file.to_str().unwrap(), &wrapper));
    };
    let limit = |bytes: Option<u64>| {
        let maximum = getrlimit(Resource::Fsize).maximum;
        let current = bytes;
        setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    };
    let (block, unblock) = (|| limit(Some(600)), || limit(None));
    fails_and_recovers(
        Path::new(&file),
        io::ErrorKind::FileTooLarge,
        block,
        unblock,
    );
}

/// ENOSPC on a small file system, and a rename that fails because the file is a mount point.
#[test]
fn a_full_disk_and_a_failed_rename_are_reported_and_the_change_is_written_later() {
    let name = "a_full_disk_and_a_failed_rename_are_reported_and_the_change_is_written_later";
    if let Some(role) = role() {
        return on_a_small_disk(Path::new(&role));
    }
    let folder = folder();
    let Some(unshare) = program("unshare") else {
        return;
    };
    let unshare = [unshare.to_str().unwrap(), "--mount", "--map-root-user"];
    let mut probe = Command::new(unshare[0]);
    probe
        .args(&unshare[1..])
        .args(["mount", "-t", "tmpfs", "-o", "size=64k", "none"]);
    if !probe.arg(folder.path()).output().unwrap().status.success() {
        // Containers may forbid mounts. Written to the standard error itself, which is shown even if
        // the test passes.
        let _ = writeln!(io::stderr(), "skipped: this system does not allow mounts");
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
    fails_and_recovers(
        &folder.join("full.jsonl"),
        io::ErrorKind::StorageFull,
        fill,
        free,
    );

    // A corrupt file without space for a repaired one: no entry is lost, and no copy is left.
    let file = folder.join("full.jsonl");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    fill();
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    let is_in_place = matches!(error, Some(StorageError::Corrupt { moved_to: None, .. }));
    assert!(is_in_place, "{error:?}");
    assert_eq!(names(&store), NAMES[..1]);
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
    fails_and_recovers(&file, io::ErrorKind::ResourceBusy, mount, unmount);
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
    let name = "without_permission_the_file_is_left_unchanged";
    if let Some(folder) = role() {
        return without_permission(Path::new(&folder));
    }
    let folder = folder();
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
    let (block, unblock) = (|| allow(folder, 0o500), || allow(folder, 0o700));
    fails_and_recovers(&file, io::ErrorKind::PermissionDenied, block, unblock);

    a_folder_that_cannot_be_synced(&folder.join("merged.jsonl"), &allow);

    // A corrupt file in a folder that is not writable: the readable entries are enforced.
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    block();
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    let is_in_place = matches!(error, Some(StorageError::Corrupt { moved_to: None, .. }));
    assert!(is_in_place, "{error:?}");
    assert_eq!(names(&store), NAMES[..1]);
    unblock();
    store.forget(&pinhold::Host::parse("z.example").unwrap());
    // The first commit that succeeds moves the corrupt file and reports that; later ones are normal.
    assert!((0..3).any(|_| store.flush().is_ok()));
    assert_eq!(names(&open(&file)), NAMES[..1]);

    // A file that can't be read is not overwritten.
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

/// If the rename succeeds and the sync of the folder fails, the next attempt must not lose entries
/// of another process, nor the corrupt file.
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

    let mut corrupt = fs::read(file).unwrap();
    *corrupt.last_mut().unwrap() = b'x';
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

// Two processes write one file.

const NOTES: u64 = 150;

#[test]
fn two_processes_that_note_at_once_lose_no_entry() {
    let name = "two_processes_that_note_at_once_lose_no_entry";
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
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
    }
    // Each process noted two hosts of its own, and both noted the third.
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
            let value = hosts.value(numbered(number), "max-age=50000");
            let noted = hosts.note(&pinning, index, &value, NOW + number);
            assert!(
                matches!(noted, Noted::Added | Noted::Refreshed),
                "{noted:?}"
            );
        }
        store.flush().unwrap();
        // The entries that this process has flushed are in the file, whatever the other one wrote.
        let found = state(&open(file));
        for host in own {
            assert_eq!(found.get(host), Some(&number));
        }
        assert!(found["both.example"] >= number);
    }
}
