#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::certificates::{Selection, in_pem, select, sha256};
use crate::chrome::{self, Anchor, ChromeRoots};
use crate::facts::Facts;
use crate::record::{self, Record, parse_date};
use crate::snapshot::{self, Inputs};
use crate::{ccadb, run};

/// The header of CCADB's `AllCertificateRecordsCSVFormatv4`.
const RECORDS_HEADER: &str = r#""CA Owner","Salesforce Record ID","Certificate Name","Parent Salesforce Record ID","Parent Certificate Name","Certificate Record Type","Subordinate CA Owner","Apple Status","Chrome Status","Microsoft Status","Mozilla Status","Status of Root Cert","Revocation Status","SHA-256 Fingerprint","Parent SHA-256 Fingerprint","Valid From (GMT)","Valid To (GMT)","Authority Key Identifier","Subject Key Identifier","Technically Constrained","Derived Trust Bits","Full CRL Issued By This CA","JSON Array of Partitioned CRLs","Auditor","Audits Same as Parent?","Standard Audit URL","Standard Audit Type","Standard Audit Statement Date","Standard Audit Period Start Date","Standard Audit Period End Date","NetSec Audit URL","NetSec Audit Type","NetSec Audit Statement Date","NetSec Audit Period Start Date","NetSec Audit Period End Date","TLS BR Audit URL","TLS BR Audit Type","TLS BR Audit Statement Date","TLS BR Audit Period Start Date","TLS BR Audit Period End Date","TLS EVG Audit URL","TLS EVG Audit Type","TLS EVG Audit Statement Date","TLS EVG Audit Period Start Date","TLS EVG Audit Period End Date","Code Signing Audit URL","Code Signing Audit Type","Code Signing Audit Statement Date","Code Signing Audit Period Start Date","Code Signing Audit Period End Date","S/MIME BR Audit URL","S/MIME BR Audit Type","S/MIME BR Audit Statement Date","S/MIME BR Audit Period Start Date","S/MIME BR Audit Period End Date","VMC Audit URL","VMC Audit Type","VMC Audit Statement Date","VMC Audit Period Start Date","VMC Audit Period End Date","Policy Documentation","CA Document Repository","CP Same as Parent?","Certificate Policy (CP) URL","CP Last Update Date","CPS Same as Parent?","Certificate Practice Statement (CPS) URL","CPS Last Update Date","CP/CPS Same as Parent?","Certificate Practice & Policy Statement","CP/CPS Last Updated Date","Test Website URL - Valid","Test Website URL - Expired","Test Website URL - Revoked","TLS Capable","TLS EV Capable","Code Signing Capable","S/MIME Capable","Country""#;
/// The header of CCADB's `AllCertificatePEMsCSVFormat`.
const PEMS_HEADER: &str = "SHA-256 Fingerprint,X.509 Certificate (PEM)";
/// The header of CCADB's `AllCAAIdentifiersReportCSVV2`.
const CAA_HEADER: &str =
    "Subject,Subject Key Identifier (Hex),Intermediate Certificate,Recognized CAA Domains";

type Ca = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str, usage: &[ExtendedKeyUsagePurpose], until: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "One Inc.");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = usage.to_vec();
    params.not_before = date_time_ymd(2009, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

fn root(name: &str) -> Ca {
    CertifiedIssuer::self_signed(params(name, &[], 2040), KeyPair::generate().unwrap()).unwrap()
}

fn below(issuer: &Ca, name: &str, usage: &[ExtendedKeyUsagePurpose], until: i32) -> Ca {
    let key = KeyPair::generate().unwrap();
    CertifiedIssuer::signed_by(params(name, usage, until), key, issuer).unwrap()
}

fn der(ca: &Ca) -> CertificateDer<'static> {
    ca.der().clone()
}

/// Selects with these certificates as roots.
fn records(given: &[&Ca], roots: &[&Ca], ccadb: &[u8]) -> Vec<Record> {
    let given = given.iter().map(|ca| der(ca)).collect::<Vec<_>>();
    let roots = roots.iter().map(|ca| sha256(ca.der())).collect();
    let ccadb = ccadb::certificate_records(ccadb).unwrap();
    let at = parse_date("2026-11-28").unwrap();
    let selection = Selection {
        at,
        roots: &roots,
        ccadb: &ccadb,
    };
    let mut records = select(&given, &selection);
    records.sort();
    records
}

fn names(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.name.as_str()).collect()
}

/// Returns facts with one operator.
fn facts(more: &Value) -> Facts {
    let mut facts = json!({
        "date": "2026-11-28", "attribution": [], "not_available": [], "statements": [],
        "programme_dates": [], "lifetimes": [], "services": [], "removed_roots": [], "events": [],
        "operators": [{ "name": "One", "organizations": ["One Inc."], "caa": ["one.example"] }],
        "chrome_root_store": { "version": 40, "statement": "sct" },
        "mozilla_key_age": {
            "statement": "age", "years": 15,
            "table": [
                { "created_before": "2010-01-01", "leaves": "2027-04-15" },
                { "created_before": "2014-04-15", "leaves": "2029-04-15" },
            ],
        },
    });
    for (name, value) in more.as_object().unwrap() {
        facts[name] = value.clone();
    }
    Facts::read(facts.to_string().as_bytes()).unwrap()
}

fn written(records: &[Record], mozilla: &Ca, facts: &Facts) -> Result<String, String> {
    let mozilla = BTreeSet::from([sha256(mozilla.der())]);
    let anchor = Anchor {
        is_root: true,
        sct_not_after: Some(1_820_966_399),
    };
    let anchors = mozilla
        .iter()
        .map(|sha256| (sha256.clone(), anchor.clone()));
    let chrome = ChromeRoots {
        version: 40,
        anchors: anchors.collect(),
    };
    let caa = BTreeMap::from([(
        "One Inc.".to_owned(),
        BTreeSet::from(["one.test".to_owned()]),
    )]);
    snapshot::write(&Inputs {
        records,
        mozilla: &mozilla,
        chrome: &chrome,
        facts,
        caa: &caa,
    })
}

/// Running the program on the files of the repository gives the snapshot that is compiled in.
#[test]
fn the_snapshot_is_what_its_inputs_give() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let file = |name| data.join(name).to_str().unwrap().to_owned();
    let arguments = [
        "snapshot".to_owned(),
        "--facts".to_owned(),
        file("facts.json"),
        "--chrome-root-store".to_owned(),
        file("chrome-root-store.textproto"),
        "--certificates".to_owned(),
        file("certificates.csv"),
    ];
    let snapshot = run(&arguments).unwrap();
    let committed = include_bytes!("../../data/pki.json");
    assert!(
        snapshot == committed,
        "data/pki.json is not what make_pki_data gives; data/README.md states how to make it"
    );
}

#[test]
fn certificates_of_tls_below_the_roots_are_selected() {
    let (one, other) = (root("Root"), root("Unknown root"));
    let tls = below(&one, "TLS", &[ExtendedKeyUsagePurpose::ServerAuth], 2030);
    let any = below(&tls, "Below TLS", &[], 2030);
    let email = below(
        &one,
        "E-mail",
        &[ExtendedKeyUsagePurpose::EmailProtection],
        2030,
    );
    let expired = below(&one, "Expired", &[], 2026);
    let elsewhere = below(&other, "Elsewhere", &[], 2030);
    let given = [&any, &tls, &one, &other, &email, &expired, &elsewhere, &tls];
    let records = records(&given, &[&one], RECORDS_HEADER.as_bytes());
    assert_eq!(names(&records), ["Below TLS", "Root", "TLS"]);
    let [below, root, tls] = records.as_slice() else {
        panic!("expected three records");
    };
    assert!(root.is_self_signed());
    assert_eq!((&tls.issuer, &below.issuer), (&root.key, &tls.key));
    assert_eq!(
        (tls.from.as_str(), tls.until.as_str()),
        ("2009-01-01", "2030-01-01")
    );
    assert_eq!(tls.organization, "One Inc.");
    let read = record::read(&record::write(records.clone()).unwrap()).unwrap();
    assert_eq!(read, records);
}

#[test]
fn the_issuer_is_found_by_its_key_identifier() {
    let (one, two) = (root("Root"), root("Root"));
    let tls = below(&two, "TLS", &[], 2030);
    let records = records(
        &[&one, &two, &tls],
        &[&one, &two],
        b"CA Owner,Revocation Status,SHA-256 Fingerprint",
    );
    let [first, second, tls] = records.as_slice() else {
        panic!("expected three records");
    };
    assert!(first.is_self_signed() && second.is_self_signed());
    let issuer = [first, second].map(|root| root.sha256 == sha256(two.der()));
    let issuer = if issuer[0] { first } else { second };
    assert_eq!(tls.issuer, issuer.key);
}

#[test]
fn a_key_with_two_issuers_has_a_record_of_each() {
    let (one, two) = (root("Root 1"), root("Root 2"));
    let crossed = params("Root 2", &[], 2030)
        .signed_by(two.key(), &one)
        .unwrap();
    let given = [der(&one), der(&two), crossed.der().clone()];
    let at = parse_date("2026-11-28").unwrap();
    let selection = Selection {
        at,
        roots: &BTreeSet::from([sha256(one.der())]),
        ccadb: &BTreeMap::new(),
    };
    let records = select(&given, &selection);
    let second = records.iter().filter(|it| it.name == "Root 2");
    assert_eq!(second.clone().filter(|it| it.is_self_signed()).count(), 1);
    assert_eq!(second.filter(|it| !it.is_self_signed()).count(), 1);
}

#[test]
fn ccadb_gives_owners_and_revocations() {
    let one = root("Root");
    let kept = below(&one, "Kept", &[], 2030);
    let revoked = below(&one, "Revoked", &[], 2030);
    let lost = below(&revoked, "Below revoked", &[], 2030);
    let row = |owner: &str, status: &str, ca: &Ca| {
        let sha256 = sha256(ca.der()).to_uppercase();
        let mut fields = vec![""; 79];
        (fields[0], fields[12], fields[13]) = (owner, status, &sha256);
        fields
            .iter()
            .map(|field| format!("\"{field}\""))
            .collect::<Vec<_>>()
            .join(",")
    };
    let rows = [
        RECORDS_HEADER.to_owned(),
        row("One, \"\"the\"\" CA", "", &one),
        row("Other", "Not Revoked", &kept),
        row("One", "Revoked", &revoked),
    ];
    let file = format!("\u{feff}{}\n", rows.join("\r\n"));
    let records = records(&[&one, &kept, &revoked, &lost], &[&one], file.as_bytes());
    assert_eq!(names(&records), ["Kept", "Root"]);
    assert_eq!(records[0].owner, "Other");
    assert_eq!(records[1].owner, "One, \"the\" CA");

    let error = ccadb::certificate_records(b"CA Owner,SHA-256 Fingerprint\n")
        .err()
        .unwrap();
    assert!(error.contains("Revocation Status"), "{error}");
}

#[test]
fn pem_is_found_in_reports_and_in_plain_files() {
    let (one, two) = (root("Root 1"), root("Root 2"));
    let report = format!(
        "{PEMS_HEADER}\n00,\"{}\"\n01,\"'{}'\"\n",
        one.pem(),
        two.pem()
    );
    assert_eq!(in_pem(report.as_bytes()), [der(&one), der(&two)]);
    assert_eq!(in_pem(one.pem().as_bytes()), [der(&one)]);
    let cut = one.pem();
    assert!(in_pem(&cut.as_bytes()[..200]).is_empty());
    assert!(in_pem(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----").is_empty());
    // What is no certificate of a CA is left out.
    let none = [CertificateDer::from(vec![0x30, 0])];
    let selection = Selection {
        at: parse_date("2026-11-28").unwrap(),
        roots: &BTreeSet::new(),
        ccadb: &BTreeMap::new(),
    };
    assert!(select(&none, &selection).is_empty());
}

#[test]
fn caa_identifiers_are_those_of_an_organisation() {
    let report = format!(
        "{CAA_HEADER}\n\
         CN=A; O=One Inc.; C=US,00,A,\"One.example, one.test\"\n\
         CN=B; O=One Inc.; C=US,01,B,other.example\n\
         CN=C; C=US,02,C,none.example\n\
         CN=D; O=Two; C=US,03,D,Not applicable.\n"
    );
    let found = ccadb::caa_identifiers(report.as_bytes()).unwrap();
    let one = found["One Inc."]
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>();
    assert_eq!(one, ["one.example", "one.test", "other.example"]);
    assert!(found["Two"].is_empty());
}

#[test]
fn chrome_constraints_are_those_of_present_versions() {
    let digest = |digit: &str| digit.repeat(64);
    let file = format!(
        "# a comment\nversion_major: 40\n\
         trust_anchors {{\n  sha256_hex: \"{}\"  # no constraint\n}}\n\
         trust_anchors {{\n  sha256_hex: \"{}\"\n  constraints {{\n    sct_not_after_sec: 7\n    \
         min_version: \"153\"\n  }}\n  constraints: {{\n    max_version_exclusive: \"153\"\n  }}\n}}\n\
         trust_anchors {{\n  sha256_hex: \"{}\"\n  constraints {{\n    sct_not_after_sec: 7\n  }}\n  \
         constraints {{\n    min_version: \"160\"\n  }}\n}}\n\
         additional_certs {{\n  sha256_hex: \"{}\"\n  tls_trust_anchor: true\n}}\n",
        digest("a"),
        digest("B"),
        digest("c"),
        digest("d"),
    );
    let roots = chrome::parse(&file).unwrap();
    assert_eq!(roots.version, 40);
    let anchors = ["a", "b", "c", "d"].map(|digit| {
        let anchor = &roots.anchors[&digest(digit)];
        (anchor.is_root, anchor.sct_not_after)
    });
    let expected = [(true, None), (true, Some(7)), (true, None), (false, None)];
    assert_eq!(anchors, expected);
    for wrong in [
        "trust_anchors {\n}\n",
        "version_major: x\n",
        "sct_not_after_sec: 1\n",
        "",
    ] {
        assert!(chrome::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_key_leaves_mozilla_by_the_table_and_then_after_fifteen_years() {
    let facts = facts(&json!({}));
    let leaves = |from: &str| {
        let from = from.to_owned();
        let record = Record {
            from,
            ..Record::default()
        };
        facts.leaves_mozilla(&record).unwrap()
    };
    assert_eq!(leaves("2009-12-31T23:59:59Z"), "2027-04-15");
    assert_eq!(leaves("2010-01-01"), "2029-04-15");
    assert_eq!(leaves("2014-04-14T23:59:59Z"), "2029-04-15");
    assert_eq!(leaves("2014-04-15"), "2029-04-15");
    assert_eq!(leaves("2015-06-04T11:04:38Z"), "2030-06-04");
    assert_eq!(leaves("2016-02-29"), "2031-03-01");
}

#[test]
fn a_snapshot_does_not_depend_on_the_order_of_its_inputs() {
    let one = root("Root");
    let tls = below(&one, "TLS", &[], 2030);
    let events = json!([{
        "at": "2027-01-01", "kind": "replaced", "certainty": "announced", "statement": "it",
        "operator": "One", "names": ["TLS"],
    }]);
    let facts = facts(&json!({ "events": events }));
    let mut records = records(&[&one, &tls], &[&one], RECORDS_HEADER.as_bytes());
    let file = written(&records, &one, &facts).unwrap();
    records.reverse();
    assert_eq!(written(&records, &one, &facts).unwrap(), file);

    let snapshot = serde_json::from_str::<Value>(&file).unwrap();
    let events = snapshot["events"].as_array().unwrap();
    let dates = events.iter().map(|event| (&event["at"], &event["kind"]));
    let expected = [
        ("2027-01-01", "replaced"),
        ("2027-04-15", "leaves-mozilla"),
        ("2027-09-14T23:59:59Z", "chrome-sct-not-after"),
    ];
    let dates = dates.map(|(at, kind)| (at.as_str().unwrap(), kind.as_str().unwrap()));
    assert_eq!(dates.collect::<Vec<_>>(), expected);
    assert_eq!(snapshot["roots"][0]["stores"], json!(["chrome", "mozilla"]));
    assert_eq!(
        snapshot["operators"][0]["caa"],
        json!(["one.example", "one.test"])
    );
    let key = &snapshot["roots"][0]["key"];
    assert_eq!(&snapshot["intermediates"][0]["issuer"], key);
    assert_eq!(snapshot["intermediates"][0]["certificates"][0][1], "TLS");
}

#[test]
fn facts_that_match_nothing_are_refused() {
    let one = root("Root");
    let records = records(&[&one], &[&one], RECORDS_HEADER.as_bytes());
    let event = json!({
        "at": "2027-01-01", "kind": "replaced", "certainty": "announced", "statement": "it",
        "operator": "One", "names": ["Rout"],
    });
    let removed = json!({ "sha256": "00", "left": "2027-01-01", "statement": "it" });
    for wrong in [
        json!({ "operators": [] }),
        json!({ "events": [event] }),
        json!({ "removed_roots": [removed] }),
        json!({ "chrome_root_store": { "version": 39, "statement": "sct" } }),
    ] {
        assert!(written(&records, &one, &facts(&wrong)).is_err(), "{wrong}");
    }
    assert!(written(&records, &one, &facts(&json!({}))).is_ok());
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [
        &[][..],
        &["other"],
        &["snapshot", "--facts"],
        &["snapshot", "--other", "x"],
    ] {
        let arguments = arguments
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        assert!(run(&arguments).is_err(), "{arguments:?}");
    }
}
