//! HTTP Strict Transport Security ([RFC 6797]): what a server announces about itself.
//!
//! Uses `policy`. Has no I/O; time is an argument.
//!
//! Offers [`KnownHstsHost`], the header [`StsHeader`], the list [`HstsPreload`] and the conversion of
//! URIs to the store, the engine and the clients.
//!
//! [RFC 6797]: https://www.rfc-editor.org/rfc/rfc6797

mod header;
mod known_host;
mod noted;
mod options;
mod preload;
#[cfg(feature = "hyper")]
mod upgrade;

pub use crate::hsts::header::{StsHeader, StsHeaderError};
pub use crate::hsts::known_host::KnownHstsHost;
pub use crate::hsts::noted::{HstsIgnored, HstsNoted};
pub use crate::hsts::options::HstsOptions;
pub use crate::hsts::preload::{HstsPreload, HstsPreloadError};
#[cfg(feature = "hyper")]
pub(crate) use crate::hsts::upgrade::{plain_host, to_https};
