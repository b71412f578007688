//! [`cause`]: what the facts in an error show about the cause of a failed TLS handshake.

use std::error::Error;

use rustls::{CertificateError, InvalidMessage};
use rustls_pki_types::UnixTime;

use crate::policy::timestamp::at;
use crate::store::EARLIEST_TIME;
use crate::tls::error::find;
use crate::violation::{Cause, ClockEvidence, PinViolation, UnverifiablePath, ValidityLimit};

/// Returns what the facts in an error of hyper, hyper-util, reqwest, tokio-rustls or rustls show
/// about the cause of a failed TLS handshake. The error may be at any depth of wrapping.
///
/// A pin violation has the cause that [`PinViolation::cause`] returns. Before pins count, four
/// causes are known: [`Cause::Clock`], [`Cause::NotTls`], [`Cause::OtherName`] and
/// [`Cause::UnknownIssuer`]. For an [`UnverifiablePath`] it is the cause of its
/// [reason](UnverifiablePath::reason).
///
/// Returns `None` for any other error: its text states what is known. That includes an
/// [`UnpinnedHost`](crate::UnpinnedHost), which a rule of the application refuses, whatever the
/// server sends.
///
/// Pass `&error` for the error of such a library, and `&*error` for a boxed error:
///
/// ```
/// use std::error::Error;
///
/// use pinhold::tls;
///
/// fn explain(error: Box<dyn Error>) -> String {
///     match tls::cause(&*error) {
///         Some(cause) => format!("{cause}\nwhat to do: {}", cause.remedy()),
///         None => error.to_string(),
///     }
/// }
/// # assert_eq!(explain("no route to host".into()), "no route to host");
/// ```
#[must_use]
pub fn cause(error: &(dyn Error + 'static)) -> Option<Cause> {
    if let Some(violation) = PinViolation::find(error) {
        return Some(violation.cause().clone());
    }
    if let Some(path) = UnverifiablePath::find(error) {
        return of_rustls(path.reason());
    }
    find(error, &|error| of_rustls(error.downcast_ref()?))
}

fn of_rustls(error: &rustls::Error) -> Option<Cause> {
    match error {
        // The first byte is not the type of a record, or the next ones are no version of TLS.
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => Some(Cause::NotTls),
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        _ => None,
    }
}

fn of_certificate(error: &CertificateError) -> Option<Cause> {
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            Some(clock(*time, ValidityLimit::NotAfter(*not_after)))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            Some(clock(*time, ValidityLimit::NotBefore(*not_before)))
        }
        CertificateError::NotValidForName => Some(Cause::OtherName {
            presented: Vec::new(),
        }),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = presented.iter().take(MAX_NAMES);
            let presented = names.map(|name| escaped_name(name)).collect();
            Some(Cause::OtherName { presented })
        }
        CertificateError::UnknownIssuer => Some(Cause::UnknownIssuer),
        _ => None,
    }
}

fn clock(now: UnixTime, limit: ValidityLimit) -> Cause {
    let gap = match limit {
        ValidityLimit::NotAfter(limit) => now.as_secs().saturating_sub(limit.as_secs()),
        ValidityLimit::NotBefore(limit) => limit.as_secs().saturating_sub(now.as_secs()),
    };
    let evidence = if now.as_secs() < EARLIEST_TIME {
        let release = at(EARLIEST_TIME);
        ClockEvidence::BeforeRelease { release }
    } else if gap > LONGEST_LIFETIME {
        ClockEvidence::BeyondRenewal
    } else {
        ClockEvidence::Undecided
    };
    Cause::Clock {
        now,
        limit,
        evidence,
    }
}

/// Returns a name of a certificate with control characters and quotes escaped. webpki prints names
/// as `DnsName("example.com")` and `IpAddress(192.0.2.1)`, without escaping what the server chose.
fn escaped_name(name: &str) -> String {
    let within = |before, after| name.strip_prefix(before)?.strip_suffix(after);
    let inner = within("DnsName(\"", "\")").or_else(|| within("IpAddress(", ")"));
    let shown = inner.unwrap_or(name).chars().take(MAX_NAME_LENGTH);
    shown.collect::<String>().escape_debug().to_string()
}

/// 398 days in seconds: the longest lifetime of a public certificate since September 2020. The
/// ballot SC-081v3 has shortened it to 200 days in March 2026.
const LONGEST_LIFETIME: u64 = 398 * 24 * 60 * 60;
/// The names that a cause contains: some certificates have a thousand.
const MAX_NAMES: usize = 10;
/// The characters of such a name, the length limit of a DNS name.
const MAX_NAME_LENGTH: usize = 253;

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::AlertDescription;
    use rustls_pki_types::ServerName;

    use super::*;
    use crate::violation::UnpinnedHost;

    const RELEASE: u64 = EARLIEST_TIME;

    fn invalid(error: CertificateError) -> rustls::Error {
        rustls::Error::InvalidCertificate(error)
    }

    fn name() -> ServerName<'static> {
        ServerName::try_from("shop.example").unwrap()
    }

    #[test]
    fn an_error_is_found_at_any_depth() {
        let not_tls = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
        let wrapped = io::Error::other(io::Error::other(not_tls));
        assert_eq!(cause(&wrapped), Some(Cause::NotTls));
    }

    #[test]
    fn a_clock_is_judged_by_the_release_and_by_the_gap() {
        let evidence = |time: u64, limit: ValidityLimit| {
            let error = match limit {
                ValidityLimit::NotAfter(not_after) => CertificateError::ExpiredContext {
                    time: at(time),
                    not_after,
                },
                ValidityLimit::NotBefore(not_before) => CertificateError::NotValidYetContext {
                    time: at(time),
                    not_before,
                },
            };
            match cause(&invalid(error)) {
                Some(Cause::Clock { evidence, .. }) => evidence,
                other => panic!("{other:?}"),
            }
        };
        let release = at(RELEASE);
        let before = ClockEvidence::BeforeRelease { release };
        let after = |time| ValidityLimit::NotAfter(at(time));
        let from = |time| ValidityLimit::NotBefore(at(time));
        for (time, limit, expected) in [
            (RELEASE - 1, from(RELEASE), before),
            (RELEASE, from(RELEASE + 1), ClockEvidence::Undecided),
            (RELEASE - 1, after(0), before),
            (
                RELEASE + LONGEST_LIFETIME,
                after(RELEASE),
                ClockEvidence::Undecided,
            ),
            (
                RELEASE + LONGEST_LIFETIME + 1,
                after(RELEASE),
                ClockEvidence::BeyondRenewal,
            ),
            (RELEASE, from(u64::MAX), ClockEvidence::BeyondRenewal),
        ] {
            assert_eq!(evidence(time, limit), expected, "{time} {limit:?}");
        }
    }

    #[test]
    fn names_are_limited_and_escaped() {
        let mut presented = vec!["DnsName(\"a\"\n\u{202e}\")".to_owned()];
        presented.push("IpAddress(192.0.2.1)".to_owned());
        presented.extend((0..1000).map(|_| format!("DnsName(\"{}\")", "x".repeat(1000))));
        let expected = name();
        let error = CertificateError::NotValidForNameContext {
            expected,
            presented,
        };
        let Some(Cause::OtherName { presented }) = cause(&invalid(error)) else {
            panic!("expected another name");
        };
        assert_eq!(presented.len(), MAX_NAMES);
        assert_eq!(presented[..2], ["a\\\"\\n\\u{202e}", "192.0.2.1"]);
        assert!(presented.iter().all(|name| name.len() <= MAX_NAME_LENGTH));
    }

    #[test]
    fn an_unverifiable_path_has_the_cause_of_its_reason_and_an_unpinned_host_none() {
        let reason = invalid(CertificateError::UnknownIssuer);
        let path = UnverifiablePath::new(&name(), None, Vec::new(), reason).into_rustls();
        assert_eq!(cause(&path), Some(Cause::UnknownIssuer));
        let unpinned = UnpinnedHost::new(&name(), None, true).into_rustls();
        assert_eq!(cause(&unpinned), None);
        for error in [
            rustls::Error::AlertReceived(AlertDescription::HandshakeFailure),
            invalid(CertificateError::Revoked),
            invalid(CertificateError::BadSignature),
        ] {
            assert_eq!(cause(&error), None);
        }
        assert_eq!(cause(&io::Error::other("no route")), None);
    }
}
