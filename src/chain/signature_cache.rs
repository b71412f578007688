//! A cache of successful signature verifications, in front of the algorithms of a crypto provider.
//!
//! Whether a signature is valid is a pure function of algorithm, key, message and signature. A
//! success therefore never becomes stale; it is stored with all four, which are compared byte by
//! byte. A failure is never stored. Only signatures of certificates and revocation lists are
//! verified here. The signature of a handshake proves that the server has its key now, and is
//! always verified by rustls.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm as Algorithm,
};

/// The signature algorithms of a provider, which share one cache.
pub(crate) struct CachingAlgorithms {
    pub(crate) provided: &'static [&'static dyn Algorithm],
    max_bytes: usize,
    /// Created for the first chain, so that building a client costs less.
    caching: OnceLock<Vec<CachingAlgorithm>>,
}

impl CachingAlgorithms {
    /// Wraps the algorithms with a cache of at most `max_bytes` bytes, or without a cache if that
    /// is 0.
    pub(crate) fn new(all: &'static [&'static dyn Algorithm], max_bytes: usize) -> Self {
        Self {
            provided: all,
            max_bytes,
            caching: OnceLock::new(),
        }
    }

    /// Returns the algorithms in the provider's order, in the form that webpki takes.
    pub(crate) fn as_dyn(&self) -> Vec<&dyn Algorithm> {
        let all = self.caching.get_or_init(|| self.caching()).iter();
        all.map(|caching| -> &dyn Algorithm { caching }).collect()
    }

    fn caching(&self) -> Vec<CachingAlgorithm> {
        let cache = (self.max_bytes > 0).then(|| Arc::new(SignatureCache::new(self.max_bytes)));
        let all = self.provided.iter().enumerate();
        let caching = all.map(|(index, inner)| CachingAlgorithm {
            inner: *inner,
            public_key_id: inner.public_key_alg_id(),
            signature_id: inner.signature_alg_id(),
            index,
            cache: cache.clone(),
        });
        caching.collect()
    }
}

thread_local! {
    /// How many signatures this thread may still verify in the current search for a path.
    static REMAINING: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// Limits the signatures that this thread verifies from now on. Beyond the limit each one that is
/// not cached counts as invalid. `u32::MAX` removes the limit.
pub(crate) fn limit_verifications(remaining: u32) {
    REMAINING.set(remaining);
}

/// A signature algorithm with a cache.
struct CachingAlgorithm {
    inner: &'static dyn Algorithm,
    public_key_id: AlgorithmIdentifier,
    signature_id: AlgorithmIdentifier,
    /// The position in the provider's list, since two algorithms may have the same identifiers.
    index: usize,
    cache: Option<Arc<SignatureCache>>,
}

impl CachingAlgorithm {
    fn verify_within_limit(&self, check: &Check<'_>) -> Result<(), InvalidSignature> {
        let remaining = REMAINING.get().checked_sub(1).ok_or(InvalidSignature)?;
        REMAINING.set(remaining);
        let [public_key, message, signature] = check.parts;
        self.inner.verify_signature(public_key, message, signature)
    }
}

impl Algorithm for CachingAlgorithm {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let check = Check {
            algorithm: self.index,
            parts: [public_key, message, signature],
        };
        let Some(cache) = self
            .cache
            .as_ref()
            .filter(|_| check.len() <= MAX_CHECK_BYTES)
        else {
            return self.verify_within_limit(&check);
        };
        let hash = cache.hash(&check);
        if cache.contains(hash, &check) {
            return Ok(());
        }
        self.verify_within_limit(&check)?;
        cache.insert(hash, &check);
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

/// The input of one verification.
struct Check<'c> {
    algorithm: usize,
    /// Key, message and signature.
    parts: [&'c [u8]; 3],
}

impl Check<'_> {
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// A stored check that succeeded.
struct Entry {
    algorithm: usize,
    lengths: [usize; 3],
    bytes: Box<[u8]>,
}

impl Entry {
    fn new(check: &Check<'_>) -> Self {
        Self {
            algorithm: check.algorithm,
            lengths: check.parts.map(<[u8]>::len),
            bytes: check.parts.concat().into(),
        }
    }

    /// Compares all bytes, because different checks may have the same hash.
    fn equals(&self, check: &Check<'_>) -> bool {
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

/// Approximates an LRU cache by two generations of half the size. An entry that is used again moves
/// to the recent one. When that is full, it becomes the old one, and the old one is dropped.
struct SignatureCache {
    seed: RandomState,
    max_bytes: usize,
    generations: RwLock<Generations>,
}

#[derive(Default)]
struct Generations {
    recent: Entries,
    old: Entries,
    recent_bytes: usize,
}

type Entries = HashMap<u64, Entry, RandomState>;

impl SignatureCache {
    fn new(max_bytes: usize) -> Self {
        Self {
            seed: RandomState::default(),
            max_bytes,
            generations: RwLock::default(),
        }
    }

    /// Returns a hash that is fast and not collision-resistant. It only selects the entry to
    /// compare with. Of the parts only the signature is hashed: two valid checks with the same
    /// signature replace each other.
    fn hash(&self, check: &Check<'_>) -> u64 {
        let [_, _, signature] = check.parts;
        self.seed.hash_one(signature)
    }

    fn contains(&self, hash: u64, check: &Check<'_>) -> bool {
        let is_equal = |entry: &Entry| entry.equals(check);
        let generations = self.generations.read();
        if generations.recent.get(&hash).is_some_and(is_equal) {
            return true;
        }
        if !generations.old.get(&hash).is_some_and(is_equal) {
            return false;
        }
        drop(generations);
        self.insert(hash, check);
        true
    }

    fn insert(&self, hash: u64, check: &Check<'_>) {
        let entry = Entry::new(check);
        let mut generations = self.generations.write();
        let dropped = generations.insert(hash, entry, self.max_bytes / 2);
        // Freed without the lock, because it takes a while.
        drop(generations);
        drop(dropped);
    }
}

impl Generations {
    /// Adds an entry. Returns the entries that were dropped to make room.
    fn insert(&mut self, hash: u64, entry: Entry, max_bytes: usize) -> Entries {
        let mut dropped = Entries::default();
        if self.recent_bytes + entry.size() > max_bytes {
            if entry.size() > max_bytes {
                return dropped;
            }
            let recent = std::mem::take(&mut self.recent);
            dropped = std::mem::replace(&mut self.old, recent);
            self.recent_bytes = 0;
        }
        self.recent_bytes += entry.size();
        if let Some(replaced) = self.recent.insert(hash, entry) {
            self.recent_bytes -= replaced.size();
        }
        dropped
    }
}

/// The limit of bytes of a stored check. A larger check is that of a revocation list, which is not
/// worth the space.
const MAX_CHECK_BYTES: usize = 16 * 1024;
/// The bytes that an entry takes in addition to the check: a slot of the hash table, half of which
/// may be free, and the header of an allocation.
const OVERHEAD: usize = 144;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rcgen::{KeyPair, SigningKey};
    use rustls::crypto::CryptoProvider;
    use rustls_pki_types::alg_id;

    use super::*;

    /// Accepts `signed`, key, `|` and message as a signature. Counts the verifications.
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

    struct Fixture {
        counting: &'static Counting,
        algorithms: CachingAlgorithms,
    }

    impl Fixture {
        /// Wraps two algorithms with the same identifiers.
        fn new(max_bytes: usize) -> Self {
            let counting = &*Box::leak(Box::new(Counting::default()));
            let both: [&'static dyn Algorithm; 2] = [counting, counting];
            Self {
                counting,
                algorithms: CachingAlgorithms::new(Box::leak(Box::new(both)), max_bytes),
            }
        }

        fn verify(&self, algorithm: usize, parts: [&[u8]; 3]) -> bool {
            let [public_key, message, signature] = parts;
            let algorithm = self.algorithms.as_dyn()[algorithm];
            let verified = algorithm.verify_signature(public_key, message, signature);
            verified.is_ok()
        }

        /// Verifies a valid signature by this key of a message of `len` bytes.
        fn verify_valid(&self, key: &[u8], len: usize) {
            let message = vec![b'm'; len];
            let signature = [b"signed", key, b"|", &message].concat();
            assert!(self.verify(0, [key, &message, &signature]));
        }

        fn take_count(&self) -> usize {
            self.counting.0.swap(0, Ordering::SeqCst)
        }

        fn bytes(&self) -> usize {
            let cache = self.algorithms.caching.get().unwrap()[0]
                .cache
                .as_ref()
                .unwrap();
            let generations = cache.generations.read();
            let all = generations.recent.values().chain(generations.old.values());
            all.map(Entry::size).sum()
        }
    }

    #[test]
    fn a_success_is_cached_and_a_failure_is_not() {
        let fixture = Fixture::new(1 << 16);
        for _ in 0..3 {
            assert!(fixture.verify(0, [b"key", b"text", b"signedkey|text"]));
            assert!(!fixture.verify(0, [b"key", b"text", b"forged"]));
        }
        assert_eq!(fixture.take_count(), 1 + 3);
    }

    #[test]
    fn a_check_that_differs_in_one_bit_is_verified() {
        let fixture = Fixture::new(1 << 16);
        let valid: [&[u8]; 3] = [b"key", b"text", b"signedkey|text"];
        assert!(fixture.verify(0, valid));
        fixture.take_count();
        for (part, bytes) in valid.iter().enumerate() {
            for bit in 0..bytes.len() * 8 {
                let mut wrong = valid.map(<[u8]>::to_vec);
                wrong[part][bit / 8] ^= 1 << (bit % 8);
                let wrong = [&*wrong[0], &*wrong[1], &*wrong[2]];
                assert!(!fixture.verify(0, wrong), "{part} {bit}");
                assert_eq!(fixture.take_count(), 1);
            }
        }
        // The same bytes, split at other positions.
        assert!(!fixture.verify(0, [b"keyt", b"ext", b"signedkey|text"]));
        assert!(!fixture.verify(0, [b"ke", b"ytext", b"signedkey|text"]));
        assert!(!fixture.verify(0, [b"key", b"textsigned", b"key|text"]));
        // Another algorithm with the same identifiers.
        assert!(fixture.verify(1, valid));
        assert_eq!(fixture.take_count(), 4);
    }

    /// Flips bits in key, message and signature and exchanges algorithms, with a cache that
    /// contains the valid signature and with one so small that it drops entries all the time.
    #[test]
    fn no_altered_form_of_a_real_signature_is_accepted() {
        let key = KeyPair::generate().unwrap();
        let message = b"a certificate to be signed".repeat(20);
        let signature = key.sign(&message).unwrap();
        let valid = [key.public_key_raw().to_vec(), message, signature];
        let verify = |algorithm: &dyn Algorithm, [key, message, signature]: &[Vec<u8>; 3]| {
            algorithm.verify_signature(key, message, signature).is_ok()
        };
        for provider in providers() {
            let all = provider.signature_verification_algorithms.all;
            let position = all.iter().position(|inner| verify(*inner, &valid)).unwrap();
            let (warm, tiny) = (
                CachingAlgorithms::new(all, 1 << 16),
                CachingAlgorithms::new(all, 2_000),
            );
            for number in 0..3_000_u32 {
                let random = number.wrapping_mul(0x9e37_79b9).rotate_left(15);
                let random = usize::try_from(random).unwrap();
                let mut wrong = valid.clone();
                let part = &mut wrong[random % 3];
                let bit = random / 3 % (part.len() * 8);
                part[bit / 8] ^= 1 << (bit % 8);
                for algorithms in [&warm, &tiny] {
                    let algorithms = algorithms.as_dyn();
                    assert!(verify(algorithms[position], &valid));
                    assert!(!verify(algorithms[position], &wrong), "{number}");
                    let other = random % all.len();
                    assert_eq!(
                        verify(algorithms[other], &valid),
                        verify(all[other], &valid)
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
    fn its_size_is_bounded_and_entries_in_use_stay() {
        let fixture = Fixture::new(10_000);
        for number in 0..500_u16 {
            fixture.verify_valid(&number.to_be_bytes(), 100);
            fixture.verify_valid(b"in use", 200);
            assert!(fixture.bytes() <= 10_000);
        }
        assert_eq!(fixture.take_count(), 501);
        fixture.verify_valid(&0_u16.to_be_bytes(), 100);
        assert_eq!(fixture.take_count(), 1, "dropped before");
    }

    #[test]
    fn a_check_that_is_too_long_is_not_cached() {
        let (fixture, tiny, none) = (Fixture::new(1 << 20), Fixture::new(300), Fixture::new(0));
        for _ in 0..2 {
            fixture.verify_valid(b"key", MAX_CHECK_BYTES);
            tiny.verify_valid(b"key", 100);
            none.verify_valid(b"key", 1);
        }
        let counts = [&fixture, &tiny, &none].map(Fixture::take_count);
        assert_eq!(counts, [2, 2, 2]);
        assert_eq!((fixture.bytes(), tiny.bytes()), (0, 0));
    }

    #[test]
    fn threads_get_the_same_results() {
        let fixture = Fixture::new(5_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..2_000_u32 {
                        let key = (number % 40).to_be_bytes();
                        fixture.verify_valid(&key, 50);
                        assert!(!fixture.verify(0, [&key, b"text", b"forged"]));
                    }
                });
            }
        });
        assert!(fixture.bytes() <= 5_000);
    }
}
