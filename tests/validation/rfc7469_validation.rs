//! Pin validation with chains validated in real handshakes (RFC 7469 sections 2.4, 2.6 and 2.8).

use std::io::Write;
use std::process::{Command, Stdio};

use crate::common::peers::program;
use crate::common::pki::{Ca, Leaf, leaf_params};
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, NOW, at, header_value, policy_with, provider, unrelated_pin};
use bytes::Bytes;
use pinhold::connector::ConnectError;
use pinhold::header::Noted;
use pinhold::policy::PinSource;
use pinhold::roots::AnchorOrigin;
use pinhold::{
    Decision, PinPolicy, PinViolation, Pinning, PinningVerifier, SpkiFingerprint, TrustAnchors,
    UserAddedRoots, VerifiedConnection,
};
use rcgen::KeyPair;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;

const PKP: &str = "public-key-pins";

fn pinning_with(policy: PinPolicy) -> Pinning {
    let builder = Pinning::builder().static_pins("example.com", policy);
    builder.time_provider(Clock::new()).build().unwrap()
}

fn only(pin: SpkiFingerprint) -> PinPolicy {
    PinPolicy::without_backup([pin]).unwrap()
}

type Visit = Result<http::Response<Bytes>, hyper_util::client::legacy::Error>;

/// Sends a request to `example.com` at this server over a new connection.
async fn visit(pinning: &Pinning, anchors: &TrustAnchors, server: &Server) -> Visit {
    let names = Names::new([("example.com", server)]);
    let mut client = client(pinning, anchors.clone(), &names);
    get(&mut client, "https://example.com/").await
}

/// Sends a request to a new server with this leaf, which receives none if the visit fails.
async fn visit_leaf(pinning: &Pinning, anchors: &TrustAnchors, leaf: &Leaf) -> Visit {
    let server = Server::start(leaf, &[]).await;
    let outcome = visit(pinning, anchors, &server).await;
    assert_eq!(server.requests(), usize::from(outcome.is_ok()));
    outcome
}

fn connect_error(visit: &Visit) -> &ConnectError {
    let source = std::error::Error::source(visit.as_ref().unwrap_err());
    source.unwrap().downcast_ref().unwrap()
}

fn violation(visit: &Visit) -> Option<PinViolation> {
    PinViolation::find(visit.as_ref().unwrap_err())
}

fn decision(visit: &Visit) -> Decision {
    let response = visit.as_ref().unwrap();
    let connection = response.extensions().get::<VerifiedConnection>().unwrap();
    connection.decision().clone()
}

#[tokio::test]
async fn a_matching_pin_does_not_make_an_invalid_chain_valid() {
    // 7469-1-a, 7469-2.6-a
    let (root, added) = (Ca::root("Root"), Ca::root("Added"));
    let anchors = built_in_anchors(&[&root])
        .with_user_added([added.certificate()])
        .unwrap();
    let expired = || {
        let mut params = leaf_params(&["example.com"]);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        params
    };
    for leaf in [
        root.leaf_from(expired()),
        added.leaf_from(expired()),
        root.leaf(&["example.net"]),
        Ca::root("Unknown").leaf(&["example.com"]),
    ] {
        for pinning in [
            pinning_with(only(leaf.pin())),
            pinning_with(policy_with(unrelated_pin())),
            Pinning::builder()
                .time_provider(Clock::new())
                .build()
                .unwrap(),
        ] {
            let outcome = visit_leaf(&pinning, &anchors, &leaf).await;
            assert!(violation(&outcome).is_none());
            let error = connect_error(&outcome);
            let invalid = matches!(
                error,
                ConnectError::Tls(rustls::Error::InvalidCertificate(_))
            );
            assert!(invalid, "{error:?}");
        }
    }
}

#[tokio::test]
async fn one_key_of_the_validated_chain_is_enough() {
    // 7469-2.6-d, 7469-2.6-f
    let root = Ca::root("Root");
    let (upper, anchors) = (root.intermediate("Upper"), built_in_anchors(&[&root]));
    let lower = upper.intermediate("Lower");
    let leaf = lower.leaf(&["example.com"]);
    let unrelated = (0..20).map(|byte| SpkiFingerprint::from_digest([byte; 32]));
    let unrelated = unrelated.collect::<Vec<_>>();
    for pin in [leaf.pin(), lower.pin(), upper.pin(), root.pin()] {
        for pins in [vec![pin], [&*unrelated, &[pin]].concat()] {
            let pinning = pinning_with(PinPolicy::without_backup(pins).unwrap());
            let outcome = visit_leaf(&pinning, &anchors, &leaf).await;
            assert!(matches!(decision(&outcome), Decision::Pass));
        }
    }
    let pinning = pinning_with(PinPolicy::new(unrelated).unwrap());
    let violation = violation(&visit_leaf(&pinning, &anchors, &leaf).await).unwrap();
    let expected = [leaf.pin(), lower.pin(), upper.pin(), root.pin()];
    assert_eq!(violation.chain().fingerprints(), expected);
    // A renewed certificate with the same key still passes.
    let key = KeyPair::generate().unwrap();
    let der = key.serialize_der();
    let pin = root.leaf_with_key(leaf_params(&["example.com"]), key).pin();
    let renewed = Ca::root("New");
    let key = KeyPair::try_from(der).unwrap();
    let leaf = renewed.leaf_with_key(leaf_params(&["example.com"]), key);
    let outcome = visit_leaf(
        &pinning_with(only(pin)),
        &built_in_anchors(&[&renewed]),
        &leaf,
    )
    .await;
    assert!(matches!(decision(&outcome), Decision::Pass));
}

#[tokio::test]
async fn certificates_outside_the_validated_chain_are_ignored() {
    // 7469-2.6-e
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    let anchors = built_in_anchors(&[&root, &other]);
    let genuine = root.intermediate("CA").leaf(&["example.com"]);
    let superfluous = || genuine.chain.iter().cloned().chain([root.certificate()]);
    let served = other.leaf(&["example.com"]).with_appended(superfluous());
    for pin in [genuine.pin(), root.pin()] {
        let outcome = visit_leaf(&pinning_with(policy_with(pin)), &anchors, &served).await;
        let violation = violation(&outcome).unwrap();
        assert_eq!(
            violation.chain().fingerprints(),
            [served.pin(), other.pin()]
        );
        assert_eq!(violation.chain().served().len(), 4);
        // They are ignored for a header, too: the pin is not in the chain, so nothing is noted.
        let pinning = Pinning::builder()
            .time_provider(Clock::new())
            .build()
            .unwrap();
        let server = Server::start(&served, &[(PKP, &header_value(pin, "max-age=9"))]).await;
        let response = visit(&pinning, &anchors, &server).await.unwrap();
        let noted = response.extensions().get::<Noted>().unwrap();
        assert!(matches!(noted, Noted::Ignored(_)));
    }
}

#[tokio::test]
async fn without_a_pinned_key_the_connection_is_closed_before_http() {
    // 7469-2.6-g, 7469-4-a, 7469-2.6-i
    let root = Ca::root("Root");
    let anchors = built_in_anchors(&[&root]);
    let (genuine, other) = (root.leaf(&["example.com"]), root.leaf(&["example.com"]));
    // Applies to static pins and to pins noted on a first visit.
    let by_header = Pinning::builder()
        .time_provider(Clock::new())
        .build()
        .unwrap();
    let value = header_value(genuine.pin(), "max-age=9");
    let server = Server::start(&genuine, &[(PKP, &value)]).await;
    visit(&by_header, &anchors, &server).await.unwrap();
    for (pinning, source) in [
        (pinning_with(policy_with(genuine.pin())), PinSource::Static),
        (by_header, PinSource::Noted),
    ] {
        let outcome = visit_leaf(&pinning, &anchors, &other).await;
        assert!(matches!(connect_error(&outcome), ConnectError::Pins(_)));
        let violation = violation(&outcome).unwrap();
        assert_eq!(violation.policy().source, source);
        assert_eq!(violation.host().as_str(), "example.com");
        // The next attempt is refused as well.
        assert!(visit_leaf(&pinning, &anchors, &other).await.is_err());
        assert!(visit_leaf(&pinning, &anchors, &genuine).await.is_ok());
    }
}

#[test]
fn pins_are_checked_within_certificate_verification() {
    // 7469-2.6-b
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com", "example.net"]);
    let verifier = PinningVerifier::builder(pinning_with(policy_with(unrelated_pin())))
        .with_anchors(built_in_anchors(&[&root]))
        .with_provider(provider())
        .verifier_without_resumption_check()
        .unwrap();
    let verify = |name: &'static str| {
        let name = ServerName::try_from(name).unwrap();
        verifier.verify_server_cert(&leaf.certificate(), &[], &name, &[], crate::common::now())
    };
    let error = verify("example.com").unwrap_err();
    assert!(
        PinViolation::find(&error).is_some(),
        "pins are checked with the Certificate message"
    );
    assert!(verify("example.net").is_ok());
}

#[tokio::test]
async fn the_anchor_of_the_validated_path_decides_whether_pins_are_skipped() {
    // 7469-2.6-c, D-05
    let (root, proxy) = (Ca::root("Root"), Ca::root("Proxy"));
    let certificate = || [proxy.certificate()];
    let anchors = built_in_anchors(&[&root])
        .with_user_added(certificate())
        .unwrap();
    let genuine = root.leaf(&["example.com"]);
    let intercepted = proxy.leaf(&["example.com"]);
    let policy = policy_with(genuine.pin());
    let pinning = pinning_with(policy.clone());
    for served in [
        intercepted.with_chain(intercepted.chain.clone()),
        // An appended genuine chain is not part of the path, so it does not make the pins pass.
        intercepted.with_appended(genuine.chain.iter().cloned().chain([root.certificate()])),
    ] {
        let outcome = visit_leaf(&pinning, &anchors, &served).await;
        assert!(matches!(decision(&outcome), Decision::Skipped));
    }
    // The proxy's root appended to a chain to a built-in root does not skip pins.
    let served = root.leaf(&["example.com"]).with_appended(certificate());
    let outcome = visit_leaf(&pinning, &anchors, &served).await;
    let origin = violation(&outcome).unwrap().chain().anchor_origin();
    assert_eq!(origin, AnchorOrigin::BuiltIn);
    // An anchor of unknown origin does not skip pins, and a policy may enforce them for all roots.
    let unknown = TrustAnchors::new().with_unknown(certificate()).unwrap();
    assert!(violation(&visit_leaf(&pinning, &unknown, &intercepted).await).is_some());
    let enforcing = pinning_with(policy.user_added_roots(UserAddedRoots::EnforcePins));
    assert!(violation(&visit_leaf(&enforcing, &anchors, &intercepted).await).is_some());
}

#[tokio::test]
async fn a_policy_that_refuses_outweighs_one_that_is_skipped() {
    // D-05, 7469-2.6-c
    let (root, proxy) = (Ca::root("Root"), Ca::root("Proxy"));
    let anchors = built_in_anchors(&[&root]);
    let anchors = anchors.with_user_added([proxy.certificate()]).unwrap();
    let genuine = root.leaf(&["example.com"]);
    let intercepted = proxy.leaf(&["example.com"]);
    let value = header_value(genuine.pin(), "max-age=9");
    let server = Server::start(&genuine, &[(PKP, &value)]).await;
    for (pins, skipped) in [
        ([genuine.pin(), intercepted.pin()], true),
        ([genuine.pin(), unrelated_pin()], false),
    ] {
        let policy = PinPolicy::new(pins).unwrap();
        let pinning = pinning_with(policy.user_added_roots(UserAddedRoots::EnforcePins));
        let response = visit(&pinning, &anchors, &server).await.unwrap();
        assert_eq!(response.extensions().get(), Some(&Noted::Added));
        // The noted pins are skipped; the static ones decide.
        let outcome = visit_leaf(&pinning, &anchors, &intercepted).await;
        if skipped {
            assert!(matches!(decision(&outcome), Decision::Skipped))
        } else {
            assert!(violation(&outcome).is_some())
        }
    }
}

#[tokio::test]
async fn other_valid_paths_are_tried_before_a_server_is_refused() {
    // 7469-2.6-h, D-11
    let (old, new) = (Ca::root("Old"), Ca::root("New"));
    let both = built_in_anchors(&[&old, &new]);
    let leaf = new.leaf(&["example.com"]);
    let cross_signed = leaf.with_appended([old.cross_sign(&new)]);
    for (pin, served, passes) in [
        (new.pin(), &cross_signed, true),
        (old.pin(), &cross_signed, true),
        (leaf.pin(), &cross_signed, true),
        (unrelated_pin(), &cross_signed, false),
        // Without the cross-signed certificate there is no path to the old root.
        (old.pin(), &leaf, false),
    ] {
        let outcome = visit_leaf(&pinning_with(only(pin)), &both, served).await;
        assert_eq!(outcome.is_ok(), passes);
        if !passes {
            assert!(violation(&outcome).is_some());
        }
    }
}

#[tokio::test]
async fn a_host_whose_pins_expired_is_not_validated() {
    // 7469-2.3.3-a, 7469-2.3.3-c, D-20
    let root = Ca::root("Root");
    let anchors = built_in_anchors(&[&root]);
    let (genuine, other) = (root.leaf(&["example.com"]), root.leaf(&["example.com"]));
    let clock = Clock::new();
    let pinning = Pinning::builder()
        .time_provider(clock.clone())
        .build()
        .unwrap();
    let value = header_value(genuine.pin(), "max-age=100");
    let server = Server::start(&genuine, &[(PKP, &value)]).await;
    visit(&pinning, &anchors, &server).await.unwrap();
    for (seconds, passes) in [
        (NOW, false),
        (NOW + 100, false),
        (NOW + 101, true),
        (NOW + 90 * crate::common::DAY, true),
        // The expired entry is kept, so it applies again once the clock is corrected.
        (NOW + 100, false),
    ] {
        clock.set(seconds);
        let outcome = visit_leaf(&pinning, &anchors, &other).await;
        if passes {
            assert!(matches!(decision(&outcome), Decision::NotPinned))
        } else {
            assert_eq!(violation(&outcome).unwrap().at(), at(seconds))
        }
    }
}

#[tokio::test]
async fn a_self_signed_certificate_can_be_trusted_and_pinned() {
    // 7469-2.8-a
    let key = KeyPair::generate().unwrap();
    let params = leaf_params(&["example.com"]);
    let own = params.self_signed(&key).unwrap().der().clone();
    let leaf = Ca::root("Unused")
        .leaf_with_key(params, key)
        .with_chain(vec![own.clone()]);
    let anchors = TrustAnchors::new().with_built_in([own]).unwrap();
    let passing = visit_leaf(&pinning_with(only(leaf.pin())), &anchors, &leaf).await;
    assert!(matches!(decision(&passing), Decision::Pass));
    let failing = visit_leaf(&pinning_with(policy_with(unrelated_pin())), &anchors, &leaf).await;
    assert!(violation(&failing).is_some());
    let pinning = Pinning::builder()
        .time_provider(Clock::new())
        .build()
        .unwrap();
    let server = Server::start(&leaf, &[(PKP, &header_value(leaf.pin(), "max-age=9"))]).await;
    let response = visit(&pinning, &anchors, &server).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Noted::Added));
}

#[tokio::test]
async fn a_violation_prints_the_expected_and_the_found_keys() {
    // 7469-7-a
    let root = Ca::root("Root");
    let leaf = root.leaf(&["www.example.com"]);
    let policy = policy_with(unrelated_pin()).include_subdomains();
    let server = Server::start(&leaf, &[]).await;
    let names = Names::new([("www.example.com", &server)]);
    let mut client = client(
        &pinning_with(policy.clone()),
        built_in_anchors(&[&root]),
        &names,
    );
    let error = get(&mut client, "https://www.example.com/")
        .await
        .unwrap_err();
    let text = PinViolation::find(&error).unwrap().to_string();
    let found = [leaf.pin(), root.pin()];
    let pins = policy.pins().iter().chain(&found).map(ToString::to_string);
    for fact in pins.chain(["www.example.com", " example.com "].map(str::to_owned)) {
        assert!(text.contains(&fact), "{fact} in {text}");
    }
}

#[test]
fn a_fingerprint_equals_the_one_computed_by_openssl() {
    // 7469-2.4-a, 7469-A-a
    let Some(openssl) = program("openssl") else {
        return;
    };
    let pipe = |arguments: &[&str], input: &[u8]| {
        let mut child = Command::new(&openssl)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        output.stdout
    };
    let algorithms = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ];
    for algorithm in algorithms {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let leaf = Ca::root("Root").leaf_with_key(leaf_params(&["example.com"]), key);
        let der = leaf.certificate();
        let key = pipe(&["x509", "-inform", "der", "-pubkey", "-noout"], &der);
        let spki = pipe(&["pkey", "-pubin", "-outform", "der"], &key);
        let digest = pipe(&["dgst", "-sha256", "-binary"], &spki);
        let digest = <[u8; 32]>::try_from(digest).unwrap();
        assert_eq!(leaf.pin(), SpkiFingerprint::from_digest(digest));
        assert_eq!(SpkiFingerprint::of_pem(&key), Ok(leaf.pin()));
    }
}
