//! [`Host`], the canonical DNS name that pins belong to.
//!
//! Accepts exactly the names that rustls's [`DnsName`] accepts, so that every name that TLS can
//! verify can be pinned. An IP address is never a host ([RFC 7469 section 2.3.3]).
//!
//! [RFC 7469 section 2.3.3]: https://www.rfc-editor.org/rfc/rfc7469#section-2.3.3

use std::borrow::Borrow;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use rustls_pki_types::{DnsName, ServerName};
use smol_str::SmolStr;

use crate::policy::text::write_with_causes;

/// A canonical DNS name: A-labels, lower case, no trailing dot, at most 253 bytes. Cheap to clone.
///
/// Pins are stored and looked up by `Host`, regardless of the port.
///
/// ```
/// use pinhold::Host;
/// use pinhold::policy::HostError;
///
/// let host = Host::parse("API.Example.com.")?;
/// assert_eq!(host.as_str(), "api.example.com");
/// assert!(host.is_subdomain_of(&Host::parse("example.com")?));
/// assert!(matches!(Host::parse("https://example.com/"), Err(HostError::Url { .. })));
/// assert!(matches!(Host::parse("192.0.2.1"), Err(HostError::IpAddress { .. })));
/// # Ok::<(), HostError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(SmolStr);

impl Host {
    /// Parses and canonicalises a host name (RFC 6797 section 10).
    ///
    /// With the feature `idn`, names outside ASCII are converted to A-labels (UTS 46).
    ///
    /// # Errors
    ///
    /// A [`HostError`] that states what is wrong with the name.
    pub fn parse(name: &str) -> Result<Self, HostError> {
        let input = || name.to_owned();
        if name.contains(['/', '?', '#', '@', '\\']) {
            return Err(HostError::Url { name: input() });
        }
        let ascii = to_a_labels(name)?;
        if is_ip_address(&ascii) {
            return Err(HostError::IpAddress { name: input() });
        }
        match DnsName::try_from_str(&ascii) {
            Ok(dns) => Ok(Self::from(&dns)),
            Err(_) if has_port(&ascii) => Err(HostError::Port { name: input() }),
            Err(_) => Err(HostError::Invalid { name: input() }),
        }
    }

    /// Returns the text of an IP address in the form of a host, as the subject of a violation: only
    /// refused keys refuse an address.
    pub(crate) fn of_address(name: &ServerName<'_>) -> Self {
        Self(name.to_str().as_ref().into())
    }

    /// Returns the canonical name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether this is a subdomain of `parent` at any depth (RFC 6797 section 8.2,
    /// superdomain match). A host is not a subdomain of itself.
    #[must_use]
    pub fn is_subdomain_of(&self, parent: &Self) -> bool {
        self.0
            .strip_suffix(&*parent.0)
            .is_some_and(|rest| rest.ends_with('.'))
    }

    /// Returns whether the name has a single label, such as `localhost`.
    #[must_use]
    pub fn is_single_label(&self) -> bool {
        !self.0.contains('.')
    }

    /// Returns the name and its superdomains, from the nearest to the top-level domain.
    pub(crate) fn and_superdomains(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.as_str()), |name| {
            name.split_once('.').map(|(_, parent)| parent)
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Lets a map with `Host` keys be searched for a superdomain without an allocation.
impl Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&DnsName<'_>> for Host {
    fn from(name: &DnsName<'_>) -> Self {
        let name = name.as_ref();
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Self(name.to_ascii_lowercase().into())
        } else {
            Self(name.into())
        }
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

impl TryFrom<&str> for Host {
    type Error = HostError;

    fn try_from(name: &str) -> Result<Self, Self::Error> {
        Self::parse(name)
    }
}

impl TryFrom<String> for Host {
    type Error = HostError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

/// Why a name is not a [`Host`]. Each variant contains the name as it was given.
///
/// ```
/// use pinhold::Host;
///
/// let error = Host::parse("example.com:443").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "\"example.com:443\" has a port, expected the host alone (pins apply to every port)"
/// );
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostError {
    /// The name is outside ASCII and the feature `idn` is off. Use its A-labels (`xn--...`).
    IdnFeatureNeeded {
        /// The name as it was given.
        name: String,
    },
    /// The name is empty or too long, or has an empty label or one that is too long, or a character
    /// that is not allowed.
    Invalid {
        /// The name as it was given.
        name: String,
    },
    /// The name is a spelling of an IP address. Only names can be pinned.
    IpAddress {
        /// The name as it was given.
        name: String,
    },
    /// The name has a port. Pins apply to every port.
    Port {
        /// The name as it was given.
        name: String,
    },
    /// The name is a URL, or contains one of the characters `/ ? # @ \` of a URL's other parts.
    Url {
        /// The name as it was given.
        name: String,
    },
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdnFeatureNeeded { name } => write!(
                f,
                "host {name:?} is outside ASCII, expected its A-labels (xn--...) or the feature \
                 `idn`"
            ),
            Self::Invalid { name } => write!(f, "{name:?} is not a DNS name"),
            Self::IpAddress { name } => {
                write!(f, "{name:?} is an IP address, expected a DNS name")
            }
            Self::Port { name } => {
                write!(
                    f,
                    "{name:?} has a port, expected the host alone (pins apply to every port)"
                )
            }
            Self::Url { name } => write!(f, "{name:?} looks like a URL, expected the host alone"),
        }
    }
}

/// Prints the text of `Display`, since `main` prints an error that it returns by `Debug`.
impl fmt::Debug for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for HostError {}

impl From<Infallible> for HostError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(feature = "idn")]
fn to_a_labels(name: &str) -> Result<std::borrow::Cow<'_, str>, HostError> {
    if name.is_ascii() {
        return Ok(name.into());
    }
    match idna::domain_to_ascii(name) {
        Ok(ascii) => Ok(ascii.into()),
        Err(_) => Err(HostError::Invalid {
            name: name.to_owned(),
        }),
    }
}

#[cfg(not(feature = "idn"))]
fn to_a_labels(name: &str) -> Result<std::borrow::Cow<'_, str>, HostError> {
    if name.is_ascii() {
        return Ok(name.into());
    }
    Err(HostError::IdnFeatureNeeded {
        name: name.to_owned(),
    })
}

/// Returns whether some resolver interprets the name as an address: `192.0.2.1`, `127.1`, `0x7f.1`,
/// `2130706433`, `::1`, `[::1]`, `[v1.x]`. Each of these parses as an address, has a numeric last
/// label, or begins with a bracket.
fn is_ip_address(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    // An IPv4 address has a numeric last label, see below.
    if name.starts_with('[') || (name.contains(':') && name.parse::<Ipv6Addr>().is_ok()) {
        return true;
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn has_port(name: &str) -> bool {
    name.rsplit_once(':').is_some_and(|(host, port)| {
        DnsName::try_from_str(host).is_ok() && port.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_names_have_one_canonical_form() {
        let expected = Host::parse("example.com").unwrap();
        for name in ["EXAMPLE.com", "example.com.", "eXaMpLe.CoM."] {
            assert_eq!(Host::parse(name), Ok(expected.clone()), "{name}");
        }
    }

    #[test]
    fn each_kind_of_invalid_name_has_its_own_error() {
        let name = |text: &str| text.to_owned();
        for text in ["", ".", "a..b", "example.com..", "-a.com", "a b", "a*.com"] {
            assert_eq!(
                Host::parse(text),
                Err(HostError::Invalid { name: name(text) })
            );
        }
        for text in [
            "https://example.com",
            "example.com/",
            "me@example.com",
            "a\\b",
        ] {
            assert_eq!(Host::parse(text), Err(HostError::Url { name: name(text) }));
        }
        assert_eq!(
            Host::parse("example.com:443"),
            Err(HostError::Port {
                name: name("example.com:443")
            })
        );
    }

    #[test]
    fn no_spelling_of_an_address_is_a_host() {
        // 7469-2.3.3-d
        for text in [
            "192.0.2.1",
            "192.0.2.1.",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0X7F.1",
            "0x7f.0x1",
            "0x",
            "017700000001",
            "::1",
            "2001:db8::1",
            "[2001:db8::1]",
            "[v1.x]",
            "::ffff:192.0.2.1",
        ] {
            assert!(
                matches!(Host::parse(text), Err(HostError::IpAddress { .. })),
                "{text}: {:?}",
                Host::parse(text)
            );
        }
    }

    #[test]
    #[cfg(feature = "idn")]
    fn international_names_become_a_labels() {
        // 7469-2.3-a
        assert_eq!(
            Host::parse("b\u{fc}cher.example"),
            Host::parse("xn--bcher-kva.example")
        );
        assert_eq!(
            Host::parse("ex\u{ff41}mple\u{3002}com"),
            Host::parse("example.com")
        );
        assert!(matches!(
            Host::parse("\u{ff11}\u{ff12}\u{ff17}.1"),
            Err(HostError::IpAddress { .. })
        ));
    }

    #[test]
    #[cfg(not(feature = "idn"))]
    fn international_names_need_the_feature() {
        assert!(matches!(
            Host::parse("b\u{fc}cher.example"),
            Err(HostError::IdnFeatureNeeded { .. })
        ));
    }

    #[test]
    fn subdomains_end_on_a_label_boundary() {
        let parent = Host::parse("example.com").unwrap();
        for (name, expected) in [
            ("www.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            ("notexample.com", false),
            ("com", false),
            ("example.com.evil.net", false),
        ] {
            assert_eq!(
                Host::parse(name).unwrap().is_subdomain_of(&parent),
                expected,
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn accepts_exactly_what_tls_accepts(name in "[a-zA-Z0-9._x-]{0,12}|\\PC{0,8}") {
            let dns = DnsName::try_from(name.as_str());
            match Host::parse(&name) {
                Ok(host) if name.is_ascii() => prop_assert_eq!(&host, &Host::from(&dns.unwrap())),
                Ok(_) => {}
                Err(error) => prop_assert!(dns.is_err(), "{}: {}", name, error),
            }
        }

        #[test]
        fn print_then_parse_is_the_same(name in "[a-z0-9.-]{1,20}") {
            if let Ok(host) = Host::parse(&name) {
                prop_assert_eq!(Host::parse(host.as_str()), Ok(host));
            }
        }
    }
}
