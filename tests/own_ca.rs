//! An application that trusts its own CA and no other: by real handshakes, of the connector and of
//! a bare configuration.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;

use common::pki::Ca;
use common::tls::handshake;
use common::tls_setup::{
    builder, certificate_error, is_known, noted, pinning_with, tls_setups, violation,
};
use common::validated::built_in_anchors;
use common::{header_value, policy_with, unrelated_pin};
use pinhold::header::Noted;
use pinhold::roots::AnchorOrigin;
use pinhold::{PinPolicy, PinViolation, PinningVerifier, TrustAnchors, VerifiedConnection};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, Error};

#[tokio::test]
async fn an_own_ca_is_the_only_anchor_and_can_be_pinned() {
    for setup in tls_setups() {
        // As it would be shipped: text in the application.
        let own = Ca::root("Own CA");
        let certificate = CertificateDer::from_pem_slice(own.pem().as_bytes()).unwrap();
        let anchors = TrustAnchors::new().with_built_in([certificate]).unwrap();
        let (leaf, other) = (own.leaf(&["example.com"]), own.leaf(&["example.com"]));
        let value = header_value(leaf.pin(), "max-age=100");
        let server = setup.serve(&leaf, &[("public-key-pins", &value)]).await;

        let pinning = pinning_with(PinPolicy::without_backup([own.pin()]).unwrap());
        let response = setup.visit(&pinning, &anchors, &server).await.unwrap();
        let connection = response.extensions().get::<VerifiedConnection>().unwrap();
        assert_eq!(connection.anchor_origin(), AnchorOrigin::BuiltIn);
        assert_eq!(*noted(&response), Noted::Added, "as over any built-in root");
        assert!(is_known(&pinning, "example.com"));

        // One of its servers may be pinned more closely.
        let pinning = pinning_with(policy_with(leaf.pin()));
        let server = setup.serve(&other, &[]).await;
        let refused = violation(setup.visit(&pinning, &anchors, &server).await).unwrap();
        assert_eq!(refused.chain().anchor_origin(), AnchorOrigin::BuiltIn);
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn the_world_of_public_cas_is_not_trusted() {
    for setup in tls_setups() {
        let (own, public) = (Ca::root("Own CA"), Ca::root("Public CA"));
        let anchors = built_in_anchors(&[&own]);
        assert_eq!(anchors.iter().count(), 1);
        // The own root behind the chain makes no path to it.
        let leaf = public
            .leaf(&["example.com"])
            .with_appended([own.certificate()]);
        let server = setup.serve(&leaf, &[]).await;
        for pinning in [
            builder().build().unwrap(),
            pinning_with(policy_with(own.pin())),
            pinning_with(policy_with(leaf.pin())),
            pinning_with(policy_with(unrelated_pin())),
        ] {
            let error = certificate_error(setup.visit(&pinning, &anchors, &server).await);
            assert_eq!(error, CertificateError::UnknownIssuer);
            // With it among the anchors, the pins alone decide.
            let both = built_in_anchors(&[&own, &public]);
            let visit = setup.visit(&pinning, &both, &server).await;
            assert!(visit.is_ok() || violation(visit).is_some());
        }
    }
}

#[test]
fn a_bare_configuration_has_the_same_anchor() {
    for setup in tls_setups() {
        let (own, public) = (Ca::root("Own CA"), Ca::root("Public CA"));
        let visit = |pin, leaf| {
            let verifier =
                PinningVerifier::builder(pinning_with(policy_with(pin)), built_in_anchors(&[&own]))
                    .with_provider(setup.provider.clone())
                    .with_protocol_versions(setup.versions);
            let client = Arc::new(verifier.client_config().unwrap());
            handshake(&client, &Arc::new(setup.config(leaf)), "example.com")
        };
        let leaf = own.leaf(&["example.com"]);
        assert!(visit(own.pin(), &leaf).is_ok());
        assert!(visit(leaf.pin(), &leaf).is_ok());
        let refused = visit(unrelated_pin(), &leaf).unwrap_err();
        assert!(PinViolation::find(&refused).is_some());
        let leaf = public.leaf(&["example.com"]);
        let unknown: Error = CertificateError::UnknownIssuer.into();
        assert_eq!(visit(leaf.pin(), &leaf).unwrap_err(), unknown);
    }
}
