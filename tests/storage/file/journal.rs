//! The format of a file, its compaction, and records of kinds that this version does not know.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pinhold::policy::KnownPinnedHost;
use pinhold::storage::{
    Change, Corruption, Merged, Record, Recovered, Storage, StorageError, Update,
};
use pinhold::{FileStorage, PinStore};
use proptest::prelude::*;

use super::{fixture, names, note_d_example, open};
use crate::common::noted::temp_dir;
use crate::common::{NOW, at};

/// The checksums of both files were computed by another program, from the specification alone.
const GOLDEN: &[u8] = include_bytes!("../../formats/v2.jsonl");
/// A file whose lines leave the first two records of the other one.
const HISTORY: &[u8] = include_bytes!("../../formats/v2-history.jsonl");

/// Writes the bytes to a file in a new folder, and loads it.
fn load(
    bytes: &[u8],
) -> (
    Result<Vec<Record>, StorageError>,
    FileStorage,
    tempfile::TempDir,
) {
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    fs::write(&file, bytes).unwrap();
    let mut storage = FileStorage::new(file);
    (storage.load(), storage, folder)
}

fn keys(records: &[Record]) -> BTreeSet<(&str, &str)> {
    let keys = records.iter().map(|record| (record.kind(), record.key()));
    keys.collect()
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Writes the records to a new file, and returns its lines after the header.
fn written(records: &[Record]) -> Vec<u8> {
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let changes = records.iter().cloned().map(Change::put);
    let mut storage = FileStorage::new(&file);
    let merged = storage.commit(&changes.collect::<Vec<_>>());
    assert_eq!(merged.unwrap(), Merged::Nothing);
    lines(&fs::read(file).unwrap())[1..].concat()
}

#[test]
fn version_2_is_written_and_read_byte_for_byte() {
    let (records, ..) = load(GOLDEN);
    let records = records.unwrap();
    let mut hosts = records
        .iter()
        .filter_map(|record| KnownPinnedHost::try_from(record).ok())
        .collect::<Vec<_>>();
    hosts.sort_by_key(|known| known.host.to_string());
    let [api, idn] = &hosts[..] else {
        panic!("{hosts:?}");
    };
    assert_eq!(api.host.as_str(), "api.example.com");
    assert_eq!(
        api.report_uri.as_ref().unwrap().as_str(),
        "https://r.example/pins?a=%22b"
    );
    assert!(api.includes_subdomains && api.is_confirmed() && !idn.is_confirmed());
    assert_eq!(
        (api.noted_at, api.expires_at),
        (at(1_700_000_000), at(1_705_184_000))
    );
    assert_eq!((idn.noted_at, idn.expires_at), (at(0), at(253_402_300_799)));
    let mut expected = records;
    expected.sort_by_key(|record| (record.kind() != "noted-pins", record.key().to_owned()));
    assert_eq!(written(&expected), lines(GOLDEN)[1..].concat());
}

#[test]
fn the_last_update_of_a_key_counts_and_a_clearing_removes_what_came_before_it() {
    let (records, ..) = load(HISTORY);
    let (golden, ..) = load(GOLDEN);
    let (records, golden) = (records.unwrap(), golden.unwrap());
    // The clearing begins after the record of the other kind.
    assert_eq!(keys(&records), keys(&golden));
    let earlier = String::from_utf8(HISTORY.to_vec()).unwrap();
    let (rest, _) = earlier.trim_end().rsplit_once('\n').unwrap();
    let (all, ..) = load(rest.as_bytes());
    assert_eq!(all.unwrap().len(), 3);
}

/// A newer version of pinhold may store other kinds in the same file.
#[test]
fn records_of_an_unknown_kind_survive_commits_merges_recovery_and_compaction() {
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    fs::write(&file, GOLDEN).unwrap();
    let has_line = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        lines(&bytes).contains(&lines(GOLDEN)[3])
    };
    let (one, other) = (open(&file).unwrap(), open(&file).unwrap());
    for store in [&one, &other] {
        note_d_example(store, NOW);
        store.flush().unwrap();
        store.clear();
        store.flush().unwrap();
        assert!(has_line(&file) && names(store).is_empty());
    }
    let bytes = fs::read(&file).unwrap();
    let repeated = lines(&bytes)[1..].concat().repeat(200);
    fs::write(&file, [lines(&bytes)[0], &repeated].concat()).unwrap();
    let mut storage = FileStorage::new(&file);
    storage.load().unwrap();
    storage.compact().unwrap();
    let compacted = fs::read(&file).unwrap();
    assert_eq!(lines(&compacted).len(), 2);
    assert!(has_line(&file));
    fs::write(&file, &compacted[3..]).unwrap();
    let (_, error) = PinStore::open_or_recover(FileStorage::new(&file));
    assert!(error.is_some() && has_line(&file));
}

/// Another process replaces the file while the store is open.
#[test]
fn a_process_notices_a_compaction_by_another_one() {
    let fixture = fixture();
    let one = open(&fixture.file).unwrap();
    let header = fixture.lines()[0];
    let repeated = fixture.lines()[1..].concat().repeat(100);
    fs::write(&fixture.file, [header, &repeated].concat()).unwrap();
    let other = open(&fixture.file).unwrap();
    other.forget(fixture.hosts.host(0));
    other.flush().unwrap();
    note_d_example(&other, NOW);
    drop(other);
    assert!(fs::metadata(&fixture.file).unwrap().len() < 3000);
    one.forget(fixture.hosts.host(1));
    one.flush().unwrap();
    for store in [&one, &open(&fixture.file).unwrap()] {
        assert_eq!(names(store), ["c.example", "d.example"]);
    }
}

/// Two storages on one file: what one appends while the other compacts is kept, and read later.
#[test]
fn what_is_appended_since_the_last_read_is_kept_by_a_compaction() {
    let fixture = fixture();
    let header = fixture.lines()[0];
    let repeated = fixture.lines()[1..].concat().repeat(100);
    fs::write(&fixture.file, [header, &repeated].concat()).unwrap();
    let mut storage = FileStorage::new(&fixture.file);
    storage.load().unwrap();
    let other = open(&fixture.file).unwrap();
    // Not compacted by the other one itself.
    let lock = fs::File::create(fixture.folder.path().join("pins.jsonl.compact.lock")).unwrap();
    lock.lock().unwrap();
    note_d_example(&other, NOW);
    other.forget(fixture.hosts.host(0));
    other.flush().unwrap();
    drop((other, lock));
    storage.compact().unwrap();
    assert!(fs::metadata(&fixture.file).unwrap().len() < 3000);
    let expected = ["b.example", "c.example", "d.example"];
    assert_eq!(names(&open(&fixture.file).unwrap()), expected);
    let Merged::Updates(updates) = storage.pull().unwrap() else {
        panic!("the file was read as a whole");
    };
    assert!(
        updates
            .iter()
            .any(|update| matches!(update, Update::Removed { .. }))
    );
}

/// A user deletes the file while the application runs.
#[test]
fn a_file_that_is_removed_is_written_again_with_all_entries() {
    let fixture = fixture();
    let store = open(&fixture.file).unwrap();
    fs::remove_file(&fixture.file).unwrap();
    store.forget(fixture.hosts.host(0));
    store.flush().unwrap();
    for store in [&store, &open(&fixture.file).unwrap()] {
        assert_eq!(names(store), ["b.example", "c.example"]);
    }
}

#[test]
fn every_prefix_of_a_file_has_the_records_of_its_whole_lines() {
    for len in 0..=GOLDEN.len() {
        let (records, ..) = load(&GOLDEN[..len]);
        let whole = lines(&GOLDEN[..len])
            .iter()
            .filter(|line| line.ends_with(b"\n"))
            .count();
        // A line without its line feed is whole, too.
        let lacks_end = len < GOLDEN.len() && GOLDEN[len] == b'\n' && whole > 0;
        match (records, len) {
            (
                Err(StorageError::Corrupt {
                    corruption: Corruption::Empty,
                    ..
                }),
                0,
            ) => {}
            (
                Err(StorageError::Corrupt {
                    corruption: Corruption::Header,
                    ..
                }),
                _,
            ) if whole == 0 => {}
            (Ok(records), _) if whole > 0 => {
                assert_eq!(records.len(), whole - 1 + usize::from(lacks_end), "{len}");
            }
            (other, _) => panic!("{len}: {other:?}"),
        }
    }
}

/// A flipped bit in the last line can't be distinguished from what a crash leaves of a commit.
#[test]
fn a_flipped_bit_costs_the_record_of_its_line_only_and_is_detected_before_the_last_line() {
    let (whole, ..) = load(GOLDEN);
    let whole = whole.unwrap();
    let last_line = GOLDEN.len() - lines(GOLDEN)[3].len() - 1;
    for bit in 0..GOLDEN.len() * 8 {
        let mut bytes = GOLDEN.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (loaded, mut storage, _folder) = load(&bytes);
        assert!(loaded.is_err() || bit / 8 >= last_line, "bit {bit}");
        let left = match loaded {
            Ok(records) => records,
            // A repair syncs files, which takes long.
            Err(StorageError::Corrupt { readable, .. }) if bit % 41 > 0 => {
                assert!(readable + 2 >= whole.len(), "bit {bit}");
                continue;
            }
            Err(error) => match storage.recover(error).0 {
                Recovered::Stored(records) | Recovered::InMemory(records) => records,
                other => panic!("{other:?}"),
            },
        };
        assert!(
            left.iter().all(|record| whole.contains(record)),
            "bit {bit}"
        );
        // Without its line feed a line makes the next one unreadable, too.
        let lost = 1 + usize::from(GOLDEN[bit / 8] == b'\n');
        assert!(left.len() + lost >= whole.len(), "bit {bit}");
    }
}

#[test]
fn the_kind_of_corruption_is_detected_and_the_readable_records_are_counted() {
    let [header, api, idn, future] = lines(GOLDEN)[..] else {
        panic!("four lines");
    };
    let other_header = [&header[..60], b"00", &header[62..]].concat();
    for (bytes, corruption, readable) in [
        (b"".to_vec(), Corruption::Empty, 0),
        (b"\n".to_vec(), Corruption::NotAStoreFile, 0),
        (b"\0\0\0\0".to_vec(), Corruption::Header, 0),
        (b"\0\0\0\x01".to_vec(), Corruption::NotAStoreFile, 0),
        (b"{".to_vec(), Corruption::Header, 0),
        (b"{\n".to_vec(), Corruption::NotAStoreFile, 0),
        (b"{}\n".to_vec(), Corruption::NotAStoreFile, 0),
        ([api, idn].concat(), Corruption::Header, 2),
        ([api, header, idn].concat(), Corruption::Header, 2),
        ([header, b"x\n", idn].concat(), Corruption::Line(2), 1),
        (
            [header, api, &idn[1..], future].concat(),
            Corruption::Line(3),
            2,
        ),
        (
            [header, api, b"\n", future].concat(),
            Corruption::Line(3),
            2,
        ),
        ([&other_header, api].concat(), Corruption::Header, 1),
        ([b" ", header, api].concat(), Corruption::Header, 1),
    ] {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        match load(&bytes).0 {
            Err(StorageError::Corrupt {
                corruption: found,
                readable: count,
                ..
            }) => {
                assert_eq!((found, count), (corruption, readable), "{shown}");
            }
            other => panic!("{shown}: {other:?}"),
        }
    }
}

/// Version 1 was never released.
#[test]
fn a_file_of_version_1_is_left_unchanged_and_its_version_is_named() {
    let bytes =
        b"{\"format\":\"pinhold\",\"version\":1,\"entries\":0,\"digest\":\"\",\"sum\":\"\"}\n";
    let (loaded, mut storage, folder) = load(bytes);
    let is_version_1 =
        |error: &StorageError| matches!(error, StorageError::UnknownVersion { version: 1, .. });
    let error = loaded.unwrap_err();
    assert!(is_version_1(&error), "{error:?}");
    assert!(is_version_1(&storage.commit(&[]).unwrap_err()));
    let (recovered, error) = storage.recover(error);
    assert_eq!(recovered, Recovered::InMemory(Vec::new()));
    assert!(is_version_1(&error));
    assert_eq!(fs::read(folder.path().join("pins.jsonl")).unwrap(), bytes);
}

/// A record that passes its checksum is never removed because this version can't read its value.
#[test]
fn noted_pins_that_can_not_be_read_are_reported_and_kept() {
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let newer = Record::new(Record::NOTED_PINS, "a.example", r#"{"pins":[]}"#, at(NOW)).unwrap();
    let change = Change::put(newer);
    // The storage of a newer version would write it.
    let known = open_golden(&file);
    let mut text = fs::read(&file).unwrap();
    let line = br#"{"kind":"noted-pins","key":"a.example","time":"2023-11-14T22:13:20Z","value":{"pins":[]}"#;
    let sum = <sha2::Sha256 as sha2::Digest>::digest(line);
    let sum = sum[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    text.extend([line, format!(",\"sum\":\"{sum}\"}}\n").as_bytes()].concat());
    fs::write(&file, &text).unwrap();
    assert_eq!(change.resolve(None), None);
    let is_unreadable = |error: &StorageError| matches!(error, StorageError::Unreadable { host, count: 1 } if host == "a.example");
    let error = open(&file).unwrap_err();
    assert!(is_unreadable(&error), "{error:?}");
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    assert!(error.as_ref().is_some_and(is_unreadable), "{error:?}");
    assert_eq!(names(&store), known);
    note_d_example(&store, NOW);
    store.flush().unwrap();
    assert!(fs::read(&file).unwrap().starts_with(&text));
}

/// Writes the golden file, and returns the names of its hosts.
fn open_golden(file: &Path) -> Vec<String> {
    fs::write(file, GOLDEN).unwrap();
    names(&open(file).unwrap())
}

fn record() -> impl Strategy<Value = Record> {
    let value = "[ -!#-\\[\\]-~]{1,40}";
    (
        "[a-z][a-z0-9-]{0,20}",
        "[a-z0-9.]{1,20}",
        value,
        0_u64..253_402_300_800,
    )
        .prop_map(|(kind, key, value, seconds)| {
            Record::new(&kind, &key, &format!("\"{value}\""), at(seconds)).unwrap()
        })
}

proptest! {
    // 7469-2.3.3-f
    #[test]
    fn what_was_written_is_read(records in proptest::collection::vec(record(), 0..6)) {
        let (loaded, ..) = load(&[lines(GOLDEN)[0], &written(&records)].concat());
        let mut expected = Vec::<Record>::new();
        for record in records {
            expected.retain(|known| (known.kind(), known.key()) != (record.kind(), record.key()));
            expected.push(record);
        }
        let loaded = loaded.unwrap();
        prop_assert_eq!(loaded.len(), expected.len());
        prop_assert!(expected.iter().all(|record| loaded.contains(record)));
    }

    #[test]
    fn arbitrary_bytes_cause_no_panic_and_no_pins(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        has_header in any::<bool>(),
    ) {
        let header = if has_header { lines(GOLDEN)[0] } else { b"" };
        let (loaded, ..) = load(&[header, &bytes].concat());
        match loaded {
            Ok(records) => prop_assert!(has_header && records.is_empty()),
            Err(StorageError::Corrupt { readable, .. }) => prop_assert_eq!(readable, 0),
            Err(_) => {}
        }
    }
}
