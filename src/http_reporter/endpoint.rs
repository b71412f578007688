//! Where a report may go: a `report-uri`, and who named it, in; an [`Endpoint`] out.
//!
//! A server names a URI that applications with access to private networks then send to, so what it
//! may name is narrow. An endpoint of the application's own is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::connector::PlainHttp;
use crate::policy::{Host, HostError, PolicyState, ReportUri};
use crate::violation::{EndpointError, Report};

/// Who named an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamedBy {
    Application,
    Server,
}

/// A URI that a report may be sent to.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    uri: Uri,
    /// `None` for an address.
    host: Option<Host>,
    named_by: NamedBy,
}

impl Endpoint {
    pub(crate) fn new(uri: &ReportUri, named_by: NamedBy) -> Result<Self, EndpointError> {
        let uri = uri.as_str().parse::<Uri>();
        let uri = uri.map_err(|_| EndpointError::Uri)?;
        let is_web = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme());
        if !is_web {
            return Err(EndpointError::Scheme);
        }
        let authority = uri.authority().ok_or(EndpointError::Uri)?;
        // D-09: what the server knows of others is not passed on.
        if authority.as_str().contains('@') {
            return Err(EndpointError::UserInfo);
        }
        // A port that is no number of 16 bits would be taken for none.
        let port = authority.as_str().strip_prefix(authority.host());
        if port.is_none_or(|port| port.len() > 1 && authority.port_u16().is_none()) {
            return Err(EndpointError::Uri);
        }
        let bare = authority.host().trim_start_matches('[');
        let host = match Host::parse(bare.trim_end_matches(']')) {
            Ok(host) => Some(host),
            Err(HostError::IpAddress { .. }) => None,
            Err(_) => return Err(EndpointError::Uri),
        };
        if named_by == NamedBy::Server {
            let named = host.as_ref().ok_or(EndpointError::IpAddress)?;
            if named.is_single_label() {
                return Err(EndpointError::SingleLabel);
            }
        }
        Ok(Self {
            uri,
            host,
            named_by,
        })
    }

    /// As RFC 6797 section 8.3 has it for a known HSTS host (7469-2.1.4-d).
    pub(crate) fn upgraded(mut self, is_hsts: impl Fn(&Host) -> bool) -> Self {
        let is_known = self.host.as_ref().is_some_and(is_hsts);
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

    /// Whether this report may go there.
    pub(crate) fn admits(&self, report: &Report, plain: PlainHttp) -> Result<(), EndpointError> {
        let violation = report.violation();
        let would_fail = violation.policy().state != PolicyState::ReportOnly;
        match self.is_tls() {
            // 7469-2.1.4-g: it would fail by the same pins, unless they are on trial.
            true if would_fail && self.is_of(violation.host()) => Err(EndpointError::SameHost),
            _ if self.is_barred(plain) => Err(EndpointError::PlainHttp),
            _ => Ok(()),
        }
    }

    /// Its host, where that can be read on the way.
    pub(crate) fn exposed_host(&self) -> Option<&Host> {
        self.host.as_ref().filter(|_| !self.is_tls())
    }

    pub(crate) fn is_of(&self, host: &Host) -> bool {
        self.host.as_ref() == Some(host)
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The same, to be told.
    pub(crate) fn report_uri(&self) -> Option<ReportUri> {
        ReportUri::parse(&self.uri.to_string()).ok()
    }

    pub(crate) fn named_by(&self) -> NamedBy {
        self.named_by
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> (bool, String) {
        let authority = self.uri.authority().map_or("", Authority::as_str);
        (self.is_tls(), authority.to_ascii_lowercase())
    }

    /// Whether nothing is ever sent there for the want of TLS.
    pub(crate) fn is_barred(&self, plain: PlainHttp) -> bool {
        !self.is_tls() && plain == PlainHttp::Refuse
    }

    fn is_tls(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }
}

/// Whether an address is one of the public network, for all that its number says (the registries
/// of RFC 6890). What only translates another address is judged by that one.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
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
        // Shared by carriers, of the IETF, relays, for benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (18..20).contains(&b));
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // What is given out for the public network, but for documentation, benchmarks and tunnels.
    let is_global = (first & 0xe000) == 0x2000;
    let is_special = match first {
        0x2001 => second < 0x0200 || second == 0x0db8,
        0x3fff => second < 0x1000,
        _ => false,
    };
    is_global && !is_special
}

/// The address of version 4 that one of version 6 stands for: mapped, compatible, NAT64, 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(of(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_network_are_public() {
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

    #[test]
    fn what_a_server_may_name_is_narrow() {
        use EndpointError as Problem;
        for (uri, by_server, by_application) in [
            ("https://reports.example/r", Ok(()), Ok(())),
            ("HTTP://reports.example:8080/r?a=b", Ok(()), Ok(())),
            ("https://192.0.2.1/", Err(Problem::IpAddress), Ok(())),
            ("https://[2001:db8::1]/", Err(Problem::IpAddress), Ok(())),
            ("https://127.1/", Err(Problem::IpAddress), Ok(())),
            ("https://0x7f000001/", Err(Problem::IpAddress), Ok(())),
            ("https://localhost/", Err(Problem::SingleLabel), Ok(())),
            ("https://localhost./", Err(Problem::SingleLabel), Ok(())),
            (
                "ftp://a.example/",
                Err(Problem::Scheme),
                Err(Problem::Scheme),
            ),
            (
                "mailto:a@a.example",
                Err(Problem::Scheme),
                Err(Problem::Scheme),
            ),
            (
                "https://me:pw@a.example/",
                Err(Problem::UserInfo),
                Err(Problem::UserInfo),
            ),
            ("https://a..example/", Err(Problem::Uri), Err(Problem::Uri)),
            ("https://a.example:/", Ok(()), Ok(())),
            ("https://a.example:65535/", Ok(()), Ok(())),
            (
                "https://a.example:65536/",
                Err(Problem::Uri),
                Err(Problem::Uri),
            ),
            (
                "https://[2001:db8::1]:70000/",
                Err(Problem::Uri),
                Err(Problem::Uri),
            ),
        ] {
            let parsed = ReportUri::parse(uri).unwrap();
            let named = |by| Endpoint::new(&parsed, by).map(drop);
            assert_eq!(named(NamedBy::Server), by_server, "{uri}");
            assert_eq!(named(NamedBy::Application), by_application, "{uri}");
        }
    }

    #[test]
    fn http_to_a_known_hsts_host_is_upgraded() {
        for (uri, expected) in [
            ("http://a.example/r?q", "https://a.example/r?q"),
            ("http://a.example:80/r", "https://a.example/r"),
            ("http://a.example:8080/r", "https://a.example:8080/r"),
            ("http://b.example/r", "http://b.example/r"),
            ("https://a.example:80/r", "https://a.example:80/r"),
        ] {
            let parsed = ReportUri::parse(uri).unwrap();
            let endpoint = Endpoint::new(&parsed, NamedBy::Server).unwrap();
            let endpoint = endpoint.upgraded(|host| host.as_str() == "a.example");
            assert_eq!(endpoint.uri().to_string(), expected);
        }
    }
}
