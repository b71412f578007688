//! `pinhold get` as a program: what it prints, and the exit codes that it promises.
#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use common::cli::{Folder, Site, run, run_beside};
use common::pki::Ca;
use common::server::{Server, answer};
use common::{header_value, unrelated_pin};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn prints_the_body_and_nothing_else() {
    let site = Site::start(&[]).await;
    let pin = site.leaf.pin().to_string();
    let run = site.trusted("get", &["--pin", &pin]).await.ends_with(0);
    assert_eq!(run.stdout, b"ok");
    assert_eq!(run.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_of_the_connection_as_json() {
    let site = Site::start(&[("x-one", "1")]).await;
    let pin = site.root.pin().to_string();
    let run = site.trusted("get", &["--pin", &pin, "--json"]).await;
    let json = run.ends_with(0).json();
    assert_eq!(json["url"], site.url());
    assert_eq!(json["status"], 200);
    assert_eq!(json["version"], "HTTP/2.0");
    assert_eq!(json["host"], "shop.example");
    assert_eq!(json["decision"], "pass");
    assert_eq!(json["anchor_origin"], "built-in");
    assert_eq!(json["noted"], Value::Null);
    assert_eq!(json["body"], "ok");
    let headers = json["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-one", "1"])), "{headers:?}");
    let chain = json["chain"].as_array().unwrap();
    let roles = chain.iter().map(|key| key["role"].as_str().unwrap());
    assert!(roles.eq(["leaf", "intermediate", "anchor"]));
    assert_eq!(chain[0]["fingerprint"], site.leaf.pin().to_string());
    assert_eq!(chain[2]["fingerprint"], pin);
    assert_eq!(chain[2]["subject"], "CN=Root");
}

#[tokio::test(flavor = "multi_thread")]
async fn takes_every_spelling_of_a_single_pin() {
    let site = Site::start(&[]).await;
    let pin = site.leaf.pin();
    let base64 = pin.to_base64();
    let hex = pin.as_bytes().map(|byte| format!("{byte:02x}")).concat();
    for spelling in [
        format!("sha256/{base64}"),
        format!("sha256//{base64}"),
        format!("pin-sha256=\"{base64}\""),
        base64,
        hex,
    ] {
        let run = site.trusted("get", &["--json", "--pin", &spelling]).await;
        assert_eq!(run.ends_with(0).json()["decision"], "pass", "{spelling}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_matching_pin_of_several_is_enough() {
    let site = Site::start(&[]).await;
    let (pin, foreign) = (site.leaf.pin().to_string(), unrelated_pin().to_string());
    let pins = ["--pin", &foreign, "--pin", &pin, "--include-subdomains"];
    site.trusted("get", &pins).await.ends_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_with_90_on_a_pin_violation() {
    let site = Site::start(&[]).await;
    let foreign = unrelated_pin().to_string();
    let run = site
        .trusted("get", &["--pin", &foreign])
        .await
        .ends_with(90);
    assert_eq!(run.stdout, b"");
    assert!(run.stderr.contains(&foreign), "{}", run.stderr);
    assert!(run.stderr.contains(&site.leaf.pin().to_string()));

    let run = site.trusted("get", &["--json", "--pin", &foreign]).await;
    let json = run.ends_with(90).json();
    assert_eq!(json["error"], "pin-violation");
    assert_eq!(json["host"], "shop.example");
    assert_eq!(json["noted_hostname"], "shop.example");
    assert_eq!(json["source"], "static");
    assert_eq!(json["expected"], json!([foreign]));
    assert_eq!(json["anchor_origin"], "built-in");
    assert_eq!(json["chain"][0]["fingerprint"], site.leaf.pin().to_string());
    assert!(json["message"].is_string());
    assert_eq!(site.server.requests(), 0, "no request left");
}

#[tokio::test(flavor = "multi_thread")]
async fn ca_replaces_the_bundled_roots() {
    let site = Site::start(&[]).await;
    site.trusted("get", &[]).await.ends_with(0);
    let other = site.folder.write("other.pem", Ca::root("Other").pem());
    for arguments in [&["--json"][..], &["--json", "--ca", &other]] {
        let json = site.run("get", arguments).await.ends_with(1).json();
        assert!(json["error"].is_string() && json["message"].is_string());
        assert_ne!(json["error"], "pin-violation");
    }
    // Of several files each counts.
    site.trusted("get", &["--ca", &other]).await.ends_with(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_chain_is_no_pin_violation() {
    let site = Site::start(&[]).await;
    let foreign = unrelated_pin().to_string();
    let run = site.run("get", &["--pin", &foreign]).await.ends_with(1);
    assert_eq!(run.stdout, b"");
    assert_ne!(run.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skip_is_visible_without_verbose() {
    let site = Site::start(&[]).await;
    let (root, foreign) = (site.root_file(), unrelated_pin().to_string());
    let arguments = ["--user-ca", &root, "--pin", &foreign];
    let run = site.run("get", &arguments).await.ends_with(0);
    assert_eq!(run.stdout, b"ok");
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);

    let run = site
        .run("get", &[&arguments[..], &["--json"]].concat())
        .await;
    let json = run.ends_with(0).json();
    assert_eq!(json["decision"], "skipped");
    assert_eq!(json["anchor_origin"], "user-added");

    // Where nothing is pinned, nothing is skipped.
    let run = site.run("get", &arguments[..2]).await.ends_with(0);
    assert_eq!(run.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn verbose_notes_go_to_stderr() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["shop.example"]);
    let value = header_value(leaf.pin(), "max-age=300");
    let site = Site::of(root, leaf, &[("public-key-pins", &value)]).await;
    let run = site.trusted("get", &["-v"]).await.ends_with(0);
    assert_eq!(run.stdout, b"ok");
    for note in ["200", "not-pinned", "added", &site.leaf.pin().to_string()] {
        assert!(run.stderr.contains(note), "{note}: {}", run.stderr);
    }
    let json = site.trusted("get", &["--json"]).await.ends_with(0).json();
    assert_eq!(json["noted"], "added");
}

#[tokio::test(flavor = "multi_thread")]
async fn does_not_follow_redirects() {
    let site = Site::start(&[("location", "https://elsewhere.example/")]).await;
    site.trusted("get", &[]).await.ends_with(0);
    assert_eq!(site.server.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_passes_only_without_pins() {
    let server = Server::plain(answer(&[])).await;
    let port = server.address.port();
    let get = |more: &[&str]| {
        let resolve = format!("shop.example:{port}:127.0.0.1");
        let url = format!("http://shop.example:{port}/");
        let fixed = ["get", "--json", &url, "--resolve", &resolve];
        run_beside(fixed.iter().chain(more).map(|&text| text.into()).collect())
    };
    let json = get(&[]).await.ends_with(0).json();
    assert_eq!(json["host"], "shop.example");
    assert_eq!(json["decision"], "not-pinned");
    assert_eq!(json["anchor_origin"], Value::Null);
    assert_eq!(json["chain"], json!([]));
    let json = get(&["--pin", &unrelated_pin().to_string()]).await;
    assert!(json.ends_with(1).json()["error"].is_string());
    assert_eq!(server.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn resolve_is_for_its_host_and_port_only() {
    let site = Site::start(&[]).await;
    let root = site.root_file();
    let url = site.url();
    // Nobody listens at port 1, so that a mapping that is not used shows.
    let used = format!("SHOP.example.:{}:127.0.0.1", site.port());
    let unused = "shop.example:1:127.0.0.1";
    let other = format!("other.example:{}:127.0.0.1", site.port());
    for (resolve, code) in [(used.as_str(), 0), (unused, 1), (&other, 1)] {
        let arguments = ["get", &url, "--ca", &root, "--resolve", resolve];
        let run = run_beside(arguments.map(str::to_owned).to_vec()).await;
        run.ends_with(code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_outside_ascii_become_a_labels() {
    let site = Site::with_leaf(|root| root.leaf(&["xn--bcher-kva.example"]), &[]).await;
    let port = site.port();
    let pin = site.leaf.pin().to_string();
    let url = format!("https://b\u{fc}cher.example:{port}/");
    let resolve = format!("b\u{fc}cher.example:{port}:127.0.0.1");
    let root = site.root_file();
    let arguments = [
        "get",
        &url,
        "--json",
        "--resolve",
        &resolve,
        "--ca",
        &root,
        "--pin",
        &pin,
    ];
    let json = run_beside(arguments.map(str::to_owned).to_vec()).await;
    let json = json.ends_with(0).json();
    assert_eq!(json["host"], "xn--bcher-kva.example");
    assert_eq!(json["decision"], "pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_never_pinned_and_never_silently_so() {
    let site = Site::with_leaf(|root| root.leaf(&["127.0.0.1"]), &[]).await;
    let (root, pin) = (site.root_file(), site.leaf.pin().to_string());
    let url = format!("https://127.0.0.1:{}/", site.port());
    let arguments = ["get", &url, "--json", "--ca", &root, "--pin", &pin];
    let run = run_beside(arguments[..5].iter().map(|&text| text.into()).collect()).await;
    assert_eq!(run.ends_with(0).json()["decision"], "not-pinned");
    let run = run_beside(arguments.map(str::to_owned).to_vec()).await;
    run.ends_with(2);
    assert_eq!(site.server.requests(), 1);
    for url in ["https://[::1]/", "https://127.1/", "https://2130706433/"] {
        run_beside(["get", url, "--pin", &pin].map(str::to_owned).to_vec())
            .await
            .ends_with(2);
    }
}

#[test]
fn bad_input_ends_with_2_and_a_message() {
    let folder = Folder::new();
    let text = folder.write("text.pem", "no certificate");
    let trusted = Ca::root("Root").pem();
    let trusted = trusted.replace(" CERTIFICATE-", " TRUSTED CERTIFICATE-");
    let trusted = folder.write("trusted.pem", trusted);
    let missing = folder.path("missing.pem");
    let url = "https://shop.example/";
    for arguments in [
        &["get"][..],
        &["get", ""],
        &["get", "https://"],
        &["get", "https://user:secret@shop.example/"],
        &["get", "https://two words/"],
        &["get", url, "--pin", "sha256/AAAA"],
        &["get", url, "--pin", "sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAA="],
        &["get", url, "--include-subdomains"],
        &["get", url, "--ca", &text],
        &["get", url, "--ca", &missing],
        &["get", url, "--user-ca", &text],
        &["get", url, "--user-ca", &trusted],
        &["get", url, "--resolve", "shop.example:443"],
        &["get", url, "--resolve", "shop.example:port:127.0.0.1"],
        &["get", url, "--resolve", "shop.example:443:elsewhere"],
        &["get", url, "--resolve", "127.0.0.1:443:127.0.0.1"],
        &["get", url, "--unknown"],
        &["unknown"],
        &[],
    ] {
        let run = run(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stderr);
        assert_ne!(run.stderr, "", "{arguments:?}");
        assert_eq!(run.stdout, b"", "{arguments:?}");
    }
}

#[test]
fn an_unreachable_server_ends_with_1() {
    let resolve = "shop.example:1:127.0.0.1";
    let arguments = ["get", "https://shop.example:1/", "--resolve", resolve];
    let json = run(arguments.iter().chain(&["--json"])).ends_with(1).json();
    assert!(json["error"].is_string() && json["message"].is_string());
    let run = run(arguments).ends_with(1);
    assert_eq!(run.stdout, b"");
}

#[test]
fn the_help_documents_the_exit_codes() {
    let run = run(["--help"]).ends_with(0);
    assert!(run.text().contains("90"), "{}", run.text());
}

/// The reader leaves before a word is said: no panic, and no complaint.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhold"));
    command.args(["header", "max-age=0"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Nor does an endless body go on into the void.
#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_an_endless_body() {
    const MUCH: usize = 256 << 20;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        // As much of the request as has come.
        assert_ne!(socket.read(&mut [0; 4096]).unwrap(), 0);
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let mut sent = 0;
        while sent < MUCH && socket.write_all(&[b'x'; 65536]).is_ok() {
            sent += 65536;
        }
        sent
    });
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhold"));
    let status = command.args(["get", &url]).stdout(writer).status();
    assert_eq!(status.unwrap().code(), Some(0));
    assert!(server.join().unwrap() < MUCH, "all of it was read");
}
