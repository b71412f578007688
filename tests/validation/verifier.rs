//! The verifier compared with that of rustls: verdicts, errors and methods are the same. Also tests
//! which path it chooses.

use std::sync::Arc;

use crate::common::pki::{Ca, Leaf};
use crate::common::{at, policy_with, providers, unrelated_pin};
use pinhold::policy::AfterExpiry;
use pinhold::roots::AnchorOrigin;
use pinhold::{
    BuildError, Enforcement, PinPolicy, PinViolation, Pinning, PinningVerifier, SpkiFingerprint,
    TrustAnchors, UserAddedRoots,
};
use rcgen::SerialNumber;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName};
use rustls::{CertificateError, Error, RootCertStore};

fn built_in_anchors(roots: &[&Ca]) -> TrustAnchors {
    let roots = roots.iter().map(|root| root.certificate());
    TrustAnchors::new().with_built_in(roots).unwrap()
}

fn unpinned() -> Pinning {
    Pinning::builder().build().unwrap()
}

fn static_pins(policy: PinPolicy) -> Pinning {
    Pinning::builder()
        .static_pins("example.com", policy)
        .build()
        .unwrap()
}

fn verifier(pinning: Pinning, anchors: TrustAnchors) -> PinningVerifier {
    let builder = PinningVerifier::builder(pinning)
        .with_anchors(anchors)
        .with_provider(crate::common::provider());
    builder.verifier_without_resumption_check().unwrap()
}

fn verify(verifier: &dyn ServerCertVerifier, served: &[CertificateDer<'_>]) -> Result<(), Error> {
    let name = ServerName::try_from("example.com").unwrap();
    let (leaf, intermediates) = served.split_first().unwrap();
    let verdict =
        verifier.verify_server_cert(leaf, intermediates, &name, &[], crate::common::now());
    verdict.map(drop)
}

/// Verifies a leaf that must be refused and returns the violation, of the last path tried.
fn violation(verifier: &PinningVerifier, leaf: &Leaf) -> PinViolation {
    let error = verify(verifier, &leaf.chain).unwrap_err();
    PinViolation::find(&error).unwrap()
}

fn webpki(roots: &[&Ca], provider: Arc<CryptoProvider>) -> Arc<WebPkiServerVerifier> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.certificate()).unwrap();
    }
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider);
    builder.build().unwrap()
}

/// quinn sends the text of the error to the refused server, which may be an attacker.
#[test]
fn the_rustls_error_of_a_refusal_prints_no_more_than_the_host() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let policy = policy_with(unrelated_pin()).expires(at(4_000_000_000), AfterExpiry::Refuse);
    let verifier = verifier(static_pins(policy), built_in_anchors(&[&root]));
    let error = verify(&verifier, &leaf.chain).unwrap_err();
    let texts = [
        format!("{error}"),
        format!("{error:?}"),
        format!("{error:#?}"),
    ];
    let violation = PinViolation::find(&error).unwrap();
    let keys = violation.chain().fingerprints().iter();
    let secrets = violation.policy().pins.iter().chain(keys);
    let secrets = secrets.map(SpkiFingerprint::to_base64).collect::<Vec<_>>();
    for text in texts {
        assert!(text.contains("example.com"), "{text}");
        for secret in &secrets {
            assert!(!text.contains(secret), "{text}");
        }
        for time in [crate::common::NOW, 4_000_000_000] {
            assert!(!text.contains(&time.to_string()), "{text}");
        }
    }
}

#[test]
fn the_other_methods_return_the_same_as_rustls() {
    let root = Ca::root("Root");
    for provider in providers() {
        let plain = webpki(&[&root], provider.clone());
        let pinned = PinningVerifier::builder(unpinned())
            .with_anchors(built_in_anchors(&[&root]))
            .with_provider(provider)
            .verifier_without_resumption_check()
            .unwrap();
        assert_eq!(
            pinned.supported_verify_schemes(),
            plain.supported_verify_schemes()
        );
        assert_eq!(
            pinned.requires_raw_public_keys(),
            plain.requires_raw_public_keys()
        );
        assert_eq!(
            pinned.root_hint_subjects().is_some(),
            plain.root_hint_subjects().is_some()
        );
    }
}

#[test]
fn malformed_certificates_get_the_same_errors_as_from_rustls() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let good = leaf.certificate();
    let cut = CertificateDer::from(good[..good.len() / 2].to_vec());
    let empty = CertificateDer::from(Vec::new());
    for provider in providers() {
        let plain = webpki(&[&root], provider.clone());
        let pinning = static_pins(policy_with(leaf.pin()));
        let pinned = PinningVerifier::builder(pinning)
            .with_anchors(built_in_anchors(&[&root]))
            .with_provider(provider)
            .verifier_without_resumption_check()
            .unwrap();
        let chains = [
            vec![cut.clone()],
            vec![empty.clone()],
            vec![root.certificate()],
            vec![good.clone(), cut.clone(), empty.clone()],
            vec![good.clone()],
        ];
        for served in chains {
            // The texts are compared because a rustls `OtherError` does not equal even itself.
            let verdicts = [verify(&pinned, &served), verify(&*plain, &served)];
            assert_eq!(format!("{:?}", verdicts[0]), format!("{:?}", verdicts[1]));
        }
    }
}

#[test]
fn each_key_of_the_path_satisfies_a_pin_by_itself() {
    let root = Ca::root("Root");
    let upper = root.intermediate("Upper");
    let lower = upper.intermediate("Lower");
    let leaf = lower.leaf(&["example.com"]);
    for pin in [leaf.pin(), lower.pin(), upper.pin(), root.pin()] {
        let policy = PinPolicy::without_backup([pin]).unwrap();
        assert_eq!(
            verify(
                &verifier(static_pins(policy), built_in_anchors(&[&root])),
                &leaf.chain
            ),
            Ok(())
        );
    }
    let pinned = verifier(
        static_pins(policy_with(unrelated_pin())),
        built_in_anchors(&[&root]),
    );
    let violation = violation(&pinned, &leaf);
    let expected = [leaf.pin(), lower.pin(), upper.pin(), root.pin()];
    assert_eq!(violation.chain().fingerprints(), expected);
    let roles = violation
        .chain()
        .keys()
        .map(|key| key.role.to_string())
        .collect::<Vec<_>>();
    assert_eq!(roles, ["leaf", "intermediate", "intermediate", "anchor"]);
    let subjects = violation
        .chain()
        .keys()
        .map(|key| key.subject)
        .collect::<Vec<_>>();
    assert_eq!(
        subjects,
        ["CN=example.com", "CN=Lower", "CN=Upper", "CN=Root"]
    );
}

/// ```text
///  Old root ----> New (cross-signed) --+
///                                      +--> leaf
///  New root (same name and key) -------+
/// ```
fn cross_signed() -> (Ca, Ca, Leaf) {
    let (old, new) = (Ca::root("Old"), Ca::root("New"));
    let leaf = new
        .leaf(&["example.com"])
        .with_appended([old.cross_sign(&new)]);
    (old, new, leaf)
}

#[test]
fn another_valid_path_with_a_pinned_key_is_found() {
    let (old, new, leaf) = cross_signed();
    let both = built_in_anchors(&[&old, &new]);
    // The default path ends at the new root and is one certificate shorter.
    let pinned = verifier(
        static_pins(PinPolicy::without_backup([old.pin()]).unwrap()),
        both.clone(),
    );
    assert_eq!(verify(&pinned, &leaf.chain), Ok(()));
    // Without the cross-signed certificate there is no such path.
    let bare = leaf.with_chain(vec![leaf.certificate()]);
    assert_eq!(
        violation(&pinned, &bare).chain().fingerprints(),
        [leaf.pin(), new.pin()]
    );
    // Of several refused paths, the violation has the last one tried.
    let pinned = verifier(static_pins(policy_with(unrelated_pin())), both);
    let violation = violation(&pinned, &leaf);
    assert_eq!(
        violation.chain().fingerprints(),
        [leaf.pin(), new.pin(), old.pin()]
    );
}

fn decide(pinning: &Pinning, anchors: TrustAnchors, leaf: &Leaf) -> Result<(), AnchorOrigin> {
    match verify(&verifier(pinning.clone(), anchors), &leaf.chain) {
        Ok(()) => Ok(()),
        Err(error) => Err(PinViolation::find(&error).unwrap().chain().anchor_origin()),
    }
}

#[test]
fn pins_are_skipped_for_user_added_roots_only() {
    let root = Ca::root("Proxy");
    let leaf = root.leaf(&["example.com"]);
    let anchors = |origin| {
        let certificates = [root.certificate()];
        match origin {
            AnchorOrigin::UserAdded => TrustAnchors::new().with_user_added(certificates),
            AnchorOrigin::Unknown => TrustAnchors::new().with_unknown(certificates),
            _ => TrustAnchors::new().with_built_in(certificates),
        }
        .unwrap()
    };
    let policy = policy_with(unrelated_pin());
    let pinning = static_pins(policy.clone());
    assert_eq!(
        decide(&pinning, anchors(AnchorOrigin::UserAdded), &leaf),
        Ok(())
    );
    for origin in [AnchorOrigin::BuiltIn, AnchorOrigin::Unknown] {
        assert_eq!(decide(&pinning, anchors(origin), &leaf), Err(origin));
    }
    let enforcing = static_pins(policy.user_added_roots(UserAddedRoots::EnforcePins));
    let user_added = AnchorOrigin::UserAdded;
    assert_eq!(
        decide(&enforcing, anchors(user_added), &leaf),
        Err(user_added)
    );
}

#[test]
fn a_report_only_policy_never_refuses() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let report_only = policy_with(unrelated_pin()).enforcement(Enforcement::ReportOnly);
    assert_eq!(
        decide(&static_pins(report_only), built_in_anchors(&[&root]), &leaf),
        Ok(())
    );
}

#[test]
fn of_two_paths_the_one_to_a_built_in_root_is_checked() {
    // The user added the old root; the cross-signed path to it must not cause a skip.
    let (old, new, leaf) = cross_signed();
    let anchors = built_in_anchors(&[&new])
        .with_user_added([old.certificate()])
        .unwrap();
    let passing = static_pins(PinPolicy::without_backup([new.pin()]).unwrap());
    assert_eq!(decide(&passing, anchors.clone(), &leaf), Ok(()));
    // No path passes, but the pins of one are skipped: the user chose to trust that root.
    let failing = static_pins(policy_with(unrelated_pin()));
    assert_eq!(decide(&failing, anchors, &leaf), Ok(()));
    // A root in both sets counts as built in, so nothing is skipped.
    let twice = built_in_anchors(&[&old, &new])
        .with_user_added([old.certificate()])
        .unwrap();
    assert_eq!(decide(&failing, twice, &leaf), Err(AnchorOrigin::BuiltIn));
}

#[test]
fn a_root_that_is_served_occurs_once_in_the_violation() {
    let root = Ca::root("Root");
    let leaf = root
        .leaf(&["example.com"])
        .with_appended([root.certificate()]);
    let verifier = verifier(
        static_pins(policy_with(unrelated_pin())),
        built_in_anchors(&[&root]),
    );
    let violation = violation(&verifier, &leaf);
    assert_eq!(violation.chain().fingerprints(), [leaf.pin(), root.pin()]);
}

#[test]
fn revocation_has_the_options_and_verdicts_of_rustls() {
    let root = Ca::root("Root");
    let ca = root.intermediate("CA");
    let mut params = crate::common::pki::leaf_params(&["example.com"]);
    params.serial_number = Some(SerialNumber::from(7));
    let leaf = ca.leaf_from(params);
    let mut verdicts = Vec::new();
    for crls in [
        vec![],
        vec![ca.crl(&[7])],
        vec![ca.crl(&[8])],
        vec![root.crl(&[])],
    ] {
        for options in 0_u8..8 {
            let (pinned, plain) = with_revocation(&root, &crls, options);
            let verdict = verify(&pinned, &leaf.chain);
            assert_eq!(verdict, verify(&*plain, &leaf.chain));
            verdicts.push(verdict);
        }
    }
    let revoked = Err(Error::InvalidCertificate(CertificateError::Revoked));
    assert!(verdicts.contains(&revoked) && verdicts.contains(&Ok(())));
    assert!(verdicts.len() == 32 && verdicts.iter().filter(|verdict| verdict.is_err()).count() > 8);
}

/// Builds a pinning verifier and one of rustls with these revocation lists.
///
/// Each of the lower three bits of `options` sets one option of revocation checks.
fn with_revocation(
    root: &Ca,
    crls: &[CertificateRevocationListDer<'static>],
    options: u8,
) -> (PinningVerifier, Arc<WebPkiServerVerifier>) {
    let mut pinned = PinningVerifier::builder(unpinned())
        .with_anchors(built_in_anchors(&[root]))
        .with_provider(crate::common::provider())
        .with_crls(crls.to_vec());
    let mut store = RootCertStore::empty();
    store.add(root.certificate()).unwrap();
    let provider = crate::common::provider();
    let mut plain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .with_crls(crls.to_vec());
    if options & 1 != 0 {
        pinned = pinned.only_check_end_entity_revocation();
        plain = plain.only_check_end_entity_revocation();
    }
    if options & 2 != 0 {
        pinned = pinned.allow_unknown_revocation_status();
        plain = plain.allow_unknown_revocation_status();
    }
    if options & 4 != 0 {
        pinned = pinned.enforce_revocation_expiration();
        plain = plain.enforce_revocation_expiration();
    }
    let pinned = pinned.verifier_without_resumption_check();
    (pinned.unwrap(), plain.build().unwrap())
}

#[test]
fn an_invalid_build_is_an_error_that_names_the_reason() {
    let root = Ca::root("Root");
    let build = |anchors: TrustAnchors| {
        PinningVerifier::builder(unpinned())
            .with_anchors(anchors)
            .with_provider(crate::common::provider())
    };
    let none = build(TrustAnchors::new()).client_config();
    assert!(matches!(none, Err(BuildError::NoTrustAnchors)));
    let bad = CertificateRevocationListDer::from(vec![1, 2, 3]);
    let crl = build(built_in_anchors(&[&root]))
        .with_crls([bad])
        .client_config();
    assert!(matches!(crl, Err(BuildError::RevocationList(_))));
    let versions = build(built_in_anchors(&[&root]))
        .with_protocol_versions(&[])
        .client_config();
    assert!(matches!(versions, Err(BuildError::Tls(_))));
}

#[test]
fn without_a_provider_the_enabled_features_select_one_or_building_fails() {
    assert!(
        CryptoProvider::get_default().is_none(),
        "no default provider is installed in this process"
    );
    let built = unpinned().client_config(built_in_anchors(&[&Ca::root("Root")]));
    match (cfg!(feature = "aws-lc-rs"), cfg!(feature = "ring")) {
        (true, true) => assert!(matches!(built, Err(BuildError::UndecidedCryptoProvider))),
        (false, false) => assert!(matches!(built, Err(BuildError::NoCryptoProvider))),
        _ => assert!(built.is_ok()),
    }
    assert!(
        CryptoProvider::get_default().is_none(),
        "building does not install a default provider"
    );
}

#[test]
fn a_static_policy_expires_as_configured() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let good = || PinPolicy::without_backup([leaf.pin()]).unwrap();
    let bad = || PinPolicy::without_backup([SpkiFingerprint::from_digest([0; 32])]).unwrap();
    let (past, present) = (at(crate::common::NOW - 1), crate::common::now());
    for (policy, passes) in [
        (bad().expires(present, AfterExpiry::Unpin), false),
        (bad().expires(past, AfterExpiry::Unpin), true),
        (bad().expires(past, AfterExpiry::ReportOnly), true),
        (bad().expires(past, AfterExpiry::Refuse), false),
        (good().expires(present, AfterExpiry::Refuse), true),
        (good().expires(past, AfterExpiry::Refuse), false),
    ] {
        let verdict = decide(
            &static_pins(policy.clone()),
            built_in_anchors(&[&root]),
            &leaf,
        );
        assert_eq!(verdict.is_ok(), passes, "{policy:?}");
    }
}
