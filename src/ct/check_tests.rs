//! Every change of a real certificate, see `tests/formats/ct/README.md`.

use rustls_pki_types::CertificateDer;

use crate::ct::check::Evidence;
use crate::ct::ct_policy::CtPolicy;
use crate::ct::log_list::LogList;
use crate::ct::outcome::CtVerdict;
use crate::ct::sct::{EMBEDDED, Sct};
use crate::policy::SpkiFingerprint;
use crate::policy::timestamp::at;

const LEAF: &[u8] = include_bytes!("../../tests/formats/ct/ee.der");
const INTERMEDIATE: &[u8] = include_bytes!("../../tests/formats/ct/inter.der");
const LIST: &str = include_str!("../../tests/formats/ct/log_list.json");
/// 1 January 2022.
const TIME: u64 = 1_640_995_200;

/// Returns the verdict about a certificate of the intermediate.
fn verdict(certificate: &[u8], issuer_key: [u8; 32], time: u64) -> CtVerdict {
    let list = LogList::parse(LIST).unwrap();
    #[cfg(feature = "ring")]
    let provider = rustls::crypto::ring::default_provider();
    #[cfg(not(feature = "ring"))]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let evidence = Evidence {
        certificate,
        issuer_key,
        lifetime: u64::MAX,
        ocsp_response: &[],
        algorithms: provider.signature_verification_algorithms.all,
    };
    let outcome = evidence.check(&list, &CtPolicy::default(), at(time));
    outcome.verdict()
}

fn issuer_key() -> [u8; 32] {
    let issuer = CertificateDer::from(INTERMEDIATE);
    *SpkiFingerprint::of_certificate(&issuer).unwrap().as_bytes()
}

#[test]
fn a_real_certificate_complies_until_one_bit_is_flipped() {
    assert_eq!(verdict(LEAF, issuer_key(), TIME), CtVerdict::Compliant);
    let extension = LEAF
        .windows(EMBEDDED.len())
        .position(|part| part == EMBEDDED);
    let extension = extension.unwrap();
    let list = Sct::of_certificate(LEAF);
    assert_eq!(list.len(), 3);
    let last = list[2].signature();
    let end = LEAF
        .windows(last.len())
        .position(|part| part == last)
        .unwrap()
        + last.len();
    let mut changed = LEAF.to_vec();
    // The SCTs bit by bit; of what they are about, one bit of each byte. Around them are the headers of
    // two sequences and the signature of the CA, which webpki checks.
    for place in 8..end {
        let bits = if place < extension { 1 } else { 8 };
        for bit in 0..bits {
            let flipped = 1 << ((place + bit) % 8);
            changed[place] ^= flipped;
            let verdict = verdict(&changed, issuer_key(), TIME);
            assert_ne!(verdict, CtVerdict::Compliant, "byte {place}, bit {bit}");
            changed[place] ^= flipped;
        }
    }
    assert_eq!(changed, LEAF);
}

#[test]
fn the_key_of_the_issuer_and_the_time_matter() {
    let (found, required) = (0, 3);
    let none = CtVerdict::TooFewLogs { found, required };
    for bit in 0..256 {
        let mut issuer = issuer_key();
        issuer[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verdict(LEAF, issuer, TIME), none);
    }
    // The SCTs are of the 25th of October 2021, 21:36:04.
    assert_eq!(verdict(LEAF, issuer_key(), 1_635_197_763), none);
    assert_eq!(
        verdict(LEAF, issuer_key(), 1_635_197_764),
        CtVerdict::Compliant
    );
}
