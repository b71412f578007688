//! The pin fields of a response's head: [`PinFields`].

use http::header::{PUBLIC_KEY_PINS, PUBLIC_KEY_PINS_REPORT_ONLY};
use http::{HeaderMap, HeaderValue};

/// The first field of each name: further ones are ignored, even if the first is malformed
/// (7469-2.3.1-e).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PinFields<'h> {
    /// `Public-Key-Pins`
    pub(crate) noted: Option<&'h [u8]>,
    /// `Public-Key-Pins-Report-Only`
    pub(crate) report_only: Option<&'h [u8]>,
}

impl<'h> PinFields<'h> {
    #[inline]
    pub(crate) fn of(headers: &'h HeaderMap) -> Self {
        let mut fields = Self::default();
        for name in headers.keys() {
            let field = match *name {
                PUBLIC_KEY_PINS => &mut fields.noted,
                PUBLIC_KEY_PINS_REPORT_ONLY => &mut fields.report_only,
                _ => continue,
            };
            *field = headers.get(name).map(HeaderValue::as_bytes);
        }
        fields
    }

    pub(crate) fn is_any(&self) -> bool {
        self.noted.is_some() || self.report_only.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_of_each_name_is_found_among_few_and_many() {
        for others in [0, 3, 48] {
            let mut headers = HeaderMap::new();
            for other in 0..others {
                let name = format!("x-{other}").parse::<http::HeaderName>().unwrap();
                headers.append(name, HeaderValue::from_static("x"));
            }
            assert_eq!(PinFields::of(&headers), PinFields::default());
            for value in ["first", "second"] {
                headers.append(PUBLIC_KEY_PINS_REPORT_ONLY, HeaderValue::from_static(value));
            }
            let report_only = Some(&b"first"[..]);
            let found = PinFields::of(&headers);
            assert_eq!(
                found,
                PinFields {
                    noted: None,
                    report_only
                }
            );
            assert!(found.is_any());
            for value in ["one", "two"] {
                headers.append(PUBLIC_KEY_PINS, HeaderValue::from_static(value));
            }
            let noted = Some(&b"one"[..]);
            assert_eq!(PinFields::of(&headers), PinFields { noted, report_only });
        }
    }
}
