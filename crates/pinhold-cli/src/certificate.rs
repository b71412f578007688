//! Facts of a certificate that messages name: subject, issuer, validity period and names.
//!
//! All text comes from the certificate and is escaped and cut, since a server may send anything.

use std::fmt::Write;

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::time::Time;

use crate::output::{cut, printable};
use crate::rfc3339;

/// What a certificate states.
pub(crate) struct Facts {
    /// Distinguished name (RFC 4514).
    pub(crate) subject: String,
    /// The organisation of the subject.
    pub(crate) organization: Option<String>,
    pub(crate) issuer: String,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    pub(crate) is_ca: bool,
    /// Host names and IP addresses that the certificate is valid for.
    pub(crate) names: Vec<String>,
}

impl Facts {
    /// Returns `None` for a certificate that can't be parsed.
    pub(crate) fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let body = certificate.tbs_certificate();
        let constraints = body.get_extension::<BasicConstraints>();
        let names = match body.get_extension::<SubjectAltName>() {
            Ok(Some((_, names))) => names.0.iter().filter_map(host_name).collect(),
            _ => Vec::new(),
        };
        Some(Self {
            subject: name_text(body.subject()),
            organization: organization(body.subject()),
            issuer: name_text(body.issuer()),
            not_before: unix_time(body.validity().not_before),
            not_after: unix_time(body.validity().not_after),
            is_ca: matches!(
                constraints,
                Ok(Some((_, BasicConstraints { ca: true, .. })))
            ),
            names,
        })
    }

    /// Returns whether subject and issuer are equal, as in a root.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Returns the validity period as "from DATE to DATE".
    pub(crate) fn period(&self) -> String {
        let [from, to] = [self.not_before, self.not_after].map(rfc3339::print);
        format!("from {from} to {to}")
    }
}

/// Returns the issuer that a client would need as a root: that of the last certificate on the path
/// from the leaf through the certificates that the server sent.
pub(crate) fn last_of_path(served: &[CertificateDer<'_>]) -> Option<Facts> {
    let mut others = served.iter().filter_map(Facts::of).collect::<Vec<_>>();
    if others.is_empty() {
        return None;
    }
    let mut last = others.remove(0);
    loop {
        let issuer = others
            .iter()
            .position(|other| !last.is_self_issued() && other.subject == last.issuer);
        match issuer {
            Some(position) => last = others.remove(position),
            None => return Some(last),
        }
    }
}

/// Returns a distinguished name as text, escaped and cut.
pub(crate) fn name_text(name: &Name) -> String {
    let mut text = String::new();
    // `to_string` would panic on a name whose formatting returns an error.
    let _ = write!(text, "{name}");
    cut(&printable(&text), MAX_NAME)
}

fn organization(name: &Name) -> Option<String> {
    let organization = name.organization().ok()??;
    Some(cut(&printable(&organization.value()), MAX_NAME))
}

fn host_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(cut(&printable(name.as_str()), MAX_NAME)),
        GeneralName::IpAddress(address) => {
            let bytes = address.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
            let v6 = <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn unix_time(time: Time) -> UnixTime {
    UnixTime::since_unix_epoch(time.to_unix_duration())
}

/// The longest name that is printed, in characters. A DNS name has at most 253.
const MAX_NAME: usize = 255;
