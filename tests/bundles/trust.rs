//! Attacks on the signatures: what is accepted as a bundle of the operator, or as the next root.

use crate::common::bundles::{Body, Operator, Signer, pins, root, signed};
use crate::common::provider;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pinhold::bundle::{
    BundleError, BundleVersion, PinBundle, PinBundles, PinRoot, RootError, SignedNote,
};
use pinhold::{BuildError, Pinning};
use rustls::SignatureScheme;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};

fn body(version: u64) -> Body {
    Body::new(version, [("api.example.com", pins(1))])
}

/// Verifies a bundle by the note of a root.
fn verify(bundle: &[u8], root: &str) -> Result<BundleVersion, BundleError> {
    let root = PinRoot::parse(root).unwrap();
    PinBundle::verify(bundle, &root, &provider()).map(|bundle| bundle.version())
}

fn version(root: u64, bundle: u64) -> BundleVersion {
    BundleVersion::new(root, bundle)
}

/// Returns the line of a signature with any name, key ID and bytes.
fn line(name: &str, id: [u8; 4], signature: &[u8]) -> String {
    let encoded = STANDARD.encode([&id, signature].concat());
    format!("\u{2014} {name} {encoded}\n")
}

/// Returns the signature of a note by this signer.
fn signature(text: &str, signer: &Signer) -> Vec<u8> {
    let note = SignedNote::parse(&signed(text, &[signer])).unwrap();
    note.signatures()[0].as_bytes().to_vec()
}

fn with_line(mut note: Vec<u8>, line: &str) -> Vec<u8> {
    note.extend(line.as_bytes());
    note
}

#[test]
fn a_threshold_counts_distinct_keys_with_a_valid_signature() {
    let operator = Operator::default();
    let [one, other] = operator.both();
    let text = body(7).text();
    assert_eq!(
        verify(&operator.sign(&body(7)), &operator.root).unwrap(),
        version(1, 7)
    );
    let by_one = signed(&text, &[one]).into_bytes();
    let again = line(one.key.name(), one.key.id(), &signature(&text, one));
    let renamed = one.renamed("example.com/pins/3");
    let stranger = Signer::new(other.key.name());
    for (case, bundle) in [
        ("one of two", by_one.clone()),
        ("a doubled signature", with_line(by_one, &again)),
        ("another name of the key", body(7).signed(&[one, &renamed])),
        (
            "another key with the name",
            body(7).signed(&[one, &stranger]),
        ),
    ] {
        let error = verify(&bundle, &operator.root).unwrap_err();
        let expected = matches!(
            error,
            BundleError::Signatures {
                valid: 1,
                threshold: 2
            }
        );
        assert!(expected, "{case}: {error}");
    }
    let unsigned = text + "\n" + &line("example.com/x", [0; 4], &[1]);
    let error = verify(unsigned.as_bytes(), &operator.root).unwrap_err();
    assert!(
        matches!(error, BundleError::Signatures { valid: 0, .. }),
        "{error}"
    );
}

#[test]
fn one_key_under_two_names_counts_once() {
    let operator = Operator::default();
    let [one, other] = operator.both();
    let renamed = one.renamed("example.com/pins/3");
    let keys = [one, &renamed].map(|signer| signer.key.clone());
    let error = PinRoot::new(1, 2, keys).unwrap_err();
    let expected = matches!(
        error,
        RootError::Threshold {
            threshold: 2,
            keys: 1
        }
    );
    assert!(expected, "{error}");
    let three_names = root(1, 2, &[one, &renamed, other], &[]);
    let error = verify(&body(7).signed(&[one, &renamed]), &three_names).unwrap_err();
    assert!(
        matches!(error, BundleError::Signatures { valid: 1, .. }),
        "{error}"
    );
    verify(&body(7).signed(&[&renamed, other]), &three_names).unwrap();
}

/// Key IDs have four bytes, so that anybody can make a key with the ID of another one.
#[test]
fn signatures_with_the_name_or_the_id_of_a_key_alone_are_ignored() {
    let operator = Operator::default();
    let [one, other] = operator.both();
    let text = body(7).text();
    let wrong = [7; 64];
    let same_id = line("example.com/pins/9", one.key.id(), &wrong);
    let same_name = line(one.key.name(), other.key.id(), &wrong);
    for ignored in [&same_id, &same_name] {
        let bundle = with_line(operator.sign(&body(7)), ignored);
        assert_eq!(verify(&bundle, &operator.root).unwrap(), version(1, 7));
    }
    // The right bytes under a wrong name or ID count for nothing, either.
    let right = signature(&text, other);
    for line in [
        line("example.com/pins/9", other.key.id(), &right),
        line(other.key.name(), one.key.id(), &right),
    ] {
        let bundle = with_line(body(7).signed(&[one]), &line);
        let error = verify(&bundle, &operator.root).unwrap_err();
        assert!(
            matches!(error, BundleError::Signatures { valid: 1, .. }),
            "{error}"
        );
    }
}

#[test]
fn a_wrong_signature_by_a_key_of_the_root_refuses_the_note() {
    let operator = Operator::default();
    let [one, other] = operator.both();
    let any = root(1, 1, &[one, other], &[]);
    let of_other_text = signature(&body(8).text(), other);
    for wrong in [
        [0; 64].to_vec(),
        [0xff; 64].to_vec(),
        of_other_text,
        vec![1],
        vec![1; 3309],
    ] {
        let line = line(other.key.name(), other.key.id(), &wrong);
        for signers in [vec![one], vec![one, other]] {
            let bundle = with_line(body(7).signed(&signers), &line);
            let error = verify(&bundle, &any).unwrap_err();
            let expected = matches!(
                &error,
                BundleError::BadSignature { name } if name == other.key.name()
            );
            assert!(expected, "{error}");
        }
    }
}

/// The old and the new keys of an operator, and what it signs by them.
struct Rotation {
    old: Operator,
    new: [Signer; 2],
}

impl Rotation {
    fn new() -> Self {
        let new = ["example.com/pins/3", "example.com/pins/4"].map(Signer::new);
        let old = Operator::default();
        Self { old, new }
    }

    fn both(&self) -> [&Signer; 2] {
        [&self.new[0], &self.new[1]]
    }

    /// Returns a root with the new keys that these have signed, too.
    fn root(&self, version: u64, others: &[&Signer]) -> String {
        root(version, 2, &self.both(), others)
    }

    fn bundle(&self, version: u64, roots: &[&str]) -> Vec<u8> {
        body(version).with_roots(2, roots).signed(&self.both())
    }
}

#[test]
fn a_new_root_needs_the_thresholds_of_the_old_and_of_its_own_keys() {
    let rotation = Rotation::new();
    let [new, other_new] = rotation.both();
    let [old, other_old] = rotation.old.both();
    let keys = rotation.both().map(|signer| signer.key.clone());
    let text = PinRoot::new(2, 2, keys).unwrap().to_text();
    let verify = |root: &str| verify(&rotation.bundle(1, &[root]), &rotation.old.root);
    let all = signed(&text, &[old, other_old, new, other_new]);
    assert_eq!(verify(&all).unwrap(), version(2, 1));
    for (case, signers, of, count) in [
        ("by the old only", vec![old, other_old], 2, 0),
        ("by one new", vec![old, other_old, new], 2, 1),
        ("by the new only", vec![new, other_new], 1, 0),
        ("by one old", vec![old, new, other_new], 1, 1),
    ] {
        let error = verify(&signed(&text, &signers)).unwrap_err();
        let expected = matches!(
            &error,
            BundleError::Root { index: 0, error: RootError::Signatures { by, valid, threshold: 2 } }
                if (*by, *valid) == (of, count)
        );
        assert!(expected, "{case}: {error}");
    }
    let wrong = all + &line(old.key.name(), old.key.id(), &[7; 64]);
    let error = verify(&wrong).unwrap_err();
    let expected = matches!(
        &error,
        BundleError::Root { index: 0, error: RootError::BadSignature { name } }
            if name == old.key.name()
    );
    assert!(expected, "{error}");
}

#[test]
fn a_bundle_is_signed_for_the_newest_root_of_its_chain() {
    let rotation = Rotation::new();
    let both = rotation.old.both();
    let next = rotation.root(2, &both);
    let verify = |bundle: &[u8]| verify(bundle, &rotation.old.root).unwrap_err();
    let not_newest = |error: &BundleError, of: u64, is: u64| {
        matches!(
            error,
            BundleError::NotNewestRoot { root, newest } if (*root, *newest) == (of, is)
        )
    };
    // By the old keys, beside the root that replaces them.
    let chained = body(7).with_roots(1, &[&next]).signed(&both);
    assert!(not_newest(&verify(&chained), 1, 2));
    // By the new keys, without the root that makes them known.
    let without_chain = rotation.bundle(1, &[]);
    assert!(not_newest(&verify(&without_chain), 2, 1));
    // By the old keys, in the name of the new root.
    let relabelled = body(7).with_roots(2, &[&next]).signed(&both);
    let error = verify(&relabelled);
    assert!(
        matches!(error, BundleError::Signatures { valid: 0, .. }),
        "{error}"
    );
    // By the new keys, in the name of the old one.
    let relabelled = body(7).signed(&rotation.both());
    let error = verify(&relabelled);
    assert!(
        matches!(error, BundleError::Signatures { valid: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_chain_of_roots_has_no_gap_and_no_other_order() {
    let rotation = Rotation::new();
    let both = rotation.old.both();
    let roots = [2, 3, 4].map(|number| root(number, 2, &both, &rotation.both()));
    let [second, third, fourth] = roots.each_ref().map(|root| &**root);
    let newest = |version: u64, roots: &[&str]| {
        let bundle = body(1).with_roots(version, roots).signed(&both);
        verify(&bundle, &rotation.old.root)
    };
    for (last, roots) in [
        (4, vec![second, third, fourth]),
        // Known roots before and between are skipped.
        (
            4,
            vec![&rotation.old.root, second, second, third, second, fourth],
        ),
        (2, vec![second]),
    ] {
        assert_eq!(newest(last, &roots).unwrap(), version(last, 1));
    }
    for (roots, expected, found) in [
        (vec![third], 2, 3),
        (vec![third, second], 2, 3),
        (vec![second, fourth], 3, 4),
        (vec![second, fourth, third], 3, 4),
    ] {
        let error = newest(4, &roots).unwrap_err();
        let is_gap = matches!(
            &error,
            BundleError::RootGap { expected: of, found: is } if (*of, *is) == (expected, found)
        );
        assert!(is_gap, "{error}");
    }
    let last = root(u64::MAX, 2, &both, &[]);
    let error = newest(u64::MAX, &[&last]).unwrap_err();
    assert!(
        matches!(error, BundleError::RootGap { expected: 2, .. }),
        "{error}"
    );
    // No version follows the last one.
    let bundle = body(1).with_roots(u64::MAX, &[&last]).signed(&both);
    verify(&bundle, &last).unwrap();
}

#[test]
fn a_root_is_no_bundle_and_a_bundle_is_no_root() {
    let operator = Operator::default();
    let both = operator.both();
    let error = verify(operator.root.as_bytes(), &operator.root).unwrap_err();
    assert!(matches!(error, BundleError::Body(_)), "{error}");
    // A bundle with all members of a root, and the reverse.
    let keys = serde_json::to_string(&both.map(|signer| signer.key.to_string())).unwrap();
    let hybrid = body(2).with("threshold", 1).with("keys", keys);
    let as_bundle = signed(&hybrid.text(), &both);
    let error = PinRoot::parse(&as_bundle).unwrap_err();
    assert!(matches!(error, RootError::Body(_)), "{error}");
    let chained = body(1).with_roots(2, &[&as_bundle]).signed(&both);
    let error = verify(&chained, &operator.root).unwrap_err();
    let expected = matches!(
        error,
        BundleError::Root {
            index: 0,
            error: RootError::Body(_)
        }
    );
    assert!(expected, "{error}");
    let as_root = hybrid.with("type", r#""pin-root""#);
    let error = verify(&operator.sign(&as_root), &operator.root).unwrap_err();
    assert!(matches!(error, BundleError::Body(_)), "{error}");
    PinRoot::parse(&signed(&as_root.text(), &both)).unwrap();
}

#[test]
fn what_an_application_contains_is_verified_when_pins_are_built() {
    let operator = Operator::default();
    let [one, _] = operator.both();
    let build = |root: &str, bundle: &[u8], provider: CryptoProvider| {
        let bundles = PinBundles::new(root, bundle).with_provider(provider.into());
        Pinning::builder().bundles(bundles).build().unwrap_err()
    };
    let bundle = operator.sign(&body(1));
    let provider = || (*provider()).clone();
    let root = SignedNote::parse(&operator.root).unwrap();
    let by_one = signed(root.text(), &[one]);
    let error = build(&by_one, &bundle, provider());
    let expected = matches!(
        error,
        BuildError::PinRoot(RootError::Signatures {
            by: 1,
            valid: 1,
            threshold: 2
        })
    );
    assert!(expected, "{error}");
    let error = build(root.text(), &bundle, provider());
    assert!(
        matches!(error, BuildError::PinRoot(RootError::Note(_))),
        "{error}"
    );
    let error = build(&operator.root, &body(1).signed(&[one]), provider());
    let expected = matches!(
        error,
        BuildError::Bundle(BundleError::Signatures { valid: 1, .. })
    );
    assert!(expected, "{error}");
    let error = build(&operator.root, &bundle, without_ed25519(provider()));
    assert!(matches!(error, BuildError::NoEd25519), "{error}");
}

#[test]
fn without_ed25519_no_signature_is_valid() {
    let operator = Operator::default();
    let root = PinRoot::parse(&operator.root).unwrap();
    let provider = without_ed25519((*provider()).clone());
    let error = PinBundle::verify(&operator.sign(&body(1)), &root, &provider).unwrap_err();
    assert!(
        matches!(error, BundleError::Signatures { valid: 0, .. }),
        "{error}"
    );
}

/// Returns the provider without Ed25519, as those for FIPS 140-2 are.
fn without_ed25519(mut provider: CryptoProvider) -> CryptoProvider {
    let algorithms = provider.signature_verification_algorithms;
    let mapping = algorithms.mapping.iter().copied();
    let mapping = mapping.filter(|(scheme, _)| *scheme != SignatureScheme::ED25519);
    provider.signature_verification_algorithms = WebPkiSupportedAlgorithms {
        all: algorithms.all,
        mapping: mapping.collect::<Vec<_>>().leak(),
    };
    provider
}
