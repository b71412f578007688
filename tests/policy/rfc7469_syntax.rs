//! Grammar of `Public-Key-Pins` and `Public-Key-Pins-Report-Only` (RFC 7469 section 2.1).

use std::time::Duration;

use crate::common::header::{
    directive, is_bad_syntax, parse, parse_as_browsers, parse_report_only, pin, valid_header,
};
use pinhold::header::{HeaderError, HeaderSyntax, PinHeader};

fn permutations(items: Vec<String>) -> Vec<Vec<String>> {
    if items.len() < 2 {
        return vec![items];
    }
    let mut all = Vec::new();
    for position in 0..items.len() {
        let mut rest = items.clone();
        let first = rest.remove(position);
        for mut permutation in permutations(rest) {
            permutation.insert(0, first.clone());
            all.push(permutation);
        }
    }
    all
}

#[test]
fn directives_are_accepted_in_any_order() {
    // 7469-2.1-b, 7469-2.1-h
    let directives = vec![
        directive(pin(1)),
        directive(pin(2)),
        "max-age=300".to_owned(),
        "includeSubDomains".to_owned(),
        "report-uri=\"https://r.example/\"".to_owned(),
    ];
    let all = permutations(directives);
    assert_eq!(all.len(), 120);
    for value in all.iter().map(|permutation| permutation.join("; ")) {
        let header = parse(&value).unwrap();
        let mut pins = header.pins().to_vec();
        pins.sort_unstable();
        assert_eq!(pins, [pin(1), pin(2)], "{value}");
        assert_eq!(header.max_age(), Some(Duration::from_secs(300)), "{value}");
        assert!(header.includes_subdomains(), "{value}");
        let report_uri = header.report_uri().unwrap();
        assert_eq!(report_uri.as_str(), "https://r.example/", "{value}");
    }
}

#[test]
fn only_pin_directives_may_occur_more_than_once() {
    // 7469-2.1-c, D-07
    for (rest, name) in [
        ("; max-age=300", "max-age"),
        ("; MAX-AGE=1", "max-age"),
        (
            "; includeSubDomains; includesubdomains",
            "includesubdomains",
        ),
        (
            "; report-uri=\"https://r.example/\"; Report-URI=\"https://r.example/\"",
            "report-uri",
        ),
        ("; foo; foo", "foo"),
        ("; foo=1; FOO=\"2\"", "foo"),
        ("; pin-=1; pin-=1", "pin-"),
    ] {
        let expected = HeaderError::DuplicateDirective {
            name: name.to_owned(),
        };
        assert_eq!(parse(valid_header(rest)), Err(expected.clone()), "{rest}");
        assert_eq!(parse_report_only(valid_header(rest)), Err(expected.clone()));
        assert_eq!(parse_as_browsers(valid_header(rest)), Err(expected));
    }
    // An algorithm, a pin and an unknown algorithm may each be repeated.
    let again = format!(
        "; {}; pin-x=\"a\"; pin-x=\"b\"; PIN-X=\"a\"",
        directive(pin(1))
    );
    let header = parse(valid_header(&again)).unwrap();
    assert_eq!(header.pins(), [pin(1), pin(2)]);
    assert_eq!(header.unknown_algorithms().collect::<Vec<_>>(), ["x"]);
}

#[test]
fn directive_names_are_case_insensitive() {
    // 7469-2.1-d, 7469-2.1.1-g
    let lower = format!(
        "{}; {}; max-age=300; includesubdomains; report-uri=\"https://r.example/A\"",
        directive(pin(1)).replace("pin-sha256", "Pin-Sha256"),
        directive(pin(2)).replace("pin-sha256", "PIN-SHA256"),
    );
    let expected = parse(valid_header(
        "; includeSubDomains; report-uri=\"https://r.example/A\"",
    ));
    assert_eq!(parse(&lower), expected);
    let upper = lower
        .replace("max-age", "MAX-Age")
        .replace("includesubdomains", "INCLUDESUBDOMAINS")
        .replace("report-uri", "Report-Uri");
    assert_eq!(parse(upper), expected);
}

#[test]
fn a_field_that_violates_the_grammar_is_rejected_as_a_whole() {
    // 7469-2.1-e, 7469-2.1-f, 7469-2.3.1-h
    let good = valid_header("");
    for (rest, at) in GRAMMAR_ERRORS {
        let value = [good.as_bytes(), rest].concat();
        let rest = String::from_utf8_lossy(rest);
        let expected = HeaderError::BadSyntax {
            offset: good.len() + at,
        };
        // The same grammar applies to a report-only field.
        assert_eq!(parse(&value), Err(expected.clone()), "{rest:?}");
        assert_eq!(parse_report_only(&value), Err(expected), "{rest:?}");
    }
    for value in [
        ";",
        "; max-age=300",
        "=300",
        "\"max-age\"=300",
        "max-age=300;;",
    ] {
        assert!(is_bad_syntax(&parse(value)), "{value:?}");
    }
}

#[test]
fn empty_and_arbitrary_values_are_rejected() {
    // 7469-2.1-e
    for value in ["", " ", "\t \t"] {
        assert_eq!(parse(value), Err(HeaderError::Empty), "{value:?}");
        assert_eq!(parse_report_only(value), Err(HeaderError::Empty));
        assert_eq!(parse_as_browsers(value), Err(HeaderError::Empty));
    }
    let arbitrary: &[&[u8]] = &[
        b"max-age",
        b"abc",
        b"  abc",
        b"pin-sha256",
        b"pin-sha256=",
        b"max-age=",
        b"max-age=,300",
        b"31536000",
        b"includeSubDomains=",
        b"report-uri=",
        b"\xff\xfe\xfd",
        b"<html>",
        b"{\"max-age\": 300}",
        b"max-age=300\0",
    ];
    for value in arbitrary {
        assert!(
            parse(value).is_err(),
            "{:?}",
            String::from_utf8_lossy(value)
        );
        assert!(parse_as_browsers(value).is_err());
    }
}

#[test]
fn two_fields_joined_by_a_comma_are_rejected() {
    // 7469-2.1-e: an intermediary may join two fields; a comma is only allowed within quotes.
    for separator in [",", ", ", " , ", "; foo, "] {
        let joined = [valid_header(""), valid_header("")].join(separator);
        assert!(is_bad_syntax(&parse(&joined)), "{joined}");
        assert!(is_bad_syntax(&parse_report_only(&joined)), "{joined}");
        assert!(is_bad_syntax(&parse_as_browsers(&joined)), "{joined}");
    }
    assert!(parse(valid_header("; foo=\"a, max-age=0\"")).is_ok());
}

#[test]
fn unknown_directives_are_ignored() {
    // 7469-2.1-g, 7469-2.1-i, 7469-2.5-e
    let expected = parse(valid_header(""));
    let unknown: &[&[u8]] = &[
        b"foo",
        b"foo=bar",
        b"foo=\"\"",
        b"foo=\"bar; max-age=0, pin-sha256=x\"",
        b"foo=\"\\\"; max-age=0; \\\\\"",
        b"foo=\"caf\xc3\xa9 \xff\t!\"",
        b"foo=\"\\\xff\\\t\\;\"",
        b"!#$%&'*+-.^_`|~09AZaz=!#$%&'*+-.^_`|~09AZaz",
        b"foo='bar'",
        b"strict=60",
        b"strict=\"60\"",
        b"pin-=token",
        b"pinsha256=token",
        b"maxage=0",
        b"max-age2=0",
        b"x-includeSubDomains=1",
        b"report-to=group",
    ];
    for directive in unknown {
        let name = String::from_utf8_lossy(directive);
        let first = [directive, &b"; "[..], valid_header("").as_bytes()].concat();
        let last = [valid_header("").as_bytes(), b"; ", directive].concat();
        for value in [first, last] {
            assert_eq!(parse(&value), expected, "{name}");
            let report_only = parse_report_only(&value).unwrap();
            assert_eq!(report_only.pins(), [pin(1), pin(2)], "{name}");
        }
    }
}

#[test]
fn whitespace_is_allowed_around_semicolons_and_at_both_ends() {
    // 7469-2.1-h
    let expected = parse(valid_header("; includeSubDomains"));
    assert!(expected.is_ok());
    for space in ["", " ", "\t", " \t \t"] {
        let parts = [
            directive(pin(1)),
            directive(pin(2)),
            "max-age=300".to_owned(),
            "includeSubDomains".to_owned(),
        ];
        let value = parts.join(&format!("{space};{space}"));
        let value = format!("{space}{value}{space}");
        assert_eq!(parse(&value), expected, "{value:?}");
        assert_eq!(parse_as_browsers(&value), expected, "{value:?}");
    }
}

#[test]
fn browser_syntax_adds_only_empty_directives_and_whitespace_around_equals() {
    // D-22
    assert_eq!(HeaderSyntax::default(), HeaderSyntax::Rfc7469);
    let plain = valid_header("; includeSubDomains");
    let expected = parse(&plain);
    for value in [
        format!("{plain};"),
        format!("{plain} ; "),
        format!("; {plain}"),
        plain.replace("; includeSubDomains", ";; includeSubDomains"),
        plain.replace("; includeSubDomains", "; ; \t;includeSubDomains;;"),
        plain.replace("max-age=", "max-age\t=\t"),
        plain.replace("pin-sha256=", "pin-sha256 = "),
        format!("{plain}; foo = \"a;b\" ;"),
    ] {
        assert!(parse(&value).is_err(), "{value:?}");
        assert!(parse_report_only(&value).is_err(), "{value:?}");
        assert_eq!(parse_as_browsers(&value), expected, "{value:?}");
        let report_only = PinHeader::parse_report_only(value.as_bytes(), HeaderSyntax::Browsers);
        assert_eq!(report_only.unwrap().pins(), [pin(1), pin(2)], "{value:?}");
    }
    // Other deviations that browsers accepted are rejected with both syntaxes.
    for rest in [
        "; foo=",
        "; foo = ",
        ", foo",
        " foo",
        "; foo=\"",
        "; =1",
        "; foo=a b",
        "; foo bar",
    ] {
        assert!(
            is_bad_syntax(&parse_as_browsers(valid_header(rest))),
            "{rest}"
        );
    }
    assert_eq!(parse_as_browsers(";"), Err(HeaderError::Empty));
}

/// Bytes appended to a valid field, and the offset in them of the first error.
const GRAMMAR_ERRORS: &[(&[u8], usize)] = &[
    (b";", 1),
    (b"; ", 1),
    (b";;", 1),
    (b"; ;foo", 2),
    (b",", 0),
    (b", max-age=300", 0),
    (b" foo", 1),
    (b"; =1", 2),
    (b"; foo=", 6),
    (b"; foo=;bar", 6),
    (b"; foo =1", 6),
    (b"; foo= 1", 6),
    (b"; foo\t=\"1\"", 6),
    (b"; foo=a=b", 7),
    (b"; foo=a/b", 7),
    (b"; foo=a:b", 7),
    (b"; foo:bar", 5),
    (b"; foo=(", 6),
    (b"; foo(", 5),
    (b"; f\xc3\xb6o", 3),
    (b"; foo=\xc3\xb6", 6),
    (b"; \"foo\"", 2),
    (b"; foo=\"bar", 10),
    (b"; foo=\"bar\\\"", 12),
    (b"; foo=\"bar\\", 11),
    (b"; foo=\"bar\"baz", 11),
    (b"; foo=\"\0\"", 7),
    (b"; foo=\"\x7f\"", 7),
    (b"; foo=\"\\\x01\"", 8),
    (b"; foo=\"\r\n\"", 7),
    (b"; \0", 2),
    (b"\x0b; foo", 0),
];
