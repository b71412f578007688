//! Certificate chains as servers send them, many of each measured shape.
//!
//! Runs under callgrind read the chains from a file, so that all verifiers use the same chains.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P384_SHA384,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;

use crate::common::peers::rsa_key;
use crate::common::pki::{Ca, Leaf, ca_params, leaf_params};

pub(crate) const HOST: &str = "example.com";

/// The number of certificates in a chain and their key types.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A P-256 leaf under a P-384 CA under an RSA-4096 root.
    LetsEncrypt,
    /// Leaf and CA under a root.
    P256x2,
    /// Leaf and two CAs under a root.
    P256x3,
    /// An RSA-2048 leaf and CA under an RSA-4096 root.
    Rsa2048,
}

impl Shape {
    pub(crate) const ALL: [Self; 4] =
        [Self::P256x2, Self::P256x3, Self::Rsa2048, Self::LetsEncrypt];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LetsEncrypt => "lets-encrypt",
            Self::P256x2 => "p256-2",
            Self::P256x3 => "p256-3",
            Self::Rsa2048 => "rsa2048",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|shape| shape.name() == name).unwrap()
    }

    /// Certificates of a chain, without the root.
    fn len(self) -> usize {
        match self {
            Self::P256x3 => 3,
            _ => 2,
        }
    }

    fn root_key(self) -> KeyPair {
        match self {
            Self::P256x2 | Self::P256x3 => KeyPair::generate().unwrap(),
            Self::LetsEncrypt | Self::Rsa2048 => cached_rsa_key(4096, 0),
        }
    }

    /// Returns the key of this CA.
    fn ca_key(self, number: usize) -> KeyPair {
        match self {
            Self::P256x2 | Self::P256x3 => KeyPair::generate().unwrap(),
            Self::LetsEncrypt => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
            Self::Rsa2048 => cached_rsa_key(2048, number),
        }
    }

    /// Returns the key of this leaf. No CA may have the same number.
    fn leaf_key(self, number: usize) -> KeyPair {
        match self {
            Self::Rsa2048 => cached_rsa_key(2048, number),
            _ => KeyPair::generate().unwrap(),
        }
    }
}

/// Many chains of one shape under one root, for [`HOST`]. Each certificate has its own key.
pub(crate) struct Chains {
    pub(crate) root: CertificateDer<'static>,
    /// Verified before all others.
    pub(crate) first: Leaf,
    /// Each under its own CA certificate.
    pub(crate) fresh: Vec<Leaf>,
    /// Under the CA certificate of the first one.
    pub(crate) siblings: Vec<Leaf>,
}

impl Chains {
    /// Issues `count` fresh chains and as many siblings.
    pub(crate) fn new(shape: Shape, count: usize) -> Self {
        let root = Ca::root_with_key("Root of the benchmarks", shape.root_key());
        let mut numbers = 0..;
        let mut number = || numbers.next().unwrap();
        let leaf = |ca: &Ca, number| ca.leaf_with_key(leaf_of(number), shape.leaf_key(number));
        let ca = |number| {
            let upper = (shape == Shape::P256x3).then(|| issued(&root, "Upper CA", shape, number));
            issued(upper.as_ref().unwrap_or(&root), "CA", shape, number)
        };
        let first_ca = ca(number());
        Self {
            root: root.certificate(),
            first: leaf(&first_ca, number()),
            fresh: (0..count).map(|_| leaf(&ca(number()), number())).collect(),
            siblings: (0..count).map(|_| leaf(&first_ca, number())).collect(),
        }
    }

    /// Writes the first leaf's key and all certificates in sequence. DER is self-delimiting.
    pub(crate) fn write(&self, path: &Path) {
        let key = self.first.key();
        let mut bytes = [key.secret_der(), &self.root].concat();
        let all = std::iter::once(&self.first).chain(&self.fresh);
        for der in all.chain(&self.siblings).flat_map(|leaf| &leaf.chain) {
            bytes.extend_from_slice(der);
        }
        fs::write(path, bytes).unwrap();
    }

    /// Reads what [`write`](Self::write) has written. Only the key of the first leaf is its own.
    pub(crate) fn read(shape: Shape, path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let mut rest = &*bytes;
        let key = take_der(&mut rest).to_vec();
        let root = CertificateDer::from(take_der(&mut rest).to_vec());
        let mut leaves = Vec::new();
        while !rest.is_empty() {
            let chain = (0..shape.len()).map(|_| take_der(&mut rest).to_vec().into());
            leaves.push(Leaf::from_parts(key.clone(), chain.collect()));
        }
        let first = leaves.remove(0);
        let siblings = leaves.split_off(leaves.len() / 2);
        Self {
            root,
            first,
            fresh: leaves,
            siblings,
        }
    }
}

/// Takes the first DER element, whose length must be encoded in one or two bytes.
fn take_der<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = match **rest {
        [_, 0x81, len, ..] => 3 + usize::from(len),
        [_, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
        _ => panic!("not the DER of a certificate"),
    };
    let (der, after) = rest.split_at(len);
    *rest = after;
    der
}

fn issued(issuer: &Ca, name: &str, shape: Shape, number: usize) -> Ca {
    let mut params = ca_params(name);
    params.serial_number = Some(serial(number));
    params.use_authority_key_identifier_extension = true;
    params.custom_extensions = vec![extension(AUTHORITY_INFO, 70)];
    issuer.intermediate_with_key(params, name, shape.ca_key(number))
}

fn serial(number: usize) -> SerialNumber {
    u64::try_from(number).unwrap().into()
}

/// Returns parameters with extensions of the sizes that public CAs use.
fn leaf_of(number: usize) -> CertificateParams {
    let mut params = leaf_params(&[HOST, "www.example.com"]);
    params.serial_number = Some(serial(number));
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.custom_extensions = vec![
        extension(AUTHORITY_INFO, 100),
        extension(CERTIFICATE_TIMESTAMPS, 245),
    ];
    params
}

/// Returns an extension with an octet string of this length.
fn extension(oid: &[u64], len: u8) -> CustomExtension {
    let header = match len {
        0..128 => vec![4, len],
        128.. => vec![4, 0x81, len],
    };
    let content = [header, vec![0; len.into()]].concat();
    CustomExtension::from_oid_content(oid, content)
}

/// Returns the RSA key of this number, which is generated once, as that takes a second or more.
fn cached_rsa_key(bits: u32, number: usize) -> KeyPair {
    let name = format!("bench-rsa-{bits}-{number}.pem");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if let Ok(pem) = fs::read_to_string(&path) {
        return KeyPair::from_pem(&pem).unwrap();
    }
    let Some(key) = rsa_key(bits) else {
        eprintln!("openssl is not installed; it is needed to generate RSA keys");
        std::process::exit(1);
    };
    fs::write(path, key.serialize_pem()).unwrap();
    key
}

const AUTHORITY_INFO: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
const CERTIFICATE_TIMESTAMPS: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
