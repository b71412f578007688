//! Failures of the program: their exit codes, their text, and their kinds in JSON.

use std::error::Error;
use std::net::IpAddr;
use std::{fmt, io, iter};

use hyper_util::client::legacy as client;
use pinhold::connector::ConnectError;
use pinhold::policy::PolicyState;
use pinhold::storage::StorageError;
use pinhold::tls::Cause;
use pinhold::{BuildError, PinViolation, Pinning, UnpinnedHost};
use serde_json::{Value, json};

use crate::cause::cause_json;
use crate::output::wrapped;
use crate::peer::{Peer, Target};
use crate::refusal::Refusal;
use crate::storage_error;
use crate::tls_error::{self, InvalidChain};
use crate::transport::{TransportError, Via};

/// Reasons to end the program early or with an exit code other than 0.
pub(crate) enum Failure {
    /// The message about what failed was printed.
    AlreadyPrinted { code: u8 },
    /// A bundle, or a root of trust for pins, is not trusted.
    Bundle {
        subject: String,
        /// The rule that failed, which scripts match.
        reason: &'static str,
        detail: String,
    },
    /// Validation rejects the chain of the server.
    Certificate {
        url: String,
        target: Target,
        chain: Box<InvalidChain>,
    },
    /// Standard output, a new file, the file of a result, or the runtime of the program, failed.
    Internal {
        subject: &'static str,
        error: io::Error,
    },
    /// Standard output was closed by its reader. The exit code is 0, as with a reader like `head`.
    OutputClosed,
    /// The chain is valid, but contains no pinned key.
    PinViolation(Box<Refusal>),
    /// The connection or the request failed.
    Request {
        kind: RequestFailure,
        /// The URL.
        subject: String,
        target: Target,
        detail: String,
        /// What the facts show about the cause, if they show anything.
        cause: Option<Box<Cause>>,
    },
    /// Noted pins could not be read.
    StorageRead(StorageError),
    /// Noted pins could not be written.
    StorageWrite(StorageError),
    /// Invalid usage or input.
    Usage(String),
}

/// What failed of a request.
#[derive(Clone, Copy)]
pub(crate) enum RequestFailure {
    /// The server could not be connected to.
    Connection,
    /// The exchange of HTTP messages.
    Http,
    /// The URL is `http`, and its host is pinned.
    PlainHttp,
    /// The proxy, or the tunnel through it.
    Proxy,
    /// `--fail` was given, and the response has this status.
    Status(u16),
    /// The time limit of `--timeout` has passed.
    Timeout,
    /// The TLS handshake, for another reason than an invalid chain.
    Tls,
    /// The host is not pinned, and the pin file refuses such hosts.
    UnpinnedHost,
}

impl RequestFailure {
    fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Http => "http",
            Self::PlainHttp => "plain-http",
            Self::Proxy => "proxy",
            Self::Status(_) => "status",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::UnpinnedHost => "unpinned-host",
        }
    }
}

impl Failure {
    /// Returns the failure for an input that can't be used.
    pub(crate) fn input(subject: &str, reason: impl fmt::Display) -> Self {
        Self::Usage(format!("{subject}: {reason}"))
    }

    /// Returns the failure for options that the library rejects. Some texts of the library name
    /// its items; these errors are not reachable from the command line.
    pub(crate) fn of_build(error: &BuildError) -> Self {
        Self::Usage(match error {
            BuildError::DuplicateHost { .. }
            | BuildError::Exemption { .. }
            | BuildError::Host(_)
            | BuildError::ReportEndpoint { .. }
            | BuildError::ReportUri(_) => error.to_string(),
            BuildError::HostInPinFile { host } => format!(
                "{host} has pins in the pin file and by an option, expected all of them in one place"
            ),
            BuildError::UnionOfGroups { host } => format!(
                "the policy of {host} has several groups of pins (`all_of`), expected one group in \
                 each policy with `\"overlap\": \"union\"`"
            ),
            BuildError::Tls(error) => format!("TLS: {}", tls_error::text(error)),
            _ => "the TLS settings can't be used".to_owned(),
        })
    }

    /// Returns the failure for an error of a request or of its connection.
    pub(crate) fn of_request(peer: &Peer, error: &(dyn Error + 'static)) -> Self {
        if let Some(violation) = PinViolation::find(error) {
            let refusal = Refusal::new(violation, peer.roots, peer.sources.clone());
            return Self::PinViolation(Box::new(refusal));
        }
        if let Some(unpinned) = UnpinnedHost::find(error) {
            return peer.failure(RequestFailure::UnpinnedHost, unpinned_text(&unpinned, peer));
        }
        let target = &peer.target;
        if let Some(error) = find::<rustls::Error>(error) {
            return match error {
                rustls::Error::InvalidCertificate(error) => Self::Certificate {
                    url: peer.url.clone(),
                    target: target.clone(),
                    chain: InvalidChain::new(error, target, &peer.served.certificates()).into(),
                },
                error => Self::of_handshake(peer, error),
            };
        }
        if let Some(error) = find::<TransportError>(error) {
            let kind = match error.via {
                Via::Proxy(_) => RequestFailure::Proxy,
                Via::Address(_) | Via::Dns => RequestFailure::Connection,
            };
            return peer.failure(kind, causes(error));
        }
        Self::of_exchange(peer, error)
    }

    /// Returns the failure for an error of TLS other than an invalid chain.
    fn of_handshake(peer: &Peer, error: &rustls::Error) -> Self {
        let statement = format!(
            "TLS with {} failed: {}",
            peer.target,
            tls_error::text(error)
        );
        let cause = pinhold::tls::cause(error);
        let mut detail = tls_error::under_cause(cause.as_ref(), &statement);
        if cause == Some(Cause::NotTls) {
            let remedy = "what to do: check the port, or log in to the network";
            detail = format!("{detail}\n{}", wrapped(remedy));
        }
        Self::Request {
            kind: RequestFailure::Tls,
            subject: peer.url.clone(),
            target: peer.target.clone(),
            detail,
            cause: cause.map(Box::new),
        }
    }

    /// Returns the failure for an error after the connection was made, or without one.
    fn of_exchange(peer: &Peer, error: &(dyn Error + 'static)) -> Self {
        let target = &peer.target;
        match find::<ConnectError>(error) {
            Some(ConnectError::PlainHttp { host }) => peer.failure(
                RequestFailure::PlainHttp,
                format!(
                    "http to the pinned host {host}, where pins can't be checked; expected https"
                ),
            ),
            Some(ConnectError::Io(error)) => peer.failure(
                RequestFailure::Tls,
                format!(
                    "the connection to {target} ended in the TLS handshake: {}",
                    causes(error)
                ),
            ),
            Some(ConnectError::NotVerified) => peer.failure(
                RequestFailure::Tls,
                format!("the connection to {target} was not verified"),
            ),
            _ => peer.failure(
                RequestFailure::Http,
                format!("the request to {target} failed: {}", causes(error)),
            ),
        }
    }

    /// Adds the other policies that a pin violation is due to.
    pub(crate) fn with_policies_of(mut self, pinning: &Pinning) -> Self {
        if let Self::PinViolation(refusal) = &mut self {
            refusal.add_policies(pinning);
        }
        self
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::AlreadyPrinted { code } => *code,
            Self::OutputClosed => 0,
            Self::Request {
                kind: RequestFailure::UnpinnedHost,
                ..
            } => 90,
            Self::Bundle { .. }
            | Self::Certificate { .. }
            | Self::Internal { .. }
            | Self::Request { .. }
            | Self::StorageWrite(_) => 1,
            Self::StorageRead(_) | Self::Usage(_) => 2,
            Self::PinViolation(_) => 90,
        }
    }

    pub(crate) fn json(&self) -> Value {
        let message = self.to_string();
        match self {
            Self::AlreadyPrinted { .. } | Self::OutputClosed => json!(null),
            Self::Bundle { reason, .. } => json!({
                "error": "bundle",
                "reason": reason,
                "message": message,
            }),
            Self::Certificate { target, chain, .. } => {
                let mut object = json!({
                    "error": "certificate",
                    "reason": chain.reason,
                    "host": target.host,
                    "port": target.port,
                    "message": message,
                });
                if let Value::Object(fields) = &mut object {
                    fields.extend(chain.facts.clone());
                }
                object
            }
            Self::Internal { .. } => json!({ "error": "internal", "message": message }),
            Self::PinViolation(refusal) => refusal.json(&message),
            Self::Request {
                kind,
                target,
                cause,
                ..
            } => request_json(*kind, target, cause.as_deref(), &message),
            Self::StorageRead(error) | Self::StorageWrite(error) => json!({
                "error": "storage",
                "reason": storage_error::reason(error),
                "message": message,
            }),
            Self::Usage(_) => json!({ "error": "usage", "message": message }),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyPrinted { .. } => f.write_str("failure already printed"),
            Self::Bundle {
                subject, detail, ..
            } => write!(f, "{subject}: {detail}"),
            Self::Certificate { url, chain, .. } => write!(f, "{url}: {}", chain.text),
            Self::Internal { subject, error } => write!(f, "{subject}: {error}"),
            Self::OutputClosed => f.write_str("standard output is closed"),
            Self::PinViolation(refusal) => refusal.fmt(f),
            Self::Request {
                subject, detail, ..
            } => write!(f, "{subject}: {detail}"),
            Self::StorageRead(error) | Self::StorageWrite(error) => {
                f.write_str(&storage_error::text(error))
            }
            Self::Usage(message) => f.write_str(message),
        }
    }
}

fn request_json(
    kind: RequestFailure,
    target: &Target,
    cause: Option<&Cause>,
    message: &str,
) -> Value {
    let mut object = json!({
        "error": kind.name(),
        "host": target.host,
        "port": target.port,
        "message": message,
    });
    if let Value::Object(fields) = &mut object {
        if let RequestFailure::Status(status) = kind {
            fields.insert("status".to_owned(), json!(status));
        }
        if let Some(cause) = cause {
            fields.insert("cause".to_owned(), cause_json(cause));
        }
    }
    object
}

/// Returns the facts of an unpinned host as the library states them, in words of the pin file.
fn unpinned_text(unpinned: &UnpinnedHost, peer: &Peer) -> String {
    let name = unpinned.server_name().to_str();
    let file = peer.sources.pins.as_deref().map(|file| file.display());
    let file = file.map_or_else(|| "the pin file".to_owned(), |file| file.to_string());
    let mut remedy =
        "if it may be connected to, add a policy for it or list it in `allow_unpinned`";
    let why = match unpinned.policy() {
        Some(policy) if policy.state == PolicyState::ReportOnly => {
            format!(
                "its policy, that of {}, is report-only",
                policy.noted_hostname
            )
        }
        _ if unpinned.server_name().to_str().parse::<IpAddr>().is_ok() => {
            remedy = "if it may be connected to, list it in `allow_unpinned`";
            "it is an IP address, which can't be pinned".to_owned()
        }
        _ => "no policy covers it: none is set, it is exempt, or the policy has expired".to_owned(),
    };
    format!(
        "{name} is not pinned, and {file} refuses unpinned hosts\n{}\n{}",
        wrapped(&why),
        wrapped(&format!("what to do: {remedy}"))
    )
}

/// Finds an error of this type in an error or in its causes.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut causes = iter::successors(Some(error), |error| cause(*error));
    causes.find_map(|error| error.downcast_ref())
}

/// Returns the error that another one wraps. `io::Error::source` skips it.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
    wrapped.map_or_else(|| error.source(), |error| Some(error))
}

/// Returns the text of an error and of its causes. Some errors repeat the text of their cause,
/// which is printed once.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let statement = statement(error).filter(|it| !text.ends_with(it.as_str()));
        if let Some(statement) = statement {
            if !text.is_empty() {
                text += ": ";
            }
            text += &statement;
        }
        next = error.source();
    }
    text
}

/// Returns what an error states; `None` if it states only that an inner error occurred, in words of
/// the library that returned it.
fn statement(error: &(dyn Error + 'static)) -> Option<String> {
    let is_wrapper = error.is::<client::Error>() || error.is::<ConnectError>();
    let has_cause = error.source().is_some();
    (!is_wrapper || !has_cause).then(|| error.to_string())
}
