//! [`Report`], what is foreseen for each name: findings, the future of each pin, and a timeline.

use rustls::pki_types::UnixTime;

use crate::doctor::subject::{Pin, Subject};

/// The result of the command.
pub(crate) struct Report {
    /// The time for which everything is judged.
    pub(crate) at: UnixTime,
    /// Until when a lock-out fails the command (`--fail-within`).
    pub(crate) fail_before: UnixTime,
    pub(crate) data: DataAge,
    /// Findings that concern no single name, such as old data.
    pub(crate) general: Vec<Finding>,
    pub(crate) hosts: Vec<HostForecast>,
}

/// The age of the facts about CAs.
pub(crate) struct DataAge {
    /// The date of the snapshot.
    pub(crate) date: UnixTime,
    /// "compiled in", or the file of `--pki-data`.
    pub(crate) source: String,
    pub(crate) days: u64,
}

/// What is foreseen for one name.
pub(crate) struct HostForecast {
    pub(crate) subject: Subject,
    /// Each chain that was seen or given, in the order of the observations.
    pub(crate) chains: Vec<ChainForecast>,
    pub(crate) pins: Vec<PinForecast>,
    /// When connections begin to be refused, at the earliest: a date of the past or `at` itself means
    /// that they are refused now.
    pub(crate) lock_out: Option<LockOut>,
    /// Sorted: the most severe first, then by date.
    pub(crate) findings: Vec<Finding>,
    pub(crate) timeline: Vec<Span>,
}

/// A chain and its valid paths.
pub(crate) struct ChainForecast {
    /// One phrase, such as "192.0.2.1:443, TLS 1.3".
    pub(crate) source: String,
    /// Why there is no chain, if there is none.
    pub(crate) failure: Option<String>,
    pub(crate) paths: Vec<PathForecast>,
}

/// A valid path, leaf first.
pub(crate) struct PathForecast {
    /// The names of the certificates and of the anchor, escaped.
    pub(crate) names: Vec<String>,
    pub(crate) roots: RootStore,
    /// The last second at which all certificates of the path are valid and its root is trusted.
    pub(crate) until: Option<UnixTime>,
    /// Whether the pins hold on it.
    pub(crate) is_pinned: bool,
}

/// The list of roots with which a path is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RootStore {
    Mozilla,
    /// The store of the system on which the command runs.
    Platform,
    /// The `--ca` files.
    Files,
}

/// When connections begin to be refused.
#[derive(Clone)]
pub(crate) struct LockOut {
    pub(crate) at: UnixTime,
    pub(crate) certainty: Certainty,
    /// One sentence without its full stop.
    pub(crate) reason: String,
}

/// How sure a date is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Certainty {
    /// It follows from the pins and certificates themselves, such as the end of a validity period.
    Certain,
    /// A CA or a root programme has published it.
    Announced,
    /// It may happen at any time: there is a reason, and no date.
    Risk,
}

/// The future of one pin.
pub(crate) struct PinForecast {
    pub(crate) pin: Pin,
    /// What has this key: a certificate of the chain, a known root or intermediate; or "unknown key".
    pub(crate) name: String,
    /// Whether a valid path contains the key now; `None` if no chain was seen or given.
    pub(crate) holds: Option<bool>,
    /// When it stops holding at the latest, or from which date on it can't hold.
    pub(crate) end: Option<LockOut>,
    /// What to do, if anything.
    pub(crate) remedy: Option<&'static str>,
}

/// A bar of the timeline.
pub(crate) struct Span {
    pub(crate) kind: SpanKind,
    /// Escaped text.
    pub(crate) label: String,
    pub(crate) from: Option<UnixTime>,
    pub(crate) until: Option<UnixTime>,
    pub(crate) certainty: Certainty,
    pub(crate) is_pinned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanKind {
    Backup,
    Intermediate,
    Leaf,
    Pin,
    Policy,
    Root,
}

/// One fact that a reader must know.
#[derive(Clone)]
pub(crate) struct Finding {
    /// The rule, which scripts match; see `rules`.
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    /// When it takes effect; `None` for a risk without a date, and for what holds already.
    pub(crate) date: Option<UnixTime>,
    pub(crate) certainty: Certainty,
    /// What was seen, and what it means: one or two sentences without the last full stop.
    pub(crate) evidence: String,
    pub(crate) remedy: &'static str,
}

/// How bad a finding is. The order is that of the output, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Nothing needs to be done.
    Notice,
    /// Something should be done in time.
    Warning,
    /// Clients will be locked out.
    Error,
    /// Clients are locked out now.
    LockedOut,
}
