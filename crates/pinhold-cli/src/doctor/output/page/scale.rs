//! The conversion of times to places on the time axis, which all timelines of a page have in common.

use std::time::Duration;

use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{HostForecast, Report};
use crate::doctor::output::summary::date;
use crate::rfc3339;

/// The section of time that is shown.
pub(super) struct Scale {
    from: u64,
    until: u64,
    pub(super) at: UnixTime,
    pub(super) fail_before: UnixTime,
}

/// A date with its name below the axis.
pub(super) struct Tick {
    pub(super) place: f64,
    pub(super) text: String,
    pub(super) is_year: bool,
}

impl Scale {
    /// Returns a scale from some weeks before the report to some weeks after the last lock-out, of
    /// at least 13 months and at most 3 years: roots are valid for decades.
    pub(super) fn of(report: &Report) -> Self {
        let at = report.at.as_secs();
        let dates = report.hosts.iter().flat_map(dates);
        let last = dates
            .filter(|date| date.saturating_sub(at) < 3 * YEAR)
            .max();
        let last = last.unwrap_or(at).max(report.fail_before.as_secs());
        let shown = last.saturating_sub(at).saturating_add(45 * DAY);
        Self {
            from: at.saturating_sub(60 * DAY),
            until: at.saturating_add(shown.clamp(400 * DAY, 3 * YEAR)),
            at: report.at,
            fail_before: report.fail_before,
        }
    }

    /// Returns the place of a time in percent, at the edges for a time that is not shown.
    pub(super) fn place(&self, time: UnixTime) -> f64 {
        let seconds = time.as_secs().clamp(self.from, self.until) - self.from;
        let thousandths = u128::from(seconds) * 100_000 / u128::from(self.until - self.from);
        f64::from(u32::try_from(thousandths).unwrap_or(u32::MAX)) / 1000.0
    }

    /// Returns whether a time is after all that is shown.
    pub(super) fn is_after(&self, time: UnixTime) -> bool {
        time.as_secs() > self.until
    }

    /// Returns whether a time is in the section that is shown.
    pub(super) fn shows(&self, time: UnixTime) -> bool {
        (self.from..=self.until).contains(&time.as_secs())
    }

    /// Returns the beginnings of years, and those of quarters if they have room.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let quarters = [("01", true), ("04", false), ("07", false), ("10", false)];
        let are_quarters_shown = self.until - self.from < 2 * YEAR;
        let first = date(UnixTime::since_unix_epoch(Duration::from_secs(self.from)));
        let year = first.get(..4).and_then(|year| year.parse::<u32>().ok());
        let years = year.map(|year| year..year.saturating_add(7));
        let months = years.into_iter().flatten().flat_map(|year| {
            let shown = quarters.into_iter();
            let shown = shown.filter(move |(_, is_year)| *is_year || are_quarters_shown);
            shown.map(move |(month, is_year)| (format!("{year}-{month}"), is_year))
        });
        let ticks = months.filter_map(|(text, is_year)| {
            let time = rfc3339::parse(&format!("{text}-01T00:00:00Z")).ok()?;
            let place = self.place(time);
            // A name at the end would be cut.
            (self.shows(time) && place < 93.0).then_some(Tick {
                place,
                text,
                is_year,
            })
        });
        ticks.collect()
    }
}

/// Returns the times of the lock-out and of the findings.
fn dates(host: &HostForecast) -> impl Iterator<Item = u64> {
    let lock_out = host.lock_out.as_ref().map(|it| it.at);
    let findings = host.findings.iter().filter_map(|it| it.date);
    lock_out.into_iter().chain(findings).map(|it| it.as_secs())
}

const DAY: u64 = 86_400;
const YEAR: u64 = 365 * DAY;
