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
    /// The time that has passed for certain: that of the release, and the newest issue of a bundle,
    /// whose keys have signed it.
    earliest: UnixTime,
    pub(crate) expires: UnixTime,
    pub(crate) when_stale: WhenStale,
    pub(crate) kill_switch: Option<UnixTime>,
}

impl Terms {
    /// Returns the terms of the bundle in effect, beside a staged one that is known.
    pub(crate) fn of(bundle: &PinBundle, candidate: Option<&PinBundle>) -> Self {
        let issued = candidate.into_iter().chain([bundle]).map(PinBundle::issued);
        let newest = issued.fold(at(EARLIEST_TIME), UnixTime::max);
        Self {
            version: bundle.version(),
            earliest: newest,
            expires: bundle.expires(),
            when_stale: bundle.when_stale(),
            kill_switch: bundle.kill_switch(),
        }
    }

    pub(crate) fn is_stale(&self, now: UnixTime) -> bool {
        now.max(self.earliest) > self.expires
    }

    pub(crate) fn is_killed(&self, now: UnixTime) -> bool {
        self.kill_switch
            .is_some_and(|until| now.max(self.earliest) <= until)
    }
}
