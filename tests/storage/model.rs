//! Comparison of the store with a simple model: random operations, the same in every run, by one
//! thread and by 16 threads at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::noted::{Hosts, numbered_pin, pin_number, temp_dir};
use crate::common::{NOW, Random, at};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::policy::{HostMatch, KnownPinnedHost};
use pinhold::{Decision, FileStorage, PinStore, Pinning};

/// The noted pins of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    backup: u64,
    includes_subdomains: bool,
    noted_at: u64,
    expires_at: u64,
}

impl From<&KnownPinnedHost> for Known {
    fn from(entry: &KnownPinnedHost) -> Self {
        Self {
            backup: entry.pins.iter().find_map(pin_number).unwrap(),
            includes_subdomains: entry.includes_subdomains,
            noted_at: entry.noted_at.as_secs(),
            expires_at: entry.expires_at.as_secs(),
        }
    }
}

/// The expected entries by host index, including expired ones.
type Model = BTreeMap<usize, Known>;

struct Operator<'a> {
    hosts: &'a Hosts,
    pinning: Pinning,
    random: Random,
    now: u64,
    model: Model,
}

impl Operator<'_> {
    fn store(&self) -> &PinStore {
        self.pinning.store()
    }

    /// Notes a header that adds, changes, refreshes or removes.
    fn note(&mut self, index: usize) {
        let (backup, max_age) = (self.random.below(3), self.random.below(4) * 30);
        let includes_subdomains = self.random.below(2) == 0;
        let rest = if includes_subdomains {
            format!("max-age={max_age}; includeSubDomains")
        } else {
            format!("max-age={max_age}")
        };
        let value = self.hosts.value(numbered_pin(backup), &rest);
        let was_known = self.live(index).is_some();
        let expected = match (max_age, was_known) {
            (0, true) => Noted::Removed(pinhold::header::RemovalReason::MaxAgeZero),
            (0, false) => Noted::Ignored(IgnoreReason::NotKnown),
            (_, true) => Noted::Refreshed,
            (_, false) => Noted::Added,
        };
        match (max_age, was_known) {
            (0, true) => drop(self.model.remove(&index)),
            (0, false) => {}
            _ => {
                let known = Known {
                    backup,
                    includes_subdomains,
                    noted_at: self.now,
                    expires_at: self.now + max_age,
                };
                self.model.insert(index, known);
            }
        }
        let noted = self.hosts.note(&self.pinning, index, &value, self.now);
        assert_eq!(noted, expected);
    }

    fn live(&self, index: usize) -> Option<&Known> {
        self.model
            .get(&index)
            .filter(|known| self.now <= known.expires_at)
    }

    fn forget(&mut self, index: usize) {
        let forgotten = self.store().forget(self.hosts.host(index));
        let expected = self.model.remove(&index);
        assert_eq!(forgotten.as_deref().map(Known::from), expected);
    }

    /// Asserts that the store has the same entry of a host as the model.
    fn check(&self, index: usize) {
        let host = self.hosts.host(index);
        let found = self.store().query(host, at(self.now));
        assert_eq!(
            found
                .as_ref()
                .map(|(_, entry)| Known::from(&**entry))
                .as_ref(),
            self.live(index)
        );
        assert!(found.is_none_or(|(matched, _)| matched == HostMatch::Congruent));
        let decision = self
            .pinning
            .check(host, self.hosts.chain(index), at(self.now));
        match self.live(index) {
            Some(_) => assert!(matches!(decision, Decision::Pass), "{decision:?}"),
            None => assert!(matches!(decision, Decision::NotPinned), "{decision:?}"),
        }
    }
}

fn open(file: &Path) -> Pinning {
    let builder = PinStore::builder().refresh_delay(Duration::from_millis(1));
    let store = builder.open(FileStorage::new(file)).unwrap();
    let clock = crate::common::Clock::new();
    Pinning::builder()
        .store(store)
        .time_provider(clock)
        .build()
        .unwrap()
}

fn content(store: &PinStore) -> BTreeMap<String, Known> {
    let list = store.list();
    list.iter()
        .map(|entry| (entry.host.to_string(), Known::from(&**entry)))
        .collect()
}

fn named(model: &Model, hosts: &Hosts) -> BTreeMap<String, Known> {
    let named = model
        .iter()
        .map(|(index, known)| (hosts.host(*index).to_string(), known.clone()));
    named.collect()
}

#[test]
fn every_sequence_of_operations_has_the_same_effect_as_on_the_model() {
    let names = ["a.example", "b.example", "c.example", "d.example"];
    let hosts = Hosts::blocking(&names);
    for seed in 0..60 {
        let folder = temp_dir();
        let file = folder.path().join("pins.jsonl");
        let mut operator = Operator {
            hosts: &hosts,
            pinning: open(&file),
            random: Random::new(seed),
            now: NOW,
            model: Model::new(),
        };
        for _ in 0..80 {
            let index = usize::try_from(operator.random.below(4)).unwrap();
            match operator.random.below(12) {
                0..5 => operator.note(index),
                5 => operator.forget(index),
                6 => {
                    let since = operator.now - operator.random.below(40);
                    operator.store().clear_since(at(since));
                    operator.model.retain(|_, known| known.noted_at < since);
                }
                7 => operator.store().flush().unwrap(),
                // The process ends: dropping the last handle writes pending changes.
                8 => {
                    operator.pinning = Pinning::builder().build().unwrap();
                    operator.pinning = open(&file);
                }
                _ => operator.now += operator.random.below(30),
            }
            assert_eq!(
                content(operator.store()),
                named(&operator.model, &hosts),
                "seed {seed}"
            );
            operator.check(index);
        }
    }
}

const THREADS: usize = 16;

/// Each thread has two hosts that no other thread changes, and all threads share one.
#[test]
fn sixteen_threads_lose_no_update() {
    let names = (0..2 * THREADS + 1).map(|index| format!("h{index}.example"));
    let names = names.collect::<Vec<_>>();
    let hosts = Hosts::blocking(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let pinning = open(&file);
    let shared_notes = AtomicUsize::new(0);
    let models = thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| {
            let operator = Operator {
                hosts: &hosts,
                pinning: pinning.clone(),
                random: Random::new(u64::try_from(thread).unwrap()),
                now: NOW,
                model: Model::new(),
            };
            let shared_notes = &shared_notes;
            scope.spawn(move || operate(operator, thread, shared_notes))
        });
        let threads = threads.collect::<Vec<_>>();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    pinning.store().flush().unwrap();
    let expected = models
        .iter()
        .flat_map(|model| named(model, &hosts))
        .collect::<BTreeMap<_, _>>();
    for store in [pinning.store(), open(&file).store()] {
        let mut found = content(store);
        found.remove(hosts.host(2 * THREADS).as_str());
        assert_eq!(found, expected);
    }
    assert!(shared_notes.into_inner() > THREADS);
}

fn operate(mut operator: Operator<'_>, thread: usize, shared_notes: &AtomicUsize) -> Model {
    let shared = 2 * THREADS;
    for _ in 0..150 {
        let own = 2 * thread + usize::try_from(operator.random.below(2)).unwrap();
        match operator.random.below(10) {
            0..4 => operator.note(own),
            4 => operator.forget(own),
            5 => {
                // The first thread adds the entry, the others refresh or remove it. All note it at
                // one time: each thread has a time of its own, and an older header may be ignored.
                let value = operator.hosts.value(numbered_pin(1), "max-age=1000");
                let noted = operator.hosts.note(&operator.pinning, shared, &value, NOW);
                assert!(
                    matches!(noted, Noted::Added | Noted::Refreshed),
                    "{noted:?}"
                );
                shared_notes.fetch_add(1, Ordering::Relaxed);
            }
            6 => drop(operator.store().forget(operator.hosts.host(shared))),
            7 => operator.store().flush().unwrap(),
            _ => operator.now += operator.random.below(20),
        }
        operator.check(own);
    }
    operator.model
}
