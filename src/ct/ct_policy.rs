//! [`CtPolicy`], what the SCTs of a certificate have to show.

use std::time::Duration;

/// What the SCTs of a certificate have to show. The default is [Chrome's policy] for embedded SCTs,
/// which Apple's and Mozilla's resemble, with those in a stapled OCSP response, which Chrome 148 and
/// later do not accept.
///
/// Either the embedded SCTs or those of the OCSP response suffice. SCTs of one log count once.
///
/// ```
/// use pinhold::ct::CtPolicy;
///
/// let mut policy = CtPolicy::default();
/// policy.longer = 2;
/// ```
///
/// [Chrome's policy]: https://googlechrome.github.io/CertificateTransparency/ct_policy.html
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CtPolicy {
    /// The number of logs that have to know a certificate of at most
    /// [`short_lifetime`](Self::short_lifetime), and one whose SCTs are in an OCSP response. Default: 2;
    /// 0 counts as 1.
    pub short: usize,
    /// The number of logs that have to know any other certificate. Default: 3; 0 counts as 1.
    pub longer: usize,
    /// The longest lifetime of a certificate for which [`short`](Self::short) logs are enough. Default:
    /// 180 days.
    pub short_lifetime: Duration,
    /// The number of operators that the logs have to have. Default: 2.
    pub operators: usize,
    /// The age from which a log list is not enforced any more. New logs begin to sign within this time,
    /// and a client that does not know them must not refuse their certificates. Default: 70 days.
    pub max_list_age: Duration,
}

impl CtPolicy {
    /// Returns the number of logs for a certificate of this lifetime in seconds.
    pub(crate) fn required(&self, lifetime: u64) -> usize {
        if lifetime <= self.short_lifetime.as_secs() {
            self.short.max(1)
        } else {
            self.longer.max(1)
        }
    }
}

impl Default for CtPolicy {
    fn default() -> Self {
        Self {
            short: 2,
            longer: 3,
            short_lifetime: Duration::from_secs(180 * DAY),
            operators: 2,
            max_list_age: Duration::from_secs(70 * DAY),
        }
    }
}

const DAY: u64 = 24 * 60 * 60;
