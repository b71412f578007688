//! Resumed sessions, which are checked and record nothing.

use pinhold::{PinningConnector, PinningVerifier};
use tower::ServiceExt;

use crate::common::server::{Loopback, Names};
use crate::common::{DAY, NOW};
use crate::{Fixture, change, first_use, host, leaf_of};

#[tokio::test]
async fn a_resumed_session_records_nothing_and_a_stale_one_is_not_used() {
    let fixture = Fixture::new(first_use());
    // TLS 1.2, where the handshake itself brings the ticket.
    let (own, other) = (leaf_of(&fixture.own), leaf_of(&fixture.other));
    let server = fixture.setup.serve(&own, &[]).await;
    let verifier = PinningVerifier::builder(fixture.pinning.clone())
        .with_anchors(fixture.anchors.clone())
        .with_provider(fixture.setup.provider.clone())
        .with_protocol_versions(fixture.setup.versions);
    let connector = PinningConnector::builder(fixture.pinning.clone())
        .with_tls_config(verifier.client_config().unwrap())
        .wrap_connector(Loopback::new(&Names::new([("example.com", &server)])))
        .unwrap();
    let is_resumed = async || {
        let uri = http::Uri::from_static("https://example.com/");
        let stream = connector.clone().oneshot(uri).await.unwrap();
        stream.verified().unwrap().is_resumed()
    };
    fixture.activate(&own).await;
    assert!(!is_resumed().await);
    let known = fixture.store.remembered_keys(&host());
    fixture.clock.set(NOW + 10 * DAY + 60);
    assert!(is_resumed().await);
    assert_eq!(fixture.store.remembered_keys(&host()), known);
    // Accepted by the user: the session is of a chain with other keys than those that hold now.
    let changed = change(fixture.visit(&other).await);
    fixture.pinning.first_use().unwrap().accept(&changed);
    let uri = http::Uri::from_static("https://example.com/");
    let error = connector.clone().oneshot(uri).await.unwrap_err();
    assert!(pinhold::first_use::KeyChange::find(&error).is_some());
}
