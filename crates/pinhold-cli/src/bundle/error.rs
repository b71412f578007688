//! The words for why a bundle or a root is refused.

use pinhold::bundle::{BundleError, RootError};

use crate::failure::Failure;

/// Returns the text of an error, without the words that the subject of the message repeats.
pub(super) fn of_bundle(error: &BundleError) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("pin bundle refused: ").unwrap_or(&text);
    match error {
        BundleError::Signatures { .. } => format!(
            "{text}\n  what to do: compare `pinhold bundle show` with the root; add signatures by \
             `sign` or `attach`"
        ),
        BundleError::NotNewestRoot { .. } => format!(
            "{text}\n  what to do: sign a bundle with the newest root, and the chain to it in \
             `--roots`"
        ),
        _ => text.to_owned(),
    }
}

/// Returns the failure of a bundle that a client refuses.
pub(super) fn refused(subject: &str, error: &BundleError) -> Failure {
    Failure::Bundle {
        subject: subject.to_owned(),
        reason: reason(error),
        detail: of_bundle(error),
    }
}

/// Returns the failure of a root that a client refuses.
pub(super) fn refused_root(subject: &str, error: &RootError) -> Failure {
    Failure::Bundle {
        subject: subject.to_owned(),
        reason: reason_of_root(error),
        detail: error.to_string(),
    }
}

fn reason(error: &BundleError) -> &'static str {
    match error {
        BundleError::BadSignature { .. } => "bad-signature",
        BundleError::Body(_) => "unreadable",
        BundleError::Critical { .. } => "critical",
        BundleError::Exemption { .. } => "exemption",
        BundleError::Expiry { .. } => "expiry",
        BundleError::Intermediate { .. } => "intermediate",
        BundleError::KillSwitch { .. } => "kill-switch",
        BundleError::Note(_) => "not-a-note",
        BundleError::NotNewestRoot { .. } => "not-newest-root",
        BundleError::Root { .. } => "root",
        BundleError::RootGap { .. } => "root-gap",
        BundleError::Signatures { .. } => "signatures",
        BundleError::Staging { .. } => "staging",
        BundleError::SuspendsOther { .. } => "suspends-other",
        BundleError::TooLarge { .. } => "too-large",
        BundleError::UnionOfGroups { .. } => "union-of-groups",
        _ => "other",
    }
}

fn reason_of_root(error: &RootError) -> &'static str {
    match error {
        RootError::BadSignature { .. } => "bad-signature",
        RootError::Signatures { .. } => "signatures",
        _ => "root",
    }
}
