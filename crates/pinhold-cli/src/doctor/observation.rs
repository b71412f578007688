//! What was seen of a name: the chains that its servers send, and its CAA records.

use std::net::SocketAddr;

use rustls::pki_types::CertificateDer;

/// What is known about a name from outside of its pins.
#[derive(Default)]
pub(crate) struct Observations {
    pub(crate) chains: Vec<Observation>,
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
    /// The name could not be resolved, so that there is no address.
    Unresolved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    Tls12,
    Tls13,
}

/// Why a server sent no chain.
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
#[derive(Default)]
pub(crate) enum Caa {
    /// `--offline`, `--no-dns`, or nothing was asked.
    #[default]
    NotAsked,
    /// The query failed: nothing is known.
    Failed(String),
    /// No domain on the way to the root has records: every CA may issue.
    Absent,
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
