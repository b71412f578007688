//! Resumed sessions of servers that are trusted directly.

use std::sync::Arc;

use pinhold::tls::{DirectTrustBuilder, UntrustedServer};
use pinhold::{PinViolation, Pinning, VerifiedConnection};
use rustls::{CertificateError, ClientConfig, Error, HandshakeKind, ServerConfig};

use super::world::{
    HOST, URL, own_certificate, pinning, raw_key, raw_key_config, self_signed, tls13_setups,
};
use crate::common::pki::{Leaf, leaf_params};
use crate::common::server::{Names, Server, answer, client_with_config, get};
use crate::common::tls::handshake;
use crate::common::tls_setup::{TlsSetup, tls_setups};
use crate::common::{Clock, NOW, policy_with, unrelated_pin};

/// A server that is trusted directly.
struct Case {
    setup: TlsSetup,
    own: Leaf,
    server: Arc<ServerConfig>,
    trust: fn(&Self, &Pinning) -> DirectTrustBuilder,
}

impl Case {
    fn client(&self, pinning: &Pinning) -> Arc<ClientConfig> {
        Arc::new((self.trust)(self, pinning).client_config().unwrap())
    }
}

/// With a certificate and, over TLS 1.3, with a raw public key.
fn cases() -> Vec<Case> {
    let certificates = tls_setups().into_iter().map(|setup| {
        let own = self_signed(leaf_params(&[HOST, "www.example.com"]));
        Case {
            server: Arc::new(setup.config(&own)),
            trust: |case, pinning| case.setup.own(pinning, &[&case.own]),
            setup,
            own,
        }
    });
    let keys = tls13_setups().map(|setup| {
        let own = own_certificate();
        Case {
            server: Arc::new(raw_key_config(&setup, &[&raw_key(&own)], &own)),
            trust: |case, pinning| {
                let names = [(HOST, case.own.pin()), ("www.example.com", case.own.pin())];
                case.setup.raw(pinning, &names)
            },
            setup,
            own,
        }
    });
    certificates.chain(keys).collect()
}

#[test]
fn a_session_is_resumed_only_while_the_pins_accept_the_key() {
    for case in cases() {
        let pinning = pinning();
        let client = case.client(&pinning);
        let connect = || handshake(&client, &case.server, HOST);
        assert_eq!(connect(), Ok(HandshakeKind::Full));
        assert_eq!(connect(), Ok(HandshakeKind::Resumed));
        pinning
            .replace_pins([(HOST, policy_with(unrelated_pin()))])
            .unwrap();
        assert!(PinViolation::find(&connect().unwrap_err()).is_some());
        pinning
            .replace_pins([(HOST, policy_with(case.own.pin()))])
            .unwrap();
        assert_eq!(connect(), Ok(HandshakeKind::Resumed));
    }
}

#[test]
fn a_session_is_not_resumed_for_another_name() {
    for case in cases() {
        let pinning = pinning();
        let client = case.client(&pinning);
        assert_eq!(
            handshake(&client, &case.server, HOST),
            Ok(HandshakeKind::Full)
        );
        let www = handshake(&client, &case.server, "www.example.com");
        assert_eq!(www, Ok(HandshakeKind::Full));
        assert!(handshake(&client, &case.server, "api.example.com").is_err());
        assert_eq!(
            handshake(&client, &case.server, HOST),
            Ok(HandshakeKind::Resumed)
        );
    }
}

#[test]
fn no_session_is_resumed_if_that_is_disabled() {
    for case in cases() {
        let trust = (case.trust)(&case, &pinning());
        let client = Arc::new(trust.disable_resumption().client_config().unwrap());
        for _ in 0..2 {
            assert_eq!(
                handshake(&client, &case.server, HOST),
                Ok(HandshakeKind::Full)
            );
        }
    }
}

#[test]
fn a_session_ends_with_the_dates_of_the_certificate() {
    for setup in tls_setups() {
        let mut params = leaf_params(&[HOST]);
        params.not_after = rcgen::date_time_ymd(2023, 11, 15);
        let own = self_signed(params);
        let server = Arc::new(setup.config(&own));
        let clock = Clock::new();
        let pinning = Pinning::builder().time_provider(clock.clone());
        let client = setup.own(&pinning.build().unwrap(), &[&own]);
        let client = Arc::new(client.client_config().unwrap());
        let connect = || handshake(&client, &server, HOST);
        assert_eq!(connect(), Ok(HandshakeKind::Full));
        assert_eq!(connect(), Ok(HandshakeKind::Resumed));
        let end = 1_700_006_400;
        assert!(NOW < end);
        clock.set(end);
        assert_eq!(connect(), Ok(HandshakeKind::Resumed));
        clock.set(end + 1);
        let error = connect().unwrap_err();
        let is_expired = matches!(
            error,
            Error::InvalidCertificate(CertificateError::ExpiredContext { .. })
        );
        assert!(is_expired, "{error:?}");
    }
}

/// A replay of the certificate or key by a peer without the private key leaves no record.
#[test]
fn a_peer_without_the_key_gets_no_session_and_ends_none() {
    for case in cases() {
        let attacker = own_certificate();
        let replay = replay_of(&case, &attacker);
        let client = case.client(&pinning());
        assert!(handshake(&client, &replay, HOST).is_err());
        assert_eq!(
            handshake(&client, &case.server, HOST),
            Ok(HandshakeKind::Full)
        );
        assert!(handshake(&client, &replay, HOST).is_err());
        assert_eq!(
            handshake(&client, &case.server, HOST),
            Ok(HandshakeKind::Resumed)
        );
    }
}

fn replay_of(case: &Case, attacker: &Leaf) -> Arc<ServerConfig> {
    let is_raw = case.server.cert_resolver.only_raw_public_keys();
    Arc::new(if is_raw {
        raw_key_config(&case.setup, &[&raw_key(&case.own)], attacker)
    } else {
        case.setup.config_without_key(&case.own, attacker)
    })
}

#[tokio::test]
async fn the_connector_resumes_and_closes_as_for_any_other_chain() {
    for case in cases() {
        let config = ServerConfig::clone(&case.server);
        let mut http1 = config;
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server = Server::with_config(http1, answer(&[("connection", "close")])).await;
        let pinning = pinning();
        let names = Names::new([(HOST, &server)]);
        let client = ClientConfig::clone(&case.client(&pinning));
        let mut client = client_with_config(&pinning, client, &names);
        for is_resumed in [false, true] {
            let response = get(&mut client, URL).await.unwrap();
            let connection = response.extensions().get::<VerifiedConnection>().unwrap();
            assert_eq!(connection.is_resumed(), is_resumed);
            assert_eq!(connection.chain().fingerprints(), [case.own.pin()]);
        }
        pinning
            .replace_pins([(HOST, policy_with(unrelated_pin()))])
            .unwrap();
        let error = get(&mut client, URL).await.unwrap_err();
        assert!(PinViolation::find(&error).is_some());
        assert!(UntrustedServer::find(&error).is_none());
    }
}
