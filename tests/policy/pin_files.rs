//! Pin files: what each member means, what is refused with its place, and printing.

use std::fs;

use pinhold::pin_file::{PinFile, PinFileProblem as Problem};
use pinhold::policy::{
    AfterExpiry, HostError, Overlap, ParseFingerprintError, PinGroup, PinRole, PlainHttp,
    PolicyError, Scope, UnpinnedHosts, UnpinnedName,
};
use pinhold::{
    BuildError, Enforcement, Host, PinPolicy, PinSet, Pinning, SpkiFingerprint, UserAddedRoots,
};
use proptest::prelude::*;

use crate::common::{at, now};

const A: &str = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=";
const B: &str = "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=";
const C: &str = "sha256/hxqRlPTu1bMS/0DITB1SSu0vd4u/8l8TjPgfaAp63Gc=";
const D: &str = "sha256/mEflZT5enoR1FuXLgYYGqnVEoZvmf9c2bVBpiOjYQ0c=";

fn parse(text: &str) -> PinFile {
    PinFile::parse(text).unwrap()
}

/// Returns a file with one policy of `example.com` that has these members.
fn with_policy(members: &str) -> String {
    format!(r#"{{"version":1,"policies":[{{"hosts":["example.com"],{members}}}]}}"#)
}

fn problem(text: &str) -> Problem {
    PinFile::parse(text).unwrap_err().problem().clone()
}

#[test]
fn every_member_means_what_the_builder_method_means() {
    let file = parse(&format!(
        r#"{{
            "$schema": "pin-file.schema.json",
            "comment": {{ "any": ["value", 1, null] }},
            "version": 1,
            "overlap": "union",
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
                    "candidate": {{ "all_of": [{{ "pins": ["{B}"] }}, {{ "ca_pins": ["{C}"] }}] }},
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
    ));
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
    let expected = PinFile::new([
        (
            "example.com",
            policy.clone().exempt("dev.example.com").unwrap(),
        ),
        ("example.org", policy),
        ("example.com", single),
    ])
    .unwrap()
    .with_overlap(Overlap::Union)
    .with_refused_keys(PinSet::new([D.parse().unwrap()]).unwrap())
    .with_unpinned_hosts(
        UnpinnedHosts::Refuse,
        ["cdn.example", "127.0.0.1", "::1"].map(|name| UnpinnedName::try_from(name).unwrap()),
    );
    assert_eq!(file, expected);
    assert_eq!(parse(&file.to_string()), file, "printed");
    let pinning = Pinning::builder().pins(file).build();
    assert!(pinning.is_ok());
}

#[test]
fn unknown_members_are_refused_by_name_with_line_and_column() {
    for (text, name, of, line, column) in [
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
    ] {
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

#[test]
fn what_contradicts_itself_or_is_missing_is_refused() {
    type Check = fn(&Problem) -> bool;
    let two = format!(r#""pins":["{A}","{B}"]"#);
    let cases: [(String, Check); 20] = [
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
        (
            r#"{"version":1,"policies":[{"hosts":["https://a.example/"]}]}"#.to_owned(),
            |it| matches!(it, Problem::Host(HostError::Url { .. })),
        ),
    ];
    for (text, is_expected) in cases {
        let found = problem(&text);
        assert!(is_expected(&found), "{text}: {found}");
    }
    let hosts = format!(r#"{{"version":1,"policies":[{{"hosts":[],{two}}}]}}"#);
    assert!(missing(&problem(&hosts), "hosts"));
}

fn missing(problem: &Problem, expected: &str) -> bool {
    matches!(problem, Problem::MissingMember { name, .. } if *name == expected)
}

#[test]
fn a_host_has_one_policy_of_each_scope_and_all_of_them_in_one_place() {
    let two = format!(r#""pins":["{A}","{B}"]"#);
    let policy = format!(r#"{{"hosts":["a.example","A.example."],{two}}}"#);
    let file = format!(r#"{{"version":1,"policies":[{policy}]}}"#);
    assert!(matches!(
        problem(&file),
        Problem::DuplicateHost {
            scope: Scope::Host,
            ..
        }
    ));
    let file = parse(&with_policy(&two));
    let policy = PinPolicy::new([A, B]).unwrap().scope(Scope::OneLabel);
    let built = Pinning::builder()
        .static_pins("example.com", policy)
        .pins(file)
        .build();
    assert!(matches!(built, Err(BuildError::HostInPinFile { .. })));
}

#[test]
fn replaced_pins_take_the_rules_of_the_new_file_and_keep_those_of_the_builder() {
    let host = |name| Host::parse(name).unwrap();
    let key = |text: &str| text.parse::<SpkiFingerprint>().unwrap();
    let rules = |members: &str, host: &str| {
        parse(&format!(
            r#"{{"version":1,{members}"policies":[{{"hosts":["{host}"],"pins":["{A}","{B}"]}}]}}"#
        ))
    };
    let first = rules(&format!(r#""refused_keys":["{C}"],"#), "one.example");
    let pinning = Pinning::builder().refuse_keys([D]).pins(first).build();
    let pinning = pinning.unwrap();
    let refused = |name| {
        let policies = pinning.policies(&host(name), now());
        policies
            .refused_keys
            .map(|keys| keys.iter().copied().collect::<Vec<_>>())
    };
    let mut both = vec![key(C), key(D)];
    both.sort_unstable();
    assert_eq!(refused("one.example"), Some(both));
    pinning.replace_pins(rules("", "two.example")).unwrap();
    assert_eq!(refused("two.example"), Some(vec![key(D)]));
    let is_pinned = |name| pinning.policies(&host(name), now()).static_policy.is_some();
    assert!(is_pinned("two.example") && !is_pinned("one.example"));
    // A file that contradicts itself changes nothing.
    let wrong = parse(&with_policy(&format!(
        r#""pins":["{A}","{B}"],"exempt":["dev.example.org"]"#
    )));
    let error = pinning.replace_pins(wrong).unwrap_err();
    assert!(matches!(error, BuildError::Exemption { .. }));
    assert!(is_pinned("two.example"));
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
fn the_strings_of_the_schema_are_those_that_are_read() {
    let schema = serde_json::from_str::<serde_json::Value>(PinFile::SCHEMA).unwrap();
    let names = |object: &serde_json::Value| {
        let names = object["properties"].as_object().unwrap().keys();
        names
            .filter(|name| *name != "comment")
            .cloned()
            .collect::<Vec<_>>()
    };
    let definitions = &schema["$defs"];
    for (object, text) in [
        (&schema, r#"{"?":0}"#),
        (&definitions["policy"], r#"{"policies":[{"?":0}]}"#),
        (
            &definitions["candidate"],
            r#"{"policies":[{"candidate":{"?":0}}]}"#,
        ),
        (
            &definitions["groups"]["items"],
            r#"{"policies":[{"all_of":[{"?":0}]}]}"#,
        ),
        (
            &definitions["pin"]["oneOf"][1],
            r#"{"refused_keys":[{"?":0}]}"#,
        ),
    ] {
        match problem(text) {
            Problem::UnknownMember { expected, .. } => assert_eq!(names(object), expected),
            other => panic!("{other}"),
        }
    }
    for name in [
        "scope",
        "enforcement",
        "after_expiry",
        "user_added_roots",
        "plain_http",
    ] {
        let values = &definitions["policy"]["properties"][name]["enum"];
        match problem(&with_policy(&format!(r#""{name}":"?""#))) {
            Problem::UnknownValue { expected, .. } => {
                assert_eq!(*values, serde_json::json!(expected));
            }
            other => panic!("{other}"),
        }
    }
    for name in ["overlap", "unpinned_hosts"] {
        let values = &schema["properties"][name]["enum"];
        match problem(&format!(r#"{{"{name}":"?"}}"#)) {
            Problem::UnknownValue { expected, .. } => {
                assert_eq!(*values, serde_json::json!(expected));
            }
            other => panic!("{other}"),
        }
    }
}

fn pins() -> impl Strategy<Value = Vec<SpkiFingerprint>> {
    prop::collection::vec((any::<[u8; 31]>(), 0..2_u8), 1..4).prop_map(|pins| {
        let pins = pins.into_iter().map(|(bytes, last)| {
            let mut digest = [last; 32];
            digest[..31].copy_from_slice(&bytes);
            // Not a placeholder.
            digest[0] = !digest[1];
            SpkiFingerprint::from_digest(digest)
        });
        pins.collect()
    })
}

fn group() -> impl Strategy<Value = PinGroup> {
    let role = prop::sample::select(vec![PinRole::Any, PinRole::Ca, PinRole::Leaf]);
    let one = (role, pins()).prop_map(|(role, pins)| PinGroup::of_role(role, pins).unwrap());
    prop::collection::vec(one, 1..3)
        .prop_map(|groups| groups.into_iter().reduce(PinGroup::or).unwrap())
}

fn groups() -> impl Strategy<Value = Vec<PinGroup>> {
    prop::collection::vec(group(), 1..4)
}

prop_compose! {
    fn policy()(
        groups in groups(),
        candidate in prop::option::of(groups()),
        scope in prop::sample::select(vec![
            Scope::Host, Scope::OneLabel, Scope::Subdomains, Scope::HostAndSubdomains,
        ]),
        enforcement in prop::sample::select(vec![Enforcement::Enforce, Enforcement::ReportOnly]),
        expiry in prop::option::of((0..253_402_300_800_u64, prop::sample::select(vec![
            AfterExpiry::Refuse, AfterExpiry::ReportOnly, AfterExpiry::Unpin,
        ]))),
        exempt in prop::collection::vec("[a-z]{1,5}", 0..3),
        uris in prop::collection::vec("[a-z]{1,5}", 0..3),
        roots in prop::option::of(prop::sample::select(vec![
            UserAddedRoots::EnforcePins, UserAddedRoots::SkipPins,
        ])),
        plain in prop::option::of(prop::sample::select(vec![
            PlainHttp::Allow, PlainHttp::Refuse,
        ])),
    ) -> PinPolicy {
        let mut policy = PinPolicy::all_of_without_backup(groups).unwrap();
        policy = policy.scope(scope).enforcement(enforcement);
        if let Some(candidate) = candidate {
            policy = policy.candidate_all_of(candidate).unwrap();
        }
        if let Some((seconds, then)) = expiry {
            policy = policy.expires(at(seconds), then);
        }
        for name in exempt {
            policy = policy.exempt(format!("{name}.a.example")).unwrap();
        }
        for name in uris {
            policy = policy.report_uri(format!("https://{name}.example/").parse().unwrap());
        }
        if let Some(choice) = roots {
            policy = policy.user_added_roots(choice);
        }
        match plain {
            Some(choice) => policy.plain_http(choice),
            None => policy,
        }
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(
        policies in prop::collection::vec(policy(), 1..4),
        overlap in prop::option::of(prop::sample::select(vec![Overlap::Nearest, Overlap::Union])),
        refused in prop::option::of(pins()),
        unpinned in prop::sample::select(vec![
            UnpinnedHosts::Allow, UnpinnedHosts::Report, UnpinnedHosts::Refuse,
        ]),
    ) {
        let hosts = policies.into_iter().enumerate();
        let hosts = hosts.map(|(number, policy)| (format!("h{number}.a.example"), policy));
        let allowed = ["cdn.example", "::1"].map(|name| UnpinnedName::try_from(name).unwrap());
        let mut file = PinFile::new(hosts).unwrap().with_unpinned_hosts(unpinned, allowed);
        if let Some(overlap) = overlap {
            file = file.with_overlap(overlap);
        }
        if let Some(keys) = refused {
            file = file.with_refused_keys(PinSet::new(keys).unwrap());
        }
        prop_assert_eq!(PinFile::parse(&file.to_string()).unwrap(), file);
    }
}
