//! URIs that reports are sent to, compared with the URLs of browsers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pinhold::policy::ReportUri;
use reqwest::Url;

use crate::input::Input;
use crate::policy::Host;

#[allow(dead_code, reason = "the library uses the rest")]
#[path = "../../src/http_reporter/endpoint.rs"]
mod library;

use library::{Endpoint, NamedBy};

/// The input is a URI. Its first 16 bytes are also an address.
///
/// # Panics
///
/// If an endpoint is accepted that has credentials or another scheme than `http` and `https`; that
/// a server named and that is an address or a single label; or that is another host in a URL.
pub fn target(data: &[u8]) {
    check_addresses(data);
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok(uri) = ReportUri::parse(text) else {
        return;
    };
    assert!(!uri.as_str().contains('#') && uri.as_str().is_ascii());
    assert!(text.starts_with(uri.as_str()));
    assert_eq!(ReportUri::parse(uri.as_str()).as_ref(), Ok(&uri));

    let [server, application] =
        [NamedBy::Server, NamedBy::Application].map(|named_by| Endpoint::parse(&uri, named_by));
    if let Ok(endpoint) = &server {
        assert!(application.is_ok());
        let host = endpoint.host().expect("a server can't name an address");
        assert!(!host.is_single_label() && endpoint.is_at(host));
    }
    if let Ok(endpoint) = application {
        check_accepted(&uri, &endpoint);
        check_upgraded(endpoint);
    }
}

fn check_accepted(uri: &ReportUri, endpoint: &Endpoint) {
    let scheme = endpoint.uri().scheme_str();
    assert_eq!(endpoint.is_tls(), scheme == Some("https"));
    assert!(endpoint.is_tls() || scheme == Some("http"));
    let authority = endpoint.uri().authority().expect("an endpoint has a host");
    assert!(!authority.as_str().contains('@'));
    // A port that is no 16-bit number would be read as no port.
    let after_address = authority.as_str().rsplit(']').next().unwrap_or_default();
    if let Some((_, port)) = after_address.split_once(':') {
        assert!(port.is_empty() || port.parse::<u16>().is_ok(), "{port}");
    }
    // The connection is made to the host of the URI, and the rules apply to `Endpoint::host`.
    let connected = Host::parse(authority.host()).ok();
    assert_eq!(connected.as_ref(), endpoint.host());
    assert!(endpoint.report_uri().is_some());
    // Browsers repair more URIs than RFC 3986 allows, but both read the same host and port.
    if let Ok(url) = Url::parse(uri.as_str()) {
        let host = url.domain().and_then(|domain| Host::parse(domain).ok());
        assert_eq!(host.as_ref(), endpoint.host());
        let default = if endpoint.is_tls() { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(default);
        assert_eq!(url.port_or_known_default(), Some(port));
        assert_eq!(url.username(), "");
        assert_eq!(url.password(), None);
    }
}

fn check_upgraded(endpoint: Endpoint) {
    let before = endpoint.clone();
    let unchanged = endpoint.clone().upgraded(|_| false);
    assert_eq!(unchanged.uri(), before.uri());
    let upgraded = endpoint.upgraded(|_| true);
    assert_eq!(upgraded.host(), before.host());
    assert_eq!(upgraded.uri().path(), before.uri().path());
    assert_eq!(upgraded.uri().query(), before.uri().query());
    assert_eq!(
        upgraded.is_tls(),
        before.is_tls() || before.host().is_some()
    );
    if upgraded.is_tls() && !before.is_tls() {
        let port = before.uri().port_u16().filter(|port| *port != 80);
        assert_eq!(upgraded.uri().port_u16(), port);
    }
}

fn check_addresses(data: &[u8]) {
    let mut input = Input::new(data);
    let octets = [(); 16].map(|()| input.byte());
    let address = Ipv6Addr::from(octets);
    let [a, b, c, d, ..] = octets;
    let v4 = Ipv4Addr::from([a, b, c, d]);
    let is_public = library::is_public(v4.into());
    let is_local = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified();
    assert!(!(is_public && is_local), "{v4}");
    // An IPv4 address in an IPv6 address.
    let mapped = v4.to_ipv6_mapped();
    let nat64 = Ipv6Addr::from([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]);
    for embedded in [mapped, nat64] {
        assert_eq!(
            library::is_public(IpAddr::V6(embedded)),
            is_public,
            "{embedded}"
        );
    }
    let is_local = address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local();
    assert!(
        !(library::is_public(address.into()) && is_local),
        "{address}"
    );
}
