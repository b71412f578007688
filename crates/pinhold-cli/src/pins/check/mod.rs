//! The command `pinhold pins check`: shows what is wrong with a pin file, where, and what to do.

pub(crate) mod finding;
pub(crate) mod known;
mod pins;
mod policies;
pub(crate) mod source;
mod unusable;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use pinhold::Pinning;
use pinhold::pin_file::PinFile;
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Output, counted};
use crate::pins::DIFFERENT;
use crate::pins::check::finding::{Finding, Severity};
use crate::pins::check::known::Known;
use crate::pins::check::policies::PolicyCheck;
use crate::pins::check::source::Source;
use crate::{clock, network, rfc3339};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Pin file; `-` is standard input
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Certificates (PEM, or one in DER) such as the chain of a server: finds pins that are the
    /// SHA-256 of a certificate instead of its key, and policies without a pin outside of the chain
    #[arg(long, value_name = "PEM")]
    chain: Vec<PathBuf>,
    /// Check what has expired at this time, as in 2027-06-30 or 2027-06-30T23:59:59Z [default: now]
    #[arg(long, value_name = "DATE", value_parser = rfc3339::parse_date)]
    at: Option<UnixTime>,
    /// Exit with 3 for warnings, too
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let bytes = read(&arguments.file)?;
    let known = Known::with_chains(&arguments.chain)?;
    let now = arguments.at.unwrap_or_else(clock::now);
    let findings = findings(&bytes, &known, now);
    let count = |severity| findings.iter().filter(|it| it.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let file = arguments.file.display().to_string();
    let json = json!({
        "file": file,
        "errors": errors,
        "warnings": warnings,
        "findings": findings.iter().map(Finding::json).collect::<Vec<Value>>(),
    });
    let mut lines = findings.iter().map(|it| it.text(&file)).collect::<Vec<_>>();
    let errors_text = counted(errors, "error", "errors");
    let warnings_text = counted(warnings, "warning", "warnings");
    lines.push(format!("{file}: {errors_text}, {warnings_text}"));
    output.print(&json, &lines.join("\n"))?;
    if errors > 0 || (arguments.strict && warnings > 0) {
        return Err(Failure::AlreadyPrinted { code: DIFFERENT });
    }
    Ok(())
}

/// Reads a file, or standard input for `-`. A size above the limit of pin files is a finding.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = if file == Path::new("-") {
        network::begin(io::stdin().lock())
    } else {
        File::open(file).and_then(network::begin)
    };
    let mut bytes = bytes.map_err(|error| Failure::input(&file.display().to_string(), error))?;
    network::remove_byte_order_mark(&mut bytes);
    Ok(bytes)
}

/// Returns the findings about a file with these contents, in the order of their places.
pub(crate) fn findings(bytes: &[u8], known: &Known, now: UnixTime) -> Vec<Finding> {
    let text = match unusable::text(bytes) {
        Ok(text) => text,
        Err(finding) => return vec![finding],
    };
    let source = Source::of(text);
    let mut findings = Vec::new();
    if let Some(source) = &source {
        findings.extend(pins::findings(source, known));
    }
    match (PinFile::parse(text), &source) {
        (Err(error), _) => findings.push(unusable::unreadable(&error)),
        (Ok(_), None) => {}
        (Ok(file), Some(source)) => {
            let pinning = Pinning::builder().pins(file.clone()).build();
            let check = PolicyCheck::new(&file, source, known, pinning.as_ref().ok(), now);
            findings.extend(check.findings());
            let error = pinning.as_ref().err();
            findings.extend(error.map(|error| unusable::unbuildable(error, &check)));
        }
    }
    findings.sort_by_key(Finding::order);
    findings
}

const EXAMPLES: &str = "\
Examples:
  pinhold pins check pins.json
  pinhold pins check pins.json --chain fullchain.pem --strict --json";
