//! [`SystemClock`]: the system's clock, which may be set to a time before 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// The default clock. rustls's own panics before 1970, as some devices start without a battery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock;

impl TimeProvider for SystemClock {
    fn current_time(&self) -> Option<UnixTime> {
        since_1970(SystemTime::now())
    }
}

fn since_1970(time: SystemTime) -> Option<UnixTime> {
    let duration = time.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixTime::since_unix_epoch(duration))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn there_is_no_time_before_1970() {
        let second = Duration::from_secs(1);
        assert_eq!(since_1970(UNIX_EPOCH - second), None);
        let first = since_1970(UNIX_EPOCH + second).unwrap();
        assert_eq!(first.as_secs(), 1);
        assert!(SystemClock.current_time().is_some());
    }
}
