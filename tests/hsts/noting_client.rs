//! `NotingClient`: requests and redirects to known HSTS hosts.

use pinhold::hsts::{HstsNoted, HstsOptions};

use crate::common::pki::Ca;
use crate::common::provider;
use crate::common::reqwests::fetch;
use crate::common::server::{Names, Request, Server, answer, full, server_config};
use crate::common::tls_setup::{builder, tls_setups};
use crate::common::validated::built_in_anchors;

/// 6797-8.3-a
#[tokio::test]
async fn requests_to_a_known_host_are_sent_over_tls() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com", "from.example"]);
    let sts = ("strict-transport-security", "max-age=100");
    let server = Server::start(&leaf, &[sts]).await;
    let plain = Server::plain(answer(&[])).await;
    let names = Names::new([("example.com", &server)]);
    let pinning = builder().hsts(HstsOptions::new()).build().unwrap();
    let setup = tls_setups().remove(0);
    let client = setup.noting(&pinning, &built_in_anchors(&[&root]), &names);
    let client = client.https_or_http().build().unwrap();
    let response = fetch(&client, "https://example.com/").await.unwrap();
    assert_eq!(response.extensions().get(), Some(&HstsNoted::Added));
    let response = fetch(&client, "http://example.com:80/").await.unwrap();
    assert_eq!(response.url().as_str(), "https://example.com/");
    names.point("example.com", &plain);
    let _ = fetch(&client, "http://example.com:8080/").await;
    assert_eq!(plain.requests(), 0);
}

/// 6797-8.3-e
#[tokio::test]
async fn a_redirect_to_a_known_host_is_sent_over_tls() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com", "from.example"]);
    let sts = ("strict-transport-security", "max-age=100");
    let server = Server::start(&leaf, &[sts]).await;
    let config = server_config(&leaf, provider(), rustls::ALL_VERSIONS);
    let from = Server::with_config(config, |_: &Request| {
        let response = http::Response::builder().status(302);
        let response = response.header("location", "http://example.com:80/to");
        response.body(full("")).unwrap()
    });
    let from = from.await;
    let plain = Server::plain(answer(&[])).await;
    let names = Names::new([("example.com", &server), ("from.example", &from)]);
    let pinning = builder().hsts(HstsOptions::new()).build().unwrap();
    let setup = tls_setups().remove(0);
    let client = setup.noting(&pinning, &built_in_anchors(&[&root]), &names);
    let client = client.https_or_http().build().unwrap();
    fetch(&client, "https://example.com/").await.unwrap();
    let response = fetch(&client, "https://from.example/").await.unwrap();
    assert_eq!(response.url().as_str(), "https://example.com/to");
    names.point("example.com", &plain);
    // On a connection that is kept, or refused: never in plain text.
    let _ = fetch(&client, "https://from.example/").await;
    assert_eq!((plain.requests(), from.requests()), (0, 2));
}
