//! The cost of noted pins: a lookup, opening the file, a durable change, and the memory. The memory
//! is in bytes; each of the others is a ratio to the cost of an alternative in the same run.
//!
//! Prints one line for each figure: `ratio`, name, value and target, separated by tabs; then
//! absolute values. A value is the median of the ratios of many rounds, in each of which all
//! variants run in turn. It is thread CPU time, or wall time where the disk is the limit. The
//! allocator that counts memory adds some nanoseconds per allocation to all variants.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

mod figures;
#[allow(dead_code, reason = "an example, which has its own main")]
#[path = "../examples/own_storage.rs"]
mod own_storage;

use std::alloc::System;
use std::collections::HashMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use figures::{Cost, Figures, compare, cpu_time, wall_time};
use own_storage::RedbStorage;
use pinhold::policy::KnownPinnedHost;
use pinhold::storage::{Batch, Change, Storage, StorageError};
use pinhold::{FileStorage, Host, PinSet, PinStore, SpkiFingerprint};
use rustls::pki_types::UnixTime;
use serde::Deserialize;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    // The files are in the build folder, because `/tmp` may be in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut results = Results::default();
    for size in [Size("1k", 1_000), Size("100k", 100_000)] {
        memory(folder.path(), size, &mut results);
    }
    for size in LOOKUP_SIZES {
        lookup(size, &mut results);
    }
    for (size, rounds) in [(Size("1k", 1_000), 201), (Size("100k", 100_000), 11)] {
        open(folder.path(), size, rounds, &mut results);
    }
    let costs = NOTES.map(|(size, rounds, target)| {
        let cost = note(folder.path(), size, rounds, target, &mut results);
        (size, cost)
    });
    results.figures.conclude();
    println!("\nMedians of this run:");
    results.medians.iter().for_each(|line| println!("{line}"));
    println!("{}", crossing(&costs));
}

/// The ratios, and the absolute values as text.
#[derive(Default)]
struct Results {
    figures: Figures,
    medians: Vec<String>,
}

/// The name and the number of hosts.
#[derive(Clone, Copy)]
struct Size(&'static str, u32);

const LOOKUP_SIZES: [Size; 4] = [
    Size("10", 10),
    Size("1k", 1_000),
    Size("100k", 100_000),
    Size("1M", 1_000_000),
];

/// Size, rounds and target. The number of rounds is odd, so that the median is one of them.
const NOTES: [(Size, u32, &str); 4] = [
    (Size("100", 100), 61, "info"),
    (Size("1k", 1_000), 61, "<=20"),
    (Size("10k", 10_000), 31, "info"),
    (Size("100k", 100_000), 11, "info"),
];

/// Measures the bytes allocated for each host of a store on a file after loading.
fn memory(folder: &Path, Size(size, hosts): Size, results: &mut Results) {
    let path = folder.join("memory.jsonl");
    write_file(&path, hosts);
    let before = live();
    let store = PinStore::open(FileStorage::new(path)).unwrap();
    let each = f64::from(live() - before) / f64::from(hosts);
    drop(store);
    results
        .figures
        .add(&format!("memory/bytes-per-host/{size}"), each, "<=200");
}

fn live() -> u32 {
    let heap = HEAP.stats();
    u32::try_from(heap.bytes_allocated - heap.bytes_deallocated).unwrap()
}

/// Compares [`PinStore::query`] with a plain `HashMap` that is searched by the same superdomains.
fn lookup(Size(size, hosts): Size, results: &mut Results) {
    let entries = entries(hosts);
    let plain = entries.iter().map(Plain::keyed).collect::<HashMap<_, _>>();
    let store = PinStore::open(Preloaded(entries)).unwrap();
    let cases = [
        ("congruent", "host", "example", BATCH),
        ("3-below", "a.b.c.host", "example", BATCH),
        ("miss", "www.other", "test", 0),
    ];
    for (case, before, after, hits) in cases {
        let mut random = Random(7);
        let names = (0..NAMES).map(|_| named(before, random.below(hosts), after));
        let names = names.collect::<Vec<_>>();
        let hot = vec![names.first().unwrap(); BATCH.into()];
        let random = names.iter().collect::<Vec<_>>();
        for (heat, names, target) in [("hot", hot, "<=1.5"), ("random", random, "<=1.25")] {
            let [hash_map, ours] = compare_lookups(&plain, &store, &names, hits);
            let label = format!("lookup/{heat}/{case}/{size}");
            results.figures.add(&label, ours.ratio, target);
            let nanoseconds = |cost: Cost| cost.seconds * 1e9 / f64::from(BATCH);
            let [hash_map, ours] = [hash_map, ours].map(nanoseconds);
            results.medians.push(format!(
                "{label}: {ours:.0} ns, a plain HashMap {hash_map:.0} ns"
            ));
        }
    }
}

fn compare_lookups(
    plain: &HashMap<String, Plain>,
    store: &PinStore,
    names: &[&Host],
    hits: u16,
) -> [Cost; 2] {
    let batches = names.chunks_exact(BATCH.into()).collect::<Vec<_>>();
    compare(LOOKUP_ROUNDS, |round, variant| {
        let names = batches.get(round % batches.len()).unwrap();
        // Brings the names into the cache for both variants.
        black_box(names.iter().filter(|name| name.is_single_label()).count());
        match variant {
            0 => cpu_time(|| walk_all(plain, names, hits)),
            _ => cpu_time(|| query_all(store, names, hits)),
        }
    })
}

fn query_all(store: &PinStore, names: &[&Host], hits: u16) {
    let found = names
        .iter()
        .filter(|name| black_box(store.query(name, now())).is_some());
    assert_eq!(found.count(), usize::from(hits));
}

fn walk_all(plain: &HashMap<String, Plain>, names: &[&Host], hits: u16) {
    let found = names
        .iter()
        .filter(|name| black_box(walk(plain, name.as_str(), now())).is_some());
    assert_eq!(found.count(), usize::from(hits));
}

fn walk<'a>(plain: &'a HashMap<String, Plain>, name: &str, now: UnixTime) -> Option<&'a Plain> {
    let mut is_congruent = true;
    let mut rest = Some(name);
    while let Some(name) = rest {
        if let Some(known) = plain.get(name)
            && now <= known.expires_at
            && (is_congruent || known.includes_subdomains)
        {
            return Some(known);
        }
        is_congruent = false;
        rest = name.split_once('.').map(|(_, parent)| parent);
    }
    None
}

/// An entry of the plain `HashMap`.
struct Plain {
    includes_subdomains: bool,
    expires_at: UnixTime,
    #[expect(dead_code, reason = "it takes space in the table")]
    pins: Box<[SpkiFingerprint]>,
}

impl Plain {
    fn keyed(entry: &KnownPinnedHost) -> (String, Self) {
        let plain = Self {
            includes_subdomains: entry.includes_subdomains,
            expires_at: entry.expires_at,
            pins: entry.pins.iter().copied().collect(),
        };
        (entry.host.to_string(), plain)
    }
}

/// Loads these entries and stores nothing.
struct Preloaded(Vec<KnownPinnedHost>);

impl Storage for Preloaded {
    fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError> {
        Ok(std::mem::take(&mut self.0))
    }

    fn commit(&mut self, _: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
        Ok(None)
    }
}

/// Compares [`PinStore::open`] on a file with parsing the same lines by `serde_json`.
fn open(folder: &Path, Size(size, hosts): Size, rounds: u32, results: &mut Results) {
    let path = folder.join("open.jsonl");
    write_file(&path, hosts);
    let [json, ours] = compare(rounds, |_, variant| match variant {
        0 => cpu_time(|| {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().skip(1);
            let lines = lines.map(|line| serde_json::from_str::<Line>(line).unwrap());
            lines.collect::<Vec<_>>()
        }),
        _ => cpu_time(|| PinStore::open(FileStorage::new(&path)).unwrap()),
    });
    let label = format!("open/{size}");
    results.figures.add(&label, ours.ratio, "<=3");
    let [json, ours] = [json, ours].map(|cost| cost.seconds * 1e3);
    results
        .medians
        .push(format!("{label}: {ours:.2} ms, serde_json {json:.2} ms"));
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is only parsed")]
struct Line {
    host: String,
    pins: Vec<String>,
    include_subdomains: bool,
    report_uri: Option<String>,
    noted_at: String,
    expires_at: String,
    sum: String,
}

/// Compares one durable change of a store on a file, and of one on redb, with 4 KiB overwritten in
/// place. Returns the ratio of the time with the file to that with redb.
fn note(
    folder: &Path,
    Size(size, hosts): Size,
    rounds: u32,
    target: &str,
    results: &mut Results,
) -> f64 {
    // Each change removes one host, so half of the rounds have more hosts than stated, half fewer.
    let entries = entries(hosts + rounds / 2);
    let mut floor = Floor::new(&folder.join(format!("floor-{size}")));
    let database = write_database(&folder.join(format!("{size}.redb")), &entries);
    let path = folder.join(format!("{size}.jsonl"));
    write_file(&path, hosts + rounds / 2);
    let in_database = PinStore::open(database).unwrap();
    let in_file = PinStore::open(FileStorage::new(&path)).unwrap();
    let [floor, redb, file] = compare(rounds, |round, variant| {
        let host = &entries.get(round).unwrap().host;
        match variant {
            0 => wall_time(|| floor.overwrite(round)),
            1 => wall_time(|| change(&in_database, host)),
            _ => wall_time(|| change(&in_file, host)),
        }
    });
    drop(in_file);
    let left = FileStorage::new(path).load().unwrap().len();
    assert_eq!(left, entries.len() - usize::try_from(rounds).unwrap());
    results
        .figures
        .add(&format!("note/{size}"), file.ratio, target);
    results
        .figures
        .add(&format!("note/redb/{size}"), redb.ratio, "info");
    let against = file.seconds / redb.seconds;
    let [floor, redb, file] = [floor, redb, file].map(|cost| cost.seconds * 1e3);
    results.medians.push(format!(
        "note/{size}: file {file:.2} ms, redb {redb:.2} ms, 4 KiB in place {floor:.3} ms"
    ));
    against
}

fn change(store: &PinStore, host: &Host) {
    store.forget(host).unwrap();
    store.flush().unwrap();
}

/// The minimum cost of a durable change: one page overwritten in place and synced.
struct Floor(File);

impl Floor {
    const PAGES: usize = 256;

    fn new(path: &Path) -> Self {
        let mut file = File::create_new(path).unwrap();
        for _ in 0..Self::PAGES {
            file.write_all(&[0; 4096]).unwrap();
        }
        file.sync_all().unwrap();
        Self(file)
    }

    fn overwrite(&mut self, round: usize) {
        let page = u64::try_from(round % Self::PAGES).unwrap();
        self.0.seek(SeekFrom::Start(page * 4096)).unwrap();
        self.0.write_all(&[u8::MAX; 4096]).unwrap();
        self.0.sync_data().unwrap();
    }
}

/// Returns the text that states from how many hosts on redb is faster, interpolated between two of
/// the measured sizes.
fn crossing(costs: &[(Size, f64)]) -> String {
    let slower = costs.iter().position(|(_, cost)| *cost > 1.0);
    let pair = slower.and_then(|at| Some((costs.get(at.checked_sub(1)?)?, costs.get(at)?)));
    let range = match (slower, pair) {
        (None, _) => "at no size".to_owned(),
        (_, Some(((Size(_, few), low), (Size(_, many), high)))) => {
            let part = low.ln() / (low.ln() - high.ln());
            let [few, many] = [few, many].map(|hosts| f64::from(*hosts).ln());
            format!("from {:.0} hosts", (few + part * (many - few)).exp())
        }
        (Some(_), None) => "at every size".to_owned(),
    };
    format!("redb makes a change durable faster than the file {range}")
}

/// Replaces the file by one with this number of hosts.
fn write_file(path: &Path, hosts: u32) {
    let _ = fs::remove_file(path);
    let entries = entries(hosts).into_iter().map(Arc::new).collect::<Vec<_>>();
    let snapshot = || entries.clone();
    FileStorage::new(path)
        .commit(&Batch::new(&[], &snapshot))
        .unwrap();
}

fn write_database(path: &Path, entries: &[KnownPinnedHost]) -> RedbStorage {
    let noted = entries.iter().cloned().map(Change::noted);
    let changes = noted.collect::<Vec<_>>();
    let mut database = RedbStorage::open(path).unwrap();
    database.commit(&Batch::new(&changes, &Vec::new)).unwrap();
    database
}

/// Returns entries with two pins each, sorted by name.
fn entries(hosts: u32) -> Vec<KnownPinnedHost> {
    let text = include_str!("../tests/formats/v1.jsonl").lines().nth(1);
    let template = KnownPinnedHost::from_json(text.unwrap()).unwrap();
    let mut random = Random(1);
    let entry = |number| {
        let mut entry = template.clone();
        entry.host = host(number);
        entry.pins = PinSet::new([random.pin(), random.pin()]).unwrap();
        entry.report_uri = None;
        entry.noted_at = now();
        entry.expires_at = UnixTime::since_unix_epoch(Duration::from_secs(NOW + 60 * 86_400));
        entry
    };
    (0..hosts).map(entry).collect()
}

fn host(number: u32) -> Host {
    named("host", number, "example")
}

fn named(before: &str, number: u32, after: &str) -> Host {
    Host::parse(&format!("{before}-{number:06}.{after}")).unwrap()
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

/// SplitMix64: the same names and pins in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit)).unwrap()
    }

    fn pin(&mut self) -> SpkiFingerprint {
        let words = [(); 4].map(|()| self.next().to_le_bytes());
        SpkiFingerprint::from_digest(words.concat().try_into().unwrap())
    }
}

/// A day in 2027, on which every entry is valid.
const NOW: u64 = 1_800_000_000;
/// Lookups of one variant in one round, few enough that their names stay in the cache of a core.
const BATCH: u16 = 2_048;
/// Random names of one figure, enough that a batch has left the caches before it is repeated.
const NAMES: u32 = 128 * 2_048;
const LOOKUP_ROUNDS: u32 = 1_001;
