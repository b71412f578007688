//! What results state about a bundle.

use pinhold::bundle::{PinBundle, WhenStale};
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};

use crate::output::counted;
use crate::rfc3339;

/// Returns the members that all results about a bundle have.
pub(super) fn json(bundle: &PinBundle) -> Value {
    let version = bundle.version();
    json!({
        "kind": "bundle",
        "version": version.bundle,
        "root_version": version.root,
        "issued": rfc3339::print(bundle.issued()),
        "expires": rfc3339::print(bundle.expires()),
        "hosts": bundle.pins().policies().len(),
        "digest": hex(&bundle.digest()),
    })
}

/// Adds the members of one object to another.
pub(super) fn joined(mut one: Value, other: Value) -> Value {
    if let (Value::Object(members), Value::Object(others)) = (&mut one, other) {
        members.extend(others);
    }
    one
}

/// Returns version, size and expiry in one line, and what weakens the bundle.
pub(super) fn summary(bundle: &PinBundle) -> String {
    let hosts = counted(bundle.pins().policies().len(), "host", "hosts");
    let expires = rfc3339::print(bundle.expires());
    let mut text = format!(
        "bundle {} with {hosts}, not stale until {expires}",
        bundle.version()
    );
    if let Some(staging) = bundle.staging() {
        text += &format!(", staged for {} %", staging.percent());
    }
    if let Some(until) = bundle.kill_switch() {
        text += &format!(", report-only until {}", rfc3339::print(until));
    }
    text
}

pub(crate) fn when_stale(choice: WhenStale) -> &'static str {
    match choice {
        WhenStale::BuiltIn => "built-in",
        WhenStale::ReportOnly => "report-only",
        _ => "enforce",
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns how many whole days are left until a time; `None` after it.
pub(super) fn days_left(until: UnixTime, now: UnixTime) -> Option<u64> {
    let seconds = until.as_secs().checked_sub(now.as_secs())?;
    Some(seconds / (24 * 60 * 60))
}
