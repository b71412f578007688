//! Store files of noted pins, as the tests write and read them.

use std::fs;

use pinhold::policy::KnownPinnedHost;
use pinhold::storage::{Change, Merged, Record, Storage};
use pinhold::{FileStorage, Host, PinSet, SpkiFingerprint};

use crate::common::{NOW, at};
use crate::program::{Folder, Run, run};

/// A committed file of format version 2 with two entries and a record of another kind, of which the first has expired.
pub const V2: &str = include_str!("../../../../tests/formats/v2.jsonl");
/// 31 December 9999.
pub const LAST: u64 = 253_402_300_799;
/// A URL on which no server listens.
pub const UNREACHABLE: &str = "https://127.0.0.1:1/";

/// Runs an action of `pinhold store` with `--json`.
pub fn store(action: &[&str], file: &str) -> Run {
    run([&["store"], action, &["--file", file, "--json"]].concat())
}

/// Returns the hosts that `list` prints.
pub fn hosts(file: &str) -> Vec<String> {
    let json = store(&["list"], file).expect_code(0).json();
    let hosts = json["hosts"].as_array().unwrap().iter();
    let hosts = hosts.map(|known| known["host"].as_str().unwrap().to_owned());
    hosts.collect()
}

/// Writes a file with two live entries, of which the second includes subdomains, and an expired
/// one.
pub fn three_entries(folder: &Folder) -> String {
    let mut with_subdomains = entry("b.example", NOW + 100, LAST);
    with_subdomains.includes_subdomains = true;
    let file = folder.path("noted");
    let live = entry("a.example", NOW, LAST);
    let expired = entry("c.example", NOW + 200, NOW + 300);
    write(&file, &[live, with_subdomains, expired]);
    file
}

pub fn entry(host: &str, noted_at: u64, expires_at: u64) -> KnownPinnedHost {
    let pins = PinSet::new([SpkiFingerprint::from_digest([2; 32])]).unwrap();
    let host = Host::parse(host).unwrap();
    KnownPinnedHost::new(host, pins, at(noted_at), at(expires_at))
}

/// Returns the noted pins of a file.
pub fn stored(file: &str) -> Vec<KnownPinnedHost> {
    let records = FileStorage::new(file).load().unwrap();
    let known = records.iter().map(KnownPinnedHost::try_from);
    known.collect::<Result<_, _>>().unwrap()
}

/// Writes a file with these entries.
pub fn write(file: &str, entries: &[KnownPinnedHost]) {
    let records = entries.iter().map(Record::from);
    let changes = records.map(Change::put).collect::<Vec<_>>();
    // An existing file would be merged with, as if another process had written it.
    let _ = fs::remove_file(file);
    let mut storage = FileStorage::new(file);
    assert_eq!(storage.commit(&changes).unwrap(), Merged::Nothing);
}

/// Returns corrupt files, each with the hosts whose entries are still readable.
pub fn corrupt() -> Vec<(String, Vec<&'static str>)> {
    let (first, second) = ("api.example.com", "xn--bcher-kva.example");
    let (_, without_header) = V2.split_once('\n').unwrap();
    vec![
        (without_header.to_owned(), vec![first, second]),
        (V2[..40].to_owned(), vec![]),
        (String::new(), vec![]),
        // One bit is flipped: in a pin, then in the first line.
        (V2.replacen("AQEB", "AQEC", 1), vec![second]),
        (V2.replacen("format", "formau", 1), vec![first, second]),
    ]
}
