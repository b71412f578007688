//! The vocabulary of RFC 7469 and the evaluation of policies on a validated path.
//!
//! Contains fingerprints, hosts, pin sets, policies, the syntax of the header fields and the result
//! of evaluating policies.
//!
//! Uses no other module: it performs no I/O, keeps no TLS state, and takes time as an argument.
//!
//! Offers the types by which all modules above name hosts, keys and policies.

mod applied;
#[cfg(feature = "bundles")]
mod bundle_version;
#[cfg(feature = "bundles")]
mod bundled_policy;
pub(crate) mod der;
mod enforcement;
pub(crate) mod fingerprint;
mod fingerprint_error;
mod fingerprint_text;
pub(crate) mod header;
pub(crate) mod header_tokens;
mod host;
mod judgement;
mod known_host;
pub(crate) mod origin;
mod outcome;
pub(crate) mod pem;
mod pin_group;
mod pin_policy;
mod pin_set;
mod plain_http;
mod report_uri;
mod scope;
mod sha256;
mod static_rules;
pub(crate) mod text;
pub(crate) mod timestamp;
mod unpinned;
#[cfg(feature = "hyper")]
pub(crate) mod uri;

pub use crate::policy::applied::{
    AppliedPolicy, HostMatch, PinSource, PolicyState, UserAddedRoots,
};
#[cfg(feature = "bundles")]
pub use crate::policy::bundle_version::BundleVersion;
pub use crate::policy::enforcement::{AfterExpiry, Enforcement};
pub use crate::policy::fingerprint::SpkiFingerprint;
pub use crate::policy::fingerprint_error::ParseFingerprintError;
pub(crate) use crate::policy::header::{HeaderError, HeaderSyntax, PinHeader};
pub use crate::policy::host::{Host, HostError};
pub use crate::policy::judgement::{AppliedPolicies, KeyMatch};
pub(crate) use crate::policy::judgement::{JudgedPolicies, Verdict, Verdicts};
pub use crate::policy::known_host::KnownPinnedHost;
pub(crate) use crate::policy::origin::AnchorOrigin;
pub(crate) use crate::policy::outcome::Combined;
pub use crate::policy::outcome::Outcome;
pub(crate) use crate::policy::pin_group::Requirement;
pub use crate::policy::pin_group::{PinGroup, PinRole};
pub use crate::policy::pin_policy::PinPolicy;
pub use crate::policy::pin_set::{PinSet, PolicyError};
pub use crate::policy::plain_http::PlainHttp;
pub use crate::policy::report_uri::{ReportUri, ReportUriError};
pub use crate::policy::scope::Scope;
pub(crate) use crate::policy::sha256::{KeyHash, sha256};
pub(crate) use crate::policy::static_rules::Settings;
#[cfg(feature = "pin-file")]
pub(crate) use crate::policy::static_rules::sealed;
pub use crate::policy::static_rules::{IntoStaticRules, Overlap, StaticRules};
pub use crate::policy::timestamp::IntoUnixTime;
pub use crate::policy::unpinned::{UnpinnedHosts, UnpinnedName};
