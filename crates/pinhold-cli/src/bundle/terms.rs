//! The options for the terms of a bundle: what it states beside its pins.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pinhold::bundle::{BundleVersion, PinBundle, Staging};
use pinhold::{Host, SpkiFingerprint};
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::failure::Failure;
use crate::{network, rfc3339};

#[derive(Args)]
#[command(next_help_heading = "Terms of the bundle")]
pub(super) struct Terms {
    /// Version of the bundle [default: one above --previous]
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// When it is issued, as in 2027-06-30T12:00:00Z [default: now]
    #[arg(long, value_name = "DATE", value_parser = rfc3339::parse_date)]
    issued: Option<UnixTime>,
    /// Last second at which it is not stale (required): 90d, 12w or 36h after it is issued, or a
    /// date
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// What the bundle means once it is stale [default: enforce]
    #[arg(long, value_enum, value_name = "WORD")]
    when_stale: Option<WhenStale>,
    /// Percentage of the installations for which it is in effect, and the salt that selects them
    #[arg(long, value_name = "PERCENT:SALT")]
    staging: Option<Stages>,
    /// Make all pins report-only until then, at most 30 days after it is issued
    #[arg(long, value_name = "WHEN")]
    kill_switch_until: Option<When>,
    /// Key that no chain may contain; can be repeated
    #[arg(long, value_name = "PIN")]
    refuse_key: Vec<SpkiFingerprint>,
    /// Host of the pin file whose noted pins are report-only; can be repeated
    #[arg(long, value_name = "HOST", value_parser = Host::parse)]
    suspend_noted: Vec<Host>,
    /// Certificates (PEM) by which paths can be built that a server does not send; can be repeated
    #[arg(long, value_name = "PEM")]
    intermediate: Vec<PathBuf>,
    /// Name of a member that a client must know to use the bundle; can be repeated
    #[arg(long, value_name = "NAME")]
    critical: Vec<String>,
}

// The values have no help of their own, which would spread the whole help over more lines.
#[derive(Clone, Copy, ValueEnum)]
enum WhenStale {
    BuiltIn,
    Enforce,
    ReportOnly,
}

/// A time, or a duration after the issue of the bundle.
#[derive(Clone, Copy)]
enum When {
    After(Duration),
    At(UnixTime),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = match text.chars().next_back() {
            Some('h') => Some(60 * 60),
            Some('d') => Some(24 * 60 * 60),
            Some('w') => Some(7 * 24 * 60 * 60),
            _ => None,
        };
        let number = text.get(..text.len().saturating_sub(1));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        let seconds = number.zip(unit);
        let seconds = seconds.and_then(|(number, unit)| number.checked_mul(unit));
        if let Some(seconds) = seconds {
            return Ok(Self::After(Duration::from_secs(seconds)));
        }
        rfc3339::parse_date(text).map(Self::At).map_err(|_| {
            "expected a duration as in 90d, 12w or 36h, or a date as in 2027-06-30".to_owned()
        })
    }
}

impl When {
    fn from(self, issued: UnixTime) -> UnixTime {
        match self {
            Self::After(duration) => {
                let seconds = issued.as_secs().saturating_add(duration.as_secs());
                UnixTime::since_unix_epoch(Duration::from_secs(seconds))
            }
            Self::At(time) => time,
        }
    }
}

#[derive(Clone)]
struct Stages(Staging);

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').filter(|(_, salt)| !salt.is_empty());
        let staging = parts.and_then(|(percent, salt)| {
            let percent = percent.trim_end_matches('%').parse().ok()?;
            Staging::new(percent, salt)
        });
        let expected = "expected a percentage of 0 to 100 and a salt, as in 10:2026-12-new-ca";
        staging.map(Self).ok_or_else(|| expected.to_owned())
    }
}

/// The terms of a bundle, with all times and versions.
pub(super) struct Resolved {
    pub(super) version: u64,
    pub(super) issued: UnixTime,
    pub(super) expires: UnixTime,
    /// `None` for the default.
    pub(super) when_stale: Option<&'static str>,
    pub(super) staging: Option<Staging>,
    pub(super) kill_switch: Option<UnixTime>,
    pub(super) refused_keys: Vec<SpkiFingerprint>,
    pub(super) suspend_noted: Vec<Host>,
    pub(super) intermediates: Vec<CertificateDer<'static>>,
    pub(super) critical: Vec<String>,
}

impl Terms {
    /// Returns the first option that was given.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--version", self.version.is_some()),
            ("--issued", self.issued.is_some()),
            ("--expires", self.expires.is_some()),
            ("--when-stale", self.when_stale.is_some()),
            ("--staging", self.staging.is_some()),
            ("--kill-switch-until", self.kill_switch_until.is_some()),
            ("--refuse-key", !self.refuse_key.is_empty()),
            ("--suspend-noted", !self.suspend_noted.is_empty()),
            ("--intermediate", !self.intermediate.is_empty()),
            ("--critical", !self.critical.is_empty()),
        ];
        let mut given = given.into_iter().filter(|(_, is_given)| *is_given);
        given.next().map(|(name, _)| name)
    }

    /// Returns the terms of a bundle for the root with this version.
    pub(super) fn resolve(
        &self,
        root: u64,
        previous: Option<&PinBundle>,
        now: UnixTime,
    ) -> Result<Resolved, Failure> {
        let issued = self.issued.unwrap_or(now);
        let expires = self.expires.ok_or_else(|| {
            let message = "--expires is missing, expected when the bundle becomes stale, as in 90d";
            Failure::Usage(message.to_owned())
        })?;
        let mut intermediates = Vec::new();
        for file in &self.intermediate {
            intermediates.extend(network::certificates(file)?);
        }
        Ok(Resolved {
            version: self.version(root, previous.map(PinBundle::version))?,
            issued,
            expires: expires.from(issued),
            when_stale: self.when_stale.map(|choice| match choice {
                WhenStale::BuiltIn => "built-in",
                WhenStale::Enforce => "enforce",
                WhenStale::ReportOnly => "report-only",
            }),
            staging: self.staging.clone().map(|stages| stages.0),
            kill_switch: self.kill_switch_until.map(|until| until.from(issued)),
            refused_keys: self.refuse_key.clone(),
            suspend_noted: self.suspend_noted.clone(),
            intermediates,
            critical: self.critical.clone(),
        })
    }

    fn version(&self, root: u64, previous: Option<BundleVersion>) -> Result<u64, Failure> {
        if let Some(version) = self.version {
            return Ok(version);
        }
        let Some(previous) = previous else {
            let message = "--version is missing, expected one, or --previous with the bundle that \
                           was issued last; the first bundle is --version 1";
            return Err(Failure::Usage(message.to_owned()));
        };
        // A newer root begins anew where a thief has signed the highest number there is.
        let next = previous.bundle.checked_add(1);
        let next = next.or_else(|| (root > previous.root).then_some(1));
        next.ok_or_else(|| {
            Failure::Usage(format!(
                "--previous has the version {previous}, and there is no higher one of this root\n  \
                 what to do: make the next root (`pinhold bundle roll-root`)"
            ))
        })
    }
}
