//! Certificates made from the input of a target, and the signature algorithm that signs them.
//!
//! Their signatures are hashes, so that a target makes certificates that are valid as fast as it
//! verifies them. Everything else about them is what webpki requires.

use ring::digest;
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};

use crate::input::Input;

/// A certificate as the input describes it.
pub(crate) struct Spec {
    subject: u8,
    key: u8,
    issuer: u8,
    signer: u8,
    dates: u8,
    basic_constraints: u8,
    path_length: u8,
    extended_usage: u8,
    name_constraints: u8,
    names: u8,
    is_forged: bool,
    is_version_1: bool,
    has_unknown_extension: bool,
    flips_after_signing: bool,
    /// Position and mask of bytes to change.
    flips: Vec<(u16, u8)>,
}

impl Spec {
    /// Reads four bytes, and three more for each of at most three changes.
    pub(crate) fn read(input: &mut Input<'_>) -> Self {
        let [one, two, three, four] = [(); 4].map(|()| input.byte());
        let flips = (0..four >> 6).map(|_| {
            let position = u16::from_be_bytes([input.byte(), input.byte()]);
            (position, input.byte())
        });
        Self {
            subject: one & 7,
            key: one >> 3 & 7,
            is_forged: one & 0x40 != 0,
            is_version_1: one & 0x80 != 0,
            issuer: two & 7,
            signer: two >> 3 & 7,
            dates: two >> 6,
            basic_constraints: three & 3,
            path_length: three >> 2 & 3,
            extended_usage: three >> 4 & 3,
            name_constraints: three >> 6,
            names: four & 7,
            has_unknown_extension: four & 0x18 == 0x18,
            flips_after_signing: four & 0x20 != 0,
            flips: flips.collect(),
        }
    }

    /// A root with this name and key.
    pub(crate) fn root(name: u8, key: u8) -> Self {
        Self {
            subject: name & 7,
            key: key & 7,
            issuer: name & 7,
            signer: key & 7,
            dates: 0,
            basic_constraints: 0,
            path_length: 0,
            extended_usage: 0,
            name_constraints: 0,
            names: 0,
            is_forged: false,
            is_version_1: false,
            has_unknown_extension: false,
            flips_after_signing: false,
            flips: Vec::new(),
        }
    }

    /// Returns the certificate, which is signed after or before the changes.
    pub(crate) fn certificate(&self, role: Role) -> CertificateDer<'static> {
        let mut tbs = self.to_be_signed(role);
        if !self.flips_after_signing {
            flip(&self.flips, &mut tbs);
        }
        let mut signature = sign(&public_key(self.signer), &tbs);
        if self.is_forged {
            signature[0] ^= 1;
        }
        let mut der = tlv(
            SEQUENCE,
            &[
                &tbs,
                &tlv(SEQUENCE, &[alg_id::ED25519.as_ref()]),
                &tlv(BIT_STRING, &[&[0], &signature]),
            ],
        );
        if self.flips_after_signing {
            flip(&self.flips, &mut der);
        }
        der.into()
    }

    fn to_be_signed(&self, role: Role) -> Vec<u8> {
        let algorithm = tlv(SEQUENCE, &[alg_id::ED25519.as_ref()]);
        let version = tlv(0xa0, &[&tlv(INTEGER, &[&[2]])]);
        let extensions = self.extensions(role).concat();
        let extensions = tlv(0xa3, &[&tlv(SEQUENCE, &[&extensions])]);
        let (version, extensions) = if self.is_version_1 {
            (Vec::new(), Vec::new())
        } else {
            (version, extensions)
        };
        tlv(
            SEQUENCE,
            &[
                &version,
                &tlv(INTEGER, &[&[1]]),
                &algorithm,
                &name(self.issuer),
                &self.validity(),
                &name(self.subject),
                &subject_public_key_info(self.key),
                &extensions,
            ],
        )
    }

    fn validity(&self) -> Vec<u8> {
        let utc = |time: &str| tlv(0x17, &[time.as_bytes()]);
        let generalized = |time: &str| tlv(0x18, &[time.as_bytes()]);
        let (from, until) = match self.dates {
            0 => (utc("250101000000Z"), utc("350101000000Z")),
            1 => (utc("250101000000Z"), utc("291231235959Z")),
            2 => (utc("300601000000Z"), utc("350101000000Z")),
            _ => (utc("250101000000Z"), generalized("20550101000000Z")),
        };
        tlv(SEQUENCE, &[&from, &until])
    }

    fn extensions(&self, role: Role) -> Vec<Vec<u8>> {
        let mut extensions = Vec::new();
        let is_ca = match self.basic_constraints {
            0 => Some(role != Role::Leaf),
            1 => Some(true),
            2 => Some(false),
            _ => None,
        };
        if let Some(is_ca) = is_ca {
            let ca = tlv(BOOLEAN, &[&[0xff]]);
            let length = tlv(
                INTEGER,
                &[&[self.path_length - u8::from(self.path_length > 0)]],
            );
            let parts: &[&[u8]] = match (is_ca, self.path_length) {
                (true, 0) => &[&ca],
                (true, _) => &[&ca, &length],
                (false, _) => &[],
            };
            extensions.push(extension(&[0x55, 0x1d, 0x13], &tlv(SEQUENCE, parts), true));
        }
        let names = [
            "host.example",
            "*.example",
            "sub.host.example",
            "other.example",
        ];
        let names = match (role, self.names) {
            (Role::Leaf, kind @ 0..4) => tlv(0x82, &[names[usize::from(kind)].as_bytes()]),
            (Role::Leaf, 4) => tlv(0x87, &[&[192, 0, 2, 1]]),
            (Role::Leaf, 5) => [
                tlv(0x82, &[b"HOST.example"]),
                tlv(0x82, &[b"other.example"]),
            ]
            .concat(),
            (Role::Leaf, 6) => tlv(0x82, &[b"*.host.example"]),
            _ => Vec::new(),
        };
        if !names.is_empty() {
            extensions.push(extension(
                &[0x55, 0x1d, 0x11],
                &tlv(SEQUENCE, &[&names]),
                false,
            ));
        }
        let usage = match self.extended_usage {
            0 => &[][..],
            1 => &[0x2b, 6, 1, 5, 5, 7, 3, 1],
            2 => &[0x2b, 6, 1, 5, 5, 7, 3, 2],
            _ => &[0x55, 0x1d, 0x25, 0],
        };
        if !usage.is_empty() {
            let usage = tlv(SEQUENCE, &[&tlv(OID, &[usage])]);
            extensions.push(extension(&[0x55, 0x1d, 0x25], &usage, false));
        }
        let (tag, subtree) = match self.name_constraints {
            1 => (0xa0, "host.example"),
            2 => (0xa1, "host.example"),
            _ => (0xa0, "example"),
        };
        if self.name_constraints > 0 {
            let subtree = tlv(SEQUENCE, &[&tlv(0x82, &[subtree.as_bytes()])]);
            let constraints = tlv(SEQUENCE, &[&tlv(tag, &[&subtree])]);
            extensions.push(extension(&[0x55, 0x1d, 0x1e], &constraints, true));
        }
        if self.has_unknown_extension {
            extensions.push(extension(&[0x2a, 3], &[5, 0], true));
        }
        extensions
    }
}

/// What a certificate is by default.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Ca,
    Leaf,
}

/// Returns the DER `SubjectPublicKeyInfo` of a key.
pub(crate) fn subject_public_key_info(key: u8) -> Vec<u8> {
    let algorithm = tlv(SEQUENCE, &[alg_id::ED25519.as_ref()]);
    tlv(
        SEQUENCE,
        &[&algorithm, &tlv(BIT_STRING, &[&[0], &public_key(key)])],
    )
}

fn public_key(key: u8) -> [u8; 32] {
    [key; 32]
}

/// A common name of one letter.
fn name(number: u8) -> Vec<u8> {
    let kind = tlv(OID, &[&[0x55, 4, 3]]);
    let value = tlv(UTF8_STRING, &[&[b'A' + number]]);
    let attribute = tlv(SEQUENCE, &[&kind, &value]);
    tlv(SEQUENCE, &[&tlv(0x31, &[&attribute])])
}

fn extension(oid: &[u8], value: &[u8], is_critical: bool) -> Vec<u8> {
    let oid = tlv(OID, &[oid]);
    let critical = tlv(BOOLEAN, &[&[0xff]]);
    let critical = if is_critical { critical } else { Vec::new() };
    tlv(SEQUENCE, &[&oid, &critical, &tlv(0x04, &[value])])
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let [high, low] = u16::try_from(length).expect("short").to_be_bytes();
    let mut der = vec![tag];
    match length {
        0..0x80 => der.push(low),
        0x80..0x100 => der.extend([0x81, low]),
        _ => der.extend([0x82, high, low]),
    }
    for part in parts {
        der.extend_from_slice(part);
    }
    der
}

fn flip(flips: &[(u16, u8)], bytes: &mut [u8]) {
    let length = bytes.len();
    for (position, mask) in flips {
        bytes[usize::from(*position) % length] ^= mask;
    }
}

fn sign(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(key);
    context.update(message);
    context.finish().as_ref().try_into().expect("32 bytes")
}

/// Verifies the signatures of these certificates, under the name of Ed25519.
#[derive(Debug)]
struct HashAlgorithm;

impl SignatureVerificationAlgorithm for HashAlgorithm {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        if sign(public_key, message).as_slice() == signature {
            Ok(())
        } else {
            Err(InvalidSignature)
        }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }
}

pub(crate) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[&HashAlgorithm],
    mapping: &[(SignatureScheme::ED25519, &[&HashAlgorithm])],
};

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const SEQUENCE: u8 = 0x30;
