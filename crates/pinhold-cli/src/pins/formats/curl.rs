//! curl's option `--pinnedpubkey`, on command lines and in files for `--config`.
//!
//! curl compares the key of the server's certificate only, independently of validation
//! (`Curl_pin_peer_pubkey`), and the option applies to every URL of a transfer.

use pinhold::policy::{PinRole, Scope};
use pinhold::{Host, SpkiFingerprint};

use crate::pins::abilities::{Abilities, Exempt, Expiry, Overlaps, Roles};
use crate::pins::loss::{LossKind, Losses};
use crate::pins::rules::{Rule, Rules, group_of};
use crate::pins::source::{Context, HostLines, InputError, Place, no_host};

const OPTION: &str = "pinnedpubkey";

pub(super) fn abilities() -> Abilities {
    Abilities {
        names: Vec::new(),
        roles: Roles::Leaf,
        exempt: Exempt::Never,
        expiry: Expiry::Never,
        overlap: Overlaps::Nearest,
        report_uris: 0,
        one_entry: true,
        says: vec![LossKind::Backup, LossKind::Port],
    }
}

pub(super) fn read(
    text: &str,
    context: &Context,
    losses: &mut Losses,
) -> Result<Rules, InputError> {
    let mut rules: Vec<Rule> = Vec::new();
    for (place, host, line) in HostLines::new(text, context) {
        let words = words(line);
        let is_insecure =
            |word: &String| word == "-k" || word == "--insecure" || word == "insecure";
        if words.iter().any(is_insecure) {
            let detail = "--insecure: the source does not validate the chain, the target does";
            losses.of_file(LossKind::Validation, detail);
        }
        let Some(value) = value(&words) else {
            if !words.iter().any(is_insecure) {
                let detail = format!("line {}: no --{OPTION}", number(place));
                losses.of_file(LossKind::Ignored, detail);
            }
            continue;
        };
        let url = words.iter().find_map(|word| word.strip_prefix("https://"));
        let host = match url.map(|rest| rest.split(['/', ':', '?', '#']).next().unwrap_or(rest)) {
            Some(name) => place.host(name)?,
            None => host.ok_or_else(|| no_host(place))?,
        };
        let options = words.iter().filter(|word| word.contains(OPTION));
        if options.count() > 1 {
            return Err(place.error(format!(
                "--{OPTION} twice, of which curl takes the last one"
            )));
        }
        let pins = pins(place, value)?;
        let Some(group) = group_of(PinRole::Leaf, pins) else {
            return Err(place.error(format!("no pin in --{OPTION}")));
        };
        if rules.iter().any(|rule| rule.host == host) {
            return Err(place.error(format!("a second --{OPTION} for {host}")));
        }
        rules.push(Rule::new(host, Scope::Host, vec![group]));
    }
    Ok(Rules {
        rules,
        ..Rules::default()
    })
}

fn number(place: Place) -> usize {
    match place {
        Place::Line(line) => line,
        _ => 0,
    }
}

/// Returns the value of the option. A line may be the value alone.
fn value(words: &[String]) -> Option<&str> {
    let mut rest = words.iter().map(String::as_str);
    if let [only] = words
        && only.starts_with("sha256//")
    {
        return Some(only);
    }
    while let Some(word) = rest.next() {
        let name = word.trim_start_matches('-');
        if name == OPTION {
            return rest.next();
        }
        let assigned = name
            .strip_prefix(OPTION)
            .filter(|it| it.starts_with(['=', ':']));
        if let Some(value) = assigned.and_then(|value| value.get(1..)) {
            return if value.is_empty() {
                rest.next()
            } else {
                Some(value)
            };
        }
    }
    None
}

fn pins(place: Place, value: &str) -> Result<Vec<SpkiFingerprint>, InputError> {
    let parts = value
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| match part.strip_prefix("sha256//") {
            Some(base64) => place.pin(&format!("sha256/{base64}")),
            None => Err(place.error(format!(
                "{part:?} is a file with a key, expected sha256//BASE64"
            ))),
        })
        .collect()
}

/// Splits a line as a shell and as curl's configuration files do: at white space and `=`, unless
/// quoted.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        let Some(word) = words.last_mut() else {
            break;
        };
        match (char, quote) {
            (char, Some(end)) if char == end => quote = None,
            ('\\', Some('"') | None) => word.extend(chars.next()),
            ('"' | '\'', None) => quote = Some(char),
            (' ' | '\t' | ',', None) if !word.is_empty() => words.push(String::new()),
            (' ' | '\t' | ',', None) => {}
            ('=', None) if word.trim_start_matches('-') == OPTION => words.push(String::new()),
            ('=' | ':', None) if word.is_empty() => {}
            _ => word.push(char),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

pub(super) fn write(rules: &Rules, losses: &mut Losses) -> String {
    if rules.rules.len() > 1 {
        let detail = "curl applies the option to every URL of a transfer: each value is for a command \
                      or a file of its own";
        losses.of_file(LossKind::SeveralHosts, detail);
    }
    let line = |rule: &Rule| line(&rule.host, &rule.pins());
    let lines = rules.rules.iter().map(line);
    lines.collect()
}

fn line(host: &Host, pins: &[SpkiFingerprint]) -> String {
    let pins = pins
        .iter()
        .map(|pin| format!("sha256//{}", pin.to_base64()));
    let pins = pins.collect::<Vec<_>>().join(";");
    format!("# {host}\n{OPTION} = \"{pins}\"\n")
}
