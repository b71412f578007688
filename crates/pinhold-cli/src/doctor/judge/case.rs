//! [`Case`], a pinned name with all that is known of it, as rules see it.

use pinhold::SpkiFingerprint;
use pinhold::storage::PublicSuffixes;
use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{LockOut, RootStore};
use crate::doctor::judge::facts::Facts;
use crate::doctor::judge::future::Future;
use crate::doctor::judge::lock_out;
use crate::doctor::judge::paths::{self, Invalid, Question, ValidPath};
use crate::doctor::judge::roots::Roots;
use crate::doctor::judge::served::Certificate;
use crate::doctor::observation::{Observation, Observations, ProbeFailure};
use crate::doctor::subject::{Probe, Subject};
use crate::pins::check::known::Known;

/// What all names are judged with.
pub(in crate::doctor) struct Setting<'a> {
    pub(in crate::doctor) facts: Facts<'a>,
    pub(in crate::doctor) roots: &'a Roots,
    pub(in crate::doctor) known: Known,
    pub(in crate::doctor) suffixes: Option<&'a PublicSuffixes>,
    pub(in crate::doctor) at: UnixTime,
}

pub(in crate::doctor) struct Case<'a> {
    pub(in crate::doctor) subject: &'a Subject,
    pub(in crate::doctor) setting: &'a Setting<'a>,
    pub(in crate::doctor) observations: &'a Observations,
    pub(in crate::doctor) chains: Vec<Chain<'a>>,
    /// The pins of each group.
    pub(in crate::doctor) groups: Vec<Vec<Future<'a>>>,
    pub(in crate::doctor) lock_out: Option<LockOut>,
}

/// A chain, its certificates, and its valid paths.
pub(in crate::doctor) struct Chain<'a> {
    /// One phrase, such as "192.0.2.1:443, TLS 1.3".
    pub(in crate::doctor) source: String,
    pub(in crate::doctor) served: Result<Vec<Certificate>, &'a ProbeFailure>,
    /// For each list of roots.
    pub(in crate::doctor) results: Vec<StoreResult>,
}

pub(in crate::doctor) struct StoreResult {
    pub(in crate::doctor) store: RootStore,
    pub(in crate::doctor) paths: Result<Vec<ValidPath>, Invalid>,
}

/// A list of roots with which a chain is valid and refused.
pub(in crate::doctor) struct Refused {
    pub(in crate::doctor) store: RootStore,
    /// A refused key, if each valid path has one: then the chain is refused whatever the policy is.
    pub(in crate::doctor) key: Option<SpkiFingerprint>,
}

impl Setting<'_> {
    /// Returns whether paths are built with this list of roots.
    pub(in crate::doctor) fn has(&self, store: RootStore) -> bool {
        self.roots.has(store)
    }
}

impl<'a> Case<'a> {
    pub(super) fn new(
        subject: &'a Subject,
        observations: &'a Observations,
        setting: &'a Setting<'a>,
    ) -> Self {
        let question = Question {
            name: match &subject.probe {
                Probe::Name(name) => Some(name),
                Probe::NotProbed => None,
            },
            subject,
            facts: setting.facts,
            at: setting.at,
        };
        let chains = observations.chains.iter();
        let chains = chains.map(|observed| Chain::new(observed, setting.roots, question));
        let mut case = Self {
            subject,
            setting,
            observations,
            chains: chains.collect(),
            groups: Vec::new(),
            lock_out: None,
        };
        let groups = subject.groups.iter();
        let groups = groups.map(|pins| pins.iter().map(|pin| Future::new(*pin, &case)).collect());
        case.groups = groups.collect();
        case.lock_out = lock_out::lock_out(&case);
        case
    }

    pub(in crate::doctor) fn pins(&self) -> impl Iterator<Item = &Future<'a>> {
        self.groups.iter().flatten()
    }

    /// Returns all valid paths of all chains.
    pub(in crate::doctor) fn paths(&self) -> impl Iterator<Item = &ValidPath> {
        self.chains.iter().flat_map(Chain::paths)
    }

    /// Returns the leaf of each chain.
    pub(in crate::doctor) fn leaves(&self) -> impl Iterator<Item = (&Chain<'a>, &Certificate)> {
        let chains = self.chains.iter();
        chains.filter_map(|chain| Some((chain, chain.certificates().first()?)))
    }

    /// Returns whether clients refuse the chain now.
    pub(in crate::doctor) fn is_refused_now(&self, refused: &Refused) -> bool {
        refused.key.is_some() || self.refuses(self.setting.at)
    }

    /// Returns whether the policy refuses connections at a time without a pinned key.
    pub(in crate::doctor) fn refuses(&self, at: UnixTime) -> bool {
        let is_expired = self.subject.expiry.is_some_and(|expiry| at > expiry.at);
        self.subject.is_enforced && !is_expired
    }
}

impl<'a> Chain<'a> {
    fn new(observed: &'a Observation, roots: &Roots, question: Question<'_>) -> Self {
        let source = observed.source.to_string();
        let served = match &observed.served {
            Ok(served) => served,
            Err(failure) => {
                return Self {
                    source,
                    served: Err(failure),
                    results: Vec::new(),
                };
            }
        };
        let parsed = served.iter().map(Certificate::of);
        let Some(parsed) = parsed.collect::<Option<Vec<_>>>() else {
            let unreadable = roots.lists.iter().map(|list| StoreResult {
                store: list.store,
                paths: Err(Invalid::Unreadable),
            });
            return Self {
                source,
                served: Ok(Vec::new()),
                results: unreadable.collect(),
            };
        };
        let results = roots.lists.iter().map(|list| StoreResult {
            store: list.store,
            paths: paths::valid_paths(served, &parsed, list, question),
        });
        Self {
            source,
            results: results.collect(),
            served: Ok(parsed),
        }
    }

    pub(in crate::doctor) fn certificates(&self) -> &[Certificate] {
        self.served.as_deref().unwrap_or_default()
    }

    pub(in crate::doctor) fn paths(&self) -> impl Iterator<Item = &ValidPath> {
        let results = self.results.iter();
        results.flat_map(|result| result.paths.as_deref().unwrap_or_default())
    }

    /// Returns why there is no valid path.
    pub(super) fn failure(&self) -> Option<String> {
        if let Err(failure) = &self.served {
            return Some(failure.detail.clone());
        }
        let invalid = self.invalid()?;
        Some(invalid.text())
    }

    /// Returns why the chain is valid with no list of roots.
    pub(in crate::doctor) fn invalid(&self) -> Option<&Invalid> {
        if self.paths().next().is_some() {
            return None;
        }
        self.results
            .iter()
            .find_map(|result| result.paths.as_ref().err())
    }

    /// Returns the lists of roots with which the chain is valid, but has no pinned path.
    pub(in crate::doctor) fn refused(&self) -> impl Iterator<Item = Refused> {
        self.results.iter().filter_map(|result| {
            let paths = result.paths.as_deref().unwrap_or_default();
            let is_accepted = paths.iter().any(|path| path.is_pinned || path.skips_pins);
            let keys = paths.iter().map(|path| path.refused_key);
            (!paths.is_empty() && !is_accepted).then(|| Refused {
                store: result.store,
                key: keys
                    .collect::<Option<Vec<_>>>()
                    .and_then(|keys| keys.first().copied()),
            })
        })
    }
}

/// Returns a list of roots as part of a sentence.
pub(in crate::doctor) fn store_text(store: RootStore) -> &'static str {
    match store {
        RootStore::Mozilla => "Mozilla's roots",
        RootStore::Platform => "the roots of this system",
        RootStore::Files => "the roots of --ca",
    }
}
