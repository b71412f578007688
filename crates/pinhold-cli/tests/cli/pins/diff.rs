//! `pinhold pins diff`.

use serde_json::{Value, json};

use crate::pins::kit::{A, B, C, FORMATS, convert, filled};
use crate::program::{Folder, run};

fn file(pins: &[&str]) -> String {
    let policy = json!({ "hosts": ["example.com"], "scope": "host-and-subdomains", "pins": pins });
    json!({ "version": 1, "policies": [policy] }).to_string()
}

#[test]
fn a_file_equals_its_conversions() {
    let folder = Folder::new();
    let source = file(&[A, B]);
    let first = folder.write("pins.json", &source);
    for format in FORMATS {
        let role: &[&str] = if ["apple", "curl"].contains(&format) {
            &["--role", "leaf"]
        } else {
            &[]
        };
        let json = convert("pin-file", format, &source, role)
            .expect_code(0)
            .json();
        let other = folder.write(format, json["output"].as_str().unwrap());
        let arguments = ["pins", "diff", "--json", &first, &other];
        let json = run(arguments.iter().chain(role)).expect_code(0).json();
        assert_eq!(json["equal"], true, "{json:#}");
        assert_eq!(json["comparisons"][0]["second"]["format"], format);
    }
}

#[test]
fn differences_are_found_across_formats() {
    let folder = Folder::new();
    let first = folder.write("pins.json", file(&[A, B]));
    let kotlin = "CertificatePinner.Builder().add(\"example.com\", \"sha256/{A}\", \"sha256/{C}\")\n\
                  .add(\"other.example\", \"sha256/{C}\")";
    let second = folder.write("Pins.kt", filled(kotlin));
    let arguments = ["pins", "diff", &first, &second];
    let found = run(arguments).expect_code(3);
    for text in [
        "differs from",
        "example.com: pins: ",
        "other.example: scope: ",
        B,
        C,
    ] {
        assert!(found.text().contains(text), "{text}: {}", found.text());
    }
    let json = run(arguments.iter().chain(&["--json"]))
        .expect_code(3)
        .json();
    assert_eq!(json["equal"], false);
    let differences = json["comparisons"][0]["differences"].as_array().unwrap();
    let all = differences
        .iter()
        .map(|it| (it["host"].as_str(), it["field"].as_str()));
    let all = all
        .map(|(host, field)| (host.unwrap(), field.unwrap()))
        .collect::<Vec<_>>();
    let expected = [
        ("example.com", "scope"),
        ("example.com", "pins"),
        ("other.example", "scope"),
    ];
    assert_eq!(all, expected);
    assert_eq!(differences[1]["first"], json!([B]));
    assert_eq!(differences[1]["second"], json!([C]));
}

#[test]
fn a_format_is_named_or_found_by_its_contents() {
    let folder = Folder::new();
    let first = folder.write("a", file(&[A, B]));
    let unknown = folder.write("b", "no pins");
    run(["pins", "diff", &first, &unknown]).expect_code(2);
    let line = folder.write("c", filled("# example.com\nsha256//{A};sha256//{B}"));
    run(["pins", "diff", "--role", "leaf", &first, &line]).expect_code(0);
    run([
        "pins",
        "diff",
        &format!("pin-file:{first}"),
        &format!("curl:{line}"),
        "--role",
        "leaf",
    ])
    .expect_code(0);
    run(["pins", "diff", &format!("okhttp:{first}"), &line]).expect_code(2);
}

#[test]
fn a_format_is_found_by_how_a_file_begins() {
    let folder = Folder::new();
    let mut json = serde_json::from_str::<Value>(&file(&[A, B])).unwrap();
    json["policies"][0]["report_uris"] = json!(["https://r.example/CertificatePinner"]);
    let first = folder.write("a", json.to_string());
    let kotlin = "// replaces <network-security-config>\nval p = CertificatePinner.Builder()\n\
                  .add(\"**.example.com\", \"sha256/{A}\", \"sha256/{B}\")";
    let second = folder.write("b", filled(kotlin));
    let chromium = convert("pin-file", "chromium", &file(&[A, B]), &[]).expect_code(0);
    let chromium = chromium.json()["output"].as_str().unwrap().to_owned();
    let third = folder.write("c", format!("// CertificatePinner\n{chromium}"));
    let json = run(["pins", "diff", "--json", &first, &second, &third])
        .expect_code(3)
        .json();
    assert_eq!(json["first"]["format"], "pin-file");
    assert_eq!(json["comparisons"][0]["second"]["format"], "okhttp");
    assert_eq!(json["comparisons"][1]["second"]["format"], "chromium");
}

#[test]
fn results_are_written_for_ci() {
    let folder = Folder::new();
    let first = folder.write("a.json", file(&[A, B]));
    let second = folder.write("b.json", file(&[A, C]));
    let (junit, sarif) = (folder.path("junit.xml"), folder.path("pins.sarif"));
    let options = ["--junit", &junit, "--sarif", &sarif];
    let fixed = ["pins", "diff", &first, &second, &first];
    run(fixed.iter().chain(&options)).expect_code(3);
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert_eq!(xml.matches("<testsuite ").count(), 2, "{xml}");
    assert_eq!(xml.matches("<failure ").count(), 1, "{xml}");
    assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
    let log = std::fs::read_to_string(&sarif).unwrap();
    let log: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 1, "{log:#}");
    assert_eq!(results[0]["ruleId"], "pins-differ/pins");
    let uri = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert!(uri.as_str().unwrap().ends_with("/b.json"), "{uri}");
    let missing = folder.path("no/such/folder");
    for option in ["--junit", "--sarif"] {
        run(fixed.iter().chain(&[option, &missing])).expect_code(1);
    }
}

#[test]
fn a_result_is_not_written_over_a_compared_file() {
    let folder = Folder::new();
    let first = folder.write("a.json", file(&[A, B]));
    let second = folder.write("b.json", file(&[A, C]));
    let before = folder.contents();
    let other_name = folder.path("./a.json");
    let named = format!("pin-file:{first}");
    let result = folder.path("result");
    for options in [
        &["--junit", &first][..],
        &["--sarif", &second],
        &["--junit", &other_name],
        &["--junit", &result, "--sarif", &result],
    ] {
        let fixed = ["pins", "diff", &named, &second];
        run(fixed.iter().chain(options)).expect_code(2);
    }
    assert_eq!(folder.contents(), before);
}

#[cfg(unix)]
#[test]
fn junit_has_no_control_characters() {
    let folder = Folder::new();
    let first = folder.write("a\u{1b}.json", file(&[A, B]));
    let second = folder.write("b.json", file(&[A, C]));
    let junit = folder.path("junit.xml");
    run(["pins", "diff", &first, &second, "--junit", &junit]).expect_code(3);
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(!xml.contains('\u{1b}'), "{xml}");
    assert_eq!(xml.matches("\\u{1b}").count(), 2, "{xml}");
}

#[test]
fn text_of_a_file_does_not_control_the_terminal() {
    let folder = Folder::new();
    let first = folder.write("a.json", file(&[A, B]));
    let kotlin = "CertificatePinner.Builder().add(\"example.com\", \"sha256/{A}\", \"sha256/{B}\", \
                  \"sha1/\u{1b}[31m\")";
    let second = folder.write("Pins.kt", filled(kotlin));
    let found = run(["pins", "diff", &first, &second]).expect_code(3);
    assert!(!found.text().contains('\u{1b}'), "{}", found.text());
    assert!(found.text().contains("[31m"), "{}", found.text());
}
