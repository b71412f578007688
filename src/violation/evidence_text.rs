//! The texts of the evidence for the CA and the path of a chain, and of lists.

use std::fmt;

use rustls_pki_types::UnixTime;

use crate::policy::SpkiFingerprint;
use crate::policy::timestamp::print_capped;
use crate::violation::cause::{BuiltInRoot, CaEvidence, PathEvidence};

pub(crate) fn write_same_ca(
    ca: &SpkiFingerprint,
    evidence: &CaEvidence,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.write_str("same CA, new key (a rotation or a mis-issuance): ")?;
    match evidence {
        CaEvidence::Accepted { leaf, at } => {
            let at = print_capped(*at);
            write!(f, "{leaf} was accepted on {at} below the same CA key {ca}")
        }
        CaEvidence::IssuedPinned { pinned } => write!(
            f,
            "the CA key {ca} also issued the served certificate with the pinned key {pinned}"
        ),
        CaEvidence::Pinned => write!(f, "the CA key {ca} is pinned, the key of the leaf is not"),
    }
}

pub(crate) fn write_other_ca(
    expected: &[BuiltInRoot],
    seen: &BuiltInRoot,
    accepted_at: Option<UnixTime>,
    other_pins: usize,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut operators = expected
        .iter()
        .map(|root| format!("\"{}\"", root.organisation))
        .collect::<Vec<_>>();
    operators.sort_unstable();
    operators.dedup();
    let seen = &seen.organisation;
    write!(
        f,
        "other CA operator: the chain ends in a root of \"{seen}\", "
    )?;
    match accepted_at {
        Some(at) => {
            let at = print_capped(at);
            write!(f, "the one accepted on {at} in one of ")?;
        }
        None => f.write_str("the pinned root is of ")?,
    }
    write_list(operators.iter(), f)?;
    match other_pins {
        0 => Ok(()),
        1 => f.write_str("; the operator of the other pin is not known"),
        others => write!(
            f,
            "; the operators of the other {others} pins are not known"
        ),
    }
}

pub(crate) fn write_path(evidence: &PathEvidence, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("other path or cross-sign: ")?;
    match evidence {
        PathEvidence::Accepted { at } => write!(
            f,
            "the key of the leaf was accepted on {} through other CAs",
            print_capped(*at)
        ),
        PathEvidence::CrossSigned { pinned } => write!(
            f,
            "the pinned key {pinned} signed a certificate of a CA of the chain, but is on no valid path"
        ),
        PathEvidence::IssuedPinned { ca, pinned } => write!(
            f,
            "the CA key {ca}, above the issuer of the leaf, also issued the served certificate with \
             the pinned key {pinned}"
        ),
        PathEvidence::PinnedCa { ca } => write!(
            f,
            "the CA key {ca} is pinned, but the chain lacks another pinned CA"
        ),
        PathEvidence::PinnedLeaf { leaf } => write!(
            f,
            "the key of the leaf, {leaf}, is pinned, but the chain lacks a pinned CA"
        ),
        PathEvidence::SameOperator {
            expected,
            seen,
            accepted_at,
        } => {
            let (operator, seen, expected) = (&seen.organisation, &seen.subject, &expected.subject);
            write!(
                f,
                "\"{operator}\" operates the root of the chain, \"{seen}\", and "
            )?;
            match accepted_at {
                Some(at) => {
                    write!(f, "that of one accepted on {}, ", print_capped(*at))?;
                }
                None => f.write_str("the pinned one, ")?,
            }
            write!(f, "\"{expected}\"")
        }
    }
}

pub(crate) fn write_list<T: fmt::Display>(
    items: impl Iterator<Item = T>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for (index, item) in items.enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(f, "{separator}{item}")?;
    }
    Ok(())
}
