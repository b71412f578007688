//! Certificate revocation lists and choices in, what webpki asks for out.

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

/// Certificate revocation lists, and how they are used.
#[derive(Debug)]
pub(crate) struct Revocation {
    crls: Vec<CertRevocationList<'static>>,
    depth: RevocationCheckDepth,
    unknown_status: UnknownStatusPolicy,
    expiration: ExpirationPolicy,
}

impl Revocation {
    /// A list that can't be read gives `None`; the error is rustls's to name.
    pub(crate) fn new(
        crls: &[CertificateRevocationListDer<'_>],
        choices: &[RevocationChoice],
    ) -> Option<Self> {
        let crls = crls
            .iter()
            .map(|crl| {
                OwnedCertRevocationList::from_der(crl)
                    .map(CertRevocationList::from)
                    .ok()
            })
            .collect::<Option<Vec<_>>>()?;
        // Unless chosen, as in rustls.
        let mut this = Self {
            crls,
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
        Some(this)
    }

    pub(crate) fn has_lists(&self) -> bool {
        !self.crls.is_empty()
    }

    pub(crate) fn lists(&self) -> Vec<&CertRevocationList<'static>> {
        self.crls.iter().collect()
    }

    /// `None` without lists: then nothing is checked, as in rustls.
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
