//! The cost of noted pins: a lookup, opening the file, a durable change, a compaction, and the memory. The memory
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
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use figures::{Cost, Figures, compare, cpu_time, wall_time};
use own_storage::RedbStorage;
use pinhold::policy::KnownPinnedHost;
use pinhold::storage::{Change, Merged, Record, Storage, StorageError};
use pinhold::{FileStorage, Host, PinSet, PinStore, SpkiFingerprint};
use rustls::pki_types::UnixTime;
use serde_json::Value;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    // The files are in the build folder, because `/tmp` may be in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut results = Results::default();
    for size in [
        Size("1k", 1_000),
        Size("100k", 100_000),
        Size("1M", 1_000_000),
    ] {
        memory(folder.path(), size, &mut results);
    }
    for size in LOOKUP_SIZES {
        lookup(size, &mut results);
    }
    for (size, rounds) in [(Size("1k", 1_000), 201), (Size("100k", 100_000), 11)] {
        open(folder.path(), size, rounds, &mut results);
    }
    for (size, rounds) in NOTES {
        note(folder.path(), size, rounds, &mut results);
    }
    amortised(folder.path(), &mut results);
    compaction(folder.path(), Size("1M", 1_000_000), &mut results);
    results.figures.conclude();
    println!("\nMedians of this run:");
    results.medians.iter().for_each(|line| println!("{line}"));
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

/// Size and rounds. The number of rounds is odd, so that the median is one of them.
const NOTES: [(Size, u32); 4] = [
    (Size("1k", 1_000), 201),
    (Size("10k", 10_000), 201),
    (Size("100k", 100_000), 201),
    (Size("1M", 1_000_000), 101),
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
        .add(&format!("memory/bytes-per-host/{size}"), each, "<=120");
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
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        Ok(self.0.drain(..).map(|known| Record::from(&known)).collect())
    }

    fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
        Ok(Merged::Nothing)
    }
}

/// Compares [`PinStore::open`] on a file with parsing the same lines by `serde_json`.
fn open(folder: &Path, Size(size, hosts): Size, rounds: u32, results: &mut Results) {
    let path = folder.join("open.jsonl");
    write_file(&path, hosts);
    let [json, ours] = compare(rounds, |_, variant| match variant {
        0 => cpu_time(|| {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines();
            let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.collect::<Vec<_>>()
        }),
        _ => cpu_time(|| PinStore::open(FileStorage::new(&path)).unwrap()),
    });
    let label = format!("open/{size}");
    results.figures.add(&label, ours.ratio, "<=2");
    let [json, ours] = [json, ours].map(|cost| cost.seconds * 1e3);
    results
        .medians
        .push(format!("{label}: {ours:.2} ms, serde_json {json:.2} ms"));
}

/// Compares one durable change of a store on a file, and of one on redb, with an append of 4 KiB and
/// fdatasync.
fn note(folder: &Path, Size(size, hosts): Size, rounds: u32, results: &mut Results) {
    let entries = entries(hosts);
    let mut floor = Floor::new(&folder.join(format!("floor-{size}")));
    let database = write_database(&folder.join(format!("{size}.redb")), &entries);
    let path = folder.join(format!("{size}.jsonl"));
    write_file(&path, hosts);
    let in_database = PinStore::open(database).unwrap();
    let in_file = PinStore::open(FileStorage::new(&path)).unwrap();
    let [floor, redb, file] = compare(rounds, |round, variant| {
        let host = &entries.get(round).unwrap().host;
        match variant {
            0 => wall_time(|| floor.append()),
            1 => wall_time(|| change(&in_database, host)),
            _ => wall_time(|| change(&in_file, host)),
        }
    });
    drop(in_file);
    let left = FileStorage::new(path).load().unwrap().len();
    assert_eq!(left, entries.len() - usize::try_from(rounds).unwrap());
    results
        .figures
        .add(&format!("note/{size}"), file.ratio, "<=1.5");
    results
        .figures
        .add(&format!("note/redb/{size}"), redb.ratio, "info");
    let [floor, redb, file] = [floor, redb, file].map(|cost| cost.seconds * 1e3);
    results.medians.push(format!(
        "note/{size}: file {file:.3} ms, redb {redb:.3} ms, 4 KiB appended {floor:.3} ms"
    ));
}

/// Compares many durable changes, with the compactions that they cause, with as many appends.
fn amortised(folder: &Path, results: &mut Results) {
    let entries = entries(1_000);
    let path = folder.join("amortised.jsonl");
    write_file(&path, 1_000);
    let mut floor = Floor::new(&folder.join("floor-amortised"));
    let mut storage = FileStorage::new(&path);
    storage.load().unwrap();
    let [_, file] = compare(11, |_, variant| match variant {
        0 => wall_time(|| (0..1_000).for_each(|_| floor.append())),
        _ => wall_time(|| {
            for entry in &entries {
                storage.commit(&[Change::put(Record::from(entry))]).unwrap();
                storage.compact().unwrap();
            }
        }),
    });
    results.figures.add("amortised/1k", file.ratio, "<=2");
}

/// Measures how long a second process waits for a commit while this one compacts the file.
fn compaction(folder: &Path, Size(size, hosts): Size, results: &mut Results) {
    let path = folder.join("compaction.jsonl");
    write_file(&path, hosts);
    let mut storage = FileStorage::new(&path);
    for _ in 0..2 {
        let again = entries(hosts);
        let changes = again.iter().map(|entry| Change::put(Record::from(entry)));
        storage.commit(&changes.collect::<Vec<_>>()).unwrap();
    }
    let mut other = FileStorage::new(&path);
    other.load().unwrap();
    let (mut slowest, mut commits) = (Duration::ZERO, 0_u32);
    let elapsed = std::thread::scope(|scope| {
        let compacting = scope.spawn(|| wall_time(|| storage.compact().unwrap()));
        while !compacting.is_finished() {
            let entry = entries(1).remove(0);
            let change = Change::put(Record::from(&entry));
            slowest = slowest.max(wall_time(|| drop(other.commit(&[change]).unwrap())));
            commits += 1;
        }
        compacting.join().unwrap()
    });
    let after = wall_time(|| drop(other.commit(&[]).unwrap()));
    results.medians.push(format!(
        "compaction/{size}: {:.0} ms, {commits} commits of a second process meanwhile, the slowest \
         {:.1} ms; its first commit after that, which reads the new file, {:.0} ms",
        elapsed.as_secs_f64() * 1e3,
        slowest.as_secs_f64() * 1e3,
        after.as_secs_f64() * 1e3,
    ));
}

fn change(store: &PinStore, host: &Host) {
    store.forget(host).unwrap();
    store.flush().unwrap();
}

/// The minimum cost of a durable change: one page that is appended and synced.
struct Floor(File);

impl Floor {
    fn new(path: &Path) -> Self {
        Self(File::create_new(path).unwrap())
    }

    fn append(&mut self) {
        self.0.write_all(&[u8::MAX; 4096]).unwrap();
        self.0.sync_data().unwrap();
    }
}

/// Replaces the file by one with this number of hosts.
fn write_file(path: &Path, hosts: u32) {
    let _ = fs::remove_file(path);
    let entries = entries(hosts);
    let changes = entries.iter().map(|entry| Change::put(Record::from(entry)));
    let mut storage = FileStorage::new(path);
    storage.commit(&changes.collect::<Vec<_>>()).unwrap();
}

fn write_database(path: &Path, entries: &[KnownPinnedHost]) -> RedbStorage {
    let changes = entries.iter().map(|entry| Change::put(Record::from(entry)));
    let changes = changes.collect::<Vec<_>>();
    let mut database = RedbStorage::open(path).unwrap();
    database.commit(&changes).unwrap();
    database
}

/// Returns entries with two pins each, sorted by name.
fn entries(hosts: u32) -> Vec<KnownPinnedHost> {
    let mut random = Random(1);
    let entry = |number| {
        let pins = PinSet::new([random.pin(), random.pin()]).unwrap();
        let expires_at = UnixTime::since_unix_epoch(Duration::from_secs(NOW + 60 * 86_400));
        KnownPinnedHost::new(host(number), pins, now(), expires_at).include_subdomains()
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
