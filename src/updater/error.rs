//! [`UpdateError`], why no URL yielded a pin bundle.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Uri};

use crate::bundles::BundleError;
use crate::policy::text::write_with_causes;

/// Why no URL yielded a usable pin bundle. The last good one stays in effect.
///
/// ```
/// use pinhold::bundle::{FetchError, UpdateError};
///
/// fn is_offline(error: &UpdateError) -> bool {
///     let mut failures = error.failures().iter();
///     failures.all(|failure| matches!(failure.error, FetchError::Connection(_)))
/// }
/// # let _ = is_offline;
/// ```
#[derive(Clone)]
pub struct UpdateError(pub(crate) Vec<UpdateFailure>);

impl UpdateError {
    /// Returns the failure of each URL, in the order in which they were tried.
    #[must_use]
    pub fn failures(&self) -> &[UpdateFailure] {
        &self.0
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no pin bundle was received")?;
        for UpdateFailure { url, error } in &self.0 {
            write!(f, "\n  {url}: {error}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for UpdateError {}

/// The failure of one URL.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UpdateFailure {
    /// The URL.
    pub url: Uri,
    /// What failed.
    pub error: FetchError,
}

/// Why a URL yielded no pin bundle.
///
/// ```
/// use pinhold::bundle::FetchError;
///
/// fn is_served(error: &FetchError) -> bool {
///     !matches!(error, FetchError::Connection(_) | FetchError::TimedOut(_))
/// }
/// # let _ = is_served;
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum FetchError {
    /// The bundle is refused.
    Bundle(BundleError),
    /// There is no connection, or it was closed too early.
    Connection(Arc<dyn Error + Send + Sync>),
    /// The response has another status than 200, or than 304 to a request with an entity tag. Redirects
    /// are not followed.
    Status(StatusCode),
    /// The fetch was not complete after this time.
    TimedOut(Duration),
    /// The response is larger than [`PinBundle::MAX_SIZE`](crate::bundle::PinBundle::MAX_SIZE).
    TooLarge,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(error) => error.fmt(f),
            Self::Connection(error) => {
                write!(f, "no connection: {error}")?;
                let mut cause = error.source();
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
            Self::Status(status) => write!(f, "status {status}, expected 200"),
            Self::TimedOut(after) => write!(f, "not complete after {} s", after.as_secs()),
            Self::TooLarge => f.write_str("larger than 1 MiB, the limit of a pin bundle"),
        }
    }
}

impl fmt::Debug for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for FetchError {}
