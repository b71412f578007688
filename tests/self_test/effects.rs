//! A self-test leaves nothing, and its result does not depend on the state of the pins.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use pinhold::policy::{AfterExpiry, KnownPinnedHost, UnpinnedHosts};
use pinhold::storage::{Change, Merged, Record, Storage, StorageError};
use pinhold::{
    Enforcement, Host, PinPolicy, PinSet, PinStore, Pinning, PinningBuilder, PinningVerifier,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, HandshakeKind, KeyLog, SignatureScheme};

use super::common::pki::Ca;
use super::common::recording::with_recorder;
use super::common::server::{Names, Server, client_with_config, get, server_config};
use super::common::tls_setup::tls_setups;
use super::common::validated::built_in_anchors;
use super::common::{Clock, DAY, NOW, at, now, policy_with, provider, unrelated_pin};
use super::in_memory::connect;
use super::material::HOST;

const API: &str = "api.example.com";

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

fn builder() -> PinningBuilder {
    Pinning::builder().time_provider(Clock::new())
}

fn config_of(pinning: &Pinning, root: &Ca) -> ClientConfig {
    let builder = PinningVerifier::builder(pinning.clone());
    let builder = builder.with_anchors(built_in_anchors(&[root]));
    builder.with_provider(provider()).client_config().unwrap()
}

/// A storage that records what is committed.
struct Recorded(Arc<Mutex<Vec<Change>>>);

impl Storage for Recorded {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Merged, StorageError> {
        self.0.lock().unwrap().extend(changes.to_vec());
        Ok(Merged::Nothing)
    }
}

#[tokio::test]
async fn it_leaves_no_event_count_chain_session_or_record() {
    let commits = Arc::<Mutex<Vec<Change>>>::default();
    let store = PinStore::open(Recorded(Arc::clone(&commits))).unwrap();
    let root = Ca::root("Root");
    let leaf = root.leaf(&[API]);
    let report_only = policy_with(unrelated_pin()).enforcement(Enforcement::ReportOnly);
    // A policy that covers the host of the self-test, whose own policy is nearer.
    let builder = builder()
        .store(store)
        .static_pins(API, policy_with(leaf.pin()))
        .static_pins("pinhold.invalid", report_only.include_subdomains())
        .unpinned_hosts(UnpinnedHosts::Report);
    let (pinning, recorder) = with_recorder(builder);
    let config = config_of(&pinning, &root);
    let before = (format!("{config:?}"), format!("{pinning:?}"));
    let count = |name: &str| pinning.rollout(&host(name)).unwrap();
    let counts = [API, HOST].map(count);

    for _ in 0..3 {
        pinning.self_test(&config).unwrap();
    }

    assert!(recorder.events(&pinning).is_empty());
    assert!(recorder.reports(&pinning).is_empty());
    // The text of the configuration has the number of names in its resumption check.
    assert!(before.0.contains("names: 0"), "{}", before.0);
    assert_eq!((format!("{config:?}"), format!("{pinning:?}")), before);
    assert_eq!([API, HOST].map(count), counts);
    assert!(pinning.store().list().is_empty());
    pinning.store().flush().unwrap();
    assert!(commits.lock().unwrap().is_empty());
}

/// A self-test between two connections changes neither the sessions of the configuration nor what it
/// resumes.
#[test]
fn a_configuration_in_use_resumes_as_before() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&[API]);
        let pinning = builder().static_pins(API, policy_with(leaf.pin()));
        let pinning = pinning.build().unwrap();
        let config = PinningVerifier::builder(pinning.clone())
            .with_anchors(built_in_anchors(&[&root]))
            .with_provider(setup.provider.clone())
            .with_protocol_versions(setup.versions)
            .client_config()
            .unwrap();
        let server = Arc::new(setup.config(&leaf));
        for number in 0..4 {
            let expected = if number == 0 {
                HandshakeKind::Full
            } else {
                HandshakeKind::Resumed
            };
            let kind = connect(&Arc::new(config.clone()), &server, API).unwrap();
            assert_eq!(kind, expected);
            pinning.self_test(&config).unwrap();
        }
    }
}

/// The anchor of the self-test is trusted by its own copy only.
#[tokio::test]
async fn a_server_with_the_certificate_of_the_self_test_is_refused() {
    let root = Ca::root("Root");
    let pinning = builder().build().unwrap();
    let config = config_of(&pinning, &root);
    pinning.self_test(&config).unwrap();
    let server = Server::start(&super::material::right(), &[]).await;
    let names = Names::new([(HOST, &server)]);
    let mut client = client_with_config(&pinning, config, &names);
    let error = get(&mut client, &format!("https://{HOST}/"))
        .await
        .unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("UnknownIssuer"), "{text}");
}

#[test]
fn the_state_of_the_pins_has_no_influence_but_is_enforced_has() {
    let policy = || policy_with(unrelated_pin());
    let expired = |then| policy().expires(at(NOW - 1), then);
    for (policy, is_enforced) in [
        (policy(), true),
        (policy().enforcement(Enforcement::ReportOnly), false),
        (expired(AfterExpiry::Refuse), true),
        (expired(AfterExpiry::ReportOnly), false),
        (expired(AfterExpiry::Unpin), false),
    ] {
        let pinning = builder().static_pins(API, policy).build().unwrap();
        let config = config_of(&pinning, &Ca::root("Root"));
        assert_eq!(pinning.is_enforced(&host(API)), is_enforced);
        pinning.self_test(&config).unwrap();
        pinning.disable_all_static();
        assert!(!pinning.is_enforced(&host(API)));
        pinning.self_test(&config).unwrap();
    }
}

/// Noted pins that apply to the host of the self-test apply to the copy, too.
#[test]
fn noted_pins_for_the_host_of_the_self_test_are_seen() {
    struct Noted;

    impl Storage for Noted {
        fn load(&mut self) -> Result<Vec<Record>, StorageError> {
            let pins = PinSet::new([unrelated_pin()]).unwrap();
            let known = KnownPinnedHost::new(host(HOST), pins, at(NOW - DAY), at(NOW + DAY));
            Ok(vec![Record::from(&known)])
        }

        fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
            Ok(Merged::Nothing)
        }
    }

    let pinning = builder().store(PinStore::open(Noted).unwrap()).build();
    let pinning = pinning.unwrap();
    assert!(pinning.store().query(&host(HOST), now()).is_some());
    let config = config_of(&pinning, &Ca::root("Root"));
    let error = pinning.self_test(&config).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("a pinned server was refused"), "{text}");
}

#[test]
fn a_policy_of_the_application_for_the_host_of_the_self_test_is_replaced_in_the_copy() {
    let policy = PinPolicy::without_backup([unrelated_pin()]).unwrap();
    let pinning = builder().static_pins(HOST, policy).build().unwrap();
    let config = config_of(&pinning, &Ca::root("Root"));
    pinning.self_test(&config).unwrap();
    let policies = pinning.policies(&host(HOST), now());
    assert_eq!(policies.static_policy.unwrap().pins.len(), 1);
}

/// With the kill switch of a bundle, or a stale one, the pins of hosts refuse nothing, and the
/// machinery still does.
#[cfg(feature = "bundles")]
#[test]
fn a_kill_switch_does_not_change_what_is_tested() {
    use super::common::bundles::{Body, ISSUED, Operator, pins, time};

    let body = Body::new(1, [(API, pins(1))]);
    let kill_switch = format!(r#"{{ "until": {} }}"#, time(ISSUED + 10 * DAY));
    let killed = body.clone().with("kill_switch", kill_switch);
    for (body, is_enforced) in [(body, true), (killed, false)] {
        let operator = Operator::default();
        let clock = Clock::new();
        clock.set(ISSUED + DAY);
        let builder = Pinning::builder().time_provider(clock.clone());
        let pinning = builder.bundles(operator.bundles(&body)).build().unwrap();
        let config = config_of(&pinning, &Ca::root("Root"));
        let status = pinning.bundle_status();
        assert_eq!(pinning.is_enforced(&host(API)), is_enforced);
        pinning.self_test(&config).unwrap();
        clock.set(ISSUED + 10_000 * DAY);
        pinning.self_test(&config).unwrap();
        clock.set(ISSUED + DAY);
        assert_eq!(pinning.bundle_status(), status, "nothing is counted");
    }
}

/// The verifier of a configuration is recognised by the number of references to it, which other
/// threads change, too.
#[test]
fn threads_that_test_the_same_configuration_do_not_disturb_each_other() {
    let root = Ca::root("Root");
    let pinning = builder().build().unwrap();
    let config = config_of(&pinning, &root);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    pinning.self_test(&config).unwrap();
                }
            });
        }
    });
}

/// A verifier inside that of this crate that refuses every server.
#[derive(Debug)]
struct RefusesAll;

impl ServerCertVerifier for RefusesAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(Error::General("refused".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("refused".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("refused".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[test]
fn clocks_revocation_lists_and_other_rules_fail_no_sound_configuration() {
    const YEAR: u64 = 365 * DAY;
    let root = Ca::root("Root");
    for now in [0, 1, 70 * YEAR, 140 * YEAR, 1000 * YEAR] {
        let clock = Clock::new();
        clock.set(now);
        let pinning = Pinning::builder()
            .time_provider(clock)
            .static_pins(API, policy_with(unrelated_pin()))
            .unpinned_hosts(UnpinnedHosts::Refuse)
            .refuse_keys([root.pin()])
            .build()
            .unwrap();
        let config = PinningVerifier::builder(pinning.clone())
            .with_anchors(built_in_anchors(&[&root]))
            .with_provider(provider())
            .with_crls([root.crl(&[])])
            .enforce_revocation_expiration()
            .with_inner_verifier(Arc::new(RefusesAll))
            .client_config()
            .unwrap();
        let report = pinning.self_test(&config).unwrap();
        assert_eq!(report.versions.len(), 2, "{now}");
    }
}

/// A key log that panics in the canary handshake.
#[derive(Debug)]
struct Panics;

impl KeyLog for Panics {
    fn log(&self, _: &str, _: &[u8], _: &[u8]) {
        panic!("a callback of the application");
    }
}

#[test]
fn a_panic_of_a_callback_leaves_the_thread_as_before() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&[API]);
    let pinning = builder().build().unwrap();
    let config = config_of(&pinning, &root);
    let mut panics = config.clone();
    panics.key_log = Arc::new(Panics);
    let outcome = catch_unwind(AssertUnwindSafe(|| pinning.self_test(&panics)));
    outcome.unwrap_err();
    let server = Arc::new(server_config(&leaf, provider(), rustls::ALL_VERSIONS));
    let kind = connect(&Arc::new(config), &server, API).unwrap();
    assert_eq!(kind, HandshakeKind::Full);
}
