//! Reading of the fields of a certificate. A library for all of X.509 would bring a table of all
//! object identifiers, which takes 200 KB in a small client. The reader of `spki` took 7 % of the
//! verification of a chain verified before.

/// Returns the DER of the `SubjectPublicKeyInfo`; `None` if the bytes are not exactly one
/// certificate. The other fields of the certificate are not checked.
pub(crate) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (_, after) = split(certificate)?;
    let key = fields(certificate)?.nth(5)?;
    after.is_empty().then_some(key.der)
}

/// Returns the fields in their order: serial number, algorithm, issuer, validity, subject, public
/// key and so on. Skips the version, which comes first and may be absent.
pub(crate) fn fields(certificate: &[u8]) -> Option<impl Iterator<Item = Value<'_>>> {
    let certificate = values(certificate).next()?;
    let to_be_signed = values(certificate.contents).next()?;
    let fields = values(to_be_signed.contents);
    Some(fields.skip_while(|field| field.tag & CLASS == CONTEXT_SPECIFIC))
}

/// One DER value.
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
    /// The encoding with tag and length.
    pub(crate) der: &'a [u8],
}

/// Returns the consecutive DER values in `rest`, up to the first one that can't be read.
pub(crate) fn values(mut rest: &[u8]) -> impl Iterator<Item = Value<'_>> {
    std::iter::from_fn(move || {
        let (value, after) = split(rest)?;
        rest = after;
        Some(value)
    })
}

/// Splits off the first value. Returns `None` if its tag has several bytes, which no field of a
/// certificate has, or if its length is not in the shortest form or has more than three bytes.
fn split(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    if tag & NUMBER == NUMBER {
        return None;
    }
    let (header, [high, middle, low], least) = match (first, rest) {
        (0..=0x7f, _) => (2, [0, 0, first], 0),
        (0x81, &[low, ..]) => (3, [0, 0, low], 0x80),
        (0x82, &[middle, low, ..]) => (4, [0, middle, low], 0x100),
        (0x83, &[high, middle, low, ..]) => (5, [high, middle, low], 0x1_0000),
        _ => return None,
    };
    let len = usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?;
    if len < least {
        return None;
    }
    let (der, after) = bytes.split_at_checked(header + len)?;
    let contents = der.get(header..)?;
    Some((Value { tag, contents, der }, after))
}

/// The bits of a tag that are its class, and the class of fields that are numbered.
const CLASS: u8 = 0xc0;
const CONTEXT_SPECIFIC: u8 = 0x80;
/// The bits of a tag that are its number; all are set if the number follows in further bytes.
const NUMBER: u8 = 0x1f;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use spki::der::asn1::AnyRef;
    use spki::der::{Decode, Encode, Tag};

    use super::*;

    #[test]
    fn each_length_is_read_in_its_shortest_form_only() {
        for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let content = vec![7; len];
            let any = AnyRef::new(Tag::OctetString, &content).unwrap();
            let mut der = vec![0; len + 5];
            let der = any.encode_to_slice(&mut der).unwrap();
            let two = [der, der].concat();
            let read = values(&two).collect::<Vec<_>>();
            assert_eq!(read.len(), 2);
            for value in read {
                assert_eq!((value.tag, value.contents, value.der), (4, &*content, der));
            }
            assert!(split(&der[..der.len() - 1]).is_none());
        }
        let longer: [&[u8]; 6] = [
            b"\x04\x80",
            b"\x04\x81\x00",
            b"\x04\x82\x00\x01\x00",
            b"\x04\x83\x00\x00\x01\x00",
            b"\x04\x84\x00\x00\x00\x01\x00",
            b"\x1f\x01\x00",
        ];
        assert!(longer.iter().all(|der| split(der).is_none()));
    }

    proptest! {
        /// Long forms of a length are rare in random bytes, so that some are inserted.
        #[test]
        fn values_equal_those_of_another_reader(
            length in vec(prop_oneof![any::<u8>(), 0x80_u8..=0x85, 0_u8..3], 0..6),
            rest in vec(any::<u8>(), 0..600),
        ) {
            let bytes = [vec![4], length, rest].concat();
            let expected = AnyRef::from_der_partial(&bytes).ok();
            prop_assert_eq!(
                split(&bytes).map(|(value, after)| (value.contents, after)),
                expected.map(|(any, after)| (any.value(), after)),
            );
        }
    }
}
