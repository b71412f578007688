//! TLSA records (RFC 6698) of a zone file.
//!
//! A connection needs to match one of the records. Usages 0 and 1 add to validation by the PKI, as
//! pins do; 2 and 3 replace it. Selector 1 with matching type 1 is the fingerprint of a pin.

use std::collections::HashMap;

use pinhold::policy::{PinRole, Scope};
use pinhold::{Host, SpkiFingerprint};
use rustls::pki_types::SubjectPublicKeyInfoDer;

use crate::pins::abilities::{Abilities, Exempt, Expiry, Overlaps, Roles};
use crate::pins::loss::{LossKind, Losses};
use crate::pins::rules::{Rule, Rules, group};
use crate::pins::source::{InputError, Place};

pub(super) fn abilities() -> Abilities {
    Abilities {
        names: Vec::new(),
        roles: Roles::OneGroup,
        exempt: Exempt::Never,
        expiry: Expiry::Never,
        overlap: Overlaps::Nearest,
        report_uris: 0,
        one_entry: true,
        says: vec![LossKind::Backup],
    }
}

pub(super) fn read(text: &str, losses: &mut Losses) -> Result<Rules, InputError> {
    let mut zone = Zone::default();
    for record in records(text)? {
        zone.read(&record, losses)?;
    }
    if !zone.hosts.is_empty() {
        let detail = "port 443 is pinned by the source, every port by the target";
        losses.of_file(LossKind::Port, detail);
    }
    let mut rules = Rules::default();
    for (host, pins) in zone.hosts {
        match group(pins) {
            Some(group) => rules.rules.push(Rule::new(host, Scope::Host, vec![group])),
            None => losses.of(
                &host,
                LossKind::Algorithm,
                "no record is left: it is not pinned",
            ),
        }
    }
    Ok(rules)
}

/// What was read of a zone.
#[derive(Default)]
struct Zone {
    /// The name that is added to relative names; empty for the root.
    origin: Option<String>,
    /// The owner of a record that names none.
    owner: Name,
    hosts: Vec<(Host, Vec<(PinRole, SpkiFingerprint)>)>,
    /// The places of the hosts.
    known: HashMap<Host, usize>,
}

/// A name with the origin, without a dot at its end.
#[derive(Default)]
struct Name {
    text: String,
    /// Whether the name is relative to an origin that is not known.
    is_relative: bool,
}

impl Zone {
    fn read(&mut self, record: &Record, losses: &mut Losses) -> Result<(), InputError> {
        let mut words = record.words.as_slice();
        if let [name, data @ ..] = words
            && name.starts_with('$')
        {
            return self.directive(record.place, name, data, losses);
        }
        if let [name, data @ ..] = words
            && !record.is_continued
        {
            self.owner = self.name(name);
            words = data;
        }
        let before = words.iter().take_while(|word| is_ttl_or_class(word));
        let Some((kind, data)) = words.get(before.count()..).and_then(<[_]>::split_first) else {
            return Ok(());
        };
        let is_generic = data.first().is_some_and(|word| word == "\\#");
        let is_tlsa = kind.eq_ignore_ascii_case("TLSA");
        if kind.eq_ignore_ascii_case("TYPE52") || (is_tlsa && is_generic) {
            let owner = &self.owner.text;
            let detail = format!(
                "the TLSA record of {owner} is not taken over: it is in the form of RFC 3597"
            );
            losses.of_file(LossKind::Ignored, detail);
        } else if is_tlsa {
            self.record(record.place, data, losses)?;
        }
        Ok(())
    }

    fn directive(
        &mut self,
        place: Place,
        directive: &str,
        data: &[String],
        losses: &mut Losses,
    ) -> Result<(), InputError> {
        if directive.eq_ignore_ascii_case("$ORIGIN") {
            let name = data.first().map_or("", String::as_str);
            let origin = self.name(name);
            if origin.is_relative && !origin.text.contains('.') {
                let text = format!("the origin {name:?} without an origin before, expected HOST.");
                return Err(place.error(text));
            }
            self.origin = Some(origin.text);
        } else if !directive.eq_ignore_ascii_case("$TTL") {
            let data = data.join(" ");
            let detail = format!("the records of {directive} {data} are not taken over");
            losses.of_file(LossKind::Ignored, detail);
        }
        Ok(())
    }

    fn name(&self, text: &str) -> Name {
        let (text, is_relative) = match (text.strip_suffix('.'), self.origin.as_deref()) {
            (Some(text), _) => (text.to_owned(), false),
            (None, None) => (text.to_owned(), true),
            (None, Some(origin)) if text == "@" => (origin.to_owned(), false),
            (None, Some("")) => (text.to_owned(), false),
            (None, Some(origin)) => (format!("{text}.{origin}"), false),
        };
        Name { text, is_relative }
    }

    /// Adds the pin of a TLSA record to those of its host.
    fn record(
        &mut self,
        place: Place,
        data: &[String],
        losses: &mut Losses,
    ) -> Result<(), InputError> {
        let owner = &self.owner.text;
        let Some((port, name)) = port_and_host(owner) else {
            let detail =
                format!("the TLSA record of {owner:?} is not taken over, expected _443._tcp.HOST.");
            losses.of_file(LossKind::Ignored, detail);
            return Ok(());
        };
        if self.owner.is_relative && !name.contains('.') {
            let text = format!("the owner {owner:?} without $ORIGIN, expected _443._tcp.HOST.");
            return Err(place.error(text));
        }
        let host = place.host(name)?;
        // It may be the key of another service, such as SMTP.
        if port != "443" {
            let detail = format!("the record of port {port} is not taken over");
            losses.of(&host, LossKind::Port, detail);
            return Ok(());
        }
        let pin = pin(place, &host, data, losses)?;
        let index = *self.known.entry(host.clone()).or_insert(self.hosts.len());
        match self.hosts.get_mut(index) {
            Some((_, pins)) => pins.extend(pin),
            None => self.hosts.push((host, pin.into_iter().collect())),
        }
        Ok(())
    }
}

/// Splits an owner: `_443._tcp.example.com`
fn port_and_host(owner: &str) -> Option<(&str, &str)> {
    let (port, rest) = owner.strip_prefix('_')?.split_once('.')?;
    let (protocol, name) = rest.split_once('.')?;
    let is_port = port.parse::<u16>().is_ok();
    (is_port && protocol.eq_ignore_ascii_case("_tcp")).then_some((port, name))
}

/// Returns whether a word before the type is a TTL, such as `3600` or `1h`, or a class.
fn is_ttl_or_class(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    word.starts_with(|char: char| char.is_ascii_digit())
        || word.starts_with("CLASS")
        || ["CH", "CS", "HS", "IN"].contains(&word.as_str())
}

/// A record or a directive.
struct Record {
    place: Place,
    /// Whether it begins with white space, which repeats the owner.
    is_continued: bool,
    words: Vec<String>,
}

/// Returns the records. Parentheses continue a record on further lines.
fn records(text: &str) -> Result<Vec<Record>, InputError> {
    let mut records: Vec<Record> = Vec::new();
    let mut depth = 0;
    for (index, line) in text.lines().enumerate() {
        let place = Place::Line(index + 1);
        if depth == 0 {
            records.push(Record {
                place,
                is_continued: line.starts_with(char::is_whitespace),
                words: Vec::new(),
            });
        }
        if let Some(record) = records.last_mut() {
            depth = split(line, depth, &mut record.words).ok_or_else(|| {
                place.error("a quoted string without its end, or `)` without `(`")
            })?;
        }
    }
    match records.last() {
        Some(record) if depth > 0 => Err(record.place.error("`(` without `)`")),
        _ => Ok(records),
    }
}

/// Adds the words of a line. Returns how many parentheses are open after it; `None` if a quoted
/// string, or a parenthesis, is not a whole.
fn split(line: &str, mut depth: usize, words: &mut Vec<String>) -> Option<usize> {
    let mut word = String::new();
    let mut is_quoted = false;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => {
                word.push(char);
                word.extend(chars.next());
            }
            '"' => {
                is_quoted = !is_quoted;
                word.push(char);
            }
            _ if is_quoted => word.push(char),
            ';' => break,
            '(' | ')' => {
                depth = match char {
                    '(' => depth + 1,
                    _ => depth.checked_sub(1)?,
                };
                push(words, &mut word);
            }
            _ if char.is_whitespace() => push(words, &mut word),
            _ => word.push(char),
        }
    }
    push(words, &mut word);
    (!is_quoted).then_some(depth)
}

fn push(words: &mut Vec<String>, word: &mut String) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// Returns the pin of a record; `None` if it has none.
fn pin(
    place: Place,
    host: &Host,
    data: &[String],
    losses: &mut Losses,
) -> Result<Option<(PinRole, SpkiFingerprint)>, InputError> {
    let [usage, selector, matching, hex @ ..] = data else {
        return Err(place.error("a TLSA record without usage, selector and matching type"));
    };
    let role = match usage.as_str() {
        "0" | "2" => PinRole::Ca,
        "1" | "3" => PinRole::Leaf,
        usage => return Err(place.error(format!("the usage {usage}, expected 0 to 3"))),
    };
    if usage == "2" || usage == "3" {
        let detail = format!(
            "usage {usage}: the source needs no validation by the PKI, the target validates, too"
        );
        losses.of(host, LossKind::Validation, detail);
    }
    let hex = hex.concat();
    let pin = match (selector.as_str(), matching.as_str()) {
        ("1", "1") if hex.len() == 64 => place.pin(&hex)?,
        ("1", "0") => {
            let key = bytes(&hex).map(SubjectPublicKeyInfoDer::from);
            let key = key.ok_or_else(|| place.error("the key is not hexadecimal"))?;
            let pin = SpkiFingerprint::of_public_key(&key);
            pin.map_err(|error| place.error(error))?
        }
        ("1", "1") => return Err(place.error("expected 64 hexadecimal digits")),
        ("0", "0") => {
            let certificate = bytes(&hex).map(rustls::pki_types::CertificateDer::from);
            let certificate =
                certificate.ok_or_else(|| place.error("the certificate is not hexadecimal"))?;
            let detail = "selector 0: the source pins the certificate, the target its key, which a \
                          renewal may keep";
            losses.of(host, LossKind::Algorithm, detail);
            let pin = SpkiFingerprint::of_certificate(&certificate);
            pin.map_err(|error| place.error(error))?
        }
        (selector, matching) => {
            let detail = format!(
                "selector {selector} with matching type {matching} has no fingerprint of a key: the \
                 record is not taken over"
            );
            losses.of(host, LossKind::Algorithm, detail);
            return Ok(None);
        }
    };
    Ok(Some((role, pin)))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || !hex.len().is_multiple_of(2) {
        return None;
    }
    let byte = |index| u8::from_str_radix(hex.get(index..index + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(byte).collect()
}

pub(super) fn write(rules: &Rules) -> String {
    let mut text = String::new();
    for rule in &rules.rules {
        for (role, pin) in rule.groups.iter().flat_map(|group| group.iter()) {
            let usages: &[u8] = match role {
                PinRole::Leaf => &[1],
                PinRole::Ca => &[0],
                _ => &[0, 1],
            };
            let hex = pin.as_bytes().map(|byte| format!("{byte:02x}")).concat();
            for usage in usages {
                text += &format!("_443._tcp.{}. IN TLSA {usage} 1 1 {hex}\n", rule.host);
            }
        }
    }
    text
}
