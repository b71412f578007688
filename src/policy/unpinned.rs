//! [`UnpinnedHosts`], what happens at a connection to a host without pins.

use std::fmt;
use std::net::IpAddr;

use crate::policy::host::{Host, HostError};

/// What happens at a connection to a host that no enforced static policy covers.
///
/// ```
/// use pinhold::Pinning;
/// use pinhold::policy::UnpinnedHosts;
///
/// let pinning = Pinning::builder()
///     .unpinned_hosts(UnpinnedHosts::Refuse)
///     .allow_unpinned(["cdn.example", "127.0.0.1"])
///     .build()?;
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum UnpinnedHosts {
    /// The connection is made.
    #[default]
    Allow,
    /// The connection is made, and an event is emitted.
    Report,
    /// The connection is refused with an [`UnpinnedHost`](crate::UnpinnedHost).
    Refuse,
}

/// A name that may be unpinned: a host, or an IP address.
///
/// ```
/// use pinhold::policy::UnpinnedName;
///
/// let name = UnpinnedName::try_from("[::1]")?;
/// assert!(matches!(name, UnpinnedName::Address(address) if address.is_loopback()));
/// # Ok::<(), pinhold::policy::HostError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnpinnedName {
    /// An IP address.
    Address(IpAddr),
    /// A host, without its subdomains.
    Host(Host),
}

impl TryFrom<&str> for UnpinnedName {
    type Error = HostError;

    fn try_from(text: &str) -> Result<Self, HostError> {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        match bare.unwrap_or(text).parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => Host::parse(text).map(Self::Host),
        }
    }
}

impl TryFrom<String> for UnpinnedName {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        Self::try_from(text.as_str())
    }
}

impl From<Host> for UnpinnedName {
    fn from(host: Host) -> Self {
        Self::Host(host)
    }
}

impl From<IpAddr> for UnpinnedName {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for UnpinnedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(host) => host.fmt(f),
        }
    }
}
