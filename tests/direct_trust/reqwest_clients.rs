//! Clients of reqwest that trust servers directly.

use std::sync::Arc;

use pinhold::tls::UntrustedServer;
use pinhold::{BuildError, PinViolation, reqwest::NotingClient};

use super::world::{HOST, URL, own_certificate, pinning, raw_key_server, tls13_setups};
use crate::common::reqwests::{connection, fetch};
use crate::common::server::Names;
use crate::common::tls_setup::tls_setups;
use crate::common::{policy_with, unrelated_pin};

#[tokio::test]
async fn a_trusted_certificate_is_accepted_and_another_one_refused() {
    for setup in tls_setups() {
        let (own, other) = (own_certificate(), own_certificate());
        let server = setup.serve(&own, &[]).await;
        let names = Arc::new(Names::new([(HOST, &server)]));
        let pinning = pinning();
        for (trusted, is_accepted) in [(&own, true), (&other, false)] {
            let trust = setup.own(&pinning, &[trusted]);
            let client = pinning.reqwest_client_builder_with_direct_trust(trust, |_| ());
            let client = client.unwrap().no_proxy().dns_resolver(names.clone());
            match client.build().unwrap().get(URL).send().await {
                Ok(response) => {
                    assert!(is_accepted);
                    assert_eq!(response.text().await.unwrap(), "ok");
                }
                Err(error) => {
                    assert!(!is_accepted, "{error:?}");
                    let untrusted = UntrustedServer::find(&error).unwrap();
                    assert_eq!(untrusted.seen(), Some(own.pin()));
                }
            }
        }
    }
}

#[tokio::test]
async fn a_raw_key_is_accepted_until_the_pins_refuse_it() {
    for setup in tls13_setups() {
        let own = own_certificate();
        let server = raw_key_server(&setup, &own).await;
        let names = Arc::new(Names::new([(HOST, &server)]));
        let pinning = pinning();
        let trust = setup.raw(&pinning, &[(HOST, own.pin())]);
        let client = NotingClient::builder(pinning.clone())
            .with_direct_trust(trust, |_| ())
            .configure(move |builder| builder.no_proxy().dns_resolver(names.clone()))
            .build()
            .unwrap();
        for _ in 0..2 {
            let response = fetch(&client, URL).await.unwrap();
            let chain = connection(&response).unwrap().chain();
            assert_eq!(chain.fingerprints(), [own.pin()]);
            assert_eq!(response.text().await.unwrap(), "ok");
        }
        assert_eq!(server.connections(), 1);
        pinning
            .replace_pins([(HOST, policy_with(unrelated_pin()))])
            .unwrap();
        let error = fetch(&client, URL).await.unwrap_err();
        assert!(PinViolation::find(&error).is_some(), "{error:?}");
        assert_eq!(server.requests(), 2);
    }
}

#[test]
fn the_pins_of_client_and_trust_must_be_the_same() {
    for setup in tls_setups() {
        let trust = setup.own(&pinning(), &[&own_certificate()]);
        let built = pinning().reqwest_client_builder_with_direct_trust(trust, |_| ());
        assert!(matches!(built, Err(BuildError::OtherPins)));
        let pinning = pinning();
        let trust = setup.own(&pinning, &[&own_certificate()]);
        let built = pinning.reqwest_client_builder_with_direct_trust(trust, |config| {
            config.enable_early_data = true
        });
        assert!(matches!(built, Err(BuildError::EarlyData)));
    }
}
