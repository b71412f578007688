//! The server's own certificate as the only trust.

use std::net::Ipv4Addr;

use pinhold::roots::AnchorOrigin;
use pinhold::tls::KeyRole;
use pinhold::{BuildError, PinningVerifier, SpkiFingerprint, VerifiedConnection};
use rcgen::{BasicConstraints, DnType, IsCa, KeyPair};
use rustls::CertificateError::{
    BadSignature, ExpiredContext, NotValidForNameContext, NotValidYetContext,
};
use rustls::Error::InvalidCertificate;
use rustls::pki_types::CertificateDer;

use super::world::{
    HOST, builder, own_certificate, pinning, self_signed, self_signed_by, tls_error, untrusted,
    visit,
};
use crate::common::pki::{Ca, leaf_params};
use crate::common::server::{Names, Server, answer, client_with_config, get};
use crate::common::tls_setup::tls_setups;
use crate::common::{Clock, NOW, at};

#[tokio::test]
async fn a_self_signed_certificate_is_accepted_also_if_it_is_marked_as_that_of_a_ca() {
    for setup in tls_setups() {
        let mut params = leaf_params(&[HOST]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        for own in [own_certificate(), self_signed(params)] {
            let server = setup.serve(&own, &[]).await;
            let pinning = pinning();
            let response = visit(setup.own(&pinning, &[&own]), &pinning, &server).await;
            let response = response.unwrap();
            assert_eq!(response.body(), "ok");
            let connection = response.extensions().get::<VerifiedConnection>().unwrap();
            assert_eq!(connection.anchor_origin(), AnchorOrigin::Direct);
            let chain = connection.chain();
            assert!(chain.handshake_verified());
            assert_eq!(chain.fingerprints(), [own.pin()]);
            assert_eq!(
                chain.certificates().collect::<Vec<_>>(),
                [&own.certificate()]
            );
            let keys = chain.keys().collect::<Vec<_>>();
            assert_eq!(keys.len(), 1);
            assert_eq!(keys[0].role, KeyRole::Leaf);
            assert!(keys[0].subject.contains("CN=example.com"), "{keys:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_a_ca_is_accepted_without_trust_in_that_ca() {
    for setup in tls_setups() {
        let ca = Ca::root("Root").intermediate("Issuing");
        let (own, other) = (ca.leaf(&[HOST]), ca.leaf(&[HOST]));
        let pinning = pinning();
        let server = setup.serve(&own, &[]).await;
        let response = visit(setup.own(&pinning, &[&own]), &pinning, &server).await;
        assert_eq!(response.unwrap().body(), "ok");
        let server = setup.serve(&other, &[]).await;
        let refused = untrusted(visit(setup.own(&pinning, &[&own]), &pinning, &server).await);
        assert_eq!(refused.seen(), Some(other.pin()));
        assert_eq!(refused.expected(), [own.pin()]);
        assert_eq!(server.requests(), 0);
    }
}

/// The attack that the mechanism is for: any CA issues a certificate for the same name.
#[tokio::test]
async fn a_valid_chain_of_a_ca_for_the_same_name_is_refused() {
    for setup in tls_setups() {
        let own = own_certificate();
        let mis_issued = Ca::root("Public").leaf(&[HOST]);
        // The genuine certificate is appended to it, as in CVE-2016-2402.
        for leaf in [
            mis_issued.with_appended([]),
            mis_issued.with_appended(own.chain.clone()),
        ] {
            let server = setup.serve(&leaf, &[]).await;
            let pinning = pinning();
            let refused = visit(setup.own(&pinning, &[&own]), &pinning, &server).await;
            let refused = untrusted(refused);
            assert_eq!(refused.seen(), Some(mis_issued.pin()));
            let text = refused.to_string();
            for part in [
                HOST.to_owned(),
                mis_issued.pin().to_string(),
                own.pin().to_string(),
                "intercepted".to_owned(),
                "what to do".to_owned(),
            ] {
                assert!(text.contains(&part), "{part}: {text}");
            }
            assert_eq!(server.requests(), 0);
        }
    }
}

#[tokio::test]
async fn the_same_key_in_another_certificate_is_refused_as_a_renewal() {
    for setup in tls_setups() {
        let key = KeyPair::generate().unwrap();
        let own = self_signed_by(leaf_params(&[HOST]), &key);
        let mut params = leaf_params(&[HOST]);
        params.not_after = rcgen::date_time_ymd(2050, 1, 1);
        let renewed = self_signed_by(params, &key);
        assert_eq!(own.pin(), renewed.pin());
        let server = setup.serve(&renewed, &[]).await;
        let pinning = pinning();
        let refused = untrusted(visit(setup.own(&pinning, &[&own]), &pinning, &server).await);
        assert!(refused.to_string().contains("renewed with the same key"));
        // Both at once, as before a renewal.
        let both = visit(setup.own(&pinning, &[&own, &renewed]), &pinning, &server).await;
        assert!(both.is_ok());
    }
}

#[tokio::test]
async fn a_copied_certificate_without_its_key_is_refused() {
    for setup in tls_setups() {
        let (own, attacker) = (own_certificate(), own_certificate());
        let config = setup.config_without_key(&own, &attacker);
        let server = Server::with_config(config, answer(&[])).await;
        let pinning = pinning();
        let refused = visit(setup.own(&pinning, &[&own]), &pinning, &server).await;
        assert_eq!(tls_error(refused), InvalidCertificate(BadSignature));
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn the_name_of_a_trusted_certificate_is_checked() {
    for setup in tls_setups() {
        let mut without_names = leaf_params(&[]);
        let subject = &mut without_names.distinguished_name;
        subject.push(DnType::CommonName, HOST);
        for params in [leaf_params(&["www.example.com"]), without_names] {
            let own = self_signed(params);
            let server = setup.serve(&own, &[]).await;
            let pinning = pinning();
            let refused = visit(setup.own(&pinning, &[&own]), &pinning, &server).await;
            let error = tls_error(refused);
            assert!(
                matches!(error, InvalidCertificate(NotValidForNameContext { .. })),
                "{error:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_dates_of_a_trusted_certificate_are_checked() {
    for setup in tls_setups() {
        let mut params = leaf_params(&[HOST]);
        params.not_before = rcgen::date_time_ymd(2023, 11, 1);
        params.not_after = rcgen::date_time_ymd(2023, 12, 1);
        let own = self_signed(params);
        let server = setup.serve(&own, &[]).await;
        let clock = Clock::new();
        let pinning = pinhold::Pinning::builder().time_provider(clock.clone());
        let pinning = pinning.build().unwrap();
        let visit = || visit(setup.own(&pinning, &[&own]), &pinning, &server);
        let (from, until) = (1_698_796_800, 1_701_388_800);
        assert!((from..until).contains(&NOW));
        for time in [from, NOW, until] {
            clock.set(time);
            assert!(visit().await.is_ok(), "{time}");
        }
        clock.set(from - 1);
        let early = NotValidYetContext {
            time: at(from - 1),
            not_before: at(from),
        };
        assert_eq!(tls_error(visit().await), InvalidCertificate(early));
        clock.set(until + 1);
        let late = ExpiredContext {
            time: at(until + 1),
            not_after: at(until),
        };
        assert_eq!(tls_error(visit().await), InvalidCertificate(late));
    }
}

#[tokio::test]
async fn an_ip_address_is_a_name() {
    for setup in tls_setups() {
        let own = self_signed(leaf_params(&["127.0.0.1"]));
        let server = setup.serve(&own, &[]).await;
        let names = Names::new([("127.0.0.1", &server), ("127.0.0.2", &server)]);
        let pinning = pinning();
        let config = setup.own(&pinning, &[&own]).client_config().unwrap();
        let mut client = client_with_config(&pinning, config, &names);
        let url = |address| format!("https://{address}/");
        let own_address = url(Ipv4Addr::LOCALHOST);
        assert!(get(&mut client, &own_address).await.is_ok());
        let other = get(&mut client, &url(Ipv4Addr::new(127, 0, 0, 2))).await;
        assert!(matches!(
            tls_error(other),
            InvalidCertificate(NotValidForNameContext { .. })
        ));
    }
}

#[test]
fn a_configuration_that_could_accept_no_server_is_not_built() {
    let build = |certificates: Vec<CertificateDer<'static>>| {
        let pinning = builder().build().unwrap();
        let built = PinningVerifier::without_certification_authorities(pinning, certificates);
        let provider = crate::common::provider();
        built.with_provider(provider).client_config()
    };
    assert!(matches!(build(vec![]), Err(BuildError::NoDirectTrust)));
    let own = own_certificate().certificate();
    let not_one = CertificateDer::from_slice(b"-----BEGIN CERTIFICATE-----");
    let trailing = CertificateDer::from([&own[..], b"\0"].concat());
    for broken in [not_one, trailing] {
        match build(vec![own.clone(), broken]) {
            Err(error @ BuildError::OwnCertificate { index: 1, .. }) => {
                assert!(error.to_string().contains("certificate 1"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(SpkiFingerprint::of_certificate(&own).is_ok());
    assert!(build(vec![own]).is_ok());
}
