//! Other stacks: a connection is recorded once its server has proved its key.

use std::sync::Arc;

use pinhold::health::HealthOptions;
use pinhold::{Pinning, PinningVerifier};
use rustls::client::danger::ServerCertVerifier;

use crate::common::provider;
use crate::common::server::server_config;
use crate::common::tls::handshake;
use crate::world::{HOST, World};

#[tokio::test]
async fn a_handshake_of_another_stack_is_recorded_after_its_signature() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    let builder = PinningVerifier::builder(app.pinning.clone()).with_anchors(world.anchors());
    let config = builder.with_provider(provider()).client_config().unwrap();
    let client = Arc::new(config);
    for version in rustls::ALL_VERSIONS {
        let server = Arc::new(server_config(&world.leaves[0], provider(), &[version]));
        let before = app.pinning.health().policies;
        let before = before.first().map_or(0, |policy| policy.versions[0].passed);
        handshake(&client, &server, HOST).unwrap();
        assert_eq!(app.counts().passed, before + 1);
    }
    let refused = Arc::new(server_config(
        &world.leaves[2],
        provider(),
        rustls::ALL_VERSIONS,
    ));
    handshake(&client, &refused, HOST).unwrap_err();
    assert_eq!((app.counts().passed, app.counts().refused), (2, 1));
}

/// An attacker that has the genuine chain, but not its key, is seen by nothing.
#[tokio::test]
async fn a_chain_without_its_key_is_not_seen() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    let builder = PinningVerifier::builder(app.pinning.clone()).with_anchors(world.anchors());
    let builder = builder.with_provider(provider());
    let verifier = builder.verifier_without_resumption_check().unwrap();
    let leaf = world.leaves[0].certificate();
    let now = crate::common::now();
    let name = HOST.try_into().unwrap();
    verifier
        .verify_server_cert(&leaf, &[], &name, &[], now)
        .unwrap();
    assert!(app.pinning.health().policies.is_empty());
}

#[test]
fn a_version_that_needs_an_escape_is_refused() {
    let long = "1".repeat(65);
    for version in ["", "1.4 \"beta\"", "1\\2", "1\n", "1.4.2\u{e9}", &long] {
        let builder = Pinning::builder().health(HealthOptions::new(version));
        let error = builder.build().unwrap_err();
        assert!(
            matches!(error, pinhold::BuildError::AppVersion { .. }),
            "{version:?}"
        );
    }
    let longest = "1".repeat(64);
    for version in ["1", "1.4.2 (beta) {x=y}", &longest] {
        let builder = Pinning::builder().health(HealthOptions::new(version));
        assert_eq!(builder.build().unwrap().health().app_version, version);
    }
}
