//! [`KnownHstsHost`], a host that announced to be reached over TLS only.

use rustls_pki_types::UnixTime;

use crate::policy::{Host, IntoUnixTime};

/// A known HSTS host ([RFC 6797 section 8.1]): its server announced, over a valid TLS connection, that
/// it is to be reached by `https` only.
///
/// ```
/// use pinhold::hsts::KnownHstsHost;
///
/// fn describe(known: &KnownHstsHost) -> String {
///     let below = if known.includes_subdomains { " and all names below" } else { "" };
///     format!("{}{below}, until {}", known.host, known.expires_at.as_secs())
/// }
/// # let _ = describe;
/// ```
///
/// [RFC 6797 section 8.1]: https://www.rfc-editor.org/rfc/rfc6797#section-8.1
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownHstsHost {
    /// The host that sent the header.
    pub host: Host,
    /// Whether all names below it are to be reached by `https` only, too.
    pub includes_subdomains: bool,
    /// When the first header was received of those without an interruption.
    pub seen_since: UnixTime,
    /// When the latest header was received.
    pub noted_at: UnixTime,
    /// The last second at which the announcement holds.
    pub expires_at: UnixTime,
}

impl KnownHstsHost {
    /// Returns whether the announcement has expired before `now`. It has no effect then, and is kept
    /// until room is needed.
    #[must_use]
    pub fn is_expired(&self, now: impl IntoUnixTime) -> bool {
        now.into_unix_time() > self.expires_at
    }

    /// Returns whether fields were received at least 24 hours apart. Such an entry is not evicted
    /// before it expires.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        let (noted, since) = (self.noted_at.as_secs(), self.seen_since.as_secs());
        noted
            .checked_sub(since)
            .is_some_and(|age| age >= CONFIRMED_AFTER)
    }
}

/// 24 hours in seconds, as for noted pins.
const CONFIRMED_AFTER: u64 = 24 * 60 * 60;
