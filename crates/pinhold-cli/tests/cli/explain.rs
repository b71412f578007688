//! `pinhold explain`: the policy that applies to a host name.

use serde_json::{Value, json};

use crate::program::{Run, run};

fn explain(policies: &[&str], more: &[&str]) -> Run {
    let options = policies.iter().flat_map(|policy| ["--policy", policy]);
    let arguments = ["explain"].into_iter().chain(options);
    run(arguments.chain(more.iter().copied()))
}

fn json_of(policies: &[&str], name: &str) -> Value {
    explain(policies, &["--json", name]).expect_code(0).json()
}

#[test]
fn prints_the_applicable_policy_as_json() {
    let example = &["example.com"][..];
    let with_sub = &["example.com+sub"][..];
    let congruent = |host: &str| json!({"host": host, "policy": host, "why": "congruent"});
    let below =
        |host: &str, policy: &str| json!({"host": host, "policy": policy, "why": "superdomain"});
    let none = |host: &str| json!({"host": host, "policy": null, "why": null});
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
        // The nearest policy does not include subdomains, so the next one applies.
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
    ] {
        assert_eq!(json_of(policies, name), expected, "{policies:?} {name:?}");
    }
}

#[test]
fn a_name_that_is_not_a_host_has_no_policy() {
    for name in [
        "192.0.2.1",
        "[::1]",
        "::1",
        "https://example.com/",
        "example.com:443",
        "example.com..",
        "",
        "-",
    ] {
        let expected = json!({"host": null, "policy": null, "why": null});
        assert_eq!(json_of(&["example.com+sub"], name), expected, "{name:?}");
    }
}

#[test]
fn prints_text_by_default() {
    let found = explain(&["example.com+sub"], &["www.example.com"]).expect_code(0);
    for text in ["www.example.com", " example.com", "superdomain"] {
        assert!(found.text().contains(text), "{}", found.text());
    }
    let found = explain(&[], &["www.example.com", "--json"]).expect_code(0);
    assert_eq!(found.json()["host"], "www.example.com");
}

#[test]
fn invalid_policies_exit_with_2_and_a_message() {
    for policies in [
        &["192.0.2.1"][..],
        &["https://example.com/"],
        &["+sub"],
        &[""],
        &["example.com", "example.com+sub"],
    ] {
        let run = explain(policies, &["example.com"]);
        assert_eq!(run.code, 2, "{policies:?}");
        assert_ne!(run.stderr, "", "{policies:?}");
    }
}
