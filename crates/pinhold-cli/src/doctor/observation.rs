//! What was seen of a name: the chains that its servers send, and its CAA records.

use std::fmt;
use std::net::SocketAddr;

use rustls::pki_types::CertificateDer;

/// What is known about a name from outside of its pins.
#[derive(Default)]
pub(crate) struct Observations {
    pub(crate) chains: Vec<Observation>,
    /// Addresses of the name that were not connected to, because it has too many.
    pub(crate) left_out: Vec<SocketAddr>,
    pub(crate) caa: Caa,
}

/// One chain as it was served or given, or why there is none.
pub(crate) struct Observation {
    pub(crate) source: ChainSource,
    /// The certificates as they were sent, leaf first. They were not validated.
    pub(crate) served: Result<Vec<CertificateDer<'static>>, ProbeFailure>,
}

pub(crate) enum ChainSource {
    /// A file of `--chain`.
    File(String),
    Server {
        address: SocketAddr,
        version: TlsVersion,
    },
    /// The other certificate of a server that has one for each kind of key, in a handshake that offered
    /// only signatures of this kind.
    OtherKey {
        address: SocketAddr,
        version: TlsVersion,
        key: KeyKind,
    },
    /// A server behind a proxy, which resolved the name.
    Proxy {
        version: TlsVersion,
        /// As in `OtherKey`.
        key: Option<KeyKind>,
    },
    /// The name could not be resolved, so that there is no address.
    Unresolved,
}

impl fmt::Display for ChainSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.write_str(file),
            Self::Server { address, version } => write!(f, "{address}, {version}"),
            Self::OtherKey {
                address,
                version,
                key,
            } => write!(f, "{address}, {version}, {key} only"),
            Self::Proxy { version, key: None } => write!(f, "through the proxy, {version}"),
            Self::Proxy {
                version,
                key: Some(key),
            } => write!(f, "through the proxy, {version}, {key} only"),
            Self::Unresolved => f.write_str("no address"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    Tls12,
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

/// The kind of a leaf's key, by the signatures that it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// ECDSA and EdDSA.
    Ec,
    Rsa,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ec => "ECDSA",
            Self::Rsa => "RSA",
        })
    }
}

/// Why a server sent no chain.
#[derive(Clone, Debug)]
pub(crate) struct ProbeFailure {
    pub(crate) kind: ProbeFailureKind,
    /// One line; escaped, since a server may have caused it.
    pub(crate) detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeFailureKind {
    /// No TCP connection, or no address.
    Connection,
    /// The server does not speak this version of TLS.
    Version,
    Timeout,
    /// The handshake failed for another reason, such as a server without the key of its certificate.
    Tls,
}

/// The CAA records (RFC 8659) that apply to a name, found by climbing the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Caa {
    /// `--offline`, `--no-dns`, or there is no name.
    #[default]
    NotQueried,
    /// The query failed: nothing is known.
    Failed(String),
    /// No domain on the way to the root has records: every CA may issue.
    Absent,
    /// The domain has records, but none with `issue`: every CA may issue, other than wildcards.
    Unrestricted {
        domain: String,
        /// As in `Found`.
        issue_wild: Option<Vec<String>>,
    },
    Found {
        /// The domain that has them.
        domain: String,
        /// The issuer domain names of `issue`, in lower case and without parameters. Empty: no CA may
        /// issue.
        issue: Vec<String>,
        /// As `issue`, for wildcard certificates, if there is such a property.
        issue_wild: Option<Vec<String>>,
    },
}
