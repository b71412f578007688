//! Inputs of header and curl: the hosts of their lines, and what is lost of them.

use serde_json::{Value, json};

use crate::pins::kit::{A, B, assert_read, convert, filled, kinds};
use crate::program::{Folder, run};

/// The policy of a host that curl pins.
fn leaf(host: &str) -> Value {
    json!({ "hosts": [host], "leaf_pins": [A], "without_backup": true })
}

#[test]
fn the_host_of_curl_is_that_of_a_url() {
    let policies = json!([leaf("a.example")]);
    let pin = "--pinnedpubkey sha256//{A}";
    for rest in [
        "-x https://proxy.example https://a.example",
        "-xhttps://proxy.example https://a.example:8443?x={y}",
        "-sSe https://other.example https://a.example/p|q",
        "--data https://other.example HTTPS://A.example#x",
        "--referer https://other.example --url https://a.example/",
        "--url=https://a.example/@user -o https://file.example",
        "https://a.example/one https://a.example/two",
        "-H 'Referer: https://other.example' 'https://a.example'",
        "-d https://one.example,https://two.example https://a.example",
    ] {
        assert_read("curl", &format!("curl {pin} {rest}"), &policies, &[]);
        assert_read("curl", &format!("curl {rest} {pin}"), &policies, &[]);
    }
    let both = json!([leaf("a.example"), leaf("b.example")]);
    let input = format!("curl {pin} https://a.example/ https://b.example/ https://a.example/x");
    assert_read("curl", &input, &both, &[]);
    let input = format!("curl {pin} https://a.example/ http://b.example/");
    assert_read("curl", &input, &policies, &["ignored"]);
    let input = format!("curl {pin} -sk https://a.example/");
    assert_read("curl", &input, &policies, &["validation"]);
    let input = "# a.example\nurl = \"https://b.example\"\npinnedpubkey=\"sha256//{A}\"";
    assert_read("curl", input, &policies, &["ignored"]);
}

#[test]
fn urls_of_curl_that_do_not_name_a_host_are_refused() {
    for rest in [
        "https://user:pass@a.example/",
        "https://a.example@b.example",
        "https://{a,b}.example/",
        "https:///a.example",
        "https://a.example --next https://b.example",
        "-x https://proxy.example",
    ] {
        let input = filled(&format!("curl --pinnedpubkey sha256//{{A}} {rest}"));
        convert("curl", "pin-file", &input, &[]).expect_code(2);
    }
}

#[test]
fn a_comment_is_a_host_if_it_has_a_dot() {
    let value = "pinnedpubkey = \"sha256//{A}\"";
    let input = format!("# a.example\n# TODO\n#\n# two words.\n{value}");
    assert_read("curl", &input, &json!([leaf("a.example")]), &[]);
    let input = format!("# host: localhost\n# TODO\n{value}");
    assert_read("curl", &input, &json!([leaf("localhost")]), &[]);
    let input = filled(&format!("# TODO\n{value}"));
    convert("curl", "pin-file", &input, &[]).expect_code(2);
    let field = "Public-Key-Pins: max-age=9; pin-sha256=\"{A}\"; pin-sha256=\"{B}\"";
    for (format, input) in [("curl", value), ("header", field)] {
        let input = filled(&format!("# TODO\n# other.example\n{input}"));
        let json = convert(format, "pin-file", &input, &["--host", "a.example"])
            .expect_code(0)
            .json();
        let output: Value = serde_json::from_str(json["output"].as_str().unwrap()).unwrap();
        assert_eq!(output["policies"][0]["hosts"], json!(["a.example"]));
    }
}

#[test]
fn a_host_without_a_dot_is_written_and_read() {
    let policy = json!({ "hosts": ["localhost"], "leaf_pins": [A, B] });
    let file = json!({ "version": 1, "policies": [policy] }).to_string();
    for format in ["curl", "header"] {
        let written = convert("pin-file", format, &file, &[])
            .expect_code(0)
            .json();
        let written = written["output"].as_str().unwrap();
        // The duration of the header is zero without an expiry.
        let written = written.replace("max-age=0", "max-age=9");
        let json = convert(format, "pin-file", &written, &[])
            .expect_code(0)
            .json();
        assert!(json["output"].as_str().unwrap().contains("\"localhost\""));
    }
}

#[test]
fn losses_are_kept_when_no_policy_is_left() {
    let hex = "0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3";
    let record = format!("_443._tcp.a.example. IN TLSA 3 0 1 {hex}");
    let removed = "# a.example\nmax-age=0; pin-sha256=\"{A}\"; pin-sha256=\"{B}\"";
    for (format, input, kind) in [
        ("okhttp", ".add(HOST, PIN1)", "ignored"),
        ("okhttp", ".add(\"a.example\", \"sha1/AAAA\")", "algorithm"),
        ("header", removed, "expiry"),
        ("tlsa", &record, "algorithm"),
        ("curl", "-sS https://a.example", "ignored"),
    ] {
        let json = convert(format, "pin-file", &filled(input), &[])
            .expect_code(2)
            .json();
        assert_eq!(json["error"], "usage");
        assert!(kinds(&json).contains(&kind.to_owned()), "{json:#}");
    }
    let folder = Folder::new();
    let file = folder.write("Pins.kt", ".add(HOST, PIN1)");
    let arguments = [
        "pins", "convert", "--from", "okhttp", "--to", "pin-file", &file,
    ];
    let failed = run(arguments).expect_code(2);
    let text = format!("no policy of {file} can be taken over");
    assert!(failed.stderr.contains("okhttp: ignored: "));
    assert!(failed.stderr.contains(&text), "{}", failed.stderr);
    // A pin file without a policy has its own error, and no losses.
    let empty = convert(
        "pin-file",
        "okhttp",
        "{\"version\": 1, \"policies\": []}",
        &[],
    );
    assert_eq!(empty.expect_code(2).json()["losses"], Value::Null);
}

#[test]
fn a_header_with_a_single_pin_is_ignored_by_clients() {
    let host = ["--host", "a.example"];
    for (fields, losses) in [
        ("max-age=9; pin-sha256=\"{A}\"", &["backup", "expiry"][..]),
        (
            "max-age=9; pin-sha256=\"{A}\"; pin-sha256=\"{B}\"",
            &["expiry"],
        ),
        ("Public-Key-Pins-Report-Only: pin-sha256=\"{A}\"", &[]),
    ] {
        let run = convert("header", "pin-file", &filled(fields), &host);
        assert_eq!(kinds(&run.expect_code(0).json()), losses, "{fields}");
    }
}
