//! The option `--format`: pins in the form of a client's configuration.

use std::collections::BTreeSet;
use std::path::Path;

use clap::ValueEnum;
use pinhold::{Host, SpkiFingerprint};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::fingerprint::{Key, Source};
use crate::output::Output;

// The values have no help of their own, which would spread the whole help over more lines.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    PinFile,
    Header,
    Curl,
    Kotlin,
    Xml,
}

impl Format {
    /// Returns whether the form names the hosts that the pins are for.
    pub(crate) fn has_hosts(self) -> bool {
        matches!(self, Self::PinFile | Self::Kotlin)
    }

    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn text(self, policies: &[Policy]) -> String {
        let pins = || policies.iter().flat_map(|policy| policy.pins.iter());
        let each = |prefix: &str, suffix: &str, separator: &str| {
            let pins = pins().map(|pin| format!("{prefix}{}{suffix}", pin.pin.to_base64()));
            pins.collect::<Vec<_>>().join(separator)
        };
        match self {
            Self::Text | Self::PinFile => format!("{:#}", pin_file(policies)),
            Self::Header => each("pin-sha256=\"", "\"", "; "),
            Self::Curl => each("sha256//", "", ";"),
            Self::Kotlin => kotlin(policies),
            Self::Xml => format!(
                "<pin-set>\n{}\n</pin-set>",
                each("    <pin digest=\"SHA-256\">", "</pin>", "\n")
            ),
        }
    }
}

/// Prints the pins of all sources.
pub(crate) fn print(
    format: Format,
    sources: &[Source],
    hosts: &[Host],
    output: Output,
) -> Result<(), Failure> {
    let policies = policies(format, sources, hosts)?;
    for policy in &policies {
        if let Some(warning) = policy.warning(format) {
            output.message(&warning);
        }
    }
    let text = format.text(&policies);
    let json = match format {
        Format::PinFile => pin_file(&policies),
        _ => json!({ "format": format.name(), "text": text }),
    };
    output.print(&json, &text)
}

/// Hosts and the pins for them.
struct Policy {
    hosts: Vec<String>,
    pins: Vec<Pin>,
}

struct Pin {
    pin: SpkiFingerprint,
    comment: String,
    /// The key is of the chain that the server uses now.
    is_live: bool,
}

impl Policy {
    fn new(hosts: Vec<String>, source: &Source) -> Self {
        let pins = Vec::new();
        let mut policy = Self { hosts, pins };
        policy.add(source);
        policy
    }

    /// Adds the keys of a file, or the recommended ones of a server. A pin occurs once.
    fn add(&mut self, source: &Source) {
        let is_live = source.host.is_some();
        let name = Path::new(&source.name).file_name().unwrap_or_default();
        let keys = source.keys.iter();
        for key in keys.filter(|key| !is_live || key.is_recommended()) {
            let pin = key.fingerprint();
            match self.pins.iter_mut().find(|other| other.pin == pin) {
                Some(known) => known.is_live |= is_live,
                None => self.pins.push(Pin {
                    pin,
                    comment: key.comment(&name.to_string_lossy()),
                    is_live,
                }),
            }
        }
    }

    fn has_one_pin(&self) -> bool {
        self.pins.len() == 1
    }

    /// Returns what to do if no pin can be a backup.
    fn warning(&self, format: Format) -> Option<String> {
        let fact = if self.has_one_pin() {
            "there is one pin, and no backup"
        } else if self.pins.iter().all(|pin| pin.is_live) {
            "no pin is a backup: all keys are of the chain that the server uses now"
        } else {
            return None;
        };
        let pins = match self.hosts.first() {
            Some(host) => format!("pins of {host}"),
            None => "pins".to_owned(),
        };
        let marked = if format == Format::PinFile && self.has_one_pin() {
            "; the pin file states it by without_backup"
        } else {
            ""
        };
        Some(format!(
            "{pins}: {fact}{marked}\n  what to do: make a key by pinhold key new, keep it offline, \
             and name its file here, too"
        ))
    }

    fn json(&self) -> Value {
        let pins = self.pins.iter();
        let pins = pins.map(|pin| json!({ "pin": pin.pin.to_string(), "comment": pin.comment }));
        let mut policy = json!({ "hosts": self.hosts, "pins": pins.collect::<Vec<_>>() });
        if let (true, Value::Object(members)) = (self.has_one_pin(), &mut policy) {
            members.insert("without_backup".to_owned(), json!(true));
        }
        policy
    }
}

/// Returns one policy for the given hosts, or else one for each server. Keys of files are pins of
/// every policy.
fn policies(format: Format, sources: &[Source], hosts: &[Host]) -> Result<Vec<Policy>, Failure> {
    let is_server = |source: &&Source| source.host.is_some();
    let mut policies: Vec<Policy> = Vec::new();
    for server in sources.iter().filter(is_server) {
        if !server.keys.iter().any(Key::is_recommended) {
            let reason = "none of its keys is recommended, which needs a validated chain to a \
                          root that is not from --user-ca";
            return Err(Failure::input(&server.name, reason));
        }
        let hosts = match hosts {
            [] => vec![host_of(format, server)?],
            _ => names(hosts),
        };
        match policies.iter_mut().find(|policy| policy.hosts == hosts) {
            Some(policy) => policy.add(server),
            None => policies.push(Policy::new(hosts, server)),
        }
    }
    if policies.len() > 1 && !format.has_hosts() {
        let option = format!("--format {}", format.name());
        return Err(Failure::input(
            &option,
            "is for one host, expected one server",
        ));
    }
    for file in sources.iter().filter(|source| !is_server(source)) {
        if policies.is_empty() && hosts.is_empty() && format.has_hosts() {
            let reason = "files name no host that the pins are for, expected --host HOST";
            return Err(Failure::input(&file.name, reason));
        }
        if policies.is_empty() {
            policies.push(Policy::new(names(hosts), file));
        }
        policies.iter_mut().for_each(|policy| policy.add(file));
    }
    Ok(policies)
}

/// Returns the names of hosts, each once.
fn names(hosts: &[Host]) -> Vec<String> {
    let names = hosts.iter().map(|host| host.as_str().to_owned());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Returns the host of a server, which an IP address is not if the form pins host names.
fn host_of(format: Format, server: &Source) -> Result<String, Failure> {
    let host = server.host.clone().unwrap_or_default();
    if !format.has_hosts() {
        return Ok(host);
    }
    let host = Host::parse(&host).map_err(|error| Failure::input(&server.name, error))?;
    Ok(host.as_str().to_owned())
}

fn pin_file(policies: &[Policy]) -> Value {
    let policies = policies.iter().map(Policy::json).collect::<Vec<_>>();
    json!({ "version": 1, "policies": policies })
}

/// Returns the builder of OkHttp, of which each line is valid in Kotlin and in Java.
fn kotlin(policies: &[Policy]) -> String {
    let mut lines = vec!["CertificatePinner.Builder()".to_owned()];
    for policy in policies {
        for host in &policy.hosts {
            let pins = policy.pins.iter();
            lines.extend(pins.map(|pin| format!("    .add(\"{host}\", \"{}\")", pin.pin)));
        }
    }
    lines.push("    .build()".to_owned());
    lines.join("\n")
}
