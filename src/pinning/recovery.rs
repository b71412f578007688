//! [`Recovery`], the interface of the updater to the code that finds violations.

use std::future::Future;
use std::pin::Pin;

use crate::violation::PinViolation;

/// Fetches a bundle because of a violation. It is a trait, since the updater is above the code that
/// finds violations.
pub(crate) trait Recovery: Send + Sync {
    /// Starts to fetch a bundle, unless it was tried a short time ago. Does not wait.
    fn on_violation(&self, violation: &PinViolation);

    /// Does the same, and waits a short time. Returns whether the pins accept the refused chain then.
    fn recover(&self, violation: PinViolation) -> Recovering;
}

/// The outcome of a recovery that is under way: whether the pins accept the refused chain.
pub(crate) type Recovering = Pin<Box<dyn Future<Output = bool> + Send>>;
