//! The hyper connector.

mod error;
mod service;
mod stream;

pub use crate::connector::error::ConnectError;
pub use crate::connector::service::{PinningConnector, PinningConnectorBuilder, PlainHttp};
pub use crate::connector::stream::PinnedStream;
