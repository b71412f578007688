//! `pinhold get`: its output, and the documented exit codes.

use std::io::{Read, Write};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::common::header_value;
use crate::pki::Ca;
use crate::program::{Folder, Site, command, finish, pem, run, run_async, unrelated_pin};
use crate::server::{Server, answer};

#[tokio::test(flavor = "multi_thread")]
async fn prints_only_the_body() {
    let site = Site::start(&[]).await;
    let pin = site.leaf.pin().to_string();
    let run = site
        .run_trusted("get", &["--pin", &pin])
        .await
        .expect_code(0);
    assert_eq!(run.stdout, b"ok");
    assert_eq!(run.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn prints_the_connection_as_json() {
    let site = Site::start(&[("x-one", "1")]).await;
    let pin = site.root.pin().to_string();
    let run = site.run_trusted("get", &["--pin", &pin, "--json"]).await;
    let json = run.expect_code(0).json();
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
    assert!(roles.eq(["leaf", "intermediate", "root"]));
    assert_eq!(chain[0]["fingerprint"], site.leaf.pin().to_string());
    assert_eq!(chain[2]["fingerprint"], pin);
    assert_eq!(chain[2]["subject"], "CN=Root");
}

#[tokio::test(flavor = "multi_thread")]
async fn accepts_every_notation_of_a_pin() {
    let site = Site::start(&[]).await;
    let pin = site.leaf.pin();
    let base64 = pin.to_base64();
    let hex = pin.as_bytes().map(|byte| format!("{byte:02x}")).concat();
    for notation in [
        format!("sha256/{base64}"),
        format!("sha256//{base64}"),
        format!("pin-sha256=\"{base64}\""),
        base64,
        hex,
        pem("CERTIFICATE", &site.leaf.certificate()),
    ] {
        let run = site
            .run_trusted("get", &["--json", "--pin", &notation])
            .await;
        assert_eq!(run.expect_code(0).json()["decision"], "pass", "{notation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_matching_pin_is_enough() {
    let site = Site::start(&[]).await;
    let (pin, other) = (site.leaf.pin().to_string(), unrelated_pin().to_string());
    let pins = ["--pin", &other, "--pin", &pin, "--include-subdomains"];
    site.run_trusted("get", &pins).await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_violation_exits_with_90() {
    let site = Site::start(&[]).await;
    let other = unrelated_pin().to_string();
    let run = site
        .run_trusted("get", &["--pin", &other])
        .await
        .expect_code(90);
    assert_eq!(run.stdout, b"");
    assert!(run.stderr.contains(&other), "{}", run.stderr);
    assert!(run.stderr.contains(&site.leaf.pin().to_string()));

    let run = site.run_trusted("get", &["--json", "--pin", &other]).await;
    let json = run.expect_code(90).json();
    assert_eq!(json["error"], "pin-violation");
    assert_eq!(json["host"], "shop.example");
    assert_eq!(json["noted_hostname"], "shop.example");
    assert_eq!(json["source"], "static");
    assert_eq!(json["expected"], json!([other]));
    assert_eq!(json["anchor_origin"], "built-in");
    assert_eq!(json["chain"][0]["fingerprint"], site.leaf.pin().to_string());
    assert!(json["message"].is_string());
    assert_eq!(site.server.requests(), 0, "no request was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn ca_replaces_the_bundled_roots() {
    let site = Site::start(&[]).await;
    site.run_trusted("get", &[]).await.expect_code(0);
    let other = site.folder.write("other.pem", Ca::root("Other").pem());
    for arguments in [&["--json"][..], &["--json", "--ca", &other]] {
        let json = site.run("get", arguments).await.expect_code(1).json();
        assert!(json["error"].is_string() && json["message"].is_string());
        assert_ne!(json["error"], "pin-violation");
    }
    // The roots of all `--ca` files are trusted.
    site.run_trusted("get", &["--ca", &other])
        .await
        .expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_chain_is_not_a_pin_violation() {
    let site = Site::start(&[]).await;
    let other = unrelated_pin().to_string();
    let run = site.run("get", &["--pin", &other]).await.expect_code(1);
    assert_eq!(run.stdout, b"");
    assert_ne!(run.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn skipped_pins_are_reported_without_verbose() {
    let site = Site::start(&[]).await;
    let (root, other) = (site.root_file(), unrelated_pin().to_string());
    let arguments = ["--user-ca", &root, "--pin", &other];
    let run = site.run("get", &arguments).await.expect_code(0);
    assert_eq!(run.stdout, b"ok");
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);

    let run = site
        .run("get", &[&arguments[..], &["--json"]].concat())
        .await;
    let json = run.expect_code(0).json();
    assert_eq!(json["decision"], "skipped");
    assert_eq!(json["anchor_origin"], "user-added");

    let enforced = [&arguments[..], &["--enforce-on-user-ca"]].concat();
    let text = site.run("get", &enforced).await.expect_code(90).stderr;
    assert!(text.contains("--user-ca root"), "{text}");
    assert!(!text.contains("enforce-on-user-ca"), "{text}");
    let run = site.run("get", &["--enforce-on-user-ca"]).await;
    run.expect_code(2);

    // Without pins there is nothing to skip.
    let run = site.run("get", &arguments[..2]).await.expect_code(0);
    assert_eq!(run.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn verbose_output_goes_to_stderr() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["shop.example"]);
    let value = header_value(leaf.pin(), "max-age=300");
    let site = Site::with_chain(root, leaf, &[("public-key-pins", &value)]).await;
    let run = site.run_trusted("get", &["-v"]).await.expect_code(0);
    assert_eq!(run.stdout, b"ok");
    for text in ["200", "not-pinned", "added", &site.leaf.pin().to_string()] {
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    }
    let json = site
        .run_trusted("get", &["--json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(json["noted"], "added");
}

#[tokio::test(flavor = "multi_thread")]
async fn does_not_follow_redirects() {
    let site = Site::start(&[("location", "https://elsewhere.example/")]).await;
    site.run_trusted("get", &[]).await.expect_code(0);
    assert_eq!(site.server.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_allowed_only_without_pins() {
    let server = Server::plain(answer(&[])).await;
    let port = server.address.port();
    let get = async |options: &[&str]| {
        let resolve = format!("shop.example:{port}:127.0.0.1");
        let url = format!("http://shop.example:{port}/");
        let fixed = ["get", "--json", &url, "--resolve", &resolve];
        run_async(&[&fixed[..], options].concat()).await
    };
    let json = get(&[]).await.expect_code(0).json();
    assert_eq!(json["host"], "shop.example");
    assert_eq!(json["decision"], "not-pinned");
    assert_eq!(json["anchor_origin"], Value::Null);
    assert_eq!(json["chain"], json!([]));
    let json = get(&["--pin", &unrelated_pin().to_string()]).await;
    assert!(json.expect_code(1).json()["error"].is_string());
    assert_eq!(server.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn resolve_applies_to_its_host_and_port_only() {
    let site = Site::start(&[]).await;
    let root = site.root_file();
    let url = site.url();
    // No server listens on port 1: a mapping to it makes the request fail if it is applied.
    let used = format!("SHOP.example.:{}:127.0.0.1", site.port());
    let unused = "shop.example:1:127.0.0.1";
    let other = format!("other.example:{}:127.0.0.1", site.port());
    for (resolve, code) in [(used.as_str(), 0), (unused, 1), (&other, 1)] {
        let arguments = ["get", &url, "--ca", &root, "--resolve", resolve];
        let run = run_async(&arguments).await;
        run.expect_code(code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_outside_ascii_are_converted_to_a_labels() {
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
    let json = run_async(&arguments).await;
    let json = json.expect_code(0).json();
    assert_eq!(json["host"], "xn--bcher-kva.example");
    assert_eq!(json["decision"], "pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_for_an_ip_address_are_an_error() {
    let site = Site::with_leaf(|root| root.leaf(&["127.0.0.1"]), &[]).await;
    let (root, pin) = (site.root_file(), site.leaf.pin().to_string());
    let url = format!("https://127.0.0.1:{}/", site.port());
    let arguments = ["get", &url, "--json", "--ca", &root, "--pin", &pin];
    let run = run_async(&arguments[..5]).await;
    assert_eq!(run.expect_code(0).json()["decision"], "not-pinned");
    let run = run_async(&arguments).await;
    run.expect_code(2);
    assert_eq!(site.server.requests(), 1);
    for url in ["https://[::1]/", "https://127.1/", "https://2130706433/"] {
        let run = run_async(&["get", url, "--pin", &pin]).await;
        run.expect_code(2);
    }
}

#[test]
fn invalid_input_exits_with_2_and_a_message() {
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

/// The sections that are read may not be all that the user means.
#[test]
fn a_file_with_a_section_that_is_not_read_is_refused_and_the_section_named() {
    let folder = Folder::new();
    let (root, other) = (Ca::root("Root").pem(), Ca::root("Other").pem());
    for label in ["TRUSTED CERTIFICATE", "X509 CERTIFICATE", "PKCS7"] {
        let unread = other.replace(" CERTIFICATE-", &format!(" {label}-"));
        for text in [
            unread.clone(),
            format!("{root}{unread}"),
            format!("\u{feff}{unread}{root}"),
            format!("  {unread}{root}").replace('\n', "\r\n"),
        ] {
            let file = folder.write("roots.pem", &text);
            let url = "https://shop.example/";
            for arguments in [
                &["get", url, "--ca", &file][..],
                &["get", url, "--user-ca", &file],
                &["get", url, "--pin", &text],
                &["fingerprint", &file],
            ] {
                let run = run(arguments).expect_code(2);
                assert!(run.stderr.contains(label), "{arguments:?}: {}", run.stderr);
            }
        }
    }
}

#[test]
fn an_unreachable_server_exits_with_1() {
    let resolve = "shop.example:1:127.0.0.1";
    let arguments = ["get", "https://shop.example:1/", "--resolve", resolve];
    let json = run(arguments.iter().chain(&["--json"]))
        .expect_code(1)
        .json();
    assert!(json["error"].is_string() && json["message"].is_string());
    let run = run(arguments).expect_code(1);
    assert_eq!(run.stdout, b"");
    let url = "pinhold: https://shop.example:1/: ";
    assert!(run.stderr.starts_with(url), "{}", run.stderr);
}

#[test]
fn the_help_documents_the_exit_codes() {
    let run = run(["--help"]).expect_code(0);
    assert!(run.text().contains("90"), "{}", run.text());
}

/// The reader may close the pipe early, as `head` does: no panic and no message.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_not_an_error() {
    let mut command = command();
    command.args(["header", "max-age=0"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = finish(command.stdout(writer)).expect_code(0);
    assert_eq!(run.stderr, "");
}

/// The body is kept in memory with `--json` only.
#[test]
fn an_endless_body_is_an_error_in_json() {
    let (url, server) = endless_body();
    let json = run(["get", &url, "--json", "--timeout", "1m"])
        .expect_code(1)
        .json();
    assert_eq!(json["error"], "http", "{json}");
    assert!(server.join().unwrap() < LIMIT, "the whole body was read");
}

/// More than the program may read.
const LIMIT: usize = 256 << 20;

/// Starts a server of one long response. Its thread returns how many bytes were sent.
fn endless_body() -> (String, JoinHandle<usize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        assert_ne!(socket.read(&mut [0; 4096]).unwrap(), 0);
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let mut sent = 0;
        while sent < LIMIT && socket.write_all(&[b'x'; 65536]).is_ok() {
            sent += 65536;
        }
        sent
    });
    (url, server)
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_an_endless_body() {
    let (url, server) = endless_body();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    finish(command().args(["get", &url]).stdout(writer)).expect_code(0);
    assert!(server.join().unwrap() < LIMIT, "the whole body was read");
}
