//! Signatures, raw public keys and the remaining methods of the trait.

use std::sync::Arc;

use pinhold::PinningVerifier;
use pinhold::tls::UnverifiablePath;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, Error, ServerConfig, SignatureScheme};

use super::{FixedVerifier, bare_handshake, unpinned, visit, with_inner_verifier};
use crate::common::pki::{Ca, Leaf};
use crate::common::server::{Server, answer};
use crate::common::tls_setup::{TlsSetup, certificate_error, pinning_with, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{policy_with, provider};

#[tokio::test]
async fn a_replayed_certificate_is_refused_even_if_the_inner_verifier_checks_no_signature() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let genuine = root.leaf(&["example.com"]);
        let server = setup.config_without_key(&genuine, &root.leaf(&["attacker.example"]));
        let pinning = pinning_with(policy_with(genuine.pin()));
        let accept_all = Arc::new(FixedVerifier::AcceptAll);
        let config = with_inner_verifier(&setup, accept_all, &pinning, built_in_anchors(&[&root]));
        let bad: Error = CertificateError::BadSignature.into();
        assert_eq!(bare_handshake(&config, server.clone()).unwrap_err(), bad);
        let server = Server::with_config(server, answer(&[])).await;
        let error = certificate_error(visit(&pinning, config, &server).await);
        assert_eq!(error, CertificateError::BadSignature);
        assert_eq!(server.requests(), 0);
    }
}

/// A server with a raw public key instead of a certificate (RFC 7250). rustls sends it over TLS 1.2
/// as well.
fn raw_key_server(setup: &TlsSetup, leaf: &Leaf) -> ServerConfig {
    let key = setup.provider.key_provider.load_private_key(leaf.key());
    let key = key.unwrap();
    let raw = key.public_key().unwrap().to_vec();
    let raw = CertifiedKey::new(vec![raw.into()], key);
    let mut server = setup.config(leaf);
    server.cert_resolver = Arc::new(AlwaysResolvesServerRawPublicKeys::new(raw.into()));
    server
}

/// A raw public key has no chain to pin, and the signature check needs a certificate.
#[tokio::test]
async fn a_raw_public_key_is_refused_pinned_or_not() {
    let unreadable: Error = CertificateError::BadEncoding.into();
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let raw = raw_key_server(&setup, &leaf);
        let server = Server::with_config(raw.clone(), answer(&[])).await;

        let inner = Arc::new(FixedVerifier::AcceptRawKeys);
        let plain = ClientConfig::builder_with_provider(setup.provider.clone())
            .with_protocol_versions(setup.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(inner.clone())
            .with_no_client_auth();
        assert!(bare_handshake(&plain, raw.clone()).is_ok());
        let pinned = pinning_with(policy_with(leaf.pin()));
        for (pinning, is_pinned) in [(unpinned(), false), (pinned, true)] {
            let config =
                with_inner_verifier(&setup, inner.clone(), &pinning, built_in_anchors(&[&root]));
            let error = bare_handshake(&config, raw.clone()).unwrap_err();
            // Pins refuse before any signature is checked.
            assert_eq!(UnverifiablePath::find(&error).is_some(), is_pinned);
            assert!(is_pinned || error == unreadable, "{error:?}");
            let error = visit(&pinning, config, &server).await.unwrap_err();
            assert!(UnverifiablePath::find(&error).is_some());
        }
        assert_eq!(server.requests(), 0);
    }
}

#[test]
fn the_other_methods_are_those_of_the_inner_verifier() {
    let root = Ca::root("Root");
    let wrap = |inner: FixedVerifier| {
        let builder = PinningVerifier::builder(unpinned()).with_anchors(built_in_anchors(&[&root]));
        let builder = builder.with_provider(provider());
        let builder = builder.with_inner_verifier(Arc::new(inner));
        builder.verifier_without_resumption_check().unwrap()
    };
    for inner in [
        FixedVerifier::AcceptAll,
        FixedVerifier::AcceptRawKeys,
        FixedVerifier::RefuseAll,
    ] {
        let outer = wrap(inner);
        assert_eq!(
            outer.requires_raw_public_keys(),
            inner.requires_raw_public_keys()
        );
        assert!(outer.root_hint_subjects().is_some_and(<[_]>::is_empty));
        // Only the schemes that both can check are offered.
        let both = [SignatureScheme::ECDSA_NISTP256_SHA256];
        assert_eq!(outer.supported_verify_schemes(), both);
    }
}
