//! The text of a pin violation: what the facts show about the cause, what was seen, what was
//! expected, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use pinhold::policy::{AppliedPolicy, PinGroup, PinRole, PinSource, PolicyState};
use pinhold::roots::AnchorOrigin;
use pinhold::tls::{CaEvidence, Cause, ChainKey, KeyRole, PathEvidence};
use pinhold::{PinViolation, Pinning, SpkiFingerprint, UserAddedRoots, ValidatedChain};
use serde_json::{Value, json};

use crate::cause::cause_json;
use crate::output::{cut, wrapped, wrapped_first};
use crate::pin_file::{groups_json, pin_text, state_word};
use crate::rfc3339;
use crate::roots::Roots;

/// Where the pins of a command come from, as its errors name it.
#[derive(Clone, Default)]
pub(crate) struct PinSources {
    /// Whether pins were given by `--pin`, which apply to the host of the URL.
    pub(crate) has_pin_options: bool,
    /// The pin file, if one is in use.
    pub(crate) pins: Option<PathBuf>,
}

/// A pin violation, and the options that its text names.
pub(crate) struct Refusal {
    violation: PinViolation,
    /// The policies that failed: that of the violation, and then the others of the host.
    policies: Vec<AppliedPolicy>,
    roots: Roots,
    sources: PinSources,
}

impl Refusal {
    pub(crate) fn new(violation: PinViolation, roots: Roots, sources: PinSources) -> Self {
        Self {
            policies: vec![violation.policy().clone()],
            violation,
            roots,
            sources,
        }
    }

    /// Adds the other policies of the host that the chain fails: static and noted pins must both
    /// pass.
    pub(crate) fn add_policies(&mut self, pinning: &Pinning) {
        let (violation, chain) = (&self.violation, self.violation.chain());
        let policies = pinning.policies(violation.host(), violation.at());
        let others = [policies.static_policy, policies.noted];
        let fails = |policy: &AppliedPolicy| {
            policy.source != violation.policy().source && fails(policy, chain)
        };
        self.policies
            .extend(others.into_iter().flatten().filter(fails));
    }

    pub(crate) fn json(&self, message: &str) -> Value {
        let policies = self.policies.iter().map(policy_json);
        let certificate_pins = self.violation.certificate_pins().into_iter();
        let certificate_pins = certificate_pins.map(
            |(pin, correct)| json!({ "pin": pin.to_string(), "correct": correct.to_string() }),
        );
        let mut object = json!({
            "error": "pin-violation",
            "host": self.violation.host().as_str(),
            "policies": policies.collect::<Vec<_>>(),
            "certificate_pins": certificate_pins.collect::<Vec<_>>(),
            "chain": chain_json(self.violation.chain()),
            "cause": cause_json(self.violation.cause()),
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
        let chain = self.violation.chain();
        // The statement of these causes names it, and what it proves.
        if let Cause::AppendedCertificate { .. }
        | Cause::OtherPath {
            evidence: PathEvidence::CrossSigned { .. } | PathEvidence::IssuedPinned { .. },
        }
        | Cause::SameCa {
            evidence: CaEvidence::IssuedPinned { .. },
            ..
        } = self.violation.cause()
        {
            return None;
        }
        let served = chain.served().iter();
        let mut keys = served.filter_map(|der| SpkiFingerprint::of_certificate(der).ok());
        keys.find(|key| {
            let is_used = chain.fingerprints().contains(key);
            !is_used && self.policies.iter().any(|it| it.pins.contains(key))
        })
    }

    /// Returns the pin file if this policy is set there.
    fn file_of(&self, policy: &AppliedPolicy) -> Option<impl fmt::Display> {
        let is_of_option = policy.source == PinSource::Static
            && self.sources.has_pin_options
            && policy.noted_hostname == *self.violation.host();
        let is_of_file = policy.source != PinSource::Noted && !is_of_option;
        let file = self.sources.pins.as_deref().filter(|_| is_of_file);
        file.map(Path::display)
    }

    fn headline(&self) -> String {
        let (host, policy) = (self.violation.host(), self.violation.policy());
        match policy.state {
            PolicyState::Expired => format!("the pins of {host} have expired"),
            _ if policy.source == PinSource::RefusedKeys => {
                format!("the validated chain of {host} contains a refused key")
            }
            _ if !policy.groups().is_empty() => {
                format!("the validated chain of {host} lacks keys that are pinned")
            }
            _ => format!("no key in the validated chain of {host} is pinned"),
        }
    }

    /// Returns what to do, in words of the command line. As in the library, nothing loosens pins or
    /// trusts another root: that is what an attacker wants to be done.
    fn advice(&self) -> String {
        let file = self.file_of(self.violation.policy());
        match (self.violation.cause(), file) {
            (Cause::WrongHash { .. }, _) => "replace it by the pin of the key".to_owned(),
            (Cause::ExpiredPolicy { .. }, Some(file)) => {
                format!("replace {file} by a newer pin file")
            }
            (Cause::ExpiredPolicy { .. }, None) => "replace the pin file by a newer one".to_owned(),
            (Cause::RefusedKey { .. }, _) => {
                "ask the server's operator for a certificate without the refused keys".to_owned()
            }
            (Cause::UserAddedRoot { .. }, _) => {
                "connect without the proxy that the --user-ca root belongs to".to_owned()
            }
            _ => "check with the server's operator over another channel whether a key seen is the \
                  server's"
                .to_owned(),
        }
    }

    /// Returns which pins were expected, and where they came from.
    fn expectation(&self, policy: &AppliedPolicy) -> String {
        let host = &policy.noted_hostname;
        let until = policy.expires_at.map(rfc3339::print);
        let until = until.map_or_else(String::new, |at| format!(" and in effect until {at}"));
        let pins = if policy.groups().len() > 1 {
            "a key of each group"
        } else {
            "one of these pins"
        };
        match (policy.source, self.file_of(policy)) {
            (PinSource::Noted, _) => {
                format!("expected {pins}, noted from the header of {host}{until}")
            }
            (PinSource::RefusedKeys, _) => {
                "expected none of `refused_keys` of the pin file, but found".to_owned()
            }
            (_, Some(file)) if policy.state == PolicyState::Expired => {
                format!("the pins that have expired, set for {host} in {file}{until}")
            }
            (_, Some(file)) => format!("expected {pins}, set for {host} in {file}{until}"),
            _ => format!("expected {pins}, from --pin"),
        }
    }

    fn write_expected(&self, f: &mut fmt::Formatter<'_>, policy: &AppliedPolicy) -> fmt::Result {
        writeln!(f, "{}:", wrapped(&self.expectation(policy)))?;
        if policy.groups().is_empty() {
            let mut pins = policy.pins.iter();
            return pins.try_for_each(|pin| writeln!(f, "    {pin}"));
        }
        let keys = self.violation.chain().fingerprints();
        for group in policy.groups() {
            let found = if matches(group, keys) {
                "found"
            } else {
                "missing"
            };
            writeln!(f, "    one of ({found}):")?;
            for (role, pin) in group.iter() {
                writeln!(f, "      {}", pin_text(role, pin))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.violation.chain();
        writeln!(f, "{}", wrapped_first(&self.violation.cause().to_string()))?;
        writeln!(f, "{}", wrapped(&self.headline()))?;
        let root = self.roots.root(chain.anchor_origin());
        writeln!(f, "  seen, in a valid chain to {root}:")?;
        for key in chain.keys() {
            writeln!(f, "    {}", key_lines(&key, "      "))?;
        }
        for policy in &self.policies {
            self.write_expected(f, policy)?;
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
        for (wrong, right) in self.violation.certificate_pins() {
            let text = format!(
                "{wrong} is the SHA-256 of a served certificate, not of its key; the pin of that \
                 key is {right}"
            );
            writeln!(f, "{}", wrapped(&text))?;
        }
        let advice = format!("what to do: {}", self.advice());
        write!(f, "{}", wrapped(&advice))
    }
}

/// Returns whether a policy refuses a chain.
fn fails(policy: &AppliedPolicy, chain: &ValidatedChain) -> bool {
    let skips = policy.user_added_roots == UserAddedRoots::SkipPins
        && chain.anchor_origin() == AnchorOrigin::UserAdded;
    let keys = chain.fingerprints();
    match policy.state {
        PolicyState::Expired => true,
        PolicyState::Enforced if skips => false,
        PolicyState::Enforced if policy.groups().is_empty() => !policy.pins.matches(keys),
        PolicyState::Enforced => !policy.groups().iter().all(|group| matches(group, keys)),
        _ => false,
    }
}

/// Returns whether a chain with these keys, leaf first, contains a pin of the group.
fn matches(group: &PinGroup, keys: &[SpkiFingerprint]) -> bool {
    group.iter().any(|(role, pin)| {
        let mut at = keys.iter().enumerate().filter(|(_, key)| *key == pin);
        at.any(|(index, _)| match role {
            PinRole::Leaf => index == 0,
            PinRole::Ca => index > 0,
            _ => true,
        })
    })
}

fn policy_json(policy: &AppliedPolicy) -> Value {
    let pins = policy.pins.iter().map(ToString::to_string);
    let pins = pins.collect::<Vec<_>>();
    let mut object = json!({
        "noted_hostname": policy.noted_hostname.as_str(),
        "source": source_word(policy.source),
        "state": state_word(policy.state),
        "expected": [],
        "groups": [],
        "refused": [],
    });
    if let Value::Object(fields) = &mut object {
        if policy.source == PinSource::RefusedKeys {
            fields.insert("refused".to_owned(), json!(pins));
        } else {
            fields.insert("expected".to_owned(), json!(pins));
            fields.insert("groups".to_owned(), json!(groups_json(policy)));
        }
    }
    object
}

pub(crate) fn source_word(source: PinSource) -> &'static str {
    match source {
        PinSource::Bundle(_) => "bundle",
        PinSource::Noted => "noted",
        PinSource::RefusedKeys => "refused-keys",
        _ => "static",
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
