//! A slow search for all valid paths of a chain: every order of the served certificates that names
//! of subjects and issuers allow is validated on its own.

use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use crate::certificates::ALGORITHMS;

/// What a server presents.
pub(crate) struct Served<'a> {
    pub(crate) leaf: &'a CertificateDer<'a>,
    pub(crate) intermediates: &'a [CertificateDer<'a>],
    pub(crate) name: &'a ServerName<'a>,
    pub(crate) now: UnixTime,
}

/// A valid path: the certificates, leaf first, and the position of its anchor.
pub(crate) struct Path<'a> {
    pub(crate) certificates: Vec<&'a CertificateDer<'a>>,
    pub(crate) anchor: usize,
}

impl<'a> Served<'a> {
    /// Returns all valid paths to these anchors, if the leaf is valid for the name.
    pub(crate) fn valid_paths(&self, anchors: &[TrustAnchor<'_>]) -> Vec<Path<'a>> {
        let mut valid = Vec::new();
        let leaf = EndEntityCert::try_from(self.leaf);
        if leaf.is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(self.name).is_ok()) {
            self.extend(&mut vec![self.leaf], anchors, &mut valid);
        }
        valid
    }

    /// Validates the path so far, and each that is longer by one certificate.
    fn extend(
        &self,
        path: &mut Vec<&'a CertificateDer<'a>>,
        anchors: &[TrustAnchor<'_>],
        valid: &mut Vec<Path<'a>>,
    ) {
        let last = path
            .last()
            .and_then(|last| EndEntityCert::try_from(*last).ok());
        let Some(last) = last else {
            return;
        };
        for (position, anchor) in anchors.iter().enumerate() {
            if *anchor.subject == *last.issuer() && self.is_valid(path, anchor) {
                valid.push(Path {
                    certificates: path.clone(),
                    anchor: position,
                });
            }
        }
        for next in self.intermediates {
            let issued =
                EndEntityCert::try_from(next).is_ok_and(|parsed| parsed.subject() == last.issuer());
            if issued && !path[1..].contains(&next) {
                path.push(next);
                self.extend(path, anchors, valid);
                path.pop();
            }
        }
    }

    /// Returns whether webpki accepts exactly this path, of which it gets no more certificates.
    fn is_valid(&self, path: &[&CertificateDer<'_>], anchor: &TrustAnchor<'_>) -> bool {
        let Ok(leaf) = EndEntityCert::try_from(path[0]) else {
            return false;
        };
        let intermediates = path[1..]
            .iter()
            .map(|der| (*der).clone())
            .collect::<Vec<_>>();
        let is_exact = |found: &webpki::VerifiedPath<'_>| {
            let found = found.intermediate_certificates().map(|cert| cert.der());
            if found.eq(intermediates.iter().cloned()) {
                Ok(())
            } else {
                Err(Error::UnknownIssuer)
            }
        };
        leaf.verify_for_usage(
            ALGORITHMS.all,
            std::slice::from_ref(anchor),
            &intermediates,
            self.now,
            KeyUsage::server_auth(),
            None,
            Some(&is_exact),
        )
        .is_ok()
    }

    /// Returns whether webpki reaches its limits in the search for a path that no pin matches.
    pub(crate) fn exceeds_limits(&self, anchors: &[TrustAnchor<'_>]) -> bool {
        let Ok(leaf) = EndEntityCert::try_from(self.leaf) else {
            return false;
        };
        let refuse = |_: &webpki::VerifiedPath<'_>| Err(Error::UnknownIssuer);
        let found = leaf.verify_for_usage(
            ALGORITHMS.all,
            anchors,
            self.intermediates,
            self.now,
            KeyUsage::server_auth(),
            None,
            Some(&refuse),
        );
        matches!(
            found,
            Err(Error::MaximumSignatureChecksExceeded
                | Error::MaximumPathBuildCallsExceeded
                | Error::MaximumNameConstraintComparisonsExceeded)
        )
    }
}
