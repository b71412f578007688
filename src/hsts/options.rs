//! [`HstsOptions`], what an application chooses about HSTS.

use std::time::Duration;

use crate::hsts::preload::HstsPreload;

/// What [`PinningBuilder::hsts`](crate::PinningBuilder::hsts) enables.
///
/// ```
/// use std::time::Duration;
///
/// use pinhold::Pinning;
/// use pinhold::hsts::{HstsOptions, HstsPreload};
///
/// let list = r#"{"entries": [{"name": "example.com", "mode": "force-https"}]}"#;
/// let options = HstsOptions::new().preload(HstsPreload::parse(list)?);
/// let pinning = Pinning::builder().hsts(options).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct HstsOptions {
    pub(crate) preload: Option<HstsPreload>,
    pub(crate) max_age_cap: Duration,
}

impl HstsOptions {
    /// The default [`max_age_cap`](Self::max_age_cap): 365 days. That of pins is shorter, since pins can
    /// lock an application out; HSTS can't as long as the server speaks TLS.
    pub const MAX_AGE_CAP: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// Returns options without a preload list.
    #[must_use]
    pub fn new() -> Self {
        Self {
            preload: None,
            max_age_cap: Self::MAX_AGE_CAP,
        }
    }

    /// Sets the hosts that are known before their first visit. No header removes them.
    #[must_use]
    pub fn preload(mut self, list: HstsPreload) -> Self {
        self.preload = Some(list);
        self
    }

    /// Limits the `max-age` of noted hosts. With zero, no host is noted, and each header removes the
    /// entry of its host.
    #[must_use]
    pub fn max_age_cap(mut self, cap: Duration) -> Self {
        self.max_age_cap = cap;
        self
    }
}

impl Default for HstsOptions {
    fn default() -> Self {
        Self::new()
    }
}
