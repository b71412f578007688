//! Bundles in a storage: after restarts, losses and damage, and beside other processes.

use std::fs;
use std::path::Path;

use crate::app::{App, GROUPS, HOST, assert_in_effect, body, version};
use crate::common::bundles::{Body, ISSUED, Operator, Signer, pins, root, time};
use crate::common::noted::temp_dir;
use crate::common::{DAY, at};
use pinhold::bundle::{BundleError, BundleOutcome, PinBundle};
use pinhold::policy::Overlap;
use pinhold::storage::{Change, Record, Storage};
use pinhold::{Event, FileStorage, Host, PinStore, Pinning};

/// A file in a temporary folder, and the operator whose bundles it has.
struct Fixture {
    operator: Operator,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            operator: Operator::default(),
            folder: temp_dir(),
        }
    }

    /// Returns a fixture in whose file are the bundles 4 and 5, of which 4 was replaced.
    fn with_bundle_5() -> Self {
        let this = Self::new();
        let app = this.start(&body(1));
        for number in [4, 5] {
            let bundle = this.operator.sign(&body(number));
            app.pinning.apply_bundle(&bundle).unwrap();
        }
        this
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("pins.jsonl")
    }

    fn start(&self, built_in: &Body) -> App {
        App::with_file(&self.operator, built_in, &self.file())
    }

    /// Starts two applications that have written what they write when they start.
    fn start_two(&self) -> [App; 2] {
        let apps = [(), ()].map(|()| self.start(&body(1)));
        for app in &apps {
            app.pinning.store().flush().unwrap();
        }
        apps
    }

    fn sign(&self, number: u8) -> Vec<u8> {
        self.operator.sign(&body(number))
    }
}

/// Returns the records of a file.
fn records(file: &Path) -> Vec<Record> {
    FileStorage::new(file).load().unwrap()
}

/// Stores a record with this value in place of each one of this kind.
fn overwrite(file: &Path, kind: &str, value: &str) {
    let all = records(file);
    let all = all.iter().filter(|record| record.kind() == kind);
    let changes = all.map(|record| {
        let changed = Record::new(kind, record.key(), value, record.time()).unwrap();
        Change::put(changed)
    });
    let changes = changes.collect::<Vec<_>>();
    assert!(!changes.is_empty());
    let mut storage = FileStorage::new(file);
    storage.load().unwrap();
    storage.commit(&changes).unwrap();
}

fn unreadable(events: &[Event]) -> Vec<(u64, u64)> {
    let versions = events.iter().filter_map(|event| match event {
        Event::BundleUnreadable { version, in_effect } => Some((version.bundle, in_effect.bundle)),
        _ => None,
    });
    versions.collect()
}

#[test]
fn a_restart_finds_the_bundle_and_the_counts() {
    let fixture = Fixture::with_bundle_5();
    for refused in 1..4 {
        let app = fixture.start(&body(1));
        assert_in_effect(&app, 5);
        app.pinning.apply_bundle(&fixture.sign(4)).unwrap_err();
        let counts = app.status().counts;
        assert_eq!((counts.applied, counts.refused), (2, refused));
        assert_eq!((counts.staged, counts.killed, counts.stale), (0, 0, 0));
        app.pinning.store().flush().unwrap();
    }
}

#[test]
fn a_kill_switch_and_a_stale_bundle_are_counted_once() {
    let fixture = Fixture::new();
    let until = format!(r#"{{ "until": {} }}"#, time(ISSUED + 10 * DAY));
    for _ in 0..2 {
        let app = fixture.start(&body(1));
        let killed = body(2).with("kill_switch", &until);
        app.pinning
            .apply_bundle(&fixture.operator.sign(&killed))
            .unwrap();
        let counts = app.status().counts;
        assert_eq!((counts.applied, counts.killed), (1, 1));
        app.pinning.store().flush().unwrap();
    }
}

#[test]
fn without_its_file_the_floor_is_the_version_in_the_application() {
    let fixture = Fixture::with_bundle_5();
    fs::remove_file(fixture.file()).unwrap();
    let app = fixture.start(&body(2));
    assert_in_effect(&app, 2);
    let error = app.pinning.apply_bundle(&fixture.sign(1)).unwrap_err();
    assert!(matches!(error, BundleError::Rollback { .. }), "{error}");
    app.pinning.apply_bundle(&fixture.sign(3)).unwrap();
    assert_in_effect(&app, 3);
}

/// While the application runs, the file is restored.
#[test]
fn a_file_that_is_deleted_while_it_is_open_is_written_again() {
    let fixture = Fixture::with_bundle_5();
    let app = fixture.start(&body(1));
    fs::remove_file(fixture.file()).unwrap();
    app.pinning.apply_bundle(&fixture.sign(4)).unwrap_err();
    app.pinning.store().flush().unwrap();
    assert_in_effect(&app, 5);
    drop(app);
    assert_in_effect(&fixture.start(&body(1)), 5);
}

#[test]
fn a_higher_bundle_or_root_in_the_application_replaces_the_stored_bundle() {
    let fixture = Fixture::with_bundle_5();
    assert_in_effect(&fixture.start(&body(5)), 5);
    let app = fixture.start(&body(6));
    assert_in_effect(&app, 6);
    assert_eq!(unreadable(&app.events()), []);
    drop(app);
    // The next release has a new root, whose versions begin again.
    let signers = ["example.com/pins/3", "example.com/pins/4"].map(Signer::new);
    let both = [&signers[0], &signers[1]];
    let root = root(2, 2, &both, &fixture.operator.both());
    let next = Operator { signers, root };
    let bundle = |number: u8| body(number).with("root_version", 2);
    let app = App::with_file(&next, &bundle(1), &fixture.file());
    assert_eq!(app.versions(), (version(2, 1), version(2, 1)));
    assert_eq!(app.pins(), pins(1));
    assert_eq!(unreadable(&app.events()), []);
    // The old keys count no more.
    let error = app.pinning.apply_bundle(&fixture.sign(9)).unwrap_err();
    assert!(
        matches!(error, BundleError::NotNewestRoot { .. }),
        "{error}"
    );
    let outcome = app.pinning.apply_bundle(&next.sign(&bundle(2))).unwrap();
    assert_eq!(outcome, BundleOutcome::Applied(version(2, 2)));
    drop(app);
    let app = App::with_file(&next, &bundle(1), &fixture.file());
    assert_eq!(app.versions(), (version(2, 2), version(2, 2)));
}

#[test]
fn the_bundle_of_another_operator_is_unreadable() {
    let fixture = Fixture::with_bundle_5();
    let other = Operator::default();
    let app = App::with_file(&other, &body(1), &fixture.file());
    assert_eq!(app.versions(), (version(1, 1), version(1, 5)));
    assert_eq!(unreadable(&app.events()), [(5, 1)]);
}

#[test]
fn a_damaged_text_leaves_the_floor_and_is_reported_once() {
    for value in ["\"\"", "\"AAAA\"", "\"?\"", "1", "{}", "\"PGh0bWw+\""] {
        let fixture = Fixture::with_bundle_5();
        overwrite(&fixture.file(), Record::BUNDLE_TEXT, value);
        let app = fixture.start(&body(2));
        assert_eq!(app.versions(), (version(1, 2), version(1, 5)), "{value}");
        assert_eq!(app.pins(), pins(2));
        assert_eq!(unreadable(&app.events()), [(5, 2)]);
        let error = app.pinning.apply_bundle(&fixture.sign(4)).unwrap_err();
        assert!(matches!(error, BundleError::Rollback { .. }), "{error}");
        let other = fixture.operator.sign(&body(5).with("comment", 1));
        let error = app.pinning.apply_bundle(&other).unwrap_err();
        assert!(matches!(error, BundleError::Equivocation { .. }), "{error}");
        assert_eq!(unreadable(&app.events()), []);
        // The same bundle repairs it.
        let outcome = app.pinning.apply_bundle(&fixture.sign(5)).unwrap();
        assert_eq!(outcome, BundleOutcome::Applied(version(1, 5)));
        assert_in_effect(&app, 5);
        drop(app);
        let app = fixture.start(&body(2));
        assert_in_effect(&app, 5);
        assert_eq!(unreadable(&app.events()), []);
    }
}

#[test]
fn a_missing_text_leaves_the_floor() {
    let fixture = Fixture::with_bundle_5();
    let lines = fs::read_to_string(fixture.file()).unwrap();
    let kept = lines.lines().filter(|line| !line.contains("bundle-text"));
    fs::write(
        fixture.file(),
        kept.map(|line| format!("{line}\n")).collect::<String>(),
    )
    .unwrap();
    let app = fixture.start(&body(2));
    assert_eq!(app.versions(), (version(1, 2), version(1, 5)));
    assert_eq!(unreadable(&app.events()), [(5, 2)]);
}

#[test]
fn a_damaged_floor_is_reported_and_replaced() {
    for value in ["\"\"", "7", "null", r#"{"root":1,"version":9}"#] {
        let fixture = Fixture::with_bundle_5();
        overwrite_floor(&fixture.file(), value);
        let app = fixture.start(&body(2));
        assert_eq!(app.versions(), (version(1, 2), version(1, 2)), "{value}");
        assert_eq!(unreadable(&app.events()), [(2, 2)]);
        app.pinning.apply_bundle(&fixture.sign(3)).unwrap();
        drop(app);
        let app = fixture.start(&body(2));
        assert_in_effect(&app, 3);
        assert_eq!(unreadable(&app.events()), []);
    }
}

/// Writes a line that pinhold would not: its storage resolves each change of a floor.
fn overwrite_floor(file: &Path, value: &str) {
    let record = |kind: &str| Record::new(kind, "full", value, at(ISSUED)).unwrap();
    // A record of an unknown kind has the same line, but for the kind and the checksum.
    let mut storage = FileStorage::new(file);
    storage.load().unwrap();
    storage
        .commit(&[Change::put(record("bundle-flaar"))])
        .unwrap();
    let text = fs::read_to_string(file).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains("bundle-flaar"))
        .unwrap();
    let (before, _) = line.split_once(",\"sum\"").unwrap();
    let before = before.replace("bundle-flaar", Record::BUNDLE_FLOOR);
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&before);
    let sum = digest[..16].iter().map(|byte| format!("{byte:02x}"));
    let changed = format!("{before},\"sum\":\"{}\"}}", sum.collect::<String>());
    fs::write(file, text.replace(line, &changed)).unwrap();
}

/// Bits flip on a disk: whatever the file has lost, the application starts, with pins.
#[test]
fn an_application_starts_with_any_damaged_line() {
    let fixture = Fixture::with_bundle_5();
    let bytes = fs::read(fixture.file()).unwrap();
    let lines = bytes.split(|byte| *byte == b'\n').count() - 1;
    for line in 1..lines {
        let mut number = 0;
        let mut damaged = bytes.clone();
        for byte in &mut damaged {
            if *byte == b'\n' {
                number += 1;
            } else if number == line && *byte == b':' {
                *byte = b';';
            }
        }
        fs::write(fixture.file(), &damaged).unwrap();
        let (store, error) = PinStore::open_or_recover(FileStorage::new(fixture.file()));
        let is_last = line + 1 == lines;
        assert_eq!(error.is_some(), !is_last, "line {line}: {error:?}");
        let app = App::start(&fixture.operator, &body(2), store);
        let (in_effect, floor) = app.versions();
        assert!(
            floor >= in_effect && in_effect >= version(1, 2),
            "line {line}"
        );
        assert_eq!(
            unreadable(&app.events()).is_empty(),
            in_effect == floor,
            "line {line}"
        );
        app.pinning.apply_bundle(&fixture.sign(6)).unwrap();
        assert_in_effect(&app, 6);
    }
}

#[test]
fn two_processes_agree_on_the_newest_bundle() {
    let fixture = Fixture::new();
    let start = || App::beside_others(&fixture.operator, &body(1), &fixture.file());
    let [one, other] = [start(), start()];
    for number in 2..12 {
        let (app, follows) = if number % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        app.pinning.apply_bundle(&fixture.sign(number)).unwrap();
        follows.wait_for(version(1, number.into()));
        assert_in_effect(follows, number);
    }
    let counts = [&one, &other].map(|app| app.status().counts.applied);
    assert!(counts.iter().max() <= Some(&10), "{counts:?}");
}

#[test]
fn two_processes_count_together() {
    let fixture = Fixture::new();
    let [one, other] = fixture.start_two();
    for _ in 0..3 {
        one.pinning.apply_bundle(b"").unwrap_err();
    }
    one.pinning.store().flush().unwrap();
    other.pinning.apply_bundle(&fixture.sign(2)).unwrap();
    let counts = other.status().counts;
    assert_eq!((counts.applied, counts.refused), (1, 3));
}

/// Neither reads what the other has written before it writes itself.
#[test]
fn the_first_of_two_processes_wins() {
    for (first, second) in [(5, 4), (5, 5)] {
        let fixture = Fixture::new();
        let [one, other] = fixture.start_two();
        one.pinning.apply_bundle(&fixture.sign(first)).unwrap();
        let is_other = first == second;
        let late = body(second).with("comment", 1);
        let error = other
            .pinning
            .apply_bundle(&fixture.operator.sign(&late))
            .unwrap_err();
        match error {
            BundleError::Rollback { .. } => assert!(!is_other),
            BundleError::Equivocation { .. } => assert!(is_other),
            error => panic!("{error}"),
        }
        for app in [&one, &other, &fixture.start(&body(1))] {
            assert_in_effect(app, first);
        }
    }
    // Both fetch the same bundle.
    let fixture = Fixture::new();
    let [one, other] = fixture.start_two();
    for app in [&one, &other] {
        let outcome = app.pinning.apply_bundle(&fixture.sign(5)).unwrap();
        assert_eq!(outcome, BundleOutcome::Applied(version(1, 5)));
        assert_in_effect(app, 5);
    }
}

/// What the other has written becomes known between the check of a bundle and its commit.
#[test]
fn a_bundle_that_became_old_before_it_was_written_does_not_lower_the_floor() {
    for _ in 0..20 {
        let fixture = Fixture::new();
        let [one, other] = [(), ()].map(|()| fixture.start(&body(1)));
        one.pinning.apply_bundle(&fixture.sign(5)).unwrap();
        let error = other.pinning.apply_bundle(&fixture.sign(4)).unwrap_err();
        assert!(matches!(error, BundleError::Rollback { .. }), "{error}");
        for app in [&one, &other, &fixture.start(&body(1))] {
            assert_in_effect(app, 5);
        }
    }
}

/// An update of the application may bring policies that a stored bundle can't be united with.
#[test]
fn a_stored_bundle_that_contradicts_a_new_release_does_not_keep_it_from_starting() {
    let fixture = Fixture::new();
    let bundle = fixture.operator.sign(&body(2).with("pins", GROUPS));
    let first = fixture.start(&body(1));
    first.pinning.apply_bundle(&bundle).unwrap();
    drop(first);
    let builder = Pinning::builder().bundles(fixture.operator.bundles(&body(1)));
    let store = PinStore::open(FileStorage::new(fixture.file())).unwrap();
    let app = App::build(builder.overlap(Overlap::Union).store(store));
    assert_eq!(app.versions(), (version(1, 1), version(1, 2)));
    assert_eq!(app.pins(), pins(1));
    assert_eq!(unreadable(&app.events()), [(2, 1)]);
    app.pinning.apply_bundle(&fixture.sign(3)).unwrap();
    assert_in_effect(&app, 3);
}

/// A device whose battery was empty, or whose clock was set by hand.
#[test]
fn pins_are_enforced_whatever_the_clock_shows() {
    let operator = Operator::default();
    let host = Host::parse(HOST).unwrap();
    let apps = ["enforce", "report-only", "built-in"].map(|when_stale| {
        let app = App::in_memory(&operator, &body(1));
        let stale = body(2).with("when_stale", format!("\"{when_stale}\""));
        app.pinning.apply_bundle(&operator.sign(&stale)).unwrap();
        app
    });
    for (now, is_stale) in [(0, false), (ISSUED - DAY, false), (2_208_988_800, true)] {
        for (app, expected) in apps.iter().zip([Some(2), None, Some(1)]) {
            app.clock.set(now);
            assert_eq!(app.status().is_stale, is_stale, "{now}");
            let expected = if is_stale { expected } else { Some(2) };
            let policies = app.pinning.policies(&host, at(now));
            let policy = policies.static_policy.unwrap();
            let is_enforced = policy.state == pinhold::policy::PolicyState::Enforced;
            assert_eq!(is_enforced, expected.is_some(), "{now}");
            if let Some(number) = expected {
                let found = policy.pins.iter().copied().collect::<Vec<_>>();
                assert_eq!(found, pins(number), "{now}");
            }
            // A bundle is accepted by its version, not by the time.
            let error = app
                .pinning
                .apply_bundle(&operator.sign(&body(1)))
                .unwrap_err();
            assert!(matches!(error, BundleError::Rollback { .. }), "{error}");
        }
    }
    let app = App::in_memory(&operator, &body(1));
    app.clock.set(0);
    app.pinning.apply_bundle(&operator.sign(&body(2))).unwrap();
    assert_in_effect(&app, 2);
    app.clock.set(2_208_988_800);
    app.pinning.apply_bundle(&operator.sign(&body(3))).unwrap();
    let stale = app.events();
    let stale = stale
        .iter()
        .filter(|event| matches!(event, Event::BundleStale { .. }));
    assert_eq!((stale.count(), app.status().counts.stale), (1, 1));
}

#[test]
fn a_file_with_large_bundles_does_not_grow_without_limit() {
    let fixture = Fixture::new();
    let app = fixture.start(&body(1));
    let comment = ["\"", &"x".repeat(PinBundle::MAX_SIZE - 1000), "\""].concat();
    for number in 2..22 {
        let large = body(number).with("comment", &comment);
        app.pinning
            .apply_bundle(&fixture.operator.sign(&large))
            .unwrap();
    }
    drop(app);
    let app = fixture.start(&body(1));
    assert_in_effect(&app, 21);
    let len = fs::metadata(fixture.file()).unwrap().len();
    assert!(len < 8 << 20, "{len}");
    app.pinning.apply_bundle(&fixture.sign(22)).unwrap();
    let texts = records(&fixture.file());
    let texts = texts.iter().filter(|it| it.kind() == Record::BUNDLE_TEXT);
    assert_eq!(texts.count(), 1);
}

/// The writer thread owns the last handle for a moment, while it loads a bundle.
#[test]
fn the_last_handle_can_be_dropped_at_any_moment() {
    let fixture = Fixture::new();
    let (sender, errors) = std::sync::mpsc::channel();
    for number in 2..50 {
        let sender = sender.clone();
        let builder = PinStore::builder().on_error(move |error| drop(sender.send(error.clone())));
        let store = builder.open(FileStorage::new(fixture.file())).unwrap();
        let app = App::start(&fixture.operator, &body(1), store);
        app.pinning.apply_bundle(&fixture.sign(number)).unwrap();
        let _ = app.pinning.apply_bundle(b"");
    }
    drop(sender);
    // Ends when the last writer thread has ended.
    let errors = errors.iter().collect::<Vec<_>>();
    assert!(errors.is_empty(), "{errors:?}");
}
