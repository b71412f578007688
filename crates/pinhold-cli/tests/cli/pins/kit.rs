//! Conversions, and pins to convert.

use pinhold::pin_file::PinFile;
use serde_json::{Value, json};

use crate::program::{Folder, Run, run};

pub const A: &str = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=";
pub const B: &str = "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=";
pub const C: &str = "sha256/hxqRlPTu1bMS/0DITB1SSu0vd4u/8l8TjPgfaAp63Gc=";
pub const D: &str = "sha256/UvrJ7xWQqIai1LiDUqrxuenMtEA5O+GkGhR09c59iJk=";
/// Time from which headers count.
pub const AT: &str = "2027-01-01T00:00:00Z";

pub const FORMATS: [&str; 9] = [
    "android-nsc",
    "apple",
    "trustkit-ios",
    "trustkit-android",
    "okhttp",
    "curl",
    "header",
    "chromium",
    "tlsa",
];

/// Returns a pin without its algorithm.
pub fn base64(pin: &str) -> &str {
    pin.trim_start_matches("sha256/")
}

/// Returns the text with each of `{A}` to `{D}` replaced by the base64 of that pin.
pub fn filled(text: &str) -> String {
    let pins = [("{A}", A), ("{B}", B), ("{C}", C), ("{D}", D)];
    pins.into_iter().fold(text.to_owned(), |text, (name, pin)| {
        text.replace(name, base64(pin))
    })
}

/// Runs a conversion with JSON output.
pub fn convert(from: &str, to: &str, input: &str, options: &[&str]) -> Run {
    let folder = Folder::new();
    let file = folder.write("input", input);
    let fixed = [
        "pins", "convert", "--json", "--at", AT, "--from", from, "--to", to, &file,
    ];
    run(fixed.iter().chain(options))
}

/// Returns the kinds of the losses of a conversion, sorted, each once.
pub fn kinds(json: &Value) -> Vec<String> {
    let losses = json["losses"].as_array().unwrap().iter();
    let kinds = losses.map(|loss| loss["kind"].as_str().unwrap().to_owned());
    let mut kinds = kinds.collect::<Vec<_>>();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// Reads an input into a pin file, and expects these policies and these kinds of losses.
#[track_caller]
pub fn assert_read(from: &str, input: &str, policies: &Value, losses: &[&str]) {
    let json = convert(from, "pin-file", &filled(input), &[])
        .expect_code(0)
        .json();
    let expected = json!({ "version": 1, "policies": policies });
    assert_eq!(
        pin_file(json["output"].as_str().unwrap()),
        pin_file(&expected.to_string())
    );
    assert_eq!(kinds(&json), losses, "{json:#}");
}

#[track_caller]
pub fn pin_file(text: &str) -> PinFile {
    text.parse()
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}
