//! Findings about the pins of a bundle for which it is not signed: a client with them could lose its
//! servers, and each bundle reaches all clients at once.

use std::collections::HashSet;

use clap::{Args, ValueEnum};
use pinhold::bundle::PinBundle;
use pinhold::policy::PinGroup;
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Output, counted};
use crate::pins::check::finding::{Finding, Severity};
use crate::pins::check::{self, known::Known};

use super::FINDING;

#[derive(Args)]
pub(super) struct Allowance {
    /// Finding of `pinhold pins check` in spite of which the bundle is signed; can be repeated
    #[arg(long, value_enum, value_name = "FINDING")]
    allow: Vec<Allowed>,
}

// The values have no help of their own, which would spread the whole help over more lines.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Allowed {
    CertificatePin,
    Expired,
    NoBackup,
    RefusedPin,
    RepeatedKey,
    Unreachable,
}

impl Allowed {
    fn id(self) -> &'static str {
        match self {
            Self::CertificatePin => "certificate-pin",
            Self::Expired => "expired",
            Self::NoBackup => "no-backup",
            Self::RefusedPin => "refused-pin",
            Self::RepeatedKey => "repeated-key",
            Self::Unreachable => "unreachable",
        }
    }
}

/// The warnings of a check that end in a lock-out when the only key is lost.
const SINGLE_KEYS: [&str; 2] = ["no-backup", "repeated-key"];

/// What was found.
pub(super) struct Checked(Vec<Finding>);

impl Allowance {
    /// Fails for a bundle in which there are findings that were not allowed. `pin_file` is the text
    /// of its pins, if it was made of one.
    pub(super) fn check(
        &self,
        bundle: &PinBundle,
        name: &str,
        pin_file: Option<&[u8]>,
        now: UnixTime,
        output: Output,
    ) -> Result<Checked, Failure> {
        let known = Known::with_chains(&[])?;
        let mut findings = match pin_file {
            Some(bytes) => check::findings(bytes, &known, now),
            // Places in a text that is printed anew are none of the input.
            None => {
                let printed = bundle.pins().to_string();
                let findings = check::findings(printed.as_bytes(), &known, now).into_iter();
                findings.map(Finding::without_place).collect()
            }
        };
        findings.extend(refused_pins(bundle));
        self.refuse(findings, name, output)
    }

    fn refuse(
        &self,
        findings: Vec<Finding>,
        name: &str,
        output: Output,
    ) -> Result<Checked, Failure> {
        let is_refused = |finding: &&Finding| {
            let is_lock_out =
                finding.severity == Severity::Error || SINGLE_KEYS.contains(&finding.id);
            is_lock_out && !self.allow.iter().any(|it| it.id() == finding.id)
        };
        let refused = findings.iter().filter(is_refused).collect::<Vec<_>>();
        for finding in &findings {
            if !output.is_json() {
                output.message(&finding.plain_text(name));
            }
        }
        if refused.is_empty() {
            return Ok(Checked(findings));
        }
        let count = counted(refused.len(), "finding", "findings");
        let mut message = format!("{name}: {count} by which clients could lose their servers");
        let allowed = Allowed::value_variants().iter().map(|it| it.id());
        let allowed = allowed.filter(|id| refused.iter().any(|it| it.id == *id));
        let allowed = allowed.map(|id| format!("--allow {id}"));
        let allowed = allowed.collect::<Vec<_>>().join(" ");
        if !allowed.is_empty() {
            message += &format!("\n  what to do: see above; if it is intended: {allowed}");
        }
        output.print_error(&json!({
            "error": "lock-out",
            "message": message,
            "findings": refused.iter().map(|it| it.json()).collect::<Value>(),
        }));
        output.message(&message);
        Err(Failure::AlreadyPrinted { code: FINDING })
    }
}

impl Checked {
    pub(super) fn json(&self) -> Value {
        self.0.iter().map(Finding::json).collect()
    }
}

/// Finds pins that the bundle refuses, beside those that the pin file itself refuses.
fn refused_pins(bundle: &PinBundle) -> Vec<Finding> {
    let refused = bundle.refused_keys().into_iter();
    let refused = refused.flat_map(pinhold::PinSet::iter).copied();
    let refused = refused.collect::<HashSet<_>>();
    let mut findings = Vec::new();
    for (host, policy) in bundle.pins().policies() {
        let groups = policy.groups();
        let pins = groups.iter().flat_map(PinGroup::iter).map(|(_, pin)| pin);
        for pin in pins.filter(|pin| refused.contains(pin)) {
            let detail =
                format!("{pin} is pinned, but refused by the bundle: a chain with it is refused");
            let remedy = "remove it from the policy, or from --refuse-key if it is still trusted";
            findings.push(Finding::error("refused-pin", detail, remedy).of_host(host));
        }
    }
    findings
}
