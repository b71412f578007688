//! Errors of TLS and of the validation of certificates, in words.
//!
//! Texts of rustls are not printed: several are the names of its types, lists of all names of a
//! certificate, or numbers of seconds.

use pinhold::rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error};
use serde_json::{Map, Value, json};

use crate::certificate::{Facts, last_of_path};
use crate::output::{counted, wrapped};
use crate::peer::Target;
use crate::rfc3339;

/// A chain that validation rejects.
pub(crate) struct InvalidChain {
    /// The kind of the error in JSON.
    pub(crate) reason: &'static str,
    /// What is wrong, the evidence, and what to do, on a line each.
    pub(crate) text: String,
    /// The evidence in JSON.
    pub(crate) facts: Map<String, Value>,
}

/// Statement, evidence, what to do, and evidence for JSON.
type Parts = (String, String, &'static str, Value);

impl InvalidChain {
    pub(crate) fn new(
        error: &CertificateError,
        target: &Target,
        served: &[CertificateDer<'_>],
    ) -> Self {
        let leaf = served.first().and_then(Facts::of);
        let (reason, parts) = match error {
            CertificateError::ExpiredContext { not_after, .. } => {
                let facts = with_time(served, |facts| facts.not_after == *not_after).or(leaf);
                ("expired", expired(target, facts))
            }
            CertificateError::Expired => ("expired", expired(target, leaf)),
            CertificateError::NotValidYetContext { not_before, .. } => {
                let facts = with_time(served, |facts| facts.not_before == *not_before).or(leaf);
                ("not-yet-valid", not_yet_valid(target, facts))
            }
            CertificateError::NotValidYet => ("not-yet-valid", not_yet_valid(target, leaf)),
            CertificateError::UnknownIssuer => ("unknown-issuer", unknown_issuer(target, served)),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ("wrong-name", wrong_name(target, leaf))
            }
            other => (reason_of(other), otherwise(other, target, leaf)),
        };
        let (statement, evidence, remedy, facts) = parts;
        let facts = match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        };
        let evidence = wrapped(&format!("seen: {evidence}"));
        let remedy = wrapped(&format!("what to do: {remedy}"));
        Self {
            reason,
            text: format!("{statement}\n{evidence}\n{remedy}"),
            facts,
        }
    }
}

fn with_time(served: &[CertificateDer<'_>], is: impl Fn(&Facts) -> bool) -> Option<Facts> {
    served.iter().filter_map(Facts::of).find(is)
}

fn expired(target: &Target, facts: Option<Facts>) -> Parts {
    let (evidence, json) = dates(facts);
    (
        format!("a certificate of {target} has expired"),
        evidence,
        "renew the certificate on the server, or set this computer's clock. No option of get \
         accepts it; `pinhold fingerprint --insecure` shows the chain",
        json,
    )
}

fn not_yet_valid(target: &Target, facts: Option<Facts>) -> Parts {
    let (evidence, json) = dates(facts);
    (
        format!("a certificate of {target} is not valid yet"),
        evidence,
        "set this computer's clock, or wait. No option of get accepts it; `pinhold fingerprint \
         --insecure` shows the chain",
        json,
    )
}

fn dates(facts: Option<Facts>) -> (String, Value) {
    let now = rfc3339::print(UnixTime::now());
    let Some(facts) = facts else {
        return (format!("it is now {now}"), json!({ "now": now }));
    };
    let json = json!({
        "subject": facts.subject,
        "not_before": rfc3339::print(facts.not_before),
        "not_after": rfc3339::print(facts.not_after),
        "now": now,
    });
    let (subject, period) = (&facts.subject, facts.period());
    let evidence = format!("{subject:?} is valid {period}; it is now {now}");
    (evidence, json)
}

fn unknown_issuer(target: &Target, served: &[CertificateDer<'_>]) -> Parts {
    let statement = format!("the certificate of {target} leads to no trusted root");
    let last = last_of_path(served);
    let issuer = last.as_ref().map(|facts| &facts.issuer);
    let json = json!({ "issuer": issuer, "served": served.len() });
    let count = counted(served.len(), "certificate", "certificates");
    let (evidence, remedy) = match &last {
        Some(facts) if facts.is_self_issued() => (
            format!(
                "the server sent {count}; {:?} is self-signed",
                facts.subject
            ),
            "if you trust this certificate, trust it by --ca FILE",
        ),
        Some(facts) => (
            format!(
                "the server sent {count}; the issuer {:?} is neither among them nor a root",
                facts.issuer
            ),
            "if you trust this issuer, pass its root by --ca FILE (or by --user-ca FILE, if a \
             proxy on this network inspects traffic); if it is a public CA, have the server send \
             its intermediate certificates",
        ),
        None => (
            format!("the server sent {count}"),
            "pass the root by --ca FILE, if you trust it",
        ),
    };
    (statement, evidence, remedy, json)
}

fn wrong_name(target: &Target, leaf: Option<Facts>) -> Parts {
    let names = leaf.map(|facts| facts.names).unwrap_or_default();
    let shown = names.iter().take(SHOWN_NAMES).cloned().collect::<Vec<_>>();
    let more = names.len() - shown.len();
    let mut list = shown.join(", ");
    if more > 0 {
        list += &format!(" and {more} more");
    }
    let evidence = if names.is_empty() {
        "it has no name".to_owned()
    } else {
        format!("it is for {list}")
    };
    (
        format!("the certificate of {target} is for another name"),
        evidence,
        "use a URL with one of its names; --resolve NAME:PORT:ADDR then connects to a given \
         address",
        json!({ "names": shown, "names_count": names.len() }),
    )
}

fn reason_of(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::BadEncoding => "bad-encoding",
        CertificateError::BadSignature => "bad-signature",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "wrong-purpose"
        }
        CertificateError::Revoked => "revoked",
        _ => "other",
    }
}

fn otherwise(error: &CertificateError, target: &Target, leaf: Option<Facts>) -> Parts {
    let statement = match error {
        CertificateError::BadEncoding => "a certificate is not correctly encoded".to_owned(),
        CertificateError::BadSignature => "a certificate has a wrong signature".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "a certificate is not for servers (extended key usage)".to_owned()
        }
        CertificateError::Revoked => "a certificate is revoked".to_owned(),
        CertificateError::UnhandledCriticalExtension => {
            "a certificate has a critical extension that is not supported".to_owned()
        }
        CertificateError::Other(other) => words(&other.to_string()),
        other => words(&format!("{other:?}")),
    };
    let subject = leaf.map(|facts| facts.subject);
    let evidence = match &subject {
        Some(subject) => format!("the leaf is {subject:?}"),
        None => "no certificate that can be read".to_owned(),
    };
    (
        format!("the chain of {target} is not valid: {statement}"),
        evidence,
        "have the server send a valid chain. No option of get accepts it; `pinhold fingerprint \
         --insecure` shows it",
        json!({ "subject": subject }),
    )
}

/// Returns an error of TLS other than that of an invalid chain, as in "TLS with HOST failed: ...".
pub(crate) fn text(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => {
            let alert = words(&format!("{alert:?}"));
            format!("the server rejects the handshake (alert: {alert})")
        }
        Error::InvalidMessage(_) => {
            "the server sends something other than TLS; is this the port of https?".to_owned()
        }
        Error::NoApplicationProtocol => "the server offers neither HTTP/2 nor HTTP/1.1".to_owned(),
        Error::NoCertificatesPresented => "the server sent no certificate".to_owned(),
        Error::PeerIncompatible(why) => {
            format!(
                "the server is not compatible: {}",
                words(&format!("{why:?}"))
            )
        }
        Error::PeerMisbehaved(why) => {
            format!(
                "the server violates the protocol: {}",
                words(&format!("{why:?}"))
            )
        }
        other => words(&format!("{other:?}")),
    }
}

/// Converts the name of a variant into words, without the fields that follow it:
/// `NoCipherSuitesInCommon` becomes "no cipher suites in common".
fn words(name: &str) -> String {
    let mut words = String::new();
    let mut after_lower = false;
    for char in name.chars().take_while(|char| char.is_ascii_alphanumeric()) {
        if char.is_ascii_uppercase() && after_lower {
            words.push(' ');
        }
        after_lower = !char.is_ascii_uppercase();
        words.push(char.to_ascii_lowercase());
    }
    words
}

/// The number of names of a certificate that a message contains. Some have a thousand.
const SHOWN_NAMES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_become_words_without_their_fields() {
        for (name, expected) in [
            ("NoCipherSuitesInCommon", "no cipher suites in common"),
            ("CaUsedAsEndEntity", "ca used as end entity"),
            ("UnsupportedCurve { id: [1, 2] }", "unsupported curve"),
            ("HandshakeFailure", "handshake failure"),
        ] {
            assert_eq!(words(name), expected);
        }
    }

    #[test]
    fn no_text_contains_numbers_or_names_of_types() {
        let lists = CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: vec![42, 134, 72],
            supported_algorithms: Vec::new(),
        };
        let target = Target {
            host: "shop.example".to_owned(),
            port: 443,
        };
        let chain = InvalidChain::new(&lists, &target, &[]);
        assert_eq!(chain.reason, "other");
        let text = chain.text;
        assert!(
            text.contains("unsupported signature algorithm context"),
            "{text}"
        );
        assert!(!text.contains("134"), "{text}");
        let alert = Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
        assert!(super::text(&alert).contains("handshake failure"));
    }
}
