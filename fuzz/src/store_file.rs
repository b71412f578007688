//! Files of noted pins: loaded, recovered, changed and compacted.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use pinhold::FileStorage;
use pinhold::rustls::pki_types::UnixTime;
use pinhold::storage::{Change, Record, Recovered, Storage, StorageError};
use ring::digest::{SHA256, digest};

/// The input is a file. A line that ends in `~` gets a valid checksum in place of that.
///
/// # Panics
///
/// If loading, recovering or changing the file panics or loses a readable record; if a record is
/// loaded that no line with a valid checksum has; or if a file of another kind is changed.
pub fn target(data: &[u8]) {
    let bytes = with_checksums(data);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pins.jsonl");
    fs::write(&path, &bytes).expect("writable");
    let mut storage = FileStorage::new(&path);
    let records = match storage.load() {
        Ok(records) => records,
        Err(error) => match recover(&mut storage, error) {
            Some(records) => records,
            None => return assert_eq!(fs::read(&path).expect("readable"), bytes),
        },
    };
    let expected = by_id(&records);
    assert_eq!(expected.len(), records.len(), "one record of each key");
    let written = values(&bytes);
    assert!(
        records
            .iter()
            .all(|record| written.contains(&value(record)))
    );

    assert_eq!(loaded(&path), expected);
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
    let added = Record::new("fuzzed", "key", "1", time).expect("valid");
    let mut after = expected;
    after.insert(("fuzzed".to_owned(), "key".to_owned()), added.clone());
    storage.commit(&[Change::put(added)]).expect("stored");
    assert_eq!(loaded(&path), after);
    storage.compact().expect("compacted");
    assert_eq!(loaded(&path), after);
}

/// Returns the recovered records; `None` if the file is left unchanged.
fn recover(storage: &mut FileStorage, error: StorageError) -> Option<Vec<Record>> {
    let expected = match &error {
        StorageError::Corrupt { readable, .. } => *readable,
        _ => 0,
    };
    match storage.recover(error).0 {
        Recovered::Stored(records) => {
            assert_eq!(records.len(), expected, "the count in the message");
            Some(records)
        }
        _ => None,
    }
}

type ById = HashMap<(String, String), Record>;

fn by_id(records: &[Record]) -> ById {
    let id = |record: &Record| (record.kind().to_owned(), record.key().to_owned());
    records
        .iter()
        .map(|record| (id(record), record.clone()))
        .collect()
}

fn loaded(path: &Path) -> ById {
    by_id(&FileStorage::new(path).load().expect("the file is intact"))
}

fn value(record: &Record) -> (String, String, String) {
    let text = [record.kind(), record.key(), record.value()].map(str::to_owned);
    text.into()
}

/// Returns the kinds, keys and values of the lines with a valid checksum, found without pinhold.
fn values(bytes: &[u8]) -> Vec<(String, String, String)> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let records = lines.filter_map(|line| {
        let text = str::from_utf8(line).ok()?;
        let (content, sum) = text.rsplit_once(",\"sum\":\"")?;
        (sum.strip_suffix("\"}")? == checksum(content.as_bytes())).then_some(())?;
        let value = content.split_once("\"value\":")?.1;
        let rest = content.strip_prefix("{\"kind\":\"")?;
        let (kind, rest) = rest.split_once("\",\"key\":\"")?;
        let (key, _) = rest.split_once('"')?;
        Some((kind.to_owned(), key.to_owned(), value.to_owned()))
    });
    records.collect()
}

fn with_checksums(data: &[u8]) -> Vec<u8> {
    let lines = data.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.map(|line| match line.strip_suffix(b"~\n") {
        Some(text) => {
            let sum = format!(",\"sum\":\"{}\"}}\n", checksum(text));
            [text, sum.as_bytes()].concat()
        }
        None => line.to_vec(),
    });
    lines.collect::<Vec<_>>().concat()
}

fn checksum(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest.as_ref()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
