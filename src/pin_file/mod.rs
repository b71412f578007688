//! Pin files: the static pins of an application as data, in JSON.
//!
//! A pin file says all that [`PinPolicy`](crate::PinPolicy) and
//! [`PinningBuilder`](crate::PinningBuilder) can say about static pins, with one meaning for both.
//! Its form is described by [`PinFile`] and, for other programs, by a JSON Schema
//! ([`PinFile::SCHEMA`]).
//!
//! Uses `policy` only.
//!
//! Offers [`PinFile`] to applications and to the builder of pins.

mod error;
mod file;
mod members;
mod pins;
mod print;
mod read;
mod words;

pub use crate::pin_file::error::{PinFileError, PinFileProblem};
pub use crate::pin_file::file::PinFile;
