//! The lexical grammar of the header fields: directives, tokens and quoted-strings ([RFC 7469
//! section 2.1], [RFC 7230 section 3.2.6]).
//!
//! [RFC 7469 section 2.1]: https://www.rfc-editor.org/rfc/rfc7469#section-2.1
//! [RFC 7230 section 3.2.6]: https://www.rfc-editor.org/rfc/rfc7230#section-3.2.6

/// How strictly the grammar of a field is applied.
///
/// ```
/// use pinhold::header::{HeaderSyntax, PinHeader};
///
/// let value = b"max-age = 0;";
/// assert!(PinHeader::parse(value, HeaderSyntax::Browsers).is_ok());
/// assert!(PinHeader::parse(value, HeaderSyntax::Rfc7469).is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderSyntax {
    /// As Chrome and Firefox did: also accepts empty directives (such as a trailing `;`) and white
    /// space around `=`, and no other deviation.
    Browsers,
    /// Exactly as RFC 7469 defines it.
    #[default]
    Rfc7469,
}

/// One directive of a field.
pub(crate) struct Directive {
    /// The name in lower case.
    pub(crate) name: String,
    pub(crate) value: Option<Value>,
}

/// The value of a directive.
pub(crate) struct Value {
    /// The bytes without quotes and escapes.
    pub(crate) bytes: Vec<u8>,
    pub(crate) quoted: bool,
}

/// The error of a field that does not follow `directive *( OWS ";" OWS directive )`.
#[derive(Debug)]
pub(crate) struct UnexpectedByte {
    /// Position of the first byte that does not match, or the length of the field if it ends early.
    pub(crate) offset: usize,
}

/// Splits a field into directives.
pub(crate) struct Tokenizer<'a> {
    value: &'a [u8],
    offset: usize,
    syntax: HeaderSyntax,
    first: bool,
}

impl<'a> Tokenizer<'a> {
    pub(crate) fn new(value: &'a [u8], syntax: HeaderSyntax) -> Self {
        // White space around a field value is not part of it (RFC 7230 section 3.2).
        let end = value
            .iter()
            .rposition(|byte| !is_space(*byte))
            .map_or(0, |last| last + 1);
        let mut tokenizer = Self {
            value: value.get(..end).unwrap_or_default(),
            offset: 0,
            syntax,
            first: true,
        };
        tokenizer.skip_space();
        tokenizer
    }

    /// Returns the next directive, or `None` at the end of the field.
    pub(crate) fn next_directive(&mut self) -> Result<Option<Directive>, UnexpectedByte> {
        loop {
            if self.first {
                self.first = false;
                if self.peek().is_none() {
                    return Ok(None);
                }
            } else {
                self.skip_space();
                if self.peek().is_none() {
                    return Ok(None);
                }
                self.expect(b';')?;
                self.skip_space();
            }
            if self.syntax == HeaderSyntax::Rfc7469 || !matches!(self.peek(), None | Some(b';')) {
                return self.directive().map(Some);
            }
        }
    }

    fn directive(&mut self) -> Result<Directive, UnexpectedByte> {
        let name = String::from_utf8_lossy(self.token()?).to_ascii_lowercase();
        if self.syntax == HeaderSyntax::Browsers {
            self.skip_space();
        }
        if self.peek() != Some(b'=') {
            return Ok(Directive { name, value: None });
        }
        self.offset += 1;
        if self.syntax == HeaderSyntax::Browsers {
            self.skip_space();
        }
        let value = if self.peek() == Some(b'"') {
            self.quoted_string()?
        } else {
            Value {
                bytes: self.token()?.to_vec(),
                quoted: false,
            }
        };
        Ok(Directive {
            name,
            value: Some(value),
        })
    }

    fn token(&mut self) -> Result<&'a [u8], UnexpectedByte> {
        let rest = self.value.get(self.offset..).unwrap_or_default();
        let end = rest.iter().position(|byte| !is_token(*byte));
        let token = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if token.is_empty() {
            return Err(self.unexpected());
        }
        self.offset += token.len();
        Ok(token)
    }

    fn quoted_string(&mut self) -> Result<Value, UnexpectedByte> {
        self.expect(b'"')?;
        let mut bytes = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.offset += 1;
                    return Ok(Value {
                        bytes,
                        quoted: true,
                    });
                }
                Some(b'\\') => {
                    self.offset += 1;
                    match self.peek() {
                        Some(byte) if is_quotable(byte) => bytes.push(byte),
                        _ => return Err(self.unexpected()),
                    }
                }
                Some(byte) if is_quotable(byte) => bytes.push(byte),
                _ => return Err(self.unexpected()),
            }
            self.offset += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), UnexpectedByte> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected());
        }
        self.offset += 1;
        Ok(())
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.offset += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.value.get(self.offset).copied()
    }

    fn unexpected(&self) -> UnexpectedByte {
        UnexpectedByte {
            offset: self.offset,
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Returns whether a token may contain the byte (RFC 7230 section 3.2.6, `tchar`).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns whether the byte may follow the backslash of a quoted-pair (RFC 7230 section 3.2.6).
/// Each of these bytes but `"` and `\` is also `qdtext`.
fn is_quotable(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_quoted_strings_have_the_characters_of_rfc_7230() {
        // 7469-2.1-e
        for byte in 0..=u8::MAX {
            let separator = b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            assert_eq!(
                is_token(byte),
                byte.is_ascii_graphic() && !separator,
                "{byte:#x}"
            );
            let text = byte == b'\t' || byte == b' ' || byte.is_ascii_graphic() || byte >= 0x80;
            assert_eq!(is_quotable(byte), text, "{byte:#x}");
            assert_eq!(is_space(byte), byte == b' ' || byte == b'\t');
        }
    }

    #[test]
    fn a_value_is_a_token_or_the_contents_of_a_quoted_string() {
        // 7469-2.1-g
        let cases: [(&[u8], Option<&[u8]>); 7] = [
            (b"x", None),
            (b"x=1", Some(b"1")),
            (b"x='1'", Some(b"'1'")),
            (b"x=\"\"", Some(b"")),
            (b"x=\"a;b,c=d\"", Some(b"a;b,c=d")),
            (b"x=\"\\\"\\\\\\a\"", Some(b"\"\\a")),
            (b"x=\"\t\xff\\\xfe\"", Some(b"\t\xff\xfe")),
        ];
        for (field, expected) in cases {
            let mut tokenizer = Tokenizer::new(field, HeaderSyntax::Rfc7469);
            let directive = tokenizer.next_directive().unwrap().unwrap();
            assert_eq!(directive.name, "x");
            let value = directive.value.as_ref();
            assert_eq!(value.map(|value| &*value.bytes), expected);
            let quoted = value.is_some_and(|value| value.quoted);
            assert_eq!(quoted, field.contains(&b'"'));
            assert!(tokenizer.next_directive().unwrap().is_none());
        }
    }
}
