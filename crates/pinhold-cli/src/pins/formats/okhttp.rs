//! OkHttp's `CertificatePinner.Builder` in Kotlin or Java source.
//!
//! `*.example.com` covers names with one label more, `**.example.com` the host and all below it, and
//! the pins of all patterns that match are united (`CertificatePinner.Pin.matchesHostname` and
//! `findMatchingPins` of OkHttp 4 and 5).

use pinhold::policy::{Overlap, PinRole, Scope};

use crate::pins::abilities::{Abilities, Exempt, Expiry, Names, Overlaps, Roles};
use crate::pins::loss::{LossKind, Losses};
use crate::pins::rules::{Rule, Rules, group, group_of};
use crate::pins::source::{InputError, Place};

pub(super) fn abilities() -> Abilities {
    Abilities {
        names: vec![
            Names::HostAndOneLabel,
            Names::HostAndSubdomains,
            Names::OneLabel,
        ],
        roles: Roles::Any,
        exempt: Exempt::Never,
        expiry: Expiry::Never,
        overlap: Overlaps::Union,
        report_uris: 0,
        one_entry: false,
        says: vec![LossKind::Backup, LossKind::Port],
    }
}

pub(super) fn read(text: &str, losses: &mut Losses) -> Result<Rules, InputError> {
    let begin = text.find("CertificatePinner").unwrap_or(0);
    let mut rules = Rules::default();
    for call in calls(text, begin) {
        let place = Place::Offset(call.offset);
        let Some(arguments) = call.arguments else {
            let line = text
                .get(..call.offset)
                .unwrap_or_default()
                .matches('\n')
                .count()
                + 1;
            let detail = format!(
                "line {line}: an argument of add() is not a string literal: the call is not taken \
                 over"
            );
            losses.of_file(LossKind::Ignored, detail);
            continue;
        };
        if let Some((pattern, pins)) = arguments.split_first()
            && pins.iter().any(|pin| pin.contains('/'))
        {
            add(place, pattern, pins, &mut rules, losses)?;
        }
    }
    if rules.has_overlap() {
        rules.overlap = Some(Overlap::Union);
    }
    Ok(rules)
}

fn add(
    place: Place,
    pattern: &str,
    pins: &[String],
    rules: &mut Rules,
    losses: &mut Losses,
) -> Result<(), InputError> {
    let (scope, name) = if let Some(name) = pattern.strip_prefix("**.") {
        (Scope::HostAndSubdomains, name)
    } else if let Some(name) = pattern.strip_prefix("*.") {
        (Scope::OneLabel, name)
    } else {
        (Scope::Host, pattern)
    };
    let host = place.host(name)?;
    let mut parsed = Vec::new();
    for pin in pins {
        if pin.starts_with("sha1/") {
            let detail = format!("{pin} is accepted by the source and not by the target");
            losses.of(&host, LossKind::Algorithm, detail);
        } else if pin.starts_with("sha256/") {
            parsed.push(place.pin(pin)?);
        } else {
            return Err(place.error(format!("the pin {pin:?}, expected sha256/BASE64")));
        }
    }
    let Some(added) = group_of(PinRole::Any, parsed) else {
        return Ok(());
    };
    let known = rules
        .rules
        .iter_mut()
        .find(|rule| rule.host == host && rule.scope == scope);
    match known {
        Some(rule) => {
            let pins = rule.groups.iter().chain([&added]).flat_map(|it| it.iter());
            let joined = group(pins.map(|(role, pin)| (role, *pin)));
            rule.groups = joined.into_iter().collect();
        }
        None => rules.rules.push(Rule::new(host, scope, vec![added])),
    }
    Ok(())
}

/// A call of `.add(...)`.
struct Call {
    offset: usize,
    /// `None` if one is not a string literal.
    arguments: Option<Vec<String>>,
}

/// Returns the calls of `.add(` that have string literals with pins as arguments, or may have them.
fn calls(text: &str, begin: usize) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut tokens = Tokens {
        text,
        offset: begin,
    };
    while let Some((offset, token)) = tokens.next() {
        if token != Token::Char('.') || !tokens.skip_name("add") {
            continue;
        }
        if tokens.next().map(|(_, token)| token) == Some(Token::Char('('))
            && let Some(call) = arguments(&mut tokens, offset)
        {
            calls.push(call);
        }
    }
    calls
}

/// Reads arguments to the closing parenthesis. `None` if the call can't be one of the builder: it
/// has a single argument.
fn arguments(tokens: &mut Tokens<'_>, offset: usize) -> Option<Call> {
    let mut literals = Some(Vec::new());
    let mut commas = 0;
    let mut depth = 0_usize;
    for (_, token) in tokens.by_ref() {
        match token {
            Token::Char('(') => {
                depth += 1;
                literals = None;
            }
            Token::Char(')') if depth == 0 => break,
            Token::Char(')') => depth -= 1,
            Token::Char(',') if depth == 0 => commas += 1,
            // `$` inserts a variable in Kotlin.
            Token::Text(text) if !text.contains('$') => {
                if let Some(literals) = &mut literals {
                    literals.push(text);
                }
            }
            _ => literals = None,
        }
    }
    // A comma may follow the last one.
    let is_complete = |it: &Vec<String>| it.len() >= commas.max(1);
    (commas > 0).then_some(Call {
        offset,
        arguments: literals.filter(is_complete),
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    Text(String),
}

/// The characters and string literals of a source, without white space and comments.
struct Tokens<'t> {
    text: &'t str,
    offset: usize,
}

impl Tokens<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn skip_past(&mut self, end: &str) {
        let found = self.rest().find(end);
        self.offset = found.map_or(self.text.len(), |found| self.offset + found + end.len());
    }

    /// Skips a name if it comes next as a whole.
    fn skip_name(&mut self, name: &str) -> bool {
        let is_next = self.rest().strip_prefix(name).is_some_and(|rest| {
            !rest.starts_with(|char: char| char.is_alphanumeric() || char == '_')
        });
        if is_next {
            self.offset += name.len();
        }
        is_next
    }

    /// Reads a string literal, after its opening quote.
    fn literal(&mut self) -> String {
        let mut literal = String::new();
        let rest = self.rest().to_owned();
        let mut chars = rest.char_indices();
        while let Some((index, char)) = chars.next() {
            match char {
                '"' => {
                    self.offset += index + 1;
                    return literal;
                }
                '\\' => literal.extend(chars.next().map(|(_, char)| char)),
                _ => literal.push(char),
            }
        }
        self.offset = self.text.len();
        literal
    }
}

impl Iterator for Tokens<'_> {
    type Item = (usize, Token);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let offset = self.offset;
            let char = self.rest().chars().next()?;
            if self.rest().starts_with("//") {
                self.skip_past("\n");
            } else if self.rest().starts_with("/*") {
                self.skip_past("*/");
            } else if char == '"' {
                self.offset += 1;
                return Some((offset, Token::Text(self.literal())));
            } else {
                self.offset += char.len_utf8();
                if !char.is_whitespace() {
                    return Some((offset, Token::Char(char)));
                }
            }
        }
    }
}

pub(super) fn write(rules: &Rules) -> String {
    let mut text = "import okhttp3.CertificatePinner\n\nval certificatePinner = \
                    CertificatePinner.Builder()\n"
        .to_owned();
    for rule in &rules.rules {
        let prefix = match rule.scope {
            Scope::Host => "",
            Scope::OneLabel => "*.",
            _ => "**.",
        };
        let pins = rule.pins();
        let pins = pins.iter().map(|pin| format!("        \"{pin}\""));
        let pins = pins.collect::<Vec<_>>().join(",\n");
        text += &format!(
            "    .add(\n        \"{prefix}{}\",\n{pins}\n    )\n",
            rule.host
        );
    }
    text + "    .build()\n"
}
