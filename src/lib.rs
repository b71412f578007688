//! Public key pinning for TLS clients: a client refuses a server if the *validated* certificate
//! chain contains none of the keys that are pinned to the server's name. For rustls, hyper and
//! reqwest. Pins are set by the application (static pins) or announced by servers
//! (`Public-Key-Pins` header, [RFC 7469]), and are checked in addition to the usual validation.
//!
//! ```no_run
//! # #[cfg(all(feature = "reqwest", feature = "webpki-roots"))]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # const LIVE_KEY: &str = "sha256/UvrJ7xWQqIai1LiDUqrxuenMtEA5O+GkGhR09c59iJk=";
//! # const BACKUP_KEY: &str = "sha256/dQM9OzcacVHH/cQgoluB6qJ5CSvgqL5ejLzW7eR3Av4=";
//! use pinhold::{PinPolicy, Pinning, TrustAnchors};
//! let policy = PinPolicy::new([LIVE_KEY, BACKUP_KEY])?; // "sha256/UvrJ7xWQqIai...", ...
//! let pinning = Pinning::builder().static_pins("api.example.com", policy).build()?;
//! let client = pinning.reqwest_client_builder(TrustAnchors::webpki_roots())?.build()?;
//! let response = client.get("https://api.example.com/").send().await?; // or a `PinViolation`
//! # drop(response);
//! # Ok(())
//! # }
//! ```
//!
//! Complete programs: `examples/reqwest.rs`, and `examples/client.rs` for hyper.
//!
//! # Warning: pinning can lock your users out
//!
//! An application can't reach a pinned server any more once the server's keys and CAs are replaced
//! by others that are not pinned. Three remedies:
//!
//! - Always pin a **backup**: all roots of a second CA, or a [key that is kept
//!   offline](guide::backup_key).
//! - Begin with pins that [only report](guide::rolling_out).
//! - Let pins expire: static ones by [`PinPolicy::expires`], noted ones by a short `max-age`.
//!
//! Do not pin a host that you don't operate without the consent of its operator.
//!
//! # Guide
//!
//! The [guide] has a page for each task. Begin with [choosing pins](guide::choosing_pins)
//! and [rolling out](guide::rolling_out). Internals are in [the design](design).
//!
//! | task | items |
//! |---|---|
//! | set pins | [`Pinning`], [`PinPolicy`], [`SpkiFingerprint`], [pins in a file](guide::pin_file) |
//! | make a client | [`PinningConnector`] (hyper), [`Pinning::reqwest_client_builder`], [`Pinning::client_config`] ([other stacks](guide::stacks)) |
//! | choose roots | [`TrustAnchors`], [user-added roots](guide::user_added_roots) |
//! | understand a refusal | [`PinViolation::find`], [`Event`], [`report`], [`Pinning::explain`] |
//! | note the pins that servers announce | [`NotePinsLayer`], [`NotingClient`](reqwest::NotingClient), [`PinStore`], [guide](guide::noting) |
//!
//! # What is not done
//!
//! - Pins of IP addresses: RFC 7469 pins host names only.
//! - OCSP, and fetching of missing intermediate certificates.
//! - Certificate Transparency without the feature `ct`, and proofs that a log contains a certificate: an
//!   SCT is the promise of a log.
//! - Inspection of an application's own traffic, except in a build with the flag `--cfg
//!   pinhold_debug_overrides` ([guide](guide::user_added_roots)).
//!
//! The crate has not been audited by an outsider yet.
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
//! | `pin-file` | | [pins as data](pin_file): a JSON file for all platforms |
//! | `bundles` | | pins that are changed without a release: signed [pin bundles](bundle) |
//! | `health` | | [warnings before a lock-out](guide::health), and counts that survive restarts ([`health`]) |
//! | `first-use` | | keys that are remembered from the first connection to a host ([`first_use`]) |
//! | `hsts` | | [HSTS](hsts) (RFC 6797): `http` becomes `https` for hosts that announced it |
//! | `direct-trust` | | no certification authorities: [the server's own certificate](PinningVerifier::without_certification_authorities) or its [raw public key](PinningVerifier::without_certificates) (RFC 7250) |
//! | `ct` | | [Certificate Transparency](ct): certificates of public CAs have to be logged |
//! | `self-test` | | [`Pinning::self_test`]: shows at start that a configuration refuses |
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

#[cfg(feature = "bundles")]
mod bundles;
mod chain;
#[cfg(feature = "hyper")]
pub mod connector;
#[cfg(feature = "ct")]
pub mod ct;
#[cfg(feature = "hsts")]
pub mod hsts;
#[cfg(all(feature = "hyper", feature = "reports"))]
mod http_reporter;
#[cfg(feature = "first-use")]
mod known_keys;
#[cfg(feature = "hyper")]
pub mod layer;
#[cfg(feature = "pin-file")]
pub mod pin_file;
mod pinning;
pub mod policy;
#[cfg(feature = "reqwest")]
pub mod reqwest;
pub mod roots;
mod store;
pub mod tls;
#[cfg(all(feature = "bundles", feature = "hyper"))]
mod updater;
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
pub use crate::violation::{PinViolation, UnpinnedHost};

/// Pin bundles: signed static pins that an application takes at run time.
#[cfg(feature = "bundles")]
pub mod bundle {
    pub use crate::bundles::{
        BundleError, InstallId, NoteError, NoteSignature, PinBundle, PinRoot, RootError,
        SignedNote, Staging, VerifierKey, WhenStale,
    };
    pub use crate::pinning::{BundleCounts, BundleOutcome, BundleStatus, PinBundles};
    pub use crate::policy::BundleVersion;
    #[cfg(feature = "hyper")]
    pub use crate::updater::{
        FetchError, PinUpdater, PinUpdaterBuilder, UpdateError, UpdateFailure, UpdateOutcome,
    };
}

/// Trust on first use: the keys of the first connection to a host are remembered.
#[cfg(feature = "first-use")]
pub mod first_use {
    pub use crate::known_keys::{KeyState, KnownKey, KnownKeys};
    pub use crate::pinning::{Answer, FirstUse, FirstUseHosts, KeyChoice, OnChange};
    pub use crate::violation::KeyChange;
}

/// Why a policy applies to a host, and what it means there ([`Pinning::explain`]).
pub mod explain {
    pub use crate::pinning::{AnchorOutcomes, Explanation, NotApplied, OtherPolicy, StaticOrigin};
}

/// What the connections of an application show about its pins, before users are locked out.
#[cfg(feature = "health")]
pub mod health {
    pub use crate::pinning::{
        Health, HealthOptions, HostNames, PinHealth, PolicyHealth, VersionCounts,
    };
    pub use crate::store::HealthWarning;
}

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
        Change, Corruption, DurableFuture, FileStorage, Merged, PinStore, PinStoreBuilder,
        PublicSuffixes, PublicSuffixesError, Record, RecordError, Recovered, Storage, StorageError,
        StorageWaker, Update,
    };
}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../DESIGN.md")]
pub mod design {}
#[cfg(any(doc, doctest))]
pub mod guide;
