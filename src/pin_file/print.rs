//! Printing of a pin file.

use std::fmt::Display;

use serde_json::Value;

use crate::pin_file::words::Words;
use crate::policy::{
    Enforcement, Host, PinGroup, PinPolicy, PinRole, PinSet, Scope, StaticRules, UnpinnedHosts,
    timestamp,
};

/// Returns the text of a pin file with these rules.
pub(crate) fn rules(rules: &StaticRules) -> String {
    let mut members = Members::default();
    members.add("version", "1");
    if let Some(overlap) = rules.settings.overlap {
        members.text("overlap", overlap.word());
    }
    if rules.settings.unpinned_hosts != UnpinnedHosts::Allow {
        members.text("unpinned_hosts", rules.settings.unpinned_hosts.word());
    }
    members.texts("allow_unpinned", &rules.settings.allow_unpinned);
    if let Some(keys) = &rules.settings.refused_keys {
        members.texts("refused_keys", keys.iter());
    }
    let policies = rules.policies.iter();
    members.add(
        "policies",
        list(policies.map(|(host, it)| policy(host, it))),
    );
    members.finish() + "\n"
}

fn policy(host: &Host, policy: &PinPolicy) -> String {
    let mut members = Members::default();
    members.texts("hosts", [host]);
    if policy.scope_setting() != Scope::Host {
        members.text("scope", policy.scope_setting().word());
    }
    members.texts("exempt", policy.exemptions());
    members.groups(&policy.groups());
    if !policy.has_backup() {
        members.add("without_backup", "true");
    }
    let candidate = policy.candidate_groups();
    if !candidate.is_empty() {
        let mut inner = Members::default();
        inner.groups(&candidate);
        members.add("candidate", inner.finish());
    }
    if policy.enforcement_setting() != Enforcement::Enforce {
        members.text("enforcement", policy.enforcement_setting().word());
    }
    if let Some((at, then)) = policy.expiry() {
        members.text("expires", &timestamp::print_capped(at));
        members.text("after_expiry", then.word());
    }
    members.texts(
        "report_uris",
        policy.report_uris().iter().map(|uri| uri.as_str()),
    );
    if let Some(choice) = policy.user_added_roots_setting() {
        members.text("user_added_roots", choice.word());
    }
    if let Some(choice) = policy.plain_http_setting() {
        members.text("plain_http", choice.word());
    }
    members.finish()
}

/// The members of an object in the order in which they are printed.
#[derive(Default)]
struct Members(Vec<String>);

impl Members {
    fn add(&mut self, name: &str, value: impl Display) {
        self.0.push(format!("{}: {value}", Value::from(name)));
    }

    fn text(&mut self, name: &str, value: &str) {
        self.add(name, Value::from(value));
    }

    /// Adds a list of texts unless it is empty.
    fn texts<T: Display>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        let values = values.into_iter();
        let texts = values.map(|value| Value::from(value.to_string()).to_string());
        let texts = texts.collect::<Vec<_>>();
        match &*texts {
            [] => {}
            [only] => self.add(name, format_args!("[{only}]")),
            _ => self.add(name, list(texts.into_iter())),
        }
    }

    fn pins(&mut self, group: &PinGroup) {
        for (name, role) in [
            ("leaf_pins", PinRole::Leaf),
            ("ca_pins", PinRole::Ca),
            ("pins", PinRole::Any),
        ] {
            self.texts(name, group.pins(role).into_iter().flat_map(PinSet::iter));
        }
    }

    fn groups(&mut self, groups: &[PinGroup]) {
        if let [group] = groups {
            return self.pins(group);
        }
        let objects = groups.iter().map(|group| {
            let mut inner = Self::default();
            inner.pins(group);
            inner.finish()
        });
        self.add("all_of", list(objects));
    }

    fn finish(self) -> String {
        format!("{{\n{}\n}}", indented(&self.0.join(",\n")))
    }
}

fn list(values: impl Iterator<Item = String>) -> String {
    let values = values.collect::<Vec<_>>();
    format!("[\n{}\n]", indented(&values.join(",\n")))
}

/// Indents each line. No value has a line break: JSON escapes it.
fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}
