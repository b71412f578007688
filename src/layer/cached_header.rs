//! The last `Public-Key-Pins` field of a connection, parsed: [`CachedHeader`]. Most responses of a
//! connection repeat the field, which is then neither parsed nor noted again.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::pinning::{Noted, Pinning};
use crate::policy::{HeaderError, HeaderSyntax, Host, PinHeader};
use crate::store::DurableFuture;

/// A parsed `Public-Key-Pins` field, and when it was noted. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct CachedHeader {
    field: Arc<Field>,
    /// The generation and the second in which noting the field left its host known.
    noted: Option<(u64, UnixTime)>,
}

#[derive(Debug)]
struct Field {
    /// A copy, since the header value would keep the whole buffer of its response alive.
    value: Box<[u8]>,
    header: PinHeader,
    host: Host,
}

impl CachedHeader {
    /// Parses the field of a response from `host`.
    pub(crate) fn parse(
        value: &[u8],
        host: Host,
        syntax: HeaderSyntax,
    ) -> Result<Self, HeaderError> {
        let field = Field {
            header: PinHeader::parse(value, syntax)?,
            value: value.into(),
            host,
        };
        Ok(Self {
            field: Arc::new(field),
            noted: None,
        })
    }

    pub(crate) fn has_value(&self, value: &[u8]) -> bool {
        *self.field.value == *value
    }

    /// Returns whether the field is small enough to be kept as long as its connection.
    pub(crate) fn is_small(&self) -> bool {
        self.field.value.len() <= MAX_CACHED_HEADER
    }

    /// Returns whether noting the field at `now` would be a refresh that changes nothing: the field
    /// was noted in this second, the pins have not changed since, and the entry is of this second.
    pub(crate) fn is_up_to_date(&self, pinning: &Pinning, now: UnixTime) -> bool {
        // A refresh in another second keeps the generation, and the clock may have been set back,
        // so the time of the entry is compared, too.
        self.noted == Some((pinning.generation().number(), now))
            && pinning.store().is_noted_at(&self.field.host, now)
    }

    /// Notes the field, as [`Pinning::note`] does.
    pub(crate) fn note(
        &mut self,
        pinning: &Pinning,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> (Noted, Option<DurableFuture>) {
        // The number is read before noting, so that it is stale if pins change in the meantime.
        let generation = pinning.generation().number();
        let Field { header, host, .. } = &*self.field;
        let outcome = pinning.note_durably(host, header, chain, now);
        let is_known = matches!(outcome.0, Noted::Added | Noted::Refreshed);
        self.noted = is_known.then_some((generation, now));
        outcome
    }
}

/// In bytes: ten times the length of a usual field with two pins.
pub(crate) const MAX_CACHED_HEADER: usize = 4096;
