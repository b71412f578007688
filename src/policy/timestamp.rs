//! Moments in, RFC 3339 text out (`2014-05-01T12:40:50Z`: UTC, whole seconds), and back.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use spki::der::DateTime;

/// As text; `None` beyond the year 9999.
pub(crate) fn print(time: UnixTime) -> Option<String> {
    let time = DateTime::from_unix_duration(Duration::from_secs(time.as_secs())).ok()?;
    let (century, year) = (time.year() / 100, time.year() % 100);
    let mut text = String::with_capacity("2014-05-01T12:40:50Z".len());
    push(&mut text, u8::try_from(century).ok()?);
    push(&mut text, u8::try_from(year).ok()?);
    // By hand, since a file of many entries spends a fifth of its time in `DateTime`'s own.
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

/// Two digits.
fn push(text: &mut String, number: u8) {
    text.push(char::from(b'0' + number / 10 % 10));
    text.push(char::from(b'0' + number % 10));
}

/// What [`print`] wrote, and nothing else.
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
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
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
