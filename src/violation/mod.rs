//! The facts of refusals (a pin violation, a path that can't be verified), what they show about the
//! cause, and the report of a violation.
//!
//! Uses `chain` and `policy` for the values that a violation contains. The conversion to TLS errors
//! is in `tls`, the sending of reports in `http_reporter`.
//!
//! Offers [`PinViolation`] and [`UnverifiablePath`], which applications find in the errors of their
//! clients, [`Cause`], [`Report`] with its JSON encoding, and the trait [`Reporter`].

mod cause;
mod cause_text;
mod evidence;
mod evidence_text;
#[cfg(feature = "first-use")]
mod key_change;
mod pin_violation;
mod report;
mod report_error;
#[cfg(feature = "reports")]
mod report_json;
#[cfg(feature = "reports")]
mod report_pem;
mod unpinned_host;
#[cfg(feature = "direct-trust")]
mod untrusted_server;
mod unverifiable;

pub use crate::violation::cause::{
    BuiltInRoot, CaEvidence, Cause, ClockEvidence, PathEvidence, ValidityLimit,
};
#[cfg(feature = "first-use")]
pub use crate::violation::key_change::KeyChange;
pub use crate::violation::pin_violation::PinViolation;
pub use crate::violation::report::{Report, Reporter};
pub use crate::violation::report_error::{DeliveryError, DropReason, EndpointError};
#[cfg(feature = "reports")]
pub use crate::violation::report_json::{ReportDetail, ReportForm, ReservedField};
pub use crate::violation::unpinned_host::UnpinnedHost;
#[cfg(feature = "direct-trust")]
pub(crate) use crate::violation::untrusted_server::Trusted;
#[cfg(feature = "direct-trust")]
pub use crate::violation::untrusted_server::UntrustedServer;
pub use crate::violation::unverifiable::UnverifiablePath;
