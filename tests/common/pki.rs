//! Certificates generated per test: P-256 keys, valid from 1975 to 4096 unless a test sets dates.

use pinhold::SpkiFingerprint;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
    SigningKey,
};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer, TrustAnchor,
};

/// A certificate authority with its certificate and the certificates between it and its root.
pub struct Ca {
    pub name: String,
    subject: DistinguishedName,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// This CA's certificate and those above it without the root, as a server sends them.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Ca {
    pub fn root(name: &str) -> Self {
        Self::root_with_key(name, KeyPair::generate().unwrap())
    }

    pub fn root_with_key(name: &str, key: KeyPair) -> Self {
        Self::root_from(ca_params(name), name, key)
    }

    /// A root whose subject also has this organisation.
    pub fn root_of(organisation: &str, name: &str) -> Self {
        Self::root_of_with_key(organisation, name, KeyPair::generate().unwrap())
    }

    pub fn root_of_with_key(organisation: &str, name: &str, key: KeyPair) -> Self {
        let mut params = ca_params(name);
        let subject = &mut params.distinguished_name;
        subject.push(DnType::OrganizationName, organisation);
        Self::root_from(params, name, key)
    }

    fn root_from(params: CertificateParams, name: &str, key: KeyPair) -> Self {
        Self {
            name: name.to_owned(),
            subject: params.distinguished_name.clone(),
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
            chain: Vec::new(),
        }
    }

    /// Issues a CA certificate below this one.
    pub fn intermediate(&self, name: &str) -> Self {
        self.intermediate_from(ca_params(name), name)
    }

    pub fn intermediate_from(&self, params: CertificateParams, name: &str) -> Self {
        self.intermediate_with_key(params, name, KeyPair::generate().unwrap())
    }

    pub fn intermediate_with_key(
        &self,
        params: CertificateParams,
        name: &str,
        key: KeyPair,
    ) -> Self {
        let subject = params.distinguished_name.clone();
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).unwrap();
        let own = issuer.der().clone().into_owned();
        let chain = std::iter::once(own).chain(self.chain.clone()).collect();
        Self {
            name: name.to_owned(),
            subject,
            issuer,
            chain,
        }
    }

    /// Issues a second certificate for `other`'s name and key.
    pub fn cross_sign(&self, other: &Self) -> CertificateDer<'static> {
        let mut params = ca_params(&other.name);
        params.distinguished_name = other.subject.clone();
        let certificate = params.signed_by(other.issuer.key(), &self.issuer).unwrap();
        certificate.der().clone()
    }

    /// Issues a server certificate for these names.
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_from(leaf_params(names))
    }

    pub fn leaf_from(&self, params: CertificateParams) -> Leaf {
        self.leaf_with_key(params, KeyPair::generate().unwrap())
    }

    pub fn leaf_with_key(&self, params: CertificateParams, key: KeyPair) -> Leaf {
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let own = certificate.der().clone();
        Leaf {
            key: key.serialize_der(),
            chain: std::iter::once(own).chain(self.chain.clone()).collect(),
        }
    }

    /// Issues a revocation list with these serial numbers.
    pub fn crl(&self, revoked: &[u64]) -> CertificateRevocationListDer<'static> {
        let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2023, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2023, 1, 1),
            next_update: rcgen::date_time_ymd(2023, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().clone()
    }

    /// The CA's own certificate.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone().into_owned()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn pin(&self) -> SpkiFingerprint {
        SpkiFingerprint::of_certificate(&self.certificate()).unwrap()
    }

    pub fn signing_key(&self) -> &impl SigningKey {
        self.issuer.key()
    }

    pub fn issuer(&self) -> &CertifiedIssuer<'static, KeyPair> {
        &self.issuer
    }
}

/// A server certificate, its key and the chain that a server sends with it.
pub struct Leaf {
    key: Vec<u8>,
    /// Leaf first, without the root.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Leaf {
    /// Combines a PKCS #8 key and a chain, leaf first.
    pub fn from_parts(key: Vec<u8>, chain: Vec<CertificateDer<'static>>) -> Self {
        Self { key, chain }
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.chain[0].clone()
    }

    pub fn pin(&self) -> SpkiFingerprint {
        SpkiFingerprint::of_certificate(&self.certificate()).unwrap()
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    /// Returns the same key with another chain.
    pub fn with_chain(&self, chain: Vec<CertificateDer<'static>>) -> Self {
        Self {
            key: self.key.clone(),
            chain,
        }
    }

    /// Returns the same chain with more certificates appended.
    pub fn with_appended(&self, more: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        self.with_chain(self.chain.iter().cloned().chain(more).collect())
    }
}

pub fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

pub fn leaf_params(names: &[&str]) -> CertificateParams {
    let names = names
        .iter()
        .map(|name| (*name).to_owned())
        .collect::<Vec<_>>();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    if let Some(name) = names.into_iter().next() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params
}

/// A certificate with the name and key of this root. The signature of a root is never checked.
pub fn lookalike(root: &TrustAnchor<'_>) -> CertificateDer<'static> {
    let certificate = Ca::root("Lookalike").certificate();
    let parts = values(contents(&certificate));
    let mut fields = values(contents(parts[0]));
    let subject = der(0x30, &root.subject);
    let key = der(0x30, &root.subject_public_key_info);
    // Version, serial number, algorithm, issuer, validity, subject, key, extensions.
    (fields[5], fields[6]) = (&subject, &key);
    let signed = der(0x30, &fields.concat());
    let all = [&signed[..], parts[1], parts[2]].concat();
    CertificateDer::from(der(0x30, &all))
}

/// Encodes one DER value.
pub fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let mut value = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    value.extend(contents);
    value
}

/// Splits DER contents into the values that they consist of.
pub fn values(mut contents: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while !contents.is_empty() {
        let (header, length) = match contents[1] {
            0x81 => (3, usize::from(contents[2])),
            0x82 => (
                4,
                usize::from(u16::from_be_bytes([contents[2], contents[3]])),
            ),
            short => (2, usize::from(short)),
        };
        let (value, rest) = contents.split_at(header + length);
        all.push(value);
        contents = rest;
    }
    all
}

/// The contents of one DER value.
pub fn contents(value: &[u8]) -> &[u8] {
    let header = match value[1] {
        0x81 => 3,
        0x82 => 4,
        _ => 2,
    };
    &value[header..]
}
