//! Validated chains. Only path validation creates them, so each comes from a real handshake.

use pinhold::{Pinning, TrustAnchors, ValidatedChain, VerifiedConnection};

use super::Clock;
use super::pki::{Ca, Leaf};
use super::server::{Names, Server, client, get};

/// Trust anchors with these roots as built-in ones.
pub fn built_in_anchors(roots: &[&Ca]) -> TrustAnchors {
    let roots = roots.iter().map(|root| root.certificate());
    TrustAnchors::new().with_built_in(roots).unwrap()
}

/// Returns the chain that a client without pins validates for `host` at a server with this leaf.
pub async fn verified_chain(leaf: &Leaf, host: &str, anchors: &TrustAnchors) -> ValidatedChain {
    let connection = verified_connection(leaf, host, anchors).await;
    connection.chain().clone()
}

/// Returns the connection that such a client attaches to its response.
pub async fn verified_connection(
    leaf: &Leaf,
    host: &str,
    anchors: &TrustAnchors,
) -> VerifiedConnection {
    let server = Server::start(leaf, &[]).await;
    let names = Names::new([(host, &server)]);
    let pinning = Pinning::builder().time_provider(Clock::new());
    let mut client = client(&pinning.build().unwrap(), anchors.clone(), &names);
    let response = get(&mut client, &format!("https://{host}/")).await.unwrap();
    response.extensions().get().cloned().unwrap()
}
