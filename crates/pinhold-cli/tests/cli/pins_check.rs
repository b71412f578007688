//! `pinhold pins check`: each finding about a pin file.

use std::fs;

use serde_json::{Value, json};

use crate::pins_option::digest_pin;
use crate::pki::Ca;
use crate::program::{Folder, Run, pem, run, run_with_input, unrelated_pin};
use crate::usage::assert_plain_text;

const X1: &str = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=";
const X2: &str = "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=";
const GTS_R1: &str = "sha256/hxqRlPTu1bMS/0DITB1SSu0vd4u/8l8TjPgfaAp63Gc=";
/// The SHA-256 of the certificate of ISRG Root X1, as <https://letsencrypt.org/certificates/> has it.
const X1_CERTIFICATE: &str = "96bcec06264976f37460779acf28c5a7cfe8a3c0aae11a8ffcee05c0bddf08c6";
const AT: &str = "2026-06-01";

/// A document with a policy of `example.com` with these members, and members of its own.
fn document(policy: Value, file: Value) -> String {
    let mut policy = policy;
    for (name, default) in [
        ("hosts", json!(["example.com"])),
        ("pins", json!([X1, GTS_R1])),
    ] {
        let has_pins = policy.get("all_of").is_some() || policy.get("leaf_pins").is_some();
        if policy.get(name).is_none() && !(name == "pins" && has_pins) {
            policy[name] = default;
        }
    }
    let mut document = json!({ "version": 1, "policies": [policy] });
    let members = file.as_object().unwrap().clone();
    document.as_object_mut().unwrap().extend(members);
    document.to_string()
}

fn check(text: impl AsRef<[u8]>, options: &[&str]) -> Run {
    let folder = Folder::new();
    let file = folder.write("pins.json", text);
    run([&["pins", "check", &file, "--at", AT, "--json"], options].concat())
}

#[test]
fn standard_input_is_checked_like_a_file() {
    let folder = Folder::new();
    let file = folder.write(
        "pins.json",
        format!("\u{feff}{}", document(json!({}), json!({}))),
    );
    let run = run_with_input(&file, ["pins", "check", "-", "--at", AT, "--json"]);
    assert!(findings(&run.expect_code(0)).is_empty());
    let run = run_with_input(&file, ["pins", "check", "-", "--chain", &file]);
    run.expect_code(2);
}

#[cfg(unix)]
#[test]
fn an_input_without_end_is_refused() {
    let zero = "/dev/zero";
    let run = run_with_input(zero, ["pins", "check", zero, "--json"]).expect_code(3);
    assert_eq!(run.json()["findings"][0]["id"], "unreadable");
    let folder = Folder::new();
    let file = folder.write("pins.json", document(json!({}), json!({})));
    for arguments in [
        &["pins", "check", &file, "--chain", zero][..],
        &["fingerprint", "-"],
        &["fingerprint", zero],
    ] {
        run_with_input(zero, arguments).expect_code(2);
    }
}

/// Returns the severity and the kind of each finding, as in "error expired".
fn findings(run: &Run) -> Vec<String> {
    let json = run.json();
    let findings = json["findings"].as_array().unwrap().iter();
    let findings = findings.map(|finding| {
        for member in ["detail", "remedy"] {
            let text = finding[member].as_str().unwrap();
            assert!(!text.is_empty());
            assert_plain_text(text);
        }
        let word = |member: &str| finding[member].as_str().unwrap().to_owned();
        format!("{} {}", word("severity"), word("id"))
    });
    findings.collect()
}

#[track_caller]
fn assert_findings(policy: Value, file: Value, expected: &[&str]) -> Run {
    let text = document(policy, file);
    let run = check(&text, &[]);
    assert_eq!(findings(&run), expected, "{text}");
    let is_error = expected.iter().any(|it| it.starts_with("error"));
    assert_eq!(run.code, if is_error { 3 } else { 0 }, "{text}");
    run
}

#[test]
fn a_sound_file_has_no_findings() {
    let policy = json!({
        "hosts": ["example.com", "example.org"],
        "scope": "host-and-subdomains",
        "exempt": ["legacy.example.com"],
        "expires": "2027-06-01T00:00:00Z",
        "after_expiry": "unpin",
        "report_uris": ["https://reports.example/"],
        "plain_http": "refuse",
        "candidate": { "pins": [X2, GTS_R1] },
    });
    let file = json!({
        "unpinned_hosts": "refuse",
        "allow_unpinned": ["legacy.example.com", "192.0.2.1"],
        "refused_keys": [unrelated_pin().to_string()],
    });
    let json = assert_findings(policy, file, &[]).json();
    assert_eq!((&json["errors"], &json["warnings"]), (&json!(0), &json!(0)));
}

#[test]
fn files_that_cannot_be_read_are_findings_with_a_place() {
    for (text, line, column) in [
        ("{\n  \"version\": 1,\n  \"pin\": []\n}".as_bytes(), 3, 7),
        (b"{\n  \"version\": 2 }", 2, 14),
        (b"{,", 1, 2),
        (b"\xef\xbb\xbf{,", 1, 2),
        (b"{ \"version\": 1,\n \"a\": \"\xff\" }", 2, 8),
    ] {
        let run = check(text, &[]).expect_code(3);
        assert_eq!(findings(&run), ["error unreadable"]);
        let finding = &run.json()["findings"][0];
        assert_eq!(finding["line"], line, "{finding}");
        assert_eq!(finding["column"], column, "{finding}");
    }
    let run = run(["pins", "check", "no-such-file.json", "--json"]).expect_code(2);
    assert_eq!(run.json()["error"], "usage");
}

#[test]
fn policies_that_contradict_each_other_are_errors() {
    let exempt = json!({ "exempt": ["www.example.com"] });
    let run = assert_findings(exempt, json!({}), &["error exemption"]);
    assert_eq!(run.json()["findings"][0]["host"], "example.com");
    assert_eq!(run.json()["findings"][0]["line"], 1);
    let groups = json!({ "all_of": [{ "leaf_pins": [X1, X2] }, { "ca_pins": [X1, GTS_R1] }] });
    let union = json!({ "overlap": "union" });
    let expected = ["warning one-ca", "error union-of-groups"];
    assert_findings(groups, union, &expected);
}

#[test]
fn a_policy_needs_a_backup_at_another_ca() {
    let single = json!({ "pins": [X1], "without_backup": true });
    assert_findings(single, json!({}), &["warning no-backup"]);
    let candidate = json!({ "candidate": { "pins": [GTS_R1] } });
    assert_findings(candidate, json!({}), &["warning no-backup"]);
    let group = json!({
        "all_of": [{ "leaf_pins": [X1] }, { "ca_pins": [X1, GTS_R1] }],
        "without_backup": true,
    });
    assert_findings(group, json!({}), &["warning no-backup"]);
    // One key in two roles.
    let roles = json!({ "leaf_pins": [X1], "ca_pins": [X1], "without_backup": true });
    assert_findings(roles, json!({}), &["warning no-backup"]);
    assert_findings(json!({ "pins": [X1, X2] }), json!({}), &["warning one-ca"]);
    let own = [X1, X2, &unrelated_pin().to_string()];
    assert_findings(json!({ "pins": own }), json!({}), &[]);
}

#[test]
fn one_key_in_two_spellings_is_no_backup() {
    let bare = X1.strip_prefix("sha256/").unwrap();
    let twice = json!([X1, { "pin": bare, "comment": "the backup" }]);
    let policy = json!({ "pins": twice, "without_backup": true });
    let expected = ["warning no-backup", "warning repeated-key"];
    assert_findings(policy, json!({}), &expected);
    // Without the exception the file can't be read.
    let expected = ["warning repeated-key", "error unreadable"];
    assert_findings(json!({ "pins": twice }), json!({}), &expected);
    // With another key it does no harm.
    assert_findings(json!({ "pins": [X1, bare, GTS_R1] }), json!({}), &[]);
}

#[test]
fn expiry_is_a_finding_30_days_before() {
    let policy = |expires: &str, then: &str, enforcement: &str| json!({ "expires": expires, "after_expiry": then, "enforcement": enforcement });
    let refuse = json!({ "unpinned_hosts": "refuse" });
    for (expires, expected) in [
        ("2026-05-31T23:59:59Z", &["error expired"][..]),
        // The last second of the policy.
        ("2026-06-01T00:00:00Z", &["warning expires-soon"]),
        ("2026-07-01T00:00:00Z", &["warning expires-soon"]),
        ("2026-07-01T00:00:01Z", &[]),
    ] {
        for then in ["refuse", "report-only", "unpin"] {
            let run = assert_findings(policy(expires, then, "enforce"), json!({}), expected);
            let and_refused = policy(expires, then, "enforce");
            let refused = assert_findings(and_refused, refuse.clone(), expected);
            // That the host becomes unreachable is a consequence which the detail states.
            let is_other = run.json()["findings"] != refused.json()["findings"];
            assert_eq!(is_other, !expected.is_empty() && then != "refuse");
        }
    }
    let report_only = policy("2020-01-01T00:00:00Z", "refuse", "report-only");
    assert_findings(report_only, json!({}), &["error expired"]);
    // The default is the present time.
    let folder = Folder::new();
    let text = document(
        policy("2020-01-01T00:00:00Z", "unpin", "enforce"),
        json!({}),
    );
    let file = folder.write("pins.json", text);
    run(["pins", "check", &file]).expect_code(3);
    run(["pins", "check", &file, "--at", "2019-01-01T00:00:00Z"]).expect_code(0);
    run(["pins", "check", &file, "--at", "soon"]).expect_code(2);
}

#[test]
fn a_report_only_policy_does_not_make_a_host_reachable() {
    let report_only = json!({ "enforcement": "report-only", "scope": "subdomains" });
    let refuse = json!({ "unpinned_hosts": "refuse" });
    let run = assert_findings(report_only.clone(), refuse, &["error unreachable"]);
    assert_eq!(run.json()["findings"][0]["host"], "example.com");
    let allowed = json!({
        "unpinned_hosts": "refuse",
        "allow_unpinned": ["www.example.com"],
    });
    assert_findings(report_only.clone(), allowed, &[]);
    assert_findings(report_only, json!({ "unpinned_hosts": "report" }), &[]);
    let expired = json!({
        "enforcement": "report-only",
        "expires": "2020-01-01T00:00:00Z",
        "after_expiry": "refuse",
    });
    let refuse = json!({ "unpinned_hosts": "refuse" });
    assert_findings(expired, refuse.clone(), &["error expired"]);
    let exempt = json!({ "scope": "subdomains", "exempt": ["www.example.com"] });
    assert_findings(exempt, refuse, &[]);
}

#[test]
fn policies_of_top_level_domains_are_found() {
    let has_list = fs::exists(pinhold::storage::PublicSuffixes::PATH).unwrap();
    for (host, scope, is_found) in [
        ("com", "subdomains", true),
        ("com", "one-label", true),
        ("com", "host", false),
        ("example.com", "host-and-subdomains", false),
        ("co.uk", "subdomains", has_list),
    ] {
        let policy = json!({ "hosts": [host], "scope": scope });
        let expected = ["warning public-suffix"];
        let count = usize::from(is_found);
        let run = assert_findings(policy, json!({}), &expected[..count]);
        let detail = run.json()["findings"][0]["detail"].to_string();
        let is_top_level = detail.contains("top-level domain");
        assert_eq!(is_top_level, is_found && host == "com", "{detail}");
    }
}

#[test]
fn pins_of_certificates_are_named_with_the_pin_of_the_key() {
    let policy = json!({ "pins": [X1, X1_CERTIFICATE] });
    let run = assert_findings(policy, json!({}), &["error certificate-pin"]);
    let finding = &run.json()["findings"][0];
    assert!(
        finding["remedy"].as_str().unwrap().contains(X1),
        "{finding}"
    );
    assert!(finding["detail"].as_str().unwrap().contains("ISRG Root X1"));
    // Such a refused key refuses nothing.
    let refused = json!({ "refused_keys": [X1_CERTIFICATE] });
    assert_findings(json!({}), refused, &["error certificate-pin"]);
    let group = json!({ "all_of": [{ "ca_pins": [GTS_R1, X1_CERTIFICATE] }] });
    assert_findings(group, json!({}), &["error certificate-pin"]);
    let candidate = json!({ "candidate": { "leaf_pins": [GTS_R1, X1_CERTIFICATE] } });
    assert_findings(candidate, json!({}), &["error certificate-pin"]);
}

#[test]
fn the_files_of_chain_are_compared_with_the_pins() {
    let folder = Folder::new();
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let certificates = [leaf.certificate(), root.certificate()];
    let chain = certificates.each_ref().map(|der| pem("CERTIFICATE", der));
    let chain = folder.write("chain.pem", chain.concat());
    let wrong = digest_pin(&certificates[0]);
    let text = document(json!({ "pins": [wrong, GTS_R1] }), json!({}));
    check(&text, &[]).expect_code(0);
    let run = check(&text, &["--chain", &chain]).expect_code(3);
    assert_eq!(findings(&run), ["error certificate-pin"]);
    let remedy = run.json()["findings"][0]["remedy"].clone();
    let pin = leaf.pin().to_string();
    assert!(remedy.as_str().unwrap().contains(&pin), "{remedy}");

    let [leaf, root] = [leaf.pin(), root.pin()].map(|pin| pin.to_string());
    let text = document(json!({ "pins": [leaf, root] }), json!({}));
    check(&text, &[]).expect_code(0);
    let run = check(&text, &["--chain", &chain]).expect_code(0);
    assert_eq!(findings(&run), ["warning one-chain"]);
    check(&text, &["--chain", &chain, "--strict"]).expect_code(3);
    let with_backup = document(json!({ "pins": [leaf, root, X1] }), json!({}));
    let run = check(with_backup, &["--chain", &chain, "--strict"]).expect_code(0);
    assert_eq!(findings(&run), [""; 0]);
    let other = folder.write("other.pem", "no certificate");
    check(&text, &["--chain", &other]).expect_code(2);
}

#[test]
fn pins_of_refused_keys_can_never_hold() {
    let refused = json!({ "refused_keys": [X1] });
    let text = document(json!({}), refused.clone());
    let run = assert_findings(json!({}), refused.clone(), &["error refused-pin"]);
    let finding = &run.json()["findings"][0];
    // The place is that of the pin: where its text ends, in the list of pins.
    let pins = text.find("\"pins\"").unwrap();
    let end = pins + text[pins..].find(X1).unwrap() + X1.len() + 1;
    assert_eq!(
        (&finding["line"], &finding["column"]),
        (&json!(1), &json!(end))
    );
    let candidate = json!({ "pins": [GTS_R1, X2], "candidate": { "pins": [X1, X2] } });
    let expected = ["warning one-ca", "error refused-pin"];
    let mut found = findings(&check(document(candidate, refused), &[]).expect_code(3));
    found.sort_unstable_by_key(|it| it.starts_with("error"));
    assert_eq!(found, expected);
}

#[test]
fn names_that_are_pinned_need_no_exception() {
    let allowed = |name: &str| json!({ "unpinned_hosts": "refuse", "allow_unpinned": [name] });
    let expected = ["warning allowed-but-pinned"];
    assert_findings(json!({}), allowed("example.com"), &expected);
    assert_findings(json!({}), allowed("www.example.com"), &[]);
    let scope = json!({ "scope": "host-and-subdomains" });
    assert_findings(scope, allowed("www.example.com"), &expected);
    let report_only = json!({ "enforcement": "report-only" });
    assert_findings(report_only, allowed("example.com"), &[]);
}

#[test]
fn reports_go_to_another_host_by_https() {
    let policy = |uri: &str| json!({ "report_uris": [uri], "scope": "host-and-subdomains" });
    let http = ["warning report-uri-http"];
    assert_findings(policy("http://reports.example/"), json!({}), &http);
    let pinned = ["warning report-uri-pinned"];
    assert_findings(policy("https://example.com/r"), json!({}), &pinned);
    assert_findings(policy("https://a.example.com:8443/r"), json!({}), &pinned);
    let both = ["warning report-uri-http", "warning report-uri-pinned"];
    assert_findings(policy("HTTP://EXAMPLE.com/r"), json!({}), &both);
    let exempt = json!({
        "report_uris": ["https://r.example.com/"],
        "scope": "host-and-subdomains",
        "exempt": ["r.example.com"],
    });
    assert_findings(exempt, json!({}), &[]);
    // The pins of another policy are other ones.
    let text = document(policy("https://example.org/"), json!({}));
    let mut two = serde_json::from_str::<Value>(&text).unwrap();
    let other = json!({ "hosts": ["example.org"], "pins": [X2, GTS_R1] });
    two["policies"].as_array_mut().unwrap().push(other);
    assert_eq!(findings(&check(two.to_string(), &[])), [""; 0]);
}

#[test]
fn plain_http_is_a_finding_where_pins_are_enforced() {
    let allow = json!({ "plain_http": "allow" });
    assert_findings(allow, json!({}), &["warning plain-http"]);
    let report_only = json!({ "plain_http": "allow", "enforcement": "report-only" });
    assert_findings(report_only, json!({}), &[]);
}

#[test]
fn a_policy_of_several_hosts_is_named_once() {
    let policy = json!({
        "hosts": ["a.example", "b.example", "com"],
        "scope": "subdomains",
        "plain_http": "allow",
    });
    let expected = ["warning plain-http", "warning public-suffix"];
    let json = assert_findings(policy, json!({}), &expected).json();
    assert_eq!(json["findings"][0]["host"], "a.example");
    assert_eq!(json["findings"][1]["host"], "com");
}

#[test]
fn the_text_has_a_place_and_a_remedy_for_each_finding() {
    let folder = Folder::new();
    let text = format!(
        "{{ \"version\": 1, \"policies\": [\n  {{ \"hosts\": [\n    \"b\u{fc}cher.example\"],\n\
         \"without_backup\": true, \"pins\": [\"{X1}\"] }}] }}"
    );
    let file = folder.write("pins.json", text);
    let run = run(["pins", "check", &file]).expect_code(0);
    assert_eq!(run.stderr, "");
    // The column counts bytes.
    let first = format!("{file}:3:21: warning: ");
    assert!(run.text().starts_with(&first), "{}", run.text());
    for text in [
        "xn--bcher-kva.example",
        "what to do: ",
        "0 errors, 1 warning",
    ] {
        assert!(run.text().contains(text), "{}", run.text());
    }
}
