//! The command-line tool as a program: what it prints, and the exit codes that it promises.
#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pinhold::SpkiFingerprint;
use serde_json::{Value, json};

use common::pki::{Ca, Leaf};
use common::server::{Server, answer};
use common::{foreign_pin, header, header_value, peers};

/// What a run of the tool left behind.
struct Run {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Run {
    fn json(&self) -> Value {
        let text = str::from_utf8(&self.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "one object: {text:?}");
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.stdout).unwrap()
    }

    #[track_caller]
    fn ends_with(self, code: i32) -> Self {
        let (stdout, stderr) = (String::from_utf8_lossy(&self.stdout), &self.stderr);
        assert_eq!(self.code, code, "stdout: {stdout}\nstderr: {stderr}");
        self
    }
}

fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhold"));
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap();
    Run {
        // A panic ends with 101, a signal with none.
        code: status.code().unwrap(),
        stdout,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Beside the runtime, whose servers answer meanwhile.
async fn run_beside(arguments: Vec<String>) -> Run {
    tokio::task::spawn_blocking(|| run(arguments))
        .await
        .unwrap()
}

/// A folder of its own below `target`; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cli-{}-{count}", process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{encoded}\n-----END {label}-----\n")
}

/// A server for `shop.example` below its own root, and how to get there.
struct Site {
    root: Ca,
    leaf: Leaf,
    server: Server,
    folder: Folder,
}

impl Site {
    async fn start(fields: &[(&'static str, &str)]) -> Self {
        Self::with_leaf(
            |root| root.intermediate("Sub").leaf(&["shop.example"]),
            fields,
        )
        .await
    }

    async fn with_leaf(leaf: impl FnOnce(&Ca) -> Leaf, fields: &[(&'static str, &str)]) -> Self {
        let root = Ca::root("Root");
        let leaf = leaf(&root);
        Self::of(root, leaf, fields).await
    }

    async fn of(root: Ca, leaf: Leaf, fields: &[(&'static str, &str)]) -> Self {
        let server = Server::start(&leaf, fields).await;
        let folder = Folder::new();
        folder.write("root.pem", root.pem());
        Self {
            root,
            leaf,
            server,
            folder,
        }
    }

    fn port(&self) -> u16 {
        self.server.address.port()
    }

    fn url(&self) -> String {
        format!("https://shop.example:{}/", self.port())
    }

    fn root_file(&self) -> String {
        self.folder.path("root.pem")
    }

    /// Without anchors.
    async fn run(&self, command: &str, more: &[&str]) -> Run {
        let resolve = format!("shop.example:{}:127.0.0.1", self.port());
        let url = self.url();
        let mut arguments = vec![command, &url, "--resolve", &resolve];
        arguments.extend(more);
        run_beside(arguments.into_iter().map(str::to_owned).collect()).await
    }

    /// With the root as the only built-in one.
    async fn trusted(&self, command: &str, more: &[&str]) -> Run {
        let root = self.root_file();
        let arguments = [&["--ca", &root], more].concat();
        self.run(command, &arguments).await
    }
}

mod get {
    use super::*;

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
        let (pin, foreign) = (site.leaf.pin().to_string(), foreign_pin().to_string());
        let pins = ["--pin", &foreign, "--pin", &pin, "--include-subdomains"];
        site.trusted("get", &pins).await.ends_with(0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn ends_with_90_on_a_pin_violation() {
        let site = Site::start(&[]).await;
        let foreign = foreign_pin().to_string();
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
        let foreign = foreign_pin().to_string();
        let run = site.run("get", &["--pin", &foreign]).await.ends_with(1);
        assert_eq!(run.stdout, b"");
        assert_ne!(run.stderr, "");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_skip_is_visible_without_verbose() {
        let site = Site::start(&[]).await;
        let (root, foreign) = (site.root_file(), foreign_pin().to_string());
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
        let json = get(&["--pin", &foreign_pin().to_string()]).await;
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
}

mod fingerprint {
    use super::*;

    fn only(run: &Run) -> Value {
        let json = run.json();
        let certificates = json["certificates"].as_array().unwrap();
        assert_eq!(certificates.len(), 1, "{json}");
        certificates[0].clone()
    }

    #[test]
    fn lists_all_certificates_and_keys_of_a_file() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["shop.example"]);
        let folder = Folder::new();
        let key = "-----BEGIN PUBLIC KEY-----\n\
             MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
             -----END PUBLIC KEY-----\n";
        let text = pem("CERTIFICATE", &leaf.certificate()) + &root.pem() + "between\n" + key;
        let file = folder.write("all.pem", text);
        let json = run(["fingerprint", &file, "--json"]).ends_with(0).json();
        assert_eq!(json["source"], file);
        assert_eq!(json["validated"], false);
        let not_after = "4096-01-01T00:00:00Z";
        let expected = json!([
            {
                "fingerprint": leaf.pin().to_string(),
                "subject": "CN=shop.example",
                "role": "end-entity",
                "not_after": not_after,
            },
            {
                "fingerprint": root.pin().to_string(),
                "subject": "CN=Root",
                "role": "ca",
                "not_after": not_after,
            },
            {
                "fingerprint": "sha256/oekVYFTgT6yJmunydRMs3Ael28TqLCrTof/G4NJTaB8=",
                "subject": "",
                "role": "key",
                "not_after": null,
            },
        ]);
        assert_eq!(json["certificates"], expected);
        let run = run(["fingerprint", &file]).ends_with(0);
        let lines = run.text().lines().collect::<Vec<_>>();
        assert_eq!(lines.len(), 3);
        for (line, entry) in lines.iter().zip(expected.as_array().unwrap()) {
            for field in ["fingerprint", "subject", "role"] {
                assert!(line.contains(entry[field].as_str().unwrap()), "{line}");
            }
        }
        assert_eq!(run.stderr, "");
    }

    #[test]
    fn reads_der() {
        let root = Ca::root("Root");
        let folder = Folder::new();
        let file = folder.write("root.der", root.certificate());
        let entry = only(&run(["fingerprint", &file, "--json"]).ends_with(0));
        assert_eq!(entry["fingerprint"], root.pin().to_string());
        assert_eq!(entry["role"], "ca");
    }

    #[test]
    fn a_subject_does_not_steer_the_terminal() {
        let hostile = "\u{1b}]0;x\u{7}\nCN=bank\u{9b}2J\u{202e}";
        let folder = Folder::new();
        let file = folder.write("hostile.pem", Ca::root(hostile).pem());
        let run = run(["fingerprint", &file]).ends_with(0);
        assert_eq!(run.text().lines().count(), 1);
        let steers = |char: char| char != '\n' && (char.is_control() || char == '\u{202e}');
        assert!(!run.text().contains(steers), "{:?}", run.text());
    }

    #[test]
    fn what_is_neither_certificate_nor_key_ends_with_2() {
        let folder = Folder::new();
        let root = Ca::root("Root");
        let private = root.leaf(&["shop.example"]);
        let private = pem("PRIVATE KEY", private.key().secret_der());
        let good = folder.write("root.pem", root.pem());
        for file in [
            folder.write("text", "hello"),
            folder.write("empty", ""),
            folder.write("private.pem", private),
            folder.write("damaged.pem", pem("CERTIFICATE", b"damaged")),
            folder.write("half.pem", root.pem() + &pem("CERTIFICATE", b"damaged")),
            folder.path("missing.pem"),
            "http://shop.example/".to_owned(),
            "https://".to_owned(),
        ] {
            let run = run(["fingerprint", &file]);
            assert_eq!(
                (run.code, run.stdout.len()),
                (2, 0),
                "{file}: {}",
                run.stderr
            );
            assert_ne!(run.stderr, "", "{file}");
        }
        run(["fingerprint", &good]).ends_with(0);
        run(["fingerprint", "--insecure", "http://shop.example/"]).ends_with(2);
        // It would promise something that a file does not have.
        run(["fingerprint", "--insecure", &good]).ends_with(2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn shows_the_validated_chain_and_what_is_beside_it() {
        let bystander = Ca::root("Bystander");
        let own = bystander.certificate();
        let leaf = |root: &Ca| {
            let leaf = root.intermediate("Sub").leaf(&["shop.example"]);
            leaf.appending([own])
        };
        let site = Site::with_leaf(leaf, &[]).await;
        let run = site.trusted("fingerprint", &["--json"]).await.ends_with(0);
        let json = run.json();
        assert_eq!(json["source"], site.url());
        assert_eq!(json["validated"], true);
        let found = json["certificates"].as_array().unwrap();
        let roles = found.iter().map(|entry| entry["role"].as_str().unwrap());
        let expected = ["leaf", "intermediate", "anchor", "unused"];
        assert!(roles.eq(expected), "{json}");
        assert_eq!(found[0]["fingerprint"], site.leaf.pin().to_string());
        assert_eq!(found[0]["not_after"], "4096-01-01T00:00:00Z");
        assert_eq!(found[2]["fingerprint"], site.root.pin().to_string());
        assert_eq!(found[2]["not_after"], Value::Null);
        assert_eq!(found[3]["fingerprint"], bystander.pin().to_string());
        assert_eq!(site.server.requests(), 0, "a handshake is enough");
        let run = site.trusted("fingerprint", &[]).await.ends_with(0);
        assert_eq!(run.text().lines().count(), 4);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn validates_unless_told_otherwise() {
        let site = Site::start(&[]).await;
        site.run("fingerprint", &[]).await.ends_with(1);
        let json = site
            .run("fingerprint", &["--json"])
            .await
            .ends_with(1)
            .json();
        assert!(json["error"].is_string());
        let run = site.run("fingerprint", &["--insecure", "--json"]).await;
        let run = run.ends_with(0);
        assert_ne!(run.stderr, "", "the warning");
        let json = run.json();
        assert_eq!(json["validated"], false);
        let found = json["certificates"].as_array().unwrap();
        assert_eq!(found.len(), site.leaf.chain.len());
        for entry in found {
            assert!(
                entry["role"].is_null() || entry["role"] == "served",
                "{entry}"
            );
        }
        assert_eq!(found[0]["fingerprint"], site.leaf.pin().to_string());
        let root = site.root_file();
        let run = site.run("fingerprint", &["--user-ca", &root]).await;
        run.ends_with(0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn addresses_have_fingerprints_too() {
        let site = Site::with_leaf(|root| root.leaf(&["127.0.0.1"]), &[]).await;
        let (root, port) = (site.root_file(), site.port());
        let url = format!("https://127.0.0.1:{port}");
        for way in [&["--ca", &root][..], &["--insecure"]] {
            let arguments = [&["fingerprint", "--json", &url], way].concat();
            let run = run_beside(arguments.iter().map(|&text| text.into()).collect()).await;
            let json = run.ends_with(0).json();
            let found = &json["certificates"][0]["fingerprint"];
            assert_eq!(*found, site.leaf.pin().to_string());
        }
    }

    fn openssl(program: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        output.stdout
    }

    #[test]
    fn agrees_with_openssl() {
        let Some(program) = peers::program("openssl") else {
            return;
        };
        let folder = Folder::new();
        for key in [
            &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..],
            &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
            &["ED25519"],
        ] {
            let generate = [&["genpkey", "-algorithm"], key].concat();
            let secret = openssl(&program, &generate, b"");
            let secret_file = folder.write("secret.pem", &secret);
            let public = ["pkey", "-pubout", "-outform", "DER"];
            let public = openssl(&program, &public, &secret);
            let digest = openssl(&program, &["dgst", "-sha256", "-binary"], &public);
            let pin = SpkiFingerprint::from_digest(digest.try_into().unwrap());

            let certificate = folder.path("certificate.pem");
            let request = [
                "req",
                "-x509",
                "-new",
                "-key",
                &secret_file,
                "-subj",
                "/CN=shop.example",
                "-days",
                "30",
                "-out",
                &certificate,
            ];
            openssl(&program, &request, b"");
            let der = ["x509", "-in", &certificate, "-outform", "DER"];
            let der = openssl(&program, &der, b"");
            for file in [
                certificate,
                folder.write("certificate.der", der),
                folder.write("public.pem", pem("PUBLIC KEY", &public)),
                folder.write("public.der", &public),
            ] {
                let entry = only(&run(["fingerprint", "--json", &file]).ends_with(0));
                assert_eq!(entry["fingerprint"], pin.to_string(), "{key:?} {file}");
            }
        }
    }
}

mod header_values {
    use super::*;

    fn read(arguments: &[&str]) -> Value {
        run(["header", "--json"].iter().chain(arguments))
            .ends_with(0)
            .json()
    }

    fn pin(byte: u8) -> SpkiFingerprint {
        header::pin(byte)
    }

    #[test]
    fn the_whole_object() {
        let value = header::good("; includeSubDomains; report-uri=\"https://r.example/pins\"");
        let expected = json!({
            "outcome": "add",
            "reason": null,
            "max_age": 300,
            "include_subdomains": true,
            "pins": [pin(1).to_string(), pin(2).to_string()],
            "report_uri": "https://r.example/pins",
        });
        assert_eq!(read(&[&value]), expected);
        let json = read(&["--", "max-age"]);
        let reason = json["reason"].as_str().unwrap().to_owned();
        let expected = json!({
            "outcome": "ignore",
            "reason": reason,
            "max_age": null,
            "include_subdomains": false,
            "pins": [],
            "report_uri": null,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn outcomes() {
        let one = header::directive(pin(1));
        let good = header::good("");
        let unknown = "pin-sha512=\"AAAA\"; max-age=300";
        for (arguments, outcome) in [
            (&[good.as_str()][..], "add"),
            (&[&format!("{one}; max-age=300")], "ignore"),
            (&[&format!("{one}; {one}; max-age=300")], "ignore"),
            (&["max-age=300"], "ignore"),
            (&[&one], "ignore"),
            (&["max-age=0"], "remove"),
            (&[&format!("{one}; max-age=\"0\"")], "remove"),
            (&[unknown], "remove"),
            (&[""], "ignore"),
            (&[" "], "ignore"),
            (&["-"], "ignore"),
            (&["-v"], "ignore"),
            (&["max-age=-1"], "ignore"),
            (&["pin-sha256=AAAA; max-age=300"], "ignore"),
            (&["pin-sha256=\"AAAA\"; max-age=300"], "ignore"),
            (&[&format!("{good}; max-age=1")], "ignore"),
            (&[&format!("{good}; foo=\"\u{e9};x\"")], "add"),
            (&[&format!("{good};")], "ignore"),
            (&["--syntax", "rfc7469", &format!("{good};")], "ignore"),
            (&["--syntax", "browsers", &format!("{good};")], "add"),
            (
                &["--syntax", "browsers", &good.replace("age=", "age = ")],
                "add",
            ),
            (
                &["--syntax", "browsers", &format!("{good}, {good}")],
                "ignore",
            ),
        ] {
            let json = read(arguments);
            assert_eq!(json["outcome"], outcome, "{arguments:?} {json}");
            assert_eq!(json["reason"].is_null(), outcome == "add", "{json}");
        }
    }

    #[test]
    fn max_age_is_capped() {
        const CAP: u64 = 60 * 24 * 60 * 60;
        for (given, kept) in [
            ("5183999", CAP - 1),
            ("5184000", CAP),
            ("5184001", CAP),
            ("999999999999999999999999999999999999999999999", CAP),
        ] {
            let json = read(&[&header::good("").replace("=300", &format!("={given}"))]);
            assert_eq!(json["max_age"], kept, "{given}");
        }
        assert_eq!(read(&["max-age=0"])["max_age"], 0);
    }

    #[test]
    fn with_a_chain_the_noting_rules_apply() {
        let [one, two, three] = [1, 2, 3].map(|byte| pin(byte).to_string());
        let good = header::good("");
        for (chain, value, outcome) in [
            (one.clone(), good.as_str(), "add"),
            (format!("{three},{two}"), &good, "add"),
            (three.clone(), &good, "ignore"),
            (format!("{one},{two}"), &good, "ignore"),
            (three, "max-age=0", "remove"),
            (one, "max-age", "ignore"),
        ] {
            let json = read(&["--chain", &chain, value]);
            assert_eq!(json["outcome"], outcome, "{chain} {value}");
        }
        run(["header", "--chain", "sha256/AAAA", &good]).ends_with(2);
        run(["header", "--syntax", "loose", &good]).ends_with(2);
    }

    #[test]
    fn report_only_means_evaluate() {
        let good = header::good("; report-uri=\"https://r.example/\"");
        let one = header::directive(pin(1));
        for (value, outcome) in [
            (good.as_str(), "add"),
            (&format!("{one}; report-uri=\"https://r.example/\""), "add"),
            (&good.replace("=300", "=0"), "add"),
            (&header::good(""), "add"),
            ("report-uri=\"https://r.example/\"", "ignore"),
            ("max-age=", "ignore"),
        ] {
            let json = read(&["--report-only", value]);
            assert_eq!(json["outcome"], outcome, "{value}");
            assert_eq!(json["max_age"], Value::Null, "{value}");
        }
        let chain = pin(9).to_string();
        let json = read(&["--report-only", "--chain", &chain, &good]);
        assert_eq!(json["outcome"], "add");
    }

    #[cfg(unix)]
    #[test]
    fn a_value_need_not_be_text() {
        use std::os::unix::ffi::OsStringExt;

        let quoted = [header::good("; x=\"").as_bytes(), b"\xff\xfe\""].concat();
        let bare = [header::good("; x=").as_bytes(), b"\xff"].concat();
        for (value, outcome) in [(quoted, "add"), (bare, "ignore")] {
            let fixed = ["header", "--json"].map(OsString::from);
            let arguments = fixed.into_iter().chain([OsString::from_vec(value)]);
            let json = run(arguments).ends_with(0).json();
            assert_eq!(json["outcome"], outcome);
        }
    }

    #[test]
    fn text_is_for_people_and_json_may_come_last() {
        let good = header::good("");
        let found = run(["header", &good]).ends_with(0);
        assert!(found.text().contains("add"), "{}", found.text());
        assert!(found.text().contains(&pin(2).to_string()));
        let found = run(["header", "max-age=0"]).ends_with(0);
        assert!(found.text().contains("remove"), "{}", found.text());
        let found = run(["header", &good, "--json"]).ends_with(0);
        assert_eq!(found.json()["outcome"], "add");
        assert_eq!(found.stderr, "");
    }
}

mod matching {
    use super::*;

    #[test]
    fn names_and_policies() {
        let example = &["example.com"][..];
        let with_sub = &["example.com+sub"][..];
        let congruent = |host: &str| json!({"host": host, "policy": host, "why": "congruent"});
        let below = |host: &str, policy: &str| json!({"host": host, "policy": policy, "why": "superdomain"});
        let none = |host: &str| json!({"host": host, "policy": null, "why": null});
        let no_host = json!({"host": null, "policy": null, "why": null});
        for (policies, name, expected) in [
            (example, "example.com", congruent("example.com")),
            (example, "EXAMPLE.com", congruent("example.com")),
            (example, "example.com.", congruent("example.com")),
            (example, "www.example.com", none("www.example.com")),
            (with_sub, "example.com", congruent("example.com")),
            (
                with_sub,
                "a.b.example.com",
                below("a.b.example.com", "example.com"),
            ),
            (with_sub, "notexample.com", none("notexample.com")),
            (with_sub, "com", none("com")),
            (&[], "example.com", none("example.com")),
            // The nearest policy does not cover subdomains, so it is passed over.
            (
                &["example.com+sub", "b.example.com"],
                "a.b.example.com",
                below("a.b.example.com", "example.com"),
            ),
            (
                &["example.com+sub", "b.example.com+sub"],
                "a.b.example.com",
                below("a.b.example.com", "b.example.com"),
            ),
            (
                &["b\u{fc}cher.example+sub"],
                "www.B\u{dc}CHER.example",
                below("www.xn--bcher-kva.example", "xn--bcher-kva.example"),
            ),
            (with_sub, "192.0.2.1", no_host.clone()),
            (with_sub, "[::1]", no_host.clone()),
            (with_sub, "::1", no_host.clone()),
            (with_sub, "https://example.com/", no_host.clone()),
            (with_sub, "example.com:443", no_host.clone()),
            (with_sub, "example.com..", no_host.clone()),
            (with_sub, "", no_host.clone()),
            (with_sub, "-", no_host),
        ] {
            let options = policies.iter().flat_map(|policy| ["--policy", policy]);
            let arguments = ["match", "--json"].into_iter().chain(options);
            let run = run(arguments.chain([name])).ends_with(0);
            assert_eq!(run.json(), expected, "{policies:?} {name:?}");
        }
    }

    #[test]
    fn text_is_for_people_and_bad_policies_end_with_2() {
        let found = run(["match", "--policy", "example.com+sub", "www.example.com"]);
        let found = found.ends_with(0);
        for word in ["www.example.com", " example.com", "superdomain"] {
            assert!(found.text().contains(word), "{}", found.text());
        }
        let found = run(["match", "www.example.com", "--json"]).ends_with(0);
        assert_eq!(found.json()["host"], "www.example.com");
        for policies in [
            &["192.0.2.1"][..],
            &["https://example.com/"],
            &["+sub"],
            &[""],
            &["example.com", "example.com+sub"],
        ] {
            let options = policies.iter().flat_map(|policy| ["--policy", policy]);
            let run = run(["match"].into_iter().chain(options).chain(["example.com"]));
            assert_eq!(run.code, 2, "{policies:?}");
            assert_ne!(run.stderr, "", "{policies:?}");
        }
    }
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
