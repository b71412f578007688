//! The signature cache: a verified signature is not verified again, everything else about a chain
//! is, and no invalid signature is accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::pki::{Ca, Leaf, leaf_params};
use crate::common::{DAY, NOW, Random, at, policy_with, providers};
use pinhold::{PinViolation, Pinning, PinningVerifier, TrustAnchors};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, CertificateRevocationListDer, InvalidSignature,
    ServerName, SignatureVerificationAlgorithm as Algorithm, UnixTime,
};
use rustls::{CertificateError, Error, RootCertStore};

const HOST: &str = "example.com";

struct Fixture {
    root: Ca,
    leaf: Leaf,
    pinning: Pinning,
}

impl Fixture {
    fn new() -> Self {
        let root = Ca::root("Root");
        let leaf = root.intermediate("CA").leaf(&[HOST]);
        Self::of(root, leaf)
    }

    fn of(root: Ca, leaf: Leaf) -> Self {
        let builder = Pinning::builder().static_pins(HOST, policy_with(root.pin()));
        let pinning = builder.build().unwrap();
        Self {
            root,
            leaf,
            pinning,
        }
    }

    /// Returns a verifier that has verified the chain before.
    fn warm_verifier(&self, provider: &Arc<CryptoProvider>) -> PinningVerifier {
        let verifier = self.verifier(provider, Vec::new());
        verify(&verifier, &self.leaf.chain, HOST, at(NOW)).unwrap();
        verifier
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
        crls: Vec<CertificateRevocationListDer<'static>>,
    ) -> PinningVerifier {
        let anchors = TrustAnchors::new().with_built_in([self.root.certificate()]);
        PinningVerifier::builder(self.pinning.clone())
            .with_anchors(anchors.unwrap())
            .with_provider(provider.clone())
            .with_crls(crls)
            .verifier_without_resumption_check()
            .unwrap()
    }

    fn webpki(&self, provider: &Arc<CryptoProvider>) -> Arc<WebPkiServerVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.certificate()).unwrap();
        let builder = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
        builder.build().unwrap()
    }
}

fn verify(
    verifier: &dyn ServerCertVerifier,
    served: &[CertificateDer<'_>],
    name: &'static str,
    time: UnixTime,
) -> Result<(), Error> {
    let (leaf, intermediates) = served.split_first().unwrap();
    let name = ServerName::try_from(name).unwrap();
    let verdict = verifier.verify_server_cert(leaf, intermediates, &name, &[], time);
    verdict.map(drop)
}

/// A certificate contains key, message, signature and algorithm; a bit of any of them is flipped.
#[test]
fn a_flipped_bit_is_refused_with_a_warm_cache_as_by_rustls() {
    for provider in providers() {
        let fixture = Fixture::new();
        let (pinned, plain) = (fixture.warm_verifier(&provider), fixture.webpki(&provider));
        let mut random = Random::new(7);
        let mut accepted = 0;
        for _ in 0..3_000 {
            let mut chain = fixture.leaf.chain.clone();
            let position = usize::from(random.below(2) == 1);
            let mut der = chain[position].to_vec();
            let bit = usize::try_from(random.below(u64::try_from(der.len() * 8).unwrap())).unwrap();
            der[bit / 8] ^= 1 << (bit % 8);
            chain[position] = der.into();
            let expected = verify(&*plain, &chain, HOST, at(NOW));
            let verdict = verify(&pinned, &chain, HOST, at(NOW));
            assert_eq!(verdict.is_ok(), expected.is_ok(), "bit {bit} of {position}");
            accepted += usize::from(verdict.is_ok());
            verify(&pinned, &fixture.leaf.chain, HOST, at(NOW)).unwrap();
        }
        assert_eq!(accepted, 0);
    }
}

#[test]
fn a_cached_leaf_under_a_forged_issuer_of_the_same_name_is_refused() {
    for provider in providers() {
        let fixture = Fixture::new();
        let verifier = fixture.warm_verifier(&provider);
        let forged = Ca::root("Root").intermediate("CA");
        let chain = [fixture.leaf.certificate(), forged.chain[0].clone()];
        let error = verify(&verifier, &chain, HOST, at(NOW)).unwrap_err();
        assert!(PinViolation::find(&error).is_none());
        let chain = [
            forged.leaf(&[HOST]).certificate(),
            fixture.leaf.chain[1].clone(),
        ];
        assert!(verify(&verifier, &chain, HOST, at(NOW)).is_err());
    }
}

#[test]
fn an_expired_or_renamed_chain_is_refused_although_its_signatures_are_cached() {
    for provider in providers() {
        let mut params = leaf_params(&[HOST]);
        let day = std::time::Duration::from_secs(DAY);
        params.not_after =
            (std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW) + day).into();
        let root = Ca::root("Root");
        let leaf = root.leaf_from(params);
        let fixture = Fixture::of(root, leaf);
        let verifier = fixture.warm_verifier(&provider);
        let error = |name, time| match verify(&verifier, &fixture.leaf.chain, name, time) {
            Err(Error::InvalidCertificate(error)) => Some(error),
            _ => None,
        };
        let expired = error(HOST, at(NOW + 2 * DAY));
        assert!(matches!(
            expired,
            Some(CertificateError::ExpiredContext { .. })
        ));
        let renamed = error("other.example", at(NOW));
        assert!(matches!(
            renamed,
            Some(CertificateError::NotValidForNameContext { .. })
        ));
        assert_eq!(error(HOST, at(NOW)), None);
    }
}

/// Otherwise a server without any key could fill the cache with chains of other hosts, and learn
/// from the time until its alert which of them were verified before.
#[test]
fn a_chain_for_another_name_neither_fills_nor_reads_the_cache() {
    for mut provider in providers() {
        let fixture = Fixture::new();
        let verifications = counting(Arc::make_mut(&mut provider));
        let verifier = fixture.verifier(&provider, Vec::new());
        let [uncached, first, second, cached] =
            ["other.example", HOST, HOST, "other.example"].map(|name| {
                let verdict = verify(&verifier, &fixture.leaf.chain, name, at(NOW));
                assert_eq!(verdict.is_ok(), name == HOST);
                verifications.swap(0, Ordering::SeqCst)
            });
        // For a refused chain rustls verifies all signatures, each time.
        assert_eq!((first, second), (2, 0));
        assert_eq!((uncached, cached), (2, 2));
    }
}

/// A server that pads its chain with copies must not multiply the work of a refusal.
#[test]
fn copies_of_a_certificate_cost_no_signature_checks() {
    for mut provider in providers() {
        let fixture = Fixture::new();
        let verifications = counting(Arc::make_mut(&mut provider));
        let unrelated = policy_with(crate::common::unrelated_pin());
        fixture.pinning.replace_pins([(HOST, unrelated)]).unwrap();
        let anchors = TrustAnchors::new().with_built_in([fixture.root.certificate()]);
        let verifier = PinningVerifier::builder(fixture.pinning.clone())
            .with_anchors(anchors.unwrap())
            .with_provider(provider.clone())
            .signature_cache(0)
            .verifier_without_resumption_check()
            .unwrap();
        let [once, padded] = [0, 90].map(|copies| {
            let copies = std::iter::repeat_n(fixture.leaf.chain[1].clone(), copies);
            let served = fixture.leaf.with_appended(copies);
            let error = verify(&verifier, &served.chain, HOST, at(NOW)).unwrap_err();
            assert!(PinViolation::find(&error).is_some());
            verifications.swap(0, Ordering::SeqCst)
        });
        assert_eq!(padded, once);
    }
}

/// Copies that differ in one bit are different certificates, whose signatures are invalid.
#[test]
fn near_copies_of_a_certificate_cost_a_limited_number_of_signature_checks() {
    for mut provider in providers() {
        let fixture = Fixture::new();
        let verifications = counting(Arc::make_mut(&mut provider));
        let unrelated = policy_with(crate::common::unrelated_pin());
        fixture.pinning.replace_pins([(HOST, unrelated)]).unwrap();
        let anchors = TrustAnchors::new().with_built_in([fixture.root.certificate()]);
        let verifier = PinningVerifier::builder(fixture.pinning.clone())
            .with_anchors(anchors.unwrap())
            .with_provider(provider.clone())
            .signature_cache(0)
            .verifier_without_resumption_check()
            .unwrap();
        let [once, padded] = [0, 90].map(|copies| {
            let near_copies = (0..copies).map(|bit| {
                let mut der = fixture.leaf.chain[1].to_vec();
                let last = der.len() - 1;
                der[last - bit / 8] ^= 1 << (bit % 8);
                CertificateDer::from(der)
            });
            let served = fixture.leaf.with_appended(near_copies);
            let error = verify(&verifier, &served.chain, HOST, at(NOW)).unwrap_err();
            assert!(PinViolation::find(&error).is_some());
            verifications.swap(0, Ordering::SeqCst)
        });
        assert!(padded <= once + 32, "{padded}, {once} without copies");
    }
}

/// Makes the provider's signature algorithms count their calls.
fn counting(provider: &mut CryptoProvider) -> &'static AtomicUsize {
    let verifications = &*Box::leak(Box::new(AtomicUsize::new(0)));
    let algorithms = &mut provider.signature_verification_algorithms;
    let count = |inner: &&'static dyn Algorithm| -> &'static dyn Algorithm {
        let inner = *inner;
        Box::leak(Box::new(Counting {
            inner,
            verifications,
        }))
    };
    algorithms.all = algorithms.all.iter().map(count).collect::<Vec<_>>().leak();
    verifications
}

#[derive(Debug)]
struct Counting {
    inner: &'static dyn Algorithm,
    verifications: &'static AtomicUsize,
}

impl Algorithm for Counting {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        self.verifications.fetch_add(1, Ordering::SeqCst);
        self.inner.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }
}

#[test]
fn a_revoked_chain_is_refused_although_its_signatures_are_cached() {
    for provider in providers() {
        let root = Ca::root("Root");
        let mut params = leaf_params(&[HOST]);
        params.serial_number = Some(SerialNumber::from(7));
        let leaf = root.leaf_from(params);
        let crl = |serial: u64| {
            let time = |year| rcgen::date_time_ymd(year, 1, 1);
            let revoked = RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: time(2020),
                reason_code: None,
                invalidity_date: None,
            };
            let params = CertificateRevocationListParams {
                this_update: time(2020),
                next_update: time(2100),
                crl_number: SerialNumber::from(serial),
                issuing_distribution_point: None,
                revoked_certs: vec![revoked],
                key_identifier_method: KeyIdMethod::Sha256,
            };
            params.signed_by(root.issuer()).unwrap().der().clone()
        };
        let lists = [crl(7), crl(8)];
        let fixture = Fixture::of(root, leaf);
        let [revoking, other] = lists.map(|list| fixture.verifier(&provider, vec![list]));
        for _ in 0..2 {
            verify(&other, &fixture.leaf.chain, HOST, at(NOW)).unwrap();
            let error = verify(&revoking, &fixture.leaf.chain, HOST, at(NOW)).unwrap_err();
            assert_eq!(
                error,
                Error::InvalidCertificate(CertificateError::Revoked),
                "{provider:?}"
            );
        }
    }
}

#[test]
fn pins_are_checked_for_a_chain_whose_signatures_are_cached() {
    for provider in providers() {
        let fixture = Fixture::new();
        let verifier = fixture.warm_verifier(&provider);
        let unrelated = policy_with(crate::common::unrelated_pin());
        fixture.pinning.replace_pins([(HOST, unrelated)]).unwrap();
        let error = verify(&verifier, &fixture.leaf.chain, HOST, at(NOW)).unwrap_err();
        assert!(PinViolation::find(&error).is_some());
    }
}

#[test]
fn concurrent_threads_get_the_same_verdicts_for_valid_and_forged_chains() {
    for provider in providers() {
        let fixture = Fixture::new();
        let verifier = fixture.verifier(&provider, Vec::new());
        let forged = Ca::root("Root").intermediate("CA").leaf(&[HOST]);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        verify(&verifier, &fixture.leaf.chain, HOST, at(NOW)).unwrap();
                        assert!(verify(&verifier, &forged.chain, HOST, at(NOW)).is_err());
                    }
                });
            }
        });
    }
}
