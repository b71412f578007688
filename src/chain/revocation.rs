//! Certificate revocation lists and the options by which webpki applies them.

use std::sync::Arc;

use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertRevocationListError, RootCertStore};
use rustls_pki_types::CertificateRevocationListDer;
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
};

/// The options that rustls's builder of a verifier offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RevocationChoice {
    AllowUnknown,
    EndEntityOnly,
    EnforceExpiration,
}

/// At least one certificate revocation list, and how they are applied.
#[derive(Debug)]
pub(crate) struct Revocation {
    /// rustls's verifier with the same lists and options, which supplies the error of a chain that
    /// has no valid path.
    pub(crate) reference: Arc<WebPkiServerVerifier>,
    crls: Vec<CertRevocationList<'static>>,
    depth: RevocationCheckDepth,
    unknown_status: UnknownStatusPolicy,
    expiration: ExpirationPolicy,
}

impl Revocation {
    /// Parses the lists, and sets the options by which they are applied.
    ///
    /// # Errors
    ///
    /// The error of rustls's builder if a list can't be parsed.
    pub(crate) fn new(
        lists: Vec<CertificateRevocationListDer<'static>>,
        choices: &[RevocationChoice],
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let crls = lists
            .iter()
            .map(|list| OwnedCertRevocationList::from_der(list).map(CertRevocationList::from))
            .collect::<Result<Vec<_>, _>>();
        let mut reference =
            WebPkiServerVerifier::builder_with_provider(roots, provider).with_crls(lists);
        for choice in choices {
            reference = match choice {
                RevocationChoice::AllowUnknown => reference.allow_unknown_revocation_status(),
                RevocationChoice::EndEntityOnly => reference.only_check_end_entity_revocation(),
                RevocationChoice::EnforceExpiration => reference.enforce_revocation_expiration(),
            };
        }
        // The defaults are those of rustls.
        let mut this = Self {
            reference: reference.build()?,
            // Never an error here: rustls has parsed the same lists by the same parser above.
            crls: crls.map_err(|_| CertRevocationListError::ParseError)?,
            depth: RevocationCheckDepth::Chain,
            unknown_status: UnknownStatusPolicy::Deny,
            expiration: ExpirationPolicy::Ignore,
        };
        for choice in choices {
            match choice {
                RevocationChoice::AllowUnknown => this.unknown_status = UnknownStatusPolicy::Allow,
                RevocationChoice::EndEntityOnly => this.depth = RevocationCheckDepth::EndEntity,
                RevocationChoice::EnforceExpiration => {
                    this.expiration = ExpirationPolicy::Enforce;
                }
            }
        }
        Ok(this)
    }

    pub(crate) fn lists(&self) -> Vec<&CertRevocationList<'static>> {
        self.crls.iter().collect()
    }

    /// Returns the options for webpki. Without lists, returns `None`: revocation is not checked.
    pub(crate) fn options<'a>(
        &self,
        crls: &'a [&'a CertRevocationList<'a>],
    ) -> Option<RevocationOptions<'a>> {
        let builder = RevocationOptionsBuilder::new(crls).ok()?;
        Some(
            builder
                .with_depth(self.depth)
                .with_status_policy(self.unknown_status)
                .with_expiration_policy(self.expiration)
                .build(),
        )
    }
}
