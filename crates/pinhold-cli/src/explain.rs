//! The command `pinhold explain`: shows which of the given policies apply to a host name, and why.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use pinhold::explain::{Explanation, NotApplied};
use pinhold::pin_file::PinFile;
use pinhold::policy::{
    AppliedPolicy, HostError, HostMatch, Outcome, PinSource, PolicyState, ReportUri, UnpinnedHosts,
    UnpinnedName,
};
use pinhold::{Host, PinPolicy, PinSet, Pinning, SpkiFingerprint};
use serde_json::{Map, Value, json};

use crate::bundle;
use crate::clock;
use crate::failure::Failure;
use crate::output::{Output, counted, printable};
use crate::pin_file::{self, groups_json};
use crate::refusal::source_word;
use crate::rfc3339;
use crate::store;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Host with a policy without pins; `+sub` includes its subdomains
    #[arg(long = "policy", value_name = "HOST[+sub]")]
    policies: Vec<Policy>,
    /// Pin file with further policies
    #[arg(long, value_name = "FILE")]
    pins: Option<PathBuf>,
    /// Store file of noted pins
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Pin bundle in effect; its policies replace those of the file
    #[arg(long, value_name = "FILE", requires = "root")]
    bundle: Option<String>,
    /// Root that clients contain, which the bundle is verified by
    #[arg(long, value_name = "FILE", requires = "bundle")]
    root: Option<String>,
    /// Host name to which a client connects
    #[arg(allow_hyphen_values = true)]
    name: OsString,
}

#[derive(Clone)]
struct Policy {
    host: Host,
    includes_subdomains: bool,
}

impl FromStr for Policy {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, includes_subdomains) = match text.strip_suffix("+sub") {
            Some(host) => (host, true),
            None => (text, false),
        };
        Ok(Self {
            host: Host::parse(host)?,
            includes_subdomains,
        })
    }
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let file = arguments.pins.as_deref().map(pin_file::open).transpose()?;
    let pinning = pinning(arguments, file.as_ref())?;
    let name = arguments.name.to_string_lossy();
    let parsed = Host::parse(&name);
    let host = parsed.as_ref().ok();
    let now = clock::now();
    let explained = host.map(|host| pinning.explain(host, now));
    let unpinned = match &explained {
        Some(explained) => unpinned(explained),
        None => UnpinnedName::try_from(&*name)
            .ok()
            .and_then(|name| pin_file::unpinned(file.as_ref(), &name, None)),
    };
    let exempt_from = file.as_ref().zip(host);
    let exempt_from = exempt_from.map(|(file, host)| pin_file::exempt_from(file, host));
    let refused_keys = match &explained {
        Some(explained) => explained.policies.refused_keys.as_ref(),
        None => file.as_ref().and_then(PinFile::refused_keys),
    };
    let answer = Answer {
        arguments,
        explained: explained.as_ref(),
        unpinned,
        exempt_from: exempt_from.unwrap_or_default(),
        file: file.as_ref(),
        refused_keys,
    };
    output.print(&answer.json(host), &answer.text(&parsed))
}

/// Returns what a connection means if no enforced static policy makes the host pinned.
fn unpinned(explained: &Explanation) -> Option<UnpinnedHosts> {
    let policies = &explained.policies;
    let mut of_application = policies.static_policy.iter().chain(&policies.fixed);
    if of_application.any(|policy| policy.state != PolicyState::ReportOnly) {
        return None;
    }
    Some(explained.unpinned.unwrap_or(UnpinnedHosts::Allow))
}

/// What applies to a name.
struct Answer<'a> {
    arguments: &'a Arguments,
    /// `None` if the name is not a host.
    explained: Option<&'a Explanation>,
    /// `None` if the name is pinned.
    unpinned: Option<UnpinnedHosts>,
    exempt_from: Vec<&'a Host>,
    file: Option<&'a PinFile>,
    refused_keys: Option<&'a PinSet>,
}

impl Answer<'_> {
    /// Returns the static policy, the noted one, and the fixed one beside that of a bundle.
    fn applied(&self) -> impl Iterator<Item = &AppliedPolicy> {
        let policies = self.explained.iter().map(|explained| &explained.policies);
        policies.flat_map(|policies| {
            let beside = policies.noted.iter().chain(&policies.fixed);
            policies.static_policy.iter().chain(beside)
        })
    }

    fn json(&self, host: Option<&Host>) -> Value {
        let policies = self.applied().map(|policy| self.policy_json(policy));
        let policies = policies.collect::<Vec<_>>();
        let exempt_from = self.exempt_from.iter().map(|host| host.as_str());
        // The members of the first policy, which are null if there is none.
        let mut object = MEMBERS.iter().map(|name| ((*name).to_owned(), Value::Null));
        let mut object = object.by_ref().collect::<Map<_, _>>();
        object.extend(policies.first().cloned().unwrap_or_default());
        object.insert("host".to_owned(), json!(host.map(Host::as_str)));
        object.insert("policies".to_owned(), json!(policies));
        object.insert(
            "exempt_from".to_owned(),
            json!(exempt_from.collect::<Vec<_>>()),
        );
        object.insert(
            "refused_keys".to_owned(),
            json!(self.refused_keys.map_or(0, PinSet::len)),
        );
        let unpinned = self.unpinned.map(pin_file::unpinned_word);
        object.insert("unpinned".to_owned(), json!(unpinned));
        let anchors = self.explained.map(anchors_json);
        object.insert("anchors".to_owned(), json!(anchors));
        let until = self.explained.and_then(|explained| explained.until);
        object.insert("until".to_owned(), json!(until.map(rfc3339::print)));
        let others = self.explained.map(others_json);
        object.insert("others".to_owned(), json!(others));
        Value::Object(object)
    }

    fn policy_json(&self, policy: &AppliedPolicy) -> Map<String, Value> {
        let candidate = self.candidate_of(policy);
        let uris = policy.report_uris().iter().map(ReportUri::as_str);
        let values = [
            json!(policy.noted_hostname.as_str()),
            json!(why(policy)),
            json!(pin_file::scope_word(policy.scope)),
            json!(source_word(policy.source)),
            json!(pin_file::state_word(policy.state)),
            json!(policy.expires_at.map(rfc3339::print)),
            json!(self.after_expiry(policy)),
            json!(pins_of(policy)),
            json!(groups_of(policy)),
            json!(candidate.map(groups_of)),
            json!(uris.collect::<Vec<_>>()),
            json!(pin_file::plain_http_word(
                policy.plain_http.unwrap_or_default()
            )),
            json!(pin_file::user_added_roots_word(policy.user_added_roots)),
        ];
        let names = MEMBERS.iter().map(|name| (*name).to_owned());
        names.zip(values).collect()
    }

    fn candidate_of(&self, policy: &AppliedPolicy) -> Option<&AppliedPolicy> {
        let policies = &self.explained?.policies;
        let candidate = policies.candidate.as_ref();
        candidate.filter(|_| policies.static_policy.as_ref() == Some(policy))
    }

    fn text(&self, parsed: &Result<Host, HostError>) -> String {
        let mut lines = Vec::new();
        match parsed {
            Err(error) => lines.push(format!("can't be pinned: {error}")),
            Ok(host) if self.applied().next().is_none() => {
                lines.push(format!("no policy applies to {host}"));
            }
            Ok(host) => {
                for policy in self.applied() {
                    let (noted_hostname, why) = (&policy.noted_hostname, why(policy));
                    let statement = format!("the policy of {noted_hostname} applies to {host}");
                    lines.push(format!("{statement} ({why})"));
                    lines.extend(self.details(policy).iter().map(Detail::text));
                }
            }
        }
        let mut others = Vec::new();
        if !self.exempt_from.is_empty() {
            let hosts = self.exempt_from.iter().map(ToString::to_string);
            others.push(Detail::new(
                "exempt from",
                hosts.collect::<Vec<_>>().join(", "),
            ));
        }
        let not_applied = self.explained.into_iter().flat_map(|it| &it.others);
        others.extend(not_applied.map(|other| {
            let scope = pin_file::scope_word(other.scope);
            let text = format!("{} ({scope}): {}", other.host, other.reason);
            Detail::new("not applied", text)
        }));
        if let Some(keys) = self.refused_keys {
            let keys = counted(keys.len(), "key", "keys");
            others.push(Detail::new(
                "refused",
                format!("{keys}, whatever the policies say"),
            ));
        }
        others.extend(match self.unpinned {
            Some(UnpinnedHosts::Refuse) => Some(Detail::new("unpinned", "refused")),
            Some(UnpinnedHosts::Report) => Some(Detail::new("unpinned", "reported")),
            _ => None,
        });
        if let Some(explained) = self.explained {
            others.extend(anchor_details(explained));
        }
        lines.extend(others.iter().map(Detail::text));
        lines.join("\n")
    }

    fn details(&self, policy: &AppliedPolicy) -> Vec<Detail> {
        let mut details = vec![
            Detail::new("source", self.source(policy)),
            Detail::new("scope", pin_file::scope_word(policy.scope)),
            Detail::new("state", self.state(policy)),
        ];
        details.extend(pin_details("pin", policy));
        if let Some(candidate) = self.candidate_of(policy) {
            details.extend(pin_details("candidate", candidate));
        }
        let uris = policy.report_uris().iter();
        details.extend(uris.map(|uri| Detail::new("report-uri", uri.as_str())));
        let plain_http = pin_file::plain_http_word(policy.plain_http.unwrap_or_default());
        details.push(Detail::new("plain http", plain_http));
        let roots = pin_file::user_added_roots_word(policy.user_added_roots);
        details.push(Detail::new("user roots", roots));
        details
    }

    fn state(&self, policy: &AppliedPolicy) -> String {
        let state = pin_file::state_word(policy.state);
        let Some(at) = policy.expires_at.map(rfc3339::print) else {
            return state.to_owned();
        };
        if policy.state == PolicyState::Expired {
            return format!("{state} since {at}: every chain is refused");
        }
        match self.after_expiry(policy) {
            Some(then) => format!("{state}, expires {at}, then {then}"),
            None => format!("{state}, expires {at}"),
        }
    }

    /// Returns what is set for the time after the expiry of this policy.
    fn after_expiry(&self, policy: &AppliedPolicy) -> Option<&'static str> {
        let explained = self.explained?;
        if policy.source == PinSource::Noted {
            return None;
        }
        if explained.policies.static_policy.as_ref() == Some(policy) {
            return explained.after_expiry.map(pin_file::after_expiry_word);
        }
        let mut policies = self.file?.policies().iter();
        let (_, own) = policies.find(|(host, it)| {
            *host == policy.noted_hostname && it.scope_setting() == policy.scope
        })?;
        let (_, then) = own.expiry()?;
        Some(pin_file::after_expiry_word(then))
    }

    fn source(&self, policy: &AppliedPolicy) -> String {
        if let (PinSource::Bundle(version), Some(file)) = (policy.source, &self.arguments.bundle) {
            return format!("bundle {version}, in {file}");
        }
        let file = match policy.source {
            PinSource::Noted => self.arguments.store.as_deref(),
            _ => {
                let mut options = self.arguments.policies.iter();
                let is_option = options.any(|it| it.host == policy.noted_hostname);
                let file = self.arguments.pins.as_deref();
                file.filter(|_| !is_option)
            }
        };
        let source = source_word(policy.source);
        match file {
            Some(file) => format!("{source}, in {}", file.display()),
            None => format!("{source}, by --policy"),
        }
    }
}

/// A line of the text.
struct Detail {
    name: String,
    value: String,
}

impl Detail {
    fn new(name: &str, value: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            value: value.into(),
        }
    }

    fn text(&self) -> String {
        format!("  {:<14} {}", self.name, printable(&self.value))
    }
}

fn anchors_json(explained: &Explanation) -> Vec<Value> {
    let anchors = explained.anchors.iter().map(|anchor| {
        json!({
            "origin": anchor.origin.to_string(),
            "pinned": outcome_word(anchor.pinned),
            "not_pinned": outcome_word(anchor.not_pinned),
        })
    });
    anchors.collect()
}

fn others_json(explained: &Explanation) -> Vec<Value> {
    let others = explained.others.iter().map(|other| {
        json!({
            "policy": other.host.as_str(),
            "scope": pin_file::scope_word(other.scope),
            "reason": not_applied_word(other.reason),
        })
    });
    others.collect()
}

fn anchor_details(explained: &Explanation) -> Vec<Detail> {
    let anchors = explained.anchors.iter().map(|anchor| {
        let outcomes = format!(
            "with pinned keys: {}, without: {}",
            anchor.pinned, anchor.not_pinned
        );
        Detail::new(&format!("root {}", anchor.origin), outcomes)
    });
    let mut details = anchors.collect::<Vec<_>>();
    if let Some(until) = explained.until {
        details.push(Detail::new("until", rfc3339::print(until)));
    }
    details
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotPinned => "not-pinned",
        Outcome::Pass => "pass",
        Outcome::ReportOnly => "report",
        Outcome::Skip => "skip",
        _ => "refuse",
    }
}

fn not_applied_word(reason: NotApplied) -> &'static str {
    match reason {
        NotApplied::Disabled => "disabled",
        NotApplied::Exempt => "exempt",
        NotApplied::Expired => "expired",
        NotApplied::Scope => "scope",
        NotApplied::United => "united",
        _ => "nearer",
    }
}

fn why(policy: &AppliedPolicy) -> &'static str {
    match policy.matched {
        HostMatch::Superdomain => "superdomain",
        _ => "congruent",
    }
}

fn pin_details(name: &str, policy: &AppliedPolicy) -> Vec<Detail> {
    let groups = policy.groups();
    let is_pin = |pin: &SpkiFingerprint| *pin != NO_PIN;
    if groups.is_empty() {
        let pins = policy.pins.iter().filter(|pin| is_pin(pin));
        return pins.map(|pin| Detail::new(name, pin.to_string())).collect();
    }
    let mut details = Vec::new();
    for (number, group) in (1..).zip(groups) {
        let name = match groups.len() {
            1 => name.to_owned(),
            _ => format!("{name}, group {number}"),
        };
        let pins = group.iter().filter(|(_, pin)| is_pin(pin));
        details.extend(pins.map(|(role, pin)| Detail::new(&name, pin_file::pin_text(role, pin))));
    }
    details
}

fn pins_of(policy: &AppliedPolicy) -> Vec<String> {
    let pins = policy.pins.iter().filter(|pin| **pin != NO_PIN);
    pins.map(ToString::to_string).collect()
}

fn groups_of(policy: &AppliedPolicy) -> Vec<Value> {
    if pins_of(policy).is_empty() {
        return Vec::new();
    }
    groups_json(policy)
}

fn pinning(arguments: &Arguments, file: Option<&PinFile>) -> Result<Pinning, Failure> {
    let mut builder = Pinning::builder();
    for policy in &arguments.policies {
        // The pins have no influence on which hosts a policy covers.
        let pins = PinPolicy::without_backup([NO_PIN]);
        let pins = pins.map_err(|error| Failure::Usage(error.to_string()))?;
        let pins = if policy.includes_subdomains {
            pins.include_subdomains()
        } else {
            pins
        };
        builder = builder.static_pins(policy.host.clone(), pins);
    }
    if let Some(file) = file {
        builder = builder.pins(file.clone());
    }
    if let Some(file) = &arguments.store {
        builder = builder.store(store::open_to_read(file)?);
    }
    if let (Some(file), Some(root)) = (&arguments.bundle, &arguments.root) {
        builder = builder.bundles(bundle::open_in_effect(file, root)?);
    }
    builder.build().map_err(|error| Failure::of_build(&error))
}

/// Stands for the pins of `--policy`, and is not printed.
const NO_PIN: SpkiFingerprint = SpkiFingerprint::from_digest([0; 32]);

/// The members of a policy in JSON.
const MEMBERS: [&str; 13] = [
    "policy",
    "why",
    "scope",
    "source",
    "state",
    "expires",
    "after_expiry",
    "pins",
    "groups",
    "candidate",
    "report_uris",
    "plain_http",
    "user_added_roots",
];
