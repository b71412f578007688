//! Pin files: what each member means, what is refused with its place, and printing.

use std::fs;
use std::process::Command;

use pinhold::pin_file::{PinFile, PinFileProblem as Problem};
use pinhold::policy::{
    AfterExpiry, HostError, Overlap, ParseFingerprintError, PinGroup, PlainHttp, PolicyError,
    Scope, UnpinnedHosts, UnpinnedName,
};
use pinhold::{BuildError, Enforcement, PinPolicy, PinSet, Pinning, UserAddedRoots};

use serde_json::{Value, json};

use crate::common::at;
use crate::common::peers::program;

pub(super) const A: &str = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=";
pub(super) const B: &str = "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=";
pub(super) const C: &str = "sha256/hxqRlPTu1bMS/0DITB1SSu0vd4u/8l8TjPgfaAp63Gc=";
pub(super) const D: &str = "sha256/mEflZT5enoR1FuXLgYYGqnVEoZvmf9c2bVBpiOjYQ0c=";

pub(super) fn parse(text: &str) -> PinFile {
    PinFile::parse(text).unwrap()
}

/// Returns a file with one policy of `example.com` that has these members.
pub(super) fn with_policy(members: &str) -> String {
    format!(r#"{{"version":1,"policies":[{{"hosts":["example.com"],{members}}}]}}"#)
}

fn problem(text: &str) -> Problem {
    PinFile::parse(text).unwrap_err().problem().clone()
}

/// A file with every member.
fn everything() -> String {
    format!(
        r#"{{
            "$schema": "pin-file.schema.json",
            "comment": {{ "any": ["value", 1, null] }},
            "version": 1,
            "overlap": "nearest",
            "unpinned_hosts": "refuse",
            "allow_unpinned": ["CDN.example", "127.0.0.1", "[::1]"],
            "refused_keys": ["{D}"],
            "policies": [
                {{
                    "hosts": ["Example.com.", "example.org"],
                    "comment": "two hosts",
                    "scope": "host-and-subdomains",
                    "exempt": ["dev.example.com"],
                    "leaf_pins": ["{A}", {{ "pin": "{B}", "comment": "next" }}],
                    "ca_pins": ["{C}"],
                    "candidate": {{ "comment": 1, "all_of": [{{ "comment": [], "pins": ["{B}"] }}, {{ "ca_pins": ["{C}"] }}] }},
                    "enforcement": "report-only",
                    "expires": "2027-06-30T23:59:59Z",
                    "after_expiry": "refuse",
                    "report_uris": ["https://one.example/r", "https://two.example/r"],
                    "user_added_roots": "enforce-pins",
                    "plain_http": "allow"
                }},
                {{ "hosts": ["example.com"], "scope": "one-label", "pins": ["{A}"], "without_backup": true }}
            ]
        }}"#
    )
}

/// The same as [`everything`], by the builder's methods.
fn built() -> PinFile {
    let group = PinGroup::leaf([A, B])
        .unwrap()
        .or(PinGroup::ca([C]).unwrap());
    let policy = PinPolicy::all_of([group])
        .unwrap()
        .scope(Scope::HostAndSubdomains)
        .candidate_all_of([PinGroup::new([B]).unwrap(), PinGroup::ca([C]).unwrap()])
        .unwrap()
        .enforcement(Enforcement::ReportOnly)
        .expires(at(1_814_399_999), AfterExpiry::Refuse)
        .report_uri("https://one.example/r".parse().unwrap())
        .report_uri("https://two.example/r".parse().unwrap())
        .user_added_roots(UserAddedRoots::EnforcePins)
        .plain_http(PlainHttp::Allow);
    let single = PinPolicy::without_backup([A])
        .unwrap()
        .scope(Scope::OneLabel);
    PinFile::new([
        (
            "example.com",
            policy.clone().exempt("dev.example.com").unwrap(),
        ),
        ("example.org", policy),
        ("example.com", single),
    ])
    .unwrap()
    .with_overlap(Overlap::Nearest)
    .with_refused_keys(PinSet::new([D.parse().unwrap()]).unwrap())
    .with_unpinned_hosts(
        UnpinnedHosts::Refuse,
        ["cdn.example", "127.0.0.1", "::1"].map(|name| UnpinnedName::try_from(name).unwrap()),
    )
}

#[test]
fn every_member_means_what_the_builder_method_means() {
    let file = parse(&everything());
    assert_eq!(file, built());
    assert_eq!(parse(&file.to_string()), file, "printed");
    let pinning = Pinning::builder().pins(file).build();
    assert!(pinning.is_ok());
}

/// Text, unknown member, kind of its object, line and column.
const UNKNOWN: [(&str, &str, &str, usize, usize); 5] = [
    (
        "{\n  \"version\": 1,\n  \"Policies\": []}",
        "Policies",
        "pin file",
        3,
        12,
    ),
    (
        "{\"version\":1,\"policies\":[\n{\"hosts\":[\"a.example\"],\n\"pin\":[]}]}",
        "pin",
        "policy",
        3,
        5,
    ),
    (
        "{\"version\":1,\"policies\":[{\"all_of\":[{\"all_of\":[]}]}]}",
        "all_of",
        "group",
        1,
        45,
    ),
    (
        "{\"version\":1,\"policies\":[{\"candidate\":{\"hosts\":[]}}]}",
        "hosts",
        "candidate",
        1,
        46,
    ),
    (
        "{\"version\":1,\"refused_keys\":[{\"key\":\"\"}]}",
        "key",
        "pin",
        1,
        35,
    ),
];

#[test]
fn unknown_members_are_refused_by_name_with_line_and_column() {
    for (text, name, of, line, column) in UNKNOWN {
        let error = PinFile::parse(text).unwrap_err();
        match error.problem() {
            Problem::UnknownMember {
                name: found,
                of: kind,
                expected,
            } => {
                assert_eq!((found.as_str(), *kind), (name, of));
                assert!(!expected.contains(&name));
            }
            other => panic!("{text}: {other:?}"),
        }
        assert_eq!((error.line(), error.column()), (line, column), "{text}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

type Check = fn(&Problem) -> bool;

fn assert_problems(cases: &[(String, Check)]) {
    for (text, is_expected) in cases {
        let found = problem(text);
        assert!(is_expected(&found), "{text}: {found}");
    }
}

#[test]
fn a_file_without_its_parts_or_with_others_is_refused() {
    let two = format!(r#""pins":["{A}","{B}"]"#);
    assert_problems(&[
        ("[]".to_owned(), |it| matches!(it, Problem::Json { .. })),
        ("{".to_owned(), |it| matches!(it, Problem::Json { .. })),
        ("{}".to_owned(), |it| missing(it, "version")),
        (r#"{"version":1}"#.to_owned(), |it| missing(it, "policies")),
        (r#"{"version":1,"policies":[]}"#.to_owned(), |it| {
            matches!(it, Problem::NoPolicies)
        }),
        (r#"{"version":2}"#.to_owned(), |it| {
            matches!(it, Problem::Version { found: 2 })
        }),
        (r#"{"version":1,"version":1}"#.to_owned(), |it| {
            matches!(it, Problem::DuplicateMember { name: "version" })
        }),
        (format!("{} x", with_policy(&two)), |it| {
            matches!(it, Problem::Json { .. })
        }),
        (
            r#"{"version":1,"policies":[{"hosts":["https://a.example/"]}]}"#.to_owned(),
            |it| matches!(it, Problem::Host(HostError::Url { .. })),
        ),
    ]);
    let hosts = format!(r#"{{"version":1,"policies":[{{"hosts":[],{two}}}]}}"#);
    assert!(missing(&problem(&hosts), "hosts"));
}

#[test]
fn a_policy_that_contradicts_itself_or_lacks_a_part_is_refused() {
    let two = format!(r#""pins":["{A}","{B}"]"#);
    assert_problems(&[
        (with_policy(r#""scope":"host""#), |it| missing(it, "pins")),
        (with_policy(r#""pins":[]"#), |it| {
            matches!(it, Problem::Policy(PolicyError::NoPins))
        }),
        (with_policy(r#""all_of":[]"#), |it| {
            matches!(it, Problem::Policy(PolicyError::NoPins))
        }),
        (with_policy(&format!(r#""pins":["{A}","{A}"]"#)), |it| {
            matches!(it, Problem::Policy(PolicyError::NoBackup))
        }),
        (
            with_policy(&format!(r#""all_of":[{{{two}}},{{"leaf_pins":["{C}"]}}]"#)),
            |it| matches!(it, Problem::Policy(PolicyError::NoBackup)),
        ),
        (
            with_policy(&format!(r#"{two},"all_of":[{{{two}}}]"#)),
            |it| matches!(it, Problem::ConflictingMembers { .. }),
        ),
        (
            with_policy(&format!(r#"{two},"expires":"2027-06-30T00:00:00Z""#)),
            |it| missing(it, "after_expiry"),
        ),
        (
            with_policy(&format!(r#"{two},"after_expiry":"unpin""#)),
            |it| missing(it, "expires"),
        ),
        (
            with_policy(&format!(r#"{two},"expires":"2027-06-30""#)),
            |it| matches!(it, Problem::Time { .. }),
        ),
        (
            with_policy(&format!(r#"{two},"scope":"subdomain""#)),
            |it| {
                matches!(
                    it,
                    Problem::UnknownValue {
                        member: "scope",
                        ..
                    }
                )
            },
        ),
        (with_policy(r#""pins":["sha256/AAAA"]"#), |it| {
            matches!(it, Problem::Pin(ParseFingerprintError::Length { bytes: 3 }))
        }),
    ]);
}

fn missing(problem: &Problem, expected: &str) -> bool {
    matches!(problem, Problem::MissingMember { name, .. } if *name == expected)
}

#[test]
fn an_exempt_name_below_none_of_several_hosts_is_refused() {
    let two = format!(r#""pins":["{A}","{B}"],"scope":"host-and-subdomains""#);
    for (exempt, is_valid) in [
        ("dev.one.example", true),
        ("dev.two.example", true),
        ("dev.three.example", false),
        ("one.example", false),
    ] {
        let policy =
            format!(r#"{{"hosts":["one.example","two.example"],"exempt":["{exempt}"],{two}}}"#);
        let file = parse(&format!(r#"{{"version":1,"policies":[{policy}]}}"#));
        match Pinning::builder().pins(file).build() {
            Ok(_) => assert!(is_valid, "{exempt}"),
            Err(BuildError::Exemption { exempt: found, .. }) => {
                assert!(!is_valid && found.as_str() == exempt, "{exempt}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn equal_groups_count_once_and_a_byte_order_mark_is_ignored() {
    let two = format!(r#""pins":["{A}","{B}"]"#);
    let text = with_policy(&format!(r#""all_of":[{{{two}}},{{{two},"comment":0}}]"#));
    let file = parse(&format!("\u{feff}{text}"));
    assert_eq!(file, parse(&with_policy(&two)));
}

#[test]
fn a_file_is_opened_with_its_path_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pins.json");
    let text = with_policy(&format!(r#""pins":["{A}","{B}"]"#));
    fs::write(&path, format!("\u{feff}{text}")).unwrap();
    assert_eq!(PinFile::open(&path).unwrap(), parse(&text));
    fs::write(&path, "{}").unwrap();
    let error = PinFile::open(&path).unwrap_err();
    assert_eq!(error.file(), Some(path.as_path()));
    assert_eq!((error.line(), error.column()), (1, 2));
    fs::write(&path, [0xff, 0xfe]).unwrap();
    let error = PinFile::open(&path).unwrap_err();
    assert!(matches!(error.problem(), Problem::Io(_)));
    assert_eq!(error.line(), 0);
    fs::File::create(&path)
        .unwrap()
        .set_len(PinFile::MAX_SIZE + 1)
        .unwrap();
    let error = PinFile::open(&path).unwrap_err();
    assert!(matches!(error.problem(), Problem::TooLarge), "{error}");
}

#[test]
fn the_names_of_the_schema_are_those_that_are_read() {
    let schema = serde_json::from_str::<Value>(PinFile::SCHEMA).unwrap();
    let of = &schema["$defs"];
    for (object, text) in [
        (&schema, r#"{"?":0}"#),
        (&of["policy"], r#"{"policies":[{"?":0}]}"#),
        (&of["candidate"], r#"{"policies":[{"candidate":{"?":0}}]}"#),
        (
            &of["groups"]["items"],
            r#"{"policies":[{"all_of":[{"?":0}]}]}"#,
        ),
        (&of["pin"]["oneOf"][1], r#"{"refused_keys":[{"?":0}]}"#),
    ] {
        let names = object["properties"].as_object().unwrap().keys();
        let names = names.filter(|name| *name != "comment").collect::<Vec<_>>();
        match problem(text) {
            Problem::UnknownMember { expected, .. } => assert_eq!(names, expected),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn the_words_of_the_schema_are_those_that_are_read() {
    let schema = serde_json::from_str::<Value>(PinFile::SCHEMA).unwrap();
    let policy = &schema["$defs"]["policy"];
    let in_policy = |name: &str| with_policy(&format!(r#""{name}":"?""#));
    let in_file = |name: &str| format!(r#"{{"{name}":"?"}}"#);
    for (name, object, text) in [
        ("scope", policy, in_policy("scope")),
        ("enforcement", policy, in_policy("enforcement")),
        ("after_expiry", policy, in_policy("after_expiry")),
        ("user_added_roots", policy, in_policy("user_added_roots")),
        ("plain_http", policy, in_policy("plain_http")),
        ("overlap", &schema, in_file("overlap")),
        ("unpinned_hosts", &schema, in_file("unpinned_hosts")),
    ] {
        let words = &object["properties"][name]["enum"];
        match problem(&text) {
            Problem::UnknownValue { expected, .. } => assert_eq!(*words, json!(expected)),
            other => panic!("{other}"),
        }
    }
}

/// jsonschema is an independent reader of the schema.
#[test]
fn the_schema_accepts_what_is_read_and_refuses_unknown_members() {
    let Some(jsonschema) = program("jsonschema") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("schema.json");
    fs::write(&schema, PinFile::SCHEMA).unwrap();
    let two = format!(r#""pins":["{A}",{{"pin":"{B}","comment":1}}]"#);
    let all = format!(
        r#""scope":"one-label","exempt":[],"all_of":[{{{two}}},{{"leaf_pins":["{C}"],"ca_pins":["{D}"]}}],
        "candidate":{{"ca_pins":["{C}"]}},"expires":"2027-06-30T23:59:59Z","after_expiry":"unpin",
        "report_uris":[],"user_added_roots":"skip-pins","plain_http":"refuse","comment":{{"x":1}}"#
    );
    for (text, is_valid) in [
        (with_policy(&two), true),
        (with_policy(&all), true),
        (with_policy(&format!(r#"{two},"scopes":"host""#)), false),
        (
            with_policy(&format!(r#"{two},"all_of":[{{{two}}}]"#)),
            false,
        ),
        (with_policy(r#""pins":[]"#), false),
        (
            with_policy(&format!(r#"{two},"expires":"2027-06-30T23:59:59Z""#)),
            false,
        ),
        (with_policy(&format!(r#"{two},"candidate":{{}}"#)), false),
        (
            with_policy(&two).replace("\"version\":1", "\"version\":2"),
            false,
        ),
        (r#"{"version":1,"policies":[]}"#.to_owned(), false),
    ] {
        let instance = folder.path().join("pins.json");
        fs::write(&instance, &text).unwrap();
        let result = Command::new(&jsonschema)
            .arg("-i")
            .arg(&instance)
            .arg(&schema)
            .output();
        let found = result.unwrap().status.success();
        assert_eq!(
            (found, PinFile::parse(&text).is_ok()),
            (is_valid, is_valid),
            "{text}"
        );
    }
}
