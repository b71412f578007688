//! [`PinViolation`], the facts of a refusal by pins, and their text.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::policy::text::write_with_causes;
use crate::policy::{
    AnchorOrigin, AppliedPolicy, Host, PinRole, PinSet, PinSource, PolicyState, SpkiFingerprint,
    sha256,
};

/// The refusal of a server whose chain is valid, but lacks the keys pinned to its name, or contains a
/// key that the application refuses.
///
/// Chrome calls it `ERR_SSL_PINNED_KEY_NOT_IN_CERT_CHAIN`, Firefox
/// `MOZILLA_PKIX_ERROR_KEY_PINNING_FAILURE`. An invalid chain is never a pin violation.
///
/// `Display` prints several lines: the keys that were seen, the pins that were expected and where
/// they came from, the likely cause, and what to do. `Debug` prints the same, since `main` prints
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
            Self::new(host, policy.clone(), Vec::new(), chain, facts.at)
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

    /// Returns the expected pins that are the SHA-256 of a served certificate and not of its public
    /// key, each with the pin of that key. Such a pin never matches.
    #[must_use]
    pub fn certificate_pins(&self) -> Vec<(SpkiFingerprint, SpkiFingerprint)> {
        let mut found = Vec::new();
        for (der, key) in self.0.chain.served_keys() {
            let digest = SpkiFingerprint::from_digest(sha256(&[der]));
            if self.0.policy.pins.contains(&digest) {
                found.push((digest, key));
            }
        }
        found
    }

    /// Returns a pinned key whose certificate was served, but is not on the validated path. It
    /// proves nothing, but hints at the cause: an appended certificate, or a missing intermediate.
    fn unused_pinned_certificate(&self) -> Option<SpkiFingerprint> {
        let chain = &self.0.chain;
        // With pins of groups, a pinned key may be on the path of a refused chain.
        let is_unused = |key: &SpkiFingerprint| {
            self.0.policy.pins.contains(key) && !chain.fingerprints().contains(key)
        };
        chain.served_keys().map(|(_, key)| key).find(is_unused)
    }

    /// Returns the likely cause and what to do, if the pins themselves show it.
    fn explanation_by_pins(&self) -> Option<(&'static str, &'static str)> {
        if self.0.policy.state == PolicyState::Expired {
            return Some((
                "the application is older than its pins, and the policy refuses after its expiry",
                "update the application",
            ));
        }
        if self.0.policy.source == PinSource::RefusedKeys {
            return Some((
                "the server uses a key, or a CA, that the application no longer trusts",
                "ask the server's operator for a certificate with another key; remove the key from \
                 the refused ones only if it was listed by mistake",
            ));
        }
        if !self.certificate_pins().is_empty() {
            return Some((
                "a pin was computed from the whole certificate instead of its public key",
                "replace it by the pin of the key; `pinhold fingerprint` prints it for a file or a \
                 server",
            ));
        }
        None
    }

    /// Returns the likely cause and what to do.
    fn explanation(&self) -> (&'static str, &'static str) {
        if let Some(explanation) = self.explanation_by_pins() {
            return explanation;
        }
        match (self.0.chain.anchor_origin(), self.0.policy.source) {
            (AnchorOrigin::UserAdded, _) => (
                "a proxy or scanner on this device or network decrypts the traffic, and the policy \
                 enforces its pins on user-added roots",
                "connect without the proxy, or let the policy skip pins there \
                 (`UserAddedRoots::SkipPins`)",
            ),
            #[cfg(pinhold_debug_overrides)]
            (AnchorOrigin::DebugOverride, _) => {
                ("this build skips pins on chains to this root", "nothing")
            }
            (AnchorOrigin::Unknown, _) => (
                "the root comes from the platform's store or `SSL_CERT_FILE` and is in no list of \
                 known roots: either the user or administrator added it, or somebody decrypts the \
                 traffic",
                "if it was added on purpose, pass it to `TrustAnchors::with_user_added` (all such \
                 roots: `with_unknown_as_user_added`)",
            ),
            (AnchorOrigin::BuiltIn, PinSource::Noted) => (
                "the server now uses keys that its header had not announced, or the certificate \
                 was issued to another party",
                "ask the server's operator over another channel; if the key is the server's, \
                 forget the noted host (`PinStore::forget`)",
            ),
            (AnchorOrigin::BuiltIn, _) if self.0.policy.state == PolicyState::ReportOnly => (
                "the server uses a key or CA that these pins lack, or the certificate was issued to \
                 another party",
                "ask the server's operator over another channel; if the key is the server's, add \
                 its pin before these pins are enforced",
            ),
            #[cfg(feature = "bundles")]
            (AnchorOrigin::BuiltIn, PinSource::Bundle(_)) => (
                "the server now uses a key or CA that the pin bundle lacks, or the certificate was \
                 issued to another party",
                "ask the server's operator over another channel; if the key is the server's, issue \
                 a bundle with its pin",
            ),
            (AnchorOrigin::BuiltIn, PinSource::RefusedKeys | PinSource::Static) => (
                "the server now uses a key or CA that the application does not pin, or the \
                 certificate was issued to another party",
                "ask the server's operator over another channel; if the key is the server's, add \
                 its pin to the static policy and ship an update",
            ),
        }
    }
}

impl Facts {
    fn write_seen_keys(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.chain.anchor_origin() {
            AnchorOrigin::BuiltIn => "a built-in root",
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

    fn write_expected_pins(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.policy;
        let what = match policy.source {
            PinSource::RefusedKeys => "none of the keys",
            _ if policy.groups().is_empty() => "one of",
            _ => "one of each group",
        };
        writeln!(f, "  expected {what}, {}:", policy.provenance())?;
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
        let host = &self.0.host;
        match self.0.policy.state {
            PolicyState::Expired => writeln!(f, "the pins of {host} have expired")?,
            PolicyState::ReportOnly => writeln!(
                f,
                "no key in the validated chain of {host} matches the report-only or candidate pins; \
                 the connection is not refused"
            )?,
            PolicyState::Enforced if self.0.policy.source == PinSource::RefusedKeys => {
                writeln!(f, "the validated chain of {host} contains a refused key")?;
            }
            PolicyState::Enforced if !self.0.policy.groups().is_empty() => {
                writeln!(
                    f,
                    "the validated chain of {host} lacks keys that are pinned"
                )?;
            }
            PolicyState::Enforced => {
                writeln!(f, "no key in the validated chain of {host} is pinned")?;
            }
        }
        self.0.write_seen_keys(f)?;
        self.0.write_expected_pins(f)?;
        if let Some(key) = self.unused_pinned_certificate() {
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
        let (cause, remedy) = self.explanation();
        write!(f, "  likely cause: {cause}\n  what to do: {remedy}")
    }
}

impl fmt::Debug for PinViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for PinViolation {}
