//! What a client without the layer does, whose connector upgrades by itself.

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pinhold::connector::ConnectError;
use pinhold::hsts::{HstsOptions, HstsPreload};
use pinhold::{Pinning, PinningConnector};
use tower::ServiceExt;

use crate::common::pki::Ca;
use crate::common::server::{Loopback, Names, Server, answer, client, get};
use crate::common::tls_setup::builder;
use crate::common::validated::built_in_anchors;

fn preloaded(host: &str) -> Pinning {
    let list = format!(r#"{{"entries": [{{"name": "{host}", "mode": "force-https"}}]}}"#);
    let options = HstsOptions::new().preload(HstsPreload::parse(&list).unwrap());
    builder().hsts(options).build().unwrap()
}

/// 6797-8.3-a
#[tokio::test]
async fn the_connector_makes_a_tls_connection_for_an_http_uri_of_a_known_host() {
    let root = Ca::root("Root");
    let server = Server::start(&root.leaf(&["example.com"]), &[]).await;
    let names = Names::new([("example.com", &server), ("other.example", &server)]);
    for is_https_only in [false, true] {
        let connector = PinningConnector::builder(preloaded("example.com"))
            .with_provider(crate::common::provider())
            .with_anchors(built_in_anchors(&[&root]));
        let connector = if is_https_only {
            connector.https_only()
        } else {
            connector
        };
        let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
        let stream = connector
            .clone()
            .oneshot("http://example.com/".parse().unwrap())
            .await;
        assert!(stream.unwrap().verified().is_some());
        let other = connector
            .oneshot("http://other.example/".parse().unwrap())
            .await;
        match other {
            Ok(stream) => assert!(!is_https_only && stream.verified().is_none()),
            Err(error) => assert!(is_https_only && matches!(error, ConnectError::HttpsOnly { .. })),
        }
    }
}

/// 6797-8.3-a
#[tokio::test]
async fn a_pooled_plain_connection_is_not_used_once_its_host_is_known() {
    let root = Ca::root("Root");
    let pinning = builder().hsts(HstsOptions::new()).build().unwrap();
    let plain = Server::plain(answer(&[])).await;
    let names = Names::new([("example.com", &plain)]);
    let connector = PinningConnector::builder(pinning.clone())
        .with_provider(crate::common::provider())
        .with_anchors(built_in_anchors(&[&root]))
        .wrap_connector(Loopback::new(&names))
        .unwrap();
    let without_layer = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let uri = "http://example.com/".parse::<http::Uri>().unwrap();
    without_layer.get(uri.clone()).await.unwrap();
    assert_eq!(plain.requests(), 1);
    let leaf = root.leaf(&["example.com"]);
    let server = Server::start(&leaf, &[("strict-transport-security", "max-age=9")]).await;
    names.point("example.com", &server);
    let anchors = built_in_anchors(&[&root]);
    get(
        &mut client(&pinning, anchors, &names),
        "https://example.com/",
    )
    .await
    .unwrap();
    names.point("example.com", &plain);
    assert!(without_layer.get(uri).await.is_err());
    assert_eq!(plain.requests(), 1);
}
