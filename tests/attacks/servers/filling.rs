//! Attack 9: headers of many hostile hosts that would fill the store.

use std::sync::Arc;

use pinhold::header::{IgnoreReason, Noted};
use pinhold::layer::NotePins;
use pinhold::storage::{PinStoreBuilder, PublicSuffixes};
use pinhold::{Host, PinStore, Pinning};

use rustls::time_provider::TimeProvider;

use crate::common::pki::{Ca, Leaf};
use crate::common::server::{HyperClient, Names, Server, get};
use crate::common::tls_setup::{builder, noted, tls_setups, violation};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, DAY, header_value};

/// A time after the release, since an earlier one confirms no entry.
const LATER: u64 = 1_800_000_000;
const BANK: &str = "www.bank.co.uk";

/// A list of `com`, `example`, `org`, `uk` and `co.uk`.
fn suffixes() -> PublicSuffixes {
    PublicSuffixes::from_bytes(include_bytes!("../../data/public_suffixes.dafsa")).unwrap()
}

/// A client of servers whose headers set pins for 30 days.
struct Fixture {
    client: NotePins<HyperClient>,
    pinning: Pinning,
    clock: Arc<Clock>,
    root: Ca,
    leaf: Leaf,
    _server: Server,
}

impl Fixture {
    async fn start(store: PinStoreBuilder, hosts: &[String]) -> Self {
        let (setup, root) = (tls_setups().pop().unwrap(), Ca::root("Root"));
        let names = hosts.iter().map(String::as_str).chain([BANK]);
        let leaf = root.leaf(&names.clone().collect::<Vec<_>>());
        let value = header_value(leaf.pin(), &format!("max-age={}", 30 * DAY));
        let server = setup.serve(&leaf, &[("public-key-pins", &value)]).await;
        let clock = Clock::new();
        clock.set(LATER);
        let pinning = builder().time_provider(clock.clone());
        let pinning = pinning.store(store.in_memory()).build().unwrap();
        let names = Names::new(names.map(|name| (name, &server)));
        Self {
            client: setup.client(&pinning, built_in_anchors(&[&root]), &names),
            pinning,
            clock,
            root,
            leaf,
            _server: server,
        }
    }

    async fn visit(&mut self, host: &str) -> Noted {
        let response = get(&mut self.client, &format!("https://{host}/")).await;
        noted(&response.unwrap()).clone()
    }

    /// Visits all hosts, each of which sets pins.
    async fn visit_all(&mut self, hosts: &[String]) {
        for host in hosts {
            let noted = self.visit(host).await;
            assert!(
                matches!(noted, Noted::Added | Noted::Refreshed),
                "{host}: {noted:?}"
            );
        }
    }

    fn is_known(&self, host: &str) -> bool {
        let now = self.clock.current_time().unwrap();
        let host = Host::parse(host).unwrap();
        self.pinning.store().query(&host, now).is_some()
    }

    fn confirmed(&self) -> usize {
        let list = self.pinning.store().list();
        list.iter().filter(|known| known.is_confirmed()).count()
    }
}

fn names(count: usize, name: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(name).collect()
}

#[tokio::test]
async fn attack_9_names_under_one_domain_keep_no_other_domain_from_pinning() {
    let hostile = names(64, |n| format!("n{n}.evil.co.uk"));
    for list in [None, Some(suffixes())] {
        let mut store = PinStore::builder().capacity(64);
        let has_list = list.is_some();
        if let Some(list) = list {
            store = store.public_suffixes(list);
        }
        let mut fixture = Fixture::start(store, &hostile).await;
        fixture.visit_all(&hostile).await;
        assert_eq!(fixture.pinning.store().list().len(), 16, "a quarter of 64");
        assert_eq!(fixture.visit(BANK).await, Noted::Added);
        // More of the same evict each other. Without a list all of `co.uk` is one domain, within
        // which `evil.co.uk` has most of the entries.
        fixture.pinning.store().list().iter().for_each(|known| {
            if known.host.as_str() != BANK {
                fixture.pinning.store().forget(&known.host);
            }
        });
        fixture.clock.set(LATER + 1);
        fixture.visit_all(&hostile).await;
        assert!(fixture.is_known(BANK));
        // The second day: they don't keep the other domain from being confirmed either.
        fixture.clock.set(LATER + DAY + 1);
        let known = hostile.iter().filter(|host| fixture.is_known(host));
        let known = known.cloned().collect::<Vec<_>>();
        fixture.visit_all(&known).await;
        assert_eq!(fixture.visit(BANK).await, Noted::Refreshed);
        let share = if has_list { 64 / 16 } else { 64 / 32 };
        assert_eq!(fixture.confirmed(), share + 1);
    }
}

/// The clock is ahead by a year for one page with many hostile hosts.
#[tokio::test]
async fn attack_9_new_hosts_under_a_clock_far_ahead_destroy_no_confirmed_pins() {
    let hosts = names(12, |n| format!("bank-{n}.com"));
    let hostile = names(20, |n| format!("evil-{n}.com"));
    let all = [&hosts[..], &hostile].concat();
    let mut fixture = Fixture::start(PinStore::builder().capacity(16), &all).await;
    let mut days = 0;
    for hosts in hosts.chunks(4) {
        for _ in 0..2 {
            fixture.clock.set(LATER + days * DAY);
            fixture.visit_all(hosts).await;
            days += 1;
        }
    }
    assert_eq!(fixture.confirmed(), 12);
    fixture.clock.set(LATER + 365 * DAY);
    fixture.visit_all(&hostile).await;
    fixture.clock.set(LATER + days * DAY);
    for host in &hosts {
        assert!(fixture.is_known(host), "{host}");
    }
}

#[tokio::test]
async fn attack_9_many_full_domains_keep_no_other_domain_from_pinning() {
    // Each of 16 domains has a sixteenth of 64 entries, and each entry is visited on two days.
    let hostile = names(64, |n| format!("n{n}.evil-{}.com", n % 16));
    let mut fixture = Fixture::start(PinStore::builder().capacity(64), &hostile).await;
    let mut days = 0;
    for hosts in hostile.chunks(16) {
        for _ in 0..2 {
            fixture.clock.set(LATER + days * DAY);
            fixture.visit_all(hosts).await;
            days += 1;
        }
    }
    assert_eq!(fixture.confirmed(), 48, "three quarters of 64");
    assert_eq!(fixture.pinning.store().list().len(), 64);
    assert_eq!(fixture.visit(BANK).await, Noted::Added);
    assert!(fixture.is_known(BANK));
    assert_eq!(fixture.pinning.store().list().len(), 64);
}

#[tokio::test]
async fn attack_9_new_domains_evict_no_confirmed_entry() {
    let hostile = names(100, |n| format!("evil-{n}.com"));
    let mut fixture = Fixture::start(PinStore::builder().capacity(16), &hostile).await;
    assert_eq!(fixture.visit(BANK).await, Noted::Added);
    fixture.clock.set(LATER + DAY);
    assert_eq!(fixture.visit(BANK).await, Noted::Refreshed);
    fixture.visit_all(&hostile).await;
    assert_eq!(
        fixture.pinning.store().list().len(),
        5,
        "a quarter of 16 and one"
    );

    // The pins are enforced.
    let impostor = fixture.root.leaf(&[BANK]);
    assert_ne!(impostor.pin(), fixture.leaf.pin());
    let setup = tls_setups().pop().unwrap();
    let server = setup.serve(&impostor, &[]).await;
    let names = Names::new([(BANK, &server)]);
    let anchors = built_in_anchors(&[&fixture.root]);
    let mut client = setup.client(&fixture.pinning, anchors, &names);
    let visit = get(&mut client, &format!("https://{BANK}/")).await;
    assert!(violation(visit).is_some());
}

/// A domain that responds under many names on every day gets no more than its share, also when its
/// entries expire and are noted again.
#[tokio::test]
async fn attack_9_one_domain_gets_a_sixteenth_in_confirmed_entries() {
    let hostile = names(12, |n| format!("n{n}.evil.com"));
    let mut fixture = Fixture::start(PinStore::builder().capacity(64), &hostile).await;
    for days in [0, 1, 2, 3, 40, 41, 42] {
        fixture.clock.set(LATER + days * DAY);
        fixture.visit_all(&hostile).await;
        let confirmed = if [0, 40].contains(&days) { 0 } else { 4 };
        assert_eq!(fixture.confirmed(), confirmed, "day {days}");
    }
}

#[tokio::test]
async fn attack_9_a_public_suffix_pins_no_domain_below_it() {
    let hosts = ["co.uk", "example.co.uk", "bank.com"].map(str::to_owned);
    let store = PinStore::builder().public_suffixes(suffixes());
    let mut fixture = Fixture::start(store, &hosts).await;
    fixture.visit_all(&hosts).await;
    fixture.pinning.store().clear();

    let setup = tls_setups().pop().unwrap();
    let value = header_value(fixture.leaf.pin(), "max-age=100; includeSubDomains");
    let server = setup
        .serve(&fixture.leaf, &[("public-key-pins", &value)])
        .await;
    let names = Names::new(hosts.iter().map(|host| (&**host, &server)));
    let anchors = built_in_anchors(&[&fixture.root]);
    fixture.client = setup.client(&fixture.pinning, anchors, &names);
    let ignored = Noted::Ignored(IgnoreReason::PublicSuffix);
    assert_eq!(fixture.visit("co.uk").await, ignored);
    assert!(!fixture.is_known(BANK));
    for host in &hosts[1..] {
        assert_eq!(fixture.visit(host).await, Noted::Added);
    }
}
