//! A failed judgement in, a [`PinViolation`] out: all facts of a refusal, for a program, for a
//! person, and for a report.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::policy::{
    AnchorOrigin, AppliedPolicy, Host, PinSource, PolicyState, SpkiFingerprint, timestamp,
};

/// A server whose chain is valid, but holds none of the keys pinned to its name.
///
/// What browsers call `ERR_SSL_PINNED_KEY_NOT_IN_CERT_CHAIN` (Chrome) and
/// `MOZILLA_PKIX_ERROR_KEY_PINNING_FAILURE` (Firefox). An invalid chain is never a pin violation.
/// Printed, it says what was expected and what was seen, where the pins came from and what to do.
/// Cheap to clone.
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
    chain: ValidatedChain,
    at: UnixTime,
}

impl PinViolation {
    pub(crate) fn new(
        host: Host,
        policy: &AppliedPolicy,
        chain: ValidatedChain,
        at: UnixTime,
    ) -> Self {
        Self(Arc::new(Facts {
            host,
            policy: policy.clone(),
            chain,
            at,
        }))
    }

    /// The host asked for.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// The policy that failed: its pins, the name it is kept under, its source and expiry.
    #[must_use]
    pub fn policy(&self) -> &AppliedPolicy {
        &self.0.policy
    }

    /// The chain that was valid: of several, the last one tried.
    #[must_use]
    pub fn chain(&self) -> &ValidatedChain {
        &self.0.chain
    }

    /// When it was judged.
    #[must_use]
    pub fn at(&self) -> UnixTime {
        self.0.at
    }

    /// A certificate that was served beside the path and carries a pinned key: it proves nothing,
    /// but tells what happened.
    fn unused_pinned_certificate(&self) -> Option<SpkiFingerprint> {
        let mut keys = self.0.chain.served_keys();
        keys.find(|key| self.0.policy.pins.contains(key))
    }

    fn advice(&self) -> &'static str {
        if self.0.policy.state == PolicyState::Expired {
            return "the pins have expired and the policy then refuses: update the application.";
        }
        match (self.0.chain.anchor_origin(), self.0.policy.source) {
            (AnchorOrigin::UserAdded, _) => {
                "a proxy or scanner on this device or network reads the traffic, and the policy \
                 enforces its pins on user-added roots: connect without it, or let the policy \
                 skip pins there (`UserAddedRoots::SkipPins`)."
            }
            #[cfg(pinhold_debug_overrides)]
            (AnchorOrigin::DebugOverride, _) => "nothing: this build overrides its pins.",
            (AnchorOrigin::Unknown, _) => {
                "the root is of unknown origin: from the platform's store or `SSL_CERT_FILE`, and \
                 in no list of known roots. If the user or administrator added it, hand it in by \
                 `TrustAnchors::with_user_added` (all such roots: `with_unknown_as_user_added`); \
                 else somebody may be reading the traffic."
            }
            (AnchorOrigin::BuiltIn, PinSource::Static) => {
                "either the server now uses a key or CA that the application was not emitted of (add \
                 its pin to the static policy and ship it), or the certificate was issued to \
                 somebody else. Ask the server's operator which, by another channel."
            }
            (AnchorOrigin::BuiltIn, PinSource::Noted) => {
                "either the server changed to keys that it had not announced, or the certificate \
                 was issued to somebody else. Ask the server's operator which, by another channel; \
                 only if the change is genuine, forget the noted host (`PinStore::forget`)."
            }
        }
    }
}

impl Facts {
    /// What was seen.
    fn write_chain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.chain.anchor_origin() {
            AnchorOrigin::BuiltIn => "a built-in root",
            #[cfg(pinhold_debug_overrides)]
            AnchorOrigin::DebugOverride => "a root that overrides pins",
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

    /// What was expected, and who said so.
    fn write_policy(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.policy;
        let source = match policy.source {
            PinSource::Noted => "noted from its Public-Key-Pins header",
            PinSource::Static => "set by the application",
        };
        let name = &policy.noted_hostname;
        write!(f, "  expected one of, {source} for {name}")?;
        if policy.includes_subdomains {
            f.write_str(" and its subdomains")?;
        }
        if let Some(expiry) = policy.expires_at {
            let end = timestamp::print(expiry);
            write!(f, ", until {}", end.as_deref().unwrap_or("the end of time"))?;
        }
        writeln!(f, ":")?;
        for pin in policy.pins.iter() {
            writeln!(f, "    {pin}")?;
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
                "no key in the validated chain of {host} is among the pins on trial; it goes on"
            )?,
            PolicyState::Enforced => {
                writeln!(f, "no key in the validated chain of {host} is pinned")?
            }
        }
        self.0.write_chain(f)?;
        self.0.write_policy(f)?;
        if let Some(key) = self.unused_pinned_certificate() {
            writeln!(
                f,
                "  the server also sent a certificate with the pinned key {key}, but it is no part \
                 of the chain and proves nothing"
            )?;
        }
        write!(f, "  what to do: {}", self.advice())
    }
}

impl fmt::Debug for PinViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinViolation")
            .field("host", &self.0.host)
            .field("policy", &self.0.policy)
            .field("chain", &self.0.chain)
            .field("at", &self.0.at)
            .finish()
    }
}

impl Error for PinViolation {}
