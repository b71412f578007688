//! The calls of `add` in a source, and the pins that are in none of them.

use std::ops::Range;

use super::tokens::{Token, Tokens};

/// How deep parentheses may be nested.
const MAX_DEPTH: usize = 1000;

/// What a source has of a `CertificatePinner.Builder`.
#[derive(Default)]
pub(super) struct Source {
    pub(super) calls: Vec<Call>,
    /// How often a builder is created.
    pub(super) builders: usize,
    /// Where a pin is that is no argument of a call.
    pub(super) other_pins: Vec<usize>,
}

/// A call of `add(...)` that adds pins, or may add some.
pub(super) struct Call {
    pub(super) offset: usize,
    /// `None` if one is not a string literal.
    pub(super) arguments: Option<Vec<String>>,
}

/// What is open: parentheses, brackets or braces.
struct Frame {
    /// The offset of the call of `add` whose arguments these are.
    call: Option<usize>,
    /// Whether the name before says that `add` is declared here.
    is_declaration: bool,
    literals: Vec<String>,
    commas: usize,
    is_literal: bool,
}

/// Returns whether a text is a pin of OkHttp.
pub(super) fn is_pin(text: &str) -> bool {
    text.starts_with("sha256/") || text.starts_with("sha1/")
}

/// Reads a source; an error is the offset at which it is nested too deep.
pub(super) fn source(text: &str) -> Result<Source, usize> {
    let mut source = Source::default();
    let mut frames: Vec<Frame> = Vec::new();
    let mut covered = Vec::new();
    let mut tokens = Tokens::new(text);
    let mut before = Before::default();
    let mut is_known = !text.contains("CertificatePinner");
    for (offset, token) in tokens.by_ref() {
        match &token {
            Token::Char('(' | '[' | '{') => {
                if frames.len() == MAX_DEPTH {
                    return Err(offset);
                }
                if let Some(frame) = frames.last_mut() {
                    frame.is_literal = false;
                }
                let is_call = token == Token::Char('(');
                source.builders += usize::from(is_call && before.is_builder());
                frames.push(before.frame(is_call));
            }
            Token::Char(')' | ']' | '}') => {
                let frame = frames.pop();
                if let Some(call) = frame.and_then(|frame| frame.call(is_known)) {
                    covered.push(call.offset..offset);
                    source.calls.push(call);
                }
            }
            other => {
                is_known |= *other == Token::Name("CertificatePinner");
                if let Some(frame) = frames.last_mut() {
                    frame.add(other);
                }
            }
        }
        before.push(offset, token);
    }
    covered.append(&mut tokens.comments);
    source.other_pins = other_pins(text, covered);
    Ok(source)
}

/// The last tokens.
#[derive(Default)]
struct Before<'t>([Option<(usize, Token<'t>)>; 3]);

impl<'t> Before<'t> {
    fn push(&mut self, offset: usize, token: Token<'t>) {
        self.0.rotate_left(1);
        let [.., last] = &mut self.0;
        *last = Some((offset, token));
    }

    fn is_builder(&self) -> bool {
        let [first, second, third] = &self.0;
        let is = |it: &Option<(usize, Token<'t>)>, token| {
            it.as_ref().is_some_and(|(_, it)| *it == token)
        };
        is(first, Token::Name("CertificatePinner"))
            && is(second, Token::Char('.'))
            && is(third, Token::Name("Builder"))
    }

    /// Returns what opens after these tokens.
    fn frame(&self, is_call: bool) -> Frame {
        let call = match &self.0 {
            [.., second, Some((offset, Token::Name("add")))] if is_call => Some(match second {
                Some((dot, Token::Char('.'))) => *dot,
                _ => *offset,
            }),
            _ => None,
        };
        Frame {
            call,
            is_declaration: matches!(
                &self.0,
                [_, Some((_, Token::Name(name))), _] if !matches!(*name, "else" | "return")
            ),
            literals: Vec::new(),
            commas: 0,
            is_literal: true,
        }
    }
}

impl Frame {
    fn add(&mut self, token: &Token<'_>) {
        match token {
            Token::Char(',') => self.commas += 1,
            // Only the arguments of a call are of use.
            Token::Text(Some(text)) if self.call.is_some() => self.literals.push(text.clone()),
            _ => self.is_literal = false,
        }
    }

    /// Returns the call that these are the arguments of. `None` if it adds no pins: it has a single
    /// argument, or literals only of which none is a pin. A comma may follow the last argument.
    fn call(self, is_known: bool) -> Option<Call> {
        let has_pins = self.literals.iter().skip(1).any(|it| is_pin(it));
        let is_literal = self.is_literal && self.literals.len() >= self.commas.max(1);
        let may_add = is_known && !is_literal && !self.is_declaration;
        let offset = self.call.filter(|_| self.commas > 0)?;
        (has_pins || may_add).then_some(Call {
            offset,
            arguments: Some(self.literals).filter(|_| is_literal),
        })
    }
}

/// Returns where a text that is a pin, or begins with one, is outside of comments and calls.
fn other_pins(text: &str, mut covered: Vec<Range<usize>>) -> Vec<usize> {
    covered.sort_unstable_by_key(|range| range.start);
    let mut covered = covered.into_iter().peekable();
    let mut end = 0;
    let mut others = Vec::new();
    for (offset, _) in text.match_indices("sha") {
        while let Some(range) = covered.next_if(|range| range.start <= offset) {
            end = end.max(range.end);
        }
        let (before, after) = text.split_at(offset);
        if offset >= end && is_pin(after) && (before.ends_with('"') || is_whole_pin(after)) {
            others.push(offset);
        }
    }
    others
}

/// Returns whether a text begins with a whole SHA-256 pin, as a line of a raw string may.
fn is_whole_pin(text: &str) -> bool {
    let pin = text.get(..51);
    pin.is_some_and(|pin| pin.parse::<pinhold::SpkiFingerprint>().is_ok())
}
