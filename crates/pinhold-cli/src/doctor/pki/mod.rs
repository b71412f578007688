//! [`PkiData`], a dated snapshot of facts about CAs: operators, roots, intermediates, and announced
//! events.

mod member;
mod read;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

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
    services: Vec<Service>,
}

/// An organisation that runs CAs under one control.
pub(super) struct Operator {
    pub(super) name: String,
    /// The issuer domain names by which CAA records permit it, in lower case. Empty if they are not
    /// known.
    pub(super) caa: Vec<String>,
}

/// A key of a CA. Several certificates may have it, by other issuers.
pub(super) struct CaKey {
    /// The common name, or another part of the subject if that is more specific.
    pub(super) name: String,
    pub(super) operator: String,
    pub(super) kind: CaKind,
    /// The programmes that list it as a root for TLS at the date of the data.
    pub(super) stores: Vec<RootProgramme>,
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

/// A programme whose list of roots clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RootProgramme {
    Chrome,
    Mozilla,
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

/// A hosting service that chooses the CA of its customers.
pub(super) struct Service {
    pub(super) name: String,
    pub(super) statement: Statement,
}

impl PkiData {
    /// Reads the file of `--pki-data`, or the data that is compiled in.
    pub(super) fn load(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = file else {
            return Self::parse(COMPILED_IN, "compiled in");
        };
        let name = file.display().to_string();
        let open = File::open(file).and_then(|file| {
            let mut json = Vec::new();
            file.take(MAX_SIZE + 1).read_to_end(&mut json)?;
            Ok(json)
        });
        let json = open.map_err(|error| Failure::input(&name, error))?;
        if u64::try_from(json.len()).is_ok_and(|size| size > MAX_SIZE) {
            let limit = MAX_SIZE >> 20;
            let reason = format!("larger than {limit} MiB, expected facts about CAs");
            return Err(Failure::input(&name, reason));
        }
        Self::parse(&json, &name)
    }

    /// Parses facts about CAs.
    ///
    /// # Errors
    ///
    /// Names the source, the place in it, and what is expected there.
    pub(super) fn parse(json: &[u8], source: &str) -> Result<Self, Failure> {
        read::parse(json, source).map_err(|reason| Failure::input(source, reason))
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

    /// Returns the operator of this name, as [`CaKey::operator`] gives it.
    pub(super) fn operator(&self, name: &str) -> Option<&Operator> {
        let mut operators = self.operators.iter();
        operators.find(|operator| operator.name == name)
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

    /// Returns the hosting services that may change the CA of a name.
    pub(super) fn services(&self) -> &[Service] {
        &self.services
    }
}

/// The snapshot that `examples/make_pki_data` made.
const COMPILED_IN: &[u8] = include_bytes!("../../../data/pki.json");

/// The largest file of `--pki-data`, in bytes.
const MAX_SIZE: u64 = 16 << 20;
