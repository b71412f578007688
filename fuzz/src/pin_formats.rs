//! Pins in the formats of other systems, as `pinhold pins convert` reads and writes them.

use std::time::Duration;

use clap::ValueEnum;
use pinhold::Host;
use rustls_pki_types::UnixTime;

use crate::pins::formats::Format;
use crate::pins::source::Context;

/// The first byte selects a format, the rest is a text in it.
///
/// # Panics
///
/// If a reader or a writer panics, if what was read can't be written as a pin file and read back, or
/// if a reader refuses what the writer of its format wrote.
pub fn target(data: &[u8]) {
    let Some((selected, text)) = data.split_first() else {
        return;
    };
    let formats = Format::value_variants();
    let format = formats[usize::from(*selected) % formats.len()];
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    let context = context(Host::parse("example.com").ok());
    let Ok(read) = format.read(text, &context) else {
        return;
    };
    let file = read
        .rules
        .pin_file()
        .expect("rules are those of a pin file");
    let printed = file.to_string();
    assert_eq!(printed.parse().ok(), Some(file), "{printed}");
    for target in formats {
        if let Ok(written) = target.write(read.rules.clone(), &context) {
            // The output names its hosts.
            let again = target.read(&written.text, &self::context(None));
            assert!(again.is_ok(), "{target:?}: {}", written.text);
        }
    }
}

fn context(host: Option<Host>) -> Context {
    Context {
        host,
        at: UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000)),
        role: None,
        chromium_pins: None,
    }
}
