//! The host and port that a request is sent to.

use std::hash::{Hash, Hasher};

use http::uri::Authority;

use crate::policy::Host;

/// The authority of a request's URI. It is compared as the pool compares it, which ignores case: a
/// server could otherwise fill a table by redirects to many spellings of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestTarget(Option<Authority>);

impl RequestTarget {
    pub(crate) fn new(authority: Option<&Authority>) -> Self {
        Self(authority.cloned())
    }

    /// Returns whether this is the target of a URI with that authority in the same spelling, which
    /// is faster to compare than two spellings.
    pub(crate) fn is_spelled(&self, authority: Option<&Authority>) -> bool {
        self.as_str() == authority.map(Authority::as_str)
    }

    /// Returns the host; `None` for an IP address (7469-2.3.3-d) and for an invalid name.
    pub(crate) fn host(&self) -> Option<Host> {
        Host::parse(self.0.as_ref()?.host()).ok()
    }

    /// Returns the port, which is 443 if the URI has none.
    pub(crate) fn port(&self) -> u16 {
        let port = self.0.as_ref().and_then(Authority::port_u16);
        port.unwrap_or(443)
    }

    fn as_str(&self) -> Option<&str> {
        self.0.as_ref().map(Authority::as_str)
    }
}

impl Hash for RequestTarget {
    /// Hashes eight bytes at a time, where [`Authority`] hashes each on its own.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Some(text) = self.as_str() else {
            return;
        };
        let (words, rest) = text.as_bytes().as_chunks();
        for word in words {
            state.write_u64(fold_case(u64::from_le_bytes(*word)));
        }
        let rest = rest
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
        state.write_u64(fold_case(rest));
        state.write_usize(text.len());
    }
}

/// Sets the bit in which the upper and the lower case of a letter differ, in each byte.
fn fold_case(word: u64) -> u64 {
    word | 0x2020_2020_2020_2020
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use foldhash::fast::RandomState;

    use super::*;

    fn target(text: &'static str) -> RequestTarget {
        RequestTarget(Some(Authority::from_static(text)))
    }

    #[test]
    fn spellings_of_one_target_are_equal_and_have_one_hash() {
        let state = RandomState::default();
        for (one, other) in [
            ("a", "A"),
            ("example", "EXAMPLE"),
            ("www.example.com:8443", "WWW.example.COM:8443"),
        ] {
            let (one, other) = (target(one), target(other));
            assert_eq!(one, other);
            assert_eq!(state.hash_one(&one), state.hash_one(&other));
            assert!(one.is_spelled(one.0.as_ref()) && !one.is_spelled(other.0.as_ref()));
        }
        for (one, other) in [("example.com", "example.com:1"), ("a.example", "b.example")] {
            let (one, other) = (target(one), target(other));
            assert_ne!(one, other);
            assert_ne!(state.hash_one(&one), state.hash_one(&other));
        }
        assert!(!target("a").is_spelled(None) && RequestTarget(None).is_spelled(None));
    }
}
