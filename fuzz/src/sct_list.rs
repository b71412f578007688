//! SCTs in a TLS list, in a certificate and in an OCSP response.

use pinhold::ct::Sct;

/// The input is each of the three.
///
/// # Panics
///
/// If there are more SCTs than the bytes have room for.
pub fn target(data: &[u8]) {
    for scts in [
        Sct::of_list(data),
        Sct::of_certificate(data),
        Sct::of_ocsp_response(data),
    ] {
        // An SCT without extensions and with an empty signature has 47 bytes, and two of length.
        assert!(scts.len() * 49 <= data.len());
        for sct in scts {
            let id = sct.log_id();
            assert!(data.windows(32).any(|part| part == id));
            assert!(sct.leaf_index().is_none_or(|index| index < 1 << 40));
        }
    }
}
