//! Points in time: conversion from the standard library's clock, and RFC 3339 text
//! (`2014-05-01T12:40:50Z`: UTC, whole seconds).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::UnixTime;
use spki::der::DateTime;

/// A point in time that policies and the store accept: rustls's [`UnixTime`] or a [`SystemTime`].
///
/// The precision is one second. A `SystemTime` before 1970 counts as the beginning of 1970. The
/// trait is sealed.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use pinhold::PinPolicy;
/// use pinhold::policy::AfterExpiry;
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?;
/// let in_a_year = SystemTime::now() + Duration::from_secs(365 * 24 * 60 * 60);
/// let policy = policy.expires(in_a_year, AfterExpiry::Unpin);
/// # Ok::<(), pinhold::policy::PolicyError>(())
/// ```
pub trait IntoUnixTime: sealed::Sealed {
    /// Returns the time in whole seconds since 1970.
    fn into_unix_time(self) -> UnixTime;
}

impl IntoUnixTime for UnixTime {
    fn into_unix_time(self) -> UnixTime {
        self
    }
}

impl IntoUnixTime for SystemTime {
    fn into_unix_time(self) -> UnixTime {
        let since_1970 = self.duration_since(UNIX_EPOCH);
        UnixTime::since_unix_epoch(since_1970.unwrap_or_default())
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "seals `IntoUnixTime`")]
    pub trait Sealed {}
    impl Sealed for rustls_pki_types::UnixTime {}
    impl Sealed for std::time::SystemTime {}
}

/// Returns the time that is this many seconds after the beginning of 1970.
pub(crate) const fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// Returns the time as RFC 3339 text. A time beyond the year 9999, which RFC 3339 can't express,
/// becomes [`MAX`].
pub(crate) fn print_capped(time: UnixTime) -> String {
    print(time).unwrap_or_else(|| MAX.to_owned())
}

/// The last second that RFC 3339 can express.
pub(crate) const MAX: &str = "9999-12-31T23:59:59Z";

/// Returns the time as RFC 3339 text; `None` beyond the year 9999.
pub(crate) fn print(time: UnixTime) -> Option<String> {
    let time = DateTime::from_unix_duration(Duration::from_secs(time.as_secs())).ok()?;
    let (century, year) = (time.year() / 100, time.year() % 100);
    let mut text = String::with_capacity("2014-05-01T12:40:50Z".len());
    push(&mut text, u8::try_from(century).ok()?);
    push(&mut text, u8::try_from(year).ok()?);
    // Formatting by `DateTime` would take a fifth of the time spent on writing a large store.
    for (before, number) in [
        ('-', time.month()),
        ('-', time.day()),
        ('T', time.hour()),
        (':', time.minutes()),
        (':', time.seconds()),
    ] {
        text.push(before);
        push(&mut text, number);
    }
    text.push('Z');
    Some(text)
}

/// Appends a number below 100 as two digits.
fn push(text: &mut String, number: u8) {
    text.push(char::from(b'0' + number / 10 % 10));
    text.push(char::from(b'0' + number % 10));
}

/// Parses what [`print`] writes, and no other form.
pub(crate) fn parse(text: &str) -> Option<UnixTime> {
    let time = text.parse::<DateTime>().ok()?;
    Some(UnixTime::since_unix_epoch(time.unix_duration()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_whole_seconds_in_utc() {
        for (seconds, text) in [
            (0, Some("1970-01-01T00:00:00Z")),
            (951_782_400, Some("2000-02-29T00:00:00Z")),
            (1_700_000_000, Some("2023-11-14T22:13:20Z")),
            (253_402_300_799, Some("9999-12-31T23:59:59Z")),
            (253_402_300_800, None),
            (u64::MAX, None),
        ] {
            let time = at(seconds);
            assert_eq!(print(time).as_deref(), text);
            if let Some(text) = text {
                assert_eq!(parse(text), Some(time));
            }
        }
        for text in [
            "",
            "2023-11-14",
            "2023-11-14t22:13:20z",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20.0Z",
            "2023-11-14T22:13:20+00:00",
            "2023-02-29T00:00:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
