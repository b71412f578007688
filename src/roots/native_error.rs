//! [`NativeRootError`], the error of a part of the platform's roots.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use rustls_pki_types::CertificateDer;

use crate::policy::text::write_with_causes;
#[cfg(doc)]
use crate::roots::anchors::TrustAnchors;

/// The error of a part of the platform's roots, or of their origins, that could not be read. All
/// other roots are loaded.
///
/// ```
/// use pinhold::TrustAnchors;
/// use pinhold::roots::NativeRootError;
///
/// let (_anchors, errors) = TrustAnchors::native();
/// for error in errors {
///     match error {
///         NativeRootError::Origin { reason } => eprintln!("some origins are unknown: {reason}"),
///         error => eprintln!("{error}"),
///     }
/// }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum NativeRootError {
    /// A certificate can't be a trust anchor.
    Certificate {
        /// The certificate.
        certificate: CertificateDer<'static>,
        /// Why it can't be parsed.
        reason: rustls::Error,
    },
    /// A file or directory exceeds a limit of
    /// [`mark_user_added_from`](TrustAnchors::mark_user_added_from), and its local roots keep an
    /// unknown origin; or one of [`native`](TrustAnchors::native), and roots in it that a PEM reader
    /// skips, such as one after a byte order mark, are neither loaded nor named.
    Limit {
        /// The file or directory.
        path: PathBuf,
    },
    /// The platform does not show who added some roots. Their origin stays unknown.
    Origin {
        /// The platform's error.
        reason: String,
    },
    /// The platform's store, or a part of it, can't be read.
    Platform {
        /// The error of `rustls-native-certs`.
        reason: String,
    },
    /// A file or directory of roots, or a section of it, can't be read. Its local roots keep an
    /// unknown origin; those of the platform or of `SSL_CERT_FILE` and `SSL_CERT_DIR` are not
    /// loaded.
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why it can't be read.
        reason: Arc<io::Error>,
    },
}

impl fmt::Display for NativeRootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { reason, .. } => write!(
                f,
                "a root of the platform can't be a trust anchor, expected DER X.509: {reason}"
            ),
            Self::Limit { path } => write!(
                f,
                "{} exceeds the limits for files of roots; the origin of its roots stays unknown, \
                 or a malformed one may be missing",
                path.display()
            ),
            Self::Origin { reason } => write!(
                f,
                "the platform does not show who added some roots, their origin stays unknown: \
                 {reason}"
            ),
            Self::Platform { reason } => {
                write!(f, "a part of the platform's roots can't be read: {reason}")
            }
            Self::Unreadable { path, reason } => write!(
                f,
                "{} can't be read completely, its other roots are not loaded or have an unknown \
                 origin: {reason}",
                path.display()
            ),
        }
    }
}

/// Prints the text of `Display`, since `main` prints an error that it returns by `Debug`.
impl fmt::Debug for NativeRootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

/// Has no source, since `Display` contains the reason.
impl Error for NativeRootError {}

impl NativeRootError {
    pub(crate) fn limit(path: &Path) -> Self {
        Self::Limit {
            path: path.to_owned(),
        }
    }

    pub(crate) fn invalid(path: &Path, reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::unreadable(path, io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    pub(crate) fn unreadable(path: &Path, reason: io::Error) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            reason: Arc::new(reason),
        }
    }
}
