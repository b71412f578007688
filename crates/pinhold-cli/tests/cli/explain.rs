//! `pinhold explain`: the policy that applies to a host name.

use serde_json::{Value, json};

use crate::common::NOW;
use crate::program::{self, Folder, Run, run, unrelated_pin};
use crate::store_files::{LAST, entry, write};

fn explain(policies: &[&str], more: &[&str]) -> Run {
    let options = policies.iter().flat_map(|policy| ["--policy", policy]);
    let arguments = ["explain"].into_iter().chain(options);
    run(arguments.chain(more.iter().copied()))
}

fn json_of(policies: &[&str], name: &str) -> Value {
    explain(policies, &["--json", name]).expect_code(0).json()
}

/// Returns the members that say which policy applies.
fn rule(json: &Value) -> Value {
    json!({ "host": json["host"], "policy": json["policy"], "why": json["why"] })
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
        let json = json_of(policies, name);
        assert_eq!(rule(&json), expected, "{policies:?} {name:?}");
        // The pins that the option does not have.
        let pins = json["policy"].is_string().then(|| json!([]));
        assert_eq!(json["pins"], json!(pins));
        assert_eq!(json["groups"], json!(pins));
        assert_eq!(json["unpinned"].is_null(), json["policy"].is_string());
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
        let json = json_of(&["example.com+sub"], name);
        assert_eq!(rule(&json), expected, "{name:?}");
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
        &["example.com", "example.com"],
        &["example.com+sub", "EXAMPLE.com+sub"],
    ] {
        let run = explain(policies, &["example.com"]);
        assert_eq!(run.code, 2, "{policies:?}");
        assert_ne!(run.stderr, "", "{policies:?}");
    }
}

/// A pin file in which names are pinned, exempt and unpinned.
fn pin_file(folder: &Folder) -> String {
    let [one, two, three] = [1, 2, 3].map(pin);
    let document = json!({
        "version": 1,
        "unpinned_hosts": "refuse",
        "allow_unpinned": ["cdn.example", "192.0.2.1"],
        "refused_keys": [unrelated_pin().to_string()],
        "policies": [{
            "hosts": ["example.com"],
            "scope": "host-and-subdomains",
            "exempt": ["legacy.example.com"],
            "all_of": [{ "leaf_pins": [one, two] }, { "ca_pins": [two], "pins": [three] }],
            "candidate": { "pins": [three] },
            "expires": "9000-01-01T00:00:00Z",
            "after_expiry": "refuse",
            "report_uris": ["https://reports.example/"],
            "plain_http": "allow",
            "user_added_roots": "enforce-pins",
        }, {
            "hosts": ["report.example"],
            "enforcement": "report-only",
            "pins": [one, two],
        }, {
            "hosts": ["expired.example"],
            "expires": "2020-01-01T00:00:00Z",
            "after_expiry": "refuse",
            "pins": [one, two],
        }],
    });
    folder.write("pins.json", document.to_string())
}

fn pin(byte: u8) -> String {
    program::pin(byte).to_string()
}

#[test]
fn shows_all_of_a_policy_of_a_pin_file() {
    let folder = Folder::new();
    let file = pin_file(&folder);
    let json = explain(&[], &["--json", "--pins", &file, "www.example.com"]);
    let json = json.expect_code(0).json();
    let policy = json!({
        "policy": "example.com",
        "why": "superdomain",
        "scope": "host-and-subdomains",
        "source": "static",
        "state": "enforced",
        "expires": "9000-01-01T00:00:00Z",
        "after_expiry": "refuse",
        "pins": [pin(1), pin(2), pin(3)],
        "groups": [
            { "leaf_pins": [pin(1), pin(2)], "ca_pins": [], "pins": [] },
            { "leaf_pins": [], "ca_pins": [pin(2)], "pins": [pin(3)] },
        ],
        "candidate": [{ "leaf_pins": [], "ca_pins": [], "pins": [pin(3)] }],
        "report_uris": ["https://reports.example/"],
        "plain_http": "allow",
        "user_added_roots": "enforce-pins",
    });
    let mut expected = policy.clone();
    let more = json!({
        "host": "www.example.com",
        "policies": [policy],
        "exempt_from": [],
        "refused_keys": 1,
        "unpinned": null,
        "anchors": [
            anchor("built-in", "refuse"),
            anchor("unknown", "refuse"),
            anchor("user-added", "refuse"),
        ],
        "until": "9000-01-01T00:00:00Z",
        "others": [],
    });
    let more = more.as_object().unwrap().clone();
    expected.as_object_mut().unwrap().extend(more);
    assert_eq!(json, expected);

    let run = explain(&[], &["--pins", &file, "www.example.com"]).expect_code(0);
    for text in [&pin(1), "9000-01-01", "refuse", &file, " leaf", " CA"] {
        assert!(run.text().contains(text), "{text}: {}", run.text());
    }
}

/// What is decided about chains to roots of this origin.
fn anchor(origin: &str, not_pinned: &str) -> Value {
    json!({ "origin": origin, "pinned": "pass", "not_pinned": not_pinned })
}

#[test]
fn shows_what_each_kind_of_root_means_and_why_other_policies_do_not_apply() {
    let policies = ["example.com+sub", "www.example.com"];
    let json = json_of(&policies, "www.example.com");
    let [built_in, unknown] = ["built-in", "unknown"].map(|it| anchor(it, "refuse"));
    let user_added = anchor("user-added", "skip");
    assert_eq!(json["anchors"], json!([built_in, unknown, user_added]));
    let nearer = json!([{
        "policy": "example.com",
        "scope": "host-and-subdomains",
        "reason": "nearer",
    }]);
    assert_eq!(json["others"], nearer);
    let unpinned = json_of(&policies, "example.org");
    assert_eq!(unpinned["anchors"][0]["not_pinned"], "not-pinned");
    assert_eq!(json_of(&policies, "192.0.2.1")["anchors"], Value::Null);
    let run = explain(&policies, &["www.example.com"]).expect_code(0);
    for text in [
        "root built-in  with pinned keys: pass, without: refuse",
        "root user-added with pinned keys: pass, without: skip",
        "example.com (host-and-subdomains): a nearer policy applies",
    ] {
        assert!(run.text().contains(text), "{text}: {}", run.text());
    }
}

#[test]
fn shows_why_a_name_has_no_enforced_policy() {
    let folder = Folder::new();
    let file = pin_file(&folder);
    for (name, state, exempt_from, unpinned) in [
        (
            "a.legacy.example.com",
            json!(null),
            json!(["example.com"]),
            json!("refuse"),
        ),
        (
            "legacy.example.com",
            json!(null),
            json!(["example.com"]),
            json!("refuse"),
        ),
        ("other.example", json!(null), json!([]), json!("refuse")),
        ("cdn.example", json!(null), json!([]), json!("allow")),
        ("192.0.2.1", json!(null), json!([]), json!("allow")),
        ("192.0.2.2", json!(null), json!([]), json!("refuse")),
        (
            "report.example",
            json!("report-only"),
            json!([]),
            json!("refuse"),
        ),
        ("expired.example", json!("expired"), json!([]), json!(null)),
    ] {
        let json = explain(&[], &["--json", "--pins", &file, name]);
        let json = json.expect_code(0).json();
        assert_eq!(json["state"], state, "{name}");
        assert_eq!(json["exempt_from"], exempt_from, "{name}");
        assert_eq!(json["unpinned"], unpinned, "{name}");
        assert_eq!(json["refused_keys"], 1, "{name}");
        let run = explain(&[], &["--pins", &file, name]).expect_code(0);
        assert_eq!(
            run.text().contains("unpinned"),
            unpinned == "refuse",
            "{name}"
        );
    }
}

#[test]
fn shows_noted_policies_too() {
    let folder = Folder::new();
    let file = pin_file(&folder);
    let store = folder.path("noted");
    let mut entries = ["example.com", "other.example"].map(|host| entry(host, NOW, LAST));
    // The scope of the static policy, which has a rule of its own for its expiry.
    entries[0].includes_subdomains = true;
    write(&store, &entries);
    let json_of = |name: &str| {
        let options = ["--json", "--pins", &file, "--store", &store, name];
        explain(&[], &options).expect_code(0).json()
    };
    let both = json_of("example.com");
    assert_eq!(both["source"], "static");
    assert_eq!(both["policies"][1]["source"], "noted");
    assert_eq!(both["policies"][1]["pins"].as_array().unwrap().len(), 1);
    assert_eq!(both["policies"][1]["candidate"], Value::Null);
    assert_eq!(both["policies"][1]["after_expiry"], Value::Null);
    let noted = json_of("other.example");
    assert_eq!(noted["source"], "noted");
    assert_eq!(noted["policies"].as_array().unwrap().len(), 1);
    // Noted pins do not make a host pinned in this sense.
    assert_eq!(noted["unpinned"], "refuse");
    let run = explain(&[], &["--store", &store, "example.com"]).expect_code(0);
    assert!(run.text().contains(&store), "{}", run.text());
    let missing = folder.path("missing");
    explain(&[], &["--store", &missing, "example.com"]).expect_code(2);
    assert!(!std::fs::exists(missing).unwrap());
}

#[test]
fn the_policies_of_one_host_differ_by_scope() {
    let folder = Folder::new();
    let policy = |scope: &str, then: &str| {
        json!({
            "hosts": ["example.com"],
            "scope": scope,
            "pins": [pin(1), pin(2)],
            "expires": "9000-01-01T00:00:00Z",
            "after_expiry": then,
        })
    };
    let policies = [policy("host", "unpin"), policy("subdomains", "report-only")];
    let document = json!({ "version": 1, "policies": policies });
    let file = folder.write("pins.json", document.to_string());
    for (name, scope, then) in [
        ("example.com", "host", "unpin"),
        ("www.example.com", "subdomains", "report-only"),
    ] {
        let json = explain(&[], &["--json", "--pins", &file, name]);
        let json = json.expect_code(0).json();
        assert_eq!(
            (&json["scope"], &json["after_expiry"]),
            (&json!(scope), &json!(then))
        );
    }
}

#[test]
fn policies_of_options_and_file_are_joined() {
    let folder = Folder::new();
    let file = pin_file(&folder);
    let options = ["--json", "--pins", &file, "a.www.example.com"];
    let json = explain(&["www.example.com+sub"], &options).expect_code(0);
    assert_eq!(json.json()["policy"], "www.example.com");
    let run = explain(&["example.com"], &options).expect_code(2);
    assert_eq!(run.json()["error"], "usage");
}
