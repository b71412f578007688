//! Test servers for clients that use [pinhold]: an application can test what it does when pins
//! refuse a server, without a network and without certificates of its own.
//!
//! A [`TestServer`] listens on loopback and presents one of four chains for a name:
//!
//! | server | chain | a client that pins the name |
//! |---|---|---|
//! | [`good`](TestServer::good) | contains the pinned key | accepts it |
//! | [`mis_issued`](TestServer::mis_issued) | valid, from another CA that the client trusts | refuses it, with a [`PinViolation`] |
//! | [`inspected`](TestServer::inspected) | valid, to a root that the user added | skips the pins, or refuses it with [`UserAddedRoots::EnforcePins`] |
//! | [`expired`](TestServer::expired) | has the pinned key, but its leaf has expired | refuses it as invalid: no pin violation |
//!
//! ```
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use pinhold::{PinViolation, Pinning, PinningConnector};
//! use pinhold_testing::TestServer;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let server = TestServer::mis_issued("api.example").await?;
//! let pinning = Pinning::builder().static_pins("api.example", server.policy()).build()?;
//! let connector = PinningConnector::builder(pinning)
//!     .with_anchors(server.anchors())
//!     .https_only()
//!     .wrap_connector(server.connector())?;
//! let client = Client::builder(TokioExecutor::new()).build::<_, String>(connector);
//!
//! let error = client.get(server.url().parse()?).await.unwrap_err();
//! let violation = PinViolation::find(&error).unwrap();
//! assert_eq!(violation.host().as_str(), "api.example");
//! assert_eq!(server.requests(), 0); // no request was sent
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing is simulated: a chain is validated and a violation is returned by pinhold itself, in a
//! handshake with the server. A unit test of a function that takes a [`PinViolation`] gets one by
//! [`TestServer::violation`]; a [`ValidatedChain`](pinhold::ValidatedChain) is in the result of
//! [`TestServer::connect`]. A [`TestClock`] makes pins and certificates expire. Servers that are to
//! be trusted by one client share a [`TestCa`].
//!
//! The examples `hyper`, `reqwest` and `tonic` are applications with unit tests of the text that
//! they show when a server is refused.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `aws-lc-rs` | yes | the crypto library of servers and keys |
//! | `ring` | | the same, with the crate `ring`; with both enabled, `aws-lc-rs` is used |
//!
//! At least one is required. Choose that of the application. If the process has a default crypto
//! provider, the servers use it for TLS.
//!
//! [`PinViolation`]: pinhold::PinViolation
//! [`UserAddedRoots::EnforcePins`]: pinhold::UserAddedRoots::EnforcePins

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("pinhold-testing needs one of its features `aws-lc-rs` and `ring`, to make keys");

mod ca;
mod clock;
mod connector;
mod error;
mod running;
mod server;

pub use crate::ca::TestCa;
pub use crate::clock::TestClock;
pub use crate::connector::LoopbackConnector;
pub use crate::error::TestError;
pub use crate::server::{TestServer, TestServerBuilder};
