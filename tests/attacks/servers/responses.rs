//! Attack 7: headers in responses, or parts of responses, that must not be noted.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use pinhold::NotePinsLayer;
use pinhold::header::{HeaderError, IgnoreReason, Noted};
use tower::{Service, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_layer::Layer;

use crate::common::header_value;
use crate::common::pki::Ca;
use crate::common::server::{Names, Server, answer, full, get};
use crate::common::tls_setup::{builder, is_known, noted, tls_setups};
use crate::common::validated::built_in_anchors;

#[tokio::test]
async fn attack_7_a_header_over_plain_http_is_ignored() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let value = header_value(leaf.pin(), "max-age=100");
    let server = Server::plain(answer(&[("public-key-pins", &value)])).await;
    let names = Names::new([("example.com", &server)]);
    for setup in tls_setups() {
        let pinning = builder().build().unwrap();
        let mut client = setup.client(&pinning, built_in_anchors(&[&root]), &names);
        let response = get(&mut client, "http://example.com/").await.unwrap();
        assert_eq!(
            noted(&response),
            &Noted::Ignored(IgnoreReason::InsecureTransport)
        );
        assert!(!is_known(&pinning, "example.com"));
    }
}

#[tokio::test]
async fn attack_7_a_header_in_a_trailer_is_ignored() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let value = header_value(leaf.pin(), "max-age=100");
        let server = Server::with_config(setup.config(&leaf), move |_| {
            let mut trailers = http::HeaderMap::new();
            trailers.insert("public-key-pins", value.parse().unwrap());
            let trailers = async move { Some(Ok::<_, std::io::Error>(trailers)) };
            let body = full("ok").with_trailers(Box::pin(trailers)).boxed();
            http::Response::new(body)
        })
        .await;
        let pinning = builder().build().unwrap();
        let names = Names::new([("example.com", &server)]);
        let mut client = setup.client(&pinning, built_in_anchors(&[&root]), &names);
        let request = http::Request::get("https://example.com/")
            .body(Empty::new())
            .unwrap();
        let response = client.call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap();
        assert!(
            trailers.contains_key("public-key-pins"),
            "the trailer has arrived"
        );
        assert!(parts.extensions.get::<Noted>().is_none());
        assert!(!is_known(&pinning, "example.com"));
    }
}

#[tokio::test]
async fn attack_7_a_header_in_an_interim_response_is_ignored() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let value = header_value(leaf.pin(), "max-age=100");
        let hints = format!(
            "HTTP/1.1 103 Early Hints\r\nPublic-Key-Pins: {value}\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        );
        let mut config = setup.config(&leaf);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server = Server::raw(config, hints.into_bytes()).await;
        let pinning = builder().build().unwrap();
        let response = setup
            .visit(&pinning, &built_in_anchors(&[&root]), &server)
            .await
            .unwrap();
        assert_eq!(response.body(), "ok");
        assert!(response.extensions().get::<Noted>().is_none());
        assert!(!is_known(&pinning, "example.com"));
    }
}

#[tokio::test]
async fn attack_7_a_header_in_a_protocol_switch_is_ignored() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let value = header_value(leaf.pin(), "max-age=100");
        let switch = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\
             Public-Key-Pins: {value}\r\n\r\n"
        );
        let mut config = setup.config(&leaf);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server = Server::raw(config, switch.into_bytes()).await;
        let pinning = builder().build().unwrap();
        let names = Names::new([("example.com", &server)]);
        let mut client = setup.client(&pinning, built_in_anchors(&[&root]), &names);
        let request = http::Request::get("https://example.com/")
            .header("connection", "upgrade")
            .header("upgrade", "other")
            .body(Empty::new())
            .unwrap();
        let response = client.call(request).await.unwrap();
        assert_eq!(response.status(), 101);
        assert!(response.headers().contains_key("public-key-pins"));
        assert!(response.extensions().get::<Noted>().is_none());
        assert!(!is_known(&pinning, "example.com"));
    }
}

#[tokio::test]
async fn attack_7_a_redirect_to_another_host_does_not_remove_pins() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let value = header_value(leaf.pin(), "max-age=100");
        let config = setup.config(&leaf);
        let redirecting = Server::with_config(config, move |_| {
            http::Response::builder()
                .status(302)
                .header("location", "https://other.example/")
                .header("public-key-pins", &value)
                .body(full(""))
                .unwrap()
        })
        .await;
        let other = root.leaf(&["other.example"]);
        let hostile = setup
            .serve(&other, &[("public-key-pins", "max-age=0")])
            .await;
        let names = Names::new([("example.com", &redirecting), ("other.example", &hostile)]);
        let pinning = builder().build().unwrap();
        let request = || {
            let body = Empty::<Bytes>::new();
            http::Request::get("https://example.com/")
                .body(body)
                .unwrap()
        };

        // Redirects followed above the layer: it notes each response for its own host.
        let client = setup.client(&pinning, built_in_anchors(&[&root]), &names);
        let client = FollowRedirectLayer::new().layer(client);
        let response = client.oneshot(request()).await.unwrap();
        let outcome = response.extensions().get::<Noted>().unwrap();
        assert_eq!(outcome, &Noted::Ignored(IgnoreReason::NotKnown));
        assert!(
            is_known(&pinning, "example.com"),
            "noted from the redirect response"
        );

        // Redirects followed below the layer: it sees the response of the other host to a request
        // for example.com, and must not attribute it to example.com.
        let inner = setup.client(&pinning, built_in_anchors(&[&root]), &names);
        let inner = FollowRedirectLayer::new().layer(inner);
        let client = NotePinsLayer::new(pinning.clone()).layer(inner);
        let response = client.oneshot(request()).await.unwrap();
        let outcome = response.extensions().get::<Noted>().unwrap();
        assert_eq!(outcome, &Noted::Ignored(IgnoreReason::OtherHost));
        assert!(is_known(&pinning, "example.com"));
    }
}

#[tokio::test]
async fn attack_7_a_second_field_and_a_second_directive_have_no_effect() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let anchors = built_in_anchors(&[&root]);
        let good = header_value(leaf.pin(), "max-age=100");
        let twice = header_value(leaf.pin(), "max-age=100; max-age=0");
        let pinning = builder().build().unwrap();
        let two_fields = [
            ("public-key-pins", &*good),
            ("public-key-pins", "max-age=0"),
        ];
        let server = setup.serve(&leaf, &two_fields).await;
        let response = setup.visit(&pinning, &anchors, &server).await.unwrap();
        assert_eq!(noted(&response), &Noted::Added);

        // Only the first field is processed, even if it is malformed.
        let malformed = [
            ("public-key-pins", &*twice),
            ("public-key-pins", "max-age=0"),
        ];
        let server = setup.serve(&leaf, &malformed).await;
        let response = setup.visit(&pinning, &anchors, &server).await.unwrap();
        let expected = HeaderError::DuplicateDirective {
            name: "max-age".to_owned(),
        };
        assert_eq!(
            noted(&response),
            &Noted::Ignored(IgnoreReason::Header(expected))
        );
        assert!(is_known(&pinning, "example.com"));
    }
}
