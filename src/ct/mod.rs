//! Certificate Transparency ([RFC 6962], static-ct): signed certificate timestamps (SCTs), the logs that
//! sign them, and what a client expects of the SCTs of a certificate.
//!
//! Uses `policy`. Has no I/O and no clock. Signatures are verified by the algorithms of the caller.
//!
//! Offers [`CtOptions`] and [`LogList`] to applications, [`CtViolation`] as the refusal, and to the
//! modules above the check of one certificate.
//!
//! [RFC 6962]: https://www.rfc-editor.org/rfc/rfc6962

mod check;
#[cfg(test)]
mod check_tests;
mod ct_policy;
mod expect_ct;
mod list_error;
mod log;
mod log_list;
mod options;
mod outcome;
mod precert;
mod sct;
mod violation;

pub(crate) use crate::ct::check::Evidence;
pub use crate::ct::ct_policy::CtPolicy;
pub use crate::ct::expect_ct::{ExpectCt, ExpectCtError};
pub use crate::ct::list_error::LogListError;
pub use crate::ct::log::{Log, LogState};
pub use crate::ct::log_list::LogList;
pub(crate) use crate::ct::options::CtRules;
pub use crate::ct::options::{CtMode, CtOptions};
pub use crate::ct::outcome::{CtOutcome, CtVerdict, SctDelivery, SctVerdict, SeenSct};
pub use crate::ct::sct::Sct;
pub use crate::ct::violation::CtViolation;
