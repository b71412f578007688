//! The host and port that a request is sent to.

use http::Request;
use http::uri::Authority;

use crate::policy::Host;

/// The authority of a request's URI. It is compared as the pool compares it, which ignores case: a
/// server could otherwise fill a table by redirects to many spellings of its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestTarget(Option<Authority>);

impl RequestTarget {
    pub(crate) fn of<A>(request: &Request<A>) -> Self {
        Self(request.uri().authority().cloned())
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
}
