//! Public key pinning for rustls and hyper: a client refuses a server whose *validated* chain
//! holds none of the keys pinned to its name.
//!
//! Chains are validated as WebPKI does; pins come from the application (static) and from the
//! server (`Public-Key-Pins`, [RFC 7469]), and are tried on every valid path.
//!
//! ```
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use pinhold::{
//!     FileStorage, NotePinsLayer, PinPolicy, PinStore, Pinning, PinningConnector, TrustAnchors,
//! };
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
//!    enforced one, which goes on to decide, and swap it in with [`Pinning::replace_static`].
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
//! | `reqwest` | | [`Pinning::reqwest_client_builder`] and [`NotingClient`], for reqwest 0.13 |
//! | `idn` | | hosts outside ASCII, turned into A-labels |
//! | `tracing` | | events (target `pinhold`) for refusals, skips and received headers |
//! | `cli` | | the command-line tool `pinhold` |
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

mod anchors;
mod build_error;
mod builder;
mod certificate;
mod chain;
#[cfg(feature = "hyper")]
mod connect_error;
mod connection;
#[cfg(feature = "hyper")]
mod connector;
#[cfg(feature = "hyper")]
mod endpoint;
mod entries;
mod file_storage;
mod finding;
mod fingerprint;
mod format;
#[cfg_attr(
    not(feature = "hyper"),
    expect(dead_code, reason = "only connections of hyper watch it")
)]
mod generation;
mod header;
#[cfg(feature = "hyper")]
mod heard;
mod host;
#[cfg(feature = "hyper")]
mod http_reporter;
#[cfg(feature = "hyper")]
mod layer;
#[cfg(all(feature = "native-certs", any(target_os = "macos", windows, test)))]
mod local_roots;
#[cfg(feature = "native-certs")]
mod native;
mod noting;
#[cfg(feature = "reqwest")]
mod noting_client;
mod observers;
#[cfg(feature = "hyper")]
mod outbound;
#[cfg(pinhold_debug_overrides)]
mod overrides;
mod pinning;
mod policy;
mod provider;
#[cfg(feature = "reqwest")]
mod redirect;
#[cfg(feature = "hyper")]
mod repeat;
mod report;
mod report_uri;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "hyper")]
mod retiring;
mod revocation;
mod rollout;
#[cfg(feature = "hyper")]
mod sent;
mod sessions;
mod signatures;
mod static_pins;
mod storage;
mod store;
#[cfg(feature = "hyper")]
mod stream;
mod timestamp;
mod unproved;
mod verifier;
mod violation;
mod writer;

pub use crate::anchors::{AnchorError, AnchorOrigin, TrustAnchors};
pub use crate::build_error::BuildError;
pub use crate::builder::PinningBuilder;
pub use crate::chain::{AppliedPolicies, ChainKey, KeyRole, ValidatedChain};
#[cfg(feature = "hyper")]
pub use crate::connect_error::ConnectError;
#[cfg(feature = "hyper")]
pub use crate::connection::VerifiedConnection;
#[cfg(feature = "hyper")]
pub use crate::connector::{PinningConnector, PinningConnectorBuilder, PlainHttp};
pub use crate::file_storage::FileStorage;
pub use crate::fingerprint::{ParseFingerprintError, SpkiFingerprint};
pub use crate::format::{Damage, EntryError};
pub use crate::header::{HeaderError, HeaderSyntax, PinHeader};
pub use crate::host::{Host, HostError};
#[cfg(feature = "hyper")]
pub use crate::http_reporter::{HttpReporter, HttpReporterBuilder, ReportUris};
#[cfg(feature = "hyper")]
pub use crate::layer::{NotePins, NotePinsLayer, ResponseFuture};
#[cfg(feature = "native-certs")]
pub use crate::native::NativeRootError;
pub use crate::noting::{HeaderEffect, IgnoreReason, Noted, RemovalReason};
#[cfg(feature = "reqwest")]
pub use crate::noting_client::{ClientBuildError, NotingClient, NotingClientBuilder, RequestError};
pub use crate::observers::Event;
pub use crate::pinning::{Decision, Pinning};
pub use crate::policy::{
    AfterExpiry, AppliedPolicy, Enforcement, HostMatch, KnownPinnedHost, PinPolicy, PinSet,
    PinSource, PolicyError, Standing, UserAddedRoots,
};
#[cfg(feature = "reqwest")]
pub use crate::redirect::RedirectError;
#[cfg(feature = "hyper")]
pub use crate::repeat::{Repeat, RepeatFuture, RepeatLayer};
pub use crate::report::{
    Attempt, DropReason, EndpointProblem, Report, ReportDetail, ReportForm, Reporter, ReservedField,
};
pub use crate::report_uri::{ReportUri, ReportUriError};
pub use crate::rollout::Rollout;
pub use crate::storage::{Batch, Change, Recovered, Storage, StorageError};
pub use crate::store::PinStore;
#[cfg(feature = "hyper")]
pub use crate::stream::PinnedStream;
pub use crate::unproved::UnprovedPath;
pub use crate::verifier::{PinningVerifier, PinningVerifierBuilder};
pub use crate::violation::PinViolation;
pub use crate::writer::Durable;

#[cfg(any(doc, doctest))]
#[doc = include_str!("../DESIGN.md")]
pub mod design {}
