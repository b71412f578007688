//! Trust on first use: the check after a handshake, and the hosts at run time.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::known_keys::{KeyState, KnownKeys};
use crate::pinning::event::Event;
use crate::pinning::first_use_rules::{Answer, Choice, Confirm, OnChange};
use crate::pinning::handle::Pinning;
use crate::policy::{AnchorOrigin, Host, UserAddedRoots};
use crate::store::{FIRST_RECORD, Urgency};
use crate::violation::KeyChange;

/// Whether the keys of a chain may be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remember {
    /// A full handshake has proved that the server has the leaf's key.
    AfterFullHandshake,
    /// A session was resumed.
    Never,
}

/// The hosts of [`FirstUse`](crate::first_use::FirstUse) at run time, from [`Pinning::first_use`].
///
/// ```
/// use pinhold::first_use::FirstUse;
/// use pinhold::{Host, Pinning};
///
/// let first_use = FirstUse::new(["git.example.com"])?;
/// let pinning = Pinning::builder().first_use(first_use).build()?;
/// let hosts = pinning.first_use().ok_or("trust on first use is off")?;
/// hosts.remember(Host::parse("other.example.com")?);
/// assert!(hosts.list().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FirstUseHosts(Pinning);

impl FirstUseHosts {
    /// Remembers the keys of this host, too, such as one whose name a user has entered.
    pub fn remember(&self, host: Host) {
        if let Some(rules) = self.0.shared.first_use.as_ref() {
            rules.hosts.write().insert(host);
        }
    }

    /// Returns the hosts of which keys are remembered, sorted by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<KnownKeys>> {
        self.0.store().first_use_hosts()
    }

    /// Removes the remembered keys of a host. Its next connection is the first one again.
    pub fn forget(&self, host: &Host) -> Option<Arc<KnownKeys>> {
        self.0.store().forget_remembered_keys(host)
    }

    /// Replaces the remembered keys of a host by those of a change. They hold at once, as long as those
    /// that they replace did.
    pub fn accept(&self, change: &KeyChange) {
        if let Some(rules) = self.0.shared.first_use.as_ref() {
            rules.accept(self.0.store(), change);
        }
    }
}

impl Pinning {
    /// Returns the hosts of which keys are remembered; `None` without
    /// [`PinningBuilder::first_use`](crate::PinningBuilder::first_use).
    #[must_use]
    pub fn first_use(&self) -> Option<FirstUseHosts> {
        let is_set = self.shared.first_use.is_some();
        is_set.then(|| FirstUseHosts(self.clone()))
    }

    /// Checks the chain of a connection, and remembers its keys.
    ///
    /// # Errors
    ///
    /// The change, if the application refuses it.
    pub(crate) async fn check_first_use(
        &self,
        chain: &ValidatedChain,
        remember: Remember,
        now: UnixTime,
    ) -> Result<(), KeyChange> {
        let Some(change) = self.key_change(chain, remember, now) else {
            return Ok(());
        };
        self.emit(Event::FirstUseChanged(change.clone()));
        let Some(rules) = self.shared.first_use.as_ref() else {
            return Ok(());
        };
        let answer = match &rules.choice {
            Choice::Fixed(OnChange::Report) => return Ok(()),
            Choice::Fixed(OnChange::Refuse) => Answer::Refuse,
            Choice::Confirm(confirm) => answer(confirm, change.clone()).await,
        };
        if answer == Answer::Refuse {
            return Err(change);
        }
        // Of a resumed session or of a root that is not built in, nothing is remembered.
        if is_remembered(chain, remember) {
            rules.accept(self.store(), &change);
        }
        Ok(())
    }

    /// Returns whether the chain of a resumed session has other keys than those that are remembered.
    pub(crate) fn has_other_keys(&self, chain: &ValidatedChain, now: UnixTime) -> bool {
        self.key_change(chain, Remember::Never, now).is_some()
    }

    fn key_change(
        &self,
        chain: &ValidatedChain,
        remember: Remember,
        now: UnixTime,
    ) -> Option<KeyChange> {
        let rules = self.shared.first_use.as_ref()?;
        let host = chain.host()?;
        rules.hosts.read().contains(host).then_some(())?;
        match (chain.anchor_origin(), self.shared.user_added_roots) {
            #[cfg(pinhold_debug_overrides)]
            (AnchorOrigin::DebugOverride, _) => return None,
            (AnchorOrigin::UserAdded, UserAddedRoots::SkipPins) => return None,
            _ => {}
        }
        let keys = rules.keys(chain);
        let recording = rules.recording.lock();
        let known = self.store().remembered_keys(host);
        let state = known
            .as_ref()
            .map_or(KeyState::New, |known| known.check(keys, now));
        if let (KeyState::Changed, Some(known)) = (state, &known) {
            return Some(KeyChange::new(Arc::clone(known), chain.clone(), now));
        }
        if !is_remembered(chain, remember) {
            return None;
        }
        let (seen, replaces) = match &known {
            Some(known) => (known.seen(keys, now), known.last_seen()),
            None => (KnownKeys::first(host.clone(), keys, now), FIRST_RECORD),
        };
        let urgency = match state {
            KeyState::New => Urgency::Now,
            _ => Urgency::Later,
        };
        self.store().put_remembered_keys(seen, replaces, urgency);
        drop(recording);
        if state == KeyState::New {
            self.emit(Event::FirstUseNew { host: host.clone() });
        }
        None
    }
}

fn is_remembered(chain: &ValidatedChain, remember: Remember) -> bool {
    remember == Remember::AfterFullHandshake && chain.anchor_origin() == AnchorOrigin::BuiltIn
}

/// Requests the answer of the application. Its code may panic, which must not end a task of a client.
async fn answer(confirm: &Confirm, change: KeyChange) -> Answer {
    let Ok(mut confirming) = catch_unwind(AssertUnwindSafe(|| confirm(change))) else {
        return Answer::Refuse;
    };
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| confirming.as_mut().poll(cx)));
        polled.unwrap_or(Poll::Ready(Answer::Refuse))
    })
    .await
}
