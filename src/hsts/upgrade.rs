//! The conversion of an `http` URI to `https` (RFC 6797 section 8.3).

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::policy::Host;

/// Returns the host of an `http` URI; `None` for other schemes, IP addresses and invalid names.
pub(crate) fn plain_host(uri: &Uri) -> Option<Host> {
    if uri.scheme() != Some(&Scheme::HTTP) {
        return None;
    }
    // 6797-8.3-d: an IP address is no `Host`.
    Host::parse(uri.host()?).ok()
}

/// Returns the URI with `https` and the port that RFC 6797 section 8.3 specifies.
pub(crate) fn to_https(uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    // 6797-8.3-b: an explicit port 80 becomes 443, all others are kept.
    if let (Some(80), Some(authority)) = (uri.port_u16(), &parts.authority)
        && let Some((before, _)) = authority.as_str().rsplit_once(':')
        && let Ok(authority) = Authority::try_from(format!("{before}:443"))
    {
        parts.authority = Some(authority);
    }
    // Never fails: the other parts are those of a URI with a scheme.
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 6797-8.3-a, 6797-8.3-b, 6797-8.3-c
    #[test]
    fn the_scheme_and_an_explicit_port_80_are_replaced_and_nothing_else() {
        for (from, to) in [
            ("http://a.example", "https://a.example/"),
            (
                "http://a.example/p?q=http://b:80",
                "https://a.example/p?q=http://b:80",
            ),
            ("http://a.example:80/", "https://a.example:443/"),
            ("http://a.example:080/", "https://a.example:443/"),
            ("http://a.example:8080/", "https://a.example:8080/"),
            ("http://a.example:443/", "https://a.example:443/"),
            ("http://a.example:1/", "https://a.example:1/"),
            ("HTTP://A.Example./", "https://A.Example./"),
            ("http://user:80@a.example/", "https://user:80@a.example/"),
            (
                "http://user:pass@a.example:80/",
                "https://user:pass@a.example:443/",
            ),
        ] {
            let uri = from.parse::<Uri>().unwrap();
            assert_eq!(to_https(&uri).to_string(), to, "{from}");
            assert!(plain_host(&uri).is_some_and(|host| host.as_str() == "a.example"));
        }
    }

    /// 6797-8.3-d
    #[test]
    fn only_http_uris_of_names_have_a_plain_host() {
        for uri in [
            "https://a.example/",
            "/path",
            "a.example:80",
            "http://192.0.2.1/",
            "http://[::1]/",
            "http://127.1/",
            "http://a..b/",
        ] {
            assert_eq!(plain_host(&uri.parse().unwrap()), None, "{uri}");
        }
    }
}
