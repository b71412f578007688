//! Invalid usage with `--json`, schemes of URLs, and the words of help and errors.

use crate::program::{Folder, Site, run, run_async, unrelated_pin};
use crate::server::answer;
use crate::store_files::{UNREACHABLE, V2};

/// Fails if text has names of Rust's items, or a list of numbers as `Debug` prints one.
pub fn assert_plain_text(text: &str) {
    let is_path = |(at, _): (usize, &str)| text[..at].ends_with(char::is_alphabetic);
    assert!(!text.match_indices("::").any(is_path), "a path: {text}");
    // Base64 has any letters.
    let words = text
        .split_whitespace()
        .filter(|word| !word.contains("sha256/"));
    let words = words
        .flat_map(|word| word.split(|char: char| !char.is_ascii_alphanumeric() && char != '_'));
    for word in words {
        let chars = word.chars().collect::<Vec<_>>();
        let is_type = chars.first().is_some_and(char::is_ascii_uppercase)
            && chars
                .windows(2)
                .any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
        assert!(!is_type, "{word} is a type: {text}");
        let is_method = word.starts_with("with_") || word.ends_with("_error");
        assert!(!is_method, "{word} is a method: {text}");
    }
    let numbers = text.split(", ").map(str::trim);
    let numbers = numbers.filter(|part| part.parse::<u64>().is_ok());
    assert!(numbers.count() < 3, "a list of numbers: {text}");
}

#[test]
fn invalid_usage_is_an_object_with_json() {
    for arguments in [
        &["get"][..],
        &["get", "https://shop.example/", "--pin", "sha256/AAAA"],
        &["get", "https://shop.example/", "--unknown"],
        &["get", "https://shop.example/", "--timeout", "soon"],
        &["get", "https://shop.example/", "--timeout", "0"],
        &["get", "ftp://shop.example/"],
        &["fingerprint"],
        &["key"],
        &["key", "new"],
        &["store", "list"],
        &["store"],
        &["unknown"],
        &[],
    ] {
        let run = run(arguments.iter().chain(&["--json"])).expect_code(2);
        let json = run.json();
        assert_eq!(json["error"], "usage", "{arguments:?}");
        let message = json["message"].as_str().unwrap();
        assert!(!message.is_empty() && message.len() < 400, "{message}");
        assert!(!message.starts_with("error"), "{message}");
        assert_ne!(run.stderr, "", "{arguments:?}");
    }
    // Here `--json` is the value of the header.
    let run = run(["header", "--unknown", "--", "--json"]).expect_code(2);
    assert_eq!(run.stdout, b"");
}

#[test]
fn schemes_other_than_https_and_http_are_invalid_usage() {
    for url in [
        "ftp://shop.example/",
        "file:///etc/hosts",
        "wss://shop.example/",
        "://x",
        "//x",
    ] {
        for command in ["get", "fingerprint"] {
            let json = run([command, url, "--json"]).expect_code(2).json();
            assert_eq!(json["error"], "usage", "{command} {url}");
        }
    }
    for endpoint in ["ftp://reports.example/", "reports.example"] {
        let arguments = ["get", UNREACHABLE, "--report-to", endpoint, "--json"];
        let json = run(arguments).expect_code(2).json();
        assert_eq!(json["error"], "usage", "{endpoint}");
    }
}

#[test]
fn no_error_contains_the_password_of_a_url() {
    for url in [
        "ftp://user:s3cret@shop.example/",
        "https://user:s3cret@shop.example/",
        "user:s3cret@shop.example/",
        "https://user:s3/cret@shop.example/",
        "https://user:s3cret@shop example/",
        "https://user:s3cret:443@b\u{fc}cher.example/",
        "https://user:s3cret@/",
    ] {
        for arguments in [
            &["get", url][..],
            &["fingerprint", url],
            &["get", UNREACHABLE, "--report-to", url],
        ] {
            let run = run(arguments.iter().chain(&["--json"])).expect_code(2);
            assert_eq!(run.json()["error"], "usage", "{arguments:?}");
            for output in [run.text(), &run.stderr] {
                assert!(!output.contains("s3"), "{output}");
                assert!(!output.contains("cret"), "{output}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_status_is_an_error_with_the_option_fail() {
    for (status, is_failure) in [(200, false), (302, false), (404, true), (500, true)] {
        let server = crate::server::Server::plain(move |request| {
            let mut response = answer(&[])(request);
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            response
        })
        .await;
        let url = format!("http://{}/", server.address);
        let without = run_async(&["get", &url]).await.expect_code(0);
        assert_eq!(without.stdout, b"ok");
        for option in ["-f", "--fail"] {
            let run = run_async(&["get", &url, option]).await;
            let run = run.expect_code(i32::from(is_failure));
            assert_eq!(run.stdout.is_empty(), is_failure, "{status}");
            assert_eq!(run.stderr.contains(&status.to_string()), is_failure);
        }
        if is_failure {
            let json = run_async(&["get", &url, "-f", "--json"]).await;
            let json = json.expect_code(1).json();
            assert_eq!(json["error"], "status");
            assert_eq!(json["status"], status);
            assert_eq!(json["port"], server.address.port());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_only_browsers_accept_is_noted_with_the_option_syntax() {
    let root = crate::pki::Ca::root("Root");
    let leaf = root.leaf(&["shop.example"]);
    let value = crate::common::header_value(leaf.pin(), "max-age=300;");
    let site = Site::with_chain(root, leaf, &[("public-key-pins", &value)]).await;
    let file = site.folder.path("noted");
    let with_store = ["--store", &file];
    let run = site.run_trusted("get", &with_store).await.expect_code(0);
    assert!(run.stderr.contains("--syntax browsers"), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(!std::path::Path::new(&file).exists(), "nothing was noted");
    let json = site
        .run_trusted("get", &["--json"])
        .await
        .expect_code(0)
        .json();
    let noted = json["noted"].as_str().unwrap();
    assert!(noted.starts_with("ignored") && noted.contains("--syntax browsers"));

    let browsers = ["--store", &file, "--syntax", "browsers", "--json"];
    let json = site
        .run_trusted("get", &browsers)
        .await
        .expect_code(0)
        .json();
    assert_eq!(
        (&json["noted"], &json["stored"]),
        (&"added".into(), &true.into())
    );
}

#[test]
fn help_and_errors_are_free_of_names_of_rust_items() {
    let folder = Folder::new();
    let corrupt = folder.write("corrupt", &V2[1..]);
    let directory = folder.path("");
    let pin = unrelated_pin().to_string();
    for arguments in [
        &["--help"][..],
        &["get", "--help"],
        &["fingerprint", "--help"],
        &["header", "--help"],
        &["key", "new", "--help"],
        &["bundle", "--help"],
        &["bundle", "init-root", "--help"],
        &["bundle", "add-key", "--help"],
        &["bundle", "roll-root", "--help"],
        &["bundle", "tbs", "--help"],
        &["bundle", "sign", "--help"],
        &["bundle", "attach", "--help"],
        &["bundle", "verify", "--help"],
        &["explain", "--help"],
        &["self-test", "--help"],
        &["store", "--help"],
        &["store", "clear", "--help"],
        &["completions", "--help"],
        &["get", UNREACHABLE],
        &["get", UNREACHABLE, "--pin", &pin],
        &["get", UNREACHABLE, "--store", &corrupt],
        &["get", UNREACHABLE, "--store", &directory],
        &["get", UNREACHABLE, "--report-to", "https://user@r.example/"],
        &["get", UNREACHABLE, "--timeout", "0"],
        &["get", "https://shop.example/", "--pin", "sha256/AAAA"],
        &["get", "http://shop.example/", "--pin", &pin],
        &["get", "https://b\u{fc}cher.example:x/"],
        &["store", "check", "--file", &corrupt],
        &["store", "forget", "192.0.2.1", "--file", &corrupt],
        &[
            "explain",
            "--policy",
            "a.example",
            "--policy",
            "a.example",
            "b.example",
        ],
    ] {
        let run = run(arguments);
        assert_plain_text(run.text());
        assert_plain_text(&run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_free_of_names_of_rust_items_and_fit_on_a_terminal() {
    let root = crate::pki::Ca::root("Root");
    let leaf = root.leaf(&["shop.example"]);
    let value = crate::common::header_value(leaf.pin(), "max-age=300");
    let site = Site::with_chain(root, leaf, &[("public-key-pins", &value)]).await;
    let file = site.folder.path("noted");
    let store = ["--store", &file];
    site.run_trusted("get", &store).await.expect_code(0);
    let other = crate::pki::Ca::root("Other");
    let leaf = other.leaf(&["shop.example"]);
    let leaf = leaf.with_appended(site.leaf.chain.clone());
    let impostor = Site::with_chain(other, leaf, &[]).await;
    let noted = impostor.run_trusted("get", &store).await.expect_code(90);
    let words = noted
        .stderr
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(words.matches("proves nothing").count(), 1, "{words}");
    let pin = unrelated_pin().to_string();
    let pinned = impostor.run_trusted("get", &["--pin", &pin]).await;
    for run in [noted, pinned] {
        assert_plain_text(&run.stderr);
        // The subjects are short here, so that each line fits on a terminal.
        assert!(
            run.stderr.lines().all(|line| line.len() <= 80),
            "{}",
            run.stderr
        );
    }
    let forget = ["store", "forget", "shop.example", "--file", &file];
    run_async(&forget).await.expect_code(0);
    impostor.run_trusted("get", &store).await.expect_code(0);
}

#[test]
fn the_help_fits_into_80_columns() {
    for command in [
        &["get"][..],
        &["bundle"],
        &["bundle", "init-root"],
        &["bundle", "add-key"],
        &["bundle", "roll-root"],
        &["bundle", "tbs"],
        &["bundle", "sign"],
        &["bundle", "attach"],
        &["bundle", "verify"],
        &["bundle", "show"],
        &["bundle", "diff"],
        &["fingerprint"],
        &["header"],
        &["key", "new"],
        &["explain"],
        &["self-test"],
        &["store"],
        &[],
    ] {
        let help = crate::program::run_with(&[("COLUMNS", "80")], [command, &["--help"]].concat());
        let help = help.expect_code(0);
        let longest = help.text().lines().map(str::len).max();
        assert!(longest <= Some(80), "{command:?}: {}", help.text());
    }
}
