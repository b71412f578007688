//! The keys of health records, one for each set of pins of a policy, and the record of the salt.

use crate::policy::text::hex;
use crate::policy::{AppliedPolicy, Host, PinRole, Scope, sha256, timestamp};
use crate::store::record::Record;

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

pub(crate) fn salt_record(salt: [u8; 16]) -> Option<Record> {
    let value = ["\"", &hex(&salt), "\""].concat();
    Record::new(Record::HEALTH, SALT, &value, timestamp::at(0)).ok()
}

/// Parses the value of the record of a salt.
pub(crate) fn salt(value: &str) -> Option<[u8; 16]> {
    let digits = value.strip_prefix('"')?.strip_suffix('"')?;
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
    let bytes = pairs.iter().map(byte).collect::<Option<Vec<_>>>()?;
    bytes.try_into().ok().filter(|_| rest.is_empty())
}

/// The bytes of a digest of pins in a key. It distinguishes the sets of one host that its
/// application has had, and protects nothing.
const DIGEST: usize = 8;
