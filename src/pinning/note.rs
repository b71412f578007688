//! [`Pinning::note`], the changes of the store by a `Public-Key-Pins` header.

use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::pinning::evaluation::Decision;
use crate::pinning::handle::{Pinning, ensure_applies_to};
use crate::pinning::noting::{HeaderEffect, IgnoreReason, Noted, RemovalReason};
use crate::policy::{AnchorOrigin, Host, HostMatch, KnownPinnedHost, PinHeader, PinSet, timestamp};
use crate::store::{DurableFuture, Inserted};

impl Pinning {
    /// Notes the pins of a `Public-Key-Pins` header that `host` sent at `now` over a connection
    /// with this validated chain (RFC 7469 sections 2.3 and 2.5).
    ///
    /// The chain is evaluated again with the current pins, at `now`. For a header that must not be
    /// noted, the result is [`Noted::Ignored`] with the reason, and the store is unchanged.
    ///
    /// The change takes effect in memory at once. The future of
    /// [`PinStore::durable`](crate::PinStore::durable) resolves once a crash can't undo it.
    pub fn note(
        &self,
        host: &Host,
        header: &PinHeader,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Noted {
        self.note_durably(host, header, chain, now).0
    }

    /// The same as [`note`](Self::note). Also returns a future that resolves once the state of the
    /// host is durable, even if another response changed it; `None` if it is durable already.
    pub(crate) fn note_durably(
        &self,
        host: &Host,
        header: &PinHeader,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> (Noted, Option<DurableFuture>) {
        let try_note = || self.try_note(host, header, chain, now);
        let (noted, is_refresh) = match self.shared.store.note(try_note) {
            Ok(Effect::Added) => (Noted::Added, false),
            Ok(Effect::Changed) => (Noted::Refreshed, false),
            Ok(Effect::Refreshed) => (Noted::Refreshed, true),
            Ok(Effect::Removed(reason)) => (Noted::Removed(reason), false),
            Err(reason) => (Noted::Ignored(reason), false),
        };
        // After `NotKnown`, the removal of the entry by another response may not be durable yet.
        let may_have_changed = !matches!(&noted, Noted::Ignored(reason)
            if *reason != IgnoreReason::NotKnown);
        let durable = may_have_changed
            .then(|| self.shared.store.urgent())
            .flatten();
        if !is_refresh {
            self.emit_noted(Some(host), &noted);
        }
        (noted, durable)
    }

    /// Call it in [`PinStore::note`](crate::PinStore), one header at a time.
    fn try_note(
        &self,
        host: &Host,
        header: &PinHeader,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Result<Effect, IgnoreReason> {
        self.ensure_may_note(host, chain, now)?;
        match HeaderEffect::of(header, Some(chain.fingerprints())) {
            HeaderEffect::Add => self.add(host, header, now),
            HeaderEffect::Evaluate => Err(IgnoreReason::ReportOnly),
            HeaderEffect::Ignore(reason) => Err(reason),
            HeaderEffect::Remove(reason) => self.remove(host, reason, now),
        }
    }

    /// Returns the reason if no header over this chain may change anything, whatever its
    /// directives.
    fn ensure_may_note(
        &self,
        host: &Host,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Result<(), IgnoreReason> {
        ensure_applies_to(host, chain)?;
        // D-18
        if host.is_single_label() {
            return Err(IgnoreReason::SingleLabel);
        }
        let note_only = self.shared.note_only.as_ref();
        if note_only.is_some_and(|hosts| !hosts.contains(host)) {
            return Err(IgnoreReason::NotAllowed);
        }
        // D-04: a local proxy must neither pin a host nor unpin it.
        if chain.anchor_origin() != AnchorOrigin::BuiltIn {
            return Err(IgnoreReason::AnchorNotBuiltIn(chain.anchor_origin()));
        }
        // 7469-2.5-b(1)
        match self.check(host, chain, now) {
            Decision::NotPinned | Decision::Pass | Decision::ReportOnly(_) => Ok(()),
            Decision::Refuse(_) | Decision::Skipped => Err(IgnoreReason::PinsFailed),
        }
    }

    fn add(&self, host: &Host, header: &PinHeader, now: UnixTime) -> Result<Effect, IgnoreReason> {
        // Otherwise a registry's own site could pin the domains that others have registered there.
        if header.includes_subdomains() && self.shared.store.is_public_suffix(host) {
            return Err(IgnoreReason::PublicSuffix);
        }
        let pins = PinSet::new(header.pins().iter().copied()).map_err(|_| IgnoreReason::NoPins)?;
        let max_age = self.shared.store.cap(header.max_age().unwrap_or_default());
        // 7469-2.3.3-h: a cap of zero counts as if the server had sent max-age=0.
        if max_age.as_secs() == 0 {
            return self.remove(host, RemovalReason::MaxAgeZero, now);
        }
        let expires_at = now.as_secs().saturating_add(max_age.as_secs());
        let entry = KnownPinnedHost {
            host: host.clone(),
            pins,
            includes_subdomains: header.includes_subdomains(),
            // D-09: pins are noted even if violations can't be reported.
            report_uri: header
                .report_uri()
                .filter(|uri| uri.as_str().len() <= MAX_REPORT_URI)
                .cloned(),
            seen_since: now,
            noted_at: now,
            expires_at: timestamp::at(expires_at),
        };
        match self.shared.store.insert(entry) {
            Inserted::Added => Ok(Effect::Added),
            Inserted::Changed => Ok(Effect::Changed),
            Inserted::Refreshed => Ok(Effect::Refreshed),
            Inserted::NotLatest => Err(IgnoreReason::NotLatest),
            Inserted::StoreFull => Err(IgnoreReason::StoreFull),
        }
    }

    fn remove(
        &self,
        host: &Host,
        reason: RemovalReason,
        now: UnixTime,
    ) -> Result<Effect, IgnoreReason> {
        // The connection was not validated against an expired entry, so the sender proved nothing
        // and can't remove it (D-02, D-20). 7469-2.3.3-i: the entry of a superdomain is kept, too.
        match self.shared.store.query(host, now) {
            Some((HostMatch::Congruent, _)) => {
                if self.shared.store.withdraw(host, now) {
                    Ok(Effect::Removed(reason))
                } else {
                    Err(IgnoreReason::NotLatest)
                }
            }
            _ => Err(IgnoreReason::NotKnown),
        }
    }
}

/// The effect of a header on the store.
enum Effect {
    Added,
    /// Other pins or other directives were noted.
    Changed,
    /// The same directives were noted for a later time.
    Refreshed,
    Removed(RemovalReason),
}

/// The limit of bytes of a noted `report-uri`, which fits into a request line that common servers
/// accept. A longer URI is dropped, and the pins are still noted.
const MAX_REPORT_URI: usize = 2048;
