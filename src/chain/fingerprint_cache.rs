//! A cache of the fingerprints of keys on validated paths: [`FingerprintCache`].

use std::collections::HashMap;

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use rustls_pki_types::SubjectPublicKeyInfoDer;

use crate::policy::{KeyHash, SpkiFingerprint};

/// The fingerprints of keys, by all bytes of the key. Since a fingerprint is a pure function of
/// these bytes, it never becomes stale. Only keys of valid paths are added, so that a server can
/// add only the few that CAs have certified for it.
pub(crate) struct FingerprintCache {
    pub(crate) hash: KeyHash,
    /// `None` if the application wants no cache.
    known: Option<RwLock<Known>>,
}

type Known = HashMap<Box<[u8]>, SpkiFingerprint, RandomState>;

impl FingerprintCache {
    pub(crate) fn new(hash: KeyHash, is_enabled: bool) -> Self {
        Self {
            hash,
            known: is_enabled.then(RwLock::default),
        }
    }

    /// Returns the fingerprint of a key on a valid path.
    pub(crate) fn of(&self, key: &SubjectPublicKeyInfoDer<'_>) -> SpkiFingerprint {
        let Some(known) = self.known.as_ref().filter(|_| key.len() <= MAX_KEY_BYTES) else {
            return SpkiFingerprint::of_parsed_key(key, self.hash);
        };
        if let Some(fingerprint) = known.read().get(key.as_ref()) {
            return *fingerprint;
        }
        let fingerprint = SpkiFingerprint::of_parsed_key(key, self.hash);
        let mut known = known.write();
        // Those in use are added again: each verification looks up a few keys only.
        let dropped = (known.len() >= MAX_KEYS).then(|| std::mem::take(&mut *known));
        known.insert(key.as_ref().into(), fingerprint);
        // Freed without the lock, because it takes a while.
        drop(known);
        drop(dropped);
        fingerprint
    }
}

/// As many keys as chains of about a hundred hosts have: 60 KB, or 256 KB if all are of the longest.
const MAX_KEYS: usize = 256;
/// The key of a 4096-bit RSA certificate has 550 bytes.
const MAX_KEY_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize, len: usize) -> SubjectPublicKeyInfoDer<'static> {
        let mut key = vec![7; len];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key.into()
    }

    #[test]
    fn each_key_has_its_own_fingerprint_and_the_size_is_bounded() {
        let caches =
            [true, false].map(|is_enabled| FingerprintCache::new(KeyHash::default(), is_enabled));
        for round in 0..3 {
            for number in 0..2 * MAX_KEYS {
                for (cache, len) in caches.iter().zip([91, 294]) {
                    let key = key(number, len + round);
                    let expected = SpkiFingerprint::of_parsed_key(&key, KeyHash::default());
                    assert_eq!([cache.of(&key), cache.of(&key)], [expected; 2]);
                }
                let known = caches[0].known.as_ref().unwrap();
                assert!((1..=MAX_KEYS).contains(&known.read().len()));
            }
        }
        assert!(caches[1].known.is_none());
    }

    #[test]
    fn a_known_key_is_not_hashed_again_and_a_long_one_is_not_kept() {
        let cache = FingerprintCache::new(KeyHash::default(), true);
        let (short, long) = (key(1, MAX_KEY_BYTES), key(1, MAX_KEY_BYTES + 1));
        cache.of(&short);
        cache.of(&long);
        let mark = SpkiFingerprint::from_digest([1; 32]);
        let mut known = cache.known.as_ref().unwrap().write();
        assert_eq!(known.len(), 1);
        known.insert(short.as_ref().into(), mark);
        drop(known);
        assert_eq!(cache.of(&short), mark);
        let mut other = short.as_ref().to_vec();
        *other.last_mut().unwrap() ^= 1;
        assert_ne!(cache.of(&other.into()), mark);
    }
}
