//! Relations between the served certificates of a validated chain that signatures prove, and the
//! built-in roots that the chain was validated against. Only the cause of a refusal needs them.

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};

use crate::chain::validated::ValidatedChain;
use crate::policy::der::{fields, values};
use crate::policy::{AnchorOrigin, SpkiFingerprint};
use crate::roots::Anchor;

/// How a served certificate that is not on the path is related to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// The CA of the path with this key signed it.
    IssuedBy(SpkiFingerprint),
    /// Its key signed a certificate of the path, or another certificate of a CA of the path.
    Issuer,
}

impl ValidatedChain {
    /// Returns the built-in roots that the chain was validated against.
    pub(crate) fn built_in_roots(&self) -> impl Iterator<Item = &Anchor> {
        self.anchors().with_origin(AnchorOrigin::BuiltIn)
    }

    /// Returns how a served certificate, whose key is not on the path, is related to the path;
    /// `None` if no signature shows a relation.
    pub(crate) fn relation(&self, certificate: &CertificateDer<'static>) -> Option<Relation> {
        let mut signatures = Signatures {
            algorithms: self.algorithms(),
            remaining: MAX_VERIFICATIONS,
        };
        if self.is_issuer(certificate, &mut signatures) {
            return Some(Relation::Issuer);
        }
        let certificate = Parsed::new(certificate)?;
        let issuer = self
            .authorities()
            .zip(self.fingerprints().iter().skip(1))
            .find(|(authority, _)| signatures.verify(&certificate, authority));
        issuer.map(|(_, key)| Relation::IssuedBy(*key))
    }

    /// Returns whether signatures lead from this certificate down to the path, also through other
    /// served certificates.
    fn is_issuer(
        &self,
        certificate: &CertificateDer<'static>,
        signatures: &mut Signatures,
    ) -> bool {
        // A certificate with subject and key of a CA of the path is one of the same CA: a
        // cross-sign. Whatever it contains, only its issuer's key can have signed it.
        let authorities = self.authorities().collect::<Vec<_>>();
        let served = self.served().iter().filter_map(Parsed::new);
        let (mut related, mut others) = served.partition::<Vec<_>, _>(|served| {
            let mut path = self.certificates();
            authorities.contains(&served.authority) || path.any(|der| der == served.certificate)
        });
        while let Some(child) = related.pop() {
            let is_issuer = |parent: &mut Parsed<'_>| signatures.verify(&child, &parent.authority);
            for parent in others.extract_if(.., is_issuer) {
                if parent.certificate == certificate {
                    return true;
                }
                related.push(parent);
            }
        }
        false
    }

    /// Returns the CAs of the path, the issuer of the leaf first, the anchor last.
    fn authorities(&self) -> impl Iterator<Item = Authority<'_>> {
        let certificates = self.certificates().skip(1);
        let parsed = certificates.filter_map(|der| Some(Parsed::new(der)?.authority));
        let anchor = self.anchor();
        parsed.chain(std::iter::once(Authority {
            subject: anchor.subject(),
            key: anchor.key(),
        }))
    }
}

/// Subject and key of a CA, as DER contents.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Authority<'a> {
    subject: &'a [u8],
    key: &'a [u8],
}

/// The parts of a certificate by which it is related to others.
#[derive(Clone, Copy)]
struct Parsed<'a> {
    certificate: &'a CertificateDer<'static>,
    issuer: &'a [u8],
    authority: Authority<'a>,
}

impl<'a> Parsed<'a> {
    fn new(certificate: &'a CertificateDer<'static>) -> Option<Self> {
        let mut fields = fields(certificate)?;
        let (issuer, subject, key) = (fields.nth(2)?, fields.nth(1)?, fields.next()?);
        Some(Self {
            certificate,
            issuer: issuer.contents(),
            authority: Authority {
                subject: subject.contents(),
                key: key.contents(),
            },
        })
    }
}

/// Verifies signatures of certificates, a limited number of them.
struct Signatures {
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    remaining: u32,
}

impl Signatures {
    /// Returns whether this CA signed the certificate.
    fn verify(&mut self, child: &Parsed<'_>, authority: &Authority<'_>) -> bool {
        if child.issuer != authority.subject || self.remaining == 0 {
            return false;
        }
        self.remaining -= 1;
        self.verify_by_key(child.certificate, authority.key) == Some(true)
    }

    fn verify_by_key(&self, certificate: &[u8], key: &[u8]) -> Option<bool> {
        let certificate = values(certificate).next()?;
        let mut parts = values(certificate.contents());
        let (signed, algorithm, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let mut key = values(key);
        let (key_algorithm, key) = (key.next()?, key.next()?);
        let (key, signature) = (bits(key.contents())?, bits(signature.contents())?);
        let mut algorithms = self.algorithms.iter().filter(|known| {
            *known.signature_alg_id() == *algorithm.contents()
                && *known.public_key_alg_id() == *key_algorithm.contents()
        });
        Some(algorithms.any(|known| known.verify_signature(key, signed.der, signature).is_ok()))
    }
}

/// Returns the bytes of a bit string; `None` if its length is no multiple of eight.
fn bits(contents: &[u8]) -> Option<&[u8]> {
    match contents {
        [0, bytes @ ..] => Some(bytes),
        _ => None,
    }
}

/// The signatures that are verified for one refusal: those of a chain with several cross-signs. A
/// server must not choose how long the text of its refusal takes.
const MAX_VERIFICATIONS: u32 = 16;
