//! Endpoints of reports: parsing of their URIs, and which network addresses are public.
//!
//! A server can name any URI as its `report-uri`, and the application may have access to private
//! networks. So an endpoint that a server names must be a host name, and its addresses public.
//! Endpoints of the application have no such limits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::{PathAndQuery, Scheme};

use crate::policy::uri::without_brackets;
use crate::policy::{Host, HostError, ReportUri};
use crate::violation::EndpointError;

/// The source of an endpoint's URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedBy {
    Application,
    Server,
}

/// A URI to which reports can be sent.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    uri: Uri,
    /// `None` for an IP address.
    host: Option<Host>,
    named_by: NamedBy,
}

impl Endpoint {
    pub(crate) fn parse(uri: &ReportUri, named_by: NamedBy) -> Result<Self, EndpointError> {
        let uri = uri.as_str().parse::<Uri>();
        let uri = uri.map_err(|_| EndpointError::Uri)?;
        let is_web = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme());
        if !is_web {
            return Err(EndpointError::Scheme);
        }
        let authority = uri.authority().ok_or(EndpointError::Uri)?;
        // D-09: a server could otherwise make this client send credentials to another host.
        if authority.as_str().contains('@') {
            return Err(EndpointError::UserInfo);
        }
        // `Authority` returns no port if it is not a 16-bit number; the default would then be used.
        let port = authority.as_str().strip_prefix(authority.host());
        if port.is_none_or(|port| port.len() > 1 && authority.port_u16().is_none()) {
            return Err(EndpointError::Uri);
        }
        let bare = without_brackets(authority.host()).map_err(|_| EndpointError::Uri)?;
        let host = match Host::parse(bare) {
            Ok(host) => Some(host),
            Err(HostError::IpAddress { .. }) => None,
            Err(_) => return Err(EndpointError::Uri),
        };
        if named_by == NamedBy::Server {
            let host = host.as_ref().ok_or(EndpointError::IpAddress)?;
            if host.is_single_label() {
                return Err(EndpointError::SingleLabel);
            }
        }
        Ok(Self {
            uri,
            host,
            named_by,
        })
    }

    /// Returns the endpoint with `https` instead of `http` if its host is a known HSTS host, as RFC
    /// 6797 section 8.3 describes (7469-2.1.4-d).
    pub(crate) fn upgraded(mut self, is_known_hsts_host: impl Fn(&Host) -> bool) -> Self {
        let is_known = self.host.as_ref().is_some_and(is_known_hsts_host);
        if self.is_tls() || !is_known {
            return self;
        }
        let host = self.uri.host().unwrap_or_default();
        let authority = match self.uri.port_u16() {
            None | Some(80) => host.to_owned(),
            Some(port) => format!("{host}:{port}"),
        };
        let path = self.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let uri = Uri::builder()
            .scheme(Scheme::HTTPS)
            .authority(authority)
            .path_and_query(path);
        if let Ok(uri) = uri.build() {
            self.uri = uri;
        }
        self
    }

    pub(crate) fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// Returns whether this is the host of the endpoint.
    pub(crate) fn is_at(&self, host: &Host) -> bool {
        self.host.as_ref() == Some(host)
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the URI in the type that events have.
    pub(crate) fn report_uri(&self) -> Option<ReportUri> {
        ReportUri::parse(&self.uri.to_string()).ok()
    }

    pub(crate) fn named_by(&self) -> NamedBy {
        self.named_by
    }

    /// Returns whether reports to both would be sent to the same resource.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.origin() == other.origin() && self.path() == other.path()
    }

    /// Returns a text that is equal for endpoints that are the [same](Self::is_same).
    pub(crate) fn id(&self) -> String {
        let Origin { is_tls, host, port } = self.origin();
        format!("{is_tls} {host} {port} {}", self.path())
    }

    fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    pub(crate) fn origin(&self) -> Origin {
        let host = match &self.host {
            Some(host) => host.as_str().to_owned(),
            None => canonical_address(self.uri.host().unwrap_or_default()),
        };
        let default_port = if self.is_tls() { 443 } else { 80 };
        Origin {
            is_tls: self.is_tls(),
            host,
            port: self.uri.port_u16().unwrap_or(default_port),
        }
    }
}

/// The scheme, host and port of an endpoint (RFC 6454), equal for every spelling of the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) is_tls: bool,
    /// A host name as [`Host`] spells it, in lower case and without the dot at its end, or an
    /// address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Returns the usual spelling of an IP address. One that only resolvers understand, such as
/// `127.1`, stays as it is: only an application can name it.
fn canonical_address(text: &str) -> String {
    let bare = without_brackets(text).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => bare.to_ascii_lowercase(),
    }
}

/// Returns whether an address is on the public network, according to the registries of RFC 6890. An
/// IPv6 address that stands for an IPv4 address is treated as the latter.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(embedded) => is_public_v4(embedded),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Carrier-grade NAT (RFC 6598), IETF protocols, 6to4 relays (RFC 7526), and benchmarks
        // (RFC 2544).
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (18..20).contains(&b));
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Global unicast is 2000::/3 (RFC 4291 section 2.4); the exceptions below are those for IETF
    // protocols (with Teredo, benchmarks and ORCHID) and for documentation.
    let is_global = (first & 0xe000) == 0x2000;
    let is_special = match first {
        0x2001 => second < 0x0200 || second == 0x0db8,
        0x3fff => second < 0x1000,
        _ => false,
    };
    is_global && !is_special
}

/// Returns the IPv4 address that an IPv6 address stands for: IPv4-mapped, IPv4-compatible, NAT64
/// (RFC 6052) or 6to4 (RFC 3056).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let from_segments = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(from_segments(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(from_segments(high, low)),
        [0x2002, high, low, ..] => Some(from_segments(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_public_only_on_the_public_network() {
        for (address, expected) in [
            ("1.1.1.1", true),
            ("8.8.8.8", true),
            ("223.255.255.254", true),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.0.0.8", false),
            ("192.0.2.1", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("198.51.100.1", false),
            ("203.0.113.1", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700:4700::1111", true),
            ("::", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:1.1.1.1", true),
            ("::127.0.0.1", false),
            ("64:ff9b::10.0.0.1", false),
            ("64:ff9b:1::1", false),
            ("2002:a00:1::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("3fff::1", false),
            ("fc00::1", false),
            ("fd12::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            let parsed = address.parse().unwrap();
            assert_eq!(is_public(parsed), expected, "{address}");
        }
    }

    /// Parses a URI as named by a server, and by the application.
    fn parse(uri: &str) -> [Result<(), EndpointError>; 2] {
        let uri = ReportUri::parse(uri).unwrap();
        [NamedBy::Server, NamedBy::Application]
            .map(|named_by| Endpoint::parse(&uri, named_by).map(drop))
    }

    #[test]
    fn only_web_uris_without_credentials_are_endpoints() {
        for (uri, expected) in [
            ("https://reports.example/r", Ok(())),
            ("HTTP://reports.example:8080/r?a=b", Ok(())),
            ("https://a.example:/", Ok(())),
            ("https://a.example:65535/", Ok(())),
            ("https://a.example:65536/", Err(EndpointError::Uri)),
            ("https://[2001:db8::1]:70000/", Err(EndpointError::Uri)),
            ("https://a..example/", Err(EndpointError::Uri)),
            ("ftp://a.example/", Err(EndpointError::Scheme)),
            ("mailto:a@a.example", Err(EndpointError::Scheme)),
            ("https://me:pw@a.example/", Err(EndpointError::UserInfo)),
        ] {
            assert_eq!(parse(uri), [expected; 2], "{uri}");
        }
    }

    #[test]
    fn a_server_can_not_name_addresses_and_single_labels() {
        for (uri, error) in [
            ("https://192.0.2.1/", EndpointError::IpAddress),
            ("https://[2001:db8::1]/", EndpointError::IpAddress),
            ("https://127.1/", EndpointError::IpAddress),
            ("https://0x7f000001/", EndpointError::IpAddress),
            ("https://localhost/", EndpointError::SingleLabel),
            ("https://localhost./", EndpointError::SingleLabel),
        ] {
            assert_eq!(parse(uri), [Err(error), Ok(())], "{uri}");
        }
    }

    #[test]
    fn spellings_of_one_origin_are_equal() {
        let parse = |uri: &str| {
            let uri = ReportUri::parse(uri).unwrap();
            Endpoint::parse(&uri, NamedBy::Application).unwrap()
        };
        let endpoint = parse("https://reports.example/");
        for (uri, is_same_origin, is_same) in [
            ("https://reports.example:443/", true, true),
            ("HTTPS://Reports.EXAMPLE./", true, true),
            ("https://reports.example:/", true, true),
            ("https://reports.example", true, true),
            ("https://reports.example/r", true, false),
            ("https://reports.example:80/", false, false),
            ("http://reports.example:443/", false, false),
            ("https://a.reports.example/", false, false),
        ] {
            let other = parse(uri);
            assert_eq!(endpoint.origin() == other.origin(), is_same_origin, "{uri}");
            assert_eq!(endpoint.is_same(&other), is_same, "{uri}");
            assert_eq!(endpoint.id() == other.id(), is_same, "{uri}");
        }
        let [one, two] = ["http://[::1]/", "http://[0:0::1]:80/"].map(parse);
        assert_eq!(one.origin(), two.origin());
    }

    #[test]
    fn http_is_upgraded_for_a_known_hsts_host() {
        for (uri, expected) in [
            ("http://a.example/r?q", "https://a.example/r?q"),
            ("http://a.example:80/r", "https://a.example/r"),
            ("http://a.example:8080/r", "https://a.example:8080/r"),
            ("http://b.example/r", "http://b.example/r"),
            ("https://a.example:80/r", "https://a.example:80/r"),
        ] {
            let parsed = ReportUri::parse(uri).unwrap();
            let endpoint = Endpoint::parse(&parsed, NamedBy::Server).unwrap();
            let endpoint = endpoint.upgraded(|host| host.as_str() == "a.example");
            assert_eq!(endpoint.uri().to_string(), expected);
        }
    }
}
