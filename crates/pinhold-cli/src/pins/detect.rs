//! Detection of the format of a file.

use clap::ValueEnum;

use crate::pins::formats::Format;

/// Splits `FORMAT:PATH`; a path alone has no format.
pub(super) fn split(argument: &str) -> (Option<Format>, &str) {
    let split = argument.split_once(':');
    let known = split.and_then(|(name, path)| Some((Format::from_str(name, false).ok()?, path)));
    known.map_or((None, argument), |(format, path)| (Some(format), path))
}

/// Returns the format of a text by how it begins, and then by what only that format has in it.
pub(super) fn format(text: &str) -> Option<Format> {
    let has = |part| text.contains(part);
    let formats: &[(bool, Format)] = match first_char(text) {
        Some('<') => &[
            (has("<trustkit-config"), Format::TrustkitAndroid),
            (has("<network-security-config"), Format::AndroidNsc),
            (has("TSKPinnedDomains"), Format::TrustkitIos),
            (has("NSPinnedDomains"), Format::Apple),
        ],
        Some('{') => &[
            (has("\"pinsets\""), Format::Chromium),
            (has("\"policies\""), Format::PinFile),
        ],
        _ => &[
            (has("CertificatePinner"), Format::Okhttp),
            (has("pin-sha256"), Format::Header),
            (has("sha256//") || has("pinnedpubkey"), Format::Curl),
            (has("TLSA") || has("tlsa"), Format::Tlsa),
        ],
    };
    let found = formats.iter().find(|(is, _)| *is);
    found.map(|(_, format)| *format)
}

/// Returns the first character after comments, with which Chromium's list and sources in Kotlin
/// begin.
fn first_char(text: &str) -> Option<char> {
    let lines = text
        .trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim_start);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.next()?.chars().next()
}
