//! Expiries: reduction to what a format can say, and dates.

use std::time::Duration;

use pinhold::policy::AfterExpiry;
use pinhold::{Enforcement, Host};
use rustls::pki_types::UnixTime;

use crate::pins::abilities::Expiry;
use crate::pins::loss::{LossKind, Losses};
use crate::pins::rules::Rule;
use crate::rfc3339;

/// The duration of pins without an expiry, where a format demands one: that of RFC 7469 section 4.1.
const DEFAULT_MAX_AGE: u64 = 60 * DAY;
const DAY: u64 = 24 * 60 * 60;
/// The last day that a date can express.
const MAX: u64 = 253_402_214_400;

/// Reduces the expiry of a policy. An error is why the target can't say the policy at all.
pub(crate) fn reduce(
    rule: &mut Rule,
    expiry: Expiry,
    now: UnixTime,
    losses: &mut Losses,
) -> Result<(), (LossKind, String)> {
    let host = rule.host.clone();
    let mut lose = |detail: String| losses.of(&host, LossKind::Expiry, detail);
    let Some((at, then)) = rule.expiry else {
        if expiry == Expiry::MaxAge && rule.enforcement == Enforcement::Enforce {
            lose(NO_EXPIRY.to_owned());
            rule.expiry = Some((after(now, DEFAULT_MAX_AGE), AfterExpiry::Unpin));
        }
        return Ok(());
    };
    let text = rfc3339::print(at);
    match expiry {
        Expiry::Full => return Ok(()),
        Expiry::Never => {
            lose(format!("{NEVER}: {text}"));
            rule.expiry = None;
            return Ok(());
        }
        Expiry::MaxAge if rule.enforcement == Enforcement::ReportOnly => {
            lose(format!("{NEVER}: {text}"));
            rule.expiry = None;
            return Ok(());
        }
        Expiry::MaxAge => {
            if at.as_secs() <= now.as_secs() {
                return Err((LossKind::Expiry, format!("expired at {text}")));
            }
            lose(format!(
                "expires at {text} in the source; each response renews it in the target"
            ));
            rule.expiry = Some((at, AfterExpiry::Unpin));
        }
        Expiry::DateOfDevice | Expiry::DateUtc => {
            let day = at.as_secs().min(MAX) / DAY * DAY;
            if day != at.as_secs() {
                lose(format!(
                    "expires at {text} in the source, and at the beginning of that day in the target"
                ));
            }
            if expiry == Expiry::DateOfDevice {
                lose(ZONE.to_owned());
            }
            rule.expiry = Some((at_second(day), AfterExpiry::Unpin));
        }
    }
    lose_after(then, &host, losses);
    Ok(())
}

fn lose_after(then: AfterExpiry, host: &Host, losses: &mut Losses) {
    let source = match then {
        AfterExpiry::Refuse => "refuses every connection",
        AfterExpiry::ReportOnly => "reports violations",
        _ => return,
    };
    let detail = format!("after the expiry the source {source}, and the target has no pins");
    losses.of(host, LossKind::Expiry, detail);
}

const NO_EXPIRY: &str =
    "has no expiry in the source; a client keeps it for 60 days after a response";
const NEVER: &str = "never expires in the target, which goes on after the time of the source";

/// What a date without a time zone does not say.
pub(crate) const ZONE: &str = "the day begins in the time zone of the device, up to 14 hours before \
                               and 12 hours after that in UTC";

/// Parses `2027-06-30`: the beginning of the day in UTC.
pub(crate) fn parse_date(text: &str) -> Option<UnixTime> {
    let mut parts = text.trim().split('-');
    let mut next = |width: usize| {
        let part = parts.next()?;
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && part.len() <= width).then(|| format!("{part:0>width$}"))
    };
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    if parts.next().is_some() {
        return None;
    }
    rfc3339::parse(&format!("{year}-{month}-{day}T00:00:00Z")).ok()
}

/// Prints the day of a time in UTC, as `2027-06-30`.
pub(crate) fn print_date(time: UnixTime) -> String {
    let text = rfc3339::print(time);
    text.split('T').next().unwrap_or_default().to_owned()
}

/// Returns the time this many seconds later, at most at the end of the year 9999.
pub(crate) fn after(time: UnixTime, seconds: u64) -> UnixTime {
    at_second(time.as_secs().saturating_add(seconds).min(MAX + DAY - 1))
}

fn at_second(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
