//! [`Sct`], a signed certificate timestamp, and where a certificate and an OCSP response have them.

use spki::der::{Tag, Tagged};

use crate::policy::der::{Value, tbs_fields, values};

/// A signed certificate timestamp of version 1 ([RFC 6962 section 3.2]), as it was received: nothing
/// about it is verified.
///
/// ```
/// use pinhold::ct::Sct;
///
/// // Two bytes of length, and no SCT.
/// assert_eq!(Sct::of_list(&[0, 0]).len(), 0);
/// ```
///
/// [RFC 6962 section 3.2]: https://www.rfc-editor.org/rfc/rfc6962#section-3.2
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sct<'a> {
    log_id: [u8; 32],
    timestamp: u64,
    extensions: &'a [u8],
    scheme: u16,
    signature: &'a [u8],
}

impl<'a> Sct<'a> {
    /// Returns the SCTs in the TLS encoding of a `SignedCertificateTimestampList` ([RFC 6962 section
    /// 3.3]). SCTs of unknown versions and malformed ones are omitted; a malformed list has none.
    ///
    /// [RFC 6962 section 3.3]: https://www.rfc-editor.org/rfc/rfc6962#section-3.3
    #[must_use]
    pub fn of_list(list: &'a [u8]) -> Vec<Self> {
        let mut found = Vec::new();
        let mut input = Input(list);
        let (Some(mut entries), true) = (input.vector().map(Input), input.0.is_empty()) else {
            return found;
        };
        while !entries.0.is_empty() {
            let Some(entry) = entries.vector() else {
                return Vec::new();
            };
            found.extend(Self::parse(entry));
        }
        found
    }

    /// Returns the SCTs that are embedded in a certificate: none if it has no such extension, or more
    /// than one.
    #[must_use]
    pub fn of_certificate(certificate: &'a [u8]) -> Vec<Self> {
        let extensions = tbs_fields(certificate).and_then(|mut fields| fields.find(is_extensions));
        let list = extensions.and_then(|wrapper| sct_list(&wrapper, EMBEDDED));
        list.map_or_else(Vec::new, Self::of_list)
    }

    /// Returns the SCTs in an OCSP response, of the first certificate in it that has any. The signature
    /// of the response is not verified, and need not be: each SCT has its own.
    #[must_use]
    pub fn of_ocsp_response(response: &'a [u8]) -> Vec<Self> {
        let Some(responses) = single_responses(response) else {
            return Vec::new();
        };
        let each = values(responses).take(MAX_RESPONSES);
        let mut lists = each.filter_map(|single| {
            // A status may have the tag of the extensions, but comes before the time.
            let fields = values(single.contents());
            let mut after = fields.skip_while(|field| field.any.tag() != Tag::GeneralizedTime);
            sct_list(&after.find(is_second)?, IN_OCSP)
        });
        lists.next().map_or_else(Vec::new, Self::of_list)
    }

    /// Returns the ID of the log: the SHA-256 digest of its key.
    #[must_use]
    pub fn log_id(&self) -> [u8; 32] {
        self.log_id
    }

    /// Returns the time of the SCT in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// Returns the index of the entry in a [static-ct log]; `None` for an SCT of another log.
    ///
    /// [static-ct log]: https://c2sp.org/static-ct-api
    #[must_use]
    pub fn leaf_index(&self) -> Option<u64> {
        let mut input = Input(self.extensions);
        while let Some(kind) = input.number(1) {
            let data = input.vector()?;
            if kind == LEAF_INDEX {
                return (data.len() == 5).then(|| Input(data).number(5))?;
            }
        }
        None
    }

    /// Returns the algorithm of the signature: a `SignatureAndHashAlgorithm` of TLS 1.2.
    pub(crate) fn scheme(&self) -> u16 {
        self.scheme
    }

    pub(crate) fn signature(&self) -> &'a [u8] {
        self.signature
    }

    pub(crate) fn extensions(&self) -> &'a [u8] {
        self.extensions
    }

    fn parse(entry: &'a [u8]) -> Option<Self> {
        let mut input = Input(entry);
        if input.number(1)? != VERSION_1 {
            return None;
        }
        let sct = Self {
            log_id: *input.take(32)?.first_chunk()?,
            timestamp: input.number(8)?,
            extensions: input.vector()?,
            scheme: u16::try_from(input.number(2)?).ok()?,
            signature: input.vector()?,
        };
        input.0.is_empty().then_some(sct)
    }
}

/// Returns the contents of the `SingleResponse`s of an OCSP response (RFC 6960 section 4.2.1).
fn single_responses(response: &[u8]) -> Option<&[u8]> {
    let response = values(response).next()?;
    // The status, and the bytes, explicitly tagged.
    let wrapper = values(response.contents()).nth(1)?;
    let bytes = values(wrapper.contents()).next()?;
    let basic = values(bytes.contents()).nth(1)?;
    let basic = values(basic.contents()).next()?;
    let data = values(basic.contents()).next()?;
    // Before them are the version and the responder, both tagged, and a time.
    let mut fields = values(data.contents());
    let responses = fields.find(|field| field.any.tag() == Tag::Sequence)?;
    Some(responses.contents())
}

/// Returns the SCT list in explicitly tagged extensions; `None` if there is not exactly one.
fn sct_list<'a>(wrapper: &Value<'a>, kind: &[u8]) -> Option<&'a [u8]> {
    let extensions = values(wrapper.contents()).next()?;
    let mut lists = values(extensions.contents()).filter(|it| is_of_kind(it, kind));
    let list = lists.next().filter(|_| lists.next().is_none())?;
    // The octets of the extension are the DER of octets.
    let octets = values(list.contents()).last()?;
    let list = values(octets.contents()).next()?;
    (octets.any.tag() == Tag::OctetString && list.any.tag() == Tag::OctetString)
        .then(|| list.contents())
}

/// Returns whether an extension has this identifier.
pub(crate) fn is_of_kind(extension: &Value<'_>, kind: &[u8]) -> bool {
    let mut parts = values(extension.contents());
    extension.any.tag() == Tag::Sequence && parts.next().is_some_and(|known| known.der == kind)
}

/// Returns whether a field of a certificate is that of the extensions, `[3]`.
pub(crate) fn is_extensions(field: &Value<'_>) -> bool {
    field.der.first() == Some(&0xa3)
}

/// Returns whether a field is `[1]`, constructed.
fn is_second(field: &Value<'_>) -> bool {
    field.der.first() == Some(&0xa1)
}

/// The rest of a text in the presentation language of TLS.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Returns a number of at most 8 bytes.
    fn number(&mut self, length: usize) -> Option<u64> {
        let bytes = self.take(length)?.iter();
        Some(bytes.fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// Returns a vector of at most 2^16 - 1 bytes.
    fn vector(&mut self) -> Option<&'a [u8]> {
        let length = self.number(2)?;
        self.take(usize::try_from(length).ok()?)
    }
}

/// The DER of the object identifier of embedded SCTs, 1.3.6.1.4.1.11129.2.4.2.
pub(crate) const EMBEDDED: &[u8] = b"\x06\x0a\x2b\x06\x01\x04\x01\xd6\x79\x02\x04\x02";
/// The DER of the object identifier of SCTs in an OCSP response, 1.3.6.1.4.1.11129.2.4.5.
const IN_OCSP: &[u8] = b"\x06\x0a\x2b\x06\x01\x04\x01\xd6\x79\x02\x04\x05";
/// The number of certificates in an OCSP response that are searched. A stapled one has one.
const MAX_RESPONSES: usize = 16;
/// `v1` (RFC 6962 section 3.2).
const VERSION_1: u64 = 0;
/// The extension of static-ct.
const LEAF_INDEX: u64 = 0;
