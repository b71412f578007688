//! The methods of a [`Pinning`] about pin bundles.

use std::sync::{Arc, Weak};

use crate::bundles::{BundleError, InstallId};
use crate::pinning::build_error::BuildError;
use crate::pinning::bundle_records::{self, BundleCounts};
use crate::pinning::bundle_state::Bundles;
use crate::pinning::bundle_status::{BundleOutcome, BundleStatus};
use crate::pinning::evaluation::Evaluation;
use crate::pinning::event::Event;
use crate::pinning::handle::{FlushAtClose, Pinning, Shared};
use crate::pinning::static_pins::BundleRules;
use crate::policy::timestamp::at;
use crate::store::{EARLIEST_TIME, RecordListener};

impl Pinning {
    /// Applies a pin bundle: the bytes that `pinhold bundle sign` makes, from any source. Uses no
    /// network. Blocks until the bundle and its version are durable in the
    /// [`store`](crate::PinningBuilder::store), and only then lets it take effect, for every clone
    /// and every open connection. In asynchronous code call it on a thread for blocking work.
    ///
    /// # Errors
    ///
    /// A [`BundleError`]. The last good bundle then stays in effect, and
    /// [`Event::BundleRefused`](crate::Event::BundleRefused) is emitted.
    ///
    /// ```no_run
    /// # fn received() -> Vec<u8> { Vec::new() }
    /// use pinhold::Pinning;
    ///
    /// # let pinning = Pinning::builder().build()?;
    /// match pinning.apply_bundle(&received()) {
    ///     Ok(outcome) => println!("{outcome:?}"),
    ///     Err(error) => eprintln!("{error}"),
    /// }
    /// # Ok::<(), pinhold::BuildError>(())
    /// ```
    pub fn apply_bundle(&self, bundle: &[u8]) -> Result<BundleOutcome, BundleError> {
        let Some(bundles) = &self.shared.bundles else {
            return Err(BundleError::NotSetUp);
        };
        let outcome = bundles.accept(&self.shared, bundle);
        bundles.count(&self.shared, &outcome);
        if let Err(error) = &outcome {
            let event = Event::BundleRefused(error.clone());
            bundles.emit_all(&self.shared, vec![event]);
        }
        self.report_stale_bundle();
        outcome
    }

    /// Returns which bundle is in effect; `None` if the application has set up none, or the clock
    /// can't be read.
    #[must_use]
    pub fn bundle_status(&self) -> Option<BundleStatus> {
        let now = self.clock().current_time()?;
        Some(self.shared.bundles.as_ref()?.status(&self.shared, now))
    }

    /// Loads the stored bundles, and follows those that other processes store.
    pub(crate) fn begin_bundles(mut self) -> Result<Self, BuildError> {
        let Some(bundles) = &self.shared.bundles else {
            return Ok(self);
        };
        let store = self.shared.store.clone();
        let flush_at_close = || Arc::new(FlushAtClose(store));
        self.flush_at_close.get_or_insert_with(flush_at_close);
        if let Some(sink) = self.observers.sink() {
            bundles.events.get_or_init(|| sink);
        }
        let listener: Weak<Shared> = Arc::downgrade(&self.shared);
        let others = self.shared.store.others();
        others.watch(listener);
        let (install, counts) = others.read(|records| {
            let counts = BundleCounts::of_stored(records);
            (bundle_records::install(records), counts)
        });
        let install = match install {
            Some(install) => install,
            None => bundles.new_install(&self.shared)?,
        };
        let mut state = bundles.state.lock();
        (state.counts, state.install) = (counts, Some(install));
        drop(state);
        bundles.reload(&self.shared)?;
        self.report_stale_bundle();
        Ok(self)
    }

    /// Emits that all pins of a fixed policy, or of a group of it, are in a chain, once for each host.
    pub(crate) fn report_fixed_without_backup(&self, evaluation: &Evaluation) {
        let Some((bundles, host)) = self.shared.bundles.as_ref().zip(evaluation.host()) else {
            return;
        };
        let statics = self.shared.statics.read();
        let fixed = statics.fixed(host, evaluation.at());
        let Some(fixed) = fixed else {
            return;
        };
        let live = evaluation.chain().fingerprints();
        let groups = fixed.policy().groups();
        let mut groups = groups.iter();
        let has_backup = groups.all(|group| group.iter().any(|(_, pin)| !live.contains(pin)));
        drop(statics);
        if has_backup {
            return;
        }
        let mut state = bundles.state.lock();
        if state.without_backup.len() >= MAX_REPORTED || state.without_backup.contains(host) {
            return;
        }
        state.without_backup.push(host.clone());
        drop(state);
        self.emit(Event::FixedWithoutBackup { host: host.clone() });
    }

    /// Emits that the bundle in effect is stale, once for each version.
    pub(crate) fn report_stale_bundle(&self) {
        let Some(bundles) = &self.shared.bundles else {
            return;
        };
        let Some(now) = self.clock().current_time() else {
            return;
        };
        // Without the lock of the bundles, which is held while one is verified.
        let terms = |bundled: &BundleRules| bundled.terms;
        let terms = self.shared.statics.read().bundled.as_ref().map(terms);
        let Some(terms) = terms.filter(|terms| terms.is_stale(now)) else {
            return;
        };
        let mut state = bundles.state.lock();
        if state.stale == Some(terms.version) {
            return;
        }
        state.stale = Some(terms.version);
        state.counts.stale += 1;
        drop(state);
        let event = Event::BundleStale {
            version: terms.version,
            expired: terms.expires,
        };
        bundles.emit_all(&self.shared, vec![event]);
    }
}

impl RecordListener for Shared {
    fn on_records_changed(&self) {
        if let Some(bundles) = &self.bundles {
            // Only rules that another release of the application accepts can fail here. Those in
            // effect then stay.
            let _ = bundles.reload(self);
        }
    }
}

impl Bundles {
    /// Chooses the number of this installation.
    fn new_install(&self, shared: &Shared) -> Result<InstallId, BuildError> {
        let mut bytes = [0; 16];
        let filled = self.provider.secure_random.fill(&mut bytes);
        filled.map_err(|_| BuildError::Tls(rustls::Error::FailedToGetRandomBytes))?;
        let install = InstallId::from_bytes(bytes);
        let change = bundle_records::put_install(install, at(EARLIEST_TIME));
        drop(shared.store.store_others(change.into_iter().collect()));
        Ok(install)
    }
}

/// The number of hosts whose fixed policies are reported: names below one policy have no limit.
const MAX_REPORTED: usize = 64;
