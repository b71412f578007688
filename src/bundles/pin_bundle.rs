//! [`PinBundle`], the contents of a bundle.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};

use crate::bundles::body::{Body, Head, WhenStale};
use crate::bundles::error::BundleError;
use crate::bundles::note::SignedNote;
use crate::bundles::root;
use crate::bundles::staging::Staging;
#[cfg(feature = "ct")]
use crate::ct::{LogList, LogListError};
use crate::pin_file::PinFile;
use crate::policy::fingerprint::decode_base64;
use crate::policy::timestamp::at;
use crate::policy::{BundleVersion, Host, PinSet};

/// The contents of a pin bundle.
///
/// An application passes the bytes of a bundle to
/// [`Pinning::apply_bundle`](crate::Pinning::apply_bundle), which verifies them. This type is for
/// tools that show bundles.
///
#[doc = include_str!("format.md")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinBundle {
    version: BundleVersion,
    issued: UnixTime,
    expires: UnixTime,
    when_stale: WhenStale,
    pins: PinFile,
    refused_keys: Option<PinSet>,
    kill_switch: Option<UnixTime>,
    staging: Option<Staging>,
    suspend_noted: Vec<Host>,
    intermediates: Vec<CertificateDer<'static>>,
    #[cfg(feature = "ct")]
    log_list: Option<Result<LogList, LogListError>>,
    roots: Vec<String>,
    digest: [u8; 32],
}

impl PinBundle {
    /// The largest bundle that is accepted, in bytes: 1 MiB, about 4,000 hosts.
    pub const MAX_SIZE: usize = 1 << 20;

    /// The longest time for which the kill switch can be on, from the issue of its bundle.
    pub const MAX_KILL_SWITCH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// Reads a bundle without verifying a signature, to show or to compare it.
    ///
    /// # Errors
    ///
    /// A [`BundleError`] for a text that is not a bundle.
    pub fn parse_unverified(bytes: &[u8]) -> Result<Self, BundleError> {
        let note = note_of(bytes)?;
        Self::read(&note, head(&note)?)
    }

    /// Reads the text of a bundle that is not signed yet.
    ///
    /// # Errors
    ///
    /// A [`BundleError`] for a text that no signature would make a bundle.
    pub fn parse_text(text: &str) -> Result<Self, BundleError> {
        let note = SignedNote::new(text).map_err(BundleError::Note)?;
        Self::read(&note, head(&note)?)
    }

    pub(crate) fn read(note: &SignedNote, head: Head) -> Result<Self, BundleError> {
        let body = Body::of(note.text()).map_err(BundleError::Body)?;
        if let Some(member) = body.unknown_critical() {
            let member = member.clone();
            return Err(BundleError::Critical { member });
        }
        ensure_consistent(&body)?;
        let intermediates = body.intermediates.iter().enumerate();
        let intermediates = intermediates.map(|(index, text)| {
            let der = decode_base64(text.as_bytes());
            let der = der.filter(|der| index < MAX_INTERMEDIATES && der.len() <= MAX_CERTIFICATE);
            der.map(CertificateDer::from)
                .ok_or(BundleError::Intermediate { index })
        });
        Ok(Self {
            version: BundleVersion::new(head.root_version, body.version),
            issued: body.issued,
            expires: body.expires,
            when_stale: body.when_stale,
            intermediates: intermediates.collect::<Result<_, _>>()?,
            #[cfg(feature = "ct")]
            log_list: body.log_list,
            pins: PinFile { rules: body.pins },
            refused_keys: PinSet::of(&body.refused_keys).ok(),
            kill_switch: body.kill_switch,
            staging: staging(body.staging)?,
            suspend_noted: body.suspend_noted,
            roots: head.roots,
            digest: note.digest(),
        })
    }

    /// Returns the version of the root and of the bundle.
    #[must_use]
    pub fn version(&self) -> BundleVersion {
        self.version
    }

    /// Returns when the bundle was issued. While it is in effect, no earlier time counts for it.
    #[must_use]
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// Returns the last second at which the bundle is not stale.
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// Returns what the bundle means once it is stale.
    #[must_use]
    pub fn when_stale(&self) -> WhenStale {
        self.when_stale
    }

    /// Returns the static pins.
    #[must_use]
    pub fn pins(&self) -> &PinFile {
        &self.pins
    }

    /// Returns the keys that no validated chain may contain, without those of
    /// [`pins`](Self::pins).
    #[must_use]
    pub fn refused_keys(&self) -> Option<&PinSet> {
        self.refused_keys.as_ref()
    }

    /// Returns the last second at which the kill switch makes pins report-only.
    #[must_use]
    pub fn kill_switch(&self) -> Option<UnixTime> {
        self.kill_switch
    }

    /// Returns the share of installations for which the bundle is in effect; `None` for all.
    #[must_use]
    pub fn staging(&self) -> Option<&Staging> {
        self.staging.as_ref()
    }

    /// Returns the hosts whose noted pins are report-only while the bundle is in effect.
    #[must_use]
    pub fn suspend_noted(&self) -> &[Host] {
        &self.suspend_noted
    }

    /// Returns certificates by which paths can be built that a server does not send, such as
    /// cross-signed ones.
    #[must_use]
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }

    /// Returns the log list of the bundle; `None` if it has none. A list that can't be read is ignored:
    /// the pins of the bundle take effect without it.
    #[cfg(feature = "ct")]
    #[must_use]
    pub fn log_list(&self) -> Option<&Result<LogList, LogListError>> {
        self.log_list.as_ref()
    }

    /// Returns the notes of the chain of roots.
    #[must_use]
    pub fn roots(&self) -> &[String] {
        &self.roots
    }

    /// Returns the SHA-256 digest of the text without the signatures.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// Returns the note of the bytes of a bundle.
pub(crate) fn note_of(bytes: &[u8]) -> Result<SignedNote, BundleError> {
    let size = bytes.len();
    if size > PinBundle::MAX_SIZE {
        return Err(BundleError::TooLarge { size });
    }
    root::note_of(bytes).map_err(BundleError::Note)
}

/// Reads what is needed before the signatures can be verified.
pub(crate) fn head(note: &SignedNote) -> Result<Head, BundleError> {
    Head::of(note.text()).map_err(BundleError::Body)
}

fn ensure_consistent(body: &Body) -> Result<(), BundleError> {
    let (issued, expires) = (body.issued, body.expires);
    if expires <= issued {
        return Err(BundleError::Expiry { issued, expires });
    }
    let max = PinBundle::MAX_KILL_SWITCH.as_secs();
    let limit = at(issued.as_secs().saturating_add(max));
    if let Some(until) = body.kill_switch.filter(|until| *until > limit) {
        return Err(BundleError::KillSwitch { until, limit });
    }
    for host in &body.suspend_noted {
        let mut policies = body.pins.policies.iter();
        if !policies.any(|(named, _)| named == host) {
            return Err(BundleError::SuspendsOther { host: host.clone() });
        }
    }
    Ok(())
}

fn staging(staging: Option<(u64, String)>) -> Result<Option<Staging>, BundleError> {
    let Some((percent, salt)) = staging else {
        return Ok(None);
    };
    let staging = u8::try_from(percent).ok();
    let staging = staging.and_then(|percent| Staging::new(percent, salt));
    staging.map(Some).ok_or(BundleError::Staging { percent })
}

/// The number of intermediates: each one costs time in every path search that fails.
const MAX_INTERMEDIATES: usize = 16;
/// The length of an intermediate in bytes. Those of public CAs have less than 2 KiB.
const MAX_CERTIFICATE: usize = 4096;
