//! Certificates whose keys and digests are known: Mozilla's roots, and those of `--chain` files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use pinhold::SpkiFingerprint;
use rustls::crypto::hash::HashAlgorithm;
use rustls::pki_types::CertificateDer;

use crate::certificate::Facts;
use crate::failure::Failure;
use crate::network;

#[derive(Default)]
pub(crate) struct Known {
    by_digest: HashMap<SpkiFingerprint, Certificate>,
    /// The organisations of the roots, by their keys.
    organizations: HashMap<SpkiFingerprint, String>,
    /// The keys of each file.
    chains: Vec<(String, Vec<SpkiFingerprint>)>,
}

/// A certificate, as messages name it.
pub(crate) struct Certificate {
    pub(crate) subject: String,
    /// The pin of its key.
    pub(crate) pin: SpkiFingerprint,
    /// "Mozilla's list of roots", or the file.
    pub(crate) source: String,
}

impl Known {
    pub(crate) fn with_chains(files: &[PathBuf]) -> Result<Self, Failure> {
        let mut known = Self::of_roots();
        for file in files {
            known.add_chain(file)?;
        }
        Ok(known)
    }

    /// Returns Mozilla's roots.
    pub(crate) fn of_roots() -> Self {
        let mut known = Self::default();
        for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
            let facts = Facts::of(root);
            if let Some(pin) = known.add(root, "Mozilla's list of roots") {
                let organization = facts.map(|facts| facts.organization.unwrap_or(facts.subject));
                known.organizations.extend(organization.map(|it| (pin, it)));
            }
        }
        known
    }

    fn add_chain(&mut self, file: &Path) -> Result<(), Failure> {
        let name = file.display().to_string();
        let mut keys = Vec::new();
        for certificate in network::certificates(file)? {
            let pin = self.add(&certificate, &name);
            keys.push(pin.ok_or_else(|| network::not_a_certificate(file))?);
        }
        self.chains.push((name, keys));
        Ok(())
    }

    /// Returns the pin of the certificate's key; `None` if it can't be read.
    pub(crate) fn add(
        &mut self,
        der: &CertificateDer<'_>,
        source: &str,
    ) -> Option<SpkiFingerprint> {
        let pin = SpkiFingerprint::of_certificate(der).ok()?;
        let certificate = Certificate {
            subject: Facts::of(der).map_or_else(String::new, |facts| facts.subject),
            pin,
            source: source.to_owned(),
        };
        self.by_digest.entry(sha256(der)?).or_insert(certificate);
        Some(pin)
    }

    /// Returns the certificate that has this SHA-256.
    pub(crate) fn certificate(&self, digest: &SpkiFingerprint) -> Option<&Certificate> {
        self.by_digest.get(digest)
    }

    /// Returns the organisation if all of these keys are those of its roots.
    pub(crate) fn organization_of_all(&self, pins: &[SpkiFingerprint]) -> Option<&str> {
        let mut organizations = pins.iter().map(|pin| self.organizations.get(pin));
        let first = organizations.next()??;
        let is_same = organizations.all(|organization| organization == Some(first));
        is_same.then_some(first)
    }

    /// Returns the name of a `--chain` file that has all of these keys.
    pub(crate) fn chain_of_all(&self, pins: &[SpkiFingerprint]) -> Option<&str> {
        let has_all = |keys: &[SpkiFingerprint]| pins.iter().all(|pin| keys.contains(pin));
        let chain = self.chains.iter().find(|(_, keys)| has_all(keys));
        chain.map(|(file, _)| file.as_str())
    }
}

/// Returns the SHA-256 of a whole certificate in the form of a pin.
fn sha256(der: &CertificateDer<'_>) -> Option<SpkiFingerprint> {
    let provider = network::provider();
    let suites = provider.cipher_suites.iter();
    let mut hashes = suites.filter_map(|suite| Some(suite.tls13()?.common.hash_provider));
    let hash = hashes.find(|hash| hash.algorithm() == HashAlgorithm::SHA256)?;
    let digest = <[u8; 32]>::try_from(hash.hash(der).as_ref()).ok()?;
    Some(SpkiFingerprint::from_digest(digest))
}
