//! [`Explanation`], which policies apply to a host and why, and [`Pinning::is_enforced`]. Queries, made
//! by the code that evaluates connections.

use std::ops::ControlFlow;

use rustls_pki_types::{ServerName, UnixTime};

use crate::pinning::covering::Covering;
use crate::pinning::handle::Pinning;
use crate::pinning::not_applied::NotApplied;
use crate::pinning::static_pins::{StaticPins, Visited};
use crate::policy::{
    AfterExpiry, AnchorOrigin, AppliedPolicies, AppliedPolicy, Host, KeyMatch, Outcome, PlainHttp,
    Scope, UnpinnedHosts,
};
#[cfg(feature = "bundles")]
use crate::policy::{BundleVersion, PinSource};

/// Which policies apply to a host at one moment, why, and what they decide about each kind of chain.
///
/// `Display` prints it in lines, without a line break at the end.
///
/// ```
/// use pinhold::policy::{Outcome, Scope};
/// use pinhold::{Host, PinPolicy, Pinning};
/// use rustls::pki_types::UnixTime;
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?;
/// let pinning = Pinning::builder()
///     .static_pins("example.com", policy.include_subdomains())
///     .build()?;
/// let explanation = pinning.explain(&Host::parse("www.example.com")?, UnixTime::now());
/// let applied = explanation.policies.static_policy.as_ref().unwrap();
/// assert_eq!(applied.scope, Scope::HostAndSubdomains);
/// let [built_in, ..] = &explanation.anchors[..] else { panic!() };
/// assert_eq!((built_in.pinned, built_in.not_pinned), (Outcome::Pass, Outcome::Refuse));
/// println!("{explanation}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The host.
    pub host: Host,
    /// The time of the question.
    pub at: UnixTime,
    /// The last second for which the explanation is known to hold, if nothing is changed: a policy
    /// expires then, or the bundle becomes stale. `None` if no time is set.
    pub until: Option<UnixTime>,
    /// The policies that apply, as [`Pinning::policies`](crate::Pinning::policies) returns them.
    pub policies: AppliedPolicies,
    /// Where the static policy is from; `None` if none applies.
    pub static_origin: Option<StaticOrigin>,
    /// What follows the expiry of the static policy. After that of a noted one its pins no longer
    /// apply.
    pub after_expiry: Option<AfterExpiry>,
    /// The other static policies of the host and of its superdomains, the nearest first.
    pub others: Vec<OtherPolicy>,
    /// What a connection means because no enforced static policy covers the host; `None` if one does,
    /// if the host is allowed to be unpinned, or if unpinned hosts are
    /// [allowed](UnpinnedHosts::Allow).
    pub unpinned: Option<UnpinnedHosts>,
    /// Whether `http://` to the host is allowed, by a client without a setting of its own. An unpinned
    /// host may be refused nevertheless.
    pub plain_http: PlainHttp,
    /// What is decided about chains to each kind of anchor, the best origin first.
    pub anchors: Vec<AnchorOutcomes>,
}

/// Where a static policy is from.
///
/// ```
/// use pinhold::explain::StaticOrigin;
///
/// assert_eq!(StaticOrigin::Application.to_string(), "the application");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StaticOrigin {
    /// The code of the application.
    Application,
    /// The pin bundle of this version.
    #[cfg(feature = "bundles")]
    Bundle(BundleVersion),
    /// The pin file of the application.
    PinFile,
}

/// A static policy of a host or of one of its superdomains that does not apply to the host.
///
/// ```
/// use pinhold::explain::OtherPolicy;
///
/// fn describe(other: &OtherPolicy) -> String {
///     format!("{}: {}", other.host, other.reason)
/// }
/// # let _ = describe;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherPolicy {
    /// The host that the policy is set for.
    pub host: Host,
    /// Its scope.
    pub scope: Scope,
    /// Why it does not apply.
    pub reason: NotApplied,
}

/// What the pins of a host decide about valid chains to anchors of one origin.
///
/// ```
/// use pinhold::explain::AnchorOutcomes;
/// use pinhold::policy::Outcome;
///
/// fn is_protected(anchors: &[AnchorOutcomes]) -> bool {
///     anchors.iter().all(|anchor| anchor.not_pinned == Outcome::Refuse)
/// }
/// # assert!(is_protected(&[]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnchorOutcomes {
    /// The origin of the anchors.
    pub origin: AnchorOrigin,
    /// What is decided about a chain that satisfies the pins of each policy.
    pub pinned: Outcome,
    /// What is decided about a chain that satisfies the pins of none.
    pub not_pinned: Outcome,
}

impl Pinning {
    /// Explains which policies apply to `host` at `now`, why, and what they mean. Changes nothing and
    /// emits no event.
    #[must_use]
    pub fn explain(&self, host: &Host, now: UnixTime) -> Explanation {
        let looked_up = match ServerName::try_from(host.as_str()) {
            Ok(name) => self.lookup_name(&name, Some(host), now),
            Err(_) => self.lookup(Some(host), now),
        };
        let unpinned = looked_up.unpinned.as_ref().map(|unpinned| {
            if unpinned.is_refused() {
                UnpinnedHosts::Refuse
            } else {
                UnpinnedHosts::Report
            }
        });
        let plain_http = if looked_up.refuses_plain_http(PlainHttp::default()) {
            PlainHttp::Refuse
        } else {
            PlainHttp::Allow
        };
        let policies = looked_up.applied;
        let outcome = |keys, origin| match unpinned {
            Some(UnpinnedHosts::Refuse) => Outcome::Refuse,
            _ => policies.outcome(keys, origin),
        };
        let anchors = ORIGINS.iter().map(|origin| AnchorOutcomes {
            origin: *origin,
            pinned: outcome(KeyMatch::PinnedKey, *origin),
            not_pinned: outcome(KeyMatch::NoPinnedKey, *origin),
        });
        let anchors = anchors.collect();
        let statics = self.shared.statics.read();
        let (after_expiry, others) = statics.explain(host, now);
        let mut changes = statics.expiry_times(host);
        let static_policy = policies.static_policy.as_ref();
        let static_origin = static_policy.map(|policy| self.origin(&statics, policy));
        drop(statics);
        changes.extend(self.shared.store.change_times(host, now));
        Explanation {
            host: host.clone(),
            at: now,
            until: changes.into_iter().filter(|time| *time >= now).min(),
            static_origin,
            after_expiry,
            others,
            unpinned,
            plain_http,
            anchors,
            policies,
        }
    }

    /// Returns whether a connection to `host` is refused now if its chain to a built-in root contains
    /// no pinned key: whether an enforced policy applies, static or noted, or one that has expired with
    /// "refuse". The time is that of the clock; `false` if it can't be read.
    ///
    /// Says nothing about clients: whether one uses these pins is shown by the self-test (feature
    /// `self-test`). Nor does it count refused keys, or the refusal of unpinned hosts, for which no chain is
    /// accepted.
    ///
    /// ```
    /// use pinhold::{Enforcement, Host, PinPolicy, Pinning};
    ///
    /// let policy = PinPolicy::new([
    ///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
    ///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    /// ])?;
    /// let report_only = policy.clone().enforcement(Enforcement::ReportOnly);
    /// let pinning = Pinning::builder()
    ///     .static_pins("example.com", policy)
    ///     .static_pins("example.org", report_only)
    ///     .build()?;
    /// assert!(pinning.is_enforced(&Host::parse("example.com")?));
    /// assert!(!pinning.is_enforced(&Host::parse("example.org")?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_enforced(&self, host: &Host) -> bool {
        let Some(now) = self.clock().current_time() else {
            return false;
        };
        let policies = self.policies(host, now);
        policies.outcome(KeyMatch::NoPinnedKey, AnchorOrigin::BuiltIn) == Outcome::Refuse
    }

    fn origin(&self, statics: &StaticPins, policy: &AppliedPolicy) -> StaticOrigin {
        #[cfg(feature = "bundles")]
        if let PinSource::Bundle(version) = policy.source {
            return StaticOrigin::Bundle(version);
        }
        let mut beside = self.shared.beside_pin_file.iter();
        if statics.has_pin_file && !beside.any(|(host, _)| *host == policy.noted_hostname) {
            StaticOrigin::PinFile
        } else {
            StaticOrigin::Application
        }
    }
}

impl StaticPins {
    /// Returns what follows the expiry of the policy that applies, and the policies that do not.
    fn explain(&self, host: &Host, now: UnixTime) -> (Option<AfterExpiry>, Vec<OtherPolicy>) {
        let mut others = Vec::new();
        let mut nearest = None::<Covering<'_>>;
        let mut is_disabled = self.all_disabled;
        let entries = self.entries_at(now);
        self.visit(entries, host, now, &self.disabled, |visited| {
            let (host, scope, reason) = match visited {
                Visited::Disabled => {
                    is_disabled = true;
                    return ControlFlow::Continue(());
                }
                Visited::Not(host, scope, reason) => (host, scope, reason),
                Visited::Applies(covering) => {
                    let (host, scope) = (covering.host(), covering.policy().scope_setting());
                    let rules = &self.entries.rare_rules;
                    let reason = match &nearest {
                        _ if is_disabled => NotApplied::Disabled,
                        None => {
                            nearest = Some(covering);
                            return ControlFlow::Continue(());
                        }
                        Some(nearest) => match rules {
                            Some(rules) if rules.is_united(nearest, &covering, now) => {
                                NotApplied::United
                            }
                            _ => NotApplied::Nearer,
                        },
                    };
                    (host, scope, reason)
                }
            };
            others.push(OtherPolicy {
                host: host.clone(),
                scope,
                reason,
            });
            ControlFlow::Continue(())
        });
        let expiry = nearest.and_then(|nearest| nearest.policy().expiry());
        (expiry.map(|(_, then)| then), others)
    }
}

/// The origins of anchors, in order of preference.
const ORIGINS: &[AnchorOrigin] = &[
    AnchorOrigin::BuiltIn,
    AnchorOrigin::Unknown,
    #[cfg(pinhold_debug_overrides)]
    AnchorOrigin::DebugOverride,
    AnchorOrigin::UserAdded,
];
