//! Known HSTS hosts as records.

use rustls_pki_types::UnixTime;

use crate::hsts::KnownHstsHost;
use crate::policy::Host;
use crate::policy::timestamp::{self, print_capped};
use crate::store::host_table::HostEntry;
use crate::store::line::Reader;
use crate::store::record::Record;

impl HostEntry for KnownHstsHost {
    const KIND: &'static str = Record::HSTS;

    fn parse(host: Host, value: &str, time: UnixTime) -> Option<Self> {
        let mut value = Reader::new(value);
        value.literal(INCLUDE_SUBDOMAINS)?;
        let includes_subdomains = match value.literal("true") {
            Some(()) => true,
            None => value.literal("false").map(|()| false)?,
        };
        value.literal(SEEN_SINCE)?;
        let seen_since = timestamp::parse(value.until_quote()?)?;
        value.literal(EXPIRES_AT)?;
        let expires_at = timestamp::parse(value.until_quote()?)?;
        value.literal("}")?;
        value.is_at_end().then_some(Self {
            host,
            includes_subdomains,
            seen_since,
            noted_at: time,
            expires_at,
        })
    }

    fn host(&self) -> &Host {
        &self.host
    }

    fn time(&self) -> UnixTime {
        self.noted_at
    }

    fn to_value(&self) -> String {
        [
            INCLUDE_SUBDOMAINS,
            if self.includes_subdomains {
                "true"
            } else {
                "false"
            },
            SEEN_SINCE,
            &print_capped(self.seen_since),
            "\"",
            EXPIRES_AT,
            &print_capped(self.expires_at),
            "\"}",
        ]
        .concat()
    }
}

/// The text before each part of a value.
const INCLUDE_SUBDOMAINS: &str = r#"{"include_subdomains":"#;
const SEEN_SINCE: &str = r#","seen_since":""#;
const EXPIRES_AT: &str = r#","expires_at":""#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::timestamp::at;

    #[test]
    fn a_value_is_read_as_it_was_written() {
        for includes_subdomains in [false, true] {
            let known = KnownHstsHost {
                host: Host::parse("a.example").unwrap(),
                includes_subdomains,
                seen_since: at(1),
                noted_at: at(2),
                expires_at: at(3),
            };
            let value = known.to_value();
            assert_eq!(
                KnownHstsHost::parse(known.host.clone(), &value, at(2)),
                Some(known.clone())
            );
            for len in 0..value.len() {
                assert_eq!(
                    KnownHstsHost::parse(known.host.clone(), &value[..len], at(2)),
                    None
                );
            }
        }
    }
}
