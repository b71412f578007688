//! A header in, its outcome out each time that it comes again: [`CachedHeader`].
//!
//! One that has not changed is not parsed again, and not noted again where that would change
//! nothing.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::pinning::{Noted, Pinning};
use crate::policy::{HeaderError, HeaderSyntax, Host, PinHeader};
use crate::store::DurableFuture;

/// The last `Public-Key-Pins` field of a connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct CachedHeader {
    said: Arc<Said>,
    /// In which generation and second noting it left its host known.
    noted: Option<(u64, UnixTime)>,
}

#[derive(Debug)]
struct Said {
    /// A copy: the field is a part of a buffer, which would be kept as a whole.
    value: Box<[u8]>,
    header: PinHeader,
    host: Host,
}

impl CachedHeader {
    /// Parses the field of a response that speaks for this host.
    pub(crate) fn parse(
        value: &[u8],
        host: Host,
        syntax: HeaderSyntax,
    ) -> Result<Self, HeaderError> {
        let said = Said {
            header: PinHeader::parse(value, syntax)?,
            value: value.into(),
            host,
        };
        Ok(Self {
            said: Arc::new(said),
            noted: None,
        })
    }

    /// Whether these are its bytes.
    pub(crate) fn is(&self, value: &[u8]) -> bool {
        *self.said.value == *value
    }

    /// Whether it is small enough to be kept for as long as its connection.
    pub(crate) fn is_small(&self) -> bool {
        self.said.value.len() <= MAX_CACHED_HEADER
    }

    /// Whether noting it at `now` would leave everything as it is, and be a refresh: no verdict has
    /// changed since it was noted in the same second, and the entry is of that second. (A refresh
    /// in another one is no change of verdicts. The clock may have gone there and back.)
    pub(crate) fn stands(&self, pinning: &Pinning, now: UnixTime) -> bool {
        self.noted == Some((pinning.generation().number(), now))
            && pinning.store().is_noted_at(&self.said.host, now)
    }

    /// As [`Pinning::note`].
    pub(crate) fn note(
        &mut self,
        pinning: &Pinning,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> (Noted, Option<DurableFuture>) {
        // Before it is noted: what changes meanwhile makes another one.
        let generation = pinning.generation().number();
        let Said { header, host, .. } = &*self.said;
        let outcome = pinning.note_durably(host, header, chain, now);
        let is_known = matches!(outcome.0, Noted::Added | Noted::Refreshed);
        self.noted = is_known.then_some((generation, now));
        outcome
    }
}

/// Bytes of a header that is kept: ten times a usual one.
pub(crate) const MAX_CACHED_HEADER: usize = 4096;
