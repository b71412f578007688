//! The vocabulary of RFC 7469: fingerprints, hosts, pin sets, policies, the header's syntax, and the
//! verdicts of policies on a validated path.
//!
//! Uses no other module: no I/O, no TLS state, and time only as an argument.

pub(crate) mod fingerprint;
pub(crate) mod header;
mod host;
mod judgement;
pub(crate) mod origin;
mod policies;
mod report_uri;
pub(crate) mod text;
pub(crate) mod timestamp;
pub(crate) mod uri;

pub(crate) use crate::policy::fingerprint::{KeyHash, sha256};
pub use crate::policy::fingerprint::{ParseFingerprintError, SpkiFingerprint};
pub(crate) use crate::policy::header::{HeaderError, HeaderSyntax, PinHeader};
pub use crate::policy::host::{Host, HostError};
pub use crate::policy::judgement::AppliedPolicies;
pub(crate) use crate::policy::judgement::{Verdict, Verdicts};
pub(crate) use crate::policy::origin::AnchorOrigin;
pub use crate::policy::policies::{
    AfterExpiry, AppliedPolicy, Enforcement, HostMatch, KnownPinnedHost, PinPolicy, PinSet,
    PinSource, PolicyError, PolicyState, UserAddedRoots,
};
pub use crate::policy::report_uri::{ReportUri, ReportUriError};
pub use crate::policy::timestamp::IntoUnixTime;
