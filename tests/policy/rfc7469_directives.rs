//! Values of the directives `pin-sha256`, `max-age`, `includeSubDomains` and `report-uri` (RFC 7469
//! sections 2.1.1 to 2.1.4).

use std::time::Duration;

use crate::common::header::{
    directive, is_bad_syntax, parse, parse_as_browsers, parse_report_only, pin, valid_header,
};
use pinhold::SpkiFingerprint;
use pinhold::header::{HeaderEffect, HeaderError, IgnoreReason};

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn a_pin_must_be_quoted_for_every_algorithm() {
    // 7469-2.1.1-a, D-10
    let base64 = pin(3).to_base64();
    let unpadded = base64.trim_end_matches('=');
    for (rest, name) in [
        (format!("; pin-sha256={unpadded}"), "pin-sha256"),
        (format!("; PIN-sha256={unpadded}"), "pin-sha256"),
        ("; pin-sha256".to_owned(), "pin-sha256"),
        ("; pin-sha256=abc".to_owned(), "pin-sha256"),
        ("; pin-x=token".to_owned(), "pin-x"),
        ("; Pin-X".to_owned(), "pin-x"),
    ] {
        let expected = HeaderError::UnquotedPin {
            name: name.to_owned(),
        };
        assert_eq!(parse(valid_header(&rest)), Err(expected.clone()), "{rest}");
        assert_eq!(
            parse_report_only(valid_header(&rest)),
            Err(expected),
            "{rest}"
        );
    }
    // Padded base64 ends in `=`, which is not a token character, and `'` is not a quotation mark.
    for value in [base64.clone(), format!("'{base64}'")] {
        assert!(parse(valid_header(&format!("; pin-sha256={value}"))).is_err());
    }
}

#[test]
fn sha256_is_the_only_supported_algorithm() {
    // 7469-2.1.1-b, 7469-2.1.1-d, 7469-2.4-c
    let others = "; pin-sha1=\"x\"; pin-SHA512=\"\"; pin-sha-256=\"y\"; pin-sha2566=\"z\"";
    let header = parse(valid_header(others)).unwrap();
    assert_eq!(header.pins(), [pin(1), pin(2)]);
    let unknown = header.unknown_algorithms().collect::<Vec<_>>();
    assert_eq!(unknown, ["sha1", "sha512", "sha-256", "sha2566"]);

    // A pin with an unknown algorithm is neither a live pin nor a backup.
    let one = parse(format!("{}; pin-x=\"a\"; max-age=1", directive(pin(1)))).unwrap();
    for keys in [None, Some(&[pin(1)][..])] {
        assert_eq!(
            HeaderEffect::of(&one, keys),
            HeaderEffect::Ignore(IgnoreReason::NoBackupPin)
        );
    }
    let absent = HeaderEffect::of(&one, Some(&[pin(9)]));
    assert_eq!(absent, HeaderEffect::Ignore(IgnoreReason::NoPinInChain));
}

#[test]
fn a_pin_must_be_the_padded_base64_of_32_bytes() {
    // 7469-2.1.1-c, 7469-2.4-b, D-06
    let base64 = SpkiFingerprint::from_digest([0xfb; 32]).to_base64();
    assert!(base64.contains('+') && base64.contains('/') && base64.ends_with('='));
    for bad in [
        String::new(),
        "a".to_owned(),
        "AAAA".to_owned(),
        "not base64!".to_owned(),
        base64.trim_end_matches('=').to_owned(),
        format!("{base64}="),
        base64.replace('+', "-").replace('/', "_"),
        format!(" {base64}"),
        format!("{base64} "),
        format!("{} {}", &base64[..20], &base64[20..]),
        // 31 bytes, 33 bytes, and the length of a SHA-1 digest.
        format!("{}==", "A".repeat(42)),
        "A".repeat(44),
        format!("{}=", "A".repeat(27)),
        format!("sha256/{base64}"),
    ] {
        let rest = format!("; pin-sha256=\"{bad}\"");
        let refused = |result| matches!(result, Err(HeaderError::InvalidPin(_)));
        assert!(refused(parse(valid_header(&rest))), "{bad:?}");
        assert!(refused(parse_report_only(valid_header(&rest))), "{bad:?}");
        assert!(refused(parse_as_browsers(valid_header(&rest))), "{bad:?}");
    }
    let escaped = base64.replace('+', "\\+").replace('/', "\\/");
    let header = parse(valid_header(&format!("; pin-sha256=\"{escaped}\""))).unwrap();
    assert_eq!(
        header.pins().len(),
        3,
        "a quoted-pair represents the quoted character"
    );
}

#[test]
fn trailing_bits_of_base64_are_accepted_and_normalised() {
    // 7469-2.4-b, D-06
    let encodings = ["A", "B", "C", "D"].map(|last| format!("{}{last}=", "A".repeat(42)));
    let pins = encodings.map(|base64| format!("pin-sha256=\"{base64}\""));
    let header = parse(format!("{}; max-age=1", pins.join("; "))).unwrap();
    assert_eq!(header.pins(), [pin(0)], "four encodings of one pin");
}

#[test]
fn max_age_is_required_unless_the_field_is_report_only() {
    // 7469-2.1.2-b, 7469-2.1.2-c, D-08
    let pins = format!("{}; {}", directive(pin(1)), directive(pin(2)));
    assert_eq!(parse(&pins), Err(HeaderError::MissingMaxAge));
    let expected = parse_report_only(&pins).unwrap();
    assert!(expected.is_report_only());
    assert_eq!(expected.max_age(), None);
    for max_age in [
        "max-age=0",
        "max-age=300",
        "max-age=\"300\"",
        "max-age=abc",
        "max-age=-1",
        "max-age=\"\"",
        "max-age",
        "max-age=99999999999999999999999999",
    ] {
        let value = format!("{max_age}; {pins}");
        assert_eq!(parse_report_only(&value).as_ref(), Ok(&expected), "{value}");
    }
    // A value that violates the grammar is an error in a report-only field, too.
    let value = format!("{pins}; max-age=");
    assert!(is_bad_syntax(&parse_report_only(value)));
}

#[test]
fn max_age_must_be_a_number_of_seconds() {
    // 7469-2.1.2-d, 7469-2.1.2-e
    let pins = format!("{}; {}", directive(pin(1)), directive(pin(2)));
    let digits45 = "9".repeat(45);
    for (text, expected) in [
        ("0", seconds(0)),
        ("00", seconds(0)),
        ("000300", seconds(300)),
        ("\"300\"", seconds(300)),
        ("\"3\\00\"", seconds(300)),
        ("2147483648", seconds(2_147_483_648)),
        ("18446744073709551615", seconds(u64::MAX)),
        ("18446744073709551616", seconds(u64::MAX)),
        (&digits45, seconds(u64::MAX)),
        ("", None),
        ("\"\"", None),
        ("\" 300\"", None),
        ("\"300 \"", None),
        ("+300", None),
        ("-1", None),
        ("-0", None),
        ("3.5", None),
        ("1e3", None),
        ("0x10", None),
        ("3488a923", None),
        ("''", None),
        ("'300'", None),
        ("300s", None),
        ("\"\u{663}\"", None),
    ] {
        for value in [
            format!("max-age={text}; {pins}"),
            format!("{pins}; max-age={text}"),
        ] {
            let header = parse(&value);
            assert_eq!(
                header.ok().and_then(|header| header.max_age()),
                expected,
                "{value}"
            );
        }
    }
    for value in ["max-age; foo", "foo; max-age"] {
        assert_eq!(parse(value), Err(HeaderError::InvalidMaxAge));
    }
}

#[test]
fn include_sub_domains_must_not_have_a_value() {
    // 7469-2.1.3-a
    assert!(!parse(valid_header("")).unwrap().includes_subdomains());
    let flagged = parse(valid_header("; includeSubDomains")).unwrap();
    assert!(flagged.includes_subdomains());
    for rest in ["=1", "=true", "=\"\"", "=\"x\""] {
        let value = valid_header(&format!("; includeSubDomains{rest}"));
        let expected = Err(HeaderError::IncludeSubDomainsValue);
        assert_eq!(parse(&value), expected, "{rest}");
        assert_eq!(parse_report_only(&value), expected, "{rest}");
        assert_eq!(parse_as_browsers(&value), expected, "{rest}");
    }
    assert!(is_bad_syntax(&parse(valid_header("; includeSubDomains="))));
}

#[test]
fn report_uri_must_be_an_absolute_uri() {
    // 7469-2.1.4-b, D-09
    for (text, expected) in [
        ("\"https://r.example/pins\"", Some("https://r.example/pins")),
        (
            "\"http://r.example:8080/?a=b;c,d\"",
            Some("http://r.example:8080/?a=b;c,d"),
        ),
        ("\"HTTP://[2001:db8::1]/\"", Some("HTTP://[2001:db8::1]/")),
        (
            "\"https://r.example\\/pins\"",
            Some("https://r.example/pins"),
        ),
        ("\"https://r.example/#part\"", Some("https://r.example/")),
        ("\"ftp://r.example/\"", Some("ftp://r.example/")),
        ("\"mailto:pins@r.example\"", Some("mailto:pins@r.example")),
        ("\"\"", None),
        ("\"/pins\"", None),
        ("\"//r.example/pins\"", None),
        ("\"r.example\"", None),
        ("\"https:\"", None),
        ("\"https://\"", None),
        ("\"https:///pins\"", None),
        ("\"https://r example/\"", None),
        ("\" https://r.example/\"", None),
        ("\"https://r\u{e9}.example/\"", None),
        ("token", None),
    ] {
        let value = valid_header(&format!("; report-uri={text}"));
        for header in [
            parse(&value),
            parse_report_only(&value),
            parse_as_browsers(&value),
        ] {
            match expected {
                None => assert_eq!(header, Err(HeaderError::InvalidReportUri), "{text}"),
                Some(uri) => {
                    let header = header.unwrap();
                    assert_eq!(header.report_uri().unwrap().as_str(), uri, "{text}");
                }
            }
        }
    }
    // A token cannot contain `:`, and a directive without a value is not a URI.
    assert!(is_bad_syntax(&parse(valid_header(
        "; report-uri=https://r.example/"
    ))));
    let bare = parse(valid_header("; report-uri"));
    assert_eq!(bare, Err(HeaderError::InvalidReportUri));
}
