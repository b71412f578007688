//! The text of a pin violation: what was seen, what was expected, the likely cause, and which
//! command to run.

use std::fmt;
use std::path::{Path, PathBuf};

use pinhold::policy::{AppliedPolicy, PinSource};
use pinhold::tls::{ChainKey, KeyRole};
use pinhold::{PinViolation, SpkiFingerprint, ValidatedChain};
use serde_json::{Value, json};

use crate::output::{cut, wrapped};
use crate::rfc3339;
use crate::roots::Roots;

/// A pin violation, and the options that its text names.
pub(crate) struct Refusal {
    pub(crate) violation: PinViolation,
    pub(crate) roots: Roots,
    /// The store file, if one is in use.
    pub(crate) store: Option<PathBuf>,
}

impl Refusal {
    pub(crate) fn json(&self, message: &str) -> Value {
        let policy = self.violation.policy();
        let pins = policy.pins.iter().map(ToString::to_string);
        json!({
            "error": "pin-violation",
            "host": self.violation.host().as_str(),
            "noted_hostname": policy.noted_hostname.as_str(),
            "source": match policy.source {
                PinSource::Noted => "noted",
                _ => "static",
            },
            "expected": pins.collect::<Vec<_>>(),
            "chain": chain_json(self.violation.chain()),
            "anchor_origin": self.violation.chain().anchor_origin().to_string(),
            "message": message,
        })
    }

    /// Returns a pinned key whose certificate was served, but is not on the validated path.
    fn unused_pinned_key(&self) -> Option<SpkiFingerprint> {
        let served = self.violation.chain().served().iter();
        let mut keys = served.filter_map(|der| SpkiFingerprint::of_certificate(der).ok());
        keys.find(|key| self.violation.policy().pins.contains(key))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (violation, policy) = (&self.violation, self.violation.policy());
        let chain = violation.chain();
        let host = violation.host();
        writeln!(f, "no key in the validated chain of {host} is pinned")?;
        let root = self.roots.root(chain.anchor_origin());
        writeln!(f, "  seen, in a valid chain to {root}:")?;
        for key in chain.keys() {
            writeln!(f, "    {}", key_lines(&key, "      "))?;
        }
        writeln!(f, "{}:", wrapped(&expectation(policy)))?;
        for pin in policy.pins.iter() {
            writeln!(f, "    {pin}")?;
        }
        if let Some(key) = self.unused_pinned_key() {
            writeln!(
                f,
                "  the server also sent a certificate with the pinned key"
            )?;
            writeln!(f, "    {key}")?;
            let outcome = "but it is not part of the validated chain, and proves nothing";
            writeln!(f, "  {outcome}")?;
        }
        let (cause, remedy) = match policy.source {
            PinSource::Noted => (
                "the server uses keys that its header had not announced",
                "remove the noted pins:",
            ),
            _ => (
                "the server uses a key or CA that no --pin names",
                "name it by another --pin",
            ),
        };
        let cause =
            format!("likely cause: {cause}, or its certificate was issued to somebody else");
        let remedy = format!(
            "what to do: check with the server's operator over another channel. If a key seen is \
             the server's, {remedy}"
        );
        write!(f, "{}\n{}", wrapped(&cause), wrapped(&remedy))?;
        if policy.source == PinSource::Noted {
            let host = &policy.noted_hostname;
            let file = self.store.as_deref().unwrap_or_else(|| Path::new("FILE"));
            let file = shell_word(file);
            write!(f, "\n    pinhold store forget {host} --file {file}")?;
        }
        Ok(())
    }
}

/// Returns which pins were expected, and where they came from.
fn expectation(policy: &AppliedPolicy) -> String {
    let host = &policy.noted_hostname;
    match (policy.source, policy.expires_at) {
        (PinSource::Noted, Some(at)) => format!(
            "expected one of these pins, noted from the header of {host} and in effect until {}",
            rfc3339::print(at)
        ),
        (PinSource::Noted, None) => {
            format!("expected one of these pins, noted from the header of {host}")
        }
        _ => "expected one of these pins, from --pin".to_owned(),
    }
}

/// Returns fingerprint and role of a key, and its subject on another line with this indentation. A
/// server may send a subject of any length.
pub(crate) fn key_lines(key: &ChainKey, indentation: &str) -> String {
    let (role, subject) = (role_name(key.role), cut(&key.subject, 100));
    format!("{}  {role}\n{indentation}{subject}", key.fingerprint)
}

pub(crate) fn role_name(role: KeyRole) -> &'static str {
    match role {
        KeyRole::Leaf => "leaf",
        KeyRole::Intermediate => "intermediate",
        _ => "root",
    }
}

/// Returns the keys of a chain, leaf first.
pub(crate) fn chain_json(chain: &ValidatedChain) -> Vec<Value> {
    let keys = chain.keys().map(|key| {
        json!({
            "fingerprint": key.fingerprint.to_string(),
            "role": role_name(key.role),
            "subject": cut(&key.subject, 255),
        })
    });
    keys.collect()
}

/// Returns a path as one word of a command line.
pub(crate) fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |char: char| char.is_alphanumeric() || "/._-+,:@%=\\".contains(char);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
