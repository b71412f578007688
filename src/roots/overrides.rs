//! Debug overrides: the roots of inspecting proxies, on which all pins are skipped.
//!
//! Compiled only with `--cfg pinhold_debug_overrides`. Such a build prints a warning when it runs.

use std::io::{self, Write};

use rustls_pki_types::CertificateDer;

use crate::policy::{AnchorOrigin, SpkiFingerprint};
use crate::roots::anchors::{AnchorError, TrustAnchors};

/// Roots for which all pins are skipped.
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

    /// Adds the roots to `anchors`.
    pub(crate) fn apply(&self, anchors: TrustAnchors) -> TrustAnchors {
        let roots = self.0.iter().map(|(_, root)| root.clone());
        anchors.with_anchors(AnchorOrigin::DebugOverride, roots)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().count()
    }

    /// Warns on standard error and by an event, so that such a build is not shipped by mistake.
    pub(crate) fn announce(&self) {
        event!(
            WARN,
            roots = self.len(),
            "debug overrides are compiled in: pins can be skipped"
        );
        // Not `eprintln!`, which panics if standard error is closed.
        let mut stderr = io::stderr().lock();
        let _ = writeln!(
            stderr,
            "pinhold: WARNING: built with --cfg pinhold_debug_overrides, do not ship; all pins are \
             skipped for {} {}",
            self.len(),
            if self.len() == 1 { "root" } else { "roots" }
        );
        for (_, root) in self.0.iter() {
            let _ = writeln!(stderr, "pinhold:   {}", SpkiFingerprint::of_anchor(root));
        }
    }
}
