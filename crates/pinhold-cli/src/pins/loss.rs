//! [`Loss`], what a format can't say, and [`Losses`], all losses of a conversion.

use std::collections::HashSet;

use pinhold::Host;
use serde_json::{Value, json};

use crate::output::printable;

/// What can't be said, or is not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LossKind {
    /// A pin by another hash than SHA-256 of the public key.
    Algorithm,
    /// A policy with a single pin, which the target refuses.
    Backup,
    Candidate,
    Exempt,
    Expiry,
    /// Groups that must all hold.
    Groups,
    /// A part of the input that has no effect, or that is not understood.
    Ignored,
    /// Which pins apply to a name that several policies cover.
    Overlap,
    PlainHttp,
    /// The ports at which the pins apply.
    Port,
    RefusedKeys,
    ReportOnly,
    /// Endpoints to which violations are reported.
    Reporting,
    /// The position in the chain at which a pin is accepted.
    Role,
    /// The names that a policy covers.
    Scope,
    /// Several hosts where the format applies one.
    SeveralHosts,
    UnpinnedHosts,
    UserAddedRoots,
    /// Validation by the PKI beside the pins.
    Validation,
}

impl LossKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Algorithm => "algorithm",
            Self::Backup => "backup",
            Self::Candidate => "candidate",
            Self::Exempt => "exempt",
            Self::Expiry => "expiry",
            Self::Groups => "groups",
            Self::Ignored => "ignored",
            Self::Overlap => "overlap",
            Self::PlainHttp => "plain-http",
            Self::Port => "port",
            Self::RefusedKeys => "refused-keys",
            Self::ReportOnly => "report-only",
            Self::Reporting => "report-uris",
            Self::Role => "role",
            Self::Scope => "scope",
            Self::SeveralHosts => "several-hosts",
            Self::UnpinnedHosts => "unpinned-hosts",
            Self::UserAddedRoots => "user-added-roots",
            Self::Validation => "validation",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Loss {
    pub(crate) kind: LossKind,
    /// `None` if it concerns the whole file.
    pub(crate) host: Option<Host>,
    /// What is lost, and the consequence.
    pub(crate) detail: String,
}

impl Loss {
    /// Returns the line for this loss.
    pub(crate) fn line(&self) -> String {
        let host = self.host.as_ref().map_or("all hosts", Host::as_str);
        format!("{}: {host}: {}", self.kind.name(), printable(&self.detail))
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "kind": self.kind.name(),
            "host": self.host.as_ref().map(Host::as_str),
            "detail": self.detail,
        })
    }
}

/// Losses in the order in which they were found, equal ones once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses {
    all: Vec<Loss>,
    known: HashSet<Loss>,
}

impl Losses {
    /// Adds a loss of one host.
    pub(crate) fn of(&mut self, host: &Host, kind: LossKind, detail: impl Into<String>) {
        self.add(Some(host.clone()), kind, detail.into());
    }

    /// Adds a loss of the whole file.
    pub(crate) fn of_file(&mut self, kind: LossKind, detail: impl Into<String>) {
        self.add(None, kind, detail.into());
    }

    fn add(&mut self, host: Option<Host>, kind: LossKind, detail: String) {
        let loss = Loss { kind, host, detail };
        if self.known.insert(loss.clone()) {
            self.all.push(loss);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.all.iter()
    }

    pub(crate) fn json(&self) -> Value {
        self.iter().map(Loss::json).collect()
    }
}
