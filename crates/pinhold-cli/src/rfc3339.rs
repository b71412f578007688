//! Conversion between times and RFC 3339 text (`2026-11-23T04:16:53Z`: UTC, whole seconds).

use std::time::Duration;

use rustls::pki_types::UnixTime;
use x509_cert::der::DateTime;

/// Returns the text of a time. Times after the year 9999 are printed as its last second, since
/// RFC 3339 has no later one.
pub(crate) fn print(time: UnixTime) -> String {
    DateTime::from_unix_duration(Duration::from_secs(time.as_secs())).map_or_else(
        |_| "9999-12-31T23:59:59Z".to_owned(),
        |time| time.to_string(),
    )
}

/// Parses text of the form that [`print`] returns.
pub(crate) fn parse(text: &str) -> Result<UnixTime, String> {
    let time = text.parse::<DateTime>();
    let time = time.map_err(|_| "expected a time in UTC as in 2026-11-23T04:16:53Z".to_owned())?;
    Ok(UnixTime::since_unix_epoch(time.unix_duration()))
}

/// Parses a time, or a date, which is the beginning of its day.
pub(crate) fn parse_date(text: &str) -> Result<UnixTime, String> {
    let parsed = parse(&format!("{text}T00:00:00Z")).or_else(|_| parse(text));
    parsed.map_err(|_| {
        "expected a date as in 2027-06-30, or a time as in 2027-06-30T23:59:59Z".into()
    })
}
