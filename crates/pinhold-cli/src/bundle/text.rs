//! The text of a bundle.

use pinhold::pin_file::PinFile;
use rustls::pki_types::UnixTime;
use serde_json::Value;

use crate::bundle::chain::Chain;
use crate::bundle::terms::Resolved;
use crate::rfc3339;

/// Returns the text that is to be signed. It is indented by spaces, since a note has no tabs.
pub(super) fn of(terms: &Resolved, chain: &Chain, pins: &PinFile) -> String {
    let mut members = Members::default();
    members.text("type", "pin-bundle");
    members.add("version", terms.version.to_string());
    members.add("root_version", chain.newest.version().to_string());
    members.time("issued", terms.issued);
    members.time("expires", terms.expires);
    if let Some(word) = terms.when_stale {
        members.text("when_stale", word);
    }
    if let Some(until) = terms.kill_switch {
        let until = Value::from(rfc3339::print(until));
        members.add("kill_switch", format!("{{ \"until\": {until} }}"));
    }
    if let Some(staging) = &terms.staging {
        let (percent, salt) = (staging.percent(), Value::from(staging.salt()));
        let value = format!("{{ \"percent\": {percent}, \"salt\": {salt} }}");
        members.add("staging", value);
    }
    members.list("refused_keys", &terms.refused_keys);
    members.list("suspend_noted", &terms.suspend_noted);
    let pins = pins.to_string();
    members.add("pins", pins.trim_end().replace('\n', "\n  "));
    let intermediates = terms.intermediates.iter().map(|der| base64(der));
    members.list("intermediates", &intermediates.collect::<Vec<_>>());
    members.list("roots", &chain.notes);
    members.list("critical", &terms.critical);
    members.finish()
}

#[derive(Default)]
struct Members(Vec<String>);

impl Members {
    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(format!("  \"{name}\": {}", value.into()));
    }

    fn text(&mut self, name: &str, value: &str) {
        self.add(name, Value::from(value).to_string());
    }

    fn time(&mut self, name: &str, time: UnixTime) {
        self.text(name, &rfc3339::print(time));
    }

    /// Adds a list of texts unless it is empty.
    fn list<T: ToString>(&mut self, name: &str, values: &[T]) {
        if values.is_empty() {
            return;
        }
        let values = values.iter().map(ToString::to_string);
        let values = values.map(|value| format!("    {}", Value::from(value)));
        let values = values.collect::<Vec<_>>().join(",\n");
        self.add(name, format!("[\n{values}\n  ]"));
    }

    fn finish(self) -> String {
        format!("{{\n{}\n}}\n", self.0.join(",\n"))
    }
}

/// Encodes bytes in base64 (RFC 4648 section 4).
fn base64(bytes: &[u8]) -> String {
    let digit = |value: u32| {
        let index = usize::try_from(value & 63).unwrap_or_default();
        char::from(DIGITS.get(index).copied().unwrap_or_default())
    };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| chunk.get(index).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digits = [bits >> 18, bits >> 12, bits >> 6, bits].map(digit);
        text.extend(digits.iter().take(chunk.len() + 1));
        text.extend(std::iter::repeat_n('=', 3 - chunk.len()));
    }
    text
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_examples_of_the_specification() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }
}
