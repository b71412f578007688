//! Trust on first use: new, unchanged and changed keys over real handshakes.
#![cfg(feature = "first-use")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod answers;
mod attacks;
mod changes;
#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "reqwest")]
mod reqwest_clients;
mod resumption;

use std::sync::Arc;

use pinhold::first_use::{FirstUse, KeyChange};
use pinhold::{Host, PinStore, Pinning, TrustAnchors};

use crate::common::pki::{Ca, Leaf};
use crate::common::tls_setup::{TlsSetup, Visit, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, DAY, NOW};

/// A client of `example.com`, and two CAs that it trusts.
pub(crate) struct Fixture {
    pub(crate) setup: TlsSetup,
    pub(crate) clock: Arc<Clock>,
    pub(crate) store: PinStore,
    pub(crate) pinning: Pinning,
    pub(crate) own: Ca,
    pub(crate) other: Ca,
    pub(crate) anchors: TrustAnchors,
}

impl Fixture {
    pub(crate) fn new(first_use: FirstUse) -> Self {
        Self::with_store(first_use, PinStore::in_memory())
    }

    pub(crate) fn with_store(first_use: FirstUse, store: PinStore) -> Self {
        let clock = Clock::new();
        let builder = Pinning::builder().time_provider(Arc::<Clock>::clone(&clock));
        let pinning = builder.store(store.clone()).first_use(first_use);
        let (own, other) = (Ca::root("Own"), Ca::root("Other"));
        Self {
            setup: tls_setups().into_iter().next().unwrap(),
            clock,
            store,
            pinning: pinning.build().unwrap(),
            anchors: built_in_anchors(&[&own, &other]),
            own,
            other,
        }
    }

    pub(crate) async fn visit(&self, leaf: &Leaf) -> Visit {
        let server = self.setup.serve(leaf, &[]).await;
        self.setup
            .visit(&self.pinning, &self.anchors, &server)
            .await
    }

    /// Connects on two days, so that the keys are active on the next ten.
    pub(crate) async fn activate(&self, leaf: &Leaf) {
        self.visit(leaf).await.unwrap();
        self.clock.set(NOW + 10 * DAY);
        self.visit(leaf).await.unwrap();
    }
}

pub(crate) fn first_use() -> FirstUse {
    FirstUse::new(["example.com"]).unwrap()
}

pub(crate) fn leaf_of(ca: &Ca) -> Leaf {
    ca.leaf(&["example.com"])
}

pub(crate) fn host() -> Host {
    Host::parse("example.com").unwrap()
}

#[track_caller]
pub(crate) fn change(visit: Visit) -> KeyChange {
    let error = visit.unwrap_err();
    KeyChange::find(&error).unwrap_or_else(|| panic!("{error:?}"))
}
