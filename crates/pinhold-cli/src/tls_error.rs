//! Errors of TLS and of the validation of certificates, in words.
//!
//! Texts of rustls are not printed: several are the names of its types, lists of all names of a
//! certificate, or numbers of seconds.

use pinhold::rustls::pki_types::CertificateDer;
use pinhold::tls::{self, Cause, ClockEvidence};
use rustls::{AlertDescription, CertificateError, Error, OtherError, PeerIncompatible};
use serde_json::{Map, Value, json};

use crate::cause::cause_json;
use crate::certificate::{Facts, last_of_path};
use crate::clock;
use crate::output::{counted, wrapped, wrapped_first};
use crate::peer::Target;
use crate::rfc3339;

/// A chain that validation rejects.
pub(crate) struct InvalidChain {
    /// The kind of the error in JSON.
    pub(crate) reason: &'static str,
    /// What the facts show about the cause, what is wrong, the evidence, and what to do.
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
        let mut facts = match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        };
        let error = Error::InvalidCertificate(error.clone());
        let cause = tls::cause(&error);
        let remedy = match &cause {
            Some(Cause::Clock {
                evidence: ClockEvidence::BeforeRelease { .. },
                ..
            }) => "set this computer's clock",
            _ => remedy,
        };
        let statement = under_cause(cause.as_ref(), &statement);
        if let Some(cause) = cause {
            facts.insert("cause".to_owned(), cause_json(&cause));
        }
        let evidence = wrapped(&format!("seen: {evidence}"));
        let remedy = wrapped(&format!("what to do: {remedy}"));
        Self {
            reason,
            text: format!("{statement}\n{evidence}\n{remedy}"),
            facts,
        }
    }
}

/// Returns a statement below that of the cause, if one is known.
pub(crate) fn under_cause(cause: Option<&Cause>, statement: &str) -> String {
    match cause {
        Some(cause) => {
            let cause = wrapped_first(&cause.to_string());
            format!("{cause}\n{}", wrapped(statement))
        }
        None => statement.to_owned(),
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
        "compare this computer's clock with another one; if it is right, have the server's operator \
         renew the certificate, which `pinhold fingerprint --insecure` shows",
        json,
    )
}

fn not_yet_valid(target: &Target, facts: Option<Facts>) -> Parts {
    let (evidence, json) = dates(facts);
    (
        format!("a certificate of {target} is not valid yet"),
        evidence,
        "compare this computer's clock with another one; if it is right, have the server's operator \
         replace the certificate, which `pinhold fingerprint --insecure` shows",
        json,
    )
}

fn dates(facts: Option<Facts>) -> (String, Value) {
    let now = rfc3339::print(clock::now());
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
    let evidence = match &last {
        Some(facts) if facts.is_self_issued() => format!(
            "the server sent {count}; {:?} is self-signed, and not among the roots",
            facts.subject
        ),
        Some(facts) => format!(
            "the server sent {count}; the issuer {:?} is neither among them nor among the roots",
            facts.issuer
        ),
        None => format!("the server sent {count}"),
    };
    // No remedy adds a root: an attacker who intercepts wants that to be done.
    let remedy = "connect over another network; if the issuer is unknown there, too, have the \
                  server's operator check the certificates that it sends";
    (statement, evidence, remedy, json)
}

fn wrong_name(target: &Target, leaf: Option<Facts>) -> Parts {
    let names = leaf.map(|facts| facts.names).unwrap_or_default();
    let shown = names.iter().take(SHOWN_NAMES).cloned().collect::<Vec<_>>();
    let more = names.len() - shown.len();
    // Quoted, since a name may contain spaces and words.
    let quoted = shown.iter().map(|name| format!("{name:?}"));
    let mut list = quoted.collect::<Vec<_>>().join(", ");
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
        "check the URL and the address (DNS, --resolve): this server is not the one of the URL, or \
         lacks a certificate for it",
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
    let statement = statement(error);
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

/// Returns what is wrong with a chain.
fn statement(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::BadEncoding => "a certificate is not correctly encoded",
        CertificateError::BadSignature => "a certificate has a wrong signature",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "a certificate is not for servers (extended key usage)"
        }
        CertificateError::Revoked => "a certificate is revoked",
        CertificateError::UnhandledCriticalExtension => {
            "a certificate has a critical extension that is not supported"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "a certificate is signed with an algorithm that is not supported, such as SHA-1"
        }
        CertificateError::Other(OtherError(error)) => {
            error.downcast_ref().map_or(NOT_ACCEPTED, webpki_statement)
        }
        _ => NOT_ACCEPTED,
    }
}

/// Returns what is wrong with a chain, for errors that rustls has no variant for.
fn webpki_statement(error: &webpki::Error) -> &'static str {
    match error {
        webpki::Error::CaUsedAsEndEntity => "the server's certificate is that of a CA",
        webpki::Error::EndEntityUsedAsCa => {
            "a certificate is issued by one that is not that of a CA"
        }
        webpki::Error::ExtensionValueInvalid | webpki::Error::MalformedExtensions => {
            "a certificate has an extension that is not correctly encoded"
        }
        webpki::Error::MaximumNameConstraintComparisonsExceeded
        | webpki::Error::MaximumPathBuildCallsExceeded
        | webpki::Error::MaximumPathDepthExceeded
        | webpki::Error::MaximumSignatureChecksExceeded => {
            "the server sent too many certificates, or certificates that refer to each other"
        }
        webpki::Error::NameConstraintViolation => {
            "a CA may not issue certificates for this name (name constraints)"
        }
        webpki::Error::PathLenConstraintViolated => {
            "a CA may not issue certificates to another CA (path length)"
        }
        webpki::Error::UnsupportedCertVersion => "a certificate has a version other than 3",
        webpki::Error::UnsupportedCriticalExtension => {
            "a certificate has a critical extension that is not supported"
        }
        _ => NOT_ACCEPTED,
    }
}

/// Returns an error of TLS other than that of an invalid chain, as in "TLS with HOST failed: ...".
pub(crate) fn text(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => {
            format!("the server rejects the handshake ({})", alert_text(*alert))
        }
        Error::PeerIncompatible(why) => {
            format!("the server is not compatible: {}", incompatibility(why))
        }
        other => fixed_text(other).to_owned(),
    }
}

fn fixed_text(error: &Error) -> &'static str {
    match error {
        Error::DecryptError => "a message of the server can't be decrypted",
        Error::FailedToGetCurrentTime => "this computer's clock can't be read",
        Error::FailedToGetRandomBytes => "this computer returns no random numbers",
        Error::InappropriateHandshakeMessage { .. } | Error::InappropriateMessage { .. } => {
            "the server sends another message than the protocol requires"
        }
        Error::InvalidMessage(_) => {
            "the server sends something other than TLS; is this the port of https?"
        }
        Error::NoApplicationProtocol => "the server offers neither HTTP/2 nor HTTP/1.1",
        Error::NoCertificatesPresented => "the server sent no certificate",
        Error::PeerMisbehaved(_) => "the server violates the protocol",
        Error::PeerSentOversizedRecord => "the server sends a record that is too long",
        _ => NOT_ACCEPTED,
    }
}

/// Returns an alert by its meaning, where a client may meet it, and by its number (RFC 8446
/// section 6).
fn alert_text(alert: AlertDescription) -> String {
    let meaning = match alert {
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateRequired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA => "it requires a certificate of the client, or another one",
        AlertDescription::DecodeError | AlertDescription::IllegalParameter => {
            "it can't read the client's message"
        }
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "no algorithms in common"
        }
        AlertDescription::InternalError => "internal error",
        AlertDescription::NoApplicationProtocol => "it offers neither HTTP/2 nor HTTP/1.1",
        AlertDescription::ProtocolVersion => "no protocol version in common",
        AlertDescription::UnrecognisedName => "it does not know the name",
        _ => return format!("alert {}", u8::from(alert)),
    };
    format!("alert {}: {meaning}", u8::from(alert))
}

fn incompatibility(why: &PeerIncompatible) -> &'static str {
    match why {
        PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
        | PeerIncompatible::NoSignatureSchemesInCommon => "no signature algorithms in common",
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher suites in common",
        PeerIncompatible::NoEcPointFormatsInCommon | PeerIncompatible::NoKxGroupsInCommon => {
            "no key exchange in common"
        }
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            "it supports neither TLS 1.3 nor TLS 1.2"
        }
        _ => NOT_ACCEPTED,
    }
}

/// The text of an error that has no words of its own.
const NOT_ACCEPTED: &str = "not accepted";

/// The number of names of a certificate that a message contains. Some have a thousand.
const SHOWN_NAMES: usize = 10;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

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
        assert!(text.contains("signed with an algorithm"), "{text}");
        assert!(!text.contains("134"), "{text}");
        let alert = super::text(&Error::AlertReceived(AlertDescription::HandshakeFailure));
        assert!(alert.contains("alert 40: no algorithms"), "{alert}");
    }

    #[test]
    fn an_error_without_words_is_not_printed_by_its_name() {
        let general = Error::General("unexpected_error".to_owned());
        assert_eq!(text(&general), NOT_ACCEPTED);
        let other = OtherError(Arc::new(std::io::Error::other("no such thing")));
        assert_eq!(statement(&CertificateError::Other(other)), NOT_ACCEPTED);
    }
}
