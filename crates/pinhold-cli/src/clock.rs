//! The system's clock.

use std::time::SystemTime;

use pinhold::policy::IntoUnixTime;
use rustls::pki_types::UnixTime;

/// Returns the time. `UnixTime::now` would panic if the clock is set to a time before 1970.
pub(crate) fn now() -> UnixTime {
    SystemTime::now().into_unix_time()
}
