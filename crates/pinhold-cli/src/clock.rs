//! The system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// The clock of connections that the library does not make. rustls's own panics before 1970.
#[derive(Debug)]
pub(crate) struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let duration = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(duration))
    }
}

/// Returns the time, and the beginning of 1970 for an earlier one.
pub(crate) fn now() -> UnixTime {
    let time = Clock.current_time();
    time.unwrap_or(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
}
