//! [`Event`], everything that an application can observe.

use std::borrow::Cow;

use rustls_pki_types::UnixTime;

#[cfg(feature = "bundles")]
use crate::bundles::BundleError;
#[cfg(feature = "ct")]
use crate::ct::CtViolation;
use crate::pinning::noting::{IgnoreReason, RemovalReason};
#[cfg(feature = "bundles")]
use crate::policy::BundleVersion;
#[cfg(feature = "health")]
use crate::policy::SpkiFingerprint;
use crate::policy::{Host, PinSource, ReportUri};
use crate::store::StorageError;
#[cfg(feature = "first-use")]
use crate::violation::KeyChange;
use crate::violation::{DropReason, Report, UnpinnedHost, UnverifiablePath};

/// An event that an application receives by
/// [`PinningBuilder::observer`](crate::PinningBuilder::observer).
///
/// With the feature `tracing`, each event is also a `tracing` event of the target `pinhold`,
/// emitted at once by the thread in which it occurs, and one for each ignored header:
///
/// | message | level | fields |
/// |---|---|---|
/// | `backup pin was never seen` | `INFO` | `host` |
/// | `pins are bypassed` | `WARN` | `host` |
/// | `pins expire soon` | `WARN` | `host` |
/// | `last pin` | `WARN` | `host`, `pin` |
/// | `only the backup pin matches` | `WARN` | `host`, `pin` |
/// | `pins are stale` | `WARN` | `host` |
/// | `pin bundle applied` | `INFO` | `version` |
/// | `kill switch of a pin bundle` | `WARN` | `version` |
/// | `pins recovered by a pin bundle` | `WARN` | `host`, `version` |
/// | `pin bundle refused` | `WARN` | `error` |
/// | `pin bundle staged` | `INFO` | `version`, `percent` |
/// | `pin bundle is stale` | `WARN` | `version` |
/// | `stored pin bundle is unreadable` | `WARN` | `version`, `in_effect` |
/// | `keys remembered` | `INFO` | `host` |
/// | `keys changed` | `WARN` | `host` |
/// | `log list is stale` | `WARN` | `timestamp` |
/// | `certificate is not logged as expected` | `WARN` | `host`, `refused` |
/// | `host requests a CT report` | `WARN` | `host` |
/// | `pin violation` | `WARN` | `host`, `port`, `noted_hostname` |
/// | `pins would have failed` | `WARN` | `host`, `port`, `noted_hostname` |
/// | `fixed pins without a backup` | `WARN` | `host` |
/// | `pins skipped` | `WARN` | `host` |
/// | `pins noted` | `INFO` | `host` |
/// | `pins removed` | `INFO` | `host`, `reason` |
/// | `pins were noted in the clock's future` | `WARN` | `hosts` |
/// | `pin header ignored` | `DEBUG` | `host`, `reason` |
/// | `report dropped` | `WARN` | `host`, `reason` |
/// | `host is not pinned` | `WARN` | `host`, `refused` |
/// | `no valid path found` | `WARN` | `host`, `reason` |
/// | `events lost` | `WARN` | `events`, `violations` |
/// | `noted pins can't be stored` | `WARN` | `error` |
///
/// ```
/// use pinhold::{Event, Pinning};
///
/// let pinning = Pinning::builder()
///     .observer(|event| {
///         if let Event::Violation(report) = event {
///             eprintln!("{}", report.violation());
///         }
///     })
///     .build()?;
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// In 90 days, on at least seven of which there was a connection, validated chains have contained
    /// no pin of the host's policy but those of the latest chain. Whether there is a key for a backup
    /// pin was never proved. Emitted once in 30 days: prove the backup, see
    /// [the guide](crate::guide::health).
    ///
    /// This event and the other ones of the feature `health` are emitted by connections to a host with
    /// a static policy or one of a pin bundle, once for each day that the clock shows, also across
    /// restarts, and only with [`PinningBuilder::health`](crate::PinningBuilder::health). If a policy
    /// has several groups of pins, the condition holds for one of them.
    #[cfg(feature = "health")]
    BackupNeverSeen {
        /// The host that the policy is set for.
        host: Host,
    },
    /// A pin bundle is in effect from now on.
    #[cfg(feature = "bundles")]
    BundleApplied {
        /// Its version.
        version: BundleVersion,
    },
    /// The kill switch of the bundle in effect is on: pins are report-only. Fixed policies and
    /// refused keys still refuse.
    #[cfg(feature = "bundles")]
    BundleKilled {
        /// The version of the bundle.
        version: BundleVersion,
        /// The last second at which the switch is on.
        until: UnixTime,
    },
    /// A host was refused by its pins, and a pin bundle that was fetched because of that allows the
    /// chain.
    #[cfg(feature = "bundles")]
    BundleRecovered {
        /// The host.
        host: Host,
        /// The version of the bundle.
        version: BundleVersion,
    },
    /// A pin bundle was refused. The last good one stays in effect.
    #[cfg(feature = "bundles")]
    BundleRefused(BundleError),
    /// A pin bundle was stored that is staged for other installations. Its policies are evaluated
    /// and counted, but refuse nothing.
    #[cfg(feature = "bundles")]
    BundleStaged {
        /// Its version.
        version: BundleVersion,
        /// The percentage of installations.
        percent: u8,
    },
    /// The pin bundle in effect has expired, and none that is newer was received. Emitted once in
    /// a process for each version, when a bundle is applied or a connection is made.
    #[cfg(feature = "bundles")]
    BundleStale {
        /// The version of the bundle.
        version: BundleVersion,
        /// The last second at which it was not stale.
        expired: UnixTime,
    },
    /// A stored pin bundle is missing, damaged or not trusted by the root that the application
    /// contains. The newest readable one is in effect.
    #[cfg(feature = "bundles")]
    BundleUnreadable {
        /// The version of the bundle.
        version: BundleVersion,
        /// The version of the bundle in effect.
        in_effect: BundleVersion,
    },
    /// The pins of a host were skipped because a chain ends in a user-added root:
    /// [`Skipped`](Self::Skipped), once a day.
    #[cfg(feature = "health")]
    BypassActive {
        /// The host that the policy is set for.
        host: Host,
    },
    /// The clock shows a time of more than one day before pins of the store were noted: it was
    /// ahead then, or is behind now. Emitted when a [`Pinning`](crate::Pinning) is built.
    ///
    /// Such pins are enforced for at most their `max-age` of running time. What is stored is not
    /// changed, so that they have their full effect again once the clock is right.
    ClockBehind {
        /// The number of hosts with such pins.
        entries: usize,
        /// The time that the clock shows.
        now: UnixTime,
    },
    /// The log list is too old to be enforced, or from the future of the clock: certificates that are not
    /// logged are only reported. Emitted once in a process for each list.
    #[cfg(feature = "ct")]
    CtListStale {
        /// The time of the list.
        timestamp: UnixTime,
    },
    /// The certificate of a host is not logged as expected. The connection was refused, or is used, see
    /// [`CtViolation::is_refused`].
    #[cfg(feature = "ct")]
    CtViolation(CtViolation),
    /// A host requests by the obsolete header `Expect-CT` a report of connections that don't comply, and
    /// the one of this response doesn't. Nothing is sent.
    #[cfg(feature = "ct")]
    ExpectCt {
        /// The host.
        host: Host,
        /// Where the host wants the report.
        report_uri: Option<ReportUri>,
    },
    /// The policy of a host expires within 30 days.
    #[cfg(feature = "health")]
    ExpiresSoon {
        /// The host that the policy is set for.
        host: Host,
        /// The last second at which the policy is in effect as set.
        expires: UnixTime,
    },
    /// The validated chain of a host has none of the keys that are remembered of it. Whether the
    /// connection is refused is the choice of the application, see
    /// [`FirstUse`](crate::first_use::FirstUse).
    #[cfg(feature = "first-use")]
    FirstUseChanged(KeyChange),
    /// The keys of a host are remembered from now on, since none was remembered, or none held any more.
    #[cfg(feature = "first-use")]
    FirstUseNew {
        /// The host.
        host: Host,
    },
    /// The validated chain of a host contains all pins of its [fixed](crate::PinPolicy::fixed)
    /// policy: none is a backup. Emitted once for each host in a process.
    #[cfg(feature = "bundles")]
    FixedWithoutBackup {
        /// The host.
        host: Host,
    },
    /// A `Public-Key-Pins` or `Public-Key-Pins-Report-Only` field was ignored.
    ///
    /// While observers are busy, further ignored fields of the same host are counted in the same
    /// event, so that no server can displace other events. Reasons of different variants of
    /// [`IgnoreReason`] are counted in different events.
    HeaderIgnored {
        /// The host that sent it; `None` if the host of the request is not a DNS name.
        host: Option<Host>,
        /// Why the field was ignored; of several, why the first one was.
        reason: IgnoreReason,
        /// The number of ignored fields, at least 1.
        headers: u64,
    },
    /// One pin of a host's policy is still seen. Others were seen earlier, but not in the last 30 days,
    /// on at least seven of which there was a connection.
    #[cfg(feature = "health")]
    LastPin {
        /// The host that the policy is set for.
        host: Host,
        /// The pin that is still seen.
        pin: SpkiFingerprint,
    },
    /// Events were dropped, since they occurred faster than observers handled them.
    Lost {
        /// The number of dropped events.
        events: u64,
        /// How many of them were violations, would-be violations, unverifiable paths or storage
        /// errors.
        violations: u64,
    },
    /// The pins of a host were noted, or replaced by others. Not emitted for a refresh, which
    /// changes only the expiry.
    Noted {
        /// The host.
        host: Host,
    },
    /// On seven days with a connection since its first one, chains of a host have passed only by a pin
    /// that was a backup before, while no pin was seen that had been seen earlier: the backup is used
    /// up, and another one is needed. Not emitted while both are seen. All names that the policy covers
    /// share what was seen: where the server of one has a key of its own, set a policy for that name.
    #[cfg(feature = "health")]
    OnlyBackupMatches {
        /// The host that the policy is set for.
        host: Host,
        /// The pin that was a backup.
        pin: SpkiFingerprint,
    },
    /// A header removed the noted pins of its host.
    Removed {
        /// The host.
        host: Host,
        /// The directive that removed them.
        reason: RemovalReason,
    },
    /// A violation was not reported, or not to one of several endpoints.
    ReportDropped {
        /// The report.
        report: Report,
        /// The endpoint; `None` if no endpoint was chosen.
        endpoint: Option<ReportUri>,
        /// The rule or error that prevented it.
        reason: DropReason,
    },
    /// A connection is used although its chain contains no pinned key, because the chain ends in a
    /// user-added root.
    Skipped {
        /// The host.
        host: Host,
    },
    /// The policy of a host has expired and no longer refuses, or the pin bundle in effect for it has
    /// expired and was not renewed.
    #[cfg(feature = "health")]
    Stale {
        /// The host that the policy is set for.
        host: Host,
        /// The last second at which policy or bundle was not expired.
        expired: UnixTime,
    },
    /// Noted pins are in memory, but could not be stored.
    StorageFailed(StorageError),
    /// A connection to an unpinned host was made, refused or closed, see
    /// [`PinningBuilder::unpinned_hosts`](crate::PinningBuilder::unpinned_hosts). A `NotingClient`
    /// emits it for each request over plain HTTP, since reqwest does not show these connections.
    Unpinned(UnpinnedHost),
    /// The inner verifier accepted a server for which no path could be validated. The connection
    /// was refused, or would have been refused by report-only pins. See
    /// [`with_inner_verifier`](crate::tls::PinningVerifierBuilder::with_inner_verifier).
    Unverifiable(UnverifiablePath),
    /// The pins of a host refused or closed a connection.
    Violation(Report),
    /// Report-only pins (of a candidate, a policy or a header) would have refused a connection. The
    /// connection is used.
    WouldBeViolation(Report),
}

/// What causes an event, as far as a server can influence how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A header: a server that passed can cause any number.
    Header,
    /// A refusal by pins that a header announced: it takes a connection that is refused.
    NotedPins,
    Other,
}

impl Event {
    /// Returns whether the event is delivered before others and never displaced by them.
    pub(crate) fn is_violation(&self) -> bool {
        #[cfg(feature = "first-use")]
        if matches!(self, Self::FirstUseChanged(_)) {
            return true;
        }
        #[cfg(feature = "ct")]
        if matches!(self, Self::CtViolation(_)) {
            return true;
        }
        matches!(
            self,
            Self::StorageFailed(_)
                | Self::Unverifiable(_)
                | Self::Violation(_)
                | Self::WouldBeViolation(_)
        )
    }

    /// Returns the name of the server that the event is about, if it is about one.
    pub(crate) fn server_name(&self) -> Option<Cow<'_, str>> {
        let host = match self {
            Self::HeaderIgnored { host, .. } => host.as_ref()?,
            Self::Noted { host } | Self::Removed { host, .. } | Self::Skipped { host } => host,
            Self::ReportDropped { report, .. }
            | Self::Violation(report)
            | Self::WouldBeViolation(report) => report.violation().host(),
            Self::Unpinned(unpinned) => return Some(unpinned.server_name().to_str()),
            Self::Unverifiable(unverifiable) => return Some(unverifiable.server_name().to_str()),
            #[cfg(feature = "bundles")]
            Self::BundleApplied { .. }
            | Self::BundleKilled { .. }
            | Self::BundleRefused(_)
            | Self::BundleStaged { .. }
            | Self::BundleStale { .. }
            | Self::BundleUnreadable { .. } => return None,
            #[cfg(feature = "bundles")]
            Self::BundleRecovered { host, .. } | Self::FixedWithoutBackup { host } => host,
            #[cfg(feature = "health")]
            Self::BackupNeverSeen { host }
            | Self::BypassActive { host }
            | Self::ExpiresSoon { host, .. }
            | Self::LastPin { host, .. }
            | Self::OnlyBackupMatches { host, .. }
            | Self::Stale { host, .. } => host,
            #[cfg(feature = "first-use")]
            Self::FirstUseChanged(change) => change.host(),
            #[cfg(feature = "first-use")]
            Self::FirstUseNew { host } => host,
            #[cfg(feature = "ct")]
            Self::CtListStale { .. } => return None,
            #[cfg(feature = "ct")]
            Self::CtViolation(violation) => return Some(violation.server_name().to_str()),
            #[cfg(feature = "ct")]
            Self::ExpectCt { host, .. } => host,
            Self::ClockBehind { .. } | Self::Lost { .. } | Self::StorageFailed(_) => return None,
        };
        Some(Cow::Borrowed(host.as_str()))
    }

    pub(crate) fn cause(&self) -> Cause {
        let is_of_noted = |report: &Report| report.violation().policy().source == PinSource::Noted;
        match self {
            // A redirect is a header, too.
            Self::HeaderIgnored { .. }
            | Self::Noted { .. }
            | Self::Removed { .. }
            | Self::Unpinned(_) => Cause::Header,
            #[cfg(feature = "ct")]
            Self::ExpectCt { .. } => Cause::Header,
            Self::ReportDropped { report, .. } | Self::WouldBeViolation(report)
                if is_of_noted(report) =>
            {
                Cause::Header
            }
            Self::Violation(report) if is_of_noted(report) => Cause::NotedPins,
            _ => Cause::Other,
        }
    }
}
