//! The tokens of Kotlin and of Java source.

use std::ops::Range;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    Char(char),
    Name(&'t str),
    /// A string literal; `None` if it inserts a value.
    Text(Option<String>),
}

/// The tokens of a source with their offsets, without white space, comments, char literals and
/// names in backticks.
pub(super) struct Tokens<'t> {
    text: &'t str,
    offset: usize,
    /// Whether comments nest, as in Kotlin and not in Java.
    nest: bool,
    pub(super) comments: Vec<Range<usize>>,
}

impl<'t> Tokens<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            offset: 0,
            nest: true,
            comments: Vec::new(),
        }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    /// Skips a comment if one comes next.
    fn skip_comment(&mut self) -> bool {
        let rest = self.rest();
        let length = if rest.starts_with("//") {
            rest.find('\n')
        } else if rest.starts_with("/*") {
            let nested = self.nest.then(|| nested_comment(rest)).flatten();
            // A comment of Java may contain the begin of another one. A source of Kotlin does not
            // end inside of a comment.
            self.nest = nested.is_some();
            let flat = || rest.get(2..)?.find("*/").map(|end| end + 4);
            nested.or_else(flat)
        } else {
            return false;
        };
        let begin = self.offset;
        self.offset += length.unwrap_or(rest.len());
        self.comments.push(begin..self.offset);
        true
    }

    /// Reads a string literal, which begins here.
    fn literal(&mut self) -> Token<'t> {
        let rest = self.rest();
        if let Some(raw) = rest.strip_prefix("\"\"\"") {
            let end = raw.find("\"\"\"").unwrap_or(raw.len());
            let (text, after) = raw.split_at(end);
            // The last three quotes end it; those before them are a part of it.
            let after = after.trim_start_matches('"');
            self.offset += rest.len() - after.len();
            return Token::Text((!text.contains('$')).then(|| text.to_owned()));
        }
        let mut literal = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((index, char)) = chars.next() {
            match char {
                '"' => {
                    self.offset += index + 1;
                    // `$` inserts a variable in Kotlin.
                    return Token::Text((!literal.contains('$')).then_some(literal));
                }
                // The quote of this line is no literal.
                '\n' => {
                    self.offset += index;
                    return Token::Text(None);
                }
                '\\' => literal.extend(chars.next().map(|(_, char)| char)),
                _ => literal.push(char),
            }
        }
        self.offset = self.text.len();
        Token::Text(None)
    }

    /// Returns the length of the char literal or of the name in backticks that comes next.
    fn quoted(&self) -> Option<usize> {
        let rest = self.rest();
        let mut chars = rest.char_indices();
        let (_, quote) = chars.next()?;
        let (second, first) = chars.next()?;
        let after = match (quote, first) {
            ('`', _) => second,
            ('\'', '\\') => second + 2,
            ('\'', _) => second + first.len_utf8(),
            _ => return None,
        };
        let line = rest.get(after..)?.split('\n').next()?;
        let end = match (quote, first) {
            ('\'', '\\') | ('`', _) => line.find(quote)?,
            _ => line.starts_with('\'').then_some(0)?,
        };
        Some(after + end + 1)
    }
}

/// Returns the length of a comment that may contain others; `None` if it has no end.
fn nested_comment(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut offset = 0;
    loop {
        match bytes.get(offset..offset + 2)? {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                offset += 1;
                continue;
            }
        }
        offset += 2;
        if depth == 0 {
            return Some(offset);
        }
    }
}

impl<'t> Iterator for Tokens<'t> {
    type Item = (usize, Token<'t>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let offset = self.offset;
            let char = self.rest().chars().next()?;
            let is_name = |char: char| char.is_alphanumeric() || char == '_';
            if self.skip_comment() {
                continue;
            }
            if char == '"' {
                return Some((offset, self.literal()));
            }
            if let Some(length) = self.quoted() {
                self.offset += length;
                // A value, as far as the arguments of a call are concerned.
                return Some((offset, Token::Char('\'')));
            }
            if is_name(char) {
                let rest = self.rest();
                let end = rest.find(|char| !is_name(char)).unwrap_or(rest.len());
                self.offset += end;
                return Some((offset, Token::Name(rest.get(..end).unwrap_or_default())));
            }
            self.offset += char.len_utf8();
            if !char.is_whitespace() {
                return Some((offset, Token::Char(char)));
            }
        }
    }
}
