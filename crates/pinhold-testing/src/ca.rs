//! [`TestCa`], the certificate authorities of a test, and the keys of the genuine servers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use pinhold::policy::HostError;
use pinhold::{Host, PinPolicy, SpkiFingerprint, TrustAnchors};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer,
};

use crate::TestError;
use crate::error::certificate_error;

/// The certificate authorities that a test's client trusts, and the keys of the genuine servers.
///
/// There are three, each with a root and an issuing CA below it:
///
/// - a *test CA*, whose root is built-in, issues certificates to the genuine servers,
/// - a *other CA*, whose root is built-in too, issues them to others, too,
/// - an *inspection CA*, whose root the user added, issues them to a proxy that decrypts.
///
/// Each name has one genuine server, with a live key and a backup key that is on no server. Servers
/// of one `TestCa` have the same ones, so a test can pin a name and then connect to servers of each
/// kind:
///
/// ```
/// use pinhold::Pinning;
/// use pinhold_testing::{TestCa, TestServer};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let ca = TestCa::new()?;
/// let pinning = Pinning::builder().static_pins("api.example", ca.policy("api.example")?).build()?;
///
/// let good = TestServer::builder("api.example").with_ca(&ca).good().await?;
/// good.connect(&pinning).await?;
///
/// let other = TestServer::builder("api.example").with_ca(&ca).mis_issued().await?;
/// let violation = other.violation(&pinning).await?;
/// assert_eq!(violation.host().as_str(), "api.example");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Certificates are valid from 1975 to 4096, for any time that a [`TestClock`](crate::TestClock)
/// needs. Cheap to clone; clones are the same authorities.
#[derive(Clone)]
pub struct TestCa(Arc<Authorities>);

struct Authorities {
    test: Authority,
    other: Authority,
    inspection: Authority,
    anchors: TrustAnchors,
    genuine: Mutex<HashMap<Host, Arc<GenuineKeys>>>,
}

impl TestCa {
    /// Creates authorities with new keys.
    ///
    /// # Errors
    ///
    /// If a key or a certificate could not be made.
    pub fn new() -> Result<Self, TestError> {
        let test = Authority::new("Test")?;
        let other = Authority::new("Other")?;
        let inspection = Authority::new("Inspection")?;
        let anchors = TrustAnchors::new()
            .with_built_in([test.root(), other.root()])
            .and_then(|anchors| anchors.with_user_added([inspection.root()]))
            .map_err(certificate_error)?;
        Ok(Self(Arc::new(Authorities {
            test,
            other,
            inspection,
            anchors,
            genuine: Mutex::default(),
        })))
    }

    /// Returns the roots, each with its origin, as the anchors of a client.
    #[must_use]
    pub fn anchors(&self) -> TrustAnchors {
        self.0.anchors.clone()
    }

    /// Returns the certificates of the built-in roots.
    #[must_use]
    pub fn built_in_roots(&self) -> [CertificateDer<'static>; 2] {
        [self.0.test.root(), self.0.other.root()]
    }

    /// Returns the certificate of the root that the user added.
    #[must_use]
    pub fn user_added_root(&self) -> CertificateDer<'static> {
        self.0.inspection.root()
    }

    /// Returns the certificates of the built-in roots in PEM, for a program that reads a file.
    #[must_use]
    pub fn built_in_pem(&self) -> String {
        self.0.test.root.pem() + &self.0.other.root.pem()
    }

    /// Returns the certificate of the root that the user added in PEM.
    #[must_use]
    pub fn user_added_pem(&self) -> String {
        self.0.inspection.root.pem()
    }

    /// Returns the pins of the genuine server of this name: its live key and its backup key.
    ///
    /// # Errors
    ///
    /// If the name is no host name, or a key could not be made.
    pub fn pins<H>(&self, host: H) -> Result<[SpkiFingerprint; 2], TestError>
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        let host = host.try_into().map_err(Into::into)?;
        Ok(self.genuine(&host)?.pins)
    }

    /// Returns a policy with the [pins](Self::pins) of this name.
    ///
    /// # Errors
    ///
    /// As [`pins`](Self::pins).
    pub fn policy<H>(&self, host: H) -> Result<PinPolicy, TestError>
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        PinPolicy::new(self.pins(host)?).map_err(certificate_error)
    }

    /// Returns a chain that contains the pinned key.
    pub(crate) fn good(&self, host: &Host) -> Result<Identity, TestError> {
        self.0
            .test
            .issue(leaf_params(host)?, &self.genuine(host)?.live)
    }

    /// Returns a chain that contains the pinned key, and whose leaf was valid in 2019 only.
    pub(crate) fn expired(&self, host: &Host) -> Result<Identity, TestError> {
        let mut params = leaf_params(host)?;
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
        self.0.test.issue(params, &self.genuine(host)?.live)
    }

    /// Returns a chain without the pinned key. An attacker can append the genuine certificate to
    /// it, so it is appended; a client must not count it as a part of the chain.
    pub(crate) fn mis_issued(&self, host: &Host) -> Result<Identity, TestError> {
        let mut identity = self.0.other.issue(leaf_params(host)?, &new_key()?)?;
        let genuine = self.good(host)?;
        identity.chain.extend(genuine.chain.into_iter().take(1));
        Ok(identity)
    }

    /// Returns a chain to the root that the user added.
    pub(crate) fn inspected(&self, host: &Host) -> Result<Identity, TestError> {
        self.0.inspection.issue(leaf_params(host)?, &new_key()?)
    }

    fn genuine(&self, host: &Host) -> Result<Arc<GenuineKeys>, TestError> {
        let mut genuine = self
            .0
            .genuine
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = genuine.get(host) {
            return Ok(keys.clone());
        }
        let keys = Arc::new(GenuineKeys::new()?);
        genuine.insert(host.clone(), keys.clone());
        Ok(keys)
    }
}

impl fmt::Debug for TestCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestCa").finish_non_exhaustive()
    }
}

/// The keys of the genuine server of a name.
struct GenuineKeys {
    live: KeyPair,
    pins: [SpkiFingerprint; 2],
}

impl GenuineKeys {
    fn new() -> Result<Self, TestError> {
        let live = new_key()?;
        let pins = [fingerprint(&live)?, fingerprint(&new_key()?)?];
        Ok(Self { live, pins })
    }
}

/// A root and the CA below it that issues server certificates.
struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    issuing: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Result<Self, TestError> {
        let params = ca_params(&format!("{name} Root CA"));
        let root = CertifiedIssuer::self_signed(params, new_key()?).map_err(certificate_error)?;
        let params = ca_params(&format!("{name} Issuing CA"));
        let issuing = CertifiedIssuer::signed_by(params, new_key()?, &root);
        let issuing = issuing.map_err(certificate_error)?;
        Ok(Self { root, issuing })
    }

    fn root(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    fn issue(&self, params: CertificateParams, key: &KeyPair) -> Result<Identity, TestError> {
        let leaf = params.signed_by(key, &self.issuing);
        let leaf = leaf.map_err(certificate_error)?;
        Ok(Identity {
            chain: vec![leaf.der().clone(), self.issuing.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }
}

/// A certificate chain and the private key of its leaf.
pub(crate) struct Identity {
    /// As the server sends it: the leaf first, without the root.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

fn new_key() -> Result<KeyPair, TestError> {
    KeyPair::generate().map_err(certificate_error)
}

fn fingerprint(key: &KeyPair) -> Result<SpkiFingerprint, TestError> {
    let spki = SubjectPublicKeyInfoDer::from(key.subject_public_key_info());
    SpkiFingerprint::of_public_key(&spki).map_err(certificate_error)
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

fn leaf_params(host: &Host) -> Result<CertificateParams, TestError> {
    let params = CertificateParams::new([host.as_str().to_owned()]);
    let mut params = params.map_err(certificate_error)?;
    params
        .distinguished_name
        .push(DnType::CommonName, host.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
