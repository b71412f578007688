//! The reasons why a report is not sent.

use std::error::Error;
use std::fmt;

/// Why a report was not sent.
///
/// ```
/// use pinhold::report::{DeliveryError, DropReason};
///
/// let reason = DropReason::GaveUp { attempts: 5, last: DeliveryError::Status(503) };
/// assert_eq!(reason.to_string(), "gave up after 5 attempts, the last with HTTP status 503");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// An equal report was sent to the same endpoint less than an hour ago.
    Duplicate,
    /// The endpoint can't be used, or is not allowed.
    Endpoint(EndpointError),
    /// Every attempt to send the report failed.
    GaveUp {
        /// The number of attempts.
        attempts: u32,
        /// The error of the last attempt.
        last: DeliveryError,
    },
    /// Neither the application nor the policy names an endpoint that may be used.
    NoEndpoint,
    /// The queue of reports is full.
    QueueFull,
    /// The limit of reports within an hour is reached, for this endpoint or for all together.
    RateLimit,
    /// The reporter panicked, or could not start.
    Reporter,
}

/// Why an endpoint can't be used, or is not allowed.
///
/// ```
/// use pinhold::report::EndpointError;
///
/// assert_eq!(EndpointError::PlainHttp.to_string(), "the URI is http, expected https");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndpointError {
    /// A server's `report-uri` names an IP address instead of a host name.
    IpAddress,
    /// A server's `report-uri` names a host other than the one on which the violation was seen, and
    /// the application allows only that one.
    OtherHost,
    /// The URI is `http`, and the application does not allow plain HTTP.
    PlainHttp,
    /// A server's `report-uri` names a host with an address that is not public, such as a loopback,
    /// link-local or private one.
    PrivateAddress,
    /// The endpoint is the host on which the violation was seen, over TLS: the connection would
    /// fail by the same enforced pins (RFC 7469 section 2.1.4).
    SameHost,
    /// The scheme is neither `https` nor `http`.
    Scheme,
    /// A server's `report-uri` names a host of a single label, such as `localhost`.
    SingleLabel,
    /// The URI can't be used in an HTTP request.
    Uri,
    /// The URI contains a user name or a password.
    UserInfo,
}

/// Why an attempt to send a report failed.
///
/// ```
/// use pinhold::report::DeliveryError;
///
/// assert_eq!(DeliveryError::Status(503).to_string(), "HTTP status 503");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The TLS handshake failed, for example because of an invalid certificate.
    Certificate,
    /// No connection was made, or it ended before a response was received.
    Connection,
    /// The endpoint's chain failed the endpoint's own pins.
    Pins,
    /// The response has this status, which is not 2xx.
    Status(u16),
    /// No response was received before the timeout.
    Timeout,
}

impl DeliveryError {
    /// Returns whether another attempt may succeed.
    #[cfg(all(feature = "hyper", feature = "reports"))]
    pub(crate) fn is_temporary(self) -> bool {
        match self {
            Self::Connection | Self::Timeout => true,
            Self::Status(status) => matches!(status, 408 | 429 | 500..),
            // 7469-2.1.4-f: a report over such a connection is cancelled.
            Self::Certificate | Self::Pins => false,
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duplicate => "an equal report was sent less than an hour ago",
            Self::Endpoint(error) => return error.fmt(f),
            Self::GaveUp { attempts: 1, last } => {
                return write!(f, "gave up after 1 attempt, with {last}");
            }
            Self::GaveUp { attempts, last } => {
                return write!(f, "gave up after {attempts} attempts, the last with {last}");
            }
            Self::NoEndpoint => {
                "no endpoint, expected one set by the application, or a report-uri that it allows"
            }
            Self::QueueFull => "the queue of reports is full",
            Self::RateLimit => "the limit of reports within an hour is reached",
            Self::Reporter => "the reporter panicked or could not start",
        })
    }
}

impl Error for DropReason {}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IpAddress => "the report-uri names an IP address, expected a host name",
            Self::OtherHost => {
                "the report-uri names another host, expected the one that failed its pins"
            }
            Self::PlainHttp => "the URI is http, expected https",
            Self::PrivateAddress => "the host of the report-uri has an address that is not public",
            Self::SameHost => "the URI names the host that failed its pins, expected another host",
            Self::Scheme => "the scheme of the URI is neither https nor http",
            Self::SingleLabel => {
                "the report-uri names a host of a single label, expected a full domain name"
            }
            Self::Uri => "the URI can't be used in an HTTP request",
            Self::UserInfo => "the URI contains a user name or a password",
        })
    }
}

impl Error for EndpointError {}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate => f.write_str("a failed TLS handshake"),
            Self::Connection => f.write_str("no connection, or no complete response"),
            Self::Pins => f.write_str("a violation of the endpoint's own pins"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Timeout => f.write_str("no response before the timeout"),
        }
    }
}

impl Error for DeliveryError {}
