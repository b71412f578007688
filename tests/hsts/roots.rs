//! Chains to roots that are not built in, and an inner verifier.

use std::sync::Arc;

use pinhold::hsts::{HstsIgnored, HstsNoted};
use pinhold::roots::AnchorOrigin;
use pinhold::{PinningVerifier, TrustAnchors};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;

use crate::clients::Fixture;
use crate::common::pki::Ca;
use crate::common::provider;
use crate::common::server::{Names, Server, client, client_with_config, get};

const STS: &str = "strict-transport-security";

/// 6797-8.1-a
#[tokio::test]
async fn a_chain_to_a_user_added_root_notes_and_removes_nothing() {
    let fixture = Fixture::new();
    let proxy = Ca::root("Proxy");
    let anchors = TrustAnchors::new().with_user_added([proxy.certificate()]);
    let anchors = anchors.unwrap();
    let ignored = HstsIgnored::AnchorNotBuiltIn(AnchorOrigin::UserAdded);
    for (value, is_known) in [("max-age=100", false), ("max-age=0", true)] {
        if is_known {
            fixture.receive("https://example.com/", "max-age=100").await;
        }
        let server = Server::start(&proxy.leaf(&["example.com"]), &[(STS, value)]).await;
        let names = Names::new([("example.com", &server)]);
        let mut client = client(&fixture.pinning, anchors.clone(), &names);
        let response = get(&mut client, "https://example.com/").await.unwrap();
        let expected = HstsNoted::Ignored(ignored.clone());
        assert_eq!(response.extensions().get(), Some(&expected), "{value}");
        assert_eq!(fixture.is_known("example.com"), is_known, "{value}");
    }
}

/// 6797-8.4-a
#[tokio::test]
async fn a_refusal_of_the_inner_verifier_is_final_for_a_known_host() {
    let fixture = Fixture::new();
    let server = Server::start(&fixture.leaf, &[(STS, "max-age=100")]).await;
    let names = Names::new([("example.com", &server)]);
    let with_inner = |roots: RootCertStore| {
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let config = PinningVerifier::builder(fixture.pinning.clone())
            .with_anchors(fixture.anchors.clone())
            .with_provider(provider())
            .with_inner_verifier(inner.build().unwrap())
            .client_config();
        client_with_config(&fixture.pinning, config.unwrap(), &names)
    };
    let mut own = RootCertStore::empty();
    own.add(fixture.root.certificate()).unwrap();
    let mut other = RootCertStore::empty();
    other.add(Ca::root("Other").certificate()).unwrap();
    let uri = "https://example.com/";
    let response = get(&mut with_inner(own), uri).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&HstsNoted::Added));
    for uri in [uri, "http://example.com/"] {
        assert!(get(&mut with_inner(other.clone()), uri).await.is_err());
    }
    assert_eq!(server.requests(), 1);
}
