//! TLSA records (RFC 6698) of a zone file.
//!
//! A connection needs to match one of the records. Usages 0 and 1 add to validation by the PKI, as
//! pins do; 2 and 3 replace it. Selector 1 with matching type 1 is the fingerprint of a pin.

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
    let mut hosts: Vec<(Host, Vec<(PinRole, SpkiFingerprint)>)> = Vec::new();
    let mut origin = String::new();
    let mut owner = String::new();
    for (line, is_continued, words) in records(text) {
        let place = Place::Line(line);
        if let [directive, name, ..] = &*words
            && directive.eq_ignore_ascii_case("$ORIGIN")
        {
            origin = name.trim_end_matches('.').to_owned();
            continue;
        }
        let Some(at) = words
            .iter()
            .position(|word| word.eq_ignore_ascii_case("TLSA"))
        else {
            continue;
        };
        if !is_continued && at > 0 {
            owner = words.first().cloned().unwrap_or_default();
        }
        let (host, port) = host(place, &owner, &origin)?;
        if port != "443" {
            let detail =
                format!("port {port} alone is pinned by the source, every one by the target");
            losses.of(&host, LossKind::Port, detail);
        }
        let data = words.get(at + 1..).unwrap_or_default();
        let pin = pin(place, &host, data, losses)?;
        let known = hosts.iter_mut().find(|(known, _)| *known == host);
        match known {
            Some((_, pins)) => pins.extend(pin),
            None => hosts.push((host, pin.into_iter().collect())),
        }
    }
    if !hosts.is_empty() {
        let detail = "port 443 is pinned by the source, every port by the target";
        losses.of_file(LossKind::Port, detail);
    }
    let mut rules = Rules::default();
    for (host, pins) in hosts {
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

/// Returns the words of each record, with its line and whether it begins with white space, which
/// repeats the owner. Parentheses continue a record on further lines.
fn records(text: &str) -> Vec<(usize, bool, Vec<String>)> {
    let mut records: Vec<(usize, bool, Vec<String>)> = Vec::new();
    let mut is_open = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.split(';').next().unwrap_or_default();
        let words = line.split(|char: char| char.is_whitespace() || char == '(' || char == ')');
        let words = words.filter(|word| !word.is_empty()).map(str::to_owned);
        match records.last_mut().filter(|_| is_open) {
            Some((_, _, record)) => record.extend(words),
            None => {
                let is_continued = line.starts_with(char::is_whitespace);
                records.push((index + 1, is_continued, words.collect()));
            }
        }
        let last = line.rfind(['(', ')']);
        is_open = last.map_or(is_open, |last| {
            line.get(last..).is_some_and(|it| it.starts_with('('))
        });
    }
    records
}

/// Splits an owner: `_443._tcp.example.com.`
fn host<'o>(place: Place, owner: &'o str, origin: &str) -> Result<(Host, &'o str), InputError> {
    let mut labels = owner.splitn(3, '.');
    let port = labels.next().and_then(|label| label.strip_prefix('_'));
    match (port, labels.next(), labels.next()) {
        (Some(port), Some("_tcp"), Some(name)) if name.ends_with('.') || origin.is_empty() => {
            Ok((place.host(name)?, port))
        }
        (Some(port), Some("_tcp"), Some(name)) => {
            Ok((place.host(&format!("{name}.{origin}"))?, port))
        }
        (Some(port), Some("_tcp"), None) if !origin.is_empty() => Ok((place.host(origin)?, port)),
        _ => Err(place.error(format!("the owner {owner:?}, expected _443._tcp.HOST."))),
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
