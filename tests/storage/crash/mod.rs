//! The file of a `FileStorage` after a crash, on a full disk, without permissions, and with two
//! processes that write it.
//!
//! A test that needs a process of its own runs itself in one: [`child`] starts this program again
//! with [`ARGUMENTS`] in the environment.

mod commits;
mod failing_disk;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::common::noted::{Hosts, numbered_pin, pin_number, pinning, temp_dir};
use crate::common::{NOW, Random};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::policy::KnownPinnedHost;
use pinhold::storage::{Storage, StorageError};
use pinhold::{FileStorage, NotePinsLayer, PinStore};
use rcgen::KeyPair;
use tempfile::TempDir;

fn open(file: &Path) -> PinStore {
    PinStore::open(FileStorage::new(file)).unwrap()
}

/// Returns the number of the backup pin of each host.
fn state(store: &PinStore) -> BTreeMap<String, u64> {
    let backup = |entry: &KnownPinnedHost| entry.pins.iter().find_map(pin_number).unwrap();
    let list = store.list();
    list.iter()
        .map(|entry| (entry.host.to_string(), backup(entry)))
        .collect()
}

fn names(store: &PinStore) -> Vec<String> {
    state(store).into_keys().collect()
}

/// Notes the host `index` and returns the result of writing it.
fn note(hosts: &Hosts, store: &PinStore, index: usize) -> Result<(), StorageError> {
    let value = hosts.value(numbered_pin(0), "max-age=1000");
    assert_eq!(
        hosts.note(&pinning(store), index, &value, NOW),
        Noted::Added
    );
    store.flush()
}

/// Returns the file with its lines repeated, so that more than half of it is history and it is long
/// enough to be compacted.
fn with_history(bytes: &[u8]) -> Vec<u8> {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let (header, rest) = (lines.next().unwrap(), lines.next().unwrap());
    let repeated = rest.repeat(1 + 100 * 1024 / rest.len());
    [header, b"\n", &repeated].concat()
}

/// The environment variable that has the arguments of a child.
const ARGUMENTS: &str = "PINHOLD_CHILD";

fn child_arguments() -> Option<String> {
    env::var(ARGUMENTS).ok()
}

/// Returns a command that runs only this test of this module with these arguments, by `wrapper` if
/// there is one.
fn child(test: &str, arguments: &str, wrapper: &[&str]) -> Command {
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
        .args(["--exact", &format!("crash::{test}"), "--nocapture"])
        .env(ARGUMENTS, arguments);
    command.stdin(Stdio::null());
    command
}

#[track_caller]
fn assert_succeeds(mut command: Command) {
    let output = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Without a match of the name, the child would run no test and succeed.
    let has_run = stdout.contains("1 passed");
    assert!(
        output.status.success() && has_run,
        "{command:?}\n{stdout}\n{stderr}"
    );
}

/// Returns a folder with the key of the servers of all children.
fn folder_with_key() -> TempDir {
    let folder = temp_dir();
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
/// Kills, or ten times as many with `tests/run.sh --full`.
const KILLS: u64 = 52;
/// The number of parallel loops, each with its own file.
const LOOPS: u64 = 4;

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
    if let Some(arguments) = child_arguments() {
        return return_responses_until_killed(&arguments);
    }
    let is_full = env::var_os("PINHOLD_FULL").is_some();
    let kills = if is_full { 10 * KILLS } else { KILLS };
    let loops =
        (0..LOOPS).map(|index| thread::spawn(move || kill_repeatedly(index, kills / LOOPS)));
    #[expect(
        clippy::needless_collect,
        reason = "all threads start before one is joined"
    )]
    let loops = loops.collect::<Vec<_>>();
    let returned = loops
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum::<u64>();
    // With fewer, the children were killed before they did anything.
    assert!(returned > kills, "{returned} responses");
}

/// Prints the number of each response that the layer has returned.
fn return_responses_until_killed(arguments: &str) {
    let (first, file) = arguments.split_once(' ').unwrap();
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
            println!("\nreturned {number}");
        }
    });
}

/// Runs one loop and returns the number of returned responses.
fn kill_repeatedly(index: u64, kills: u64) -> u64 {
    let folder = folder_with_key();
    let file = folder.path().join("pins.jsonl");
    let mut random = Random::new(index);
    let mut expected = BTreeMap::new();
    let mut next = 0;
    for _ in 0..kills {
        let arguments = format!("{next} {}", file.display());
        let mut child = child(
            "the_changes_of_returned_responses_survive_sigkill",
            &arguments,
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
            assert_eq!(found, expected, "loop {index}, response {next}");
        }
    }
    next
}

/// A process compacts the file when it is killed. The entries that it has loaded are kept, and so are
/// those that another process appends meanwhile.
#[test]
fn no_kill_during_a_compaction_loses_an_entry() {
    let name = "no_kill_during_a_compaction_loses_an_entry";
    if let Some(file) = child_arguments() {
        let mut storage = FileStorage::new(&file);
        storage.load().unwrap();
        println!("\n{OPENED}");
        return storage.compact().unwrap();
    }
    let is_full = env::var_os("PINHOLD_FULL").is_some();
    let kills = if is_full { 100 } else { 12 };
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let hosts = Hosts::blocking(&NAMES);
    let store = open(&file);
    (0..2).for_each(|index| note(&hosts, &store, index).unwrap());
    drop(store);
    let bytes = with_history(&fs::read(&file).unwrap());
    let start = || {
        fs::write(&file, &bytes).unwrap();
        let mut child = child(name, file.to_str().unwrap(), &[]);
        let child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == OPENED));
        (child, Instant::now())
    };
    // How long a compaction takes on this machine.
    let (mut child, begin) = start();
    child.wait().unwrap();
    assert!(fs::metadata(&file).unwrap().len() < 1000);
    let took = u64::try_from(begin.elapsed().as_micros()).unwrap();
    let mut random = Random::new(5);
    let mut compacted = 0;
    for _ in 0..kills {
        let (mut child, begin) = start();
        let moment = Duration::from_micros(random.below(took));
        while begin.elapsed() < moment {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        compacted += u64::from(fs::metadata(&file).unwrap().len() < 1000);
        let other = open(&file);
        assert_eq!(names(&other), NAMES[..2]);
        note(&hosts, &other, 2).unwrap();
        drop(other);
        assert_eq!(names(&open(&file)), NAMES);
    }
    // Few kills may all be too early or too late.
    assert!(!is_full || (1..kills).contains(&compacted), "{compacted}");
}

fn apply(state: &mut BTreeMap<String, u64>, number: u64) {
    if removes(number) {
        state.remove(host_of(number));
    } else {
        state.insert(host_of(number).to_owned(), number);
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

// Two processes write one file.

const NOTES: u64 = 150;
/// The line by which a child reports that it has opened the file.
const OPENED: &str = "opened";

#[test]
fn two_processes_that_note_at_once_lose_no_entry() {
    let name = "two_processes_that_note_at_once_lose_no_entry";
    if let Some(arguments) = child_arguments() {
        let (index, file) = arguments.split_once(' ').unwrap();
        return note_many(index.parse().unwrap(), Path::new(file));
    }
    let folder = folder_with_key();
    let file = folder.path().join("pins.jsonl");
    let children = ["0", "1"].map(|index| {
        let arguments = format!("{index} {}", file.display());
        let mut child = child(name, &arguments, &[]);
        child
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    // Both open the file before one of them writes it, so that it shows neither of them a time that
    // its own clock has not reached.
    let children = children.map(|mut child| {
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == OPENED), "not opened");
        child
    });
    let children = children.map(|mut child| {
        drop(child.stdin.take());
        child
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
    println!("\n{OPENED}");
    io::stdin().read_to_string(&mut String::new()).unwrap();
    for number in 1..=NOTES {
        for (index, name) in names.iter().enumerate() {
            let value = hosts.value(numbered_pin(number), "max-age=50000");
            let noted = hosts.note(&pinning, index, &value, NOW + number);
            // The clock of the other process may be ahead.
            let is_later =
                *name == "both.example" && noted == Noted::Ignored(IgnoreReason::NotLatest);
            assert!(
                is_later || matches!(noted, Noted::Added | Noted::Refreshed),
                "{noted:?}"
            );
        }
        store.flush().unwrap();
        // The entries that this process has flushed are in the file, whatever the other one wrote.
        let found = state(&open(file));
        for host in own {
            assert_eq!(found.get(host), Some(&number));
        }
        assert!(found.get("both.example") >= Some(&number), "{found:?}");
    }
}
