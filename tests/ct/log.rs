//! A log of our own: it signs certificates and precertificates as RFC 6962 section 3.2 states, by code
//! that shares nothing with the library.

use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData, SerialNumber, SigningKey};
use sha2::{Digest, Sha256};

use crate::common::NOW;
use crate::common::pki::{Ca, Leaf, contents, der, values};

/// A log with its key.
pub(crate) struct TestLog {
    pub(crate) name: String,
    pub(crate) operator: String,
    key: KeyPair,
    /// The algorithm that its SCTs name.
    scheme: [u8; 2],
}

/// What is signed beside the certificate.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) timestamp: u64,
    pub(crate) extensions: Vec<u8>,
    pub(crate) version: u8,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            timestamp: 1000 * (NOW - 60),
            extensions: Vec::new(),
            version: 0,
        }
    }
}

/// What a log signs.
#[derive(Clone)]
pub(crate) enum Entry {
    Certificate(Vec<u8>),
    Precertificate([u8; 32], Vec<u8>),
}

impl TestLog {
    pub(crate) fn new(name: &str, operator: &str) -> Self {
        Self::with_key(name, operator, KeyPair::generate().unwrap(), [4, 3])
    }

    pub(crate) fn with_key(name: &str, operator: &str, key: KeyPair, scheme: [u8; 2]) -> Self {
        Self {
            name: name.to_owned(),
            operator: operator.to_owned(),
            key,
            scheme,
        }
    }

    pub(crate) fn public_key(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    pub(crate) fn id(&self) -> [u8; 32] {
        Sha256::digest(self.public_key()).into()
    }

    /// Returns an SCT without its length.
    pub(crate) fn sign(&self, entry: &Entry, terms: &Terms) -> Vec<u8> {
        let mut signed = vec![0, 0];
        signed.extend(terms.timestamp.to_be_bytes());
        let certificate = match entry {
            Entry::Certificate(certificate) => {
                signed.extend([0, 0]);
                certificate
            }
            Entry::Precertificate(issuer, contents) => {
                signed.extend([0, 1]);
                signed.extend(issuer);
                contents
            }
        };
        let length = u32::try_from(certificate.len()).unwrap().to_be_bytes();
        signed.extend(&length[1..]);
        signed.extend(certificate);
        signed.extend(vector(&terms.extensions));
        let mut sct = vec![terms.version];
        sct.extend(self.id());
        sct.extend(terms.timestamp.to_be_bytes());
        sct.extend(vector(&terms.extensions));
        sct.extend(self.scheme);
        sct.extend(vector(&self.key.sign(&signed).unwrap()));
        sct
    }
}

/// Returns a vector of TLS with a length of two bytes.
pub(crate) fn vector(contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap();
    [&length.to_be_bytes()[..], contents].concat()
}

/// Returns the TLS encoding of a list of SCTs.
pub(crate) fn sct_list(scts: &[Vec<u8>]) -> Vec<u8> {
    let entries = scts.iter().flat_map(|sct| vector(sct));
    vector(&entries.collect::<Vec<_>>())
}

/// A certificate before its SCTs are known.
pub(crate) struct Precertificate<'c> {
    ca: &'c Ca,
    params: CertificateParams,
    key: KeyPair,
}

impl<'c> Precertificate<'c> {
    pub(crate) fn new(ca: &'c Ca, mut params: CertificateParams) -> Self {
        params.serial_number = Some(SerialNumber::from(7_u64));
        let key = KeyPair::generate().unwrap();
        Self { ca, params, key }
    }

    /// Returns what a log signs: the certificate as it is without SCTs.
    pub(crate) fn entry(&self) -> Entry {
        let certificate = self.params.signed_by(&self.key, self.ca.issuer()).unwrap();
        let signed = values(contents(certificate.der()))[0].to_vec();
        let issuer = self.ca.certificate();
        let issuer = *pinhold::SpkiFingerprint::of_certificate(&issuer)
            .unwrap()
            .as_bytes();
        Entry::Precertificate(issuer, signed)
    }

    /// Returns the certificate with this list of SCTs.
    pub(crate) fn with_list(&self, list: &[u8]) -> Leaf {
        let mut params = self.params.clone();
        let kind = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
        let extension = CustomExtension::from_oid_content(&kind, der(0x04, list));
        params.custom_extensions.push(extension);
        let key = KeyPair::try_from(self.key.serialize_der()).unwrap();
        self.ca.leaf_with_key(params, key)
    }

    /// Returns the certificate with an SCT of each log.
    pub(crate) fn logged(&self, logs: &[&TestLog]) -> Leaf {
        let terms = Terms::default();
        let scts = logs.iter().map(|log| log.sign(&self.entry(), &terms));
        self.with_list(&sct_list(&scts.collect::<Vec<_>>()))
    }

    pub(crate) fn without_scts(&self) -> Leaf {
        let key = KeyPair::try_from(self.key.serialize_der()).unwrap();
        self.ca.leaf_with_key(self.params.clone(), key)
    }
}

/// Returns an OCSP response whose only certificate has this list of SCTs.
pub(crate) fn ocsp_response(list: &[u8]) -> Vec<u8> {
    let kind = der(0x06, b"\x2b\x06\x01\x04\x01\xd6\x79\x02\x04\x05");
    let extension = der(0x30, &[kind, der(0x04, &der(0x04, list))].concat());
    let sha1 = der(0x30, &der(0x06, b"\x2b\x0e\x03\x02\x1a"));
    let id = [
        sha1,
        der(0x04, &[1; 20]),
        der(0x04, &[2; 20]),
        der(0x02, &[7]),
    ];
    let time = der(0x18, b"20231114000000Z");
    let single = [
        der(0x30, &id.concat()),
        vec![0x80, 0],
        time.clone(),
        der(0xa1, &der(0x30, &extension)),
    ];
    let responses = der(0x30, &der(0x30, &single.concat()));
    let data = [der(0xa2, &der(0x04, &[3; 20])), time, responses].concat();
    let algorithm = der(0x30, &der(0x06, b"\x2a\x86\x48\xce\x3d\x04\x03\x02"));
    let basic = [der(0x30, &data), algorithm, der(0x03, &[0, 1])].concat();
    let kind = der(0x06, b"\x2b\x06\x01\x05\x05\x07\x30\x01\x01");
    let bytes = der(0x30, &[kind, der(0x04, &der(0x30, &basic))].concat());
    der(0x30, &[vec![0x0a, 1, 0], der(0xa0, &bytes)].concat())
}
