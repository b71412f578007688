//! The facts of a refusal, for a program and for a person, and the report made of them.
//!
//! Uses `policy` and `chain`. Sends nothing.
//!
//! Offers [`PinViolation`], [`UnverifiablePath`], [`Report`], and the [`Reporter`] trait.

mod pin_violation;
mod report;
mod unverifiable;

pub use crate::violation::pin_violation::PinViolation;
pub use crate::violation::report::{
    DeliveryError, DropReason, EndpointError, Report, ReportDetail, ReportForm, Reporter,
    ReservedField,
};
pub use crate::violation::unverifiable::UnverifiablePath;
