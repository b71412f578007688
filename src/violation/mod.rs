//! The facts of a refusal, and the report made of them.

mod pin_violation;
mod report;
mod unverifiable;

pub use crate::violation::pin_violation::PinViolation;
pub use crate::violation::report::{
    DeliveryError, DropReason, EndpointError, Report, ReportDetail, ReportForm, Reporter,
    ReservedField,
};
pub use crate::violation::unverifiable::UnverifiablePath;
