//! Applications that trust only their own CA, in real handshakes of the connector and of a bare
//! configuration.

use std::sync::Arc;

use crate::common::pki::Ca;
use crate::common::tls::handshake;
use crate::common::tls_setup::{
    builder, certificate_error, is_known, noted, pinning_with, tls_setups, violation,
};
use crate::common::validated::built_in_anchors;
use crate::common::{header_value, policy_with, unrelated_pin};
use pinhold::header::Noted;
use pinhold::roots::AnchorOrigin;
use pinhold::{PinPolicy, PinViolation, PinningVerifier, TrustAnchors, VerifiedConnection};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, Error};

#[tokio::test]
async fn an_own_ca_can_be_the_only_anchor_and_can_be_pinned() {
    for setup in tls_setups() {
        // The certificate as PEM text, as an application would embed it.
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
        assert_eq!(
            *noted(&response),
            Noted::Added,
            "an own CA among the built-in anchors allows noting"
        );
        assert!(is_known(&pinning, "example.com"));

        // A pin of one server excludes the other servers of the same CA.
        let pinning = pinning_with(policy_with(leaf.pin()));
        let server = setup.serve(&other, &[]).await;
        let refused = violation(setup.visit(&pinning, &anchors, &server).await).unwrap();
        assert_eq!(refused.chain().anchor_origin(), AnchorOrigin::BuiltIn);
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn public_cas_are_not_trusted() {
    for setup in tls_setups() {
        let (own, public) = (Ca::root("Own CA"), Ca::root("Public CA"));
        let anchors = built_in_anchors(&[&own]);
        assert_eq!(anchors.iter().count(), 1);
        // An appended root does not create a path to that root.
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
            // With the public CA among the anchors, only the pins decide.
            let both = built_in_anchors(&[&own, &public]);
            let visit = setup.visit(&pinning, &both, &server).await;
            assert!(visit.is_ok() || violation(visit).is_some());
        }
    }
}

#[test]
fn a_bare_configuration_trusts_only_the_own_ca() {
    for setup in tls_setups() {
        let (own, public) = (Ca::root("Own CA"), Ca::root("Public CA"));
        let visit = |pin, leaf| {
            let verifier = PinningVerifier::builder(pinning_with(policy_with(pin)))
                .with_anchors(built_in_anchors(&[&own]))
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
