//! The losses of each format for each feature of pin files, as the table of `losses.txt`.

use serde_json::{Value, json};

use crate::pins::kit::{A, B, C, D, FORMATS, convert, kinds};

/// The pins of a policy that sets nothing else.
fn policy(more: Value) -> Value {
    let mut policy = json!({ "hosts": ["example.com"] });
    let has_pins = ["pins", "leaf_pins", "ca_pins", "all_of"];
    if !has_pins.iter().any(|name| more.get(name).is_some()) {
        policy["pins"] = json!([A, B]);
    }
    policy
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    policy
}

type Feature = (&'static str, Value);

fn one(name: &'static str, more: Value) -> Feature {
    (name, json!({ "policies": [policy(more)] }))
}

fn pins_and_names() -> Vec<Feature> {
    let groups = json!([{ "leaf_pins": [A, B] }, { "ca_pins": [C, D] }]);
    let all = "host-and-subdomains";
    let nested = json!([
        policy(json!({ "scope": all })),
        policy(json!({ "hosts": ["api.example.com"], "pins": [C, D] })),
    ]);
    vec![
        one("pins", json!({})),
        one("leaf_pins", json!({ "leaf_pins": [A, B] })),
        one("ca_pins", json!({ "ca_pins": [A, B] })),
        one(
            "leaf_pins or ca_pins",
            json!({ "leaf_pins": [A, B], "ca_pins": [C, D] }),
        ),
        one("all_of leaf and CA", json!({ "all_of": groups })),
        one("one pin", json!({ "pins": [A], "without_backup": true })),
        one("scope one-label", json!({ "scope": "one-label" })),
        one("scope subdomains", json!({ "scope": "subdomains" })),
        one("scope host-and-subdomains", json!({ "scope": all })),
        one(
            "exempt",
            json!({ "scope": all, "exempt": ["old.example.com"] }),
        ),
        ("overlap nearest", json!({ "policies": nested })),
        (
            "overlap union",
            json!({ "policies": nested, "overlap": "union" }),
        ),
        one(
            "two hosts",
            json!({ "hosts": ["example.com", "example.org"] }),
        ),
    ]
}

fn settings() -> Vec<Feature> {
    let expires = |then, time| json!({ "expires": time, "after_expiry": then });
    let midnight = "2027-06-30T00:00:00Z";
    let two = ["https://r.example/", "https://s.example/"];
    let file = |name, member: &str, value| {
        let file = json!({ "policies": [policy(json!({}))], member: value });
        (name, file)
    };
    vec![
        one("candidate", json!({ "candidate": { "pins": [C, D] } })),
        one("report-only", json!({ "enforcement": "report-only" })),
        one("expires, unpin", expires("unpin", midnight)),
        one(
            "expires in the day",
            expires("unpin", "2027-06-30T12:00:00Z"),
        ),
        one("expires, report-only", expires("report-only", midnight)),
        one("expires, refuse", expires("refuse", midnight)),
        one(
            "report_uris, one",
            json!({ "report_uris": ["https://r.example/"] }),
        ),
        one("report_uris, two", json!({ "report_uris": two })),
        one(
            "user_added_roots",
            json!({ "user_added_roots": "skip-pins" }),
        ),
        one("plain_http", json!({ "plain_http": "refuse" })),
        file("refused_keys", "refused_keys", json!([D])),
        file("unpinned_hosts", "unpinned_hosts", json!("refuse")),
        file("allow_unpinned", "allow_unpinned", json!(["example.net"])),
    ]
}

/// Returns the kinds of losses, and whether no policy is left. The pins of all rows but the first
/// get a role where the format needs one.
fn cell(format: &str, row: usize, file: &Value) -> String {
    let mut file = file.clone();
    file["version"] = json!(1);
    let needs_role = row > 0 && (format == "apple" || format == "curl");
    let role: &[&str] = if needs_role { &["--role", "leaf"] } else { &[] };
    let options = [&["--strict"], role].concat();
    let run = convert("pin-file", format, &file.to_string(), &options);
    match run.code {
        0 => "-".to_owned(),
        3 => kinds(&run.json()).join(" "),
        2 => format!("nothing left: {}", kinds(&run.json()).join(" ")),
        code => panic!("{code}: {}", run.stderr),
    }
}

fn table() -> String {
    let features = [pins_and_names(), settings()].concat();
    let header = FORMATS.join(" | ");
    let mut table = format!(
        "| feature | {header} |\n|---{}|\n",
        "|---".repeat(FORMATS.len())
    );
    for (row, (name, file)) in features.into_iter().enumerate() {
        let cells = FORMATS.map(|format| cell(format, row, &file)).join(" | ");
        table += &format!("| {name} | {cells} |\n");
    }
    table
}

#[test]
fn every_format_loses_what_the_table_says() {
    let table = table();
    assert_eq!(
        table,
        include_str!("losses.txt"),
        "the actual table:\n{table}"
    );
}
