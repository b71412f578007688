//! HTTP Strict Transport Security ([RFC 6797]): what a server announces about itself.
//!
//! Uses `policy`. Has no I/O; time is an argument.
//!
//! Offers [`KnownHstsHost`] to the store and to the engine.
//!
//! [RFC 6797]: https://www.rfc-editor.org/rfc/rfc6797

mod known_host;

pub use crate::hsts::known_host::KnownHstsHost;
