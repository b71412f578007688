//! [`PkiData`], a dated snapshot of facts about CAs: operators, roots, intermediates, and announced
//! events.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use pinhold::SpkiFingerprint;
use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{Certainty, DataAge};
use crate::failure::Failure;

pub(super) struct PkiData {
    date: UnixTime,
    source: String,
    operators: Vec<Operator>,
    by_key: HashMap<SpkiFingerprint, CaKey>,
    /// The longest lifetime of a leaf certificate that is issued from a date on, by that date.
    lifetimes: Vec<Lifetime>,
    programme_dates: Vec<ProgrammeDate>,
}

/// An organisation that runs CAs under one control.
pub(super) struct Operator {
    pub(super) name: String,
    /// The issuer domain names by which CAA records permit it, in lower case.
    pub(super) caa: Vec<String>,
}

/// A key of a CA. Several certificates may have it, by other issuers.
pub(super) struct CaKey {
    /// The common name.
    pub(super) name: String,
    pub(super) operator: String,
    pub(super) kind: CaKind,
    /// The certificates with this key, of which each is signed by another key or by this one.
    pub(super) certificates: Vec<CaCertificate>,
    /// What happens to the key, by date.
    pub(super) events: Vec<CaEvent>,
    /// Why its operator may replace it without an announcement, and the source of that statement.
    pub(super) rotates: Option<Statement>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaKind {
    Intermediate,
    Root,
}

pub(super) struct CaCertificate {
    /// The key of the issuer, if it is known. Equal to the own key for a self-signed root.
    pub(super) issuer: Option<SpkiFingerprint>,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
}

/// Something that happens to a key at a date.
pub(super) struct CaEvent {
    pub(super) at: UnixTime,
    pub(super) kind: CaEventKind,
    pub(super) certainty: Certainty,
    pub(super) statement: Statement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaEventKind {
    /// Chrome accepts no certificate below it whose SCTs are later (`SCTNotAfter`).
    ChromeSctNotAfter,
    /// A cross-sign of it ends, is revoked or replaced.
    CrossSignEnds,
    /// It leaves the list of Chrome.
    LeavesChrome,
    /// It leaves the list of Mozilla, by an announcement or by the 15-year rule.
    LeavesMozilla,
    /// Its operator issues from other keys from this date on.
    Replaced,
}

/// A published fact.
#[derive(Clone)]
pub(super) struct Statement {
    /// One sentence without its full stop.
    pub(super) text: String,
    /// An address, or the name of a document.
    pub(super) source: String,
    /// When it was published. A judgement of an earlier time must not use it.
    pub(super) published: UnixTime,
}

/// The longest lifetime of a leaf that is issued from a date on.
pub(super) struct Lifetime {
    pub(super) from: UnixTime,
    pub(super) days: u64,
    pub(super) statement: Statement,
}

/// A date from which on a root programme or the CA/Browser Forum requires something of all CAs.
pub(super) struct ProgrammeDate {
    pub(super) at: UnixTime,
    pub(super) statement: Statement,
}

impl PkiData {
    /// Reads the file of `--pki-data`, or the data that is compiled in.
    pub(super) fn load(_file: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self {
            date: UnixTime::since_unix_epoch(Duration::ZERO),
            source: "compiled in".to_owned(),
            operators: Vec::new(),
            by_key: HashMap::new(),
            lifetimes: Vec::new(),
            programme_dates: Vec::new(),
        })
    }

    pub(super) fn age(&self, at: UnixTime) -> DataAge {
        DataAge {
            date: self.date,
            source: self.source.clone(),
            days: at.as_secs().saturating_sub(self.date.as_secs()) / 86_400,
        }
    }

    /// Returns what is known of a key.
    pub(super) fn key(&self, key: &SpkiFingerprint) -> Option<&CaKey> {
        self.by_key.get(key)
    }

    pub(super) fn operator(&self, name: &str) -> Option<&Operator> {
        self.operators.iter().find(|operator| operator.name == name)
    }

    /// Returns the operators that a CAA issuer domain name permits.
    pub(super) fn permitted_by<'a>(
        &'a self,
        issuer_domain: &'a str,
    ) -> impl Iterator<Item = &'a Operator> {
        let operators = self.operators.iter();
        operators.filter(move |operator| operator.caa.iter().any(|name| name == issuer_domain))
    }

    /// Returns the longest lifetime of a leaf that is issued at this time, in days.
    pub(super) fn longest_lifetime(&self, at: UnixTime) -> Option<u64> {
        let begun = self.lifetimes.iter().filter(|it| it.from <= at);
        begun.max_by_key(|it| it.from).map(|it| it.days)
    }

    /// Returns all limits of lifetimes, by date.
    pub(super) fn lifetimes(&self) -> &[Lifetime] {
        &self.lifetimes
    }

    /// Returns what is required of all CAs, by date.
    pub(super) fn programme_dates(&self) -> &[ProgrammeDate] {
        &self.programme_dates
    }
}
