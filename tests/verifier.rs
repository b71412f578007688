//! The verifier against rustls's own: the same verdicts, errors and methods; and the paths that it
//! chooses.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;

use common::pki::{Ca, Leaf};
use common::{at, policy_with, providers, unrelated_pin};
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
    let builder = PinningVerifier::builder(pinning, anchors).with_provider(common::provider());
    builder.verifier_without_resumption_check().unwrap()
}

fn verify(verifier: &dyn ServerCertVerifier, served: &[CertificateDer<'_>]) -> Result<(), Error> {
    let name = ServerName::try_from("example.com").unwrap();
    let (leaf, intermediates) = served.split_first().unwrap();
    let verdict = verifier.verify_server_cert(leaf, intermediates, &name, &[], common::now());
    verdict.map(drop)
}

/// The fingerprints of the path that a foreign pin refuses, that is, of the last one tried.
fn refused(verifier: &PinningVerifier, leaf: &Leaf) -> PinViolation {
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

/// quinn sends the text of the error to the server that is refused, who may be an attacker.
#[test]
fn what_rustls_prints_of_a_refusal_names_the_host_alone() {
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
        for time in [common::NOW, 4_000_000_000] {
            assert!(!text.contains(&time.to_string()), "{text}");
        }
    }
}

#[test]
fn the_other_methods_answer_as_rustls_does() {
    let root = Ca::root("Root");
    for provider in providers() {
        let theirs = webpki(&[&root], provider.clone());
        let ours = PinningVerifier::builder(unpinned(), built_in_anchors(&[&root]))
            .with_provider(provider)
            .verifier_without_resumption_check()
            .unwrap();
        assert_eq!(
            ours.supported_verify_schemes(),
            theirs.supported_verify_schemes()
        );
        assert_eq!(
            ours.requires_raw_public_keys(),
            theirs.requires_raw_public_keys()
        );
        assert_eq!(
            ours.root_hint_subjects().is_some(),
            theirs.root_hint_subjects().is_some()
        );
    }
}

#[test]
fn garbage_gets_the_same_errors() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let good = leaf.certificate();
    let cut = CertificateDer::from(good[..good.len() / 2].to_vec());
    let empty = CertificateDer::from(Vec::new());
    for provider in providers() {
        let theirs = webpki(&[&root], provider.clone());
        let pinning = static_pins(policy_with(leaf.pin()));
        let ours = PinningVerifier::builder(pinning, built_in_anchors(&[&root]))
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
            // Printed, since rustls's `OtherError` equals nothing, not even itself.
            let verdicts = [verify(&ours, &served), verify(&*theirs, &served)];
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
    let ours = verifier(
        static_pins(policy_with(unrelated_pin())),
        built_in_anchors(&[&root]),
    );
    let violation = refused(&ours, &leaf);
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
fn another_valid_path_with_a_pin_is_found() {
    let (old, new, leaf) = cross_signed();
    let both = built_in_anchors(&[&old, &new]);
    // The default path ends at the new root, one certificate earlier.
    let ours = verifier(
        static_pins(PinPolicy::without_backup([old.pin()]).unwrap()),
        both.clone(),
    );
    assert_eq!(verify(&ours, &leaf.chain), Ok(()));
    // Without the cross-sign there is no such path.
    let bare = leaf.with_chain(vec![leaf.certificate()]);
    assert_eq!(
        refused(&ours, &bare).chain().fingerprints(),
        [leaf.pin(), new.pin()]
    );
    // Of several refused paths the last one tried is told.
    let ours = verifier(static_pins(policy_with(unrelated_pin())), both);
    let violation = refused(&ours, &leaf);
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
fn a_report_only_policy_never_refuses_and_never_saves() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let told = policy_with(unrelated_pin()).enforcement(Enforcement::ReportOnly);
    assert_eq!(
        decide(&static_pins(told), built_in_anchors(&[&root]), &leaf),
        Ok(())
    );
}

#[test]
fn of_two_paths_the_built_in_one_is_judged() {
    // The user added the old root; the cross-signed path to it must not make the skip apply.
    let (old, new, leaf) = cross_signed();
    let anchors = built_in_anchors(&[&new])
        .with_user_added([old.certificate()])
        .unwrap();
    let passing = static_pins(PinPolicy::without_backup([new.pin()]).unwrap());
    assert_eq!(decide(&passing, anchors.clone(), &leaf), Ok(()));
    // No path passes, one may be skipped: the user's root is what the user asked for.
    let failing = static_pins(policy_with(unrelated_pin()));
    assert_eq!(decide(&failing, anchors, &leaf), Ok(()));
    // The same key in both sets is built in, and nothing is skipped.
    let twice = built_in_anchors(&[&old, &new])
        .with_user_added([old.certificate()])
        .unwrap();
    assert_eq!(decide(&failing, twice, &leaf), Err(AnchorOrigin::BuiltIn));
}

/// A list of `issuer` that revokes these serial numbers.
#[test]
fn a_root_that_is_served_is_told_once() {
    let root = Ca::root("Root");
    let leaf = root
        .leaf(&["example.com"])
        .with_appended([root.certificate()]);
    let verifier = verifier(
        static_pins(policy_with(unrelated_pin())),
        built_in_anchors(&[&root]),
    );
    let violation = refused(&verifier, &leaf);
    assert_eq!(violation.chain().fingerprints(), [leaf.pin(), root.pin()]);
}

#[test]
fn revocation_has_the_options_and_verdicts_of_rustls() {
    let root = Ca::root("Root");
    let ca = root.intermediate("CA");
    let mut params = common::pki::leaf_params(&["example.com"]);
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
            let (leaf_only, unknown, expiry) =
                (options & 1 != 0, options & 2 != 0, options & 4 != 0);
            let mut ours = PinningVerifier::builder(unpinned(), built_in_anchors(&[&root]))
                .with_provider(common::provider())
                .with_crls(crls.clone());
            let mut store = RootCertStore::empty();
            store.add(root.certificate()).unwrap();
            let provider = common::provider();
            let mut theirs = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
                .with_crls(crls.clone());
            if leaf_only {
                ours = ours.only_check_end_entity_revocation();
                theirs = theirs.only_check_end_entity_revocation();
            }
            if unknown {
                ours = ours.allow_unknown_revocation_status();
                theirs = theirs.allow_unknown_revocation_status();
            }
            if expiry {
                ours = ours.enforce_revocation_expiration();
                theirs = theirs.enforce_revocation_expiration();
            }
            let ours = verify(
                &ours.verifier_without_resumption_check().unwrap(),
                &leaf.chain,
            );
            assert_eq!(ours, verify(&*theirs.build().unwrap(), &leaf.chain));
            verdicts.push(ours);
        }
    }
    let revoked = Err(Error::InvalidCertificate(CertificateError::Revoked));
    assert!(verdicts.contains(&revoked) && verdicts.contains(&Ok(())));
    assert!(verdicts.len() == 32 && verdicts.iter().filter(|verdict| verdict.is_err()).count() > 8);
}

#[test]
fn what_cannot_be_built_says_why() {
    let root = Ca::root("Root");
    let build = |anchors: TrustAnchors| {
        PinningVerifier::builder(unpinned(), anchors).with_provider(common::provider())
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
fn without_a_provider_the_features_decide_or_an_error_does() {
    assert!(
        CryptoProvider::get_default().is_none(),
        "nobody installed one in this process"
    );
    let built = unpinned().client_config(built_in_anchors(&[&Ca::root("Root")]));
    match (cfg!(feature = "aws-lc-rs"), cfg!(feature = "ring")) {
        (true, true) => assert!(matches!(built, Err(BuildError::UndecidedCryptoProvider))),
        (false, false) => assert!(matches!(built, Err(BuildError::NoCryptoProvider))),
        _ => assert!(built.is_ok()),
    }
    assert!(
        CryptoProvider::get_default().is_none(),
        "and neither did we"
    );
}

#[test]
fn a_static_policy_ends_as_it_said() {
    use pinhold::policy::AfterExpiry;
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let good = || PinPolicy::without_backup([leaf.pin()]).unwrap();
    let bad = || PinPolicy::without_backup([SpkiFingerprint::from_digest([0; 32])]).unwrap();
    let (past, this) = (at(common::NOW - 1), common::now());
    for (policy, passes) in [
        (bad().expires(this, AfterExpiry::Unpin), false),
        (bad().expires(past, AfterExpiry::Unpin), true),
        (bad().expires(past, AfterExpiry::ReportOnly), true),
        (bad().expires(past, AfterExpiry::Refuse), false),
        (good().expires(this, AfterExpiry::Refuse), true),
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
