//! [`Certificate`], a certificate as a server sent it, with what rules read from it.

use pinhold::SpkiFingerprint;
use rustls::pki_types::CertificateDer;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage};

use crate::certificate::Facts;

pub(in crate::doctor) struct Certificate {
    pub(in crate::doctor) facts: Facts,
    pub(in crate::doctor) key: SpkiFingerprint,
    /// Whether the key usage permits signatures; `None` without this extension.
    pub(in crate::doctor) signs: Option<bool>,
    /// Whether it is for servers and clients.
    pub(in crate::doctor) is_for_both: bool,
}

impl Certificate {
    /// Returns `None` for a certificate that can't be parsed.
    pub(super) fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let parsed = x509_cert::Certificate::from_der(der).ok()?;
        let body = parsed.tbs_certificate();
        let usage = body.get_extension::<KeyUsage>().ok().flatten();
        let purposes = body.get_extension::<ExtendedKeyUsage>().ok().flatten();
        let has = |purpose| {
            let purposes = purposes.as_ref();
            purposes.is_some_and(|(_, ExtendedKeyUsage(all))| all.contains(&purpose))
        };
        Some(Self {
            facts: Facts::of(der)?,
            key: SpkiFingerprint::of_certificate(der).ok()?,
            signs: usage.map(|(_, usage)| usage.digital_signature()),
            is_for_both: has(SERVER) && has(CLIENT),
        })
    }

    /// Returns the common name, or else the whole subject.
    pub(in crate::doctor) fn name(&self) -> &str {
        short(&self.facts.subject)
    }
}

/// Returns the common name of a distinguished name, or else all of it.
pub(in crate::doctor) fn short(subject: &str) -> &str {
    let mut parts = subject.split(',');
    let name = parts.find_map(|part| part.trim_start().strip_prefix("CN="));
    name.filter(|name| !name.is_empty()).unwrap_or(subject)
}

const SERVER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
