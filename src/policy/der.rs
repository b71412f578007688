//! Reading of the fields of a certificate by the DER reader of `spki`. A library for all of X.509
//! would bring a table of all object identifiers, which takes 200 KB in a small client.

use spki::der::asn1::AnyRef;
use spki::der::{Decode, Tagged};

/// Returns the DER of the `SubjectPublicKeyInfo`; `None` if the bytes are not exactly one
/// certificate. The other fields of the certificate are not checked.
pub(crate) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    AnyRef::from_der(certificate).ok()?;
    Some(fields(certificate)?.nth(5)?.der)
}

/// Returns the fields in their order: serial number, algorithm, issuer, validity, subject, public
/// key and so on. Skips the version, which comes first and may be absent.
pub(crate) fn fields(certificate: &[u8]) -> Option<impl Iterator<Item = Value<'_>>> {
    let fields = tbs_fields(certificate)?;
    Some(fields.skip_while(|field| field.any.tag().is_context_specific()))
}

/// Returns all fields in their order, with the version if there is one.
pub(crate) fn tbs_fields(certificate: &[u8]) -> Option<impl Iterator<Item = Value<'_>>> {
    let certificate = values(certificate).next()?;
    let to_be_signed = values(certificate.contents()).next()?;
    Some(values(to_be_signed.contents()))
}

/// One DER value.
pub(crate) struct Value<'a> {
    pub(crate) any: AnyRef<'a>,
    /// The encoding with tag and length.
    pub(crate) der: &'a [u8],
}

impl<'a> Value<'a> {
    pub(crate) fn contents(&self) -> &'a [u8] {
        self.any.value()
    }
}

/// Returns the consecutive DER values in `rest`, up to the first one that can't be read.
pub(crate) fn values(mut rest: &[u8]) -> impl Iterator<Item = Value<'_>> {
    std::iter::from_fn(move || {
        let (any, after) = AnyRef::from_der_partial(rest).ok()?;
        let der = rest.get(..rest.len().checked_sub(after.len())?)?;
        rest = after;
        Some(Value { any, der })
    })
}
