//! Pins and times that change while a handshake is in progress, after the verifier has evaluated
//! the chain. The connection, its events and its counts are those of the pins in force at the end.

use std::fmt;
use std::sync::{Arc, Mutex};

use http::Uri;
use pinhold::connector::ConnectError;
use pinhold::policy::AfterExpiry;
use pinhold::{
    Decision, Enforcement, Event, PinPolicy, Pinning, PinningConnector, PinningVerifier,
    VerifiedConnection,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tower::ServiceExt;

use crate::common::recording::{Fixture, Recorder, failing_policy, with_recorder};
use crate::common::server::{Loopback, Names};
use crate::common::tls_setup::{TlsSetup, tls_setups};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, NOW, at, now, policy_with, unrelated_pin};

const HOST: &str = "example.com";

type Change = Box<dyn FnOnce() + Send>;

/// An inner verifier that makes a change when it checks the signature of the handshake: the chain
/// has been evaluated by then.
struct ChangeAfterChain {
    verifier: Arc<WebPkiServerVerifier>,
    change: Mutex<Option<Change>>,
}

impl fmt::Debug for ChangeAfterChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangeAfterChain")
    }
}

impl ChangeAfterChain {
    fn change(&self) {
        let change = self.change.lock().unwrap().take();
        change.expect("one handshake per verifier")();
    }
}

impl ServerCertVerifier for ChangeAfterChain {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verifier
            .verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.change();
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.change();
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// One connection, during whose handshake something changes.
struct Handshake {
    clock: Arc<Clock>,
    pinning: Pinning,
    recorder: Recorder,
}

impl Handshake {
    fn with_pins(policy: Option<PinPolicy>) -> Self {
        let clock = Clock::new();
        let builder = Pinning::builder().time_provider(clock.clone());
        let (pinning, recorder) = with_recorder(builder);
        let this = Self {
            clock,
            pinning,
            recorder,
        };
        replace(&this.pinning, policy);
        this
    }

    async fn connect(
        &self,
        setup: &TlsSetup,
        fixture: &Fixture,
        change: impl FnOnce() + Send + 'static,
    ) -> Result<VerifiedConnection, ConnectError> {
        let mut roots = RootCertStore::empty();
        roots.add(fixture.root.certificate()).unwrap();
        let provider = setup.provider.clone();
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let inner = ChangeAfterChain {
            verifier: inner.unwrap(),
            change: Mutex::new(Some(Box::new(change))),
        };
        let config = PinningVerifier::builder(self.pinning.clone())
            .with_anchors(built_in_anchors(&[&fixture.root]))
            .with_provider(provider)
            .with_protocol_versions(setup.versions)
            .with_inner_verifier(Arc::new(inner))
            .client_config()
            .unwrap();
        let names = Names::new([(HOST, &fixture.server)]);
        let connector = PinningConnector::builder(self.pinning.clone())
            .with_tls_config(config)
            .wrap_connector(Loopback::new(&names))
            .unwrap();
        let uri = Uri::from_static("https://example.com/");
        let stream = connector.oneshot(uri).await?;
        Ok(stream.verified().unwrap().clone())
    }

    /// Returns the counts of connections and of those that would have failed.
    fn counts(&self) -> (u64, u64) {
        let host = HOST.parse().unwrap();
        let rollout = self.pinning.rollout(&host).unwrap();
        (rollout.connections, rollout.would_have_failed)
    }
}

fn replace(pinning: &Pinning, policy: Option<PinPolicy>) {
    let pins = policy.into_iter().map(|policy| (HOST, policy));
    pinning.replace_pins(pins).unwrap();
}

fn report_only() -> PinPolicy {
    failing_policy().enforcement(Enforcement::ReportOnly)
}

#[tokio::test]
async fn pins_that_are_set_during_a_handshake_are_enforced() {
    for setup in tls_setups() {
        let fixture = Fixture::start().await;
        for before in [
            None,
            Some(policy_with(fixture.leaf.pin())),
            Some(report_only()),
        ] {
            let handshake = Handshake::with_pins(before);
            let pinning = handshake.pinning.clone();
            let change = move || replace(&pinning, Some(failing_policy()));
            let outcome = handshake.connect(&setup, &fixture, change).await;
            let Err(ConnectError::Pins(violation)) = outcome else {
                panic!("{outcome:?}");
            };
            assert!(violation.policy().pins.contains(&unrelated_pin()));
            assert!(violation.chain().handshake_verified());
            // One event, of the new pins: those before are not in force.
            let event = handshake.recorder.violation(&handshake.pinning);
            assert_eq!(event.policy(), violation.policy());
            assert_eq!(handshake.counts(), (0, 0));
        }
        assert_eq!(fixture.server.requests(), 0);
    }
}

#[tokio::test]
async fn events_and_counts_are_those_of_the_pins_that_decide() {
    for setup in tls_setups() {
        let fixture = Fixture::start().await;
        let passing = policy_with(fixture.leaf.pin());
        // Report-only pins that fail are replaced by pins that pass.
        let handshake = Handshake::with_pins(Some(report_only()));
        let (pinning, pins) = (handshake.pinning.clone(), passing.clone());
        let change = move || replace(&pinning, Some(pins));
        let connection = handshake.connect(&setup, &fixture, change).await.unwrap();
        assert!(matches!(connection.decision(), Decision::Pass));
        handshake
            .recorder
            .assert_no_event_or_report(&handshake.pinning);
        assert_eq!(handshake.counts(), (1, 0));

        // And the other way round.
        let handshake = Handshake::with_pins(Some(passing));
        let pinning = handshake.pinning.clone();
        let change = move || replace(&pinning, Some(report_only()));
        let connection = handshake.connect(&setup, &fixture, change).await.unwrap();
        let Decision::ReportOnly(decided) = connection.decision() else {
            panic!("{connection:?}");
        };
        let event = handshake.recorder.would_be_violation(&handshake.pinning);
        assert_eq!(event.policy(), decided.policy());
        assert_eq!(handshake.counts(), (1, 1));
    }
}

#[tokio::test]
async fn an_unchanged_evaluation_is_counted_and_emitted_once() {
    for setup in tls_setups() {
        let fixture = Fixture::start().await;
        let handshake = Handshake::with_pins(Some(report_only()));
        let clock = handshake.clock.clone();
        // No policy expires, so that the evaluation of the verifier is still valid.
        let change = move || clock.set(NOW + 5);
        let connection = handshake.connect(&setup, &fixture, change).await.unwrap();
        assert!(connection.chain().handshake_verified());
        assert_eq!(connection.at(), now());
        let events = handshake.recorder.events(&handshake.pinning);
        let [Event::WouldBeViolation(report)] = &events[..] else {
            panic!("{events:?}");
        };
        let (violation, port) = (report.violation(), report.port());
        assert_eq!((violation.at(), port), (now(), 443));
        assert!(violation.chain().handshake_verified());
        assert_eq!(handshake.counts(), (1, 1));
    }
}

/// When a policy expires, the evaluation by it is not valid any more.
#[tokio::test]
async fn a_policy_that_expires_during_a_handshake_does_not_apply() {
    for setup in tls_setups() {
        let fixture = Fixture::start().await;
        let expires = |policy: PinPolicy, then| policy.expires(at(NOW + 9), then);
        for (policy, seconds, is_applied) in [
            (expires(report_only(), AfterExpiry::Unpin), 9, true),
            (expires(report_only(), AfterExpiry::Unpin), 10, false),
        ] {
            let handshake = Handshake::with_pins(Some(policy));
            let clock = handshake.clock.clone();
            let change = move || clock.set(NOW + seconds);
            let connection = handshake.connect(&setup, &fixture, change).await.unwrap();
            let decision = connection.decision();
            assert_eq!(matches!(decision, Decision::ReportOnly(_)), is_applied);
            assert_eq!(matches!(decision, Decision::NotPinned), !is_applied);
            let events = handshake.recorder.events(&handshake.pinning);
            assert_eq!(events.len(), usize::from(is_applied), "{events:?}");
        }
        // A policy that refuses after its expiry.
        let policy = expires(policy_with(fixture.leaf.pin()), AfterExpiry::Refuse);
        let handshake = Handshake::with_pins(Some(policy));
        let clock = handshake.clock.clone();
        let change = move || clock.set(NOW + 10);
        let outcome = handshake.connect(&setup, &fixture, change).await;
        assert!(matches!(outcome, Err(ConnectError::Pins(_))), "{outcome:?}");
    }
}
