//! tower middleware: noting of `Public-Key-Pins`, and retry.

mod cached_header;
mod note_pins;
mod open_connections;
mod retry;

pub use crate::layer::note_pins::{NotePins, NotePinsLayer, ResponseFuture};
pub use crate::layer::retry::{PinRetry, PinRetryFuture, PinRetryLayer};
