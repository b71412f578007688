//! [`Terms`], the times of a pin bundle and what they mean.

use rustls_pki_types::UnixTime;

use crate::bundles::{PinBundle, WhenStale};
use crate::policy::BundleVersion;
use crate::policy::timestamp::at;
use crate::store::EARLIEST_TIME;

/// The times of a bundle, and what they mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) version: BundleVersion,
    issued: UnixTime,
    pub(crate) expires: UnixTime,
    pub(crate) when_stale: WhenStale,
    pub(crate) kill_switch: Option<UnixTime>,
}

impl Terms {
    pub(crate) fn of(bundle: &PinBundle) -> Self {
        Self {
            version: bundle.version(),
            issued: bundle.issued(),
            expires: bundle.expires(),
            when_stale: bundle.when_stale(),
            kill_switch: bundle.kill_switch(),
        }
    }

    /// Returns the time by which the terms are evaluated: at least that of the release and of the
    /// issue of the bundle, whose keys have signed that it has passed.
    fn time(&self, now: UnixTime) -> UnixTime {
        now.max(self.issued).max(at(EARLIEST_TIME))
    }

    pub(crate) fn is_stale(&self, now: UnixTime) -> bool {
        self.time(now) > self.expires
    }

    pub(crate) fn is_killed(&self, now: UnixTime) -> bool {
        self.kill_switch
            .is_some_and(|until| self.time(now) <= until)
    }
}
