//! The vocabulary of RFC 7469 and the evaluation of policies on a validated path.
//!
//! Contains fingerprints, hosts, pin sets, policies, the syntax of the header fields and the result
//! of evaluating policies.
//!
//! Uses no other module: it performs no I/O, keeps no TLS state, and takes time as an argument.
//!
//! Offers the types by which all modules above name hosts, keys and policies.

mod applied;
pub(crate) mod der;
pub(crate) mod fingerprint;
mod fingerprint_error;
mod fingerprint_text;
pub(crate) mod header;
mod header_tokens;
mod host;
mod judgement;
mod known_host;
pub(crate) mod origin;
pub(crate) mod pem;
mod pin_policy;
mod pin_set;
mod report_uri;
mod sha256;
pub(crate) mod text;
pub(crate) mod timestamp;
#[cfg(feature = "hyper")]
pub(crate) mod uri;

pub use crate::policy::applied::{
    AppliedPolicy, HostMatch, PinSource, PolicyState, UserAddedRoots,
};
pub use crate::policy::fingerprint::SpkiFingerprint;
pub use crate::policy::fingerprint_error::ParseFingerprintError;
pub(crate) use crate::policy::header::{HeaderError, HeaderSyntax, PinHeader};
pub use crate::policy::host::{Host, HostError};
pub use crate::policy::judgement::AppliedPolicies;
pub(crate) use crate::policy::judgement::{JudgedPolicies, Verdict, Verdicts};
pub use crate::policy::known_host::KnownPinnedHost;
pub(crate) use crate::policy::origin::AnchorOrigin;
pub use crate::policy::pin_policy::{AfterExpiry, Enforcement, PinPolicy};
pub use crate::policy::pin_set::{PinSet, PolicyError};
pub use crate::policy::report_uri::{ReportUri, ReportUriError};
pub(crate) use crate::policy::sha256::{KeyHash, sha256};
pub use crate::policy::timestamp::IntoUnixTime;
