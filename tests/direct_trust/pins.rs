//! Pins on the key of a server that is trusted directly, and what its responses may change.

use pinhold::header::{IgnoreReason, Noted};
use pinhold::roots::AnchorOrigin;
use pinhold::tls::{Cause, DirectTrustBuilder};
use pinhold::{Decision, Enforcement, PinViolation, Pinning, VerifiedConnection};
use rustls::ServerConfig;

use super::world::{
    HOST, URL, builder, own_certificate, raw_key, raw_key_config, tls13_setups, untrusted, visit,
};
use crate::common::pki::{Ca, Leaf};
use crate::common::recording::with_recorder;
use crate::common::server::{Names, Server, answer, client_with_config, get};
use crate::common::tls_setup::{is_known, tls_setups};
use crate::common::{header_value, policy_with, unrelated_pin};

type Trust = Box<dyn Fn(&Pinning) -> DirectTrustBuilder>;

async fn serve(config: ServerConfig, pins: Option<String>) -> Server {
    let fields = pins.iter().map(|pins| ("public-key-pins", &**pins));
    Server::with_config(config, answer(&fields.collect::<Vec<_>>())).await
}

/// Servers with this `Public-Key-Pins` field, trusted by certificate and by raw public key.
async fn cases(pins: impl Fn(&Leaf) -> Option<String>) -> Vec<(Leaf, Server, Trust)> {
    let mut cases = Vec::new();
    for setup in tls_setups() {
        let own = own_certificate();
        let server = serve(setup.config(&own), pins(&own)).await;
        let trusted = own.with_appended([]);
        let trust: Trust = Box::new(move |pinning| setup.own(pinning, &[&trusted]));
        cases.push((own, server, trust));
    }
    for setup in tls13_setups() {
        let own = own_certificate();
        let config = raw_key_config(&setup, &[&raw_key(&own)], &own);
        let server = serve(config, pins(&own)).await;
        let pin = own.pin();
        let trust: Trust = Box::new(move |pinning| setup.raw(pinning, &[(HOST, pin)]));
        cases.push((own, server, trust));
    }
    cases
}

#[tokio::test]
async fn pins_are_enforced_and_a_refusal_states_the_contradiction() {
    // 7469-2.8-a
    for (own, server, trust) in cases(|_| None).await {
        let pinned = builder().static_pins(HOST, policy_with(own.pin()));
        let pinned = pinned.build().unwrap();
        let response = visit(trust(&pinned), &pinned, &server).await.unwrap();
        let connection = response.extensions().get::<VerifiedConnection>().unwrap();
        assert!(matches!(connection.decision(), Decision::Pass));

        let policy = policy_with(unrelated_pin());
        let (other, recorder) = with_recorder(builder().static_pins(HOST, policy));
        let error = visit(trust(&other), &other, &server).await.unwrap_err();
        let violation = PinViolation::find(&error).unwrap();
        assert_eq!(
            *violation.cause(),
            Cause::DirectKeyNotPinned { key: own.pin() }
        );
        assert_eq!(violation.chain().fingerprints(), [own.pin()]);
        let text = violation.to_string();
        for part in ["trusted by the application itself", &own.pin().to_string()] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // The observer is called, and no report leaves.
        assert!(recorder.reports(&other).is_empty());
        let events = recorder.events(&other);
        assert_eq!(events.len(), 1, "{events:?}");
    }
}

#[tokio::test]
async fn refused_keys_are_refused() {
    for (own, server, trust) in cases(|_| None).await {
        let pinning = builder().refuse_keys([own.pin()]).build().unwrap();
        let error = visit(trust(&pinning), &pinning, &server).await.unwrap_err();
        let violation = PinViolation::find(&error).unwrap();
        assert!(matches!(violation.cause(), Cause::RefusedKey { .. }));
    }
}

#[tokio::test]
async fn report_only_pins_refuse_nothing_and_no_report_leaves() {
    for (_, server, trust) in cases(|_| None).await {
        let policy = policy_with(unrelated_pin()).enforcement(Enforcement::ReportOnly);
        let (pinning, recorder) = with_recorder(builder().static_pins(HOST, policy));
        assert!(visit(trust(&pinning), &pinning, &server).await.is_ok());
        assert!(recorder.reports(&pinning).is_empty());
        let violation = recorder.would_be_violation(&pinning);
        assert!(matches!(
            violation.cause(),
            Cause::DirectKeyNotPinned { .. }
        ));
    }
}

#[tokio::test]
async fn nothing_is_noted_from_its_responses() {
    let fields = |own: &Leaf| Some(header_value(own.pin(), "max-age=1000"));
    for (_, server, trust) in cases(fields).await {
        let pinning = builder().build().unwrap();
        let response = visit(trust(&pinning), &pinning, &server).await.unwrap();
        let ignored = IgnoreReason::AnchorNotBuiltIn(AnchorOrigin::Direct);
        assert_eq!(response.extensions().get(), Some(&Noted::Ignored(ignored)));
        assert!(!is_known(&pinning, HOST));
    }
}

#[cfg(feature = "first-use")]
#[tokio::test]
async fn its_key_is_not_remembered_as_that_of_the_first_connection() {
    use pinhold::first_use::FirstUse;
    for (_, server, trust) in cases(|_| None).await {
        let pinning = builder().first_use(FirstUse::new([HOST]).unwrap());
        let pinning = pinning.build().unwrap();
        visit(trust(&pinning), &pinning, &server).await.unwrap();
        assert!(pinning.first_use().unwrap().list().is_empty());
    }
}

#[cfg(feature = "hsts")]
#[tokio::test]
async fn no_hsts_host_is_noted_from_its_responses() {
    use pinhold::hsts::HstsOptions;
    for setup in tls_setups() {
        let own = own_certificate();
        let fields = [("strict-transport-security", "max-age=1000")];
        let server = setup.serve(&own, &fields).await;
        let pinning = builder().hsts(HstsOptions::new()).build().unwrap();
        let trust = setup.own(&pinning, &[&own]);
        visit(trust, &pinning, &server).await.unwrap();
        assert!(pinning.store().hsts_hosts().is_empty());
    }
}

/// A pin for the key of a certificate that is appended, or of the CA that issued the trusted one,
/// is not satisfied by a certificate that is trusted itself.
#[tokio::test]
async fn appended_certificates_satisfy_no_pin() {
    for setup in tls_setups() {
        let ca = Ca::root("Root").intermediate("Issuing");
        let own = ca.leaf(&[HOST]);
        let stranger = own_certificate();
        let sent = own.with_appended([stranger.certificate()]);
        let server = setup.serve(&sent, &[]).await;
        for pin in [ca.pin(), stranger.pin()] {
            let pinning = builder()
                .static_pins(HOST, policy_with(pin))
                .build()
                .unwrap();
            let visit = visit(setup.own(&pinning, &[&own]), &pinning, &server).await;
            let violation = PinViolation::find(&visit.unwrap_err()).unwrap();
            assert_eq!(violation.chain().fingerprints(), [own.pin()]);
            // All that was sent is kept for the text.
            assert_eq!(violation.chain().served().len(), 3);
            assert!(!violation.to_string().is_empty());
        }
        let pinning = builder().refuse_keys([stranger.pin()]).build().unwrap();
        assert!(
            visit(setup.own(&pinning, &[&own]), &pinning, &server)
                .await
                .is_ok()
        );
    }
}

#[tokio::test]
async fn an_open_connection_ends_when_the_pins_refuse_its_key() {
    for (own, server, trust) in cases(|_| None).await {
        let pinning = builder().build().unwrap();
        let names = Names::new([(HOST, &server)]);
        let config = trust(&pinning).client_config().unwrap();
        let mut client = client_with_config(&pinning, config, &names);
        get(&mut client, URL).await.unwrap();
        get(&mut client, URL).await.unwrap();
        assert_eq!(server.connections(), 1);
        pinning
            .replace_pins([(HOST, policy_with(unrelated_pin()))])
            .unwrap();
        assert!(get(&mut client, URL).await.is_err());
        pinning
            .replace_pins([(HOST, policy_with(own.pin()))])
            .unwrap();
        get(&mut client, URL).await.unwrap();
        assert_eq!(server.requests(), 3);
    }
}

/// The server that is refused is no pin violation, so that pins neither count nor explain it.
#[tokio::test]
async fn an_untrusted_server_is_no_pin_violation() {
    for setup in tls_setups() {
        let (own, other) = (own_certificate(), own_certificate());
        let server = setup.serve(&other, &[]).await;
        let policy = policy_with(other.pin());
        let (pinning, recorder) = with_recorder(builder().static_pins(HOST, policy));
        untrusted(visit(setup.own(&pinning, &[&own]), &pinning, &server).await);
        recorder.assert_no_event_or_report(&pinning);
    }
}
