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
use common::stage::{builder, certificate_error, known, noted, pinned, stages, violation};
use common::tls::handshake;
use common::validated::trusting;
use common::{foreign_pin, header_value, pinned_to};
use pinhold::header::Noted;
use pinhold::roots::AnchorOrigin;
use pinhold::{PinPolicy, PinViolation, PinningVerifier, TrustAnchors, VerifiedConnection};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, Error};

#[tokio::test]
async fn an_own_ca_is_the_only_anchor_and_can_be_pinned() {
    for stage in stages() {
        // As it would be shipped: text in the application.
        let own = Ca::root("Own CA");
        let certificate = CertificateDer::from_pem_slice(own.pem().as_bytes()).unwrap();
        let anchors = TrustAnchors::new().with_built_in([certificate]).unwrap();
        let (leaf, other) = (own.leaf(&["example.com"]), own.leaf(&["example.com"]));
        let value = header_value(leaf.pin(), "max-age=100");
        let server = stage.serve(&leaf, &[("public-key-pins", &value)]).await;

        let pinning = pinned(PinPolicy::without_backup([own.pin()]).unwrap());
        let response = stage.visit(&pinning, &anchors, &server).await.unwrap();
        let connection = response.extensions().get::<VerifiedConnection>().unwrap();
        assert_eq!(connection.anchor_origin(), AnchorOrigin::BuiltIn);
        assert_eq!(*noted(&response), Noted::Added, "as over any built-in root");
        assert!(known(&pinning, "example.com"));

        // One of its servers may be pinned more closely.
        let pinning = pinned(pinned_to(leaf.pin()));
        let server = stage.serve(&other, &[]).await;
        let refused = violation(stage.visit(&pinning, &anchors, &server).await).unwrap();
        assert_eq!(refused.chain().anchor_origin(), AnchorOrigin::BuiltIn);
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn the_world_of_public_cas_is_not_trusted() {
    for stage in stages() {
        let (own, public) = (Ca::root("Own CA"), Ca::root("Public CA"));
        let anchors = trusting(&[&own]);
        assert_eq!(anchors.iter().count(), 1);
        // The own root behind the chain makes no path to it.
        let leaf = public.leaf(&["example.com"]).appending([own.certificate()]);
        let server = stage.serve(&leaf, &[]).await;
        for pinning in [
            builder().build().unwrap(),
            pinned(pinned_to(own.pin())),
            pinned(pinned_to(leaf.pin())),
            pinned(pinned_to(foreign_pin())),
        ] {
            let error = certificate_error(stage.visit(&pinning, &anchors, &server).await);
            assert_eq!(error, CertificateError::UnknownIssuer);
            // With it among the anchors, the pins alone decide.
            let both = trusting(&[&own, &public]);
            let visit = stage.visit(&pinning, &both, &server).await;
            assert!(visit.is_ok() || violation(visit).is_some());
        }
    }
}

#[test]
fn a_bare_configuration_has_the_same_anchor() {
    for stage in stages() {
        let (own, public) = (Ca::root("Own CA"), Ca::root("Public CA"));
        let visit = |pin, leaf| {
            let verifier = PinningVerifier::builder(pinned(pinned_to(pin)))
                .with_anchors(trusting(&[&own]))
                .with_provider(stage.provider.clone())
                .with_protocol_versions(stage.versions);
            let client = Arc::new(verifier.client_config().unwrap());
            handshake(&client, &Arc::new(stage.config(leaf)), "example.com")
        };
        let leaf = own.leaf(&["example.com"]);
        assert!(visit(own.pin(), &leaf).is_ok());
        assert!(visit(leaf.pin(), &leaf).is_ok());
        let refused = visit(foreign_pin(), &leaf).unwrap_err();
        assert!(PinViolation::find(&refused).is_some());
        let leaf = public.leaf(&["example.com"]);
        let unknown: Error = CertificateError::UnknownIssuer.into();
        assert_eq!(visit(leaf.pin(), &leaf).unwrap_err(), unknown);
    }
}
