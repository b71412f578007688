//! The canary of the self-test: what verifier and session store of a configuration do in a handshake
//! that this thread makes with itself.
//!
//! While a canary runs, the verifier of this crate refuses every server on this thread, before it
//! looks at the server, and changes nothing. There is no way to make it accept one.

use std::cell::RefCell;
use std::sync::Weak;

use parking_lot::Mutex;
use rustls::Error;
use rustls::client::ClientSessionStore;
use rustls::client::danger::ServerCertVerifier;

use crate::pinning::Pinning;

/// What identifies the verifier of a configuration: the places that only this configuration and its
/// clones refer to.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) verifier: Weak<dyn ServerCertVerifier>,
    pub(crate) store: Weak<dyn ClientSessionStore>,
    pub(crate) sessions: SessionUse,
}

/// What a configuration was built to do with TLS sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionUse {
    Checked,
    Disabled,
}

/// What was seen in one handshake.
#[derive(Default)]
pub(crate) struct Sighting {
    /// The verifiers of this crate that were called, each with its pins. `None` for one that was built
    /// for a configuration made elsewhere.
    pub(crate) verifiers: Vec<(Option<Identity>, Pinning)>,
    /// The addresses of the session stores of this crate that were queried for a session.
    pub(crate) stores: Vec<*const ()>,
}

struct Canary {
    /// The refusal of every server.
    refusal: Error,
    sighting: Sighting,
}

thread_local! {
    static CANARY: RefCell<Option<Canary>> = const { RefCell::new(None) };
}

/// Removes the canary of this thread, also if a callback of the application panics.
struct Restore(Option<Canary>);

impl Drop for Restore {
    fn drop(&mut self) {
        CANARY.replace(self.0.take());
    }
}

/// Runs a handshake in which the verifiers of this crate return `refusal`.
pub(crate) fn run<T>(refusal: Error, handshake: impl FnOnce() -> T) -> (T, Sighting) {
    let canary = Canary {
        refusal,
        sighting: Sighting::default(),
    };
    let restore = Restore(CANARY.replace(Some(canary)));
    let outcome = handshake();
    let seen = CANARY.take().map(|canary| canary.sighting);
    drop(restore);
    (outcome, seen.unwrap_or_default())
}

/// Returns whether a canary runs on this thread.
pub(crate) fn is_running() -> bool {
    CANARY.with_borrow(Option::is_some)
}

/// Returns the refusal, if a canary runs on this thread.
pub(crate) fn refusal() -> Option<Error> {
    CANARY.with_borrow(|canary| Some(canary.as_ref()?.refusal.clone()))
}

/// Returns the refusal, if a canary runs on this thread, and records which verifier returns it.
pub(crate) fn refuse(identity: Option<&Identity>, pinning: &Pinning) -> Option<Error> {
    CANARY.with_borrow_mut(|canary| {
        let canary = canary.as_mut()?;
        let seen = (identity.cloned(), pinning.clone());
        canary.sighting.verifiers.push(seen);
        Some(canary.refusal.clone())
    })
}

/// Records that this session store was queried for a session.
pub(crate) fn record_store<S: ClientSessionStore>(store: &S) {
    CANARY.with_borrow_mut(|canary| {
        if let Some(canary) = canary {
            canary
                .sighting
                .stores
                .push(std::ptr::from_ref(store).cast());
        }
    });
}

impl Sighting {
    /// Returns whether this session store was queried.
    pub(crate) fn was_queried(&self, store: &Weak<dyn ClientSessionStore>) -> bool {
        self.stores.contains(&store.as_ptr().cast())
    }
}

/// Returns whether `value` refers to the place of `weak` itself, and not through another object: with
/// each clone of it there is one reference more to that place. No code of the application runs for that.
///
/// Other threads may change the number in the meantime, but only other self-tests by dozens.
pub(crate) fn refers_to<T: Clone, P: ?Sized>(value: &T, weak: &Weak<P>) -> bool {
    let _alone = COUNTING.lock();
    let before = weak.strong_count();
    let clones = std::iter::repeat_n(value, CLONES).cloned();
    let clones = clones.collect::<Vec<_>>();
    let during = weak.strong_count();
    drop(clones);
    during.saturating_sub(before) >= CLONES / 2
}

const CLONES: usize = 64;
/// Held while clones are counted. No code of the application runs then.
static COUNTING: Mutex<()> = Mutex::new(());
