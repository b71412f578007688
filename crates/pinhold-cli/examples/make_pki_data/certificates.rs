//! The command `certificates`: the facts of the CA certificates in files of CCADB, or in PEM.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use pinhold::SpkiFingerprint;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{DateTime, Decode, Encode};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::time::Time;

use crate::ccadb::CertificateStatus;
use crate::record::{Record, date_text};

/// What to keep of the certificates given.
pub(crate) struct Selection<'s> {
    /// Certificates that expired before are left out.
    pub(crate) at: DateTime,
    /// The SHA-256 of the roots; what is not below one of them is left out.
    pub(crate) roots: &'s BTreeSet<String>,
    /// CCADB's records; those that they list as revoked are left out.
    pub(crate) ccadb: &'s BTreeMap<String, CertificateStatus>,
}

/// Returns the records of the CA certificates for TLS below the roots, and of the roots.
pub(crate) fn select(
    certificates: &[CertificateDer<'_>],
    selection: &Selection<'_>,
) -> Vec<Record> {
    let parsed = certificates.iter().filter_map(Parsed::of);
    let parsed = parsed.map(|it| (it.record.sha256.clone(), it));
    let parsed = parsed.collect::<BTreeMap<_, _>>().into_values();
    let mut parsed = parsed.collect::<Vec<_>>();
    set_issuers(&mut parsed);
    let mut trusted = BTreeSet::new();
    for root in parsed
        .iter()
        .filter(|it| selection.roots.contains(&it.record.sha256))
    {
        trusted.insert(root.record.key.clone());
    }
    let mut selected = Vec::new();
    loop {
        let (below, others) = parsed.into_iter().partition::<Vec<_>, _>(|it| {
            trusted.contains(&it.record.issuer) || selection.roots.contains(&it.record.sha256)
        });
        if below.is_empty() {
            return selected;
        }
        for certificate in below {
            let status = selection.ccadb.get(&certificate.record.sha256);
            let is_root = selection.roots.contains(&certificate.record.sha256);
            let is_current = certificate.until >= selection.at;
            let is_revoked = status.is_some_and(|status| status.is_revoked);
            if !is_root && (!certificate.is_for_tls || !is_current || is_revoked) {
                continue;
            }
            trusted.insert(certificate.record.key.clone());
            let owner = status
                .map(|status| status.owner.clone())
                .unwrap_or_default();
            let record = certificate.record;
            selected.push(Record { owner, ..record });
        }
        parsed = others;
    }
}

/// Finds the certificates in PEM in a file, which may be a CSV report with a column for them.
pub(crate) fn in_pem(file: &[u8]) -> Vec<CertificateDer<'static>> {
    let text = String::from_utf8_lossy(file);
    let mut found = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let Some((body, _)) = block.split_once(END) else {
            continue;
        };
        let pem = format!("{BEGIN}{body}{END}\n");
        found.extend(CertificateDer::from_pem_slice(pem.as_bytes()));
    }
    found
}

/// A certificate with what is needed to find its issuer.
struct Parsed {
    record: Record,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    key_identifier: Option<Vec<u8>>,
    issuer_key_identifier: Option<Vec<u8>>,
    is_for_tls: bool,
    until: DateTime,
}

impl Parsed {
    /// Returns `None` for a certificate that can't be parsed or that is not one of a CA.
    fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let body = certificate.tbs_certificate();
        let (_, constraints) = body.get_extension::<BasicConstraints>().ok()??;
        if !constraints.ca {
            return None;
        }
        let own = body.get_extension::<SubjectKeyIdentifier>().ok()?;
        let issuers = body.get_extension::<AuthorityKeyIdentifier>().ok()?;
        let issuers = issuers.and_then(|(_, it)| it.key_identifier);
        let usage = body.get_extension::<ExtendedKeyUsage>().ok()?;
        let until = date_time(body.validity().not_after);
        let [organization, unit] = [ORGANIZATION, UNIT].map(|oid| attribute(body.subject(), oid));
        Some(Self {
            record: Record {
                name: display_name(body.subject())?,
                sha256: sha256(der),
                key: SpkiFingerprint::of_certificate(der).ok()?.to_base64(),
                issuer: String::new(),
                organization: organization.unwrap_or_default(),
                unit: unit.unwrap_or_default(),
                from: date_text(date_time(body.validity().not_before)),
                until: date_text(until),
                owner: String::new(),
            },
            subject: body.subject().to_der().ok()?,
            issuer: body.issuer().to_der().ok()?,
            key_identifier: own.map(|(_, it)| it.0.as_bytes().to_vec()),
            issuer_key_identifier: issuers.map(|it| it.as_bytes().to_vec()),
            is_for_tls: usage.is_none_or(|(_, usage)| is_for_tls(&usage))
                && certificate.signature_algorithm().oid != SHA1_WITH_RSA,
            until,
        })
    }

    /// Returns whether a certificate may be that of the issuer. Signatures are not verified: CCADB
    /// verified them.
    fn may_be_issued_by(&self, issuer: &Self) -> bool {
        let differ = |(wanted, has): (&Vec<u8>, &Vec<u8>)| wanted != has;
        let identifiers = self.issuer_key_identifier.as_ref();
        let identifiers = identifiers.zip(issuer.key_identifier.as_ref());
        self.issuer == issuer.subject && !identifiers.is_some_and(differ)
    }
}

/// Sets the key of each issuer, if the certificates given leave one.
fn set_issuers(certificates: &mut [Parsed]) {
    let mut by_subject = BTreeMap::<&[u8], Vec<&Parsed>>::new();
    for certificate in certificates.iter() {
        by_subject
            .entry(&certificate.subject)
            .or_default()
            .push(certificate);
    }
    let mut keys = Vec::new();
    for certificate in certificates.iter() {
        let candidates = by_subject.get(certificate.issuer.as_slice());
        let candidates = candidates.into_iter().flatten();
        let candidates = candidates.filter(|it| certificate.may_be_issued_by(it));
        let found = candidates
            .map(|it| it.record.key.clone())
            .collect::<BTreeSet<_>>();
        let own = &certificate.record.key;
        // A root without identifiers, of whose name there is another key.
        let is_own = certificate.subject == certificate.issuer && found.contains(own);
        let key = if is_own { Some(own) } else { found.first() };
        let key = key.filter(|_| is_own || found.len() == 1);
        keys.push(key.cloned().unwrap_or_default());
    }
    for (certificate, key) in certificates.iter_mut().zip(keys) {
        certificate.record.issuer = key;
    }
}

/// Returns the common name, unless it is that of the organisation, as with all roots of one CA.
fn display_name(subject: &Name) -> Option<String> {
    let [name, organization, unit] =
        [COMMON_NAME, ORGANIZATION, UNIT].map(|oid| attribute(subject, oid));
    match (name, organization, unit) {
        (Some(name), Some(organization), Some(unit)) if name == organization => Some(unit),
        (name, organization, unit) => name.or(unit).or(organization),
    }
}

/// Returns the first attribute of this kind, as one line.
fn attribute(subject: &Name, oid: ObjectIdentifier) -> Option<String> {
    let found = subject.iter().find(|attribute| attribute.oid == oid)?;
    let text = String::from_utf8(found.value.value().to_vec()).ok()?;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

fn is_for_tls(usage: &ExtendedKeyUsage) -> bool {
    usage
        .0
        .iter()
        .any(|oid| [SERVER_AUTH, ANY_USAGE].contains(oid))
}

fn date_time(time: Time) -> DateTime {
    time.to_date_time()
}

/// Returns the SHA-256 of a certificate, in lower-case hexadecimal.
pub(crate) fn sha256(der: &[u8]) -> String {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let digest = suite
        .tls13()
        .map(|suite| suite.common.hash_provider.hash(der));
    let digest = digest.expect("the suite is one of TLS 1.3");
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
/// TLS clients accept no certificate with such a signature.
const SHA1_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
