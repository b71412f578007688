//! Events and counts of reqwest's clients: violations, report-only headers, and pins that change
//! during a handshake.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use crate::common::pki::Ca;
use crate::common::reqwests::{connection, fetch, violation};
use crate::common::server::{Names, Server, answer};
use crate::common::tls_setup::{builder, pinning_with, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{TIMEOUT, header_value, policy_with, unrelated_pin};
use pinhold::{Event, PinningBuilder};
use rustls::server::StoresServerSessions;

const HOST: &str = "example.com";
const URL: &str = "https://example.com/";

/// Adds an observer whose events are received from the channel.
fn with_observer(builder: PinningBuilder) -> (PinningBuilder, Receiver<Event>) {
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    let observer = move |event: &Event| {
        let _ = sender.lock().unwrap().send(event.clone());
    };
    (builder.observer(observer), events)
}

#[tokio::test]
async fn a_violation_is_emitted_once() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let server = setup.serve(&root.leaf(&[HOST]), &[]).await;
        let names = Names::new([(HOST, &server)]);
        let policy = policy_with(unrelated_pin());
        let (builder, events) = with_observer(builder().static_pins(HOST, policy));
        let pinning = builder.build().unwrap();
        let client = setup.reqwest(&pinning, &built_in_anchors(&[&root]), &names);
        let client = client.build().unwrap();
        assert!(client.get(URL).send().await.is_err());
        assert!(pinning.flush_reports(TIMEOUT));
        let Event::Violation(report) = events.recv_timeout(TIMEOUT).unwrap() else {
            panic!("expected a violation");
        };
        assert_eq!(report.violation().host().as_str(), HOST);
        assert!(events.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_connection_that_passes_is_counted() {
    let setup = &tls_setups()[0];
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    let server = setup.serve(&leaf, &[]).await;
    let names = Names::new([(HOST, &server)]);
    let pinning = pinning_with(policy_with(leaf.pin()));
    let client = setup.reqwest(&pinning, &built_in_anchors(&[&root]), &names);
    let client = client.build().unwrap();
    for _ in 0..2 {
        let response = client.get(URL).send().await.unwrap();
        response.bytes().await.unwrap();
    }
    let rollout = pinning.rollout(&HOST.try_into().unwrap()).unwrap();
    assert_eq!((rollout.connections, rollout.would_have_failed), (1, 0));
}

#[tokio::test]
async fn a_report_only_header_is_evaluated_on_its_connection() {
    let setup = &tls_setups()[0];
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    for (pin, passes) in [(leaf.pin(), true), (unrelated_pin(), false)] {
        let value = header_value(pin, "max-age=1");
        let fields = [("public-key-pins-report-only", &*value)];
        let server = setup.serve(&leaf, &fields).await;
        let names = Names::new([(HOST, &server)]);
        let (builder, events) = with_observer(builder());
        let pinning = builder.build().unwrap();
        let client = setup.noting(&pinning, &built_in_anchors(&[&root]), &names);
        let client = client.build().unwrap();
        let response = fetch(&client, URL).await.unwrap();
        assert!(connection(&response).is_some());
        assert!(pinning.flush_reports(TIMEOUT));
        match events.try_recv() {
            Ok(Event::WouldBeViolation(report)) => {
                assert!(!passes);
                assert!(
                    report
                        .violation()
                        .chain()
                        .fingerprints()
                        .contains(&leaf.pin())
                );
            }
            other => assert!(passes && other.is_err(), "{other:?}"),
        }
    }
}

/// A session cache of the server that runs a closure during the handshake: after the client has
/// accepted the certificate, and before the handshake is complete for it.
struct RunDuringHandshake(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for RunDuringHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunDuringHandshake")
    }
}

impl StoresServerSessions for RunDuringHandshake {
    fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
        (self.0)();
        false
    }

    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn pins_that_change_during_the_handshake_are_enforced() {
    // In TLS 1.3 the client completes the handshake before the server does.
    let setups = tls_setups();
    let is_tls12 = |setup: &&crate::common::tls_setup::TlsSetup| {
        setup.versions[0].version == rustls::ProtocolVersion::TLSv1_2
    };
    for setup in setups.iter().filter(is_tls12) {
        let root = Ca::root("Root");
        let leaf = root.leaf(&[HOST]);
        let pinning = pinning_with(policy_with(leaf.pin()));
        let changing = pinning.clone();
        let change = move || {
            let other = [(HOST, policy_with(unrelated_pin()))];
            changing.replace_pins(other).unwrap();
        };
        let mut config = setup.config(&leaf);
        config.session_storage = Arc::new(RunDuringHandshake(Box::new(change)));
        let server = Server::with_config(config, answer(&[])).await;
        let names = Names::new([(HOST, &server)]);
        let client = setup.reqwest(&pinning, &built_in_anchors(&[&root]), &names);
        let client = client.build().unwrap();
        let error = client.get(URL).send().await.unwrap_err();
        assert!(violation(&error).is_some());
        assert_eq!(server.requests(), 0);
    }
}
