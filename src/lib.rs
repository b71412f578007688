//! Public key pinning for rustls and hyper: a client refuses a server if the *validated*
//! certificate chain contains none of the keys that are pinned to the server's name. Pins are set
//! by the application (static pins) or by servers (`Public-Key-Pins` header, [RFC 7469]), and are
//! checked in addition to the usual validation, on every valid path.
//!
//! ```
//! # #[cfg(all(
//! #     feature = "hyper",
//! #     feature = "webpki-roots",
//! #     feature = "aws-lc-rs",
//! #     not(feature = "ring")
//! # ))] {
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use pinhold::{FileStorage, NotePinsLayer, PinPolicy, PinStore};
//! use pinhold::{Pinning, PinningConnector, TrustAnchors};
//! use tower_layer::Layer;
//!
//! let policy = PinPolicy::new([
//!     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
//!     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=", // backup
//! ])?;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("noted-pins.jsonl");
//! let (store, error) = PinStore::open_or_recover(FileStorage::new(path));
//! if let Some(error) = error {
//!     eprintln!("{error}"); // what is wrong, what was recovered, what to do
//! }
//! let pinning = Pinning::builder()
//!     .static_pins("api.example.com", policy.include_subdomains())
//!     .store(store)
//!     .build()?;
//! let connector = PinningConnector::builder(pinning.clone())
//!     .with_anchors(TrustAnchors::webpki_roots())
//!     .https_only()
//!     .build()?;
//! let client = Client::builder(TokioExecutor::new()).build::<_, String>(connector);
//! let client = NotePinsLayer::new(pinning).layer(client); // notes Public-Key-Pins headers
//! # drop(client);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How data flows
//!
//! ```text
//!  noting                                       enforcing
//!  response header bytes                        served chain (DER, untrusted)
//!    | PinHeader::parse                           | PinningVerifier: builds valid paths and
//!    v                                            v evaluates the pins on each
//!  PinHeader -- host, now --+             +---- ValidatedChain
//!                           v             v
//!                     Pinning::note / Pinning::check
//!                           |             |
//!                           v             v
//!               KnownPinnedHost       Decision
//!                           |             |
//!                           v             +-- Refuse -----> PinViolation --> rustls::Error
//!                       PinStore          +-- ReportOnly -> Report --> observers, Reporter
//!                           |
//!                           v
//!                        Storage: a file, or a database of the application
//! ```
//!
//! # Warning: pinning can lock your users out
//!
//! An application can't reach a pinned server any more once the server's keys and CAs are replaced
//! by others that are not pinned. Three remedies:
//!
//! - Always pin a **backup key** that is kept offline.
//! - Begin with pins that only report (see below).
//! - Let pins expire: static ones by [`PinPolicy::expires`], noted ones by a short `max-age`.
//!
//! Do not pin a host that you don't operate without the consent of its operator.
//!
//! # Rolling out pins
//!
//! 1. Begin with [`Enforcement::ReportOnly`]: no connection is refused.
//! 2. Collect what would have been refused, by an [observer](PinningBuilder::observer) or by
//!    [reports](PinningBuilder::reporter). [`Pinning::rollout`] returns how many connections would
//!    have failed, and which pins no connection has used.
//! 3. Enforce the pins. Later, add each new set as a [candidate](PinPolicy::candidate): it is
//!    evaluated and reported, while the enforced set still decides. Replace the enforced set by
//!    [`Pinning::replace_pins`].
//!
//! # What is not done
//!
//! - Pins of IP addresses: RFC 7469 pins host names only.
//! - Certificate Transparency, OCSP, and fetching of missing intermediate certificates.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `aws-lc-rs` | yes | the crypto provider, unless the caller or the process has chosen one |
//! | `hyper` | yes | [`PinningConnector`] and [`NotePinsLayer`] |
//! | `webpki-roots` | yes | Mozilla's roots, [`TrustAnchors::webpki_roots`] |
//! | `native-certs` | | the platform's roots with their origins, [`TrustAnchors::native`] |
//! | `ring` | | like `aws-lc-rs`, with the crate `ring`; with both enabled, choose one by `with_provider` |
//! | `reqwest` | | [`Pinning::reqwest_client_builder`] and [`NotingClient`](reqwest::NotingClient), for reqwest 0.13 |
//! | `reports` | | reports as JSON and, with `hyper`, [`HttpReporter`](report::HttpReporter), which sends them |
//! | `idn` | | host names outside ASCII, converted to A-labels |
//! | `tracing` | | events (target `pinhold`) for refusals, skipped pins and received headers |
//!
//! The version of rustls that pinhold uses is re-exported as [`rustls`]. The command line is a
//! package of its own, `pinhold-cli`.
//!
//! [RFC 7469]: https://www.rfc-editor.org/rfc/rfc7469

#![cfg_attr(pinhold_docsrs, feature(doc_cfg))]

/// Emits a `tracing` event with the feature `tracing`, and does nothing without it.
macro_rules! event {
    ($level:ident, $($fields:tt)+) => {{
        // A subscriber is code of the application: a panic in it must not end a thread of this
        // crate or a handshake.
        #[cfg(feature = "tracing")]
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            tracing::event!(target: "pinhold", tracing::Level::$level, $($fields)+);
        })));
    }};
}

mod chain;
#[cfg(feature = "hyper")]
pub mod connector;
#[cfg(all(feature = "hyper", feature = "reports"))]
mod http_reporter;
#[cfg(feature = "hyper")]
pub mod layer;
mod pinning;
pub mod policy;
#[cfg(feature = "reqwest")]
pub mod reqwest;
pub mod roots;
mod store;
pub mod tls;
mod violation;

pub use rustls;

pub use crate::chain::ValidatedChain;
#[cfg(feature = "hyper")]
pub use crate::connector::PinningConnector;
#[cfg(feature = "hyper")]
pub use crate::layer::NotePinsLayer;
pub use crate::pinning::{BuildError, Decision, Event, Pinning, PinningBuilder};
pub use crate::policy::{Enforcement, Host, PinPolicy, PinSet, SpkiFingerprint, UserAddedRoots};
pub use crate::roots::TrustAnchors;
pub use crate::store::{FileStorage, PinStore};
pub use crate::tls::PinningVerifier;
#[cfg(feature = "hyper")]
pub use crate::tls::VerifiedConnection;
pub use crate::violation::PinViolation;

/// `Public-Key-Pins` header fields: their syntax, and the effect of a received one.
pub mod header {
    pub use crate::pinning::{HeaderEffect, IgnoreReason, Noted, RemovalReason};
    pub use crate::policy::header::{HeaderError, HeaderSyntax, PinHeader};
}

/// Reports of pin violations ([RFC 7469 section 3]), the interface for sending them, and roll-out
/// counts.
///
/// [RFC 7469 section 3]: https://www.rfc-editor.org/rfc/rfc7469#section-3
pub mod report {
    #[cfg(all(feature = "hyper", feature = "reports"))]
    pub use crate::http_reporter::{HttpReporter, HttpReporterBuilder, ReportUriPolicy};
    pub use crate::pinning::Rollout;
    pub use crate::violation::{DeliveryError, DropReason, EndpointError, Report, Reporter};
    #[cfg(feature = "reports")]
    pub use crate::violation::{ReportDetail, ReportForm, ReservedField};
}

/// The store of noted pins, and the interface to the storage that makes it persistent.
pub mod storage {
    pub use crate::store::{
        Batch, Change, Corruption, DurableFuture, EntryError, FileStorage, PinStore,
        PinStoreBuilder, Recovered, Storage, StorageError,
    };
}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../DESIGN.md")]
pub mod design {}
