//! Options, exit codes and places of errors.

use serde_json::json;

use crate::pins::kit::{A, B, convert, filled};
use crate::program::{Folder, run};

const KOTLIN: &str =
    "CertificatePinner.Builder()\n  .add(\"example.com\", \"sha256/{A}\", \"sha256/{B}\")";

#[test]
fn losses_go_to_standard_error_and_the_result_to_standard_output() {
    let folder = Folder::new();
    let policy = json!({ "hosts": ["example.com"], "pins": [A, B], "plain_http": "refuse" });
    let file = json!({ "version": 1, "policies": [policy] }).to_string();
    let file = folder.write("pins.json", file);
    let fixed = [
        "pins", "convert", "--from", "pin-file", "--to", "okhttp", &file,
    ];
    let lossy = run(fixed).expect_code(0);
    assert!(
        lossy.text().contains("CertificatePinner"),
        "{}",
        lossy.text()
    );
    assert_eq!(lossy.stderr.lines().count(), 1, "{}", lossy.stderr);
    assert!(
        lossy.stderr.contains("plain-http: example.com: "),
        "{}",
        lossy.stderr
    );
    let strict = run(fixed.iter().chain(&["--strict"])).expect_code(3);
    assert_eq!(strict.text(), "");
    assert!(
        strict.stderr.contains("plain-http: example.com: "),
        "{}",
        strict.stderr
    );
    let json = run(fixed.iter().chain(&["--strict", "--json"]))
        .expect_code(3)
        .json();
    assert_eq!(json["output"], json!(null));
    assert_eq!(json["losses"][0]["kind"], "plain-http");
    assert_eq!(json["losses"][0]["host"], "example.com");
    let json = run(fixed.iter().chain(&["--json"])).expect_code(0).json();
    assert!(
        json["output"]
            .as_str()
            .unwrap()
            .contains("CertificatePinner")
    );
    assert_eq!(json["losses"].as_array().unwrap().len(), 1);
}

#[test]
fn a_loss_is_one_line() {
    let folder = Folder::new();
    let input = "<plist><dict><key>TSKPinnedDomains</key><dict><key>example.com</key><dict>\
                 <key>a\npinhold: b</key><true/><key>TSKDisableDefaultReportUri</key><true/>\
                 <key>TSKPublicKeyHashes</key><array><string>{A}</string><string>{B}</string>\
                 </array></dict></dict></dict></plist>";
    let file = folder.write("Info.plist", filled(input));
    let fixed = ["pins", "convert", "--from", "trustkit-ios", "--to"];
    let run = run(fixed.iter().chain(&["pin-file", &file])).expect_code(0);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

#[test]
fn an_error_names_its_place() {
    for (format, input, place) in [
        (
            "android-nsc",
            "<network-security-config>\n  <domain-config/>\n</network-security-config>",
            "line 2, column 3",
        ),
        (
            "android-nsc",
            "<network-security-config>\n</wrong>",
            "line 2, column ",
        ),
        (
            "apple",
            "<plist><dict>\n<key>NSPinnedDomains</key><array/></dict></plist>",
            "line 2, column 27",
        ),
        ("chromium", "{\n  \"pinsets\": ]\n}", "line 2, column "),
        (
            "curl",
            "# a.example\n\npinnedpubkey = \"sha256//AAAA\"",
            "line 3",
        ),
        ("header", "# a.example\nmax-age=x", "line 2"),
        (
            "okhttp",
            "\n .add(\"https://a\", \"sha256/{A}\")",
            "line 2, column 2",
        ),
        (
            "pin-file",
            "{\n \"version\": 1,\n \"pins\": [] }",
            "line 3, column 7",
        ),
        ("tlsa", "\n_443._tcp.a.example. TLSA 1 1 1 00", "line 2"),
    ] {
        let run = convert(format, "pin-file", &filled(input), &[]).expect_code(2);
        let json = run.json();
        assert_eq!(json["error"], "usage", "{json}");
        assert!(
            json["message"].as_str().unwrap().contains(place),
            "{format}: {json}"
        );
    }
}

#[test]
fn files_that_can_not_be_read_are_refused() {
    let folder = Folder::new();
    let binary = folder.write("binary.plist", b"bplist00\xd1\xff");
    let bytes = folder.write("bytes", b"\xff\xfe\x00");
    for file in [&binary, &bytes, &folder.path("missing")] {
        run([
            "pins", "convert", "--from", "apple", "--to", "pin-file", file,
        ])
        .expect_code(2);
    }
    let kotlin = folder.write("Pins.kt", filled(KOTLIN));
    for arguments in [
        &["pins", "convert", "--from", "okhttp", &kotlin][..],
        &[
            "pins", "convert", "--from", "okhttp", "--to", "unknown", &kotlin,
        ],
        &[
            "pins", "convert", "--from", "okhttp", "--to", "curl", "--at", "today", &kotlin,
        ],
        &[
            "pins", "convert", "--from", "okhttp", "--to", "curl", "--host", "a/b", &kotlin,
        ],
        &["pins", "diff", &kotlin],
        &["pins", "diff", &kotlin, &bytes],
        &["pins"],
    ] {
        run(arguments).expect_code(2);
    }
}

#[test]
fn the_host_of_an_input_without_one_is_an_option() {
    let value = filled("max-age=60; pin-sha256=\"{A}\"; pin-sha256=\"{B}\"");
    convert("header", "pin-file", &value, &[]).expect_code(2);
    let json = convert("header", "pin-file", &value, &["--host", "example.com"])
        .expect_code(0)
        .json();
    assert!(
        json["output"]
            .as_str()
            .unwrap()
            .contains("2027-01-01T00:01:00Z"),
        "{json:#}"
    );
}
