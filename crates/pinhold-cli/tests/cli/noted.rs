//! `pinhold get --store`: noted pins that outlive the process.

use std::fs::{self, File};
use std::path::Path;

use crate::common::{NOW, at, header_value};
use crate::peers::{Peer, Tls};
use crate::pki::Ca;
use crate::program::{Folder, Site, run, run_async, unrelated_pin};
use crate::server::Server;
use crate::store_files::{LAST, V2, entry, hosts, store, stored, write};

#[tokio::test(flavor = "multi_thread")]
async fn pins_noted_by_one_run_are_enforced_by_the_next() {
    let site = pinning_site("max-age=300; includeSubDomains").await;
    let file = site.folder.path("noted");
    let run = site
        .run_trusted("get", &["--store", &file])
        .await
        .expect_code(0);
    assert_eq!(run.stdout, b"ok");
    assert_eq!(run.stderr, "");

    // A certificate of another trusted CA, followed by the genuine chain.
    let other = Ca::root("Other");
    let leaf = other.leaf(&["shop.example"]);
    let impostor = Site::with_chain(other, leaf.with_appended(site.leaf.chain.clone()), &[]).await;
    let before = site.folder.contents();
    let run = impostor
        .run_trusted("get", &["--json", "--store", &file])
        .await;
    let json = run.expect_code(90).json();
    assert_eq!(json["error"], "pin-violation");
    assert_eq!(json["source"], "noted");
    assert_eq!(json["noted_hostname"], "shop.example");
    assert_eq!(impostor.server.requests(), 0, "no request was sent");
    let run = impostor.run_trusted("get", &["--store", &file]).await;
    assert_eq!(run.expect_code(90).stdout, b"");
    assert_eq!(site.folder.contents(), before);
    // Without the file the connection is accepted.
    impostor.run_trusted("get", &[]).await.expect_code(0);

    let run = site.run_trusted("get", &["--json", "--store", &file]).await;
    let json = run.expect_code(0).json();
    assert_eq!(json["decision"], "pass");
    assert_eq!(json["noted"], "refreshed");
    assert_eq!(json["stored"], true);
}

/// The store delays the write of a refresh by up to a minute, and the program ends earlier.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_stored_before_the_program_exits() {
    let site = pinning_site("max-age=300").await;
    let file = site.folder.path("noted");
    site.run_trusted("get", &["--store", &file])
        .await
        .expect_code(0);
    let mut known = stored(&file);
    known[0].noted_at = at(known[0].noted_at.as_secs() - 100);
    known[0].expires_at = at(known[0].expires_at.as_secs() - 100);
    write(&file, &known);
    site.run_trusted("get", &["--store", &file])
        .await
        .expect_code(0);
    let now_known = stored(&file);
    assert!(now_known[0].expires_at.as_secs() >= known[0].expires_at.as_secs() + 100);
}

/// A lock that is held makes a write wait for 2 s, which is longer than the time limit.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_limit_includes_the_write_of_a_refresh() {
    let site = pinning_site("max-age=300").await;
    let file = site.folder.path("noted");
    let store = ["--store", &file];
    site.run_trusted("get", &store).await.expect_code(0);
    let lock = File::options()
        .write(true)
        .open(site.folder.path("noted.lock"));
    let lock = lock.unwrap();
    lock.lock().unwrap();
    let limited = [&store[..], &["--timeout", "1"]].concat();
    let run = site.run_trusted("get", &limited).await.expect_code(1);
    assert!(run.stderr.contains("within 1 s"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn max_age_0_removes_the_entry() {
    let mut site = pinning_site("max-age=300").await;
    let file = site.folder.path("noted");
    site.run_trusted("get", &["--store", &file])
        .await
        .expect_code(0);
    assert_eq!(hosts(&file), ["shop.example"]);
    site.server = Server::start(&site.leaf, &[("public-key-pins", "max-age=0")]).await;
    site.run_trusted("get", &["--store", &file])
        .await
        .expect_code(0);
    assert_eq!(hosts(&file), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_of_the_command_line_apply_in_addition_to_the_file() {
    let site = pinning_site("max-age=300").await;
    let (file, other) = (site.folder.path("noted"), unrelated_pin().to_string());
    let wrong = ["--json", "--store", &file, "--pin", &other];
    let json = site.run_trusted("get", &wrong).await.expect_code(90).json();
    assert_eq!(json["source"], "static");
    assert!(!Path::new(&file).exists(), "nothing was noted");
    // Each policy that fails is named.
    write(&file, &[entry("shop.example", NOW, LAST)]);
    let run = site.run_trusted("get", &wrong).await.expect_code(90);
    let json = run.json();
    let sources = json["policies"].as_array().unwrap().iter();
    let sources = sources.map(|policy| policy["source"].as_str().unwrap());
    assert!(sources.eq(["static", "noted"]), "{json}");
    for part in [other.as_str(), "sha256/AgIC", "noted from the header"] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    fs::remove_file(&file).unwrap();
    let right = site.leaf.pin().to_string();
    let right = ["--store", &file, "--pin", &right];
    site.run_trusted("get", &right).await.expect_code(0);
    assert_eq!(hosts(&file), ["shop.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_are_neither_noted_nor_enforced_with_a_user_added_root() {
    let site = pinning_site("max-age=300").await;
    let (root, file) = (site.root_file(), site.folder.path("noted"));
    let arguments = ["--json", "--user-ca", &root, "--store", &file];
    let json = site.run("get", &arguments).await.expect_code(0).json();
    assert_eq!(json["anchor_origin"], "user-added");
    assert!(!Path::new(&file).exists(), "nothing was noted");
    let known = entry("shop.example", NOW, LAST);
    write(&file, &[known]);
    let before = site.folder.contents();
    let json = site.run("get", &arguments).await.expect_code(0).json();
    assert_eq!(json["decision"], "skipped");
    assert_eq!(site.folder.contents(), before);
}

/// nginx sets the header, and separate processes share only the file.
#[test]
fn pins_noted_from_nginx_refuse_an_impostor_in_a_later_run() {
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let leaf = root.leaf(&["pinned.test"]);
    let impostor = other
        .leaf(&["pinned.test"])
        .with_appended(leaf.chain.clone());
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
    assert_eq!(get(&genuine).expect_code(0).json()["noted"], "added");
    let json = get(&impostor).expect_code(90).json();
    assert_eq!(json["source"], "noted");
    assert_eq!(json["host"], "pinned.test");
    assert_eq!(get(&genuine).expect_code(0).json()["decision"], "pass");
    store(&["forget", "pinned.test"], &file).expect_code(0);
    get(&impostor).expect_code(0);
}

/// A directory in place of the lock file makes every write fail, even for root.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_exits_with_1_after_the_result() {
    let site = pinning_site("max-age=300").await;
    let file = site.folder.path("noted");
    fs::create_dir(site.folder.path("noted.lock")).unwrap();
    let run = site
        .run_trusted("get", &["--store", &file])
        .await
        .expect_code(1);
    assert_eq!(run.stdout, b"ok");
    assert_ne!(run.stderr, "");
    let run = site.run_trusted("get", &["--json", "--store", &file]).await;
    let json = run.expect_code(1).json();
    assert_eq!(json["body"], "ok");
    assert_eq!(json["noted"], "added");
    assert_eq!(json["stored"], false);
    assert!(!Path::new(&file).exists());

    let forget = ["store", "forget", "api.example.com", "--file", &file];
    let clear = ["store", "clear", "--file", &file];
    let recover = ["store", "recover", "--file", &file];
    for (bytes, command) in [(V2, &forget[..]), (V2, &clear), (&V2[1..], &recover)] {
        fs::write(&file, bytes).unwrap();
        let arguments = [command, &["--json"]].concat();
        let run = run_async(&arguments).await;
        assert_eq!(run.expect_code(1).json()["error"], "storage", "{command:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), bytes);
    }
}

/// Starts a server whose `Public-Key-Pins` header pins its leaf and has these directives.
async fn pinning_site(rest: &str) -> Site {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["shop.example"]);
    let value = header_value(leaf.pin(), rest);
    Site::with_chain(root, leaf, &[("public-key-pins", &value)]).await
}
