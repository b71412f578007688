//! [`KnownPinnedHost`], the policy that one host set by `Public-Key-Pins`.

use rustls_pki_types::UnixTime;

use crate::policy::applied::{AppliedPolicy, HostMatch, PinSource, PolicyState, UserAddedRoots};
use crate::policy::host::Host;
use crate::policy::pin_set::PinSet;
use crate::policy::report_uri::ReportUri;
use crate::policy::scope::Scope;
use crate::policy::timestamp::{IntoUnixTime, at};

/// A Known Pinned Host ([RFC 7469 section 2.3.3]): the directives of the last valid
/// `Public-Key-Pins` field of a host, and until when they are in effect.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use pinhold::policy::KnownPinnedHost;
/// use pinhold::{Host, PinSet, SpkiFingerprint};
///
/// let pins = PinSet::new([[7; 32], [8; 32]].map(SpkiFingerprint::from_digest))?;
/// let noted_at = SystemTime::now();
/// let expires_at = noted_at + Duration::from_secs(60 * 24 * 60 * 60);
/// let known = KnownPinnedHost::new(Host::parse("example.com")?, pins, noted_at, expires_at)
///     .include_subdomains()
///     .report_uri("https://reports.example/pins".parse()?);
/// assert!(known.includes_subdomains && !known.is_expired(noted_at));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [RFC 7469 section 2.3.3]: https://www.rfc-editor.org/rfc/rfc7469#section-2.3.3
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownPinnedHost {
    /// The name of the host whose response carried the field.
    pub host: Host,
    /// The pins of the last valid field.
    pub pins: PinSet,
    /// Whether the pins apply to every subdomain, too.
    pub includes_subdomains: bool,
    /// Where the server wants violations to be reported.
    pub report_uri: Option<ReportUri>,
    /// Since when the host is known: when the first of its fields was received. A host that can't
    /// be [confirmed](Self::is_confirmed), because its share of the store is full, begins again.
    pub seen_since: UnixTime,
    /// When the last field was received.
    pub noted_at: UnixTime,
    /// The last second at which the pins are in effect.
    pub expires_at: UnixTime,
}

impl KnownPinnedHost {
    /// Creates an entry that covers `host` alone and has no `report-uri`.
    #[must_use]
    pub fn new(
        host: Host,
        pins: PinSet,
        noted_at: impl IntoUnixTime,
        expires_at: impl IntoUnixTime,
    ) -> Self {
        let noted_at = noted_at.into_unix_time();
        Self {
            host,
            pins,
            includes_subdomains: false,
            report_uri: None,
            seen_since: noted_at,
            noted_at,
            expires_at: expires_at.into_unix_time(),
        }
    }

    /// Extends the entry to every subdomain of the host, at any depth.
    #[must_use]
    pub fn include_subdomains(mut self) -> Self {
        self.includes_subdomains = true;
        self
    }

    /// Sets where violations are to be reported.
    #[must_use]
    pub fn report_uri(mut self, uri: ReportUri) -> Self {
        self.report_uri = Some(uri);
        self
    }

    /// Returns whether the entry has expired before `now` and has no effect any more (RFC 7469
    /// section 2.3.3). In the second of its expiry it is still in effect.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use pinhold::policy::KnownPinnedHost;
    /// use pinhold::{Host, PinSet, SpkiFingerprint};
    ///
    /// let pins = PinSet::new([SpkiFingerprint::from_digest([7; 32])])?;
    /// let now = SystemTime::now();
    /// let known = KnownPinnedHost::new(Host::parse("example.com")?, pins, now, now);
    /// assert!(!known.is_expired(now));
    /// assert!(known.is_expired(now + Duration::from_secs(1)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_expired(&self, now: impl IntoUnixTime) -> bool {
        // 7469-2.3.3-a
        now.into_unix_time() > self.expires_at
    }

    /// Returns whether fields were received at least 24 hours apart, the last one at
    /// [`noted_at`](Self::noted_at). A [`PinStore`](crate::PinStore) keeps such an entry until it
    /// expires, however many other hosts send pins.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use pinhold::policy::KnownPinnedHost;
    /// use pinhold::{Host, PinSet, SpkiFingerprint};
    ///
    /// let pins = PinSet::new([SpkiFingerprint::from_digest([7; 32])])?;
    /// let now = SystemTime::now();
    /// let known = KnownPinnedHost::new(Host::parse("example.com")?, pins, now, now);
    /// assert!(!known.is_confirmed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        let age = self
            .noted_at
            .as_secs()
            .checked_sub(self.seen_since.as_secs());
        age.is_some_and(|age| age >= CONFIRMED_AFTER)
    }

    /// Returns the latest `seen_since` with which an entry noted at this time is confirmed.
    pub(crate) fn confirmed_since(noted_at: UnixTime) -> UnixTime {
        at(noted_at.as_secs().saturating_sub(CONFIRMED_AFTER))
    }

    /// Returns whether `newer` differs from this entry in its times only, with an equal lifetime.
    pub(crate) fn is_refreshed_by(&self, newer: &Self) -> bool {
        self.lifetime() == newer.lifetime() && self.differs_in_times_only(newer)
    }

    /// Returns whether the entries have the same host, pins, scope and report URI.
    pub(crate) fn differs_in_times_only(&self, other: &Self) -> bool {
        *self
            == Self {
                seen_since: self.seen_since,
                noted_at: self.noted_at,
                expires_at: self.expires_at,
                ..other.clone()
            }
    }

    /// Returns whether the entries have the same pins and scope.
    pub(crate) fn has_same_pins(&self, other: &Self) -> bool {
        self.pins == other.pins && self.includes_subdomains == other.includes_subdomains
    }

    /// Returns the entry as if it had been noted at this time, with its lifetime unchanged.
    pub(crate) fn as_noted_at(&self, time: UnixTime) -> Self {
        let expires_at = time.as_secs().saturating_add(self.lifetime());
        Self {
            noted_at: time,
            expires_at: at(expires_at),
            ..self.clone()
        }
    }

    /// Returns the seconds from noting to expiry.
    pub(crate) fn lifetime(&self) -> u64 {
        self.expires_at
            .as_secs()
            .saturating_sub(self.noted_at.as_secs())
    }

    /// Returns the entry as an applied policy, without a check of its expiry.
    pub(crate) fn apply(&self, matched: HostMatch, roots: UserAddedRoots) -> AppliedPolicy {
        AppliedPolicy {
            noted_hostname: self.host.clone(),
            source: PinSource::Noted,
            matched,
            pins: self.pins.clone(),
            groups: None,
            scope: if self.includes_subdomains {
                Scope::HostAndSubdomains
            } else {
                Scope::Host
            },
            report_uris: self.report_uri.clone().into(),
            expires_at: Some(self.expires_at),
            state: PolicyState::Enforced,
            user_added_roots: roots,
            plain_http: None,
        }
    }
}

/// 24 hours in seconds. Two calendar days would be one second at midnight, and a server chooses
/// when it responds.
const CONFIRMED_AFTER: u64 = 24 * 60 * 60;
