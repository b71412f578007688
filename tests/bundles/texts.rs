//! Texts that are no bundle, and bundles whose values contradict the format.

use std::fmt::Write;

use crate::common::bundles::{Body, ISSUED, Operator, pins, signed, time};
use crate::common::{DAY, Random, at, provider};
use pinhold::bundle::{BundleError, NoteError, PinBundle, PinRoot, RootError, SignedNote};
use pinhold::pin_file::PinFileProblem;

const HOST: &str = "api.example.com";

fn body() -> Body {
    Body::new(7, [(HOST, pins(1))])
}

/// Verifies bundles of one operator.
struct Client {
    operator: Operator,
    root: PinRoot,
}

impl Client {
    fn new() -> Self {
        let operator = Operator::default();
        let root = PinRoot::parse(&operator.root).unwrap();
        Self { operator, root }
    }

    fn verify(&self, bundle: &[u8]) -> Result<PinBundle, BundleError> {
        PinBundle::verify(bundle, &self.root, &provider())
    }

    /// Returns the error of a bundle that both keys have signed.
    fn refusal(&self, body: &Body) -> BundleError {
        self.verify(&self.operator.sign(body)).unwrap_err()
    }

    fn problem(&self, body: &Body) -> PinFileProblem {
        match self.refusal(body) {
            BundleError::Body(error) => error.problem().clone(),
            error => panic!("expected an unreadable body: {error}"),
        }
    }
}

#[test]
fn no_prefix_of_a_bundle_is_accepted() {
    let client = Client::new();
    let bundle = client.operator.sign(&body());
    client.verify(&bundle).unwrap();
    for len in 0..bundle.len() {
        assert!(client.verify(&bundle[..len]).is_err(), "{len} bytes");
    }
    // Nor one with anything after it.
    for rest in ["\n", " ", "\n\n", "\0", "{}", "\n{}\n"] {
        let longer = [&bundle, rest.as_bytes()].concat();
        assert!(client.verify(&longer).is_err(), "{rest:?}");
    }
}

#[test]
fn no_flip_of_a_bit_is_accepted() {
    let client = Client::new();
    let bundle = client.operator.sign(&body());
    for index in 0..bundle.len() {
        for bit in 0..8 {
            let mut flipped = bundle.clone();
            flipped[index] ^= 1 << bit;
            assert!(
                client.verify(&flipped).is_err(),
                "bit {bit} of byte {index}"
            );
        }
    }
}

#[test]
fn bytes_that_two_changes_hit_are_not_accepted() {
    let client = Client::new();
    let bundle = client.operator.sign(&body());
    let mut random = Random::new(11);
    let len = u64::try_from(bundle.len()).unwrap();
    for _ in 0..2000 {
        let mut changed = bundle.clone();
        for _ in 0..2 {
            let index = usize::try_from(random.below(len)).unwrap();
            changed[index] ^= u8::try_from(1 + random.below(255)).unwrap();
        }
        let is_same = changed == bundle;
        assert_eq!(client.verify(&changed).is_ok(), is_same);
    }
}

/// Returns texts without the form of a note, among them what networks return that require a login.
fn texts_without_signatures() -> Vec<(&'static str, String, NoteError)> {
    let captive = "<!DOCTYPE html>\n<html>\n\n<body>Please log in.</body>\n\n</html>\n";
    let no_empty_line = "<html>\n<body>Please log in.</body>\n</html>\n";
    let not_signed = NoteError::NoSignatures;
    vec![
        ("empty", String::new(), not_signed.clone()),
        (
            "a captive portal",
            captive.to_owned(),
            NoteError::SignatureLine { number: 1 },
        ),
        ("one page", no_empty_line.to_owned(), not_signed.clone()),
        ("JSON alone", body().text(), not_signed.clone()),
        ("no signatures", body().text() + "\n", not_signed),
    ]
}

/// Returns changes of the note of a bundle.
fn changed_notes(text: &str) -> Vec<(&'static str, String, NoteError)> {
    let control = |offset| NoteError::ControlCharacter { offset };
    let line = |number| NoteError::SignatureLine { number };
    let (dash, marked) = ('\u{2014}', "\n\u{feff}\u{2014}");
    vec![
        ("CRLF", text.replace('\n', "\r\n"), control(1)),
        (
            "NUL at the end",
            text.to_owned() + "\0",
            control(text.len()),
        ),
        ("a tab", text.replacen("  ", "\t", 1), control(2)),
        ("an escape", text.replacen("  ", "\u{1b}[", 1), control(2)),
        ("spaced", text.replace("\u{2014} ", "\u{2014}  "), line(1)),
        ("a hyphen", text.replace(dash, "-"), line(1)),
        ("no name", text.replace(" example.com/pins/2", ""), line(2)),
        ("a plus", text.replace("/pins/2", "/pins+2"), line(2)),
        (
            "a byte order mark in a line",
            text.replace("\n\u{2014}", marked),
            line(1),
        ),
    ]
}

#[test]
fn what_is_not_a_note_is_refused() {
    let client = Client::new();
    let text = String::from_utf8(client.operator.sign(&body())).unwrap();
    for (case, text, expected) in [texts_without_signatures(), changed_notes(&text)].concat() {
        match client.verify(text.as_bytes()).unwrap_err() {
            BundleError::Note(error) => assert_eq!(error, expected, "{case}"),
            error => panic!("{case}: {error}"),
        }
    }
    let latin = text.replacen("api", "\u{e9}", 1).into_bytes();
    let latin = latin.into_iter().filter(|byte| *byte != 0xc3);
    let error = client.verify(&latin.collect::<Vec<_>>()).unwrap_err();
    assert!(
        matches!(error, BundleError::Note(NoteError::Utf8)),
        "{error}"
    );
    // The mark makes another text, which is neither signed nor JSON.
    let marked = ["\u{feff}", &text].concat();
    let error = client.verify(marked.as_bytes()).unwrap_err();
    assert!(matches!(error, BundleError::Body(_)), "{error}");
}

#[test]
fn a_note_has_at_most_64_signatures() {
    let client = Client::new();
    let text = String::from_utf8(client.operator.sign(&body())).unwrap();
    let with = |count: usize| {
        let mut text = text.clone();
        for index in 2..count {
            writeln!(text, "\u{2014} example.com/other/{index} AAAAAAAA").unwrap();
        }
        client.verify(text.as_bytes())
    };
    with(16).unwrap();
    with(SignedNote::MAX_SIGNATURES).unwrap();
    let error = with(SignedNote::MAX_SIGNATURES + 1).unwrap_err();
    let expected = matches!(error, BundleError::Note(NoteError::TooManySignatures));
    assert!(expected, "{error}");
}

#[test]
fn a_bundle_has_at_most_one_mebibyte() {
    let client = Client::new();
    let with_comment = |len: usize| {
        let comment = ["\"", &"x".repeat(len), "\""].concat();
        client.operator.sign(&body().with("comment", comment))
    };
    let max = with_comment(PinBundle::MAX_SIZE - with_comment(0).len());
    assert_eq!(max.len(), PinBundle::MAX_SIZE);
    client.verify(&max).unwrap();
    let larger = with_comment(PinBundle::MAX_SIZE - with_comment(0).len() + 1);
    let size = larger.len();
    let error = client.verify(&larger).unwrap_err();
    assert!(
        matches!(error, BundleError::TooLarge { size: found } if found == size),
        "{error}"
    );
}

#[test]
fn values_that_contradict_the_format_are_refused() {
    let client = Client::new();
    let until = |seconds: u64| format!(r#"{{ "until": {} }}"#, time(seconds));
    let latest = ISSUED + 30 * DAY;
    let signed = client
        .operator
        .sign(&body().with("kill_switch", until(latest)));
    assert_eq!(
        client.verify(&signed).unwrap().kill_switch(),
        Some(at(latest))
    );
    let error = client.refusal(&body().with("kill_switch", until(latest + 1)));
    let expected = matches!(
        error,
        BundleError::KillSwitch { until, limit } if (until, limit) == (at(latest + 1), at(latest))
    );
    assert!(expected, "{error}");
    for expires in [ISSUED - 1, ISSUED] {
        let error = client.refusal(&body().with("expires", time(expires)));
        assert!(matches!(error, BundleError::Expiry { .. }), "{error}");
    }
    for percent in [101, 255, 256, 356, u64::MAX] {
        let staging = format!(r#"{{ "percent": {percent}, "salt": "s" }}"#);
        let error = client.refusal(&body().with("staging", staging));
        assert!(
            matches!(error, BundleError::Staging { percent: of } if of == percent),
            "{error}"
        );
    }
    for suspended in ["other.example.com", "example.com", "v1.api.example.com"] {
        let error = client.refusal(&body().with("suspend_noted", format!(r#"["{suspended}"]"#)));
        let expected =
            matches!(&error, BundleError::SuspendsOther { host } if host.as_str() == suspended);
        assert!(expected, "{error}");
    }
    for (intermediates, wrong) in [
        (vec!["AAAA".to_owned(), "?".to_owned()], 1),
        (vec!["A".repeat(5464)], 0),
        (vec!["AAAA".to_owned(); 17], 16),
    ] {
        let list = serde_json::to_string(&intermediates).unwrap();
        let error = client.refusal(&body().with("intermediates", list));
        let expected = matches!(error, BundleError::Intermediate { index } if index == wrong);
        assert!(expected, "{error}");
    }
    let error = client.refusal(&body().with("critical", r#"["pins", "pin", "next"]"#));
    assert!(
        matches!(&error, BundleError::Critical { member } if member == "next"),
        "{error}"
    );
}

#[test]
fn a_member_that_is_known_stands_once() {
    let client = Client::new();
    for (name, value) in [
        ("type", r#""pin-bundle""#),
        ("version", "8"),
        ("root_version", "1"),
        ("roots", "[]"),
        ("critical", "[]"),
        ("when_stale", r#""enforce""#),
    ] {
        let once = body().with(name, value).text();
        // An escape of the name: parsers that compare bytes miss it.
        let escaped = format!("\\u{:04x}{}", u32::from(name.as_bytes()[0]), &name[1..]);
        for spelling in [name, &escaped] {
            let text = once_more(&once, spelling, value);
            let signed = signed(&text, &client.operator.both());
            let error = client.verify(signed.as_bytes()).unwrap_err();
            let BundleError::Body(error) = error else {
                panic!("{name}: {error}");
            };
            let problem = error.problem();
            let expected =
                matches!(problem, PinFileProblem::DuplicateMember { name: of } if *of == name);
            assert!(expected, "{spelling}: {error}");
        }
    }
}

/// Members with a value of another type.
const WRONG_TYPES: [(&str, &str); 17] = [
    ("version", "1.0"),
    ("version", "1e3"),
    ("version", "-1"),
    ("version", "-0"),
    ("version", "18446744073709551616"),
    ("version", "\"7\""),
    ("version", "1e999999999"),
    ("version", "007"),
    ("version", "null"),
    ("root_version", "18446744073709551616"),
    ("roots", "{}"),
    ("roots", "[1]"),
    ("issued", "1798761600"),
    ("pins", "[]"),
    ("kill_switch", "true"),
    ("staging", "10"),
    ("critical", "\"pins\""),
];

#[test]
fn a_member_has_a_value_of_its_type() {
    let client = Client::new();
    for (name, value) in WRONG_TYPES {
        let problem = client.problem(&body().with(name, value));
        let is_json = matches!(problem, PinFileProblem::Json { .. });
        assert!(is_json, "{name} {value}: {problem}");
    }
    for (name, value) in [
        ("issued", r#""2027-01-01T00:00:00+00:00""#),
        ("issued", r#""2027-02-29T00:00:00Z""#),
        ("expires", r#""2027-01-01 00:00:00Z""#),
        ("expires", r#""10000-01-01T00:00:00Z""#),
    ] {
        let problem = client.problem(&body().with(name, value));
        assert!(
            matches!(problem, PinFileProblem::Time { .. }),
            "{name} {value}: {problem}"
        );
    }
    for name in [
        "type",
        "version",
        "root_version",
        "issued",
        "expires",
        "pins",
    ] {
        let problem = client.problem(&body().without(name));
        let expected =
            matches!(problem, PinFileProblem::MissingMember { name: of, .. } if of == name);
        assert!(expected, "{name}: {problem}");
    }
    let problem = client.problem(&body().with("when_stale", "\"open\""));
    assert!(
        matches!(problem, PinFileProblem::UnknownValue { .. }),
        "{problem}"
    );
}

/// Returns the text with this member again at its end.
fn once_more(text: &str, name: &str, value: &str) -> String {
    let open = text.strip_suffix("\n}\n").unwrap();
    format!("{open},\n  \"{name}\": {value}\n}}\n")
}

#[test]
fn neither_depth_nor_width_of_what_is_unknown_exhausts_the_stack() {
    let client = Client::new();
    let deep = |open: &str, close: &str| [open.repeat(100_000), close.repeat(100_000)].concat();
    for (name, value, is_known) in [
        ("unknown", deep("[", "]"), false),
        (
            "unknown",
            ["{\"a\":".repeat(100_000), "1".into(), "}".repeat(100_000)].concat(),
            false,
        ),
        ("unknown", format!("[{}1]", "1,".repeat(100_000)), false),
        ("unknown", format!("1{}", "0".repeat(100_000)), false),
        ("unknown", "-1.5e-99999999999".to_owned(), false),
        ("pins", deep("[", "]"), true),
        ("version", deep("[", "]"), true),
        ("critical", deep("[", "]"), true),
    ] {
        let bundle = client.operator.sign(&body().with(name, value));
        let verified = client.verify(&bundle);
        assert_eq!(verified.is_err(), is_known, "{name}");
        assert!(matches!(verified, Ok(_) | Err(BundleError::Body(_))));
    }
    let unbalanced = client.refusal(&body().with("unknown", "[".repeat(100_000)));
    assert!(matches!(unbalanced, BundleError::Body(_)), "{unbalanced}");
}

#[test]
fn a_root_in_the_chain_is_read_as_strictly() {
    let client = Client::new();
    let root = |text: &str| {
        let chained = body().with_roots(2, &[text]);
        match client.refusal(&chained) {
            BundleError::Root { index: 0, error } => error,
            error => panic!("expected an error of the root: {error}"),
        }
    };
    assert!(matches!(
        root("<html></html>"),
        RootError::Note(NoteError::NoSignatures)
    ));
    let by_both = |text: &str| signed(text, &client.operator.both());
    let known = SignedNote::parse(&client.operator.root).unwrap();
    let next = known.text().replace("\"version\": 1", "\"version\": 2");
    let with = |from: &str, to: &str| {
        let text = next.replace(from, to);
        assert_ne!(text, next);
        root(&by_both(&text))
    };
    let critical = with("{\n", "{\n  \"critical\": [\"next\"],\n");
    assert!(
        matches!(&critical, RootError::Critical { member } if member == "next"),
        "{critical}"
    );
    for threshold in [0, 3, u64::MAX] {
        let error = with("\"threshold\": 2", &format!("\"threshold\": {threshold}"));
        let expected =
            matches!(error, RootError::Threshold { threshold: of, keys: 2 } if of == threshold);
        assert!(expected, "{error}");
    }
    let twice = with("{\n", "{\n  \"threshold\": 1,\n");
    assert!(matches!(twice, RootError::Body(_)), "{twice}");
    let other_id = with("+", "+0");
    assert!(matches!(other_id, RootError::Key { .. }), "{other_id}");
}
