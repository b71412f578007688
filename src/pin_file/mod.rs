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
mod json;
mod members;
mod pins;
mod print;
mod read;
mod words;

pub use crate::pin_file::error::{PinFileError, PinFileProblem};
pub use crate::pin_file::file::PinFile;
#[cfg(feature = "bundles")]
pub(crate) use crate::pin_file::json::{COMMENT, Fault, Names};
#[cfg(feature = "bundles")]
pub(crate) use crate::pin_file::members::{Kind, Node, read};
#[cfg(feature = "bundles")]
pub(crate) use crate::pin_file::pins::pins;
#[cfg(feature = "bundles")]
pub(crate) use crate::pin_file::read::{MEMBER_NAMES, file, hosts, time};
#[cfg(feature = "bundles")]
pub(crate) use crate::pin_file::words::Words;
