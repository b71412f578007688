//! Certificate revocation lists and choices in, what webpki asks for out.

use std::sync::Arc;

use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertRevocationListError, RootCertStore};
use rustls_pki_types::CertificateRevocationListDer;
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy,
};

/// The choices that rustls's builder offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RevocationChoice {
    AllowUnknown,
    EndEntityOnly,
    EnforceExpiration,
}

/// Certificate revocation lists, at least one, and how they are used.
#[derive(Debug)]
pub(crate) struct Revocation {
    /// With the same lists, to say what is wrong with a chain.
    pub(crate) reference: Arc<WebPkiServerVerifier>,
    crls: Vec<CertRevocationList<'static>>,
    depth: RevocationCheckDepth,
    unknown_status: UnknownStatusPolicy,
    expiration: ExpirationPolicy,
}

impl Revocation {
    /// A list that can't be read is rustls's to name.
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
        // Unless chosen, as in rustls.
        let mut this = Self {
            reference: reference.build()?,
            // Never an error here: rustls has just read the same lists by the same parser.
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

    /// `None` where there are no lists after all: then nothing is checked, as in rustls.
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
