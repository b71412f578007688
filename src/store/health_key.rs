//! The keys of health records, one for each set of pins of a policy.

use crate::policy::text::hex;
use crate::policy::{AppliedPolicy, Host, PinRole, Scope, sha256};

/// The key of the salt. No host name has it and is followed by a scope.
pub(crate) const SALT: &str = "salt";

/// Returns the key of the history of this policy's pins: its host, its scope and a digest of the pins.
/// Other pins have a history of their own.
pub(crate) fn key(policy: &AppliedPolicy) -> Box<str> {
    let mut bytes = Vec::new();
    if policy.groups().is_empty() {
        policy
            .pins
            .iter()
            .for_each(|pin| bytes.extend(pin.as_bytes()));
    }
    for group in policy.groups() {
        bytes.push(b'&');
        for (role, pin) in group.iter() {
            bytes.push(match role {
                PinRole::Any => b'*',
                PinRole::Ca => b'c',
                PinRole::Leaf => b'l',
            });
            bytes.extend(pin.as_bytes());
        }
    }
    let digest = sha256(&[&bytes]);
    let digest = hex(digest.first_chunk::<DIGEST>().unwrap_or(&[0; DIGEST]));
    let host = policy.noted_hostname.as_str();
    [host, " ", scope_name(policy.scope), " ", &digest]
        .concat()
        .into()
}

/// Returns the host and the scope of a key.
pub(crate) fn parse(key: &str) -> Option<(Host, Scope)> {
    let mut parts = key.split(' ');
    let (host, scope, digest) = (parts.next()?, parts.next()?, parts.next()?);
    let scopes = [
        Scope::Host,
        Scope::OneLabel,
        Scope::Subdomains,
        Scope::HostAndSubdomains,
    ];
    let scope = scopes
        .into_iter()
        .find(|known| scope_name(*known) == scope)?;
    let host = Host::parse(host)
        .ok()
        .filter(|known| known.as_str() == host)?;
    let is_digest = digest.len() == 2 * DIGEST && parts.next().is_none();
    is_digest.then_some((host, scope))
}

/// Returns the name of a scope in keys and exports.
pub(crate) fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Host => "host",
        Scope::OneLabel => "one-label",
        Scope::Subdomains => "subdomains",
        Scope::HostAndSubdomains => "host-and-subdomains",
    }
}

/// The bytes of a digest of pins in a key. It distinguishes the sets of one host that its
/// application has had, and protects nothing.
const DIGEST: usize = 8;
