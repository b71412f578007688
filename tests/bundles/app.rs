//! An application with a clock, which keeps bundles in memory or in a file.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::common::bundles::{Body, ISSUED, Operator, pins};
use crate::common::{Clock, DAY, TIMEOUT, at};
use pinhold::bundle::{BundleStatus, BundleVersion};
use pinhold::{Event, FileStorage, Host, PinStore, Pinning, PinningBuilder, SpkiFingerprint};

pub(crate) const HOST: &str = "api.example.com";

/// A bundle with one host, whose pins have the number of the version.
pub(crate) fn body(number: u8) -> Body {
    Body::new(number.into(), [(HOST, pins(number))])
}

pub(crate) fn version(root: u64, bundle: u64) -> BundleVersion {
    BundleVersion::new(root, bundle)
}

/// One run of an application.
pub(crate) struct App {
    pub(crate) pinning: Pinning,
    pub(crate) clock: Arc<Clock>,
    events: Receiver<Event>,
}

impl App {
    /// Starts an application of this operator that contains this bundle.
    pub(crate) fn start(operator: &Operator, built_in: &Body, store: PinStore) -> Self {
        let builder = Pinning::builder().bundles(operator.bundles(built_in));
        Self::build(builder.store(store))
    }

    pub(crate) fn build(builder: PinningBuilder) -> Self {
        Self::build_at(ISSUED + DAY, builder)
    }

    /// Starts it at this time, in seconds since the Unix epoch.
    pub(crate) fn build_at(now: u64, builder: PinningBuilder) -> Self {
        let clock = Clock::new();
        clock.set(now);
        let (sender, events) = channel();
        let builder = builder.time_provider(clock.clone());
        let builder = builder.observer(move |event| drop(sender.send(event.clone())));
        Self {
            pinning: builder.build().unwrap(),
            clock,
            events,
        }
    }

    pub(crate) fn in_memory(operator: &Operator, built_in: &Body) -> Self {
        Self::start(operator, built_in, PinStore::in_memory())
    }

    /// Starts it with this file, as it is.
    pub(crate) fn with_file(operator: &Operator, built_in: &Body, file: &Path) -> Self {
        let store = PinStore::open(FileStorage::new(file)).unwrap();
        Self::start(operator, built_in, store)
    }

    /// Starts it with this file, of which it reads every moment what others have written.
    pub(crate) fn beside_others(operator: &Operator, built_in: &Body, file: &Path) -> Self {
        let storage = FileStorage::new(file).pull_every(Duration::from_millis(1));
        Self::start(operator, built_in, PinStore::open(storage).unwrap())
    }

    pub(crate) fn status(&self) -> BundleStatus {
        self.pinning.bundle_status().unwrap()
    }

    /// Returns the versions in effect and of the floor.
    pub(crate) fn versions(&self) -> (BundleVersion, BundleVersion) {
        let status = self.status();
        (status.in_effect, status.floor)
    }

    /// Returns the pins that are enforced for the host.
    pub(crate) fn pins(&self) -> Vec<SpkiFingerprint> {
        let policies = self
            .pinning
            .policies(&Host::parse(HOST).unwrap(), at(ISSUED + DAY));
        policies
            .static_policy
            .unwrap()
            .pins
            .iter()
            .copied()
            .collect()
    }

    /// Returns the events since the last call.
    pub(crate) fn events(&self) -> Vec<Event> {
        assert!(self.pinning.flush_reports(TIMEOUT));
        self.events.try_iter().collect()
    }

    /// Waits until this bundle is in effect.
    pub(crate) fn wait_for(&self, expected: BundleVersion) {
        while self.status().in_effect != expected {
            match self.events.recv_timeout(TIMEOUT) {
                Ok(_) => {}
                Err(error) => panic!("{error}: expected {expected}, {:?}", self.status()),
            }
        }
    }
}

/// Asserts that the pins of the bundle with this number are enforced, and no others.
#[track_caller]
pub(crate) fn assert_in_effect(app: &App, number: u8) {
    let version = version(1, number.into());
    assert_eq!(app.versions(), (version, version));
    assert_eq!(app.pins(), pins(number));
}

/// The pins of a bundle with two groups, which can't be united with other pins.
pub(crate) const GROUPS: &str = r#"{ "version": 1, "policies": [{ "hosts": ["api.example.com"],
  "without_backup": true, "all_of": [
    { "pins": ["sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M="] },
    { "pins": ["sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI="] }] }] }"#;
