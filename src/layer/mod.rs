//! tower middleware around an HTTP client, which notes the pins of responses and applies changed
//! pins to pooled connections.
//!
//! Uses the connection facts that the connector puts into the extensions of responses, and the
//! pinning engine. Any client whose responses have these facts can be wrapped; a pooled connection
//! is retired through hyper-util's `CaptureConnection`.
//!
//! Offers [`NotePinsLayer`], which notes pins and retires connections that fail current pins, and
//! [`PinRetryLayer`], which repeats requests whose connection was closed for this reason.

mod cached_header;
#[cfg(feature = "ct")]
mod expect_ct;
mod note_pins;
mod open_connections;
mod pin_fields;
mod recovery;
mod request_context;
mod retry;
mod target;
mod target_connections;

pub use crate::layer::note_pins::{NotePins, NotePinsLayer, ResponseFuture};
pub use crate::layer::retry::{PinRetry, PinRetryFuture, PinRetryLayer};
