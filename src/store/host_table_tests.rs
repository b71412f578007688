//! Tests of [`HostTable`] with known HSTS hosts.

use rustls_pki_types::UnixTime;

use crate::hsts::KnownHstsHost;
use crate::policy::Host;
use crate::policy::timestamp::at;
use crate::store::change::Change;
use crate::store::host_table::{HostEntry, HostTable, record};
use crate::store::noted::{MAX_TIME, MIN_TIME};
use crate::store::record::{Record, Update};
use crate::store::storage::Merged;

type Hosts = HostTable<KnownHstsHost>;

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

fn known(name: &str, time: u64) -> KnownHstsHost {
    KnownHstsHost {
        host: host(name),
        includes_subdomains: false,
        seen_since: at(1),
        noted_at: at(time),
        expires_at: at(1000),
    }
}

fn stored(name: &str, time: u64) -> Record {
    record(&known(name, time))
}

fn put(name: &str, time: u64) -> Update {
    Update::Put(stored(name, time))
}

fn removed(name: &str) -> Update {
    let key = name.into();
    let kind = KnownHstsHost::KIND.into();
    Update::Removed { kind, key }
}

fn cleared(since: u64) -> Update {
    let kind = KnownHstsHost::KIND.into();
    let time = at(since);
    Update::ClearedSince { kind, time }
}

/// Returns the changes of the next commit.
fn changes(table: &Hosts) -> Vec<Change> {
    let mut changes = Vec::new();
    table.append_changes(&mut changes);
    changes
}

fn updates(changes: &[Change]) -> Vec<Update> {
    changes
        .iter()
        .map(|change| change.update().clone())
        .collect()
}

/// Returns a table in which these records are stored.
fn loaded(entries: &[(&str, u64)]) -> Hosts {
    let table = Hosts::default();
    let records = entries.iter().map(|(name, time)| stored(name, *time));
    table.load(&records.collect::<Vec<_>>());
    table
}

fn list(table: &Hosts) -> Vec<(String, u64)> {
    let list = table.list().into_iter();
    list.map(|known| (known.host.to_string(), known.noted_at.as_secs()))
        .collect()
}

fn expected(entries: &[(&str, u64)]) -> Vec<(String, u64)> {
    let entries = entries.iter();
    entries
        .map(|(name, time)| ((*name).to_owned(), *time))
        .collect()
}

#[test]
fn a_change_waits_until_a_commit_has_succeeded() {
    let table = Hosts::default();
    table.put(known("a.example", 10), MIN_TIME, true);
    table.clear_since(at(20), true);
    let first = changes(&table);
    assert_eq!(updates(&first), [cleared(20), put("a.example", 10)]);
    // The commit failed.
    assert_eq!(changes(&table), first);
    table.merge(&Merged::Nothing, false);
    assert_eq!(changes(&table), first, "after a pull");
    table.merge(&Merged::Nothing, true);
    assert_eq!(changes(&table), []);
}

#[test]
fn a_change_made_while_a_commit_runs_is_made_by_the_next_one() {
    let table = Hosts::default();
    let first = stored("a.example", 10);
    for (change, expected) in [
        (Some(20), put("a.example", 20)),
        (None, removed("a.example")),
    ] {
        table.put(known("a.example", 10), MIN_TIME, true);
        table.clear_since(at(30), true);
        assert_eq!(changes(&table).len(), 2);
        match change {
            Some(time) => table.put(known("a.example", time), at(10), true),
            None => drop(table.remove(&host("a.example"), at(10), true)),
        }
        table.clear_since(at(40), true);
        table.merge(&Merged::Updates(vec![put("a.example", 10)]), true);
        let next = changes(&table);
        assert_eq!(updates(&next), [cleared(30), expected.clone()]);
        let made = next[1].resolve(Some(&first));
        assert_eq!(made, Some(expected), "over what the first commit stored");
        table.merge(&Merged::Nothing, true);
    }
    assert_eq!(list(&table), []);
}

#[test]
fn a_change_after_one_that_was_not_made_is_dropped() {
    let other = ("a.example", 5);
    for merged in [
        Merged::Updates(vec![put(other.0, other.1)]),
        Merged::All(vec![stored(other.0, other.1)]),
    ] {
        let table = Hosts::default();
        table.put(known("a.example", 10), MIN_TIME, true);
        assert_eq!(
            changes(&table)[0].resolve(Some(&stored(other.0, other.1))),
            None
        );
        table.put(known("a.example", 20), at(10), true);
        table.merge(&merged, true);
        assert_eq!(list(&table), expected(&[other]));
        assert_eq!(changes(&table), []);
    }
}

#[test]
fn what_another_process_stored_is_kept_unless_the_change_replaces_it() {
    let other = stored("a.example", 5);
    let resolved = |change: &dyn Fn(&Hosts)| {
        let table = Hosts::default();
        change(&table);
        changes(&table)[0].resolve(Some(&other))
    };
    let name = host("a.example");
    let put_over = |table: &Hosts, time: u64, replaces: u64| {
        table.put(known("a.example", time), at(replaces), true);
    };
    assert_eq!(resolved(&|table| put_over(table, 10, 4)), None);
    assert!(resolved(&|table| put_over(table, 10, 5)).is_some());
    let twice = |table: &Hosts| {
        put_over(table, 10, 0);
        put_over(table, 20, 10);
    };
    assert_eq!(resolved(&twice), None, "the first change counts");
    let remove = |table: &Hosts, until: UnixTime| drop(table.remove(&name, until, true));
    assert_eq!(resolved(&|table| remove(table, at(4))), None);
    assert!(resolved(&|table| remove(table, MAX_TIME)).is_some());
}

#[test]
fn updates_of_another_process_are_made_where_no_change_waits() {
    let table = loaded(&[("a.example", 10), ("b.example", 20), ("c.example", 30)]);
    table.put(known("own.example", 40), MIN_TIME, true);
    let merge = |updates: &[Update]| table.merge(&Merged::Updates(updates.to_vec()), false);
    assert!(merge(&[put("a.example", 11), removed("b.example")]));
    assert!(!merge(&[put("own.example", 1), removed("own.example")]));
    assert!(
        !merge(&[put("a.example", 11), removed("b.example")]),
        "again"
    );
    let left = [("a.example", 11), ("c.example", 30), ("own.example", 40)];
    assert_eq!(list(&table), expected(&left));
    assert!(merge(&[cleared(30)]));
    let left = [("a.example", 11), ("own.example", 40)];
    assert_eq!(list(&table), expected(&left));
    let all = Merged::All(vec![stored("d.example", 1)]);
    assert!(table.merge(&all, false) && !table.merge(&all, false));
    let left = [("d.example", 1), ("own.example", 40)];
    assert_eq!(list(&table), expected(&left));
}

#[test]
fn clearing_reaches_what_another_process_stores_before_the_commit() {
    let table = loaded(&[("a.example", 10), ("b.example", 20)]);
    table.clear_since(at(20), true);
    assert_eq!(list(&table), expected(&[("a.example", 10)]));
    let others = vec![put("c.example", 19), put("d.example", 20)];
    table.merge(&Merged::Updates(others), false);
    let left = [("a.example", 10), ("c.example", 19)];
    assert_eq!(list(&table), expected(&left));
    assert_eq!(
        updates(&changes(&table)),
        [cleared(20), removed("b.example")]
    );
    // What was noted after the clearing stays.
    table.put(known("e.example", 30), MIN_TIME, true);
    table.merge(&Merged::Nothing, true);
    assert_eq!(updates(&changes(&table)), [put("e.example", 30)]);
}

#[test]
fn what_the_storage_has_lost_is_stored_again() {
    let table = loaded(&[("a.example", 10)]);
    table.put(known("b.example", 20), at(3), true);
    assert_eq!(updates(&changes(&table)), [put("b.example", 20)]);
    table.merge(&Merged::Lost, true);
    table.store_again();
    let mut again = changes(&table);
    again.sort_by_key(|change| change.replaces);
    assert_eq!(
        updates(&again),
        [put("b.example", 20), put("a.example", 10)]
    );
    assert_eq!(again[0].replaces, at(3), "not stored before either");
}
