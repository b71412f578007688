//! tower middleware around an HTTP client: [`NotePinsLayer`] notes the pins of responses and retires
//! pooled connections that fail current pins, and [`PinRetryLayer`] repeats requests that this ends.

mod cached_header;
mod note_pins;
mod open_connections;
mod request_context;
mod retry;
mod target;

pub use crate::layer::note_pins::{NotePins, NotePinsLayer, ResponseFuture};
pub use crate::layer::retry::{PinRetry, PinRetryFuture, PinRetryLayer};
