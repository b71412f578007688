//! RFC 7469 sections 2.3.3 and 2.5: known pinned hosts persist when the process ends.

use std::path::Path;
use std::sync::Arc;

use crate::common::noted::{Hosts, file_names, numbered_pin, temp_dir};
use crate::common::recording::{Recorder, with_recorder};
use crate::common::{Clock, DAY, NOW, at};
use pinhold::header::Noted;
use pinhold::policy::KnownPinnedHost;
use pinhold::{Decision, Event, FileStorage, PinStore, Pinning};

/// Opens the file as a process that starts at this time does.
fn start(file: &Path, seconds: u64) -> Pinning {
    let clock = Clock::new();
    clock.set(seconds);
    let store = PinStore::open(FileStorage::new(file)).unwrap();
    let builder = Pinning::builder().time_provider(clock);
    builder.store(store).build().unwrap()
}

fn start_with_recorder(file: &Path, seconds: u64) -> (Pinning, Recorder) {
    let clock = Clock::new();
    clock.set(seconds);
    let store = PinStore::open(FileStorage::new(file)).unwrap();
    with_recorder(Pinning::builder().time_provider(clock).store(store))
}

fn entry(pinning: &Pinning) -> Arc<KnownPinnedHost> {
    let list = pinning.store().list();
    assert_eq!(list.len(), 1);
    list[0].clone()
}

fn times(entry: &KnownPinnedHost) -> (u64, u64) {
    (entry.noted_at.as_secs(), entry.expires_at.as_secs())
}

// 7469-2.3.3-f, 7469-2.5-a
#[tokio::test]
async fn all_metadata_of_a_known_pinned_host_persists() {
    let hosts = Hosts::connect(&["example.com"]).await;
    for rest in [
        "max-age=1000",
        "max-age=2000; includeSubDomains",
        "max-age=3000; report-uri=\"https://r.example/a?b=%22\"",
        "max-age=4000; includeSubDomains; report-uri=\"http://r.example/\"",
    ] {
        let folder = temp_dir();
        let file = folder.path().join("pins.jsonl");
        let first = start(&file, NOW);
        let value = hosts.value(numbered_pin(1), rest);
        assert_eq!(hosts.note(&first, 0, &value, NOW), Noted::Added);
        let known = entry(&first);
        drop(first);
        let second = start(&file, NOW + 10);
        assert_eq!(entry(&second), known, "{rest}");
    }
}

// 7469-2.5-a: pins noted by an earlier process are enforced.
#[tokio::test]
async fn a_host_noted_by_an_earlier_process_is_refused_with_other_keys() {
    let genuine = Hosts::connect(&["example.com"]).await;
    let attacker = Hosts::connect(&["example.com"]).await;
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let first = start(&file, NOW);
    let value = genuine.value(numbered_pin(1), "max-age=1000");
    genuine.note(&first, 0, &value, NOW);
    drop(first);
    let second = start(&file, NOW);
    let decision =
        |hosts: &Hosts, seconds| second.check(hosts.host(0), hosts.chain(0), at(seconds));
    assert!(matches!(decision(&genuine, NOW), Decision::Pass));
    assert!(matches!(
        decision(&attacker, NOW + 1000),
        Decision::Refuse(_)
    ));
    assert!(matches!(
        decision(&attacker, NOW + 1001),
        Decision::NotPinned
    ));
}

// 7469-2.5-a: a store in memory is the opt-out for a private mode.
#[tokio::test]
async fn a_store_in_memory_leaves_no_file() {
    let hosts = Hosts::connect(&["example.com"]).await;
    let folder = temp_dir();
    let pinning = Pinning::builder()
        .store(PinStore::in_memory())
        .build()
        .unwrap();
    let value = hosts.value(numbered_pin(1), "max-age=1000");
    assert_eq!(hosts.note(&pinning, 0, &value, NOW), Noted::Added);
    pinning.store().flush().unwrap();
    drop(pinning);
    assert!(file_names(&folder).is_empty());
}

/// A time after the release, since an earlier one confirms no entry.
const LATER: u64 = 1_800_000_000;

// D-20: an entry noted under a clock that was ahead by more than one day stays in effect, also when
// the clock is set back several times, and is kept as it was noted.
#[tokio::test]
async fn an_entry_noted_in_the_future_stays_in_effect_and_is_kept_as_it_was_noted() {
    let hosts = Hosts::connect(&["example.com"]).await;
    let value = hosts.value(numbered_pin(1), "max-age=1000");
    for ahead in [0, DAY, DAY + 1, 900 * DAY] {
        let folder = temp_dir();
        let file = folder.path().join("pins.jsonl");
        let first = start(&file, LATER + ahead);
        hosts.note(&first, 0, &value, LATER + ahead);
        let noted = times(&entry(&first));
        drop(first);
        let second = start(&file, LATER);
        let decision = |seconds| second.check(hosts.host(0), hosts.chain(0), at(seconds));
        for seconds in [
            LATER,
            1,
            LATER + ahead + 1000,
            LATER + ahead - ahead.min(2 * DAY),
        ] {
            let decision = decision(seconds);
            assert!(matches!(decision, Decision::Pass), "{ahead} {seconds}");
        }
        let after = decision(LATER + ahead + 1001);
        assert!(matches!(after, Decision::NotPinned), "{ahead}");
        let other = Hosts::connect(&["other.example"]).await;
        let value = other.value(numbered_pin(1), "max-age=1000");
        other.note(&second, 0, &value, LATER);
        drop(second);
        let stored = PinStore::open(FileStorage::new(&file)).unwrap();
        assert_eq!(times(&stored.list()[0]), noted, "{ahead}");
    }
}

// D-20: pins noted by the right clock are enforced under every wrong one, and after it.
#[tokio::test]
async fn a_wrong_clock_destroys_no_pins() {
    let year = |year: u64| (year - 1970) * 31_556_952;
    let genuine = Hosts::connect(&["example.com"]).await;
    let impostor = Hosts::connect(&["example.com"]).await;
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let first = start(&file, LATER);
    let value = genuine.value(numbered_pin(1), "max-age=1000");
    genuine.note(&first, 0, &value, LATER);
    let noted = entry(&first);
    drop(first);
    for (number, (seconds, is_expired)) in [
        (1, false),
        (year(2020), false),
        (year(2025), false),
        // A month after the release of this version.
        (1_795_824_000 + 30 * DAY, false),
        (year(2040), true),
    ]
    .into_iter()
    .enumerate()
    {
        let (pinning, recorder) = start_with_recorder(&file, seconds);
        let check = |hosts: &Hosts| pinning.check(hosts.host(0), hosts.chain(0), at(seconds));
        assert_eq!(
            matches!(check(&impostor), Decision::Refuse(_)),
            !is_expired,
            "{seconds}"
        );
        let behind = recorder.events(&pinning);
        let is_behind = matches!(&behind[..], [Event::ClockBehind { .. }]);
        assert_eq!(is_behind, !is_expired, "{seconds}: {behind:?}");
        // A visit of the genuine host under the wrong clock, unless that is ahead: a header that is
        // received then counts as one of that time.
        if !is_expired {
            let repeated = genuine.value(numbered_pin(1), "max-age=1000");
            genuine.note(&pinning, 0, &repeated, seconds);
        }
        // A change of another host rewrites the file.
        let name = format!("other-{number}.example");
        let other = Hosts::connect(&[&name]).await;
        let value = other.value(numbered_pin(1), "max-age=1000");
        other.note(&pinning, 0, &value, seconds);
        drop(pinning);
        // The clock is right again.
        let right = start(&file, LATER + 10);
        let check = |hosts: &Hosts| right.check(hosts.host(0), hosts.chain(0), at(LATER + 10));
        assert!(matches!(check(&impostor), Decision::Refuse(_)), "{seconds}");
        assert!(matches!(check(&genuine), Decision::Pass), "{seconds}");
        let known = right.store().list();
        assert!(known.contains(&noted), "{seconds}");
    }
}

// D-20: the clock is set forward and back between processes.
#[tokio::test]
async fn an_expired_entry_is_stored_and_applies_again_when_the_clock_is_set_back() {
    let hosts = Hosts::connect(&["example.com"]).await;
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let first = start(&file, NOW);
    let value = hosts.value(numbered_pin(1), "max-age=1000");
    hosts.note(&first, 0, &value, NOW);
    drop(first);
    let ahead = start(&file, NOW + 900 * DAY);
    assert!(
        ahead
            .store()
            .query(hosts.host(0), at(NOW + 900 * DAY))
            .is_none()
    );
    let other = Hosts::connect(&["other.example"]).await;
    let value = other.value(numbered_pin(1), "max-age=1000");
    other.note(&ahead, 0, &value, NOW + 900 * DAY);
    drop(ahead);
    let back = start(&file, NOW + 10);
    assert!(back.store().query(hosts.host(0), at(NOW + 10)).is_some());
}

// D-24: an entry is evicted only when room is needed, and from the file as well.
#[tokio::test]
async fn evicted_entries_are_removed_from_the_file_and_others_are_kept() {
    let hosts = Hosts::connect(&["a.example", "b.test", "c.invalid", "d.example"]).await;
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    // Two entries may be first-seen.
    let builder = PinStore::builder().capacity(8);
    let store = builder.open(FileStorage::new(&file)).unwrap();
    let pinning = Pinning::builder()
        .time_provider(Clock::new())
        .store(store)
        .build()
        .unwrap();
    let short = hosts.value(numbered_pin(1), "max-age=10");
    let long = hosts.value(numbered_pin(1), "max-age=1000");
    assert_eq!(hosts.note(&pinning, 0, &short, NOW), Noted::Added);
    assert_eq!(hosts.note(&pinning, 1, &long, NOW), Noted::Added);
    assert_eq!(hosts.note(&pinning, 2, &long, NOW + 11), Noted::Added);
    assert_eq!(hosts.note(&pinning, 3, &long, NOW + 11), Noted::Added);
    drop(pinning);
    let names = start(&file, NOW).store().list();
    let names = names.iter().map(|entry| entry.host.to_string());
    // The expired entry counts for nothing, so that the older of the two others was evicted.
    let expected = ["a.example", "c.invalid", "d.example"];
    assert_eq!(names.collect::<Vec<_>>(), expected);
}
