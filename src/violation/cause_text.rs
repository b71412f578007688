//! The texts of a [`Cause`]: its statement, and what to do.

use std::fmt;

use rustls_pki_types::UnixTime;

use crate::policy::timestamp::print_capped;
use crate::violation::cause::{Cause, ClockEvidence, ValidityLimit};
use crate::violation::evidence_text::{write_list, write_other_ca, write_path, write_same_ca};

impl Cause {
    /// Returns what to do, in one sentence. No remedy loosens pins or trusts another root: that is
    /// what an attacker who is refused wants to be done.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::AppendedCertificate { .. }
            | Self::ChangedPins { .. }
            | Self::OtherCa { .. }
            | Self::OtherKeys
            | Self::OtherPath { .. }
            | Self::SameCa { .. } => {
                "ask the server's operator over another channel whether the keys seen are the \
                 server's"
            }
            Self::Clock { evidence, .. } => match evidence {
                ClockEvidence::BeforeRelease { .. } => "set the clock of the device",
                ClockEvidence::BeyondRenewal | ClockEvidence::Undecided => {
                    "compare the clock of the device with another one; if it is right, ask the \
                     server's operator to renew the certificate"
                }
            },
            #[cfg(feature = "direct-trust")]
            Self::DirectKeyNotPinned { .. } => {
                "correct the application, whose pins contradict its own certificate or key"
            }
            Self::ExpiredPolicy { .. } => "update the application",
            Self::NotTls | Self::OtherName { .. } => {
                "connect over another network, or log in to this one"
            }
            Self::RefusedKey { .. } => {
                "ask the server's operator for a certificate without these keys"
            }
            Self::UnknownIssuer => {
                "connect over another network; if the server is refused there, too, ask its \
                 operator to check the certificates that it sends"
            }
            Self::UnknownRoot { .. } => {
                "ask the administrator of the device or network where the root comes from, and \
                 connect without what it belongs to"
            }
            Self::UserAddedRoot { .. } => {
                "connect without the proxy or scanner that the root belongs to"
            }
            Self::WrongHash { .. } => "replace the pin by that of the key",
        }
    }
}

/// Writes the statement in one line.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppendedCertificate { key } => write!(f, "{APPENDED} {key}, {UNRELATED}"),
            Self::ChangedPins { accepted_at } => {
                let at = print_capped(*accepted_at);
                write!(f, "changed pins: the same keys were accepted on {at}")
            }
            Self::Clock {
                now,
                limit,
                evidence,
            } => write_clock(*now, *limit, *evidence, f),
            #[cfg(feature = "direct-trust")]
            Self::DirectKeyNotPinned { key } => {
                write!(f, "contradicting configuration: {key} {TRUSTED_DIRECTLY}")
            }
            Self::ExpiredPolicy {
                expired_at,
                now,
                is_pinned_key_present,
            } => write_expired(*expired_at, *now, *is_pinned_key_present, f),
            Self::NotTls => f.write_str(NOT_TLS),
            Self::OtherCa {
                expected,
                seen,
                accepted_at,
                other_pins,
            } => write_other_ca(expected, seen, *accepted_at, *other_pins, f),
            Self::OtherKeys => f.write_str(OTHER_KEYS),
            Self::OtherName { presented } => write_names(presented, f),
            Self::OtherPath { evidence } => write_path(evidence, f),
            Self::RefusedKey { keys } => {
                f.write_str("refused key: the application refuses ")?;
                write_list(keys.iter(), f)
            }
            Self::SameCa { ca, evidence } => write_same_ca(ca, evidence, f),
            Self::UnknownIssuer => f.write_str(UNKNOWN_ISSUER),
            Self::UnknownRoot { key } => write!(f, "{UNKNOWN_ROOT} {key}, {NOT_LISTED}"),
            Self::UserAddedRoot { key } => write!(f, "{USER_ADDED_ROOT} {key}, {ENFORCED}"),
            Self::WrongHash { pin, key } => write!(f, "wrong kind of pin: {pin} {NO_KEY} {key}"),
        }
    }
}

fn write_expired(
    expired_at: Option<UnixTime>,
    now: UnixTime,
    is_pinned_key_present: bool,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.write_str("expired policy: the pins expired")?;
    if let Some(at) = expired_at {
        write!(f, " on {}", print_capped(at))?;
    }
    let verb = if is_pinned_key_present {
        "has"
    } else {
        "lacks"
    };
    let now = print_capped(now);
    write!(
        f,
        ", and it is {now} on the device; the chain {verb} the pinned keys"
    )
}

fn write_names(presented: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("other name: the certificate is for ")?;
    if presented.is_empty() {
        f.write_str("no name")?;
    }
    write_list(presented.iter().map(|name| format!("\"{name}\"")), f)?;
    f.write_str(", as from a captive portal or a server without one for this name")
}

fn write_clock(
    now: UnixTime,
    limit: ValidityLimit,
    evidence: ClockEvidence,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let (verb, limit) = match limit {
        ValidityLimit::NotAfter(limit) => ("expired on", limit),
        ValidityLimit::NotBefore(limit) => ("is valid from", limit),
    };
    let days = now.as_secs().abs_diff(limit.as_secs()) / (24 * 60 * 60);
    let (now, limit) = (print_capped(now), print_capped(limit));
    write!(
        f,
        "clock or certificate: a certificate {verb} {limit}, {days} days from the device's time \
         {now}; "
    )?;
    match evidence {
        ClockEvidence::BeforeRelease { release } => write!(
            f,
            "the clock is wrong, since this software was released on {}",
            print_capped(release)
        ),
        ClockEvidence::BeyondRenewal => f.write_str("a late renewal does not explain so many"),
        ClockEvidence::Undecided => f.write_str("either of them may be wrong"),
    }
}

const APPENDED: &str = "appended certificate: the server also sent one with the pinned key";
const UNRELATED: &str = "which no signature relates to the validated chain, and which proves \
                         nothing";
const NOT_TLS: &str = "no TLS: the answer is not TLS, as from a captive portal or a port of another \
                       protocol";
const OTHER_KEYS: &str = "other keys: the server changed its keys or CA, or its certificate was \
                          issued to another party; nothing shows which";
#[cfg(feature = "direct-trust")]
const TRUSTED_DIRECTLY: &str = "is the key that the application trusts directly, and its pins lack \
                                that key";
const UNKNOWN_ISSUER: &str = "unknown issuer: no path leads to a trusted root, as with an \
                              interception, a captive portal, or a server that does not send its \
                              intermediate certificates";
const UNKNOWN_ROOT: &str = "root of unknown origin: the chain ends in";
const NOT_LISTED: &str = "which is in no list of known roots; the platform's store, \
                          `SSL_CERT_FILE` or the application contains it";
const USER_ADDED_ROOT: &str = "user-added root: the chain ends in";
const ENFORCED: &str = "which the user or administrator added, and the policy enforces its pins \
                        there";
const NO_KEY: &str = "is the SHA-256 of a certificate of the chain, not of its key, whose pin is";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::SpkiFingerprint;
    use crate::policy::timestamp::at;
    use crate::violation::cause::{BuiltInRoot, CaEvidence, PathEvidence};

    fn root(organisation: &str) -> BuiltInRoot {
        BuiltInRoot {
            key: key(1),
            subject: format!("O={organisation}"),
            organisation: organisation.to_owned(),
        }
    }

    fn key(byte: u8) -> SpkiFingerprint {
        SpkiFingerprint::from_digest([byte; 32])
    }

    fn clock(evidence: ClockEvidence) -> Cause {
        Cause::Clock {
            now: at(86_400),
            limit: ValidityLimit::NotBefore(at(864_000)),
            evidence,
        }
    }

    fn other_ca(accepted_at: Option<UnixTime>) -> Cause {
        Cause::OtherCa {
            expected: vec![root("One"), root("Two"), root("One")],
            seen: root("Three"),
            accepted_at,
            other_pins: usize::from(accepted_at.is_none()),
        }
    }

    fn same_ca(evidence: CaEvidence) -> Cause {
        Cause::SameCa {
            ca: key(2),
            evidence,
        }
    }

    /// A cause with its identifier and with parts of its statement.
    type Row = (Cause, &'static str, &'static [&'static str]);

    fn causes() -> impl Iterator<Item = Row> {
        let all = [first_causes(), paths(), last_causes()];
        all.into_iter().flatten()
    }

    fn first_causes() -> Vec<Row> {
        let (one, at_1, release) = (key(1), at(1), at(700_000));
        let presented = vec!["a".to_owned(), "b".to_owned()];
        vec![
            (
                Cause::AppendedCertificate { key: one },
                "appended-certificate",
                &["AQEB"],
            ),
            (
                Cause::ChangedPins { accepted_at: at_1 },
                "changed-pins",
                &["1970-01-01T00:00:01Z"],
            ),
            (
                clock(ClockEvidence::BeforeRelease { release }),
                "clock",
                &[
                    "9 days",
                    "1970-01-02T",
                    "1970-01-11T",
                    "the clock is wrong",
                    "1970-01-09T",
                ],
            ),
            (
                clock(ClockEvidence::BeyondRenewal),
                "clock",
                &["a late renewal does not"],
            ),
            (clock(ClockEvidence::Undecided), "clock", &["either"]),
            (Cause::NotTls, "not-tls", &["captive portal"]),
            (
                other_ca(None),
                "other-ca",
                &[
                    "\"Three\"",
                    "of \"One\", \"Two\"; the operator of the other",
                ],
            ),
            (
                other_ca(Some(at_1)),
                "other-ca",
                &["accepted on 1970-01-01T00:00:01Z"],
            ),
            (
                Cause::OtherName { presented },
                "other-name",
                &["\"a\", \"b\""],
            ),
        ]
    }

    fn paths() -> Vec<Row> {
        let (one, at_1) = (key(1), at(1));
        let same_operator = PathEvidence::SameOperator {
            expected: root("One"),
            seen: root("One"),
            accepted_at: None,
        };
        let path = |evidence| Cause::OtherPath { evidence };
        vec![
            (
                path(PathEvidence::Accepted { at: at_1 }),
                "other-path",
                &["through other CAs"],
            ),
            (
                path(PathEvidence::CrossSigned { pinned: one }),
                "other-path",
                &["signed", "AQEB"],
            ),
            (
                path(PathEvidence::IssuedPinned {
                    ca: one,
                    pinned: key(2),
                }),
                "other-path",
                &["above the issuer", "AQEB", "AgIC"],
            ),
            (
                path(PathEvidence::PinnedCa { ca: one }),
                "other-path",
                &["lacks another pinned CA", "AQEB"],
            ),
            (
                path(PathEvidence::PinnedLeaf { leaf: one }),
                "other-path",
                &["lacks a pinned CA", "AQEB"],
            ),
            (
                path(same_operator),
                "other-path",
                &["\"One\"", "the pinned one, \"O=One\""],
            ),
        ]
    }

    fn last_causes() -> Vec<Row> {
        let (one, at_1) = (key(1), at(1));
        let keys = vec![key(1), key(2)];
        vec![
            (
                Cause::RefusedKey { keys },
                "refused-key",
                &["AQEB", ", sha256/AgIC"],
            ),
            (
                same_ca(CaEvidence::Accepted {
                    leaf: one,
                    at: at_1,
                }),
                "same-ca",
                &["a rotation or a mis-issuance", "AQEB", "1970", "AgIC"],
            ),
            (
                same_ca(CaEvidence::IssuedPinned { pinned: one }),
                "same-ca",
                &["AgIC", "AQEB"],
            ),
            (same_ca(CaEvidence::Pinned), "same-ca", &["is pinned"]),
            (Cause::OtherKeys, "other-keys", &["nothing shows which"]),
            (Cause::UnknownIssuer, "unknown-issuer", &["no path"]),
            (
                Cause::UnknownRoot { key: one },
                "unknown-root",
                &["unknown origin", "AQEB"],
            ),
            #[cfg(feature = "direct-trust")]
            (
                Cause::DirectKeyNotPinned { key: one },
                "direct-key-not-pinned",
                &["contradicting", "AQEB"],
            ),
            (
                Cause::UserAddedRoot { key: one },
                "user-added-root",
                &["administrator", "AQEB"],
            ),
            (
                Cause::WrongHash {
                    pin: one,
                    key: key(2),
                },
                "wrong-hash",
                &["AQEB", "AgIC"],
            ),
        ]
    }

    #[test]
    fn each_cause_states_its_evidence_in_one_line() {
        for (cause, id, parts) in causes() {
            assert_eq!(cause.id(), id);
            let statement = cause.to_string();
            for part in parts {
                assert!(statement.contains(part), "{part}: {statement}");
            }
            assert!(!statement.contains('\n'), "{statement}");
        }
    }

    #[test]
    fn no_remedy_loosens_pins_or_adds_a_root() {
        for (cause, ..) in causes() {
            let remedy = cause.remedy();
            let words = [
                "add", "trust", "skip", "forget", "remove", "disable", "pin the",
            ];
            for word in words {
                assert!(!remedy.contains(word), "{word}: {remedy}");
            }
        }
    }

    #[test]
    fn an_expired_policy_states_whether_its_keys_are_present() {
        for (is_pinned_key_present, part) in [(true, "has the"), (false, "lacks the")] {
            let cause = Cause::ExpiredPolicy {
                expired_at: Some(at(1)),
                now: at(2),
                is_pinned_key_present,
            };
            assert!(cause.to_string().contains(part), "{cause}");
        }
    }
}
