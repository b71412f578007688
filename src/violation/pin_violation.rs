//! [`PinViolation`], the facts of a refusal by pins, and their text.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::policy::text::write_with_causes;
use crate::policy::{
    AnchorOrigin, AppliedPolicy, Host, PinRole, PinSet, PinSource, PolicyState, SpkiFingerprint,
};
use crate::violation::cause::Cause;
use crate::violation::evidence::Evidence;

/// The refusal of a server whose chain is valid, but lacks the keys pinned to its name, or contains a
/// key that the application refuses.
///
/// Chrome calls it `ERR_SSL_PINNED_KEY_NOT_IN_CERT_CHAIN`, Firefox
/// `MOZILLA_PKIX_ERROR_KEY_PINNING_FAILURE`. An invalid chain is never a pin violation.
///
/// `Display` prints several lines: what the facts show about the [cause](Self::cause), the keys that
/// were seen, the pins that were expected and where they came from, and what to do. `Debug` prints the same, since `main` prints
/// an error that it returns by `Debug`. Cheap to clone.
///
/// ```
/// use pinhold::PinViolation;
///
/// let error = std::io::Error::other("connection reset");
/// assert!(PinViolation::find(&error).is_none());
/// ```
#[derive(Clone)]
pub struct PinViolation(Arc<Facts>);

struct Facts {
    host: Host,
    policy: AppliedPolicy,
    /// The other policies of the host that the same evaluation found to fail.
    also_failed: Vec<AppliedPolicy>,
    chain: ValidatedChain,
    at: UnixTime,
    /// See [`Evidence::accepted`].
    accepted: Vec<ValidatedChain>,
    cause: OnceLock<Cause>,
}

impl PinViolation {
    pub(crate) fn new(
        host: Host,
        policy: AppliedPolicy,
        also_failed: Vec<AppliedPolicy>,
        chain: ValidatedChain,
        at: UnixTime,
    ) -> Self {
        Self(Arc::new(Facts {
            host,
            policy,
            also_failed,
            chain,
            at,
            accepted: Vec::new(),
            cause: OnceLock::new(),
        }))
    }

    /// Adds the chains that the same client accepted before, from which the cause may be seen.
    pub(crate) fn with_accepted(self, accepted: Vec<ValidatedChain>) -> Self {
        let facts = &self.0;
        Self(Arc::new(Facts {
            host: facts.host.clone(),
            policy: facts.policy.clone(),
            also_failed: facts.also_failed.clone(),
            chain: facts.chain.clone(),
            at: facts.at,
            accepted,
            cause: OnceLock::new(),
        }))
    }

    /// Returns whether this is a clone of `other`.
    #[cfg(feature = "self-test")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns a violation for each policy that failed in the same evaluation, this one first:
    /// each policy may name a report endpoint of its own.
    pub(crate) fn each(&self) -> impl Iterator<Item = Self> {
        let facts = &self.0;
        let others = facts.also_failed.iter().map(|policy| {
            let (host, chain) = (facts.host.clone(), facts.chain.clone());
            let other = Self::new(host, policy.clone(), Vec::new(), chain, facts.at);
            other.with_accepted(facts.accepted.clone())
        });
        std::iter::once(self.clone()).chain(others)
    }

    /// Returns the host of the request. It is the text of an IP address if a key is refused
    /// ([`PinSource::RefusedKeys`]) that the server at an address has.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// Returns the policy that failed: its pins, the name that it is set for, its source and
    /// expiry.
    #[must_use]
    pub fn policy(&self) -> &AppliedPolicy {
        &self.0.policy
    }

    /// Returns the valid chain; of several valid chains, the last one that was tried.
    #[must_use]
    pub fn chain(&self) -> &ValidatedChain {
        &self.0.chain
    }

    /// Returns the time of the evaluation.
    #[must_use]
    pub fn at(&self) -> UnixTime {
        self.0.at
    }

    /// Returns what the facts show about the cause. It is derived on the first call.
    ///
    /// In this order, the first that applies:
    ///
    /// 1. The chain contains a [refused key](Cause::RefusedKey).
    /// 2. The policy has [expired](Cause::ExpiredPolicy).
    /// 3. A pin is the [hash of a certificate](Cause::WrongHash) of the path.
    /// 4. The root is [of unknown origin](Cause::UnknownRoot) or
    ///    [user-added](Cause::UserAddedRoot); with the feature `direct-trust`, the key is trusted
    ///    directly, and the pins lack it.
    /// 5. The same client accepted the same keys before: [the pins changed](Cause::ChangedPins).
    /// 6. Some of several groups of pins match: [the CA's](Cause::SameCa) or
    ///    [another one](Cause::OtherPath).
    /// 7. A served certificate with a pinned key [signed a CA of the path](Cause::OtherPath), or was
    ///    signed by [the leaf's issuer](Cause::SameCa) or [a CA above](Cause::OtherPath).
    /// 8. The same client accepted [the leaf's key](Cause::OtherPath) or [a CA's](Cause::SameCa)
    ///    before.
    /// 9. The built-in root is one of [the same](Cause::OtherPath) operator or of
    ///    [another](Cause::OtherCa) than the pinned built-in roots; if none is pinned, than the root
    ///    of the chain that was accepted last.
    /// 10. A certificate with a pinned key [was appended](Cause::AppendedCertificate).
    /// 11. [Nothing more is known](Cause::OtherKeys).
    ///
    /// "Accepted before" means by a client with the TLS configuration of this crate, since it was
    /// created, over a chain to a built-in root.
    ///
    /// ```
    /// use pinhold::PinViolation;
    /// use pinhold::tls::Cause;
    ///
    /// fn is_from_this_device(violation: &PinViolation) -> bool {
    ///     matches!(
    ///         violation.cause(),
    ///         Cause::UnknownRoot { .. } | Cause::UserAddedRoot { .. }
    ///     )
    /// }
    /// # let _ = is_from_this_device;
    /// ```
    #[must_use]
    pub fn cause(&self) -> &Cause {
        let facts = &self.0;
        facts.cause.get_or_init(|| facts.evidence().cause())
    }

    /// Returns the expected pins that are the SHA-256 of a served certificate and not of its public
    /// key, each with the pin of that key. Such a pin never matches.
    #[must_use]
    pub fn certificate_pins(&self) -> Vec<(SpkiFingerprint, SpkiFingerprint)> {
        let evidence = self.0.evidence();
        let found = evidence.certificate_pins();
        found.map(|(_, digest, key)| (digest, key)).collect()
    }
}

impl Facts {
    fn evidence(&self) -> Evidence<'_> {
        Evidence {
            policy: &self.policy,
            chain: &self.chain,
            accepted: &self.accepted,
            at: self.at,
        }
    }

    /// Writes what the pins mean for the connection.
    fn write_outcome(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, policy) = (&self.host, &self.policy);
        match policy.state {
            PolicyState::Expired => writeln!(f, "  the pins of {host} have expired"),
            PolicyState::ReportOnly => writeln!(
                f,
                "  no key in the validated chain of {host} matches the report-only or candidate \
                 pins; the connection is not refused"
            ),
            PolicyState::Enforced if policy.source == PinSource::RefusedKeys => {
                writeln!(f, "  the validated chain of {host} contains a refused key")
            }
            PolicyState::Enforced if !policy.groups().is_empty() => writeln!(
                f,
                "  the validated chain of {host} lacks keys that are pinned"
            ),
            PolicyState::Enforced => {
                writeln!(f, "  no key in the validated chain of {host} is pinned")
            }
        }
    }

    fn write_seen_keys(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.chain.anchor_origin() {
            AnchorOrigin::BuiltIn => "a built-in root",
            #[cfg(feature = "direct-trust")]
            AnchorOrigin::Direct => return self.write_direct_key(f),
            #[cfg(pinhold_debug_overrides)]
            AnchorOrigin::DebugOverride => "a root of the debug overrides",
            AnchorOrigin::Unknown => "a root of unknown origin",
            AnchorOrigin::UserAdded => "a user-added root",
        };
        writeln!(f, "  seen, in a valid chain to {origin}:")?;
        for key in self.chain.keys() {
            let (fingerprint, role, subject) = (key.fingerprint, key.role, key.subject);
            writeln!(f, "    {fingerprint} {role:<12} {subject}")?;
        }
        Ok(())
    }

    /// Writes the only key of a chain that no certification authority is part of.
    #[cfg(feature = "direct-trust")]
    fn write_direct_key(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  seen, trusted by the application itself:")?;
        for key in self.chain.keys() {
            writeln!(f, "    {} {}", key.fingerprint, key.subject)?;
        }
        Ok(())
    }

    fn write_expected_pins(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.policy;
        let what = match policy.source {
            PinSource::RefusedKeys => "none of the keys",
            _ if policy.groups().is_empty() => "one of",
            _ => "one of each group",
        };
        if policy.state == PolicyState::Expired {
            writeln!(f, "  expired pins, {}:", policy.provenance())?;
        } else {
            writeln!(f, "  expected {what}, {}:", policy.provenance())?;
        }
        if policy.groups().is_empty() {
            return policy
                .pins
                .iter()
                .try_for_each(|pin| writeln!(f, "    {pin}"));
        }
        for group in policy.groups() {
            let found = group.matches(self.chain.fingerprints());
            writeln!(f, "    {}:", if found { "found" } else { "missing" })?;
            for role in [PinRole::Leaf, PinRole::Ca, PinRole::Any] {
                let pins = group.pins(role).map(PinSet::iter);
                for pin in pins.into_iter().flatten() {
                    writeln!(f, "      {pin} {role}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for PinViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (facts, cause) = (&self.0, self.cause());
        writeln!(f, "{cause}")?;
        facts.write_outcome(f)?;
        facts.write_seen_keys(f)?;
        facts.write_expected_pins(f)?;
        let unused = facts.evidence().unused_pinned().next();
        if let Some((_, key)) = unused.filter(|_| !cause.is_of_served_certificate()) {
            writeln!(
                f,
                "  the server also sent a certificate with the pinned key {key}, but it is not \
                 part of the validated chain and proves nothing"
            )?;
        }
        for (wrong, right) in self.certificate_pins() {
            writeln!(
                f,
                "  {wrong} is the SHA-256 of a served certificate, not of its key; the pin of that \
                 key is {right}"
            )?;
        }
        write!(f, "  what to do: {}", cause.remedy())
    }
}

impl fmt::Debug for PinViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for PinViolation {}
