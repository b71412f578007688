//! The hyper connector: TLS connections over any transport, with the pins enforced in the handshake
//! and for as long as the connection is open.
//!
//! Uses `tls` for the configuration and the facts of a handshake, `pinning` for the evaluation. The
//! only module that runs handshakes.
//!
//! Offers [`PinningConnector`] and its builder in the shape of hyper-rustls, the stream, and the
//! error.

mod builder;
mod error;
mod handshake;
mod schemes;
mod service;
mod stream;

pub use crate::connector::builder::PinningConnectorBuilder;
#[cfg(any(feature = "bundles", feature = "reports"))]
pub(crate) use crate::connector::builder::tcp;
#[cfg(feature = "bundles")]
pub(crate) use crate::connector::error::BoxError;
pub use crate::connector::error::ConnectError;
pub use crate::connector::service::PinningConnector;
pub use crate::connector::stream::PinnedStream;
pub use crate::policy::PlainHttp;
