//! The text of a pin violation: what was seen, what was expected, the likely cause, and which
//! command to run.

use std::fmt;
use std::path::{Path, PathBuf};

use pinhold::policy::{AppliedPolicy, PinGroup, PinRole, PinSource, PolicyState};
use pinhold::roots::AnchorOrigin;
use pinhold::tls::{ChainKey, KeyRole};
use pinhold::{PinViolation, Pinning, SpkiFingerprint, UserAddedRoots, ValidatedChain};
use serde_json::{Value, json};

use crate::output::{cut, wrapped};
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
    /// The store file, if one is in use.
    pub(crate) store: Option<PathBuf>,
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
        let served = chain.served().iter();
        let mut keys = served.filter_map(|der| SpkiFingerprint::of_certificate(der).ok());
        keys.find(|key| {
            let is_used = chain.fingerprints().contains(key);
            !is_used && self.policies.iter().any(|it| it.pins.contains(key))
        })
    }

    /// Returns the kind of the violation's policy, which decides cause and remedy.
    fn kind(&self) -> Kind {
        let policy = self.violation.policy();
        if policy.source == PinSource::RefusedKeys {
            return Kind::RefusedKey;
        }
        if policy.state == PolicyState::Expired {
            return Kind::Expired;
        }
        if !self.violation.certificate_pins().is_empty() {
            return Kind::CertificatePin;
        }
        if self.violation.chain().anchor_origin() == AnchorOrigin::UserAdded {
            return Kind::UserAddedRoot;
        }
        Kind::OtherKeys
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
        let host = self.violation.host();
        match self.kind() {
            Kind::Expired => format!("the pins of {host} have expired"),
            Kind::RefusedKey => format!("the validated chain of {host} contains a refused key"),
            _ if !self.violation.policy().groups().is_empty() => {
                format!("the validated chain of {host} lacks keys that are pinned")
            }
            _ => format!("no key in the validated chain of {host} is pinned"),
        }
    }

    fn cause(&self) -> String {
        let is_of_file = self.file_of(self.violation.policy()).is_some();
        match self.kind() {
            Kind::CertificatePin => {
                "a pin was computed from the whole certificate instead of its public key".to_owned()
            }
            Kind::Expired => {
                "the pin file is older than its pins, and the policy refuses after its expiry"
                    .to_owned()
            }
            Kind::OtherKeys => {
                let causes = self.policies.iter().map(|policy| match policy.source {
                    PinSource::Noted => "the server uses keys that its header had not announced",
                    _ if self.file_of(policy).is_some() => {
                        "the server uses a key or CA that the pin file does not pin"
                    }
                    _ => "the server uses a key or CA that no --pin names",
                });
                let causes = causes.collect::<Vec<_>>().join(", and ");
                format!("{causes}; or its certificate was issued to another party")
            }
            Kind::RefusedKey => {
                "the server uses a key, or a CA, that the pin file no longer trusts".to_owned()
            }
            Kind::UserAddedRoot if is_of_file => {
                "a proxy on this network inspects the traffic, and the pins are enforced on \
                 --user-ca roots"
                    .to_owned()
            }
            Kind::UserAddedRoot => {
                "a proxy on this network inspects the traffic, and --enforce-on-user-ca is set"
                    .to_owned()
            }
        }
    }

    fn advice(&self) -> String {
        let policy = self.violation.policy();
        match (self.kind(), self.file_of(policy)) {
            (Kind::CertificatePin, _) => "replace it by the pin of the key".to_owned(),
            (Kind::Expired, Some(file)) => format!("replace {file} by a newer pin file"),
            (Kind::Expired, None) => "replace the pin file by a newer one".to_owned(),
            // The command is what an attacker wants to be run, so the check comes before it.
            (Kind::OtherKeys, _) => {
                "check with the server's operator over another channel whether a key seen is the \
                 server's"
                    .to_owned()
            }
            (Kind::RefusedKey, _) => {
                "ask the server's operator for a certificate with another key; remove the key from \
                 `refused_keys` only if it was listed by mistake"
                    .to_owned()
            }
            (Kind::UserAddedRoot, Some(file)) => format!(
                "connect without the proxy, or let {file} skip the pins there \
                 (`\"user_added_roots\": \"skip-pins\"`)"
            ),
            (Kind::UserAddedRoot, None) => {
                "connect without the proxy, or omit --enforce-on-user-ca".to_owned()
            }
        }
    }

    /// Returns what to do about a policy, once the operator has confirmed the keys.
    fn remedy(&self, policy: &AppliedPolicy) -> String {
        let host = &policy.noted_hostname;
        match (policy.source, self.file_of(policy)) {
            (PinSource::Noted, _) => {
                let store = self.sources.store.as_deref();
                let store = store.unwrap_or_else(|| Path::new("FILE"));
                format!("pinhold store forget {host} --file={}", shell_word(store))
            }
            (_, Some(file)) => format!("add the pin of the key to {host} in {file}"),
            _ => "add the key by another --pin".to_owned(),
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
                "expected none of the refused keys of the pin file, but found".to_owned()
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

/// What kind of policy is violated, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An expected pin is the SHA-256 of a certificate.
    CertificatePin,
    /// The policy has expired, and refuses every chain.
    Expired,
    /// The chain has other keys than the pinned ones.
    OtherKeys,
    RefusedKey,
    /// The pins are enforced on a chain to a `--user-ca` root.
    UserAddedRoot,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.violation.chain();
        writeln!(f, "{}", self.headline())?;
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
        writeln!(f, "{}", wrapped(&format!("likely cause: {}", self.cause())))?;
        let advice = format!("what to do: {}", self.advice());
        write!(f, "{}", wrapped(&advice))?;
        if self.kind() == Kind::OtherKeys {
            for policy in &self.policies {
                write!(f, "\n  only then: {}", self.remedy(policy))?;
            }
        }
        Ok(())
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
