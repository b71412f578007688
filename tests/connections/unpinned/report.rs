//! `UnpinnedHosts::Report`: each connection to an unpinned host is made, with exactly one event.

use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pinhold::policy::UnpinnedHosts;
use pinhold::{Event, NotePinsLayer, Pinning, PinningVerifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;
use tower_layer::Layer;

use super::{connector, names};
use crate::common::pki::Ca;
use crate::common::recording::{Recorder, with_recorder};
use crate::common::rules::strict;
use crate::common::server::{Loopback, Server, answer, get};
use crate::common::tls_setup::tls_setups;
use crate::common::validated::built_in_anchors;
use crate::common::{policy_with, unrelated_pin};

/// Asserts that there was this number of events, all about a host of this name that was connected
/// to.
#[track_caller]
fn assert_reported(recorder: &Recorder, pinning: &Pinning, name: &str, count: usize) {
    let events = recorder.events(pinning);
    assert_eq!(events.len(), count, "{name}: {events:?}");
    for event in events {
        let Event::Unpinned(unpinned) = event else {
            panic!("{event:?}");
        };
        assert!(!unpinned.is_refused());
        assert_eq!(unpinned.server_name().to_str(), name);
    }
}

#[tokio::test]
async fn each_connection_is_reported_once_and_requests_over_it_are_not() {
    for setup in tls_setups() {
        for alpn in ["http/1.1", "h2"] {
            let root = Ca::root("Root");
            let leaf = root.leaf(&["example.com", "127.0.0.1", "cdn.test", "pinned.test"]);
            let mut config = setup.config(&leaf);
            config.alpn_protocols = vec![alpn.into()];
            let server = Server::with_config(config, answer(&[])).await;
            let hosts = ["example.com", "127.0.0.1", "cdn.test", "pinned.test"];
            let names = names(&server, &hosts);
            let builder = strict()
                .unpinned_hosts(UnpinnedHosts::Report)
                .static_pins("pinned.test", policy_with(leaf.pin()))
                .allow_unpinned(["cdn.test"]);
            let (pinning, recorder) = with_recorder(builder);
            let config = PinningVerifier::builder(pinning.clone())
                .with_anchors(built_in_anchors(&[&root]))
                .with_provider(setup.provider.clone())
                .with_protocol_versions(setup.versions);
            let connector = pinhold::PinningConnector::builder(pinning.clone())
                .with_tls_config(config.client_config().unwrap())
                .wrap_connector(Loopback::new(&names))
                .unwrap();
            for (host, count) in [
                ("example.com", 1),
                ("127.0.0.1", 1),
                ("cdn.test", 0),
                ("pinned.test", 0),
            ] {
                let uri = format!("https://{host}/");
                // The second client resumes a session of the first one.
                for _ in 0..2 {
                    let client = Client::builder(TokioExecutor::new()).build(connector.clone());
                    let mut client = NotePinsLayer::new(pinning.clone()).layer(client);
                    for _ in 0..2 {
                        get(&mut client, &uri).await.unwrap();
                    }
                    assert_reported(&recorder, &pinning, host, count);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_plain_connection_is_reported_once_it_is_made() {
    let root = Ca::root("Root");
    let server = Server::plain(answer(&[])).await;
    let hosts = ["example.com", "127.0.0.1", "[::1]"];
    let builder = strict().unpinned_hosts(UnpinnedHosts::Report);
    let (pinning, recorder) = with_recorder(builder);
    let names = names(&server, &hosts);
    let connector = connector(&pinning, &root).wrap_connector(Loopback::new(&names));
    let connector = connector.unwrap();
    for host in hosts {
        let uri = format!("http://{host}/").parse::<http::Uri>().unwrap();
        let stream = connector.clone().oneshot(uri).await.unwrap();
        let mut stream = TokioIo::new(stream);
        let name = host.trim_matches(['[', ']']);
        assert_reported(&recorder, &pinning, name, 1);
        let request = b"GET / HTTP/1.1\r\nhost: example.com\r\n\r\n";
        // A change of pins, after which the connection is checked again.
        let other = [("other.test", policy_with(unrelated_pin()))];
        pinning.replace_pins(other).unwrap();
        stream.write_all(request).await.unwrap();
        stream.read_u8().await.unwrap();
        recorder.assert_no_event_or_report(&pinning);
    }
    let missing = http::Uri::from_static("http://missing.test/");
    assert!(connector.oneshot(missing).await.is_err());
    recorder.assert_no_event_or_report(&pinning);
}
