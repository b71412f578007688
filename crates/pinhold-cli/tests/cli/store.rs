//! `pinhold store`: inspection, changes and recovery of store files.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use pinhold::FileStorage;
use pinhold::storage::{Change, Record, Storage};
use serde_json::json;

use crate::common::{NOW, at};
use crate::program::{Folder, run};
use crate::store_files::{
    LAST, UNREACHABLE, V2, corrupt, entry, hosts, store, three_entries, write,
};

#[test]
fn lists_all_entries_sorted_by_host() {
    let folder = Folder::new();
    let file = folder.write("noted", V2);
    let json = store(&["list"], &file).expect_code(0).json();
    let one = json!({
        "host": "api.example.com",
        "pins": [
            "sha256/AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
            "sha256///////////////////////////////////////////8=",
        ],
        "include_subdomains": true,
        "report_uri": "https://r.example/pins?a=%22b",
        "seen_since": "2023-11-13T22:13:20Z",
        "confirmed": true,
        "noted_at": "2023-11-14T22:13:20Z",
        "expires_at": "2024-01-13T22:13:20Z",
        "expired": true,
    });
    let other = json!({
        "host": "xn--bcher-kva.example",
        "pins": ["sha256/AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="],
        "include_subdomains": false,
        "report_uri": null,
        "seen_since": "1970-01-01T00:00:00Z",
        "confirmed": false,
        "noted_at": "1970-01-01T00:00:00Z",
        "expires_at": "9999-12-31T23:59:59Z",
        "expired": false,
    });
    assert_eq!(
        json,
        json!({"file": file, "hosts": [one, other], "hsts": []})
    );
    let run = run(["store", "list", "--file", &file]).expect_code(0);
    let lines = run.text().lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("api.example.com "), "{lines:?}");

    let empty = folder.path("empty");
    write(&empty, &[]);
    assert_eq!(hosts(&empty), [""; 0]);
}

#[test]
fn lists_since_when_a_host_is_seen_and_whether_it_is_confirmed() {
    let folder = Folder::new();
    let file = folder.path("noted");
    let mut confirmed = entry("a.example", NOW, LAST);
    confirmed.seen_since = at(NOW - 24 * 60 * 60);
    let mut recent = entry("b.example", NOW, LAST);
    recent.seen_since = at(NOW - 24 * 60 * 60 + 1);
    write(&file, &[confirmed, recent]);
    let json = store(&["list"], &file).expect_code(0).json();
    let found = |index: usize| {
        let known = &json["hosts"][index];
        json!([known["seen_since"], known["confirmed"]])
    };
    assert_eq!(found(0), json!(["2023-11-13T22:13:20Z", true]));
    assert_eq!(found(1), json!(["2023-11-13T22:13:21Z", false]));
    let run = run(["store", "list", "--file", &file]).expect_code(0);
    let lines = run.text().lines().collect::<Vec<_>>();
    let confirmed = "  confirmed  seen since 2023-11-13T22:13:20Z  noted 2023-11-14T22:13:20Z";
    assert!(lines[0].contains(confirmed), "{lines:?}");
    assert!(!lines[1].contains("confirmed"), "{lines:?}");
    assert_eq!(lines[0].len(), lines[1].len());
}

#[test]
fn query_prints_the_entry_that_applies_to_a_name() {
    let folder = Folder::new();
    let file = three_entries(&folder);
    let congruent = json!(["a.example", "a.example", "congruent"]);
    let below = json!(["x.b.example", "b.example", "superdomain"]);
    for (name, expected) in [
        ("a.example", &congruent),
        ("A.example.", &congruent),
        ("x.b.example", &below),
        ("x.a.example", &json!(["x.a.example", null, null])),
        // The entry has expired.
        ("c.example", &json!(["c.example", null, null])),
        ("192.0.2.1", &json!([null, null, null])),
        ("", &json!([null, null, null])),
    ] {
        let json = store(&["query", name], &file).expect_code(0).json();
        let found = json!([json["host"], json["policy"], json["why"]]);
        assert_eq!(&found, expected, "{name}");
        let pins = json["pins"].as_array().unwrap();
        assert_eq!(pins.is_empty(), json["policy"].is_null(), "{name}");
    }
    let json = store(&["query", "x.b.example"], &file)
        .expect_code(0)
        .json();
    assert_eq!(json["include_subdomains"], true);
    assert_eq!(json["noted_at"], "2023-11-14T22:15:00Z");
    assert_eq!(json["expires_at"], "9999-12-31T23:59:59Z");
    let found = run(["store", "query", "x.b.example", "--file", &file]).expect_code(0);
    assert!(found.text().contains(json["pins"][0].as_str().unwrap()));
}

#[test]
fn forget_removes_the_entry_of_exactly_this_host() {
    let folder = Folder::new();
    let file = three_entries(&folder);
    let forget = |name: &str| store(&["forget", name], &file).expect_code(0).json();
    let hsts = json!({"forgotten": false, "policy": null});
    let expected =
        json!({"host": "x.b.example", "forgotten": false, "policy": "b.example", "hsts": hsts});
    assert_eq!(forget("x.b.example"), expected);
    assert_eq!(hosts(&file), ["a.example", "b.example", "c.example"]);
    let expected = json!({"host": "b.example", "forgotten": true, "policy": null, "hsts": hsts});
    assert_eq!(forget("B.example"), expected);
    assert_eq!(hosts(&file), ["a.example", "c.example"]);
    assert_eq!(forget("b.example")["forgotten"], false);
    assert_eq!(forget("c.example")["forgotten"], true, "an expired entry");
    let forgotten = run(["store", "forget", "a.example", "--file", &file]).expect_code(0);
    assert!(forgotten.text().contains("a.example"));
    assert_eq!(hosts(&file), [""; 0]);
}

#[test]
fn clear_removes_all_entries_or_those_since_a_time() {
    let folder = Folder::new();
    let file = three_entries(&folder);
    let json = store(&["check"], &file).expect_code(0).json();
    assert_eq!(json!([json["live"], json["expired"]]), json!([2, 1]));
    // The time at which the second entry was noted.
    let since = ["clear", "--since", "2023-11-14T22:15:00Z"];
    let json = store(&since, &file).expect_code(0).json();
    assert_eq!(json, json!({"cleared": 2, "kept": 1}));
    assert_eq!(hosts(&file), ["a.example"]);
    let json = store(&["clear"], &file).expect_code(0).json();
    assert_eq!(json, json!({"cleared": 1, "kept": 0}));
    assert_eq!(hosts(&file), [""; 0]);
    let cleared = run(["store", "clear", "--file", &three_entries(&folder)]).expect_code(0);
    assert_eq!(cleared.text(), "3 entries removed, 0 kept\n");
}

#[test]
fn inspection_changes_and_creates_no_files() {
    let folder = Folder::new();
    let file = folder.write("noted", V2);
    let corrupt = folder.write("corrupt", &V2[1..]);
    let before = folder.contents();
    let json = store(&["check"], &file).expect_code(0).json();
    let expected = json!({"file": file, "hosts": 2, "hsts": 0, "live": 1, "expired": 1});
    assert_eq!(json, expected);
    for action in [&["check"][..], &["list"], &["query", "api.example.com"]] {
        store(action, &file).expect_code(0);
        run([&["store", "--file", &file], action].concat()).expect_code(0);
        let json = store(action, &corrupt).expect_code(2).json();
        assert_eq!(json["error"], "storage");
    }
    // An intact file is not changed by recovery.
    let json = store(&["recover"], &file).expect_code(0).json();
    let expected = json!({"file": file, "corruption": null, "kept": 2, "moved_to": null});
    assert_eq!(json, expected);
    assert_eq!(folder.contents(), before);
}

#[test]
fn a_corrupt_file_is_refused_and_left_unchanged() {
    for (bytes, _) in corrupt() {
        let folder = Folder::new();
        let file = folder.write("noted", &bytes);
        let before = folder.contents();
        let get = ["get", UNREACHABLE, "--store", &file];
        for command in [
            &["store", "check", "--file", &file][..],
            &["store", "forget", "api.example.com", "--file", &file],
            &["store", "clear", "--file", &file],
            &get,
        ] {
            let run = run(command.iter().chain(&["--json"])).expect_code(2);
            assert_eq!(run.json()["error"], "storage", "{command:?}");
            assert_eq!(run.json()["reason"], "corrupt", "{command:?}");
            assert!(run.json()["message"].is_string());
        }
        let refused = run(get).expect_code(2).stderr;
        let advice = format!("pinhold store recover --file={file}");
        assert!(refused.contains(&advice), "{refused}");
        assert_eq!(folder.contents(), before);
    }
}

#[test]
fn recovery_keeps_readable_entries_and_the_corrupt_file() {
    for (bytes, kept) in corrupt() {
        let folder = Folder::new();
        let file = folder.write("noted", &bytes);
        let json = store(&["recover"], &file).expect_code(0).json();
        assert!(json["corruption"].is_string());
        assert_eq!(json["kept"], kept.len());
        let moved_to = Path::new(json["moved_to"].as_str().unwrap());
        assert_eq!(moved_to.parent(), Path::new(&file).parent());
        assert_eq!(fs::read_to_string(moved_to).unwrap(), bytes);
        assert_eq!(hosts(&file), kept);
        store(&["check"], &file).expect_code(0);
        // The file is usable: the request fails at the connection only.
        run(["get", UNREACHABLE, "--store", &file]).expect_code(1);

        let again = folder.write("again", &bytes);
        let recovered = run(["store", "recover", "--file", &again]).expect_code(0);
        assert!(recovered.text().contains("again.corrupt-"));
    }
}

/// What a power cut may leave of a store.
#[test]
fn a_file_of_nul_bytes_is_recovered() {
    let folder = Folder::new();
    let file = folder.write("nul", vec![0; 1000]);
    run(["store", "recover", "--file", &file]).expect_code(0);
    store(&["check"], &file).expect_code(0);
    assert!(hosts(&file).is_empty());
}

/// A user's CA file must not be moved away.
#[test]
fn a_file_of_another_kind_is_not_recovered() {
    for bytes in [
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec(),
        b"{\"format\":\"other\",\"version\":1}\n{}\n".to_vec(),
        b"\n".to_vec(),
        b"\0\0\0\x01".to_vec(),
    ] {
        let folder = Folder::new();
        let file = folder.write("ca.pem", &bytes);
        let before = folder.contents();
        for action in ACTIONS {
            let json = store(action, &file).expect_code(2).json();
            assert_eq!(json["error"], "storage", "{action:?}");
            assert_eq!(json["reason"], "not-a-store", "{action:?}");
        }
        let refused = run(["get", UNREACHABLE, "--store", &file]).expect_code(2);
        assert!(!refused.stderr.contains("recover"), "{}", refused.stderr);
        assert_eq!(folder.contents(), before);
    }
}

#[test]
fn an_unusable_file_is_refused_and_left_unchanged() {
    let folder = Folder::new();
    let newer = V2.replacen("\"version\":2", "\"version\":3", 1);
    let newer = folder.write("newer", newer);
    let directory = folder.path("directory");
    fs::create_dir(&directory).unwrap();
    let mut files = vec![newer, directory];
    #[cfg(unix)]
    {
        let target = folder.write("target", V2);
        let link = folder.path("link");
        std::os::unix::fs::symlink(target, &link).unwrap();
        files.extend([link, folder.path("newer/below")]);
    }
    let before = folder.contents();
    for file in &files {
        for action in ACTIONS {
            let json = store(action, file).expect_code(2).json();
            assert_eq!(json["error"], "storage", "{action:?} {file}");
        }
        run(["get", UNREACHABLE, "--store", file]).expect_code(2);
    }
    assert_eq!(folder.contents(), before);
}

#[test]
fn a_missing_file_is_an_error() {
    let folder = Folder::new();
    let missing = folder.path("missing");
    let in_missing_folder = folder.path("missing/noted");
    for file in [&missing, &in_missing_folder] {
        for action in ACTIONS {
            let json = store(action, file).expect_code(2).json();
            assert!(json["error"].is_string(), "{action:?} {file}");
        }
    }
    // A request may create the file, but not its folder.
    run(["get", UNREACHABLE, "--store", &in_missing_folder]).expect_code(2);
    run(["get", UNREACHABLE, "--store", &missing]).expect_code(1);
    assert!(folder.contents().is_empty());
}

#[test]
fn the_file_option_is_accepted_before_and_after_the_action() {
    let folder = Folder::new();
    let file = three_entries(&folder);
    for action in [&["check"][..], &["list"], &["query", "a.example"]] {
        let before = run([&["store", "--json", "--file", &file], action].concat());
        let after = run([&["store"], action, &["--file", &file, "--json"]].concat());
        assert_eq!(before.expect_code(0).json(), after.expect_code(0).json());
    }
}

#[test]
fn invalid_usage_exits_with_2_and_a_message() {
    let folder = Folder::new();
    let file = three_entries(&folder);
    for arguments in [
        &["store"][..],
        &["store", "list"],
        &["store", "unknown", "--file", &file],
        &["store", "list", "--file"],
        &["store", "list", "--file", ""],
        &["store", "query", "--file", &file],
        &["store", "forget", "--file", &file],
        &["store", "forget", "192.0.2.1", "--file", &file],
        &["store", "clear", "--since", "yesterday", "--file", &file],
        &["store", "clear", "--since", "2023-11-14", "--file", &file],
        &["store", "list", "--since", "2023-11-14T22:13:20Z"],
        &["get", UNREACHABLE, "--store"],
        &["get", UNREACHABLE, "--store", ""],
    ] {
        let run = run(arguments).expect_code(2);
        assert_ne!(run.stderr, "", "{arguments:?}");
        assert_eq!(run.stdout, b"", "{arguments:?}");
    }
}

/// One command line for each action.
const ACTIONS: [&[&str]; 6] = [
    &["check"],
    &["clear"],
    &["forget", "a.example"],
    &["list"],
    &["query", "a.example"],
    &["recover"],
];

/// Another process holds the lock for as long as the command runs.
#[test]
fn a_held_lock_makes_no_command_wait_for_more_than_two_seconds() {
    for (action, is_corrupt) in [("forget", false), ("clear", false), ("recover", true)] {
        let folder = Folder::new();
        let file = three_entries(&folder);
        if is_corrupt {
            fs::write(&file, &corrupt()[0].0).unwrap();
        }
        let lock = File::create(format!("{file}.lock")).unwrap();
        lock.lock().unwrap();
        let arguments = match action {
            "forget" => &["forget", "a.example"][..],
            action => &[action],
        };
        let begin = Instant::now();
        let json = store(arguments, &file).expect_code(1).json();
        let waited = begin.elapsed();
        assert_eq!(json["reason"], "locked", "{action}: {json}");
        // Two attempts that wait take 4 s.
        assert!(waited < Duration::from_millis(3500), "{action}: {waited:?}");
    }
}

/// The library stores them with the feature `health`, which the tool does not have.
#[test]
fn records_of_health_are_kept_beside_noted_pins() {
    let folder = Folder::new();
    let file = three_entries(&folder);
    let value = r#"{"since":[19675,1],"days":1,"recent":[19675],"last":[1700000000,0],"emitted":[[],[],[],[],[],[]],"pins":[],"versions":[["1.4.2",19675,7,0,0,0,0,0]]}"#;
    let key = "a.example host 0123456789abcdef";
    let record = Record::new("health", key, value, at(NOW)).unwrap();
    let mut storage = FileStorage::new(&file);
    storage.load().unwrap();
    storage.commit(&[Change::put(record.clone())]).unwrap();
    drop(storage);
    for (action, expected) in [
        (&["check"][..], 3),
        (&["forget", "a.example"], 2),
        (&["clear"], 0),
    ] {
        store(action, &file).expect_code(0);
        store(&["recover"], &file).expect_code(0);
        assert_eq!(hosts(&file).len(), expected);
        let records = FileStorage::new(&file).load().unwrap();
        assert!(records.contains(&record), "{action:?}");
    }
}
