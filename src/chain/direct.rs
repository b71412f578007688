//! Servers that are trusted by their own certificate or raw public key: [`DirectTrust`].
//!
//! No path is built and no certification authority counts. A certificate is compared byte for byte
//! and only then are its name and its dates checked, so that nothing of a certificate that the
//! application did not ship decides anything.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use rustls_pki_types::{
    CertificateDer, Der, ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};

use crate::chain::certificate::validity;
use crate::chain::path_builder::Presented;
use crate::chain::validated::{Facts, ValidatedChain, key_of};
use crate::policy::der::values;
use crate::policy::timestamp::at;
use crate::policy::{AnchorOrigin, Host, KeyHash, SpkiFingerprint};
use crate::roots::{Anchor, TrustAnchors, parse};

/// What the application trusts in place of certification authorities.
#[derive(Clone, Debug)]
pub(crate) enum DirectTrust {
    Certificates(Vec<OwnCertificate>),
    Keys(Vec<OwnKey>),
}

/// A server certificate that is trusted itself.
#[derive(Clone)]
pub(crate) struct OwnCertificate {
    der: CertificateDer<'static>,
    anchor: Arc<Anchor>,
    /// The first and the last second of its validity period, since 1970.
    dates: (u64, u64),
}

/// A raw public key that is trusted for one name.
#[derive(Clone, Debug)]
pub(crate) struct OwnKey {
    name: ServerName<'static>,
    key: SpkiFingerprint,
}

/// Why a server is not trusted directly.
pub(crate) enum Untrusted {
    /// A trusted certificate is not valid for this name or at this time.
    Invalid(Error),
    /// The server has another certificate or key than the trusted ones.
    Other {
        /// The trusted keys: those of the name, or of all certificates.
        expected: Vec<SpkiFingerprint>,
        /// The key of the server, if it can be read.
        seen: Option<SpkiFingerprint>,
    },
}

impl OwnCertificate {
    /// # Errors
    ///
    /// The error of rustls for a certificate that can't be parsed.
    pub(crate) fn new(der: CertificateDer<'static>) -> Result<Self, Error> {
        ParsedCertificate::try_from(&der)?;
        let dates = validity(&der).ok_or(CertificateError::BadEncoding)?;
        let (parsed, certificate) = parse(der.clone())?;
        Ok(Self {
            der,
            anchor: Arc::new(Anchor::new(AnchorOrigin::Direct, (parsed, certificate))),
            dates,
        })
    }

    /// Checks the dates and the name, in the order in which rustls checks those of a path.
    fn ensure_valid(&self, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        let (from, until) = self.dates;
        if now.as_secs() < from {
            let (time, not_before) = (now, at(from));
            return Err(CertificateError::NotValidYetContext { time, not_before }.into());
        }
        if now.as_secs() > until {
            let (time, not_after) = (now, at(until));
            return Err(CertificateError::ExpiredContext { time, not_after }.into());
        }
        verify_server_name(&ParsedCertificate::try_from(&self.der)?, name)
    }
}

impl std::fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.anchor.fingerprint().fmt(f)
    }
}

impl OwnKey {
    pub(crate) fn new(name: ServerName<'static>, key: SpkiFingerprint) -> Self {
        Self { name, key }
    }

    fn is_for(&self, name: &ServerName<'_>) -> bool {
        match (&self.name, name) {
            // Both may be written with a final dot.
            (ServerName::DnsName(own), ServerName::DnsName(name)) => {
                Host::from(own) == Host::from(name)
            }
            (own, name) => own == name,
        }
    }
}

impl DirectTrust {
    /// Returns the chain of a server that is trusted: its certificate or raw public key alone.
    ///
    /// # Errors
    ///
    /// [`Untrusted`] for any other server. Whether the server has the private key is not known yet.
    pub(crate) fn verify(
        &self,
        presented: Presented<'_>,
        host: Option<Host>,
        now: UnixTime,
        (hash, algorithms): (
            KeyHash,
            &'static [&'static dyn SignatureVerificationAlgorithm],
        ),
    ) -> Result<ValidatedChain, Untrusted> {
        let (path, anchor, dates) = match self {
            Self::Certificates(all) => {
                let own = find_certificate(all, presented, hash)?;
                let valid = own.ensure_valid(presented.name, now);
                valid.map_err(Untrusted::Invalid)?;
                (vec![0], Arc::clone(&own.anchor), own.dates)
            }
            Self::Keys(all) => {
                let anchor = find_key(all, presented, hash)?;
                (Vec::new(), Arc::new(anchor), (0, u64::MAX))
            }
        };
        let served = std::iter::once(presented.leaf)
            .chain(presented.intermediates)
            .map(|der| der.clone().into_owned());
        Ok(ValidatedChain::new(Facts {
            name: presented.name.to_owned(),
            host,
            served: served.collect(),
            path,
            fingerprints: vec![anchor.fingerprint()].into(),
            anchor,
            anchors: TrustAnchors::new(),
            algorithms,
            at: now,
            hash,
            dates: Some(dates).into(),
        }))
    }
}

fn find_certificate<'a>(
    all: &'a [OwnCertificate],
    presented: Presented<'_>,
    hash: KeyHash,
) -> Result<&'a OwnCertificate, Untrusted> {
    let own = all.iter().find(|own| own.der == *presented.leaf);
    own.ok_or_else(|| Untrusted::Other {
        expected: all.iter().map(|own| own.anchor.fingerprint()).collect(),
        seen: key_of(presented.leaf, hash),
    })
}

/// Returns the key that the server sent, as an anchor without a name.
fn find_key(all: &[OwnKey], presented: Presented<'_>, hash: KeyHash) -> Result<Anchor, Untrusted> {
    // rustls has negotiated raw public keys, so that these bytes are a `SubjectPublicKeyInfo`.
    // Whether they can be parsed as one is checked with the signature.
    let key = SpkiFingerprint::of_parsed_key(&presented.leaf.as_ref().into(), hash);
    let own = all.iter().filter(|own| own.is_for(presented.name));
    let own = own.map(|own| own.key).collect::<Vec<_>>();
    let mut sequence = values(presented.leaf);
    let contents = sequence.next().filter(|_| sequence.next().is_none());
    match contents {
        Some(contents) if own.contains(&key) => {
            let parsed = TrustAnchor {
                subject: Der::from_slice(&[]),
                subject_public_key_info: Der::from(contents.contents().to_vec()),
                name_constraints: None,
            };
            Ok(Anchor::new(AnchorOrigin::Direct, (parsed, None)))
        }
        contents => Err(Untrusted::Other {
            expected: own,
            seen: contents.map(|_| key),
        }),
    }
}
