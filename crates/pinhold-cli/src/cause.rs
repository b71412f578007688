//! The cause of a refusal or a failed handshake in JSON.

use pinhold::SpkiFingerprint;
use pinhold::rustls::pki_types::UnixTime;
use pinhold::tls::{BuiltInRoot, CaEvidence, Cause, ClockEvidence, PathEvidence, ValidityLimit};
use serde_json::{Value, json};

use crate::rfc3339;

/// Returns a cause with its statement and its evidence.
pub(crate) fn cause_json(cause: &Cause) -> Value {
    let mut object = evidence(cause);
    if let Value::Object(fields) = &mut object {
        fields.insert("id".to_owned(), json!(cause.id()));
        fields.insert("statement".to_owned(), json!(cause.to_string()));
    }
    object
}

fn evidence(cause: &Cause) -> Value {
    match cause {
        Cause::AppendedCertificate { key }
        | Cause::UnknownRoot { key }
        | Cause::UserAddedRoot { key } => json!({ "key": key.to_string() }),
        Cause::ChangedPins { accepted_at } => json!({ "accepted_at": time(*accepted_at) }),
        Cause::Clock {
            now,
            limit,
            evidence,
        } => clock(*now, *limit, *evidence),
        Cause::ExpiredPolicy {
            expired_at,
            now,
            is_pinned_key_present,
        } => json!({
            "expired_at": expired_at.map(time),
            "now": time(*now),
            "pinned_key_present": is_pinned_key_present,
        }),
        Cause::OtherCa {
            expected,
            seen,
            accepted_at,
            other_pins,
        } => json!({
            "expected": expected.iter().map(root).collect::<Vec<_>>(),
            "seen": root(seen),
            "accepted_at": accepted_at.map(time),
            "other_pins": other_pins,
        }),
        Cause::OtherName { presented } => json!({ "presented": presented }),
        Cause::OtherPath { evidence } => path(evidence),
        Cause::RefusedKey { keys } => json!({ "keys": texts(keys) }),
        Cause::SameCa { ca, evidence } => same_ca(ca, evidence),
        Cause::WrongHash { pin, key } => {
            json!({ "pin": pin.to_string(), "key": key.to_string() })
        }
        _ => json!({}),
    }
}

fn clock(now: UnixTime, limit: ValidityLimit, evidence: ClockEvidence) -> Value {
    let (not_before, not_after) = match limit {
        ValidityLimit::NotBefore(limit) => (Some(limit), None),
        ValidityLimit::NotAfter(limit) => (None, Some(limit)),
        _ => (None, None),
    };
    let (release, judgement) = match evidence {
        ClockEvidence::BeforeRelease { release } => (Some(release), "before-release"),
        ClockEvidence::BeyondRenewal => (None, "beyond-renewal"),
        _ => (None, "undecided"),
    };
    json!({
        "now": time(now),
        "not_before": not_before.map(time),
        "not_after": not_after.map(time),
        "release": release.map(time),
        "evidence": judgement,
    })
}

fn path(evidence: &PathEvidence) -> Value {
    match evidence {
        PathEvidence::Accepted { at } => {
            json!({ "evidence": "accepted", "accepted_at": time(*at) })
        }
        PathEvidence::CrossSigned { pinned } => {
            json!({ "evidence": "cross-signed", "pinned": pinned.to_string() })
        }
        PathEvidence::IssuedPinned { ca, pinned } => json!({
            "evidence": "issued-pinned",
            "ca": ca.to_string(),
            "pinned": pinned.to_string(),
        }),
        PathEvidence::PinnedCa { ca } => {
            json!({ "evidence": "pinned-ca", "ca": ca.to_string() })
        }
        PathEvidence::PinnedLeaf { leaf } => {
            json!({ "evidence": "pinned-leaf", "leaf": leaf.to_string() })
        }
        PathEvidence::SameOperator {
            expected,
            seen,
            accepted_at,
        } => json!({
            "evidence": "same-operator",
            "expected": [root(expected)],
            "seen": root(seen),
            "accepted_at": accepted_at.map(time),
        }),
        _ => json!({}),
    }
}

fn same_ca(ca: &SpkiFingerprint, evidence: &CaEvidence) -> Value {
    let ca = ca.to_string();
    match evidence {
        CaEvidence::Accepted { leaf, at } => json!({
            "ca": ca,
            "evidence": "accepted",
            "leaf": leaf.to_string(),
            "accepted_at": time(*at),
        }),
        CaEvidence::IssuedPinned { pinned } => json!({
            "ca": ca,
            "evidence": "issued-pinned",
            "pinned": pinned.to_string(),
        }),
        CaEvidence::Pinned => json!({ "ca": ca, "evidence": "pinned" }),
        _ => json!({ "ca": ca }),
    }
}

fn root(root: &BuiltInRoot) -> Value {
    json!({
        "fingerprint": root.key.to_string(),
        "subject": root.subject,
        "organization": root.organisation,
    })
}

fn texts(keys: &[SpkiFingerprint]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

fn time(time: UnixTime) -> String {
    rfc3339::print(time)
}
