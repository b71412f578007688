//! The chains of one server at one address.

use rustls::pki_types::ServerName;
use tokio::time::timeout_at;

use crate::doctor::observation::{ChainSource, KeyKind, Observation, TlsVersion};
use crate::doctor::probe::address::{self, Limits, Route};
use crate::doctor::probe::handshake::{self, Cause, Offer, Refusal, Served};

/// Returns the chains that a server sends: with TLS 1.3 and with TLS 1.2, and for each the one of its
/// other kind of key, if it has one.
pub(super) async fn observe(
    route: Route,
    name: ServerName<'static>,
    limits: Limits,
) -> Vec<Observation> {
    let mut results = Vec::new();
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let result = match results.last() {
            Some((_, Err(refusal))) if is_unreachable(refusal) => Err(refusal.clone()),
            _ => handshake(&route, &name, Offer { version, key: None }, limits).await,
        };
        let key = result.as_ref().ok().map(|served| other_key(served.key));
        results.push((Offer { version, key: None }, result));
        let Some(key) = key else {
            continue;
        };
        let offer = Offer {
            version,
            key: Some(key),
        };
        // Most servers have one key, and reject this handshake.
        if let Ok(served) = handshake(&route, &name, offer, limits).await {
            results.push((offer, Ok(served)));
        }
    }
    let is_any = results.iter().any(|(_, result)| result.is_ok());
    let results = results.into_iter();
    let results = results.map(|(offer, result)| Observation {
        source: source(&route, offer),
        served: match result {
            Ok(served) => Ok(served.certificates),
            Err(refusal) if is_any => Err(refusal.failure),
            Err(refusal) => Err(refusal.of_all().failure),
        },
    });
    results.collect()
}

fn is_unreachable(refusal: &Refusal) -> bool {
    refusal.cause == Cause::NoConnection
}

fn other_key(key: KeyKind) -> KeyKind {
    match key {
        KeyKind::Ec => KeyKind::Rsa,
        KeyKind::Rsa => KeyKind::Ec,
    }
}

async fn handshake(
    route: &Route,
    name: &ServerName<'static>,
    offer: Offer,
    limits: Limits,
) -> Result<Served, Refusal> {
    let end = limits.end();
    let stream = timeout_at(end, address::connect(route)).await;
    let stream = stream.map_err(|_| limits.refusal("no TCP connection", Cause::NoConnection))??;
    let served = timeout_at(end, handshake::run(stream, name.clone(), offer)).await;
    served.map_err(|_| limits.refusal("no TLS handshake", Cause::Other))?
}

fn source(route: &Route, offer: Offer) -> ChainSource {
    let Offer { version, key } = offer;
    match (route, key) {
        (Route::Direct(address), None) => ChainSource::Server {
            address: *address,
            version,
        },
        (Route::Direct(address), Some(key)) => ChainSource::OtherKey {
            address: *address,
            version,
            key,
        },
        (Route::Proxy(..), key) => ChainSource::Proxy { version, key },
    }
}
