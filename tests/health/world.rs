//! An application with health, a host with several keys, and a clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use pinhold::health::{HealthOptions, PolicyHealth, VersionCounts};
use pinhold::{
    Event, FileStorage, PinPolicy, PinStore, Pinning, PinningBuilder, SpkiFingerprint, TrustAnchors,
};
use tempfile::TempDir;

use crate::common::noted::temp_dir;
use crate::common::pki::{Ca, Leaf};
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, DAY, NOW, TIMEOUT};

pub(crate) const HOST: &str = "api.example.com";

/// A host that has three keys, of which it uses the first one until a test changes that.
pub(crate) struct World {
    pub(crate) clock: Arc<Clock>,
    pub(crate) root: Ca,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) names: Names,
    servers: Vec<Server>,
    folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let root = Ca::root("Root");
        let leaves = [(); 3].map(|()| root.leaf(&[HOST, "*.api.example.com"]));
        let mut servers = Vec::new();
        for leaf in &leaves {
            servers.push(Server::start(leaf, &[]).await);
        }
        Self {
            clock: Clock::new(),
            names: Names::new([(HOST, &servers[0])]),
            root,
            leaves: leaves.into(),
            servers,
            folder: temp_dir(),
        }
    }

    /// Lets the host use the key of this index.
    pub(crate) fn serve(&self, index: usize) {
        self.names.point(HOST, &self.servers[index]);
    }

    /// Sets the clock to this number of days after its start.
    pub(crate) fn set_day(&self, day: u64) {
        self.clock.set(NOW + day * DAY);
    }

    pub(crate) fn pin(&self, index: usize) -> SpkiFingerprint {
        self.leaves[index].pin()
    }

    /// Returns a policy with the pins of these keys.
    pub(crate) fn policy<const COUNT: usize>(&self, keys: [usize; COUNT]) -> PinPolicy {
        PinPolicy::new(keys.map(|index| self.pin(index))).unwrap()
    }

    pub(crate) fn anchors(&self) -> TrustAnchors {
        built_in_anchors(&[&self.root])
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("pins.jsonl")
    }

    pub(crate) fn open(&self) -> PinStore {
        PinStore::open(FileStorage::new(self.file())).unwrap()
    }

    /// Starts the application with this policy of the host, and the file.
    pub(crate) fn start(&self, policy: PinPolicy) -> App {
        self.start_with(|builder| builder.static_pins(HOST, policy))
    }

    pub(crate) fn start_with(&self, set: impl FnOnce(PinningBuilder) -> PinningBuilder) -> App {
        let builder = Pinning::builder().store(self.open());
        let builder = builder.health(HealthOptions::new("1.4.2"));
        self.build(set(builder))
    }

    pub(crate) fn build(&self, builder: PinningBuilder) -> App {
        let (sender, events) = channel();
        let builder = builder.time_provider(self.clock.clone());
        let builder = builder.observer(move |event| drop(sender.send(event.clone())));
        App {
            pinning: builder.build().unwrap(),
            events,
        }
    }
}

/// One run of the application.
pub(crate) struct App {
    pub(crate) pinning: Pinning,
    events: Receiver<Event>,
}

impl App {
    /// Ends the application. Connections that a client has left open own the pins, so the store is
    /// flushed.
    pub(crate) fn stop(self) {
        self.pinning.store().flush().unwrap();
    }

    /// Makes a connection, and returns whether it was not refused.
    pub(crate) async fn connect(&self, world: &World) -> bool {
        self.connect_with(world, world.anchors()).await
    }

    pub(crate) async fn connect_with(&self, world: &World, anchors: TrustAnchors) -> bool {
        let mut client = client(&self.pinning, anchors, &world.names);
        let uri = format!("https://{HOST}/");
        get(&mut client, &uri).await.is_ok()
    }

    /// Connects on each of these days.
    pub(crate) async fn connect_on(&self, world: &World, days: impl IntoIterator<Item = u64>) {
        for day in days {
            world.set_day(day);
            assert!(self.connect(world).await, "day {day}");
        }
    }

    /// Returns the events of health since the last call.
    pub(crate) fn events(&self) -> Vec<Event> {
        assert!(self.pinning.flush_reports(TIMEOUT));
        let events = self.events.try_iter();
        events.filter(|event| name(event).is_some()).collect()
    }

    /// Returns the names of these events.
    pub(crate) fn event_names(&self) -> Vec<&'static str> {
        self.events().iter().filter_map(name).collect()
    }

    /// Returns the health of the current policy of the host.
    pub(crate) fn policy(&self) -> PolicyHealth {
        let policies = self.pinning.health().policies;
        let mut current = policies.iter().filter(|policy| policy.is_current);
        let policy = current.next().unwrap().clone();
        assert_eq!(policy.host.as_str(), HOST);
        policy
    }

    /// Returns the counts of the version that runs.
    pub(crate) fn counts(&self) -> VersionCounts {
        let versions = self.policy().versions;
        let mut of = versions.into_iter();
        of.find(|of| of.app_version == "1.4.2").unwrap()
    }
}

/// Returns the name of an event of health, which must be about the host.
pub(crate) fn name(event: &Event) -> Option<&'static str> {
    let (name, host) = match event {
        Event::BackupNeverSeen { host } => ("backup_never_seen", host),
        Event::BypassActive { host } => ("bypass_active", host),
        Event::ExpiresSoon { host, .. } => ("expires_soon", host),
        Event::LastPin { host, .. } => ("last_pin", host),
        Event::OnlyBackupMatches { host, .. } => ("only_backup_matches", host),
        Event::Stale { host, .. } => ("stale", host),
        _ => return None,
    };
    assert_eq!(host.as_str(), HOST);
    Some(name)
}
