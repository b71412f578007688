//! The host of a URI, with or without the brackets of an IPv6 address.

use std::net::Ipv6Addr;

use crate::policy::host::HostError;

/// Returns the host of a URI without the brackets of an IPv6 literal.
///
/// # Errors
///
/// [`HostError::Invalid`] if the brackets contain anything else: some resolvers resolve
/// `[example.com]` as `example.com`, and `[example.com]` has no pins.
pub(crate) fn without_brackets(host: &str) -> Result<&str, HostError> {
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match inside {
        Some(inside) if inside.parse::<Ipv6Addr>().is_ok() => Ok(inside),
        None if !host.contains(['[', ']']) => Ok(host),
        _ => Err(HostError::Invalid {
            name: host.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_hold_an_ipv6_address_and_nothing_else() {
        for (host, expected) in [
            ("example.com", Some("example.com")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("[::1]", Some("::1")),
            ("", Some("")),
            ("[example.com]", None),
            ("[192.0.2.1]", None),
            ("[::1", None),
            ("::1]", None),
            ("[]", None),
        ] {
            assert_eq!(without_brackets(host).ok(), expected, "{host}");
        }
    }
}
