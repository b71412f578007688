//! Choices in, a [`Pinning`] out.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use crate::pinning::build_error::BuildError;
use crate::pinning::handle::{Pinning, Shared};
use crate::pinning::observers::{Callback, Event, EventQueue, EventSink, Observers};
use crate::pinning::static_pins::{StaticEntries, StaticPins};
use crate::policy::{HeaderSyntax, Host, HostError, PinPolicy, UserAddedRoots};
#[cfg(pinhold_debug_overrides)]
use crate::roots::Overrides;
use crate::store::PinStore;
use crate::violation::Reporter;
#[cfg(pinhold_debug_overrides)]
use {crate::roots::AnchorError, rustls_pki_types::CertificateDer};

impl Pinning {
    /// Starts without pins, with a store in memory.
    pub fn builder() -> PinningBuilder {
        PinningBuilder {
            statics: Vec::new(),
            store: PinStore::in_memory(),
            note_only: None,
            syntax: HeaderSyntax::default(),
            user_added_roots: UserAddedRoots::default(),
            clock: Arc::new(DefaultTimeProvider),
            #[cfg(pinhold_debug_overrides)]
            overrides: Overrides::default(),
            callbacks: Vec::new(),
            reporter: None,
            observe: None,
            error: None,
        }
    }
}

/// Collects what makes a [`Pinning`]. What is wrong is said by [`build`](Self::build).
#[must_use]
pub struct PinningBuilder {
    statics: Vec<(Host, PinPolicy)>,
    store: PinStore,
    note_only: Option<HashSet<Host>>,
    syntax: HeaderSyntax,
    user_added_roots: UserAddedRoots,
    clock: Arc<dyn TimeProvider>,
    callbacks: Vec<Callback>,
    reporter: Option<MakeReporter>,
    observe: Option<Observe>,
    #[cfg(pinhold_debug_overrides)]
    overrides: Overrides,
    error: Option<BuildError>,
}

/// Named only where there is somebody to tell: other clients do not carry the thread that tells.
type Observe = fn(Arc<Shared>, Vec<Callback>, Option<MakeReporter>) -> Result<Pinning, BuildError>;

type MakeReporter = Box<dyn FnOnce(Pinning) -> Result<Arc<dyn Reporter>, BuildError> + Send>;

impl PinningBuilder {
    /// Pins `host` by the application's word. Each host has one policy.
    pub fn static_pins<H>(mut self, host: H, policy: PinPolicy) -> Self
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        match host.try_into() {
            Ok(host) => self.statics.push((host, policy)),
            Err(error) => self.fail(BuildError::Host(error.into())),
        }
        self
    }

    /// Where noted pins are kept. Unless said, a new store in memory.
    pub fn store(mut self, store: PinStore) -> Self {
        self.store = store;
        self
    }

    /// Lets only these very hosts pin by header (one with a single label never can). Recommended
    /// where the hosts are known: then no other server can make this application refuse connections
    /// or remember a visit.
    pub fn note_only<H>(mut self, hosts: impl IntoIterator<Item = H>) -> Self
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        let mut allowed = self.note_only.take().unwrap_or_default();
        for host in hosts {
            match host.try_into() {
                Ok(host) => drop(allowed.insert(host)),
                Err(error) => self.fail(BuildError::Host(error.into())),
            }
        }
        self.note_only = Some(allowed);
        self
    }

    /// How literally headers are read. Unless said, as RFC 7469 has it.
    pub fn header_syntax(mut self, syntax: HeaderSyntax) -> Self {
        self.syntax = syntax;
        self
    }

    /// What chains to user-added roots mean for noted pins, and for static ones whose policy does
    /// not say. Unless said, pins are skipped.
    pub fn user_added_roots(mut self, choice: UserAddedRoots) -> Self {
        self.user_added_roots = choice;
        self
    }

    /// The clock of verifier, connector and layer. Unless said, the system's.
    pub fn time_provider(mut self, clock: Arc<dyn TimeProvider>) -> Self {
        self.clock = clock;
        self
    }

    /// Trusts these roots, of proxies that are to read what is sent, and skips all pins on chains
    /// to them, those of policies that enforce pins on user-added roots, and expired ones, too.
    /// Other chains are judged as ever, and one to a root that is also built in. A
    /// [wrapped](crate::tls::PinningVerifierBuilder::with_inner_verifier) verifier must trust the roots by itself.
    ///
    /// Exists only where the final build is made with
    /// `RUSTFLAGS="--cfg pinhold_debug_overrides"`, which no dependency can ask for. Such a build
    /// says so on standard error whenever a [`Pinning`] is built.
    ///
    /// # Errors
    ///
    /// [`AnchorError`] names the first certificate that can't be read.
    #[cfg(pinhold_debug_overrides)]
    pub fn debug_overrides<'a>(
        mut self,
        roots: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, AnchorError> {
        self.overrides = self.overrides.add(roots)?;
        Ok(self)
    }

    /// Tells `observer` what happens, from a thread of its own: no handshake waits for it. What
    /// comes too fast for it is lost, and it is told how much ([`Event::Lost`]). More calls add
    /// more observers. A panic in one is contained.
    ///
    /// An observer that keeps a [`Pinning`] of these pins keeps them for ever.
    ///
    /// ```
    /// use pinhold::{Event, Pinning};
    ///
    /// let pinning = Pinning::builder()
    ///     .observer(|event| match event {
    ///         Event::Violation(report) => eprintln!("refused: {}", report.violation()),
    ///         Event::WouldBeViolation(report) => {
    ///             eprintln!("not refused yet: {}", report.violation())
    ///         }
    ///         _ => {}
    ///     })
    ///     .build()?;
    /// # Ok::<(), pinhold::BuildError>(())
    /// ```
    pub fn observer(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.callbacks.push(Box::new(observer));
        self.observe = Some(observe);
        self
    }

    /// Reports violations: `make` is given a handle on the same pins, of whose own connections
    /// nobody is told, and makes the reporter. In place of an earlier one.
    ///
    /// Nothing is reported of connections whose pins were skipped, nor where the validated chain
    /// ends in a root that is not built in (RFC 7469 section 2.6).
    pub fn reporter<R: Reporter>(
        mut self,
        make: impl FnOnce(Pinning) -> Result<R, BuildError> + Send + 'static,
    ) -> Self {
        self.reporter = Some(Box::new(|pinning| Ok(Arc::new(make(pinning)?))));
        self.observe = Some(observe);
        self
    }

    /// Puts it all together.
    ///
    /// # Errors
    ///
    /// [`BuildError::Host`], [`BuildError::DuplicateHost`] and [`BuildError::Exemption`]: the
    /// first thing that was wrong. And what the reporter could not be made for.
    pub fn build(self) -> Result<Pinning, BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        #[cfg(pinhold_debug_overrides)]
        self.overrides.announce();
        let entries = StaticEntries::new(self.statics)?;
        if let Some(now) = self.clock.current_time() {
            self.store.fix_future_timestamps(now);
        }
        let shared = Arc::new(Shared {
            statics: RwLock::new(StaticPins {
                entries,
                ..StaticPins::default()
            }),
            store: self.store,
            note_only: self.note_only,
            syntax: self.syntax,
            user_added_roots: self.user_added_roots,
            clock: self.clock,
            #[cfg(pinhold_debug_overrides)]
            overrides: self.overrides,
        });
        match self.observe {
            Some(observe) => observe(shared, self.callbacks, self.reporter),
            None => Ok(Pinning::new(shared, Observers::None)),
        }
    }

    /// The first error is the one that is told.
    fn fail(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }
}

/// The pins, with these observers and what this makes of a quiet handle on them.
fn observe(
    shared: Arc<Shared>,
    callbacks: Vec<Callback>,
    reporter: Option<MakeReporter>,
) -> Result<Pinning, BuildError> {
    let queue = Arc::new(EventQueue::new(callbacks));
    let sink: Arc<dyn EventSink> = queue.clone();
    if let Some(make) = reporter {
        let observers = Observers::ReportsOnly(Arc::downgrade(&sink));
        let quiet = Pinning::new(Arc::clone(&shared), observers);
        let store = shared.store.clone();
        // As the drop of the last handle of a store.
        queue.set_reporter(make(quiet)?, move || store.durable().wait_at_the_end());
    }
    let watch: Weak<EventQueue> = Arc::downgrade(&queue);
    shared.store.watch(watch);
    Ok(Pinning::new(shared, Observers::All(sink)))
}

impl fmt::Debug for PinningBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinningBuilder")
            .field("statics", &self.statics)
            .field("store", &self.store)
            .field("observers", &self.callbacks.len())
            .field("reports", &self.reporter.is_some())
            .finish_non_exhaustive()
    }
}
