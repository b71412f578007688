//! `pinhold match` as a program: which policy applies to a name.
#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::cli::run;
use serde_json::json;

#[test]
fn names_and_policies() {
    let example = &["example.com"][..];
    let with_sub = &["example.com+sub"][..];
    let congruent = |host: &str| json!({"host": host, "policy": host, "why": "congruent"});
    let below =
        |host: &str, policy: &str| json!({"host": host, "policy": policy, "why": "superdomain"});
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
