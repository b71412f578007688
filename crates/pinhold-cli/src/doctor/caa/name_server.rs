//! [`NameServer`], the value of `--resolver`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The address of a DNS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameServer(pub(super) SocketAddr);

impl FromStr for NameServer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected an IP address with or without a port, as in 192.0.2.53 or \
                        [2001:db8::53]:5353";
        if let Ok(address) = text.parse::<SocketAddr>() {
            return (address.port() != 0)
                .then_some(Self(address))
                .ok_or(expected);
        }
        let inner = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let address = inner.unwrap_or(text).parse::<IpAddr>();
        let address = address.map_err(|_| expected)?;
        Ok(Self(SocketAddr::new(address, DNS)))
    }
}

const DNS: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_is_an_address_with_or_without_a_port() {
        for (text, expected) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            let expected = NameServer(expected.parse().unwrap());
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "dns.example",
            "192.0.2",
            "192.0.2.53:",
            "192.0.2.53:0",
            "192.0.2.53:x",
        ] {
            assert!(text.parse::<NameServer>().is_err(), "{text}");
        }
    }
}
