//! The pinned client against loopback servers: what is admitted, noted and refused.
#![cfg(feature = "hyper")]

mod common;

use common::pki::Ca;
use common::server::{Names, Server, client, get};
use common::{Clock, header_value, pinned_to};
use pinhold::{
    AnchorOrigin, ConnectError, Decision, Noted, PinViolation, Pinning, TrustAnchors,
    VerifiedConnection,
};

#[tokio::test]
async fn a_first_visit_notes_and_a_second_one_passes() {
    let root = Ca::root("Root");
    let leaf = root.intermediate("CA").leaf(&["example.com"]);
    let value = header_value(leaf.pin(), "max-age=100");
    let server = Server::start(&leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &server)]);
    let pinning = Pinning::builder()
        .time_provider(Clock::new())
        .build()
        .unwrap();
    let anchors = TrustAnchors::new()
        .with_built_in([root.certificate()])
        .unwrap();

    let first = get(
        &mut client(&pinning, anchors.clone(), &names),
        "https://example.com/",
    )
    .await;
    let first = first.unwrap();
    assert_eq!(first.extensions().get(), Some(&Noted::Added));
    let connection = first.extensions().get::<VerifiedConnection>().unwrap();
    assert!(matches!(connection.decision(), Decision::NotPinned));
    assert_eq!(connection.anchor_origin(), AnchorOrigin::BuiltIn);

    let second = get(
        &mut client(&pinning, anchors, &names),
        "https://example.com/",
    )
    .await
    .unwrap();
    assert_eq!(second.extensions().get(), Some(&Noted::Refreshed));
    let connection = second.extensions().get::<VerifiedConnection>().unwrap();
    assert!(matches!(connection.decision(), Decision::Pass));
}

#[tokio::test]
async fn a_violation_is_found_in_the_client_s_error() {
    let root = Ca::root("Root");
    let server = Server::start(&root.leaf(&["example.com"]), &[]).await;
    let names = Names::new([("example.com", &server)]);
    let pinning = Pinning::builder()
        .static_pins("example.com", pinned_to(common::foreign_pin()))
        .time_provider(Clock::new())
        .build()
        .unwrap();
    let anchors = TrustAnchors::new()
        .with_built_in([root.certificate()])
        .unwrap();
    let mut client = client(&pinning, anchors, &names);
    let error = get(&mut client, "https://example.com/").await.unwrap_err();
    let violation = PinViolation::find(&error).unwrap();
    assert_eq!(violation.host().as_str(), "example.com");
    assert_eq!(server.requests(), 0);
    let source = std::error::Error::source(&error).unwrap();
    assert!(matches!(source.downcast_ref(), Some(ConnectError::Pins(_))));
}
