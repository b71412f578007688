//! A violation in, a report out: the JSON of [RFC 7469 section 3], and the [`Reporter`] seam.
//!
//! [RFC 7469 section 3]: https://www.rfc-editor.org/rfc/rfc7469#section-3

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use pem_rfc7468::LineEnding;
use rustls_pki_types::CertificateDer;
use serde::Serialize;

#[cfg(feature = "tracing")]
use crate::policy::Host;
use crate::policy::timestamp::{self, print_capped};
use crate::policy::{SpkiFingerprint, sha256, text};
use crate::violation::pin_violation::PinViolation;

/// One violation, to be told to whoever operates the host.
///
/// ```
/// use pinhold::PinViolation;
/// use pinhold::report::{Report, ReportForm};
///
/// fn print(violation: PinViolation) {
///     let report = Report::new(violation).with_port(8443);
///     println!("{}: {}", report.id(), report.to_json(&ReportForm::new()));
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Report {
    violation: PinViolation,
    port: Option<u16>,
}

impl Report {
    /// A report of a violation, seen on port 443 unless said.
    #[must_use]
    pub fn new(violation: PinViolation) -> Self {
        Self {
            violation,
            port: None,
        }
    }

    /// The port of the original request.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// What happened.
    #[must_use]
    pub fn violation(&self) -> &PinViolation {
        &self.violation
    }

    /// The port of the original request: 443 where the stack did not tell, as one that has only
    /// our TLS configuration.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(443)
    }

    /// The host asked for, and the one whose policy it is.
    #[cfg(feature = "tracing")]
    pub(crate) fn names(&self) -> (&Host, &Host) {
        let policy = self.violation.policy();
        (self.violation.host(), &policy.noted_hostname)
    }

    /// Names this report: the same however often and in whatever form it is sent, so that an
    /// endpoint can tell a repetition. 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        let seconds = self.violation.at().as_secs().to_be_bytes();
        let digest = sha256(&[&self.key(), &seconds]);
        text::hex(digest.get(..16).unwrap_or_default())
    }

    /// Equal for reports that tell the same but for the time: of one host and port, one set of
    /// pins, and one chain of keys.
    pub(crate) fn key(&self) -> [u8; 32] {
        let (violation, policy) = (&self.violation, self.violation.policy());
        let hosts = format!(
            "{}:{} {} {:?}",
            violation.host(),
            self.port(),
            policy.noted_hostname,
            policy.state
        );
        let pins = policy.pins.iter().map(SpkiFingerprint::as_bytes);
        let keys = violation.chain().fingerprints().iter();
        let keys = keys.map(SpkiFingerprint::as_bytes);
        // Hashed apart, so that none of it can be taken for another part.
        let parts = [
            sha256(&[hosts.as_bytes()]),
            sha256(&pins.map(<[u8; 32]>::as_slice).collect::<Vec<_>>()),
            sha256(&keys.map(<[u8; 32]>::as_slice).collect::<Vec<_>>()),
        ];
        sha256(&parts.each_ref().map(<[u8; 32]>::as_slice))
    }

    /// The message that RFC 7469 section 3 describes, as much of it as the form allows.
    ///
    /// Where a policy never ends, its `effective-expiration-date` is the last second of the year
    /// 9999. The validated chain ends with the root's certificate where it is known: where the
    /// application handed it in, or the server sent it.
    #[must_use]
    pub fn to_json(&self, form: &ReportForm) -> String {
        let (violation, policy) = (&self.violation, self.violation.policy());
        let mut message = Message {
            date_time: print_capped(violation.at()),
            hostname: violation.host().as_str(),
            port: self.port(),
            effective_expiration_date: policy
                .expires_at
                .map_or_else(|| timestamp::MAX.to_owned(), print_capped),
            include_subdomains: policy.includes_subdomains,
            noted_hostname: policy.noted_hostname.as_str(),
            fields: form
                .fields
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect(),
            ..Message::default()
        };
        message.emit(violation, form.detail);
        // Serialising plain data into memory can't fail.
        serde_json::to_string(&message).unwrap_or_default()
    }
}

/// In the order of RFC 7469 section 3; then what stands in for what is left out.
#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Message<'r> {
    date_time: String,
    hostname: &'r str,
    port: u16,
    effective_expiration_date: String,
    include_subdomains: bool,
    noted_hostname: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    served_certificate_chain: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validated_certificate_chain: Option<Vec<String>>,
    known_pins: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validated_pins: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    served_certificates: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validated_keys: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pins: Option<usize>,
    #[serde(flatten)]
    fields: BTreeMap<&'r str, &'r str>,
}

impl Message<'_> {
    /// Of chains and pins, as much as may be told.
    fn emit(&mut self, violation: &PinViolation, detail: ReportDetail) {
        let (chain, pins) = (violation.chain(), &violation.policy().pins);
        // A root that the server sent may be on the path, and the anchor as well: told once.
        let mut keys = chain.fingerprints().to_vec();
        keys.dedup();
        match detail {
            ReportDetail::Counts => {
                self.served_certificates = Some(chain.served().len());
                self.validated_keys = Some(keys.len());
                self.pins = Some(pins.len());
            }
            ReportDetail::Fingerprints => {
                self.validated_pins = Some(keys.iter().map(directive).collect());
                self.known_pins = pins.iter().map(directive).collect();
            }
            ReportDetail::Full => {
                let validated = chain.certificates().chain(chain.anchor_certificate());
                let mut validated = validated.collect::<Vec<_>>();
                validated.dedup();
                let validated = validated.into_iter().map(pem).collect();
                self.served_certificate_chain = Some(chain.served().iter().map(pem).collect());
                self.validated_certificate_chain = Some(validated);
                self.known_pins = pins.iter().map(directive).collect();
            }
        }
    }
}

/// As RFC 7469 section 3 writes known pins, after its figure and Chrome.
fn directive(pin: &SpkiFingerprint) -> String {
    format!("pin-sha256=\"{}\"", pin.to_base64())
}

fn pem(der: &CertificateDer<'_>) -> String {
    // Fails beyond what an address space holds.
    pem_rfc7468::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default()
}

/// How much a report tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportDetail {
    /// Neither certificates nor keys: `known-pins` is empty, and the numbers
    /// `served-certificates`, `validated-keys` and `pins` stand for the rest.
    Counts,
    /// Keys, no certificates: `validated-pins`, written as `known-pins`, stands for both chains.
    Fingerprints,
    /// All that RFC 7469 section 3 asks for, with the certificates as PEM. They tell who
    /// intercepts the traffic of the user's network (RFC 7469 section 5).
    #[default]
    Full,
}

/// What a report looks like.
///
/// ```
/// use pinhold::report::{ReportDetail, ReportForm};
///
/// let form = ReportForm::new()
///     .detail(ReportDetail::Fingerprints)
///     .field("app-version", "2.7.1")?;
/// assert!(form.field("hostname", "example.com").is_err());
/// # Ok::<(), pinhold::report::ReservedField>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ReportForm {
    detail: ReportDetail,
    fields: BTreeMap<String, String>,
}

impl ReportForm {
    /// All that RFC 7469 asks for, and no more.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How much is told.
    #[must_use]
    pub fn detail(mut self, detail: ReportDetail) -> Self {
        self.detail = detail;
        self
    }

    /// Adds a field of the application's own, a string. Of two with one name the last one stays.
    ///
    /// # Errors
    ///
    /// [`ReservedField`] for a name that reports have anyway: each may occur once.
    pub fn field(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, ReservedField> {
        let name = name.into();
        if RESERVED.contains(&&*name) {
            return Err(ReservedField { name });
        }
        self.fields.insert(name, value.into());
        Ok(self)
    }
}

/// A field that reports have anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReservedField {
    /// Its name.
    pub name: String,
}

impl fmt::Display for ReservedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "reports have a field {:?}, expected another name",
            self.name
        )
    }
}

impl Error for ReservedField {}

/// Where reports go: over HTTP with [`HttpReporter`](crate::report::HttpReporter), or wherever an
/// application wants them.
///
/// It is asked in the thread of the observers, one report after the other, and never by a
/// handshake. A panic in it is contained.
pub trait Reporter: Send + Sync + 'static {
    /// Takes a report over. It may keep it and send it later, but should not block: events wait.
    ///
    /// # Errors
    ///
    /// A [`DropReason`] where it does not; observers are told.
    fn report(&self, report: Report) -> Result<(), DropReason>;

    /// Sends what it has kept, within this time at most; says whether nothing is left. An
    /// application calls it by [`Pinning::flush_reports`](crate::Pinning::flush_reports).
    fn flush(&self, within: Duration) -> bool {
        let _ = within;
        true
    }
}

/// Why a report was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// The same was reported to the same endpoint less than an hour ago.
    Duplicate,
    /// The endpoint can't be, or may not be, reported to.
    Endpoint(EndpointError),
    /// The endpoint could not be reached, or was not willing, as often as it was tried.
    GaveUp {
        /// How often it was tried.
        attempts: u32,
        /// What became of the last one.
        last: DeliveryError,
    },
    /// Neither the application nor the host names an endpoint that may be used.
    NoEndpoint,
    /// More reports are waiting than are kept.
    QueueFull,
    /// The endpoint has been sent as many reports as it gets within an hour.
    RateLimit,
    /// The reporter panicked, or could not go on.
    Reporter,
}

/// Why an endpoint is not reported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndpointError {
    /// The server names an address in place of a name.
    IpAddress,
    /// The server names another host than the one that the violation was seen on, and the
    /// application follows no other.
    OtherHost,
    /// It is not reached over TLS, and the application does not allow that.
    PlainHttp,
    /// The server names a host that leads to a loopback, link-local or private address.
    PrivateAddress,
    /// The host that failed is itself the endpoint, over TLS: it would fail by the same pins, which
    /// are enforced.
    SameHost,
    /// It is neither `https` nor `http`.
    Scheme,
    /// The server names a host of a single label.
    SingleLabel,
    /// The URI can't be requested.
    Uri,
    /// The URI holds a user name or a password.
    UserInfo,
}

/// How an attempt to send a report ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The TLS handshake failed, say for an invalid certificate.
    Certificate,
    /// There was no connection, or it ended before an answer came.
    Connection,
    /// The endpoint's chain fails the endpoint's own pins.
    Pins,
    /// It answered with this status, which is none of success.
    Status(u16),
    /// It did not answer in time.
    Timeout,
}

impl DeliveryError {
    /// Whether another attempt may go better.
    #[cfg(feature = "hyper")]
    pub(crate) fn is_passing(self) -> bool {
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
            Self::Duplicate => "the same was reported less than an hour ago",
            Self::Endpoint(problem) => return problem.fmt(f),
            Self::GaveUp { attempts, last } => {
                return write!(f, "given up after {attempts} attempts: {last}");
            }
            Self::NoEndpoint => {
                "no endpoint, expected one of the application's, or its leave to follow report-uri"
            }
            Self::QueueFull => "too many reports are waiting",
            Self::RateLimit => "the endpoint has got as many reports as it gets within an hour",
            Self::Reporter => "the reporter panicked, or could not go on",
        })
    }
}

impl Error for DropReason {}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IpAddress => "the report-uri names an address, expected a host",
            Self::OtherHost => "the report-uri leads to another host",
            Self::PlainHttp => "the report-uri is http, expected https",
            Self::PrivateAddress => "the report-uri leads to an address that is not public",
            Self::SameHost => "the report-uri leads to the very host that failed",
            Self::Scheme => "the report-uri is neither https nor http",
            Self::SingleLabel => "the report-uri names a host of a single label",
            Self::Uri => "the report-uri can't be requested",
            Self::UserInfo => "the report-uri holds a user name",
        })
    }
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate => f.write_str("the endpoint's TLS handshake fails"),
            Self::Connection => f.write_str("no connection"),
            Self::Pins => f.write_str("the endpoint fails its own pins"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Timeout => f.write_str("no answer in time"),
        }
    }
}

const RESERVED: [&str; 13] = [
    "date-time",
    "effective-expiration-date",
    "hostname",
    "include-subdomains",
    "known-pins",
    "noted-hostname",
    "pins",
    "port",
    "served-certificate-chain",
    "served-certificates",
    "validated-certificate-chain",
    "validated-keys",
    "validated-pins",
];
