//! The keys of a server: of its validated chain, or of what it sends.

use std::sync::Arc;

use http::Uri;
use pinhold::connector::ConnectError;
use pinhold::tls::KeyRole;
use pinhold::{Pinning, ValidatedChain};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::clock::Clock;
use crate::failure::{Failure, RequestFailure};
use crate::fingerprint::Key;
use crate::network::{self, NetworkOptions};
use crate::refusal::{PinSources, role_name};
use crate::roots::Roots;
use crate::verifier::AcceptAll;

/// Connects, and returns the keys of the validated chain and of unused certificates.
pub(crate) async fn validated_keys(
    source: &str,
    network: &NetworkOptions,
) -> Result<Vec<Key>, Failure> {
    let uri = https_url(source)?;
    let peer = network.peer(source, &uri, PinSources::default());
    let pinning = Pinning::builder().build();
    let pinning = pinning.map_err(|error| Failure::of_build(&error))?;
    let mut connector = network.connector(&pinning, &peer, &uri)?;
    let stream = peer.limit(MISSING, connector.call(uri)).await?;
    let stream = stream.map_err(|error| Failure::of_request(&peer, &error))?;
    let connection = stream.verified().ok_or_else(|| {
        let detail = "the connection has no validated chain".to_owned();
        peer.failure(RequestFailure::Tls, detail)
    })?;
    Ok(keys_of(connection.chain(), network.roots()))
}

/// Returns the keys of the validated chain, then those of certificates that the server sent but
/// that are not part of it. Each certificate appears once.
fn keys_of(chain: &ValidatedChain, roots: Roots) -> Vec<Key> {
    let mut path = chain.certificates();
    let root = chain.anchor_certificate();
    let source = roots.source(chain.anchor_origin());
    let mut keys = Vec::new();
    for key in chain.keys() {
        let role = role_name(key.role);
        let is_root = key.role == KeyRole::Anchor;
        let certificate = if is_root { root } else { path.next() };
        let known = certificate.and_then(|der| Key::of_certificate(der, Some(role)));
        let known =
            known.unwrap_or_else(|| Key::without_certificate(key.fingerprint, role, key.subject));
        // Pins are skipped on chains to user-added roots, so none of their keys is recommended.
        let known = if source == "--user-ca" {
            known
        } else {
            known.with_advice()
        };
        keys.push(if is_root {
            known.with_source(source)
        } else {
            known
        });
    }
    let mut seen = chain.certificates().chain(root).collect::<Vec<_>>();
    for served in chain.served() {
        if !seen.contains(&served) {
            seen.push(served);
            keys.extend(Key::of_certificate(served, Some("unused")));
        }
    }
    keys
}

/// Connects without validation, and returns the keys of all certificates that the server sends.
pub(crate) async fn served_keys(
    source: &str,
    network: &NetworkOptions,
) -> Result<Vec<Key>, Failure> {
    let uri = https_url(source)?;
    let peer = network.peer(source, &uri, PinSources::default());
    let host = uri.host().unwrap_or_default();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|error| Failure::input(source, error))?;
    let provider = network::provider();
    let config = ClientConfig::builder_with_details(provider.clone(), Arc::new(Clock))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::of_request(&peer, &error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAll(provider)))
        .with_no_client_auth();
    let mut transport = network.transport(&uri)?;
    let transport = peer.limit(MISSING, transport.call(uri)).await?;
    let transport = transport.map_err(|error| Failure::of_request(&peer, &error))?;
    let tls = TlsConnector::from(Arc::new(config));
    let handshake = tls.connect(name, transport.into_inner());
    let stream = peer.limit(MISSING, handshake).await?;
    let stream = stream.map_err(|error| Failure::of_request(&peer, &ConnectError::Io(error)))?;
    let mut seen = Vec::new();
    let mut keys = Vec::new();
    for served in stream.get_ref().1.peer_certificates().unwrap_or_default() {
        if !seen.contains(&served) {
            seen.push(served);
            keys.extend(Key::of_certificate(served, Some("served")));
        }
    }
    Ok(keys)
}

fn https_url(source: &str) -> Result<Uri, Failure> {
    let uri = network::url(source)?;
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        _ => Err(Failure::input(source, "not an https URL, expected one")),
    }
}

/// What does not happen within the time limit.
const MISSING: &str = "no TLS connection to";
