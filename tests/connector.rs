//! The connector in hyper-util's client: what is admitted, over what, and what is refused how.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use common::pki::{Ca, Leaf};
use common::server::{
    HyperClient, Loopback, Names, Server, answer, client, full, get, server_config,
};
use common::{Clock, header_value, policy_with, provider, unrelated_pin};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioExecutor;
use pinhold::connector::{ConnectError, PinningConnectorBuilder, PlainHttp};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::layer::NotePins;
use pinhold::roots::AnchorOrigin;
use pinhold::{
    BuildError, Decision, Enforcement, NotePinsLayer, PinPolicy, PinViolation, Pinning,
    PinningConnector, PinningVerifier, TrustAnchors, VerifiedConnection,
};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceExt};
use tower_layer::Layer;

fn unpinned() -> Pinning {
    Pinning::builder()
        .time_provider(Clock::new())
        .build()
        .unwrap()
}

fn static_pins(policy: PinPolicy) -> Pinning {
    Pinning::builder()
        .static_pins("example.com", policy)
        .time_provider(Clock::new())
        .build()
        .unwrap()
}

fn built_in_anchors(root: &Ca) -> TrustAnchors {
    TrustAnchors::new()
        .with_built_in([root.certificate()])
        .unwrap()
}

fn builder(pinning: &Pinning, root: &Ca) -> PinningConnectorBuilder {
    PinningConnector::builder(pinning.clone())
        .with_provider(provider())
        .with_anchors(built_in_anchors(root))
}

fn connect_error(error: &hyper_util::client::legacy::Error) -> &ConnectError {
    error.source().unwrap().downcast_ref().unwrap()
}

fn connection(response: &http::Response<Bytes>) -> &VerifiedConnection {
    response.extensions().get().unwrap()
}

/// A client over this connector, without the layer's work but of the same type.
fn over(pinning: &Pinning, connector: PinningConnector<Loopback>) -> NotePins<HyperClient> {
    let client = Client::builder(TokioExecutor::new()).build(connector);
    NotePinsLayer::new(pinning.clone()).layer(client)
}

#[tokio::test]
async fn a_first_visit_notes_and_a_second_one_passes() {
    let root = Ca::root("Root");
    let leaf = root.intermediate("CA").leaf(&["example.com"]);
    let value = header_value(leaf.pin(), "max-age=100");
    let server = Server::start(&leaf, &[("public-key-pins", &value)]).await;
    let names = Names::new([("example.com", &server)]);
    let pinning = unpinned();
    let visit = async || {
        let mut client = client(&pinning, built_in_anchors(&root), &names);
        get(&mut client, "https://example.com/").await.unwrap()
    };

    let first = visit().await;
    assert_eq!(first.extensions().get(), Some(&Noted::Added));
    assert!(matches!(connection(&first).decision(), Decision::NotPinned));
    assert_eq!(connection(&first).anchor_origin(), AnchorOrigin::BuiltIn);
    assert_eq!(connection(&first).host().unwrap().as_str(), "example.com");
    assert_eq!(connection(&first).chain().fingerprints().len(), 3);

    let second = visit().await;
    assert_eq!(second.extensions().get(), Some(&Noted::Refreshed));
    assert!(matches!(connection(&second).decision(), Decision::Pass));
}

#[tokio::test]
async fn http1_and_http2_both_carry_the_connection_and_the_violation() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let server = Server::start(&leaf, &[]).await;
    let loopback = Loopback::new(&Names::new([("example.com", &server)]));
    type Choose = fn(PinningConnectorBuilder) -> PinningConnectorBuilder;
    let choices: [(Choose, http::Version); 4] = [
        (|builder| builder.enable_http1(), http::Version::HTTP_11),
        (|builder| builder.enable_http2(), http::Version::HTTP_2),
        (
            |builder| builder.enable_all_versions(),
            http::Version::HTTP_2,
        ),
        (|builder| builder, http::Version::HTTP_2),
    ];
    for (choose, version) in choices {
        let pinning = static_pins(policy_with(leaf.pin()));
        let passing = choose(builder(&pinning, &root))
            .wrap_connector(loopback.clone())
            .unwrap();
        let mut client = over(&pinning, passing);
        for _ in 0..2 {
            let response = get(&mut client, "https://example.com/").await.unwrap();
            assert_eq!(response.version(), version);
            assert!(matches!(connection(&response).decision(), Decision::Pass));
        }
        let pinning = static_pins(policy_with(unrelated_pin()));
        let failing = choose(builder(&pinning, &root))
            .wrap_connector(loopback.clone())
            .unwrap();
        let error = get(&mut over(&pinning, failing), "https://example.com/")
            .await
            .unwrap_err();
        assert!(PinViolation::find(&error).is_some());
        assert!(matches!(connect_error(&error), ConnectError::Pins(_)));
    }
}

#[tokio::test]
async fn a_violation_tells_what_was_expected_and_seen() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["www.example.com"]);
    let server = Server::start(&leaf, &[]).await;
    let policy = policy_with(unrelated_pin()).include_subdomains();
    let names = Names::new([("www.example.com", &server)]);
    let mut client = client(&static_pins(policy), built_in_anchors(&root), &names);
    let error = get(&mut client, "https://www.example.com/")
        .await
        .unwrap_err();
    let violation = PinViolation::find(&error).unwrap();
    assert_eq!(violation.host().as_str(), "www.example.com");
    assert_eq!(violation.policy().noted_hostname.as_str(), "example.com");
    assert!(violation.policy().pins.contains(&unrelated_pin()));
    assert_eq!(violation.at(), common::now());
    let told = violation.to_string();
    for fact in [
        unrelated_pin().to_string(),
        leaf.pin().to_string(),
        root.pin().to_string(),
    ] {
        assert!(told.contains(&fact), "{told}");
    }
    // However it is wrapped.
    for wrapped in [
        io::Error::other(error),
        io::Error::other(io::Error::other(violation)),
    ] {
        assert!(PinViolation::find(&wrapped).is_some());
    }
}

#[tokio::test]
async fn plain_http_to_a_known_pinned_host_is_refused() {
    let root = Ca::root("Root");
    let server = Server::plain(answer(&[])).await;
    let hosts = [
        "example.com",
        "exempt.example.com",
        "unpinned.example",
        "127.0.0.1",
    ];
    let names = Names::new(hosts.map(|host| (host, &server)));
    let policy = || {
        let policy = policy_with(unrelated_pin()).include_subdomains();
        policy.exempt("exempt.example.com").unwrap()
    };
    let report_only = policy().enforcement(Enforcement::ReportOnly);
    for (policy, plain, host, admitted) in [
        (policy(), PlainHttp::Refuse, "example.com", false),
        (policy(), PlainHttp::Refuse, "EXAMPLE.com.", false),
        // hyper's own TCP connector takes this for the name in the brackets.
        (policy(), PlainHttp::Refuse, "[example.com]", false),
        (policy(), PlainHttp::Allow, "example.com", true),
        (policy(), PlainHttp::Refuse, "exempt.example.com", true),
        (policy(), PlainHttp::Refuse, "unpinned.example", true),
        (policy(), PlainHttp::Refuse, "127.0.0.1", true),
        (report_only, PlainHttp::Refuse, "example.com", true),
    ] {
        let pinning = static_pins(policy);
        let connector = builder(&pinning, &root).plain_http(plain);
        let connector = connector.wrap_connector(Loopback::new(&names)).unwrap();
        match get(&mut over(&pinning, connector), &format!("http://{host}/")).await {
            Ok(response) => {
                assert!(admitted, "{host}");
                assert!(response.extensions().get::<VerifiedConnection>().is_none());
            }
            Err(error) => {
                let refused = matches!(
                    connect_error(&error),
                    ConnectError::Host(_) | ConnectError::PlainHttp { .. }
                );
                assert!(refused && !admitted, "{host}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn https_only_and_other_schemes() {
    let root = Ca::root("Root");
    let connector = builder(&unpinned(), &root).https_only().build().unwrap();
    let refused = async |uri: &'static str| {
        let uri = http::Uri::from_static(uri);
        connector.clone().oneshot(uri).await.unwrap_err()
    };
    assert!(matches!(
        refused("http://example.com/").await,
        ConnectError::HttpsOnly { .. }
    ));
    assert!(matches!(
        refused("ftp://example.com/").await,
        ConnectError::Scheme { .. }
    ));
    assert!(matches!(
        refused("https://exa*mple.com/").await,
        ConnectError::Host(_)
    ));
    let bracketed = refused("https://[example.com]/").await;
    assert!(matches!(bracketed, ConnectError::Host(_)));
}

#[tokio::test]
async fn a_connection_that_fails_keeps_its_cause() {
    let root = Ca::root("Root");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let connector = builder(&unpinned(), &root).build().unwrap();
    let uri = format!("https://{address}/").parse::<http::Uri>().unwrap();
    let error = connector.oneshot(uri).await.unwrap_err();
    assert!(matches!(error, ConnectError::Transport(_)));
    assert!(error.source().is_some() && PinViolation::find(&error).is_none());
}

#[tokio::test]
async fn the_connector_s_own_tcp_has_no_delay() {
    let root = Ca::root("Root");
    let server = Server::start(&root.leaf(&["127.0.0.1"]), &[]).await;
    let connector = builder(&unpinned(), &root).build().unwrap();
    let uri = format!("https://{}/", server.address)
        .parse::<http::Uri>()
        .unwrap();
    let stream = connector.oneshot(uri).await.unwrap();
    assert!(stream.transport().inner().nodelay().unwrap());
    assert!(
        stream.verified().unwrap().host().is_none(),
        "an address is no host"
    );
}

/// An HTTP proxy that answers CONNECT and passes bytes on, whatever the target.
async fn connect_proxy(target: SocketAddr, pins: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(client.read_u8().await.unwrap());
            }
            assert!(request.starts_with(b"CONNECT example.com:443 "));
            let answer = format!("HTTP/1.1 200 OK\r\nPublic-Key-Pins: {pins}\r\n\r\n");
            client.write_all(answer.as_bytes()).await.unwrap();
            let mut server = TcpStream::connect(target).await.unwrap();
            // The client may hang up.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    });
    address
}

/// A SOCKS 5 proxy without authentication.
async fn socks_proxy(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut greeting = [0; 3];
            client.read_exact(&mut greeting).await.unwrap();
            client.write_all(&[5, 0]).await.unwrap();
            let mut request = [0; 5];
            client.read_exact(&mut request).await.unwrap();
            let mut name_and_port = vec![0; usize::from(request[4]) + 2];
            client.read_exact(&mut name_and_port).await.unwrap();
            assert!(name_and_port.starts_with(b"example.com"));
            client
                .write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0])
                .await
                .unwrap();
            let mut server = TcpStream::connect(target).await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    });
    address
}

/// The decision on `example.com` over this inner connector.
async fn decide<H>(connector: PinningConnector<H>) -> Result<Decision, PinViolation>
where
    PinningConnector<H>: Service<
            http::Uri,
            Response = pinhold::connector::PinnedStream<H::Response>,
            Error = ConnectError,
        >,
    H: Service<http::Uri>,
{
    let uri = http::Uri::from_static("https://example.com/");
    match connector.oneshot(uri).await {
        Ok(stream) => Ok(stream.verified().unwrap().decision().clone()),
        Err(error) => Err(PinViolation::find(&error).unwrap()),
    }
}

#[tokio::test]
async fn pins_hold_through_proxies() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let server = Server::start(&leaf, &[]).await;
    let pins = header_value(leaf.pin(), "max-age=100");
    let proxy = format!("http://{}", connect_proxy(server.address, pins).await);
    let socks = format!("socks5://{}", socks_proxy(server.address).await);
    for (pin, passes) in [(leaf.pin(), true), (unrelated_pin(), false)] {
        let pinning = static_pins(policy_with(pin));
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let tunnel = Tunnel::new(proxy.parse().unwrap(), http.clone());
        let decision = decide(builder(&pinning, &root).wrap_connector(tunnel).unwrap()).await;
        assert_eq!(matches!(decision, Ok(Decision::Pass)), passes);
        let socks = SocksV5::new(socks.parse().unwrap(), http);
        let decision = decide(builder(&pinning, &root).wrap_connector(socks).unwrap()).await;
        assert_eq!(matches!(decision, Ok(Decision::Pass)), passes);
        // D-14: what the proxy says in its answer to CONNECT pins nobody.
        assert!(pinning.store().list().is_empty());
    }
}

#[tokio::test]
async fn a_foreign_verifier_or_a_resumed_session_never_passes() {
    let root = Ca::root("Root");
    let server = Server::start(&root.leaf(&["example.com", "other.example"]), &[]).await;
    let loopback = Loopback::new(&Names::new([("example.com", &server)]));
    let mut store = RootCertStore::empty();
    store.add(root.certificate()).unwrap();
    let foreign = ClientConfig::builder_with_details(provider(), Clock::new())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let connector = PinningConnector::builder(unpinned()).with_tls_config(foreign);
    let connector = connector.wrap_connector(loopback.clone()).unwrap();
    let uri = http::Uri::from_static("https://example.com/");
    let error = connector.oneshot(uri.clone()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotVerified));

    // Another `Pinning` in the configuration: the connector's own one has the last word.
    let other =
        PinningVerifier::builder(unpinned(), built_in_anchors(&root)).with_provider(provider());
    let connector = PinningConnector::builder(static_pins(policy_with(unrelated_pin())))
        .with_tls_config(other.client_config().unwrap());
    let error = connector
        .wrap_connector(loopback.clone())
        .unwrap()
        .oneshot(uri.clone())
        .await;
    assert!(matches!(error, Err(ConnectError::Pins(_))));

    // One that asks ours about another name.
    let other =
        PinningVerifier::builder(unpinned(), built_in_anchors(&root)).with_provider(provider());
    let mut config = other.client_config().unwrap();
    let other =
        PinningVerifier::builder(unpinned(), built_in_anchors(&root)).with_provider(provider());
    let verifier = OtherName(other.verifier_without_resumption_check().unwrap());
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(verifier));
    let connector = PinningConnector::builder(unpinned()).with_tls_config(config);
    let error = connector
        .wrap_connector(loopback.clone())
        .unwrap()
        .oneshot(uri.clone())
        .await;
    assert!(matches!(error, Err(ConnectError::NotVerified)));

    // Resumption that a caller switched on is off again: each handshake is a full one.
    let pinning = unpinned();
    let mut config = PinningVerifier::builder(pinning.clone(), built_in_anchors(&root))
        .with_provider(provider())
        .client_config()
        .unwrap();
    config.resumption = Resumption::in_memory_sessions(8);
    let connector = PinningConnector::builder(pinning.clone()).with_tls_config(config);
    let connector = connector.enable_http1().wrap_connector(loopback).unwrap();
    for _ in 0..3 {
        let mut client = over(&pinning, connector.clone());
        get(&mut client, "https://example.com/").await.unwrap();
    }
}

/// A server-name override, which the connector does not offer.
#[derive(Debug)]
struct OtherName(PinningVerifier);

impl ServerCertVerifier for OtherName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = ServerName::try_from("other.example").unwrap();
        self.0
            .verify_server_cert(end_entity, intermediates, &name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[test]
fn early_data_is_refused() {
    let root = Ca::root("Root");
    let pinning = unpinned();
    let mut config = PinningVerifier::builder(pinning.clone(), built_in_anchors(&root))
        .with_provider(provider())
        .client_config()
        .unwrap();
    config.enable_early_data = true;
    let built = PinningConnector::builder(pinning)
        .with_tls_config(config)
        .build();
    assert!(matches!(built, Err(BuildError::EarlyData)));
}

#[tokio::test]
async fn a_response_without_connection_data_is_ignored_with_a_reason() {
    let pinning = unpinned();
    let inner = tower::service_fn(|_: http::Request<Empty<Bytes>>| async {
        let response = http::Response::builder().header("public-key-pins", "max-age=0");
        Ok::<_, io::Error>(response.body(full("ok")).unwrap())
    });
    let request = |method: &str, uri: &str| {
        let request = http::Request::builder().method(method).uri(uri);
        request.body(Empty::new()).unwrap()
    };
    for (request, reason) in [
        (
            request("GET", "https://example.com/"),
            IgnoreReason::NoConnectionData,
        ),
        (
            request("GET", "http://example.com/"),
            IgnoreReason::InsecureTransport,
        ),
        (request("GET", "/relative"), IgnoreReason::InsecureTransport),
        (request("GET", "https://192.0.2.1/"), IgnoreReason::NoHost),
        (
            request("CONNECT", "example.com:443"),
            IgnoreReason::ConnectResponse,
        ),
    ] {
        let client = NotePinsLayer::new(pinning.clone()).layer(inner);
        let response = client.oneshot(request).await.unwrap();
        assert_eq!(response.extensions().get(), Some(&Noted::Ignored(reason)));
    }
}

#[tokio::test]
async fn a_client_certificate_goes_with_a_changed_configuration() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let mut roots = RootCertStore::empty();
    roots.add(root.certificate()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(leaf.chain.clone(), leaf.key())
        .unwrap();
    server.alpn_protocols = server_config(&leaf, provider(), rustls::ALL_VERSIONS).alpn_protocols;
    let server = Server::with_config(server, answer(&[])).await;
    let pinning = static_pins(policy_with(leaf.pin()));
    let mut config = PinningVerifier::builder(pinning.clone(), built_in_anchors(&root))
        .with_provider(provider())
        .client_config()
        .unwrap();
    config.client_auth_cert_resolver = client_certificate(&root.leaf(&["me.example"]));
    let connector = PinningConnector::builder(pinning.clone()).with_tls_config(config);
    let loopback = Loopback::new(&Names::new([("example.com", &server)]));
    let connector = connector.wrap_connector(loopback).unwrap();
    let response = get(&mut over(&pinning, connector), "https://example.com/")
        .await
        .unwrap();
    assert!(matches!(connection(&response).decision(), Decision::Pass));
}

fn client_certificate(leaf: &Leaf) -> Arc<dyn rustls::client::ResolvesClientCert> {
    let key = provider()
        .key_provider
        .load_private_key(leaf.key())
        .unwrap();
    let certified = rustls::sign::CertifiedKey::new(leaf.chain.clone(), key);
    Arc::new(rustls::sign::SingleCertAndKey::from(certified))
}
