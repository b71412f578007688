//! Validated chains, which nothing but a validation makes: here, one real handshake each.

use pinhold::{Pinning, TrustAnchors, ValidatedChain, VerifiedConnection};

use super::Clock;
use super::pki::{Ca, Leaf};
use super::server::{Names, Server, client, get};

/// These roots as built-in anchors.
pub fn built_in_anchors(roots: &[&Ca]) -> TrustAnchors {
    let roots = roots.iter().map(|root| root.certificate());
    TrustAnchors::new().with_built_in(roots).unwrap()
}

/// The chain that an unpinned client validates for `host` at a server with this leaf.
pub async fn verified_chain(leaf: &Leaf, host: &str, anchors: &TrustAnchors) -> ValidatedChain {
    let connection = verified_connection(leaf, host, anchors).await;
    connection.chain().clone()
}

/// The connection itself, as the client hands it out.
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
