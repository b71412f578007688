//! [`PinningBuilder`], which sets the pins, the store, the clock and the observers of a
//! [`Pinning`].

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use rustls::time_provider::TimeProvider;

#[cfg(feature = "ct")]
use crate::ct::CtOptions;
#[cfg(feature = "hsts")]
use crate::hsts::HstsOptions;
#[cfg(feature = "pin-file")]
use crate::pin_file::PinFile;
use crate::pinning::build_error::BuildError;
#[cfg(feature = "bundles")]
use crate::pinning::bundle_setup::PinBundles;
use crate::pinning::clock::SystemClock;
use crate::pinning::event::Event;
#[cfg(feature = "first-use")]
use crate::pinning::first_use_rules::{FirstUse, FirstUseRules};
use crate::pinning::handle::{Pinning, Shared};
#[cfg(feature = "health")]
use crate::pinning::health::HealthOptions;
use crate::pinning::observers::{Callback, Observers};
use crate::pinning::rare_rules::merge_settings;
use crate::pinning::replace::with_pin_file;
use crate::pinning::start::{MakeReporter, begin, observe};
use crate::pinning::static_pins::{MergeSettings, StaticEntries, StaticPins};
#[cfg(feature = "ct")]
use crate::pinning::transparency::Transparency;
use crate::policy::{
    HeaderSyntax, Host, HostError, Overlap, ParseFingerprintError, PinPolicy, PinSet, Settings,
    SpkiFingerprint, StaticRules, UnpinnedHosts, UnpinnedName, UserAddedRoots,
};
#[cfg(pinhold_debug_overrides)]
use crate::roots::Overrides;
use crate::store::PinStore;
#[cfg(feature = "health")]
use crate::store::is_app_version;
use crate::violation::Reporter;
#[cfg(pinhold_debug_overrides)]
use {crate::roots::AnchorError, rustls_pki_types::CertificateDer};

impl Pinning {
    /// Returns a builder without pins, with a store in memory.
    pub fn builder() -> PinningBuilder {
        PinningBuilder {
            statics: Vec::new(),
            settings: Settings::default(),
            merge_settings: None,
            pins: None,
            store: PinStore::in_memory(),
            note_only: None,
            syntax: HeaderSyntax::default(),
            user_added_roots: UserAddedRoots::default(),
            clock: Arc::new(SystemClock),
            #[cfg(pinhold_debug_overrides)]
            overrides: Overrides::default(),
            callbacks: Vec::new(),
            reporter: None,
            observe: None,
            #[cfg(feature = "hsts")]
            hsts: None,
            #[cfg(feature = "bundles")]
            bundles: None,
            #[cfg(feature = "first-use")]
            first_use: None,
            #[cfg(feature = "ct")]
            ct: None,
            #[cfg(feature = "health")]
            health: None,
            error: None,
        }
    }
}

/// Builds a [`Pinning`]. Errors of all methods are returned by [`build`](Self::build).
///
/// ```
/// use pinhold::{PinPolicy, PinStore, Pinning};
///
/// let policy = PinPolicy::new([
///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
/// ])?;
/// let pinning = Pinning::builder()
///     .static_pins("example.com", policy)
///     .store(PinStore::in_memory())
///     .note_only(["example.com", "shop.example"])
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct PinningBuilder {
    statics: Vec<(Host, PinPolicy)>,
    /// Settings that `replace_pins` does not replace.
    settings: Settings,
    /// See [`MergeSettings`]. Only methods that set a setting name the function.
    merge_settings: Option<MergeSettings>,
    /// The rules of a pin file.
    pins: Option<StaticRules>,
    store: PinStore,
    note_only: Option<HashSet<Host, RandomState>>,
    syntax: HeaderSyntax,
    user_added_roots: UserAddedRoots,
    clock: Arc<dyn TimeProvider>,
    callbacks: Vec<Callback>,
    reporter: Option<MakeReporter>,
    observe: Option<Observe>,
    #[cfg(pinhold_debug_overrides)]
    overrides: Overrides,
    #[cfg(feature = "hsts")]
    hsts: Option<HstsOptions>,
    #[cfg(feature = "bundles")]
    bundles: Option<PinBundles>,
    #[cfg(feature = "first-use")]
    first_use: Option<FirstUseRules>,
    #[cfg(feature = "ct")]
    ct: Option<CtOptions>,
    #[cfg(feature = "health")]
    health: Option<HealthOptions>,
    error: Option<BuildError>,
}

/// The function that starts the event queue. Only `observer` and `reporter` name it, so a client
/// that uses neither does not contain the queue and its thread.
type Observe = fn(Arc<Shared>, Vec<Callback>, Option<MakeReporter>) -> Result<Pinning, BuildError>;

impl PinningBuilder {
    /// Adds a static policy of `host`. Each host has at most one of each
    /// [`Scope`](crate::policy::Scope).
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

    /// Sets the static pins of a pin file, in addition to those of
    /// [`static_pins`](Self::static_pins) for other hosts. Replaces an earlier pin file. If
    /// [`Pinning::replace_pins`](crate::Pinning::replace_pins) replaces the file by another one, those
    /// of `static_pins` stay.
    ///
    /// Of the rules for unpinned hosts the stricter one holds, the file's or the builder's; the names
    /// that may be unpinned, and the refused keys, are those of both. The builder's overlap comes
    /// before the file's.
    #[cfg(feature = "pin-file")]
    pub fn pins(mut self, pins: PinFile) -> Self {
        self.pins = Some(pins.rules);
        self.merge_settings = Some(merge_settings);
        self
    }

    /// Takes pin bundles that the keys of a root have signed, beginning with the one that the
    /// application contains. A bundle in effect replaces the static policies of the hosts that it
    /// names, as far as it covers their names, unless they are [fixed](PinPolicy::fixed). Bundles are stored in the
    /// [`store`](Self::store).
    ///
    /// [`build`](Self::build) then fails with [`BuildError::Bundle`], [`BuildError::NoEd25519`] or
    /// [`BuildError::PinRoot`] if the root or the bundle can't be used.
    #[cfg(feature = "bundles")]
    pub fn bundles(mut self, bundles: PinBundles) -> Self {
        self.bundles = Some(bundles);
        self.merge_settings = Some(merge_settings);
        self
    }

    /// Keeps what connections show about the pins of the application: which pins are seen, and counts
    /// by version of the application, for [`Pinning::health`]. Emits events such as
    /// [`Event::OnlyBackupMatches`] before a lock-out. Both outlast a restart if the
    /// [`store`](Self::store) has a storage.
    ///
    /// What is kept is written when a day, a pin or an event is new, otherwise once a minute at most,
    /// and when the last handle is dropped: a crash loses the counts of a minute. Processes that share
    /// a storage add to the same counts. There are at most 256 records of about a kilobyte, one for
    /// each pin set of a policy; those that were not used for longest are removed.
    ///
    /// In a stack without [`PinningConnector`](crate::PinningConnector) and reqwest, resumed sessions
    /// are not recorded, and with a verifier without resumption check nothing is.
    #[cfg(feature = "health")]
    pub fn health(mut self, options: HealthOptions) -> Self {
        if !is_app_version(&options.app_version) {
            let app_version = options.app_version.clone();
            self.fail(BuildError::AppVersion { app_version });
        }
        self.health = Some(options);
        self
    }

    /// Enables HTTP Strict Transport Security (RFC 6797): `Strict-Transport-Security` fields are noted in
    /// the [`store`](Self::store), and `http` becomes `https` for hosts that announced it or that are
    /// preloaded. Default: off. [`note_only`](Self::note_only) limits these fields, too.
    #[cfg(feature = "hsts")]
    pub fn hsts(mut self, options: HstsOptions) -> Self {
        self.hsts = Some(options);
        self
    }

    /// Sets which pins apply to a name that several static policies cover. Default: those of the
    /// nearest policy.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.settings.overlap = Some(overlap);
        self.merge_settings = Some(merge_settings);
        self
    }

    /// Adds keys that no validated chain may contain, at any position, whatever the pins say: keys
    /// that were compromised, for example. They are refused for every name, for IP addresses and on
    /// chains to user-added roots, too. If there is another valid path without such a key, it is
    /// used.
    ///
    /// The refusal is a [`PinViolation`](crate::PinViolation) with
    /// [`PinSource::RefusedKeys`](crate::policy::PinSource::RefusedKeys).
    ///
    /// ```
    /// use pinhold::Pinning;
    ///
    /// let compromised = ["sha256/UvrJ7xWQqIai1LiDUqrxuenMtEA5O+GkGhR09c59iJk="];
    /// let pinning = Pinning::builder().refuse_keys(compromised).build()?;
    /// # Ok::<(), pinhold::BuildError>(())
    /// ```
    pub fn refuse_keys<P>(mut self, keys: impl IntoIterator<Item = P>) -> Self
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        let known = self.settings.refused_keys.take();
        let mut all = known
            .iter()
            .flat_map(PinSet::iter)
            .copied()
            .collect::<Vec<_>>();
        for key in keys {
            match key.try_into() {
                Ok(key) => all.push(key),
                Err(error) => self.fail(BuildError::RefusedKey(error.into())),
            }
        }
        self.settings.refused_keys = PinSet::new(all).ok();
        self.merge_settings = Some(merge_settings);
        self
    }

    /// Sets what happens at a connection to a host that no enforced static policy covers. Default:
    /// the connection is made.
    ///
    /// A host is pinned in this sense only by a static policy that is enforced: not by noted pins,
    /// by a report-only policy or by one that has expired, unless it refuses after its expiry. Names
    /// that are exempt from a policy and all IP addresses are unpinned. A host whose static pins
    /// were [disabled](crate::Pinning::disable_static) is not refused. The TLS connection to an
    /// HTTPS proxy needs an exception for the proxy's name; that of an `HttpReporter` needs none.
    pub fn unpinned_hosts(mut self, choice: UnpinnedHosts) -> Self {
        self.settings.unpinned_hosts = choice;
        self.merge_settings = Some(merge_settings);
        self
    }

    /// Adds hosts, without their subdomains, and IP addresses to which connections are made although
    /// they are unpinned, see [`unpinned_hosts`](Self::unpinned_hosts).
    pub fn allow_unpinned<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<UnpinnedName, Error: Into<HostError>>,
    {
        for name in names {
            match name.try_into() {
                Ok(name) => self.settings.allow_unpinned.push(name),
                Err(error) => self.fail(BuildError::Host(error.into())),
            }
        }
        self
    }

    /// Remembers the keys of hosts from their first connection, see [`FirstUse`](crate::first_use::FirstUse).
    #[cfg(feature = "first-use")]
    pub fn first_use(mut self, first_use: FirstUse) -> Self {
        self.first_use = Some(first_use.into_rules());
        self
    }

    /// Expects that the certificates of hosts are in the logs of [Certificate
    /// Transparency](crate::ct), beside the usual validation and the pins. Only full handshakes on
    /// chains to built-in roots are checked.
    #[cfg(feature = "ct")]
    pub fn certificate_transparency(mut self, options: CtOptions) -> Self {
        self.ct = Some(options);
        self
    }

    /// Sets the store of noted pins. Default: a new store in memory.
    pub fn store(mut self, store: PinStore) -> Self {
        self.store = store;
        self
    }

    /// Allows only these hosts, not their subdomains, to note pins by header (a host with a single
    /// label never can). Recommended if the hosts are known: then no other server can make this
    /// application refuse connections, or leave traces of a visit in the store. Further calls add
    /// further hosts.
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

    /// Sets how strictly header fields are parsed. Default: as RFC 7469 specifies.
    pub fn header_syntax(mut self, syntax: HeaderSyntax) -> Self {
        self.syntax = syntax;
        self
    }

    /// Sets whether pins are enforced on chains to user-added roots, for noted pins and for static
    /// policies without a setting of their own. Default: they are skipped.
    pub fn user_added_roots(mut self, choice: UserAddedRoots) -> Self {
        self.user_added_roots = choice;
        self
    }

    /// Sets the clock of verifier, connector and layer. Default: the system's.
    pub fn time_provider(mut self, clock: Arc<dyn TimeProvider>) -> Self {
        self.clock = clock;
        self
    }

    /// Trusts these roots of intercepting proxies, and skips all pins on chains to them, also those
    /// of policies that enforce pins on user-added roots and of expired ones. Other chains are
    /// checked as usual, as is a chain to a root that is also built in. An
    /// [inner verifier](crate::tls::PinningVerifierBuilder::with_inner_verifier) must trust the
    /// roots itself.
    ///
    /// Exists only if the final build is made with `RUSTFLAGS="--cfg pinhold_debug_overrides"`,
    /// which no dependency can set. Such a build prints a warning to standard error for every
    /// [`Pinning`] that is built.
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

    /// Calls `observer` for each event, from a thread of its own: no handshake waits for it. Events
    /// that arrive faster than it handles them are dropped and counted ([`Event::Lost`]). Further
    /// calls add further observers. A panic in an observer is contained.
    ///
    /// Violations are delivered before other events that wait. Up to 256 of them wait, and 256
    /// other events: at most 64 about one host, at most 64 that servers cause by their headers, and
    /// at most 128 violations of noted pins. So no header keeps a violation from being delivered,
    /// and no server one of the application's own pins.
    ///
    /// An observer must not own a clone of the [`Pinning`] that is built: neither would ever be
    /// dropped.
    ///
    /// ```
    /// use pinhold::{Event, Pinning};
    ///
    /// let pinning = Pinning::builder()
    ///     .observer(|event| match event {
    ///         Event::Violation(report) => eprintln!("{}", report.violation()),
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

    /// Sets the reporter that sends violations: the one that `make` returns. `make` receives a
    /// handle to the same pins, for the connections of the reporter; events of these are not
    /// emitted. Replaces an earlier reporter.
    ///
    /// Connections whose pins were skipped, and validated chains that end in a root that is not
    /// built-in, are not reported (RFC 7469 section 2.6).
    pub fn reporter<R: Reporter>(
        mut self,
        make: impl FnOnce(Pinning) -> Result<R, BuildError> + Send + 'static,
    ) -> Self {
        self.reporter = Some(Box::new(|pinning| Ok(Arc::new(make(pinning)?))));
        self.observe = Some(observe);
        self
    }

    /// Builds the handle.
    ///
    /// # Errors
    ///
    /// The first error of the methods called: [`BuildError::Host`], [`BuildError::DuplicateHost`],
    /// [`BuildError::Exemption`], [`BuildError::HostInPinFile`], [`BuildError::RefusedKey`],
    /// [`BuildError::UnionOfGroups`], or an error of the reporter.
    pub fn build(self) -> Result<Pinning, BuildError> {
        self.error.map_or(Ok(()), Err)?;
        #[cfg(pinhold_debug_overrides)]
        self.overrides.announce();
        let mut policies = self.statics;
        let mut settings = Settings::default();
        let mut beside_pin_file = Vec::new();
        let mut statics = StaticPins::default();
        if let Some(pins) = self.pins {
            beside_pin_file.clone_from(&policies);
            policies = with_pin_file(policies, pins.policies)?;
            settings = pins.settings;
            statics.has_pin_file = true;
        }
        #[cfg(feature = "bundles")]
        let rules = StaticRules {
            policies: policies.clone(),
            settings: settings.clone(),
        };
        #[cfg(feature = "bundles")]
        let bundles = self.bundles.map(|it| it.open(rules)).transpose()?;
        let merge = self.merge_settings;
        let merged = merge.map(|merge| merge(&self.settings, settings));
        statics.entries = StaticEntries::new(policies, merged.unwrap_or_default())?;
        let shared = Arc::new(Shared {
            settings: self.settings,
            beside_pin_file,
            merge_settings: self.merge_settings,
            statics: RwLock::new(statics),
            store: self.store,
            note_only: self.note_only,
            syntax: self.syntax,
            user_added_roots: self.user_added_roots,
            clock: self.clock,
            #[cfg(feature = "first-use")]
            first_use: self.first_use,
            #[cfg(feature = "ct")]
            ct: self.ct.map(Transparency::new).transpose()?,
            #[cfg(feature = "health")]
            health: self.health,
            #[cfg(feature = "hsts")]
            hsts: self.hsts,
            #[cfg(feature = "bundles")]
            bundles,
            #[cfg(pinhold_debug_overrides)]
            overrides: self.overrides,
        });
        let pinning = match self.observe {
            Some(observe) => observe(shared, self.callbacks, self.reporter)?,
            None => Pinning::new(shared, Observers::None),
        };
        begin(pinning)
    }

    /// Keeps the first error.
    fn fail(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }
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
