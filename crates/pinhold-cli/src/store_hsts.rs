//! Known HSTS hosts in the output of `pinhold store`.

use std::sync::Arc;

use pinhold::hsts::KnownHstsHost;
use pinhold::policy::HostMatch;
use pinhold::{Host, PinStore};
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};

use crate::rfc3339;

/// Returns an entry as `list` prints it with `--json`.
pub(crate) fn entry(known: &KnownHstsHost, now: UnixTime) -> Value {
    json!({
        "host": known.host.as_str(),
        "include_subdomains": known.includes_subdomains,
        "seen_since": rfc3339::print(known.seen_since),
        "confirmed": known.is_confirmed(),
        "noted_at": rfc3339::print(known.noted_at),
        "expires_at": rfc3339::print(known.expires_at),
        "expired": known.is_expired(now),
    })
}

/// Returns by which entry a host is a known HSTS host, as JSON and as text; null and `None` if it is
/// none.
pub(crate) fn query(store: &PinStore, host: &Host, now: UnixTime) -> (Value, Option<String>) {
    let Some((matched, known)) = store.query_hsts(host, now) else {
        return (Value::Null, None);
    };
    let why = match matched {
        HostMatch::Superdomain => "superdomain",
        _ => "congruent",
    };
    let expires_at = rfc3339::print(known.expires_at);
    let json = json!({
        "policy": known.host.as_str(),
        "why": why,
        "include_subdomains": known.includes_subdomains,
        "noted_at": rfc3339::print(known.noted_at),
        "expires_at": expires_at,
    });
    let policy = &known.host;
    let text =
        format!("{host} is reached by https only: HSTS of {policy} ({why}), expires {expires_at}");
    (json, Some(text))
}

/// Removes the entry of a host. Returns whether it had one and which entry still applies, as JSON and
/// as text.
pub(crate) fn forget(store: &PinStore, host: &Host, now: UnixTime) -> (Value, Option<String>) {
    let forgotten = store.forget_hsts(host).is_some();
    let applied = store.query_hsts(host, now);
    let policy = applied.as_ref().map(|(_, known)| known.host.as_str());
    let json = json!({ "forgotten": forgotten, "policy": policy });
    let removed = forgotten.then(|| format!("the HSTS entry of {host} was removed"));
    let applied = policy.map(|policy| format!("HSTS of {policy} still applies to it"));
    let texts = removed.into_iter().chain(applied).collect::<Vec<_>>();
    (json, (!texts.is_empty()).then(|| texts.join("; ")))
}

/// Returns how many entries were noted at a time or later.
pub(crate) fn noted_since(hosts: &[Arc<KnownHstsHost>], since: UnixTime) -> usize {
    hosts.iter().filter(|known| known.noted_at >= since).count()
}
