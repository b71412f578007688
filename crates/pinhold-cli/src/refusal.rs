//! The text of a pin violation: what was seen, what was expected, the likely cause, and which
//! command to run.

use std::fmt;
use std::path::{Path, PathBuf};

use pinhold::policy::{AppliedPolicy, PinSource, PolicyState};
use pinhold::roots::AnchorOrigin;
use pinhold::tls::{ChainKey, KeyRole};
use pinhold::{PinViolation, Pinning, SpkiFingerprint, ValidatedChain};
use serde_json::{Value, json};

use crate::output::{cut, wrapped};
use crate::rfc3339;
use crate::roots::Roots;

/// A pin violation, and the options that its text names.
pub(crate) struct Refusal {
    violation: PinViolation,
    /// The policies that failed: that of the violation, and then the others of the host.
    policies: Vec<AppliedPolicy>,
    roots: Roots,
    /// The store file, if one is in use.
    store: Option<PathBuf>,
}

impl Refusal {
    pub(crate) fn new(violation: PinViolation, roots: Roots, store: Option<PathBuf>) -> Self {
        Self {
            policies: vec![violation.policy().clone()],
            violation,
            roots,
            store,
        }
    }

    /// Adds the other policies of the host that the chain fails: static and noted pins must both
    /// pass.
    pub(crate) fn add_policies(&mut self, pinning: &Pinning) {
        let (violation, chain) = (&self.violation, self.violation.chain());
        let policies = pinning.policies(violation.host(), violation.at());
        let others = [policies.static_policy, policies.noted];
        let fails = |policy: &AppliedPolicy| {
            policy.source != violation.policy().source
                && policy.state == PolicyState::Enforced
                && !chain
                    .keys()
                    .any(|key| policy.pins.contains(&key.fingerprint))
        };
        self.policies
            .extend(others.into_iter().flatten().filter(fails));
    }

    pub(crate) fn json(&self, message: &str) -> Value {
        let policies = self.policies.iter().map(policy_json);
        let mut object = json!({
            "error": "pin-violation",
            "host": self.violation.host().as_str(),
            "policies": policies.collect::<Vec<_>>(),
            "chain": chain_json(self.violation.chain()),
            "anchor_origin": self.violation.chain().anchor_origin().to_string(),
            "message": message,
        });
        if let (Value::Object(fields), Value::Object(policy)) =
            (&mut object, policy_json(self.violation.policy()))
        {
            fields.extend(policy);
        }
        object
    }

    /// Returns a pinned key whose certificate was served, but is not on the validated path.
    fn unused_pinned_key(&self) -> Option<SpkiFingerprint> {
        let served = self.violation.chain().served().iter();
        let mut keys = served.filter_map(|der| SpkiFingerprint::of_certificate(der).ok());
        keys.find(|key| self.policies.iter().any(|it| it.pins.contains(key)))
    }

    /// Returns whether the chain ends in a `--user-ca` root. It is refused only with
    /// `--enforce-on-user-ca`.
    fn is_user_added(&self) -> bool {
        self.violation.chain().anchor_origin() == AnchorOrigin::UserAdded
    }

    fn cause(&self) -> String {
        if self.is_user_added() {
            return "a proxy on this network inspects the traffic, and --enforce-on-user-ca is set"
                .to_owned();
        }
        let causes = self.policies.iter().map(|policy| match policy.source {
            PinSource::Noted => "the server uses keys that its header had not announced",
            _ => "the server uses a key or CA that no --pin names",
        });
        let causes = causes.collect::<Vec<_>>().join(", and ");
        format!("{causes}; or its certificate was issued to another party")
    }

    /// Returns what to do about a policy, once the operator has confirmed the keys.
    fn remedy(&self, policy: &AppliedPolicy) -> String {
        match policy.source {
            PinSource::Noted => {
                let host = &policy.noted_hostname;
                let file = self.store.as_deref().unwrap_or_else(|| Path::new("FILE"));
                format!("pinhold store forget {host} --file={}", shell_word(file))
            }
            _ => "add the key by another --pin".to_owned(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let violation = &self.violation;
        let chain = violation.chain();
        let host = violation.host();
        writeln!(f, "no key in the validated chain of {host} is pinned")?;
        let root = self.roots.root(chain.anchor_origin());
        writeln!(f, "  seen, in a valid chain to {root}:")?;
        for key in chain.keys() {
            writeln!(f, "    {}", key_lines(&key, "      "))?;
        }
        for policy in &self.policies {
            writeln!(f, "{}:", wrapped(&expectation(policy)))?;
            for pin in policy.pins.iter() {
                writeln!(f, "    {pin}")?;
            }
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
        writeln!(f, "{}", wrapped(&format!("likely cause: {}", self.cause())))?;
        if self.is_user_added() {
            let remedy = "connect without the proxy, or omit --enforce-on-user-ca";
            return write!(f, "  what to do: {remedy}");
        }
        // The command is what an attacker wants to be run, so the check comes before it.
        let check = "what to do: check with the server's operator over another channel whether a \
                     key seen is the server's";
        write!(f, "{}", wrapped(check))?;
        for policy in &self.policies {
            write!(f, "\n  only then: {}", self.remedy(policy))?;
        }
        Ok(())
    }
}

fn policy_json(policy: &AppliedPolicy) -> Value {
    let pins = policy.pins.iter().map(ToString::to_string);
    json!({
        "noted_hostname": policy.noted_hostname.as_str(),
        "source": match policy.source {
            PinSource::Noted => "noted",
            _ => "static",
        },
        "expected": pins.collect::<Vec<_>>(),
    })
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
    // A shell of Unix removes a backslash.
    let is_separator = |char| cfg!(windows) && char == '\\';
    let is_plain =
        |char: char| char.is_alphanumeric() || "/._-+,:@%=".contains(char) || is_separator(char);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
