//! The public suffix list of the system, and names whose subdomains belong to others.

use std::fs;

use pinhold::Host;
use pinhold::policy::Scope;
use pinhold::storage::PublicSuffixes;

/// Reads the list; `None` if the system has none.
pub(crate) fn load() -> Option<PublicSuffixes> {
    let bytes = fs::read(PublicSuffixes::PATH).ok()?;
    PublicSuffixes::from_bytes(bytes).ok()
}

/// Returns what a name is whose pins cover subdomains of others, as part of a sentence; `None` for a
/// name of which its owner has all subdomains.
pub(crate) fn shared_subdomains(
    host: &Host,
    scope: Scope,
    suffixes: Option<&PublicSuffixes>,
) -> Option<&'static str> {
    if !scope.includes_subdomains() {
        return None;
    }
    let is_suffix = |list: &PublicSuffixes| list.public_suffix(host.as_str()) == host.as_str();
    if host.is_single_label() {
        Some("a top-level domain")
    } else if suffixes.is_some_and(is_suffix) {
        Some("a public suffix, under which anyone can register a name")
    } else {
        None
    }
}
