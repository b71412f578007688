//! `pinhold header`: the effect of a `Public-Key-Pins` header.

use std::ffi::OsString;

use serde_json::{Value, json};

use crate::common::header;
use crate::program::{pin, run};

fn read(arguments: &[&str]) -> Value {
    run(["header", "--json"].iter().chain(arguments))
        .expect_code(0)
        .json()
}

/// A valid value with two pins and a `max-age` of 300, followed by `rest`.
fn valid_header(rest: &str) -> String {
    let (one, two) = (header::directive(pin(1)), header::directive(pin(2)));
    format!("{one}; {two}; max-age=300{rest}")
}

#[test]
fn prints_all_fields_as_json() {
    let value = valid_header("; includeSubDomains; report-uri=\"https://r.example/pins\"");
    let expected = json!({
        "outcome": "add",
        "reason": null,
        "hint": null,
        "chain_checked": false,
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
        "hint": null,
        "chain_checked": false,
        "max_age": null,
        "include_subdomains": false,
        "pins": [],
        "report_uri": null,
    });
    assert_eq!(json, expected);
}

#[test]
fn prints_add_remove_or_ignore() {
    let one = header::directive(pin(1));
    let good = valid_header("");
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
        let json = read(&[&valid_header("").replace("=300", &format!("={given}"))]);
        assert_eq!(json["max_age"], kept, "{given}");
    }
    assert_eq!(read(&["max-age=0"])["max_age"], 0);
}

#[test]
fn the_noting_rules_apply_to_a_given_chain() {
    let [one, two, three] = [1, 2, 3].map(|byte| pin(byte).to_string());
    let good = valid_header("");
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
    run(["header", "--chain", "sha256/AAAA", &good]).expect_code(2);
    run(["header", "--syntax", "loose", &good]).expect_code(2);
}

#[test]
fn a_single_pin_is_not_said_to_be_in_the_chain() {
    let value = format!("{}; max-age=300", header::directive(pin(1)));
    let one = pin(1).to_string();
    for options in [&[][..], &["--chain", &one]] {
        let json = read(&[options, &[&value]].concat());
        assert_eq!(json["reason"], "fewer than two pins");
    }
}

#[test]
fn a_report_only_header_is_evaluated() {
    let good = valid_header("; report-uri=\"https://r.example/\"");
    let one = header::directive(pin(1));
    for (value, outcome) in [
        (good.as_str(), "add"),
        (&format!("{one}; report-uri=\"https://r.example/\""), "add"),
        (&good.replace("=300", "=0"), "add"),
        (&valid_header(""), "add"),
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
fn a_value_may_be_any_bytes() {
    use std::os::unix::ffi::OsStringExt;

    let quoted = [valid_header("; x=\"").as_bytes(), b"\xff\xfe\""].concat();
    let bare = [valid_header("; x=").as_bytes(), b"\xff"].concat();
    for (value, outcome) in [(quoted, "add"), (bare, "ignore")] {
        let fixed = ["header", "--json"].map(OsString::from);
        let arguments = fixed.into_iter().chain([OsString::from_vec(value)]);
        let json = run(arguments).expect_code(0).json();
        assert_eq!(json["outcome"], outcome);
    }
}

#[test]
fn prints_text_by_default_and_json_by_option() {
    let good = valid_header("");
    let found = run(["header", &good]).expect_code(0);
    assert!(found.text().contains("add"), "{}", found.text());
    assert!(found.text().contains(&pin(2).to_string()));
    let found = run(["header", "max-age=0"]).expect_code(0);
    assert!(found.text().contains("remove"), "{}", found.text());
    let found = run(["header", &good, "--json"]).expect_code(0);
    assert_eq!(found.json()["outcome"], "add");
    assert_eq!(found.stderr, "");
}

#[test]
fn says_what_is_unknown_without_the_chain() {
    let good = valid_header("");
    let (one, other) = (pin(1).to_string(), "max-age=0");
    for value in [good.as_str(), other] {
        let found = run(["header", value]).expect_code(0);
        assert!(found.text().contains("not checked: "), "{}", found.text());
        let found = run(["header", value, "--chain", &one]).expect_code(0);
        assert!(!found.text().contains("not checked"), "{}", found.text());
    }
    assert_eq!(read(&[&good])["chain_checked"], false);
    assert_eq!(read(&[&good, "--chain", &one])["chain_checked"], true);
}

#[test]
fn a_value_that_only_browsers_accept_is_refused_with_the_option_that_accepts_it() {
    let trailing = valid_header(";");
    let hint = |value: &str, options: &[&str]| {
        let json = read(&[&[value], options].concat());
        let hint = json["hint"].as_str().unwrap_or_default();
        hint.contains("--syntax browsers")
    };
    assert!(hint(&trailing, &[]));
    assert!(hint(&trailing, &["--report-only"]));
    assert!(!hint(&trailing, &["--syntax", "browsers"]));
    assert!(!hint("max-age", &[]), "browsers refuse it, too");
    let text = run(["header", &trailing]).expect_code(0);
    assert!(text.text().contains("--syntax browsers"), "{}", text.text());
}
