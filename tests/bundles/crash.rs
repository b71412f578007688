//! The file of an application that is killed while it applies bundles.
//!
//! The test runs itself as a child: it starts this program again with [`ARGUMENTS`] in the
//! environment.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::app::{App, HOST, version};
use crate::common::Random;
use crate::common::bundles::{Body, Operator, pins};
use crate::common::noted::temp_dir;
use pinhold::bundle::{BundleError, BundleOutcome, PinBundles};
use pinhold::storage::{Change, Merged, Record, Storage, StorageError};
use pinhold::{Event, FileStorage, PinStore, Pinning};

const ARGUMENTS: &str = "PINHOLD_CHILD";
/// Kills, or ten times as many with `tests/run.sh --full`.
const KILLS: u64 = 50;
/// How many bundles are signed. Each child applies about five.
const BUNDLES: u64 = 1000;

/// Returns a bundle with the pins of this number. Every third one has several parts in the file, and
/// every fifth one is staged for no installation.
fn body(number: u64) -> Body {
    let body = Body::new(number, [(HOST, pins(u8::try_from(number % 100).unwrap()))]);
    let body = match number % 3 {
        0 => body.with("comment", format!("\"{}\"", "x".repeat(100_000))),
        _ => body,
    };
    match number % 5 {
        0 => body.with("staging", r#"{ "percent": 0, "salt": "s" }"#),
        _ => body,
    }
}

fn bundle_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number}.bundle"))
}

fn start(folder: &Path, file: &Path) -> App {
    start_with(folder, FileStorage::new(file))
}

fn start_with(folder: &Path, storage: impl Storage) -> App {
    let root = fs::read_to_string(folder.join("root")).unwrap();
    let bundles = PinBundles::new(root, fs::read(bundle_path(folder, 1)).unwrap());
    let bundles = bundles.with_provider(crate::common::provider());
    // Opened without recovery, since no crash may leave a corrupt file.
    let store = PinStore::open(storage).unwrap();
    App::build(Pinning::builder().bundles(bundles).store(store))
}

/// Writes the root and the bundle of the application to a folder.
fn prepare(folder: &Path, operator: &Operator) {
    fs::write(folder.join("root"), &operator.root).unwrap();
    fs::write(bundle_path(folder, 1), operator.sign(&body(1))).unwrap();
}

/// Asserts that the application has the newest bundle that is not staged, up to its floor.
#[track_caller]
fn assert_consistent(app: &App) -> u64 {
    let (in_effect, floor) = app.versions();
    let full = if floor.bundle.is_multiple_of(5) {
        floor.bundle - 1
    } else {
        floor.bundle
    };
    assert_eq!(in_effect, version(1, full));
    assert_eq!(app.pins(), pins(u8::try_from(full % 100).unwrap()));
    let unreadable = |event: &Event| matches!(event, Event::BundleUnreadable { .. });
    let events = app.events();
    assert!(!events.iter().any(unreadable), "{events:?}");
    floor.bundle
}

#[test]
fn applied_bundles_survive_sigkill() {
    if let Ok(arguments) = env::var(ARGUMENTS) {
        return apply_until_killed(&arguments);
    }
    let is_full = env::var_os("PINHOLD_FULL").is_some();
    let kills = if is_full { 10 * KILLS } else { KILLS };
    let (folder, operator) = (temp_dir(), Operator::default());
    prepare(folder.path(), &operator);
    let file = folder.path().join("pins.jsonl");
    let mut random = Random::new(1);
    let (mut floor, mut signed, mut applied) = (1, 1, 0);
    for kill in 0..kills {
        // As many as a child may apply.
        for number in signed + 1..=floor + 20 {
            let bundle = operator.sign(&body(number));
            fs::write(bundle_path(folder.path(), number), bundle).unwrap();
        }
        signed = floor + 20;
        let arguments = format!("{} {}", floor + 1, folder.path().display());
        let printed = kill_at_random(child(&arguments), &mut random);
        applied += printed.len();
        let last = printed.last().copied().unwrap_or(floor);
        let app = start(folder.path(), &file);
        let found = assert_consistent(&app);
        // Only the one that was being applied may have been stored, too.
        assert!(
            (last..=last + 1).contains(&found),
            "kill {kill}: {found}, printed {last}"
        );
        let old = operator.sign(&body(found - 1).with("comment", 2));
        if found > 1 {
            let error = app.pinning.apply_bundle(&old).unwrap_err();
            assert!(matches!(error, BundleError::Rollback { .. }), "{error}");
        }
        floor = found;
    }
    // With fewer, the children were killed before they did anything.
    assert!(applied > usize::try_from(kills).unwrap(), "{applied}");
    assert!(floor < BUNDLES * 20);
}

/// Prints the number of each bundle that was applied.
fn apply_until_killed(arguments: &str) {
    let (first, folder) = arguments.split_once(' ').unwrap();
    let folder = Path::new(folder);
    let app = start(folder, &folder.join("pins.jsonl"));
    for number in first.parse().unwrap().. {
        let Ok(bundle) = fs::read(bundle_path(folder, number)) else {
            break;
        };
        let outcome = app.pinning.apply_bundle(&bundle).unwrap();
        let expected = version(1, number);
        assert!(
            outcome == BundleOutcome::Applied(expected)
                || outcome == BundleOutcome::Staged(expected),
            "{outcome:?}"
        );
        println!("\napplied {number}");
    }
    // All were applied before the signal came.
    loop {
        std::thread::park();
    }
}

fn child(arguments: &str) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([
        "--exact",
        "crash::applied_bundles_survive_sigkill",
        "--nocapture",
    ]);
    command.env(ARGUMENTS, arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Kills the child a random time after a random number of bundles. Returns the numbers of the
/// applied ones.
fn kill_at_random(mut child: Child, random: &mut Random) -> Vec<u64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut numbers = lines.map_while(Result::ok).filter_map(|line| {
        let number = line.strip_prefix("applied ")?;
        Some(number.parse::<u64>().unwrap())
    });
    let count = usize::try_from(random.below(8)).unwrap();
    let mut applied = numbers.by_ref().take(count).collect::<Vec<_>>();
    assert_eq!(applied.len(), count, "the child ended before it was killed");
    let (begin, moment) = (Instant::now(), Duration::from_micros(random.below(4000)));
    while begin.elapsed() < moment {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    applied.extend(numbers);
    let status = child.wait().unwrap();
    assert_eq!(
        status.signal(),
        Some(9),
        "the child ended before it was killed"
    );
    applied
}

/// A file that is only appended to, so that it begins with each crash image.
struct Uncompacted(FileStorage);

impl Storage for Uncompacted {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        self.0.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Merged, StorageError> {
        self.0.commit(changes)
    }
}

#[test]
fn every_crash_image_of_the_journal_has_a_readable_bundle_and_no_lower_floor() {
    let (folder, operator) = (temp_dir(), Operator::default());
    prepare(folder.path(), &operator);
    let file = folder.path().join("pins.jsonl");
    let mut durable = Vec::new();
    let app = start_with(folder.path(), Uncompacted(FileStorage::new(&file)));
    for number in 2..=13 {
        app.pinning
            .apply_bundle(&operator.sign(&body(number)))
            .unwrap();
        app.pinning.store().flush().unwrap();
        durable.push((fs::metadata(&file).unwrap().len(), number));
    }
    drop(app);
    let bytes = fs::read(&file).unwrap();
    assert!(
        u64::try_from(bytes.len()).unwrap() >= durable.last().unwrap().0,
        "compacted"
    );
    let image = folder.path().join("image.jsonl");
    let mut cuts = 0;
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let ends = ends.map(|(index, _)| index + 1).collect::<Vec<_>>();
    // The file is created with its first lines by a rename.
    let mut begin = ends[0];
    for end in ends.into_iter().skip(1) {
        // Whole lines, a line without its line feed, and parts of it.
        for cut in [end, end - 1, end - 2, begin + (end - begin) / 2, begin + 1] {
            fs::write(&image, &bytes[..cut]).unwrap();
            let app = start(folder.path(), &image);
            let found = assert_consistent(&app);
            let len = u64::try_from(cut).unwrap();
            let before = durable.iter().rev().find(|(durable, _)| *durable <= len);
            let before = before.map_or(1, |(_, number)| *number);
            assert!(
                (before..=before + 1).contains(&found),
                "{cut}: {found}, durable {before}"
            );
            // It goes on from there.
            let next = operator.sign(&body(found + 1));
            app.pinning.apply_bundle(&next).unwrap();
            assert_eq!(assert_consistent(&app), found + 1);
            cuts += 1;
        }
        begin = end;
    }
    assert!(cuts > 200, "{cuts}");
}
