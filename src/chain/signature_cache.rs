//! Signature checks in, the same verdicts out: those that succeeded are remembered.
//!
//! Whether a signature is right is a pure function of algorithm, key, message and signature. So a
//! success can't become stale, and is remembered with all four, compared byte by byte; a failure
//! never is. Only the signatures of certificates and revocation lists come here: that of a
//! handshake proves that the server has its key now, and goes to rustls.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm as Algorithm,
};

/// The algorithms of a provider, with what they have verified.
pub(crate) struct CachingAlgorithms(Vec<CachingAlgorithm>);

impl CachingAlgorithms {
    /// Remembers at most so many bytes; with none, nothing.
    pub(crate) fn new(all: &[&'static dyn Algorithm], max_bytes: usize) -> Self {
        let memory = (max_bytes > 0).then(|| Arc::new(SignatureCache::new(max_bytes)));
        let remembering = all
            .iter()
            .enumerate()
            .map(|(number, inner)| CachingAlgorithm {
                inner: *inner,
                public_key_id: inner.public_key_alg_id(),
                signature_id: inner.signature_alg_id(),
                number,
                memory: memory.clone(),
            });
        Self(remembering.collect())
    }

    /// As webpki wants them, in the provider's order.
    pub(crate) fn as_dyn(&self) -> Vec<&dyn Algorithm> {
        let all = self.0.iter();
        all.map(|known| -> &dyn Algorithm { known }).collect()
    }
}

/// One algorithm.
struct CachingAlgorithm {
    inner: &'static dyn Algorithm,
    public_key_id: AlgorithmIdentifier,
    signature_id: AlgorithmIdentifier,
    /// Its place in the provider's list: two of them may have the same identifiers.
    number: usize,
    memory: Option<Arc<SignatureCache>>,
}

impl Algorithm for CachingAlgorithm {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let Some(memory) = &self.memory else {
            return self.inner.verify_signature(public_key, message, signature);
        };
        let check = Check {
            algorithm: self.number,
            parts: [public_key, message, signature],
        };
        if check.len() > MAX_CHECK {
            return self.inner.verify_signature(public_key, message, signature);
        }
        let hash = memory.hash(&check);
        if memory.knows(hash, &check) {
            return Ok(());
        }
        self.inner
            .verify_signature(public_key, message, signature)?;
        memory.remember(hash, &check);
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.public_key_id
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature_id
    }

    fn fips(&self) -> bool {
        self.inner.fips()
    }
}

impl fmt::Debug for CachingAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.inner, f)
    }
}

/// What a check was of: key, message and signature.
struct Check<'c> {
    algorithm: usize,
    parts: [&'c [u8]; 3],
}

impl Check<'_> {
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// A check that succeeded.
struct Known {
    algorithm: usize,
    lengths: [usize; 3],
    bytes: Box<[u8]>,
}

impl Known {
    fn new(check: &Check<'_>) -> Self {
        Self {
            algorithm: check.algorithm,
            lengths: check.parts.map(<[u8]>::len),
            bytes: check.parts.concat().into(),
        }
    }

    /// To the last byte: the hash only finds the place.
    fn is(&self, check: &Check<'_>) -> bool {
        let mut rest = &*self.bytes;
        let same = |part: &&[u8]| {
            let (head, tail) = rest.split_at_checked(part.len()).unwrap_or_default();
            rest = tail;
            head == *part
        };
        self.algorithm == check.algorithm
            && self.lengths == check.parts.map(<[u8]>::len)
            && check.parts.iter().all(same)
    }

    fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// In two halves: what is asked for again moves to the younger one; when that is full, the older
/// one is forgotten.
struct SignatureCache {
    seed: RandomState,
    max_bytes: usize,
    halves: RwLock<Halves>,
}

#[derive(Default)]
struct Halves {
    young: Half,
    old: Half,
    young_bytes: usize,
}

type Half = HashMap<u64, Known, RandomState>;

impl SignatureCache {
    fn new(max_bytes: usize) -> Self {
        Self {
            seed: RandomState::default(),
            max_bytes,
            halves: RwLock::default(),
        }
    }

    /// Fast, not collision-resistant: it finds a place, and decides nothing.
    fn hash(&self, check: &Check<'_>) -> u64 {
        let mut hasher = self.seed.build_hasher();
        for part in check.parts {
            hasher.write(part);
        }
        hasher.finish()
    }

    fn knows(&self, hash: u64, check: &Check<'_>) -> bool {
        let is_it = |known: &Known| known.is(check);
        let halves = self.halves.read();
        if halves.young.get(&hash).is_some_and(is_it) {
            return true;
        }
        if !halves.old.get(&hash).is_some_and(is_it) {
            return false;
        }
        drop(halves);
        self.remember(hash, check);
        true
    }

    fn remember(&self, hash: u64, check: &Check<'_>) {
        let known = Known::new(check);
        let forgotten = self.halves.write().put(hash, known, self.max_bytes / 2);
        // Without the lock: it takes its time.
        drop(forgotten);
    }
}

impl Halves {
    /// Returns what is forgotten for it.
    fn put(&mut self, hash: u64, known: Known, max_bytes: usize) -> Half {
        let mut forgotten = Half::default();
        if self.young_bytes + known.size() > max_bytes {
            if known.size() > max_bytes {
                return forgotten;
            }
            let young = std::mem::take(&mut self.young);
            forgotten = std::mem::replace(&mut self.old, young);
            self.young_bytes = 0;
        }
        self.young_bytes += known.size();
        if let Some(replaced) = self.young.insert(hash, known) {
            self.young_bytes -= replaced.size();
        }
        forgotten
    }
}

/// Bytes of one check: beyond 16 KB it is a revocation list, which is not worth the room.
const MAX_CHECK: usize = 16 * 1024;
/// Bytes that an entry takes beside its own: a place in the table, of which a half may be free, and
/// the header of an allocation.
const OVERHEAD: usize = 144;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rcgen::{KeyPair, SigningKey};
    use rustls::crypto::CryptoProvider;
    use rustls_pki_types::alg_id;

    use super::*;

    /// Takes the bytes of key and message, in turn, for a right signature; counts what it is asked.
    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl Algorithm for Counting {
        fn verify_signature(
            &self,
            public_key: &[u8],
            message: &[u8],
            signature: &[u8],
        ) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Ordering::SeqCst);
            if signature == [b"signed", public_key, b"|", message].concat() {
                Ok(())
            } else {
                Err(InvalidSignature)
            }
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_SHA256
        }
    }

    struct Scene {
        counting: &'static Counting,
        algorithms: CachingAlgorithms,
    }

    impl Scene {
        /// Two algorithms with the same identifiers.
        fn new(max_bytes: usize) -> Self {
            let counting = &*Box::leak(Box::new(Counting::default()));
            Self {
                counting,
                algorithms: CachingAlgorithms::new(&[counting, counting], max_bytes),
            }
        }

        fn verify(&self, algorithm: usize, parts: [&[u8]; 3]) -> bool {
            let [public_key, message, signature] = parts;
            let algorithm = self.algorithms.as_dyn()[algorithm];
            let verified = algorithm.verify_signature(public_key, message, signature);
            verified.is_ok()
        }

        /// A right signature by this key of a message of so many bytes.
        fn verify_right(&self, key: &[u8], len: usize) {
            let message = vec![b'm'; len];
            let signature = [b"signed", key, b"|", &message].concat();
            assert!(self.verify(0, [key, &message, &signature]));
        }

        fn context(&self) -> usize {
            self.counting.0.swap(0, Ordering::SeqCst)
        }

        fn bytes(&self) -> usize {
            let halves = self.algorithms.0[0].memory.as_ref().unwrap().halves.read();
            let all = halves.young.values().chain(halves.old.values());
            all.map(Known::size).sum()
        }
    }

    #[test]
    fn a_success_is_remembered_and_a_failure_never() {
        let scene = Scene::new(1 << 16);
        for _ in 0..3 {
            assert!(scene.verify(0, [b"key", b"text", b"signedkey|text"]));
            assert!(!scene.verify(0, [b"key", b"text", b"forged"]));
        }
        assert_eq!(scene.context(), 1 + 3);
    }

    #[test]
    fn whatever_differs_in_a_bit_is_checked_anew() {
        let scene = Scene::new(1 << 16);
        let right: [&[u8]; 3] = [b"key", b"text", b"signedkey|text"];
        assert!(scene.verify(0, right));
        scene.context();
        for (part, bytes) in right.iter().enumerate() {
            for bit in 0..bytes.len() * 8 {
                let mut wrong = right.map(<[u8]>::to_vec);
                wrong[part][bit / 8] ^= 1 << (bit % 8);
                let wrong = [&*wrong[0], &*wrong[1], &*wrong[2]];
                assert!(!scene.verify(0, wrong), "{part} {bit}");
                assert_eq!(scene.context(), 1);
            }
        }
        // The same bytes, cut at other places.
        assert!(!scene.verify(0, [b"keyt", b"ext", b"signedkey|text"]));
        assert!(!scene.verify(0, [b"ke", b"ytext", b"signedkey|text"]));
        assert!(!scene.verify(0, [b"key", b"textsigned", b"key|text"]));
        // Another algorithm of the same name.
        assert!(scene.verify(1, right));
        assert_eq!(scene.context(), 4);
    }

    /// Bits flip in key, message and signature, and algorithms are exchanged: with a memory that
    /// knows the right one, and with one so small that it forgets all the time.
    #[test]
    fn of_a_real_signature_nothing_wrong_passes() {
        let key = KeyPair::generate().unwrap();
        let message = b"a certificate to be signed".repeat(20);
        let signature = key.sign(&message).unwrap();
        let right = [key.public_key_raw().to_vec(), message, signature];
        let verify = |algorithm: &dyn Algorithm, [key, message, signature]: &[Vec<u8>; 3]| {
            algorithm.verify_signature(key, message, signature).is_ok()
        };
        for provider in providers() {
            let all = provider.signature_verification_algorithms.all;
            let position = all.iter().position(|inner| verify(*inner, &right)).unwrap();
            let (warm, tiny) = (
                CachingAlgorithms::new(all, 1 << 16),
                CachingAlgorithms::new(all, 2_000),
            );
            for number in 0..3_000_u32 {
                let random = number.wrapping_mul(0x9e37_79b9).rotate_left(15);
                let random = usize::try_from(random).unwrap();
                let mut wrong = right.clone();
                let part = &mut wrong[random % 3];
                let bit = random / 3 % (part.len() * 8);
                part[bit / 8] ^= 1 << (bit % 8);
                for algorithms in [&warm, &tiny] {
                    let algorithms = algorithms.as_dyn();
                    assert!(verify(algorithms[position], &right));
                    assert!(!verify(algorithms[position], &wrong), "{number}");
                    let other = random % all.len();
                    assert_eq!(
                        verify(algorithms[other], &right),
                        verify(all[other], &right)
                    );
                }
            }
        }
    }

    fn providers() -> Vec<CryptoProvider> {
        vec![
            #[cfg(feature = "aws-lc-rs")]
            rustls::crypto::aws_lc_rs::default_provider(),
            #[cfg(feature = "ring")]
            rustls::crypto::ring::default_provider(),
        ]
    }

    #[test]
    fn its_bytes_are_bounded_and_what_is_in_use_stays() {
        let scene = Scene::new(10_000);
        for number in 0..500_u16 {
            scene.verify_right(&number.to_be_bytes(), 100);
            scene.verify_right(b"in use", 200);
            assert!(scene.bytes() <= 10_000);
        }
        assert_eq!(scene.context(), 501);
        scene.verify_right(&0_u16.to_be_bytes(), 100);
        assert_eq!(scene.context(), 1, "forgotten");
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let (scene, tiny, none) = (Scene::new(1 << 20), Scene::new(300), Scene::new(0));
        for _ in 0..2 {
            scene.verify_right(b"key", MAX_CHECK);
            tiny.verify_right(b"key", 100);
            none.verify_right(b"key", 1);
        }
        let context = [&scene, &tiny, &none].map(Scene::context);
        assert_eq!(context, [2, 2, 2]);
        assert_eq!((scene.bytes(), tiny.bytes()), (0, 0));
    }

    #[test]
    fn threads_see_the_same_verdicts() {
        let scene = Scene::new(5_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..2_000_u32 {
                        let key = (number % 40).to_be_bytes();
                        scene.verify_right(&key, 50);
                        assert!(!scene.verify(0, [&key, b"text", b"forged"]));
                    }
                });
            }
        });
        assert!(scene.bytes() <= 5_000);
    }
}
