//! Chains as servers send them: the shapes that are measured, and many of each.
//!
//! A run under callgrind reads them from a file: all verifiers of a figure then see the same ones.
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

/// What the keys of a chain are.
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
            Self::LetsEncrypt | Self::Rsa2048 => cached_rsa_key(4096),
        }
    }

    fn ca_key(self) -> KeyPair {
        match self {
            Self::P256x2 | Self::P256x3 => KeyPair::generate().unwrap(),
            Self::LetsEncrypt => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
            Self::Rsa2048 => cached_rsa_key(2048),
        }
    }

    fn leaf_key(self) -> KeyPair {
        match self {
            Self::Rsa2048 => cached_rsa_key(2048),
            _ => KeyPair::generate().unwrap(),
        }
    }
}

/// Many chains of one shape under one root, for [`HOST`]. Their keys are the same; what is signed
/// and the signatures are not.
pub(crate) struct Chains {
    pub(crate) root: CertificateDer<'static>,
    /// Seen before all others.
    pub(crate) first: Leaf,
    /// Each under a CA certificate of its own.
    pub(crate) fresh: Vec<Leaf>,
    /// Under the CA certificate of the first one.
    pub(crate) siblings: Vec<Leaf>,
}

impl Chains {
    /// So many fresh ones, and as many siblings.
    pub(crate) fn new(shape: Shape, count: usize) -> Self {
        let count = u64::try_from(count).unwrap();
        let root = Ca::root_with_key("Root of the benchmarks", shape.root_key());
        let keys = [shape.leaf_key(), shape.ca_key()].map(|key| key.serialize_der());
        let [leaf_key, ca_key] = keys;
        let leaf = |ca: &Ca, serial| {
            let key = KeyPair::try_from(leaf_key.clone()).unwrap();
            ca.leaf_with_key(leaf_of(serial), key)
        };
        let ca = |serial| {
            let upper = match shape {
                Shape::P256x3 => Some(issued(&root, "Upper CA", serial, &ca_key)),
                _ => None,
            };
            issued(upper.as_ref().unwrap_or(&root), "CA", serial, &ca_key)
        };
        let first_ca = ca(0);
        Self {
            root: root.certificate(),
            first: leaf(&first_ca, 0),
            fresh: (1..=count)
                .map(|serial| leaf(&ca(serial), serial))
                .collect(),
            siblings: (1..=count)
                .map(|serial| leaf(&first_ca, count + serial))
                .collect(),
        }
    }

    /// Each certificate as it is, the leaf's key first: DER says where it ends.
    pub(crate) fn write(&self, path: &Path) {
        let key = self.first.key();
        let mut bytes = [key.secret_der(), &self.root].concat();
        let all = std::iter::once(&self.first).chain(&self.fresh);
        for der in all.chain(&self.siblings).flat_map(|leaf| &leaf.chain) {
            bytes.extend_from_slice(der);
        }
        fs::write(path, bytes).unwrap();
    }

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

/// The outermost element of DER with a length of one or two bytes.
fn take_der<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = match **rest {
        [_, 0x81, len, ..] => 3 + usize::from(len),
        [_, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
        _ => panic!("no DER of a certificate"),
    };
    let (der, after) = rest.split_at(len);
    *rest = after;
    der
}

fn issued(issuer: &Ca, name: &str, serial: u64, key: &[u8]) -> Ca {
    let mut params = ca_params(name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.use_authority_key_identifier_extension = true;
    params.custom_extensions = vec![extension(AUTHORITY_INFO, 70)];
    // Of three certificates both CAs have a key of their own.
    let key = match name {
        "Upper CA" => KeyPair::generate().unwrap(),
        _ => KeyPair::try_from(key).unwrap(),
    };
    issuer.intermediate_with_key(params, name, key)
}

/// With extensions of the sizes that public CAs write.
fn leaf_of(serial: u64) -> CertificateParams {
    let mut params = leaf_params(&[HOST, "www.example.com"]);
    params.serial_number = Some(SerialNumber::from(serial));
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.custom_extensions = vec![
        extension(AUTHORITY_INFO, 100),
        extension(CERTIFICATE_TIMESTAMPS, 245),
    ];
    params
}

/// An octet string of so many bytes.
fn extension(oid: &[u64], len: u8) -> CustomExtension {
    let header = match len {
        0..128 => vec![4, len],
        128.. => vec![4, 0x81, len],
    };
    let content = [header, vec![0; len.into()]].concat();
    CustomExtension::from_oid_content(oid, content)
}

/// Made once, as that takes a second or more.
fn cached_rsa_key(bits: u32) -> KeyPair {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-rsa-{bits}.pem"));
    if let Ok(pem) = fs::read_to_string(&path) {
        return KeyPair::from_pem(&pem).unwrap();
    }
    let Some(key) = rsa_key(bits) else {
        eprintln!("without openssl there are no RSA keys");
        std::process::exit(1);
    };
    fs::write(path, key.serialize_pem()).unwrap();
    key
}

const AUTHORITY_INFO: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
const CERTIFICATE_TIMESTAMPS: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
