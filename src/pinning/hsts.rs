//! [`Pinning::note_hsts`], and which hosts are known HSTS hosts.

#[cfg(feature = "hyper")]
use http::Uri;
use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::hsts::{HstsIgnored, HstsNoted, HstsOptions, KnownHstsHost, StsHeader};
#[cfg(feature = "hyper")]
use crate::hsts::{plain_host, to_https};
use crate::pinning::evaluation::Decision;
use crate::pinning::handle::{Pinning, ensure_applies_to};
use crate::pinning::noting::IgnoreReason;
use crate::policy::{AnchorOrigin, Host, timestamp};

impl Pinning {
    /// Returns whether `host` is a known HSTS host at `now` (RFC 6797 section 8.2), by a noted field
    /// or by the preload list. Never, unless [`hsts`](crate::PinningBuilder::hsts) was called.
    #[must_use]
    pub fn is_hsts_host(&self, host: &Host, now: UnixTime) -> bool {
        let Some(HstsOptions { preload, .. }) = &self.shared.hsts else {
            return false;
        };
        let is_preloaded = preload
            .as_ref()
            .is_some_and(|list| list.query(host).is_some());
        is_preloaded || self.shared.store.query_hsts(host, now).is_some()
    }

    /// Notes a `Strict-Transport-Security` field that `host` sent at `now` over a connection with this
    /// validated chain (RFC 6797 section 8.1). As for pins, a chain to a root that is not built in
    /// notes and removes nothing. `includeSubDomains` of a single label or of a public suffix is
    /// ignored. `max-age=0` removes the entry of exactly this host; a preloaded host stays known.
    pub fn note_hsts(
        &self,
        host: &Host,
        header: StsHeader,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> HstsNoted {
        let noted = || self.try_note_hsts(host, header, chain, now);
        self.shared
            .store
            .note(noted)
            .unwrap_or_else(HstsNoted::Ignored)
    }

    fn try_note_hsts(
        &self,
        host: &Host,
        header: StsHeader,
        chain: &ValidatedChain,
        now: UnixTime,
    ) -> Result<HstsNoted, HstsIgnored> {
        let options = self.shared.hsts.as_ref().ok_or(HstsIgnored::Off)?;
        ensure_applies_to(host, chain).map_err(|reason| match reason {
            IgnoreReason::HandshakeNotVerified => HstsIgnored::HandshakeNotVerified,
            _ => HstsIgnored::OtherHost,
        })?;
        let note_only = self.shared.note_only.as_ref();
        if note_only.is_some_and(|hosts| !hosts.contains(host)) {
            return Err(HstsIgnored::NotAllowed);
        }
        // D-04
        if chain.anchor_origin() != AnchorOrigin::BuiltIn {
            return Err(HstsIgnored::AnchorNotBuiltIn(chain.anchor_origin()));
        }
        // 6797-8.1-a: only over a connection without errors.
        if let Decision::Refuse(_) | Decision::Skipped = self.check(host, chain, now) {
            return Err(HstsIgnored::PinsFailed);
        }
        let store = &self.shared.store;
        let max_age = header.max_age().min(options.max_age_cap);
        if max_age.is_zero() {
            return Ok(store.withdraw_hsts(host, now));
        }
        // D-19: otherwise a registry could break plain hosts of other owners.
        let is_shared = host.is_single_label() || store.is_public_suffix(host);
        let expires_at = now.as_secs().saturating_add(max_age.as_secs());
        Ok(store.insert_hsts(KnownHstsHost {
            host: host.clone(),
            includes_subdomains: header.includes_subdomains() && !is_shared,
            seen_since: now,
            noted_at: now,
            expires_at: timestamp::at(expires_at),
        }))
    }

    /// Returns the URI with `https` if it is an `http` URI of a known HSTS host.
    #[cfg(feature = "hyper")]
    pub(crate) fn upgraded(&self, uri: &Uri) -> Option<Uri> {
        let host = plain_host(uri)?;
        self.is_hsts_now(&host).then(|| to_https(uri))
    }

    /// Returns whether the host is a known HSTS host. Without a clock, no entry counts as expired.
    #[cfg(feature = "hyper")]
    pub(crate) fn is_hsts_now(&self, host: &Host) -> bool {
        let now = self.clock().current_time();
        self.is_hsts_host(host, now.unwrap_or(timestamp::at(0)))
    }

    /// Returns whether fields are noted.
    #[cfg(feature = "hyper")]
    pub(crate) fn notes_hsts(&self) -> bool {
        self.shared.hsts.is_some()
    }
}
