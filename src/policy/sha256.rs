//! SHA-256, computed by the crypto provider in use or by one that is compiled in, else by the crate
//! `hmac-sha256`.

use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
#[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::hash::{Hash, HashAlgorithm};
#[cfg(feature = "ring")]
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

/// The SHA-256 implementation of a crypto provider, or [`sha256`] without one. On processors
/// without SHA instructions a provider takes half the time of a portable implementation.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyHash(Option<&'static dyn Hash>);

impl KeyHash {
    /// Returns the implementation of a provider, if one of its cipher suites uses SHA-256.
    pub(crate) fn of(provider: &CryptoProvider) -> Self {
        let suites = provider.cipher_suites.iter();
        let mut hashes = suites.map(|suite| match suite {
            SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
            SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
        });
        Self(hashes.find(|hash| hash.algorithm() == HashAlgorithm::SHA256))
    }

    pub(crate) fn digest(self, bytes: &[u8]) -> [u8; 32] {
        let digest = self.0.map(|hash| hash.hash(bytes));
        let digest = digest.and_then(|digest| digest.as_ref().try_into().ok());
        digest.unwrap_or_else(|| sha256(&[bytes]))
    }
}

/// Returns the SHA-256 of the concatenated parts. It is computed by a provider that is compiled in,
/// if there is one: most clients contain one anyway, and it is fast on every processor.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    if let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 {
        let mut context = suite.common.hash_provider.start();
        for part in parts {
            context.update(part);
        }
        // A fallback to the portable implementation for a digest of another length, which SHA-256
        // never has, would link it into every client.
        let digest = context.finish();
        return digest.as_ref().first_chunk().copied().unwrap_or_default();
    }
    portable_sha256(parts)
}

fn portable_sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = hmac_sha256::Hash::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use sha2::Digest;

    use super::*;
    use crate::policy::text::hex;

    /// The examples of NIST for FIPS 180-2, and the empty message of the CAVP vectors.
    #[test]
    fn digests_equal_the_published_vectors() {
        let million = vec![b'a'; 1_000_000];
        let cases: [(&[u8], &str); 4] = [
            (
                b"",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                b"abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (
                &million,
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(hex(&portable_sha256(&[message])), expected);
            assert_eq!(hex(&sha256(&[message])), expected);
        }
    }

    proptest! {
        #[test]
        fn digests_equal_those_of_another_implementation(
            parts in vec(vec(any::<u8>(), 0..200), 0..5),
        ) {
            let expected: [u8; 32] = sha2::Sha256::digest(parts.concat()).into();
            let parts = parts.iter().map(Vec::as_slice).collect::<Vec<_>>();
            prop_assert_eq!(portable_sha256(&parts), expected);
            prop_assert_eq!(sha256(&parts), expected);
            prop_assert_eq!(KeyHash::default().digest(&parts.concat()), expected);
        }
    }
}
