//! The roots of inspection builds in, anchors on which all pins are skipped out.
//!
//! Compiled only under `--cfg pinhold_debug_overrides`, and loud where it is.

use std::io::{self, Write};

use rustls_pki_types::CertificateDer;

use crate::policy::{AnchorOrigin, SpkiFingerprint};
use crate::roots::anchors::{AnchorError, TrustAnchors};

/// The roots of proxies that may read everything.
#[derive(Clone, Default)]
pub(crate) struct Overrides(TrustAnchors);

impl Overrides {
    pub(crate) fn add<'a>(
        self,
        roots: impl IntoIterator<Item = CertificateDer<'a>>,
    ) -> Result<Self, AnchorError> {
        let anchors = self
            .0
            .with_certificates(AnchorOrigin::DebugOverride, roots)?;
        Ok(Self(anchors))
    }

    /// These anchors, and the roots besides.
    pub(crate) fn apply(&self, anchors: TrustAnchors) -> TrustAnchors {
        let roots = self.0.iter().map(|(_, root)| root.clone());
        anchors.with_anchors(AnchorOrigin::DebugOverride, roots)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().count()
    }

    /// Says what was built, so that nobody ships it by mistake.
    pub(crate) fn announce(&self) {
        event!(
            WARN,
            roots = self.len(),
            "an inspection build: pins can be overridden"
        );
        // Not `eprintln!`, which panics where nobody reads.
        let mut stderr = io::stderr().lock();
        let _ = writeln!(
            stderr,
            "pinhold: WARNING: an inspection build (--cfg pinhold_debug_overrides), never to be \
             shipped; all pins are skipped for {} roots",
            self.len()
        );
        for (_, root) in self.0.iter() {
            let _ = writeln!(stderr, "pinhold:   {}", SpkiFingerprint::of_anchor(root));
        }
    }
}
