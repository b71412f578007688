//! Detection of the format of a file.

use clap::ValueEnum;

use crate::pins::formats::Format;

/// Splits `FORMAT:PATH`; a path alone has no format.
pub(super) fn split(argument: &str) -> (Option<Format>, &str) {
    let split = argument.split_once(':');
    let known = split.and_then(|(name, path)| Some((Format::from_str(name, false).ok()?, path)));
    known.map_or((None, argument), |(format, path)| (Some(format), path))
}

/// Returns the format of a text by what only that format has in it.
pub(super) fn format(text: &str) -> Option<Format> {
    let has = |part| text.contains(part);
    let formats = [
        (has("<trustkit-config"), Format::TrustkitAndroid),
        (has("<network-security-config"), Format::AndroidNsc),
        (has("TSKPinnedDomains"), Format::TrustkitIos),
        (has("NSPinnedDomains"), Format::Apple),
        (has("CertificatePinner"), Format::Okhttp),
        (has("\"pinsets\""), Format::Chromium),
        (has("\"policies\""), Format::PinFile),
        (has("pin-sha256"), Format::Header),
        (has("sha256//") || has("pinnedpubkey"), Format::Curl),
        (has("TLSA") || has("tlsa"), Format::Tlsa),
    ];
    formats
        .into_iter()
        .find(|(is, _)| *is)
        .map(|(_, format)| format)
}
