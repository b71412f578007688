//! The text of an [`Explanation`].

use std::fmt;

use rustls_pki_types::UnixTime;

use crate::pinning::explain::{Explanation, StaticOrigin};
use crate::policy::timestamp::print_capped;
use crate::policy::{
    AfterExpiry, AppliedPolicy, HostMatch, PlainHttp, PolicyState, Scope, UnpinnedHosts,
};

impl fmt::Display for StaticOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application => f.write_str("the application"),
            #[cfg(feature = "bundles")]
            Self::Bundle(version) => write!(f, "pin bundle {version}"),
            Self::PinFile => f.write_str("the pin file of the application"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policies = &self.policies;
        write!(f, "{} at {}", self.host, print_capped(self.at))?;
        if policies.iter().next().is_none() {
            write!(f, "\n  no policy applies")?;
        }
        if let Some(policy) = &policies.static_policy {
            write_policy(f, "static policy", policy)?;
            if let Some(origin) = self.static_origin {
                write!(f, "\n    set by {origin}")?;
            }
            write_state(f, policy, self.at, self.after_expiry)?;
        }
        if let Some(policy) = &policies.noted {
            write_policy(f, "noted policy", policy)?;
            write!(f, "\n    set by a Public-Key-Pins header")?;
            write_state(f, policy, self.at, Some(AfterExpiry::Unpin))?;
        }
        if let Some(policy) = &policies.candidate {
            write_policy(f, "candidate, only reported", policy)?;
        }
        #[cfg(feature = "bundles")]
        if let Some(policy) = &policies.fixed {
            write_policy(f, "fixed policy of the application", policy)?;
            write_state(f, policy, self.at, None)?;
        }
        self.write_others(f)?;
        self.write_anchors(f)
    }
}

impl Explanation {
    fn write_others(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for other in &self.others {
            let (host, scope) = (&other.host, scope_text(other.scope));
            write!(f, "\n  not applied: {host} ({scope}): {}", other.reason)?;
        }
        if let Some(keys) = &self.policies.refused_keys {
            write!(
                f,
                "\n  refused keys, whatever the policies say: {}",
                keys.len()
            )?;
        }
        match self.unpinned {
            Some(UnpinnedHosts::Refuse) => {
                write!(f, "\n  unpinned: every connection is refused")?;
            }
            Some(_) => write!(f, "\n  unpinned: every connection is reported")?,
            None => {}
        }
        let plain_http = match self.plain_http {
            PlainHttp::Allow => "allowed",
            PlainHttp::Refuse => "refused",
        };
        write!(f, "\n  plain http: {plain_http}")
    }

    fn write_anchors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\n  a valid chain to a root    with pinned keys  without"
        )?;
        for anchor in &self.anchors {
            let origin = format!("that is {}", anchor.origin);
            let (pinned, not_pinned) = (anchor.pinned, anchor.not_pinned);
            write!(f, "\n    {origin:<24} {pinned:<17} {not_pinned}")?;
        }
        if let Some(until) = self.until {
            write!(f, "\n  all of this until {}", print_capped(until))?;
        }
        Ok(())
    }
}

fn write_policy(f: &mut fmt::Formatter<'_>, name: &str, policy: &AppliedPolicy) -> fmt::Result {
    let (host, scope) = (&policy.noted_hostname, scope_text(policy.scope));
    let why = match policy.matched {
        HostMatch::Congruent => "the host itself",
        HostMatch::Superdomain => "a superdomain",
    };
    let pins = policy.pins.len();
    write!(
        f,
        "\n  {name}: {host} ({why}; covers {scope}), pins: {pins}"
    )
}

fn write_state(
    f: &mut fmt::Formatter<'_>,
    policy: &AppliedPolicy,
    at: UnixTime,
    then: Option<AfterExpiry>,
) -> fmt::Result {
    let state = match policy.state {
        PolicyState::Enforced => "enforced",
        PolicyState::Expired => "every chain is refused",
        PolicyState::ReportOnly => "only reported",
    };
    write!(f, "\n    {state}")?;
    let Some(until) = policy.expires_at else {
        return Ok(());
    };
    if at > until {
        return write!(f, ", expired at {}", print_capped(until));
    }
    write!(f, ", until {}", print_capped(until))?;
    match then {
        Some(AfterExpiry::Refuse) => f.write_str(", then every chain is refused"),
        Some(AfterExpiry::ReportOnly) => f.write_str(", then only reported"),
        Some(AfterExpiry::Unpin) => f.write_str(", then not applied"),
        None => Ok(()),
    }
}

fn scope_text(scope: Scope) -> &'static str {
    match scope {
        Scope::Host => "the host",
        Scope::HostAndSubdomains => "the host and its subdomains",
        Scope::OneLabel => "names of one label below",
        Scope::Subdomains => "its subdomains",
    }
}
