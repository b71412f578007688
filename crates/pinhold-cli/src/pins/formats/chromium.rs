//! Chromium's list of pins (`net/http/transport_security_state_static_pins.json`, JSON with
//! comments), with the keys that it names (`transport_security_state_static.pins`).
//!
//! Checked against `input_file_parsers.cc` of `transport_security_state_generator`.

use std::collections::BTreeMap;

use pinhold::policy::{PinRole, Scope};
use pinhold::{Host, PinSet, SpkiFingerprint};
use serde_json::{Value, json};

use crate::pins::abilities::{Abilities, Exempt, Expiry, Names, Overlaps, Roles};
use crate::pins::loss::{LossKind, Losses};
use crate::pins::overlap::lose_hidden;
use crate::pins::rules::{Rule, Rules, group_of};
use crate::pins::source::{Context, InputError, Place};

const GOOD: &str = "static_spki_hashes";
const BAD: &str = "bad_static_spki_hashes";
/// The second is for entries whose HSTS is for the host alone.
const SUBDOMAINS: [&str; 2] = ["include_subdomains", "include_subdomains_for_pinning"];

pub(super) fn abilities() -> Abilities {
    Abilities {
        names: vec![Names::HostAndSubdomains],
        roles: Roles::Any,
        exempt: Exempt::Never,
        // The nearest entry decides, even if it does not cover the name.
        expiry: Expiry::Never,
        overlap: Overlaps::Blocking,
        report_uris: 1,
        one_entry: true,
        says: vec![LossKind::Backup, LossKind::Port, LossKind::RefusedKeys],
    }
}

pub(super) fn read(
    text: &str,
    context: &Context,
    losses: &mut Losses,
) -> Result<Rules, InputError> {
    let file: Value = serde_json::from_str(&without_comments(text)).map_err(|error| {
        let place = Place::Position {
            line: error.line(),
            column: error.column(),
        };
        let text = error.to_string();
        let end = text.rfind(" at line ").unwrap_or(text.len());
        place.error(text.get(..end).unwrap_or_default())
    })?;
    let names = context
        .chromium_pins
        .as_deref()
        .map_or_else(|| Ok(BTreeMap::new()), names)?;
    let mut sets = BTreeMap::new();
    for set in list(&file, "pinsets")? {
        let name =
            string(set, "name").ok_or_else(|| InputError::whole("a pin set without name"))?;
        if sets
            .insert(name.to_owned(), pin_set(name, set, &names)?)
            .is_some()
        {
            return Err(InputError::whole(format!("the pin set {name} twice")));
        }
    }
    let mut rules = Rules::default();
    let mut refused = Vec::new();
    for entry in list(&file, "entries")? {
        let Some(rule) = entry_rule(entry, &sets, &mut refused, losses)? else {
            continue;
        };
        rules.rules.push(rule);
    }
    if let Ok(keys) = PinSet::new(refused) {
        let detail = "the source refuses them for the hosts of some pin sets, the target for every \
                      host";
        losses.of_file(LossKind::RefusedKeys, detail);
        rules.refused_keys = Some(keys);
    }
    let detail = "they are pinned by the target and not by the source";
    lose_hidden(&rules, detail, losses);
    Ok(rules)
}

/// A pin set by its name.
struct Set {
    good: Vec<SpkiFingerprint>,
    bad: Vec<SpkiFingerprint>,
    report_uri: Option<String>,
}

fn pin_set(
    name: &str,
    set: &Value,
    names: &BTreeMap<String, SpkiFingerprint>,
) -> Result<Set, InputError> {
    let keys = |member| {
        let keys = match set.get(member) {
            Some(_) => list(set, member)?,
            None => &[],
        };
        let key = |key: &Value| key_of(name, key, names);
        keys.iter().map(key).collect::<Result<Vec<_>, _>>()
    };
    Ok(Set {
        good: keys(GOOD)?,
        bad: keys(BAD)?,
        report_uri: string(set, "report_uri").map(str::to_owned),
    })
}

fn key_of(
    set: &str,
    key: &Value,
    names: &BTreeMap<String, SpkiFingerprint>,
) -> Result<SpkiFingerprint, InputError> {
    let text = key.as_str().unwrap_or_default();
    if let Some(key) = names.get(text) {
        return Ok(*key);
    }
    if text.starts_with("sha256/") {
        let pin = text.parse::<SpkiFingerprint>();
        return pin.map_err(|error| InputError::whole(format!("pin set {set}: {error}")));
    }
    Err(InputError::whole(format!(
        "pin set {set}: the key {text:?} is not known, expected it in the file of --chromium-pins"
    )))
}

fn entry_rule(
    entry: &Value,
    sets: &BTreeMap<String, Set>,
    refused: &mut Vec<SpkiFingerprint>,
    losses: &mut Losses,
) -> Result<Option<Rule>, InputError> {
    let name = string(entry, "name").ok_or_else(|| InputError::whole("an entry without name"))?;
    let host = Host::parse(name).map_err(InputError::whole)?;
    let members = entry
        .as_object()
        .into_iter()
        .flat_map(|members| members.keys());
    for member in members {
        // `policy` is of the maintenance of Chromium's list.
        let known = ["name", "pins", "policy"].contains(&member.as_str());
        if !known && !SUBDOMAINS.contains(&member.as_str()) {
            losses.of(
                &host,
                LossKind::Ignored,
                format!("{member} is not taken over"),
            );
        }
    }
    let Some(set_name) = string(entry, "pins") else {
        losses.of(
            &host,
            LossKind::Ignored,
            "an entry without pins is not taken over",
        );
        return Ok(None);
    };
    let set = sets.get(set_name).ok_or_else(|| {
        InputError::whole(format!("{host}: the pin set {set_name} is not defined"))
    })?;
    refused.extend(set.bad.iter().copied());
    let Some(group) = group_of(PinRole::Any, set.good.iter().copied()) else {
        losses.of(
            &host,
            LossKind::Ignored,
            "a pin set without pins is not taken over",
        );
        return Ok(None);
    };
    let mut rule = Rule::new(host, scope(entry), vec![group]);
    if let Some(uri) = &set.report_uri {
        let uri = pinhold::policy::ReportUri::parse(uri).map_err(InputError::whole)?;
        rule.report_uris.push(uri);
    }
    Ok(Some(rule))
}

fn scope(entry: &Value) -> Scope {
    let mut choices = SUBDOMAINS.iter().map(|name| entry.get(name));
    if choices.any(|choice| choice == Some(&Value::Bool(true))) {
        Scope::HostAndSubdomains
    } else {
        Scope::Host
    }
}

/// Reads the file of keys: a name, and then a hash, a certificate or a public key.
fn names(text: &str) -> Result<BTreeMap<String, SpkiFingerprint>, InputError> {
    let mut names = BTreeMap::new();
    let lines = text.lines().map(str::trim_end);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    while let Some(name) = lines.next() {
        let error = |what: String| InputError::whole(format!("--chromium-pins: {name}: {what}"));
        let mut value = lines.next().unwrap_or_default().to_owned();
        if name == "PinsListTimestamp" {
            continue;
        }
        if value.starts_with("-----BEGIN") {
            for line in lines.by_ref() {
                value = value + "\n" + line;
                if line.starts_with("-----END") {
                    break;
                }
            }
        }
        let pin = value.parse::<SpkiFingerprint>();
        let pin = pin.map_err(|problem| error(problem.to_string()))?;
        if names.insert(name.to_owned(), pin).is_some() {
            return Err(error("the key twice, expected each name once".to_owned()));
        }
    }
    Ok(names)
}

fn list<'v>(value: &'v Value, name: &str) -> Result<&'v [Value], InputError> {
    let list = value.get(name).and_then(Value::as_array);
    let error = || InputError::whole(format!("no list {name}"));
    list.map(Vec::as_slice).ok_or_else(error)
}

fn string<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

/// Replaces comments by spaces, so that places stay the same.
fn without_comments(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut is_string = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' if is_string => {
                result.push(char);
                result.extend(chars.next());
            }
            '"' => {
                is_string = !is_string;
                result.push(char);
            }
            '/' if !is_string && chars.peek() == Some(&'/') => {
                while chars.peek().is_some_and(|next| *next != '\n') {
                    chars.next();
                    result.push(' ');
                }
                result.push(' ');
            }
            _ => result.push(char),
        }
    }
    result
}

pub(super) fn write(rules: &Rules, losses: &mut Losses) -> String {
    if rules.refused_keys.is_some() {
        let detail = "the target refuses them for the hosts with pins only";
        losses.of_file(LossKind::RefusedKeys, detail);
    }
    let bad = rules.refused_keys.iter().flat_map(PinSet::iter);
    let bad = bad.map(ToString::to_string).collect::<Vec<_>>();
    let mut sets = Vec::new();
    let mut entries = Vec::new();
    for rule in &rules.rules {
        let good = rule.pins();
        let uri = rule.report_uris.first().map(|uri| uri.as_str());
        let set = (good, uri);
        let known = sets.iter().position(|it| *it == set);
        let index = known.unwrap_or(sets.len());
        if known.is_none() {
            sets.push(set);
        }
        entries.push(json!({
            "name": rule.host.as_str(),
            "include_subdomains": rule.scope.includes_subdomains(),
            "pins": set_name(index),
        }));
    }
    let sets = sets.iter().enumerate().map(|(index, (good, uri))| {
        let good = good.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut set = serde_json::Map::new();
        set.insert("name".to_owned(), json!(set_name(index)));
        set.insert(GOOD.to_owned(), json!(good));
        if !bad.is_empty() {
            set.insert(BAD.to_owned(), json!(bad));
        }
        set.extend(uri.map(|uri| ("report_uri".to_owned(), json!(uri))));
        Value::Object(set)
    });
    let file = json!({ "pinsets": sets.collect::<Value>(), "entries": entries });
    format!("{NOTE}{file:#}\n")
}

fn set_name(index: usize) -> String {
    format!("set{}", index + 1)
}

const NOTE: &str = "// Chromium's generator expects the name of each key here, and its hash below that name in\n\
                    // transport_security_state_static.pins.\n";
