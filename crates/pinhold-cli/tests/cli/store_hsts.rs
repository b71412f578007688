//! `pinhold store` with known HSTS hosts.

use pinhold::FileStorage;
use pinhold::storage::{Change, Record, Storage};
use serde_json::{Value, json};

use crate::common::{NOW, at};
use crate::program::{Folder, run};
use crate::store_files::{hosts, store, three_entries};

/// Adds HSTS entries to `three_entries`: a live one, one with subdomains, and an expired one.
fn with_hsts(folder: &Folder) -> String {
    let file = three_entries(folder);
    let record = |host: &str, subdomains: bool, noted_at: u64, expires_at: &str| {
        let value = format!(
            r#"{{"include_subdomains":{subdomains},"seen_since":"2023-11-13T22:13:20Z","expires_at":"{expires_at}"}}"#
        );
        Change::put(Record::new(Record::HSTS, host, &value, at(noted_at)).unwrap())
    };
    let (last, past) = ("9999-12-31T23:59:59Z", "2023-11-15T00:00:00Z");
    let mut storage = FileStorage::new(&file);
    storage.load().unwrap();
    let changes = [
        record("a.example", false, NOW, last),
        record("s.example", true, NOW + 100, last),
        record("z.example", false, NOW + 100, past),
    ];
    storage.commit(&changes).unwrap();
    file
}

fn hsts_hosts(file: &str) -> Vec<String> {
    let json = store(&["list"], file).expect_code(0).json();
    let hosts = json["hsts"].as_array().unwrap().iter();
    let hosts = hosts.map(|known| known["host"].as_str().unwrap().to_owned());
    hosts.collect()
}

#[test]
fn list_shows_hsts_hosts_after_the_pinned_ones() {
    let folder = Folder::new();
    let file = with_hsts(&folder);
    assert_eq!(hosts(&file), ["a.example", "b.example", "c.example"]);
    assert_eq!(hsts_hosts(&file), ["a.example", "s.example", "z.example"]);
    let json = store(&["list"], &file).expect_code(0).json();
    let expected = json!({
        "host": "a.example",
        "include_subdomains": false,
        "seen_since": "2023-11-13T22:13:20Z",
        "confirmed": true,
        "noted_at": "2023-11-14T22:13:20Z",
        "expires_at": "9999-12-31T23:59:59Z",
        "expired": false,
    });
    assert_eq!(json["hsts"][0], expected);
    assert_eq!(json["hsts"][2]["expired"], true);
    let run = run(["store", "list", "--file", &file]).expect_code(0);
    let lines = run.text().lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert!(lines[3].starts_with("a.example ") && lines[3].ends_with("  HSTS"));
    assert!(
        lines[5].contains("EXPIRED 2023-11-15T00:00:00Z"),
        "{lines:?}"
    );
    let json = store(&["check"], &file).expect_code(0).json();
    let found = ["hosts", "hsts", "live", "expired"].map(|name| json[name].clone());
    assert_eq!(json!(found), json!([3, 3, 4, 2]));
}

#[test]
fn query_shows_the_hsts_entry_that_applies() {
    let folder = Folder::new();
    let file = with_hsts(&folder);
    for (name, policy, why) in [
        ("a.example", json!("a.example"), json!("congruent")),
        ("x.s.example", json!("s.example"), json!("superdomain")),
        ("x.a.example", Value::Null, Value::Null),
        ("z.example", Value::Null, Value::Null),
        ("192.0.2.1", Value::Null, Value::Null),
    ] {
        let json = store(&["query", name], &file).expect_code(0).json();
        let hsts = &json["hsts"];
        assert_eq!((&hsts["policy"], &hsts["why"]), (&policy, &why), "{name}");
        assert_eq!(hsts.is_null(), policy.is_null(), "{name}");
        let found = run(["store", "query", name, "--file", &file]).expect_code(0);
        assert_eq!(found.text().contains("HSTS"), !policy.is_null(), "{name}");
    }
}

#[test]
fn forget_and_clear_remove_hsts_entries() {
    let folder = Folder::new();
    let file = with_hsts(&folder);
    let forget = |name: &str| store(&["forget", name], &file).expect_code(0).json();
    let below = forget("x.s.example");
    assert_eq!(
        below["hsts"],
        json!({"forgotten": false, "policy": "s.example"})
    );
    assert_eq!(
        forget("a.example")["hsts"],
        json!({"forgotten": true, "policy": null})
    );
    assert_eq!(hosts(&file), ["b.example", "c.example"]);
    assert_eq!(hsts_hosts(&file), ["s.example", "z.example"]);
    let forgotten = run(["store", "forget", "s.example", "--file", &file]).expect_code(0);
    assert_eq!(
        forgotten.text(),
        "s.example has no noted pins; the HSTS entry of s.example was removed\n"
    );
    let json = store(&["clear"], &file).expect_code(0).json();
    assert_eq!(json, json!({"cleared": 3, "kept": 0}));
    assert_eq!(hsts_hosts(&file), [""; 0]);
}

#[test]
fn recovery_keeps_hsts_entries() {
    let folder = Folder::new();
    let file = with_hsts(&folder);
    let text = std::fs::read_to_string(&file).unwrap();
    let (_, without_header) = text.split_once('\n').unwrap();
    let file = folder.write("corrupt", without_header);
    let json = store(&["recover"], &file).expect_code(0).json();
    assert_eq!(json["kept"], 6);
    assert_eq!(hsts_hosts(&file).len(), 3);
}
