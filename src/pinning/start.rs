//! What begins when a [`Pinning`] is built.

use std::sync::{Arc, Weak};

use crate::pinning::build_error::BuildError;
use crate::pinning::handle::{Pinning, Shared};
use crate::pinning::observers::{Callback, EventQueue, Observers, SharedQueue};
use crate::violation::Reporter;

/// The function that makes the reporter.
pub(crate) type MakeReporter =
    Box<dyn FnOnce(Pinning) -> Result<Arc<dyn Reporter>, BuildError> + Send>;

/// Begins what lasts as long as the handle.
pub(crate) fn begin(pinning: Pinning) -> Result<Pinning, BuildError> {
    #[cfg(feature = "health")]
    let pinning = pinning.begin_health();
    pinning.emit_clock_behind();
    #[cfg(feature = "bundles")]
    let pinning = pinning.begin_bundles()?;
    Ok(pinning)
}

/// Builds a handle whose events go to these observers and to the reporter.
pub(crate) fn observe(
    shared: Arc<Shared>,
    callbacks: Vec<Callback>,
    reporter: Option<MakeReporter>,
) -> Result<Pinning, BuildError> {
    let queue = Arc::new(EventQueue::new(callbacks));
    if let Some(make) = reporter {
        let reports_only = Observers::ReportsOnly(queue.shared().clone());
        let for_reporter = Pinning::new(Arc::clone(&shared), reports_only);
        let store = shared.store.clone();
        // The same as when the last handle of a store is dropped.
        queue.set_reporter(make(for_reporter)?, move || store.flush_at_close());
    }
    let watch: Weak<SharedQueue> = Arc::downgrade(queue.shared());
    shared.store.watch(watch);
    Ok(Pinning::new(shared, Observers::All(queue)))
}
