//! The test cases. Each runs with every TLS version of the stack.

use std::sync::Arc;

use pinhold::{Event, PinViolation, UserAddedRoots};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::task::JoinSet;

use crate::common::pki::{Ca, Leaf};
use crate::common::{policy_with, provider, unrelated_pin};
use crate::harness::{
    Client, OpenConnection, Resumptions, RunningServer, Stack, Versions, built_in_anchors, config,
    names_of,
};

const HOST: &str = "example.com";

async fn serve<S: Stack>(leaf: &Leaf, versions: Versions) -> RunningServer {
    S::serve(config(leaf, versions)).await
}

pub async fn pinned_key<S: Stack>() {
    for versions in S::VERSIONS {
        let root = Ca::root("Root");
        let ca = root.intermediate("CA");
        let leaf = ca.leaf(&[HOST]);
        for pin in [leaf.pin(), ca.pin(), root.pin()] {
            let server = serve::<S>(&leaf, versions).await;
            let names = names_of([(HOST, &server)]);
            let pins = [(HOST, policy_with(pin))];
            let mut client = Client::<S>::new(pins, built_in_anchors(&[&root]), &names);
            client.stack.request_on_new_connection(HOST).await.unwrap();
            assert_eq!(server.requests(), 1);
            assert!(client.events().is_empty());
        }
    }
}

pub async fn mis_issued_chain<S: Stack>() {
    for versions in S::VERSIONS {
        let (genuine_root, other_root) = (Ca::root("Genuine"), Ca::root("Other"));
        let genuine = genuine_root.intermediate("Genuine CA").leaf(&[HOST]);
        let mis_issued = other_root.intermediate("Other CA").leaf(&[HOST]);
        let anchors = built_in_anchors(&[&genuine_root, &other_root]);
        let appended = genuine.chain.iter().cloned();
        let appended = appended.chain([genuine_root.certificate()]);
        for pin in [genuine.pin(), genuine_root.pin()] {
            let served = mis_issued.with_appended(appended.clone());
            let server = serve::<S>(&served, versions).await;
            let names = names_of([(HOST, &server)]);
            let pins = [(HOST, policy_with(pin))];
            let mut client = Client::<S>::new(pins, anchors.clone(), &names);
            let outcome = client.stack.request_on_new_connection(HOST).await;
            client.assert_refused(outcome, HOST);
            assert_eq!(server.requests(), 0, "no request reached the attacker");
        }
    }
}

pub async fn wrong_name<S: Stack>() {
    for versions in S::VERSIONS {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.net"]);
        let server = serve::<S>(&leaf, versions).await;
        let names = names_of([(HOST, &server)]);
        // The name is refused, whether the key is pinned or not.
        for pin in [leaf.pin(), unrelated_pin()] {
            let pins = [(HOST, policy_with(pin))];
            let mut client = Client::<S>::new(pins, built_in_anchors(&[&root]), &names);
            let outcome = client.stack.request_on_new_connection(HOST).await;
            client.assert_failed_without_violation(outcome);
        }
        assert_eq!(server.requests(), 0);
    }
}

/// Serves a certificate without having its private key.
#[derive(Debug)]
struct Replay(Arc<CertifiedKey>);

impl ResolvesServerCert for Replay {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

pub async fn replayed_certificate<S: Stack>() {
    for versions in S::VERSIONS {
        let root = Ca::root("Root");
        let genuine = root.leaf(&[HOST]);
        let own_key = root.leaf(&["attacker.example"]).key();
        let key = provider().key_provider.load_private_key(own_key).unwrap();
        let mut config = config(&genuine, versions);
        let replayed = CertifiedKey::new(genuine.chain.clone(), key);
        config.cert_resolver = Arc::new(Replay(Arc::new(replayed)));
        let server = S::serve(config).await;
        let names = names_of([(HOST, &server)]);
        let pins = [(HOST, policy_with(genuine.pin()))];
        let mut client = Client::<S>::new(pins, built_in_anchors(&[&root]), &names);
        let outcome = client.stack.request_on_new_connection(HOST).await;
        client.assert_failed_without_violation(outcome);
        assert_eq!(server.requests(), 0);
    }
}

pub async fn user_added_root<S: Stack>() {
    for versions in S::VERSIONS {
        let (root, proxy) = (Ca::root("Root"), Ca::root("Proxy"));
        let server = serve::<S>(&proxy.leaf(&[HOST]), versions).await;
        let names = names_of([(HOST, &server)]);
        let anchors = built_in_anchors(&[&root]);
        let anchors = anchors.with_user_added([proxy.certificate()]).unwrap();
        let policy = policy_with(unrelated_pin());
        let pins = [(HOST, policy.clone())];
        let mut client = Client::<S>::new(pins, anchors.clone(), &names);
        client.stack.request_on_new_connection(HOST).await.unwrap();
        let events = client.events();
        let is_reported = events.iter().any(|event| {
            let Event::Skipped { host } = event else {
                return false;
            };
            host.as_str() == HOST
        });
        assert!(is_reported, "{events:?}");

        let strict = policy.user_added_roots(UserAddedRoots::EnforcePins);
        let mut client = Client::<S>::new([(HOST, strict)], anchors, &names);
        let outcome = client.stack.request_on_new_connection(HOST).await;
        client.assert_refused(outcome, HOST);
    }
}

pub async fn resumption_after_a_change_of_pins<S: Stack>() {
    for versions in S::VERSIONS {
        let root = Ca::root("Root");
        let leaf = root.leaf(&[HOST]);
        let mut config = config(&leaf, versions);
        let resumptions = Resumptions::install(&mut config);
        let server = S::serve(config).await;
        let names = names_of([(HOST, &server)]);
        let pins = [(HOST, policy_with(leaf.pin()))];
        let mut client = Client::<S>::new(pins, built_in_anchors(&[&root]), &names);
        client.stack.request_on_new_connection(HOST).await.unwrap();
        assert_eq!(resumptions.count(), 0);
        client.stack.request_on_new_connection(HOST).await.unwrap();
        assert_eq!(resumptions.count(), 1);

        client.pin(HOST, policy_with(unrelated_pin()));
        let outcome = client.stack.request_on_new_connection(HOST).await;
        client.assert_refused(outcome, HOST);
        assert_eq!((resumptions.count(), server.requests()), (1, 2));

        client.pin(HOST, policy_with(leaf.pin()));
        client.stack.request_on_new_connection(HOST).await.unwrap();
        assert_eq!(server.requests(), 3);
    }
}

pub async fn concurrent_first_connections<S: Stack>() {
    let (good, bad) = (["a.example", "b.example"], "c.example");
    for versions in S::VERSIONS {
        let root = Ca::root("Root");
        let mut servers = Vec::new();
        let mut pins = Vec::new();
        for host in good.into_iter().chain([bad]) {
            let leaf = root.leaf(&[host]);
            servers.push((host, serve::<S>(&leaf, versions).await));
            pins.push((host, policy_with(leaf.pin())));
        }
        pins.last_mut().unwrap().1 = policy_with(unrelated_pin());
        let names = names_of(servers.iter().map(|(host, server)| (*host, server)));
        let mut client = Client::<S>::new(pins, built_in_anchors(&[&root]), &names);

        let mut visits = JoinSet::new();
        for _ in 0..4 {
            for (host, _) in &servers {
                let (stack, host) = (Arc::clone(&client.stack), *host);
                visits.spawn(async move { (host, stack.request_on_new_connection(host).await) });
            }
        }
        let outcomes = visits.join_all().await;
        let (refused, passed) = outcomes
            .into_iter()
            .partition::<Vec<_>, _>(|(host, _)| *host == bad);
        assert_eq!((refused.len(), passed.len()), (4, 8));
        for (_, outcome) in passed {
            outcome.unwrap();
        }
        let violations = client.violations();
        assert_eq!(violations.len(), 4);
        let mut hosts = violations.iter().map(PinViolation::host);
        assert!(hosts.all(|host| host.as_str() == bad));
        assert!(refused.iter().all(|(_, outcome)| outcome.is_err()));
        let requests = servers.iter().map(|(_, server)| server.requests());
        assert_eq!(requests.collect::<Vec<_>>(), [4, 4, 0]);
    }
}

pub async fn open_connection<S: Stack>() {
    for versions in S::VERSIONS {
        let root = Ca::root("Root");
        let leaf = root.leaf(&[HOST]);
        let server = serve::<S>(&leaf, versions).await;
        let names = names_of([(HOST, &server)]);
        let pins = [(HOST, policy_with(leaf.pin()))];
        let mut client = Client::<S>::new(pins, built_in_anchors(&[&root]), &names);
        let (stack, pinning) = (Arc::clone(&client.stack), client.pinning.clone());
        let change = move || {
            let pins = [(HOST, policy_with(unrelated_pin()))];
            pinning.replace_pins(pins).unwrap();
        };
        let outcome = stack.request_before_and_after(HOST, change).await;
        match S::OPEN_CONNECTION {
            OpenConnection::Closed => {
                client.assert_refused(outcome, HOST);
                assert_eq!(server.requests(), 1);
            }
            OpenConnection::ClosedWithText => {
                assert!(outcome.is_err());
                client.assert_violation_event(HOST);
                assert_eq!(server.requests(), 1);
            }
            OpenConnection::StaysOpen => {
                outcome.unwrap();
                assert_eq!(server.requests(), 2);
            }
        }
    }
}
