//! [`FirstUse`], the hosts whose keys are remembered from the first connection, and what follows from a
//! change of keys.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};

use crate::chain::ValidatedChain;
use crate::policy::{Host, HostError, SpkiFingerprint};
use crate::store::{ANY_RECORD, PinStore, Urgency};
use crate::violation::KeyChange;

/// What is remembered from the first connection to hosts, and what follows from a change.
///
/// A change is refused by default: an interception that is used in silence is the one that the keys are
/// remembered for. Nothing is locked out for longer than 30 days, since the keys lapse.
///
/// Only [`PinningConnector`](crate::PinningConnector) and the clients of the feature `reqwest` check and
/// remember keys. In other stacks, [`PinningVerifier`](crate::PinningVerifier) does neither.
///
/// ```
/// use pinhold::Pinning;
/// use pinhold::first_use::{Answer, FirstUse};
///
/// let first_use = FirstUse::new(["git.example.com"])?.confirm_by(|change| async move {
///     eprintln!("{change}");
///     Answer::Refuse
/// });
/// let pinning = Pinning::builder().first_use(first_use).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct FirstUse {
    hosts: HashSet<Host, RandomState>,
    keys: KeyChoice,
    choice: Choice,
}

/// Which keys of a validated chain are remembered.
///
/// ```
/// use pinhold::first_use::{FirstUse, KeyChoice};
///
/// let first_use = FirstUse::new(["git.example.com"])?.keys(KeyChoice::Leaf);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyChoice {
    /// All: a certificate that the same CA renews passes, and so does one that this CA issues to another
    /// party.
    #[default]
    Chain,
    /// The key of the server's certificate only, as in SSH: each new key is a change.
    Leaf,
}

/// What follows from a change of keys.
///
/// ```
/// use pinhold::first_use::{FirstUse, OnChange};
///
/// let first_use = FirstUse::new(["git.example.com"])?.on_change(OnChange::Report);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnChange {
    /// The connection is refused.
    #[default]
    Refuse,
    /// [`Event::FirstUseChanged`](crate::Event::FirstUseChanged) is emitted, and the connection is used.
    Report,
}

/// The answer of the application to a change of keys.
///
/// ```
/// use pinhold::first_use::{Answer, FirstUse};
///
/// let first_use = FirstUse::new(["git.example.com"])?
///     .confirm_by(|_| async { Answer::Refuse });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The remembered keys are replaced by those that were seen, and the connection is used.
    Accept,
    /// The connection is refused.
    Refuse,
}

pub(crate) type Confirming = Pin<Box<dyn Future<Output = Answer> + Send>>;
pub(crate) type Confirm = Arc<dyn Fn(KeyChange) -> Confirming + Send + Sync>;

pub(crate) enum Choice {
    Fixed(OnChange),
    Confirm(Confirm),
}

impl FirstUse {
    /// Remembers the keys of exactly these hosts, not of names below them.
    ///
    /// # Errors
    ///
    /// [`HostError`] if one is not a host name. IP addresses are none.
    pub fn new<H>(hosts: impl IntoIterator<Item = H>) -> Result<Self, HostError>
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        let hosts = hosts
            .into_iter()
            .map(|host| host.try_into().map_err(Into::into));
        Ok(Self {
            hosts: hosts.collect::<Result<_, _>>()?,
            keys: KeyChoice::default(),
            choice: Choice::Fixed(OnChange::default()),
        })
    }

    /// Sets which keys are remembered. Default: all keys of the chain.
    pub fn keys(mut self, keys: KeyChoice) -> Self {
        self.keys = keys;
        self
    }

    /// Sets what follows from a change. Default: the connection is refused.
    pub fn on_change(mut self, choice: OnChange) -> Self {
        self.choice = Choice::Fixed(choice);
        self
    }

    /// Lets the application decide about each change, after the handshake and before a request is sent.
    /// If `confirm` or its future panics, the connection is refused.
    pub fn confirm_by<F>(mut self, confirm: impl Fn(KeyChange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        self.choice = Choice::Confirm(Arc::new(move |change| Box::pin(confirm(change))));
        self
    }

    pub(crate) fn into_rules(self) -> FirstUseRules {
        FirstUseRules {
            hosts: RwLock::new(self.hosts),
            keys: self.keys,
            choice: self.choice,
            recording: Mutex::default(),
        }
    }
}

impl fmt::Debug for FirstUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstUse")
            .field("hosts", &self.hosts)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

pub(crate) struct FirstUseRules {
    pub(crate) hosts: RwLock<HashSet<Host, RandomState>>,
    keys: KeyChoice,
    pub(crate) choice: Choice,
    /// Locked from a check until its keys are recorded, so that one of parallel connections is first.
    pub(crate) recording: Mutex<()>,
}

impl FirstUseRules {
    pub(crate) fn keys<'a>(&self, chain: &'a ValidatedChain) -> &'a [SpkiFingerprint] {
        let keys = chain.fingerprints();
        match self.keys {
            KeyChoice::Chain => keys,
            KeyChoice::Leaf => keys.get(..1).unwrap_or_default(),
        }
    }

    pub(crate) fn accept(&self, store: &PinStore, change: &KeyChange) {
        let keys = self.keys(change.chain());
        let _recording = self.recording.lock();
        let known = store.remembered_keys(change.host());
        let known = known.as_deref().unwrap_or_else(|| change.remembered());
        let accepted = known.accepted(keys, change.at());
        store.put_remembered_keys(accepted, ANY_RECORD, Urgency::Now);
    }
}
