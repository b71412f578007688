//! Servers of OpenSSL and nginx, with certificates that OpenSSL has made.

use pinhold::roots::AnchorOrigin;
use pinhold::{Pinning, VerifiedConnection};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::world::{HOST, URL, Visit, own_certificate, untrusted};
use crate::common::peers::{Peer, Tls, openssl};
use crate::common::pki::Leaf;
use crate::common::server::{Names, client_with_config, get};
use crate::common::tls_setup::{TlsSetup, tls_setups};
use crate::common::{TIMEOUT, header_value};

/// A certificate of `openssl req -x509`, which is marked as that of a CA.
fn by_openssl() -> Option<Leaf> {
    let made = openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "-",
        "-subj",
        "/CN=example.com",
        "-addext",
        "subjectAltName=DNS:example.com",
        "-days",
        "7000",
    ])?;
    let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_slice(&made).unwrap() else {
        panic!("expected a key in PKCS #8");
    };
    let own = CertificateDer::from_pem_slice(&made).unwrap();
    Some(Leaf::from_parts(key.secret_pkcs8_der().to_vec(), vec![own]))
}

async fn visit(trusted: &Leaf, server: &Peer, setup: &TlsSetup) -> Visit {
    // The certificate of OpenSSL is valid from now on.
    let pinning = Pinning::builder().build().unwrap();
    let names = Names::default();
    names.point_to(HOST, server.address);
    let config = setup.own(&pinning, &[trusted]).client_config().unwrap();
    let mut client = client_with_config(&pinning, config, &names);
    tokio::time::timeout(TIMEOUT, get(&mut client, URL))
        .await
        .unwrap()
}

#[tokio::test]
async fn servers_of_openssl_and_nginx_are_trusted_by_their_self_signed_certificate() {
    for setup in tls_setups() {
        let Some(own) = by_openssl() else {
            return;
        };
        let is_tls12 = setup.versions == [&rustls::version::TLS12];
        let tls = if is_tls12 { Tls::V1_2 } else { Tls::V1_3 };
        let pins = header_value(own.pin(), "max-age=1000");
        let servers = [Peer::s_server(&own, tls), Peer::nginx(&own, tls, &pins)];
        for server in servers {
            let Some(server) = server else {
                return;
            };
            let response = visit(&own, &server, &setup).await.unwrap();
            let connection = response.extensions().get::<VerifiedConnection>().unwrap();
            assert_eq!(connection.anchor_origin(), AnchorOrigin::Direct);
            assert_eq!(connection.chain().fingerprints(), [own.pin()]);
            let other = own_certificate();
            let refused = untrusted(visit(&other, &server, &setup).await);
            assert_eq!(refused.seen(), Some(own.pin()));
            assert_eq!(refused.expected(), [other.pin()]);
        }
    }
}
