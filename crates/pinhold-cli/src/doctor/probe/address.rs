//! The addresses of a name: those of `--resolve`, of the system's resolver, or a proxy.

use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service;

use crate::doctor::observation::ProbeFailureKind;
use crate::doctor::probe::handshake::{Cause, Refusal};
use crate::peer::{Deadline, Target};
use crate::transport::{Overrides, Transport};

/// How a server is reached.
#[derive(Clone)]
pub(super) enum Route {
    Direct(SocketAddr),
    /// Through a proxy, to the server of the URL.
    Proxy(Box<(Transport, Uri)>),
}

/// The addresses of a name.
pub(super) struct Addresses {
    /// At most 8 of each family.
    pub(super) used: Vec<SocketAddr>,
    pub(super) left_out: Vec<SocketAddr>,
}

/// The time limits of one step and of all.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    deadline: Deadline,
    step: Duration,
}

impl Limits {
    /// A server that never answers takes two steps, one for each version of TLS. A third of the time is left for
    /// the servers that wait until then.
    pub(super) fn new(deadline: Deadline) -> Self {
        let step = (deadline.total.0 / 3).min(MAX_STEP);
        Self { deadline, step }
    }

    /// Returns when a step that begins now ends at the latest.
    pub(super) fn end(self) -> Instant {
        Instant::now() + self.step.min(self.deadline.left())
    }

    /// Returns the refusal of a step that did not end in time.
    pub(super) fn refusal(self, missing: &str, cause: Cause) -> Refusal {
        let detail = if self.deadline.left().is_zero() {
            let total = self.deadline.total;
            format!("{missing} within the {total} of the command (--timeout)")
        } else {
            format!("{missing} within {} s", self.step.as_secs_f32())
        };
        Refusal::new(ProbeFailureKind::Timeout, cause, &detail)
    }
}

/// Returns the addresses of a host.
pub(super) async fn resolve(
    target: Target,
    overrides: Overrides,
    limits: Limits,
) -> Result<Addresses, Refusal> {
    if let Some(address) = overrides.address(&target) {
        return Ok(Addresses {
            used: vec![address],
            left_out: Vec::new(),
        });
    }
    // RFC 6761 section 6.4: no resolver needs to be queried for such a name.
    if target.host.ends_with(".invalid") {
        return Err(unresolved("names below `invalid` do not exist"));
    }
    let lookup = tokio::net::lookup_host((target.host.as_str(), target.port));
    match tokio::time::timeout_at(limits.end(), lookup).await {
        Ok(Ok(addresses)) => bounded(addresses).ok_or_else(|| unresolved("it has no address")),
        Ok(Err(error)) => Err(unresolved(&error.to_string())),
        Err(_) => Err(limits.refusal("no answer of the system's resolver", Cause::NoConnection)),
    }
}

fn unresolved(reason: &str) -> Refusal {
    let detail = format!("the name can't be resolved: {reason}");
    Refusal::new(ProbeFailureKind::Connection, Cause::NoConnection, &detail)
}

/// Divides addresses by the limit. Returns `None` if there is none.
fn bounded(addresses: impl Iterator<Item = SocketAddr>) -> Option<Addresses> {
    let mut seen = HashSet::new();
    let (mut used, mut left_out) = (Vec::<SocketAddr>::new(), Vec::new());
    for address in addresses.filter(|address| seen.insert(*address)) {
        let family = used.iter().filter(|it| it.is_ipv4() == address.is_ipv4());
        if family.count() < MAX_PER_FAMILY {
            used.push(address);
        } else {
            left_out.push(address);
        }
    }
    (!used.is_empty()).then_some(Addresses { used, left_out })
}

/// Returns a TCP connection to a server.
pub(super) async fn connect(route: &Route) -> Result<TcpStream, Refusal> {
    let failed = |error: &dyn Error| {
        let detail = causes(error);
        Refusal::new(ProbeFailureKind::Connection, Cause::NoConnection, &detail)
    };
    match route {
        Route::Direct(address) => TcpStream::connect(address).await.map_err(|error| {
            let error = io::Error::new(error.kind(), format!("no connection: {error}"));
            failed(&error)
        }),
        Route::Proxy(proxy) => {
            let (transport, uri) = &**proxy;
            let stream = transport.clone().call(uri.clone()).await;
            Ok(stream.map_err(|error| failed(&error))?.into_inner())
        }
    }
}

/// Returns the text of an error and of its causes.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text += &format!(": {error}");
        next = error.source();
    }
    text
}

/// Long enough for a slow server.
const MAX_STEP: Duration = Duration::from_secs(10);
/// Large services have more addresses, all of which lead to the same servers.
const MAX_PER_FAMILY: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_addresses_of_each_family_are_used_and_the_others_are_named() {
        let v4 = (1..=10).map(|last| format!("192.0.2.{last}:443"));
        let v6 = (1..=9).map(|last| format!("[2001:db8::{last}]:443"));
        let all = v4.chain(v6).map(|text| text.parse::<SocketAddr>().unwrap());
        let all = all.collect::<Vec<_>>();
        let twice = all.iter().chain(&all).copied();
        let Addresses { used, left_out } = bounded(twice).unwrap();
        assert_eq!(used, [&all[..8], &all[10..18]].concat());
        assert_eq!(left_out, [all[8], all[9], all[18]]);
        assert!(bounded(std::iter::empty()).is_none());
    }
}
