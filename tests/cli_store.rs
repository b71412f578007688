//! `pinhold get --store` and `pinhold store` as programs: noted pins that outlive a run, and the
//! file that holds them.
#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::cli::{Folder, Run, Site, run, run_beside};
use common::peers::{Peer, Tls};
use common::pki::Ca;
use common::server::Server;
use common::{NOW, at, foreign_pin, header_value};
use pinhold::policy::KnownPinnedHost;
use pinhold::storage::{Batch, Storage};
use pinhold::{FileStorage, Host};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_one_run_is_enforced_in_the_next() {
    let site = pinning_site("max-age=300; includeSubDomains").await;
    let file = site.folder.path("noted");
    let run = site.trusted("get", &["--store", &file]).await.ends_with(0);
    assert_eq!(run.stdout, b"ok");
    assert_eq!(run.stderr, "");

    // Another CA that is trusted, and the genuine chain behind its certificate.
    let other = Ca::root("Other");
    let leaf = other.leaf(&["shop.example"]);
    let impostor = Site::of(other, leaf.appending(site.leaf.chain.clone()), &[]).await;
    let before = site.folder.contents();
    let run = impostor.trusted("get", &["--json", "--store", &file]).await;
    let json = run.ends_with(90).json();
    assert_eq!(json["error"], "pin-violation");
    assert_eq!(json["source"], "noted");
    assert_eq!(json["noted_hostname"], "shop.example");
    assert_eq!(impostor.server.requests(), 0, "no request left");
    let run = impostor.trusted("get", &["--store", &file]).await;
    assert_eq!(run.ends_with(90).stdout, b"");
    assert_eq!(site.folder.contents(), before);
    // It is the pins of the file that refuse.
    impostor.trusted("get", &[]).await.ends_with(0);

    let run = site.trusted("get", &["--json", "--store", &file]).await;
    let json = run.ends_with(0).json();
    assert_eq!(json["decision"], "pass");
    assert_eq!(json["noted"], "refreshed");
    assert_eq!(json["stored"], true);
}

/// A mere refresh could wait for a minute; the program does not live that long.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_stored_before_the_program_ends() {
    let site = pinning_site("max-age=300").await;
    let file = site.folder.path("noted");
    site.trusted("get", &["--store", &file]).await.ends_with(0);
    let mut known = FileStorage::new(&file).load().unwrap();
    known[0].noted_at = at(known[0].noted_at.as_secs() - 100);
    known[0].expires_at = at(known[0].expires_at.as_secs() - 100);
    write(&file, &known);
    site.trusted("get", &["--store", &file]).await.ends_with(0);
    let now_known = FileStorage::new(&file).load().unwrap();
    assert!(now_known[0].expires_at.as_secs() >= known[0].expires_at.as_secs() + 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn max_age_0_removes() {
    let mut site = pinning_site("max-age=300").await;
    let file = site.folder.path("noted");
    site.trusted("get", &["--store", &file]).await.ends_with(0);
    assert_eq!(hosts(&file), ["shop.example"]);
    site.server = Server::start(&site.leaf, &[("public-key-pins", "max-age=0")]).await;
    site.trusted("get", &["--store", &file]).await.ends_with(0);
    assert_eq!(hosts(&file), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pins_of_the_command_line_hold_beside_the_file() {
    let site = pinning_site("max-age=300").await;
    let (file, foreign) = (site.folder.path("noted"), foreign_pin().to_string());
    let wrong = ["--json", "--store", &file, "--pin", &foreign];
    let json = site.trusted("get", &wrong).await.ends_with(90).json();
    assert_eq!(json["source"], "static");
    assert!(!Path::new(&file).exists(), "nothing was noted");
    let right = site.leaf.pin().to_string();
    let right = ["--store", &file, "--pin", &right];
    site.trusted("get", &right).await.ends_with(0);
    assert_eq!(hosts(&file), ["shop.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_added_root_neither_notes_nor_is_refused() {
    let site = pinning_site("max-age=300").await;
    let (root, file) = (site.root_file(), site.folder.path("noted"));
    let arguments = ["--json", "--user-ca", &root, "--store", &file];
    let json = site.run("get", &arguments).await.ends_with(0).json();
    assert_eq!(json["anchor_origin"], "user-added");
    assert!(!Path::new(&file).exists(), "nothing was noted");
    let known = entry("shop.example", NOW, LAST);
    write(&file, &[known]);
    let before = site.folder.contents();
    let json = site.run("get", &arguments).await.ends_with(0).json();
    assert_eq!(json["decision"], "skipped");
    assert_eq!(site.folder.contents(), before);
}

/// Two processes, each with nothing but the file, and a server of other people.
#[test]
fn pins_of_nginx_outlive_the_program_and_refuse_an_impostor() {
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let leaf = root.leaf(&["pinned.test"]);
    let impostor = other.leaf(&["pinned.test"]).appending(leaf.chain.clone());
    let value = header_value(leaf.pin(), "max-age=100");
    let Some(genuine) = Peer::nginx(&leaf, Tls::V1_3, &value) else {
        return;
    };
    let Some(impostor) = Peer::nginx(&impostor, Tls::V1_3, "max-age=0") else {
        return;
    };
    let folder = Folder::new();
    let roots = folder.write("roots.pem", root.pem() + &other.pem());
    let file = folder.path("noted");
    let get = |peer: &Peer| {
        let port = peer.address.port();
        let url = format!("https://pinned.test:{port}/");
        let resolve = format!("pinned.test:{port}:127.0.0.1");
        let names = ["--resolve", &resolve, "--ca", &roots];
        run([&["get", &url, "--json", "--store", &file], &names[..]].concat())
    };
    assert_eq!(get(&genuine).ends_with(0).json()["noted"], "added");
    let json = get(&impostor).ends_with(90).json();
    assert_eq!(json["source"], "noted");
    assert_eq!(json["host"], "pinned.test");
    assert_eq!(get(&genuine).ends_with(0).json()["decision"], "pass");
    store(&["forget", "pinned.test"], &file).ends_with(0);
    get(&impostor).ends_with(0);
}

#[test]
fn lists_all_entries_by_name() {
    let folder = Folder::new();
    let file = folder.write("noted", V1);
    let json = store(&["list"], &file).ends_with(0).json();
    let one = json!({
        "host": "api.example.com",
        "pins": [
            "sha256/AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
            "sha256///////////////////////////////////////////8=",
        ],
        "include_subdomains": true,
        "report_uri": "https://r.example/pins?a=%22b",
        "noted_at": "2023-11-14T22:13:20Z",
        "expires_at": "2024-01-13T22:13:20Z",
        "expired": true,
    });
    let other = json!({
        "host": "xn--bcher-kva.example",
        "pins": ["sha256/AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="],
        "include_subdomains": false,
        "report_uri": null,
        "noted_at": "1970-01-01T00:00:00Z",
        "expires_at": "9999-12-31T23:59:59Z",
        "expired": false,
    });
    assert_eq!(json, json!({"file": file, "hosts": [one, other]}));
    let run = run(["store", "list", "--file", &file]).ends_with(0);
    let lines = run.text().lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("api.example.com "), "{lines:?}");

    let empty = folder.path("empty");
    write(&empty, &[]);
    assert_eq!(hosts(&empty), [""; 0]);
}

#[test]
fn tells_which_entry_applies_to_a_name() {
    let folder = Folder::new();
    let file = some(&folder);
    let congruent = json!(["a.example", "a.example", "congruent"]);
    let below = json!(["x.b.example", "b.example", "superdomain"]);
    for (name, expected) in [
        ("a.example", &congruent),
        ("A.example.", &congruent),
        ("x.b.example", &below),
        ("x.a.example", &json!(["x.a.example", null, null])),
        // Its entry has expired.
        ("c.example", &json!(["c.example", null, null])),
        ("192.0.2.1", &json!([null, null, null])),
        ("", &json!([null, null, null])),
    ] {
        let json = store(&["query", name], &file).ends_with(0).json();
        let found = json!([json["host"], json["policy"], json["why"]]);
        assert_eq!(&found, expected, "{name}");
        let pins = json["pins"].as_array().unwrap();
        assert_eq!(pins.is_empty(), json["policy"].is_null(), "{name}");
    }
    let json = store(&["query", "x.b.example"], &file).ends_with(0).json();
    assert_eq!(json["include_subdomains"], true);
    assert_eq!(json["noted_at"], "2023-11-14T22:15:00Z");
    assert_eq!(json["expires_at"], "9999-12-31T23:59:59Z");
    let found = run(["store", "query", "x.b.example", "--file", &file]).ends_with(0);
    assert!(found.text().contains(json["pins"][0].as_str().unwrap()));
}

#[test]
fn forgets_the_entry_of_a_very_name() {
    let folder = Folder::new();
    let file = some(&folder);
    let forget = |name: &str| store(&["forget", name], &file).ends_with(0).json();
    let expected = json!({"host": "x.b.example", "forgotten": false, "policy": "b.example"});
    assert_eq!(forget("x.b.example"), expected);
    assert_eq!(hosts(&file), ["a.example", "b.example", "c.example"]);
    let expected = json!({"host": "b.example", "forgotten": true, "policy": null});
    assert_eq!(forget("B.example"), expected);
    assert_eq!(hosts(&file), ["a.example", "c.example"]);
    assert_eq!(forget("b.example")["forgotten"], false);
    assert_eq!(forget("c.example")["forgotten"], true, "though expired");
    let forgotten = run(["store", "forget", "a.example", "--file", &file]).ends_with(0);
    assert!(forgotten.text().contains("a.example"));
    assert_eq!(hosts(&file), [""; 0]);
}

#[test]
fn clears_all_entries_or_those_since() {
    let folder = Folder::new();
    let file = some(&folder);
    let json = store(&["check"], &file).ends_with(0).json();
    assert_eq!(json!([json["live"], json["expired"]]), json!([2, 1]));
    // The moment at which the second was noted.
    let since = ["clear", "--since", "2023-11-14T22:15:00Z"];
    let json = store(&since, &file).ends_with(0).json();
    assert_eq!(json, json!({"cleared": 2, "kept": 1}));
    assert_eq!(hosts(&file), ["a.example"]);
    let json = store(&["clear"], &file).ends_with(0).json();
    assert_eq!(json, json!({"cleared": 1, "kept": 0}));
    assert_eq!(hosts(&file), [""; 0]);
    let cleared = run(["store", "clear", "--file", &some(&folder)]).ends_with(0);
    assert_ne!(cleared.stdout, b"");
}

#[test]
fn looking_changes_nothing_and_creates_nothing() {
    let folder = Folder::new();
    let file = folder.write("noted", V1);
    let damaged = folder.write("damaged", &V1[..V1.len() - 1]);
    let before = folder.contents();
    let json = store(&["check"], &file).ends_with(0).json();
    let expected = json!({"file": file, "hosts": 2, "live": 1, "expired": 1});
    assert_eq!(json, expected);
    for looking in [&["check"][..], &["list"], &["query", "api.example.com"]] {
        store(looking, &file).ends_with(0);
        run([&["store", "--file", &file], looking].concat()).ends_with(0);
        let json = store(looking, &damaged).ends_with(2).json();
        assert_eq!(json["error"], "storage");
    }
    // Of a sound file there is nothing to recover.
    let json = store(&["recover"], &file).ends_with(0).json();
    let expected = json!({"file": file, "damage": null, "kept": 2, "moved_to": null});
    assert_eq!(json, expected);
    assert_eq!(folder.contents(), before);
}

#[test]
fn a_damaged_file_is_refused_and_stays() {
    for (bytes, _) in damaged() {
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
            let run = run(command.iter().chain(&["--json"])).ends_with(2);
            assert_eq!(run.json()["error"], "storage", "{command:?}");
            assert!(run.json()["message"].is_string());
        }
        let refused = run(get).ends_with(2).stderr;
        let remedy = format!("pinhold store recover --file {file}");
        assert!(refused.contains(&remedy), "{refused}");
        assert_eq!(folder.contents(), before);
    }
}

#[test]
fn recovery_keeps_what_verifies_and_the_damaged_file() {
    for (bytes, kept) in damaged() {
        let folder = Folder::new();
        let file = folder.write("noted", &bytes);
        let json = store(&["recover"], &file).ends_with(0).json();
        assert!(json["damage"].is_string());
        assert_eq!(json["kept"], kept.len());
        let aside = Path::new(json["moved_to"].as_str().unwrap());
        assert_eq!(aside.parent(), Path::new(&file).parent());
        assert_eq!(fs::read_to_string(aside).unwrap(), bytes);
        assert_eq!(hosts(&file), kept);
        store(&["check"], &file).ends_with(0);
        // As far as a request comes where nobody listens.
        run(["get", UNREACHABLE, "--store", &file]).ends_with(1);

        let again = folder.write("again", &bytes);
        let recovered = run(["store", "recover", "--file", &again]).ends_with(0);
        assert!(recovered.text().contains("again.corrupt-"));
    }
}

#[test]
fn what_can_not_be_used_stays_as_it_is() {
    let folder = Folder::new();
    let newer = V1.replacen("\"version\":1", "\"version\":2", 1);
    let newer = folder.write("newer", newer);
    let directory = folder.path("directory");
    fs::create_dir(&directory).unwrap();
    let mut files = vec![newer, directory];
    #[cfg(unix)]
    {
        let target = folder.write("target", V1);
        let link = folder.path("link");
        std::os::unix::fs::symlink(target, &link).unwrap();
        files.extend([link, folder.path("newer/below")]);
    }
    let before = folder.contents();
    for file in &files {
        for action in ACTIONS {
            let json = store(action, file).ends_with(2).json();
            assert_eq!(json["error"], "storage", "{action:?} {file}");
        }
        run(["get", UNREACHABLE, "--store", file]).ends_with(2);
    }
    assert_eq!(folder.contents(), before);
}

#[test]
fn a_file_that_is_missing_is_an_error() {
    let folder = Folder::new();
    let missing = folder.path("missing");
    let in_missing_folder = folder.path("missing/noted");
    for file in [&missing, &in_missing_folder] {
        for action in ACTIONS {
            let json = store(action, file).ends_with(2).json();
            assert!(json["error"].is_string(), "{action:?} {file}");
        }
    }
    // A request may create the file, but not its folder.
    run(["get", UNREACHABLE, "--store", &in_missing_folder]).ends_with(2);
    run(["get", UNREACHABLE, "--store", &missing]).ends_with(1);
    assert!(folder.contents().is_empty());
}

#[test]
fn the_file_may_stand_before_the_action_and_after_it() {
    let folder = Folder::new();
    let file = some(&folder);
    for action in [&["check"][..], &["list"], &["query", "a.example"]] {
        let before = run([&["store", "--json", "--file", &file], action].concat());
        let after = run([&["store"], action, &["--file", &file, "--json"]].concat());
        assert_eq!(before.ends_with(0).json(), after.ends_with(0).json());
    }
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
        let run = run(arguments).ends_with(2);
        assert_ne!(run.stderr, "", "{arguments:?}");
        assert_eq!(run.stdout, b"", "{arguments:?}");
    }
}

/// A directory in place of the lock makes every write fail, also those of root.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_written_is_a_failure_beside_the_result() {
    let site = pinning_site("max-age=300").await;
    let file = site.folder.path("noted");
    fs::create_dir(site.folder.path("noted.lock")).unwrap();
    let run = site.trusted("get", &["--store", &file]).await.ends_with(1);
    assert_eq!(run.stdout, b"ok");
    assert_ne!(run.stderr, "");
    let run = site.trusted("get", &["--json", "--store", &file]).await;
    let json = run.ends_with(1).json();
    assert_eq!(json["body"], "ok");
    assert_eq!(json["noted"], "added");
    assert_eq!(json["stored"], false);
    assert!(!Path::new(&file).exists());

    let forget = ["store", "forget", "api.example.com", "--file", &file];
    let clear = ["store", "clear", "--file", &file];
    let recover = ["store", "recover", "--file", &file];
    for (bytes, command) in [
        (V1, &forget[..]),
        (V1, &clear),
        (&V1[..V1.len() - 1], &recover),
    ] {
        fs::write(&file, bytes).unwrap();
        let arguments = command.iter().chain(&["--json"]);
        let run = run_beside(arguments.map(|&text| text.into()).collect()).await;
        assert_eq!(run.ends_with(1).json()["error"], "storage", "{command:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), bytes);
    }
}

/// A server whose answers pin its leaf, with these further directives.
async fn pinning_site(rest: &str) -> Site {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["shop.example"]);
    let value = header_value(leaf.pin(), rest);
    Site::of(root, leaf, &[("public-key-pins", &value)]).await
}

/// Files that are not as they were written, and whose entries still verify.
fn damaged() -> Vec<(String, Vec<&'static str>)> {
    let last_line = V1.trim_end().rfind('\n').unwrap() + 1;
    let (first, second) = ("api.example.com", "xn--bcher-kva.example");
    vec![
        (V1[..V1.len() - 40].to_owned(), vec![first]),
        (V1[..last_line].to_owned(), vec![first]),
        (V1[..40].to_owned(), vec![]),
        (String::new(), vec![]),
        // One bit of a pin, one of the first line.
        (V1.replacen("AQEB", "AQEC", 1), vec![second]),
        (V1.replacen("format", "formau", 1), vec![first, second]),
    ]
}

/// `pinhold store` with `--json`.
fn store(action: &[&str], file: &str) -> Run {
    run([&["store"], action, &["--file", file, "--json"]].concat())
}

/// As `list` tells them.
fn hosts(file: &str) -> Vec<String> {
    let json = store(&["list"], file).ends_with(0).json();
    let hosts = json["hosts"].as_array().unwrap().iter();
    let hosts = hosts.map(|known| known["host"].as_str().unwrap().to_owned());
    hosts.collect()
}

/// Two live entries, the second with its subdomains, and one that has expired.
fn some(folder: &Folder) -> String {
    let mut with_subdomains = entry("b.example", NOW + 100, LAST);
    with_subdomains.includes_subdomains = true;
    let file = folder.path("noted");
    let live = entry("a.example", NOW, LAST);
    let expired = entry("c.example", NOW + 200, NOW + 300);
    write(&file, &[live, with_subdomains, expired]);
    file
}

fn entry(host: &str, noted_at: u64, expires_at: u64) -> KnownPinnedHost {
    let mut known = KnownPinnedHost::from_json(V1.lines().nth(2).unwrap()).unwrap();
    known.host = Host::parse(host).unwrap();
    known.noted_at = at(noted_at);
    known.expires_at = at(expires_at);
    known
}

/// Makes these, sorted by host, the file.
fn write(file: &str, entries: &[KnownPinnedHost]) {
    let entries = entries.iter().cloned().map(Arc::new).collect::<Vec<_>>();
    // A file that is there was written by somebody else, and would be merged with.
    let _ = fs::remove_file(file);
    let mut storage = FileStorage::new(file);
    let stored = storage.commit(&Batch::new(&[], &|| entries.clone()));
    assert_eq!(stored.unwrap(), None);
}

const V1: &str = include_str!("formats/v1.jsonl");
/// 31 December 9999.
const LAST: u64 = 253_402_300_799;
/// Nobody listens there.
const UNREACHABLE: &str = "https://127.0.0.1:1/";
/// One of each kind.
const ACTIONS: [&[&str]; 6] = [
    &["check"],
    &["clear"],
    &["forget", "a.example"],
    &["list"],
    &["query", "a.example"],
    &["recover"],
];
