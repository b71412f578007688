//! Public key pinning for rustls and hyper: a client refuses a server whose *validated* chain
//! holds none of the keys pinned to its name.
//!
//! Chains are validated as WebPKI does; pins come from the application (static) and from the
//! server (`Public-Key-Pins`, [RFC 7469]), and are tried on every valid path.
//!
//! ```
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use pinhold::{FileStorage, NotePinsLayer, PinPolicy, PinStore, Pinning, PinningConnector, TrustAnchors};
//! use tower_layer::Layer;
//!
//! # #[cfg(all(feature = "webpki-roots", feature = "aws-lc-rs", not(feature = "ring")))] {
//! let policy = PinPolicy::new([
//!     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
//!     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=", // backup
//! ])?;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("noted-pins.jsonl");
//! let (store, trouble) = PinStore::open_or_recover(FileStorage::new(path));
//! if let Some(error) = trouble {
//!     eprintln!("{error}"); // what was wrong, what was saved, what to do
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
//! let client = NotePinsLayer::new(pinning).layer(client); // learns Public-Key-Pins
//! # drop(client);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Two ways through the code
//!
//! ```text
//!  learning                                     enforcing
//!  response header bytes                        served chain (DER, untrusted)
//!    | PinHeader::parse                           | webpki proves paths, pins are tried on each
//!    v                                            v
//!  PinHeader -- host, now --+             +---- ValidatedChain
//!                           v             v
//!                         Pinning::note / Pinning::check
//!                           |             |
//!                           v             v
//!               KnownPinnedHost       Decision -- Refuse --> PinViolation --> rustls::Error
//!                           |             |                       |
//!                           v             +-- ReportOnly -----> Report --> observers, Reporter
//!                        PinStore --> Storage (a file, a database of yours)
//! ```
//!
//! # Warning: pinning can lock your users out
//!
//! A pinned application can't reach its server once the server's keys or CAs are replaced by ones
//! that no pin names. Three remedies: always pin a **backup key** that is kept offline; try pins
//! before you rely on them (below); and let static policies end ([`PinPolicy::expires`]), noted
//! ones with a short `max-age`. Do not pin hosts that you don't operate without their consent.
//!
//! # Rolling out pins
//!
//! 1. Begin with [`Enforcement::ReportOnly`]: nothing is refused.
//! 2. Let an [observer](PinningBuilder::observer) or [reports](PinningBuilder::reporter) tell what
//!    would have been refused, and look at [`Pinning::rollout`]: how many connections would have
//!    failed, and which pins were never seen.
//! 3. Enforce. From then on try each new set as a [candidate](PinPolicy::candidate) beside the
//!    enforced one, which goes on to decide, and swap it in with [`Pinning::replace_pins`].
//!
//! # What is not done
//!
//! - Pins of IP addresses: a pin belongs to a name.
//! - Certificate Transparency, OCSP, and fetching intermediates.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `aws-lc-rs` | yes | the crypto provider where the caller and the process chose none |
//! | `hyper` | yes | [`PinningConnector`] and [`NotePinsLayer`] |
//! | `webpki-roots` | yes | Mozilla's roots, [`TrustAnchors::webpki_roots`] |
//! | `native-certs` | | the platform's roots with their origins, [`TrustAnchors::native`] |
//! | `ring` | | `ring` instead of `aws-lc-rs` (enable one, or choose by `with_provider`) |
//! | `reqwest` | | [`Pinning::reqwest_client_builder`] and [`NotingClient`](reqwest::NotingClient), for reqwest 0.13 |
//! | `reports` | | reports as JSON, and with `hyper` [`HttpReporter`](report::HttpReporter) |
//! | `idn` | | hosts outside ASCII, turned into A-labels |
//! | `tracing` | | events (target `pinhold`) for refusals, skips and received headers |
//!
//! [RFC 7469]: https://www.rfc-editor.org/rfc/rfc7469

#![cfg_attr(pinhold_docsrs, feature(doc_cfg))]

/// A `tracing` event with the feature `tracing`, nothing without.
macro_rules! event {
    ($level:ident, $($fields:tt)+) => {{
        // A subscriber is foreign code: its panic must not end a thread of ours, nor a handshake.
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

/// `Public-Key-Pins` header fields: their syntax, and what became of one.
pub mod header {
    pub use crate::pinning::{HeaderEffect, IgnoreReason, Noted, RemovalReason};
    pub use crate::policy::header::{HeaderError, HeaderSyntax, PinHeader};
}

/// Reports of pin violations ([RFC 7469 section 3]) and what sends them.
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

/// The store of noted pins, and the seam to where it is kept.
pub mod storage {
    pub use crate::store::{
        Batch, Change, Corruption, DurableFuture, EntryError, FileStorage, PinStore,
        PinStoreBuilder, Recovered, Storage, StorageError,
    };
}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../DESIGN.md")]
pub mod design {}
