//! Raw public keys (RFC 7250), with servers of rustls.

use pinhold::roots::AnchorOrigin;
use pinhold::tls::KeyRole;
use pinhold::{BuildError, SpkiFingerprint, TrustAnchors, VerifiedConnection};
use rustls::Error::{InvalidCertificate, PeerIncompatible};
use rustls::PeerIncompatible::IncorrectCertificateTypeExtension;
use rustls::{AlertDescription, CertificateError};

use super::world::{
    HOST, URL, own_certificate, pinning, raw_key, raw_key_config, raw_key_server, self_signed,
    tls_error, tls13_setups, untrusted, visit,
};
use crate::common::pki::{Ca, leaf_params};
use crate::common::server::{Names, Server, answer, client_with_config, get};
use crate::common::tls_setup::tls_setups;
use crate::common::unrelated_pin;
use crate::common::validated::built_in_anchors;

#[tokio::test]
async fn a_server_with_the_key_of_its_name_is_accepted() {
    for setup in tls13_setups() {
        let own = own_certificate();
        let server = raw_key_server(&setup, &own).await;
        let pinning = pinning();
        // The key is the same as that of a certificate with it. The other one is that of tomorrow.
        for keys in [
            &[(HOST, own.pin())][..],
            &[(HOST, unrelated_pin()), (HOST, own.pin())],
            &[("EXAMPLE.com.", own.pin())],
        ] {
            let response = visit(setup.raw(&pinning, keys), &pinning, &server).await;
            let response = response.unwrap();
            assert_eq!(response.body(), "ok");
            let connection = response.extensions().get::<VerifiedConnection>().unwrap();
            let chain = connection.chain();
            assert!(chain.handshake_verified());
            assert_eq!(chain.anchor_origin(), AnchorOrigin::Direct);
            assert_eq!(chain.fingerprints(), [own.pin()]);
            assert_eq!(chain.certificates().count(), 0);
            assert_eq!(chain.anchor_certificate(), None);
            assert_eq!(chain.served().len(), 1);
            assert_eq!(*chain.served()[0], *raw_key(&own));
            let keys = chain.keys().collect::<Vec<_>>();
            assert_eq!(keys.len(), 1);
            assert_eq!((keys[0].role, &*keys[0].subject), (KeyRole::Leaf, ""));
        }
    }
}

#[tokio::test]
async fn a_key_counts_for_no_other_name() {
    for setup in tls13_setups() {
        let (own, other) = (own_certificate(), own_certificate());
        let server = raw_key_server(&setup, &other).await;
        let pinning = pinning();
        let keys = [(HOST, own.pin()), ("other.example", other.pin())];
        let refused = untrusted(visit(setup.raw(&pinning, &keys), &pinning, &server).await);
        assert_eq!(refused.expected(), [own.pin()]);
        assert_eq!(refused.seen(), Some(other.pin()));
        assert!(refused.to_string().contains("raw public key"));
        let keys = [("www.example.com", other.pin())];
        let refused = untrusted(visit(setup.raw(&pinning, &keys), &pinning, &server).await);
        assert_eq!(refused.expected(), []);
        assert!(refused.to_string().contains("no key is configured"));
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn an_ip_address_has_keys_as_a_name_has() {
    for setup in tls13_setups() {
        let own = own_certificate();
        let server = raw_key_server(&setup, &own).await;
        let names = Names::new([("127.0.0.1", &server), ("127.0.0.2", &server)]);
        let pinning = pinning();
        let trust = setup.raw(&pinning, &[("127.0.0.1", own.pin())]);
        let config = trust.client_config().unwrap();
        let mut client = client_with_config(&pinning, config, &names);
        assert!(get(&mut client, "https://127.0.0.1/").await.is_ok());
        untrusted(get(&mut client, "https://127.0.0.2/").await);
    }
}

#[tokio::test]
async fn a_copied_key_without_its_private_key_is_refused() {
    for setup in tls13_setups() {
        let (own, attacker) = (own_certificate(), own_certificate());
        let config = raw_key_config(&setup, &[&raw_key(&own)], &attacker);
        let server = Server::with_config(config, answer(&[])).await;
        let pinning = pinning();
        let refused = visit(setup.raw(&pinning, &[(HOST, own.pin())]), &pinning, &server).await;
        let expected = InvalidCertificate(CertificateError::BadSignature);
        assert_eq!(tls_error(refused), expected);
    }
}

/// Beside the key, which is not the first entry or has something appended.
#[tokio::test]
async fn what_a_server_sends_beside_its_key_counts_for_nothing() {
    for setup in tls13_setups() {
        let (own, attacker) = (own_certificate(), own_certificate());
        let (key, other) = (raw_key(&own), raw_key(&attacker));
        let pinning = pinning();
        let keys = [(HOST, own.pin())];
        let config = raw_key_config(&setup, &[&other, &key], &attacker);
        let server = Server::with_config(config, answer(&[])).await;
        untrusted(visit(setup.raw(&pinning, &keys), &pinning, &server).await);
        let config = raw_key_config(&setup, &[&[&key[..], &other[..]].concat()], &own);
        let server = Server::with_config(config, answer(&[])).await;
        let refused = untrusted(visit(setup.raw(&pinning, &keys), &pinning, &server).await);
        assert_eq!(refused.seen(), None);
    }
}

#[tokio::test]
async fn bytes_that_are_no_key_are_refused_also_if_their_digest_is_trusted() {
    for setup in tls13_setups() {
        let own = own_certificate();
        let certificate = own.certificate();
        let pinning = pinning();
        for bytes in [&b"\x30\x00"[..], b"\x05\x00", b"\x30\x80", &certificate] {
            let digest = SpkiFingerprint::from_digest(sha256(bytes));
            let config = raw_key_config(&setup, &[bytes], &own);
            let server = Server::with_config(config, answer(&[])).await;
            let visit = visit(setup.raw(&pinning, &[(HOST, digest)]), &pinning, &server).await;
            assert!(visit.is_err(), "{bytes:x?}");
            assert_eq!(server.requests(), 0);
        }
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

#[tokio::test]
async fn a_certificate_is_not_accepted_in_place_of_a_raw_key() {
    for setup in tls_setups() {
        let own = own_certificate();
        let server = setup.serve(&own, &[]).await;
        let pinning = pinning();
        let refused = visit(setup.raw(&pinning, &[(HOST, own.pin())]), &pinning, &server).await;
        let error = tls_error(refused);
        // Of a server with TLS 1.2 only, or of one with TLS 1.3 that has no raw public key.
        assert!(
            matches!(
                error,
                rustls::Error::AlertReceived(
                    AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure
                ) | PeerIncompatible(IncorrectCertificateTypeExtension)
            ),
            "{error:?}"
        );
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn a_raw_key_is_not_accepted_in_place_of_a_certificate() {
    for setup in tls13_setups() {
        let root = Ca::root("Root");
        let own = root.leaf(&[HOST]);
        let server = raw_key_server(&setup, &own).await;
        let pinning = pinning();
        let alert = rustls::Error::AlertReceived(AlertDescription::HandshakeFailure);
        let refused = visit(setup.own(&pinning, &[&own]), &pinning, &server).await;
        assert_eq!(tls_error(refused), alert);
        let names = Names::new([(HOST, &server)]);
        let mut client = setup.client(&pinning, built_in_anchors(&[&root]), &names);
        assert_eq!(tls_error(get(&mut client, URL).await), alert);
    }
}

#[test]
fn raw_keys_need_tls_1_3() {
    for setup in tls_setups() {
        let own = self_signed(leaf_params(&[HOST]));
        let pinning = pinning();
        let trust = setup.raw(&pinning, &[(HOST, own.pin())]);
        let is_built = trust.with_protocol_versions(setup.versions).client_config();
        let is_tls12 = setup.versions == [&rustls::version::TLS12];
        assert_eq!(matches!(is_built, Err(BuildError::Tls(_))), is_tls12);
        assert_eq!(is_built.is_ok(), !is_tls12);
        let none = setup.raw(&pinning, &[]).client_config();
        assert!(matches!(none, Err(BuildError::NoDirectTrust)));
    }
}

/// An origin that is declared for a root can't be that of what is trusted directly.
#[test]
fn no_root_is_trusted_directly() {
    let root = Ca::root("Root");
    let anchors = TrustAnchors::new().with_built_in([root.certificate()]);
    let parsed = anchors
        .unwrap()
        .iter()
        .map(|(_, anchor)| anchor.clone())
        .collect::<Vec<_>>();
    let anchors = TrustAnchors::new().with_anchors(AnchorOrigin::Direct, parsed);
    let origins = anchors.iter().map(|(origin, _)| origin);
    assert_eq!(origins.collect::<Vec<_>>(), [AnchorOrigin::Unknown]);
}
