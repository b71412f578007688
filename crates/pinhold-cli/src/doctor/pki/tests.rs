use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};

use super::{COMPILED_IN, CaEventKind, CaKey, CaKind, PkiData, RootProgramme};
use crate::doctor::forecast::Certainty;
use crate::failure::Failure;
use crate::rfc3339;

fn data() -> PkiData {
    PkiData::load(None).unwrap_or_else(|error| panic!("{error}"))
}

fn date(text: &str) -> UnixTime {
    rfc3339::parse_date(text).unwrap()
}

fn known<'d>(data: &'d PkiData, pin: &str) -> &'d CaKey {
    data.key(&pin.parse().unwrap()).unwrap()
}

/// Returns when a key leaves Mozilla's list.
fn leaves_mozilla(key: &CaKey) -> Option<(UnixTime, Certainty)> {
    let mut events = key.events.iter();
    let event = events.find(|event| event.kind == CaEventKind::LeavesMozilla)?;
    Some((event.at, event.certainty))
}

const ISRG_ROOT_X1: &str = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=";
const GTS_ROOT_R1: &str = "sha256/hxqRlPTu1bMS/0DITB1SSu0vd4u/8l8TjPgfaAp63Gc=";
const GTS_ROOT_R2: &str = "sha256/Vfd95BwDeSQo+NUYxVEEIlvkOlWY2SalKK1lPhzOx78=";
const R10: &str = "sha256/K7rZOrXHknnsEhUH8nLL4MZkejquUuIvOIr6tCa0rbo=";
const YE1: &str = "sha256/brzvtCELCIZUo4sD/qPX0ccRtPsd3DY6RfmxpOU9oB4=";
const ROOT_YE: &str = "sha256/sCkq5UWXjg+7mKu9lMhhYF5bGLsy7VI/UNW3tccdR7w=";

/// The pins that AWS recommended, as <https://www.amazontrust.com/repository/> lists the keys.
const AMAZON_ROOTS: [(&str, &str, &str); 5] = [
    (
        "Amazon Root CA 1",
        "++MBgDH5WGvL9Bcn5Be30cRcL0f5O+NyoXuWtQdX1aI=",
        "2030-05-26",
    ),
    (
        "Amazon Root CA 2",
        "f0KW/FtqTjs108NpYj42SrGvOB2PpxIVM8nWxjPqJGE=",
        "2030-05-26",
    ),
    (
        "Amazon Root CA 3",
        "NqvDJlas/GRcYbcWE8S/IceH9cq77kg0jVhZeAPXq8k=",
        "2030-05-26",
    ),
    (
        "Amazon Root CA 4",
        "9+ze1cZgR9KO1kZrVDxA4HQ6voHRCSVNz4RdTCx4U8U=",
        "2030-05-26",
    ),
    (
        "Starfield Services Root Certificate Authority - G2",
        "KwccWaCgrnaw6tsrrSO61FgLacNgG2MMLq8GE6+oP5I=",
        "2027-04-15",
    ),
];

#[test]
fn the_recommended_amazon_roots_leave_mozilla_when_its_rule_has_it() {
    let data = data();
    for (name, pin, leaves) in AMAZON_ROOTS {
        let root = known(&data, &format!("sha256/{pin}"));
        assert_eq!(root.name, name);
        assert_eq!(root.operator, "Amazon Trust Services");
        assert_eq!(root.kind, CaKind::Root);
        let expected = Some((date(leaves), Certainty::Announced));
        assert_eq!(leaves_mozilla(root), expected, "{name}");
    }
}

#[test]
fn fifteen_roots_leave_mozilla_on_2027_04_15() {
    let data = data();
    let listed = |key: &&CaKey| key.stores.contains(&RootProgramme::Mozilla);
    let listed = data.by_key.values().filter(listed).collect::<Vec<_>>();
    let leaving = listed.iter().filter_map(|key| leaves_mozilla(key));
    let leaving = leaving.filter(|(at, _)| *at == date("2027-04-15"));
    assert_eq!((leaving.count(), listed.len()), (15, 118));
}

/// The roots that the tool verifies with and the snapshot are of one release of the list.
#[test]
fn every_root_of_mozilla_is_known() {
    let data = data();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        let key = pinhold::SpkiFingerprint::of_certificate(root).unwrap();
        let known = data.key(&key).unwrap();
        assert_eq!(known.kind, CaKind::Root, "{}", known.name);
        assert!(
            known.stores.contains(&RootProgramme::Mozilla),
            "{}",
            known.name
        );
    }
}

#[test]
fn chrome_limits_scts_below_two_amazon_and_two_digicert_roots() {
    let data = data();
    let at = date("2027-09-14T23:59:59Z");
    let is_limited = |key: &&CaKey| {
        let mut events = key.events.iter();
        events.any(|event| event.kind == CaEventKind::ChromeSctNotAfter && event.at == at)
    };
    let limited = data.by_key.values().filter(is_limited);
    let mut limited = limited.map(|key| key.name.as_str()).collect::<Vec<_>>();
    limited.sort_unstable();
    let expected = [
        "Amazon Root CA 2",
        "Amazon Root CA 3",
        "DigiCert Global Root G2",
        "DigiCert Global Root G3",
    ];
    let found = limited.iter().filter(|name| expected.contains(name));
    assert_eq!(found.count(), expected.len(), "{limited:?}");
}

#[test]
fn lets_encrypt_replaced_its_intermediates_as_it_had_announced() {
    let data = data();
    let r10 = known(&data, R10);
    let replaced = r10
        .events
        .iter()
        .find(|event| event.kind == CaEventKind::Replaced);
    let replaced = replaced.unwrap();
    assert_eq!(replaced.at, date("2026-05-13"));
    let ahead = replaced.at.as_secs() - replaced.statement.published.as_secs();
    assert!(ahead >= 30 * 86_400, "{ahead} seconds");

    let ye1 = known(&data, YE1);
    assert!(ye1.events.is_empty());
    let rotates = ye1.rotates.as_ref().unwrap();
    assert_eq!(rotates.published, date("2024-03-19"));
    // Its issuer has a certificate of its own, and those that X2 signed.
    let issuer = ye1.certificates[0].issuer.unwrap();
    assert_eq!(issuer, ROOT_YE.parse().unwrap());
    let issuers = known(&data, ROOT_YE).certificates.iter();
    let crossed = issuers.filter(|it| it.issuer != Some(issuer)).count();
    assert_eq!(crossed, 2);
}

#[test]
fn a_root_that_mozilla_removed_is_known_with_the_date() {
    let data = data();
    let removed = known(&data, GTS_ROOT_R2);
    assert_eq!(removed.name, "GTS Root R2");
    assert!(!removed.stores.contains(&RootProgramme::Mozilla));
    // A risk that was published a year before, and what came of it.
    let [risk, removal] = removed.events.as_slice() else {
        panic!("expected two events");
    };
    assert_eq!(
        (risk.at, risk.certainty),
        (date("2026-04-15"), Certainty::Risk)
    );
    assert_eq!(risk.statement.published, date("2025-03-15"));
    assert_eq!(
        (removal.at, removal.certainty),
        (date("2026-04-16"), Certainty::Announced)
    );

    let r1 = known(&data, GTS_ROOT_R1);
    let end = r1
        .events
        .iter()
        .find(|event| event.kind == CaEventKind::CrossSignEnds);
    assert_eq!(end.unwrap().at, date("2028-01-28"));
    assert_eq!(
        leaves_mozilla(known(&data, ISRG_ROOT_X1)).unwrap().0,
        date("2030-06-04")
    );
}

#[test]
fn lifetimes_shorten_by_the_dates_of_the_ballot() {
    let data = data();
    let days = |at| data.longest_lifetime(date(at));
    let dates = [
        "2017-01-01",
        "2019-01-01",
        "2026-03-14",
        "2026-03-15",
        "2027-03-15",
        "2029-03-15",
    ];
    let expected = [None, Some(825), Some(398), Some(200), Some(100), Some(47)];
    assert_eq!(dates.map(days), expected);
    assert!(data.lifetimes().is_sorted_by_key(|it| it.from));
    assert!(
        data.programme_dates()
            .iter()
            .any(|it| it.at == date("2027-03-15"))
    );
    assert!(data.services().iter().any(|it| it.name == "Cloudflare"));
}

#[test]
fn caa_names_permit_operators() {
    let data = data();
    let permitted = |domain| {
        let operators = data.permitted_by(domain);
        operators
            .map(|operator| operator.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        permitted("letsencrypt.org"),
        ["Internet Security Research Group"]
    );
    assert_eq!(permitted("pki.goog"), ["Google Trust Services"]);
    assert_eq!(permitted("example.com"), [""; 0]);
    assert_eq!(data.operator("DigiCert").unwrap().name, "DigiCert");
}

#[test]
fn every_statement_was_published_before_the_date_of_the_data() {
    let data = data();
    let mut statements = data
        .lifetimes
        .iter()
        .map(|it| &it.statement)
        .collect::<Vec<_>>();
    statements.extend(data.programme_dates.iter().map(|it| &it.statement));
    statements.extend(data.services.iter().map(|it| &it.statement));
    for key in data.by_key.values() {
        statements.extend(key.events.iter().map(|it| &it.statement));
        statements.extend(&key.rotates);
    }
    for statement in statements {
        assert!(statement.published <= data.date, "{}", statement.text);
        assert!(!statement.text.ends_with('.'), "{}", statement.text);
    }
}

#[test]
fn the_age_is_counted_in_days() {
    let data = data();
    let later = UnixTime::since_unix_epoch(Duration::from_secs(data.date.as_secs() + 91 * 86_400));
    assert_eq!(data.age(later).days, 91);
    assert_eq!(data.age(date("2020-01-01")).days, 0);
    assert_eq!(data.age(later).source, "compiled in");
}

/// A small file, complete.
fn file() -> Value {
    let root = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=";
    let intermediate = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=";
    json!({
        "format": 1,
        "date": "2026-11-28",
        "attribution": ["nothing"],
        "not_available": [],
        "statements": [
            { "id": "it", "text": "It ends", "source": "RFC 0", "published": "2026-01-01" },
        ],
        "operators": [{ "name": "One", "caa": ["one.example"], "rotates": "it" }],
        "roots": [{
            "key": root, "name": "Root", "operator": "One", "stores": ["mozilla"],
            "certificates": [["2020-01-01", "2040-01-01"]],
        }],
        "intermediates": [{
            "operator": "One", "issuer": root,
            "certificates": [[intermediate, "Intermediate", "2021-01-01", "2031-01-01T23:59:59Z"]],
        }],
        "events": [{
            "at": "2030-01-01", "key": intermediate, "kind": "replaced", "certainty": "risk",
            "statement": "it",
        }],
        "lifetimes": [{ "from": "2026-01-01", "days": 200, "statement": "it" }],
        "programme_dates": [{ "at": "2027-03-15", "statement": "it" }],
        "services": [{ "name": "Host", "statement": "it" }],
    })
}

fn parse(file: &Value) -> Result<PkiData, Failure> {
    PkiData::parse(file.to_string().as_bytes(), "facts.json")
}

#[test]
fn a_file_is_read_as_it_is_written() {
    let data = parse(&file()).unwrap_or_else(|error| panic!("{error}"));
    let key = known(&data, "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI=");
    assert_eq!(
        (key.name.as_str(), key.kind),
        ("Intermediate", CaKind::Intermediate)
    );
    assert_eq!(key.certificates[0].not_after, date("2031-01-01T23:59:59Z"));
    assert_eq!(key.certificates[0].not_before, date("2021-01-01"));
    assert_eq!(key.rotates.as_ref().unwrap().text, "It ends");
    let event = &key.events[0];
    assert_eq!(
        (event.kind, event.certainty),
        (CaEventKind::Replaced, Certainty::Risk)
    );
    assert_eq!(event.statement.published, date("2026-01-01"));
    assert_eq!(data.age(date("2026-11-28")).source, "facts.json");
}

/// Returns changes that make the file wrong: where, by what, and the place that the error names.
fn wrong_values() -> Vec<(&'static str, Value, &'static str)> {
    let root = file()["roots"][0]["name"].clone();
    vec![
        ("/format", json!(2), "format"),
        ("/date", json!("28.11.2026"), "date"),
        ("/date", json!("2026-02-30"), "date"),
        ("/attribution", json!("text"), "attribution"),
        (
            "/statements/0/published",
            json!(2026),
            "statements[0].published",
        ),
        (
            "/operators/0/caa/0",
            json!("One.example"),
            "operators[0].caa[0]",
        ),
        (
            "/operators/0/rotates",
            json!("other"),
            "operators[0].rotates",
        ),
        ("/roots/0/key", json!("AAAA"), "roots[0].key"),
        ("/roots/0/operator", json!("Two"), "roots[0].operator"),
        ("/roots/0/stores/0", json!("apple"), "roots[0].stores[0]"),
        ("/roots/0/name", json!("Root\u{1b}[0m"), "roots[0].name"),
        (
            "/roots/0/certificates/0/1",
            json!("2019-01-01"),
            "roots[0].certificates[0][1]",
        ),
        (
            "/intermediates/0/certificates/0",
            json!([]),
            "intermediates[0].certificates[0]",
        ),
        ("/events/0/key", root, "events[0].key"),
        ("/events/0/kind", json!("leaves"), "events[0].kind"),
        ("/lifetimes/0/days", json!(-1), "lifetimes[0].days"),
    ]
}

#[test]
fn what_is_wrong_is_named() {
    for (pointer, value, place) in wrong_values() {
        let mut changed = file();
        *changed.pointer_mut(pointer).unwrap() = value;
        ensure_error_at(&changed, place);
    }
}

#[test]
fn what_is_listed_twice_is_named() {
    for (name, place) in [
        ("statements", "statements[1]"),
        ("operators", "operators[1]"),
        ("roots", "roots[1]"),
        ("intermediates", "intermediates[1].certificates[0][2]"),
    ] {
        let mut changed = file();
        let list = changed[name].as_array_mut().unwrap();
        list.extend_from_within(..);
        ensure_error_at(&changed, place);
    }
}

fn ensure_error_at(changed: &Value, place: &str) {
    let Err(Failure::Usage(message)) = parse(changed) else {
        panic!("{place}: expected an error of usage");
    };
    assert!(
        message.starts_with(&format!("facts.json: {place}: ")),
        "{message}"
    );
}

#[test]
fn a_missing_or_unknown_member_is_refused() {
    for name in file().as_object().unwrap().keys() {
        let mut changed = file();
        changed.as_object_mut().unwrap().remove(name);
        assert!(parse(&changed).is_err(), "{name}");
    }
    let mut changed = file();
    changed["events"][0]["evnt"] = json!(1);
    assert!(parse(&changed).is_err());
    let key = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAM=");
    let mut changed = file();
    changed["events"][0]["key"] = key;
    assert!(parse(&changed).is_err(), "an event of an unknown key");
}

#[test]
fn a_file_is_read_up_to_the_limit() {
    let folder = std::env::temp_dir().join(format!("pinhold-pki-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("facts.json");
    let mut json = file().to_string().into_bytes();
    json.resize(16 << 20, b' ');
    fs::write(&path, &json).unwrap();
    assert!(PkiData::load(Some(&path)).is_ok());
    json.push(b' ');
    fs::write(&path, &json).unwrap();
    assert!(matches!(PkiData::load(Some(&path)), Err(Failure::Usage(_))));
    fs::remove_dir_all(&folder).unwrap();
    assert!(matches!(PkiData::load(Some(&path)), Err(Failure::Usage(_))));
}

proptest! {
    /// Changed bytes and cut files are errors or other facts, and never a panic.
    #[test]
    fn changed_files_do_not_panic(
        position in 0..file().to_string().len(),
        byte in any::<u8>(),
        length in 0..file().to_string().len(),
    ) {
        let mut json = file().to_string().into_bytes();
        let _ = PkiData::parse(&json[..length], "cut");
        json[position] = byte;
        let _ = PkiData::parse(&json, "changed");
    }

    /// Every value of the file is replaced by values of other kinds.
    #[test]
    fn replaced_values_do_not_panic(index in 0_usize..64, kind in 0_usize..6) {
        let mut changed = file();
        let mut count = 0;
        replace(&mut changed, index, kind, &mut count);
        let _ = parse(&changed);
    }
}

/// Replaces the value at this position in a walk through all values.
fn replace(value: &mut Value, index: usize, kind: usize, count: &mut usize) {
    *count += 1;
    if *count > index {
        if *count == index + 1 {
            let values = [
                json!(null),
                json!(-1),
                json!(""),
                json!([]),
                json!({}),
                json!([[[]]]),
            ];
            *value = values[kind].clone();
        }
        return;
    }
    match value {
        Value::Array(list) => list
            .iter_mut()
            .for_each(|it| replace(it, index, kind, count)),
        Value::Object(members) => {
            members
                .values_mut()
                .for_each(|it| replace(it, index, kind, count));
        }
        _ => {}
    }
}

#[test]
fn the_compiled_snapshot_has_a_reasonable_size() {
    assert!(COMPILED_IN.len() < 512 << 10, "{} bytes", COMPILED_IN.len());
}
