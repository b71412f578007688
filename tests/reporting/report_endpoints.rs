//! Endpoints that a server names by `report-uri`, as in attack 11, and nginx as an endpoint.

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, channel};

use crate::common::collector::{Answer, Collector};
use crate::common::peers::Peer;
use crate::common::pki::Ca;
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, TIMEOUT, header_value, policy_with, provider, unrelated_pin};
use pinhold::connector::PlainHttp;
use pinhold::header::Noted;
use pinhold::report::{
    DropReason, EndpointError, HttpReporter, HttpReporterBuilder, ReportUriPolicy,
};
use pinhold::{Event, PinViolation, Pinning};
use serde_json::Value;

const HOST: &str = "example.com";

/// A client that has noted pins with a `report-uri`, and a server that fails them.
struct Fixture {
    pinning: Pinning,
    dropped: Receiver<DropReason>,
    names: Names,
    root: Ca,
    _impostor: Server,
}

impl Fixture {
    async fn new(
        report_uri: &str,
        configure: impl FnOnce(HttpReporterBuilder) -> HttpReporterBuilder + Send + 'static,
    ) -> Self {
        let root = Ca::root("Root");
        let genuine = root.leaf(&[HOST]);
        let value = header_value(
            genuine.pin(),
            &format!("max-age=9; report-uri=\"{report_uri}\""),
        );
        let server = Server::start(&genuine, &[("public-key-pins", &value)]).await;
        let anchors = built_in_anchors(&[&root]);
        let (sender, dropped) = channel();
        let pinning = Pinning::builder()
            .time_provider(Clock::new())
            .observer(move |event| {
                if let Event::ReportDropped { reason, .. } = event {
                    let _ = sender.send(reason.clone());
                }
            })
            .reporter(move |pinning| {
                let builder = HttpReporter::builder(pinning)
                    .with_anchors(anchors)
                    .with_provider(provider());
                configure(builder).build()
            })
            .build()
            .unwrap();
        let names = Names::new([(HOST, &server)]);
        let mut fixture = Self {
            pinning,
            dropped,
            names,
            root,
            _impostor: server,
        };
        assert_eq!(fixture.visit().await.unwrap(), Some(Noted::Added));
        let impostor = Server::start(&fixture.root.leaf(&[HOST]), &[]).await;
        fixture.names.point(HOST, &impostor);
        fixture._impostor = impostor;
        fixture
    }

    async fn visit(&self) -> Result<Option<Noted>, hyper_util::client::legacy::Error> {
        let mut client = client(&self.pinning, built_in_anchors(&[&self.root]), &self.names);
        let response = get(&mut client, &format!("https://{HOST}/")).await?;
        Ok(response.extensions().get().cloned())
    }

    /// Makes a request that the pins refuse, and returns why it is not reported.
    async fn dropped(&self) -> DropReason {
        let error = self.visit().await.unwrap_err();
        assert!(PinViolation::find(&error).is_some());
        self.dropped.recv_timeout(TIMEOUT).unwrap()
    }
}

fn resolving_to(addresses: &[&str]) -> impl Fn(HttpReporterBuilder) -> HttpReporterBuilder + Send {
    let parsed = addresses.iter().map(|address| address.parse::<IpAddr>());
    let parsed = parsed.collect::<Result<Vec<_>, _>>().unwrap();
    move |builder| {
        let parsed = parsed.clone();
        builder
            .report_uri_policy(ReportUriPolicy::Any)
            .resolve_with(move |_| std::future::ready(Ok(parsed.clone())))
    }
}

fn dropped_for(error: EndpointError) -> DropReason {
    DropReason::Endpoint(error)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_uri_of_a_server_is_ignored_by_default() {
    let fixture = Fixture::new("https://reports.example/", |builder| builder).await;
    assert_eq!(fixture.dropped().await, DropReason::NoEndpoint);
}

/// Attack 11. One address that is not public among several is enough.
#[tokio::test(flavor = "multi_thread")]
async fn attack_11_a_server_can_not_direct_reports_to_private_networks() {
    let collector = Collector::start(None, vec![Answer::Status(204)]).await;
    let uri = collector.uri("https", "reports.example");
    for addresses in [
        &["127.0.0.1"][..],
        &["10.1.2.3"],
        &["169.254.169.254"],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["93.184.215.14", "127.0.0.1"],
    ] {
        let fixture = Fixture::new(&uri, resolving_to(addresses)).await;
        let expected = dropped_for(EndpointError::PrivateAddress);
        assert_eq!(fixture.dropped().await, expected, "{addresses:?}");
    }
    assert_eq!(collector.connections(), 0);
}

/// Attack 11. D-09
#[tokio::test(flavor = "multi_thread")]
async fn attack_11_a_server_can_only_name_a_public_host_over_tls() {
    for (uri, expected) in [
        ("https://127.0.0.1/", EndpointError::IpAddress),
        ("https://[::1]/", EndpointError::IpAddress),
        ("https://2130706433/", EndpointError::IpAddress),
        ("https://localhost/", EndpointError::SingleLabel),
        ("https://me:pw@reports.example/", EndpointError::UserInfo),
        ("ftp://reports.example/", EndpointError::Scheme),
        ("http://reports.example/", EndpointError::PlainHttp),
        ("https://example.com:8443/", EndpointError::SameHost),
    ] {
        let fixture = Fixture::new(uri, resolving_to(&["93.184.215.14"])).await;
        assert_eq!(fixture.dropped().await, dropped_for(expected), "{uri}");
    }
}

/// 7469-5-a
#[tokio::test(flavor = "multi_thread")]
async fn reports_can_be_restricted_to_the_host_that_failed_its_pins() {
    let same_host = |builder: HttpReporterBuilder| {
        builder
            .report_uri_policy(ReportUriPolicy::SameHost)
            .plain_http(PlainHttp::Allow)
            .resolve_with(|_| async { Ok(vec!["127.0.0.1".parse().unwrap()]) })
    };
    for (uri, expected) in [
        ("https://reports.example/", EndpointError::OtherHost),
        ("https://www.example.com/", EndpointError::OtherHost),
        ("https://example.com/", EndpointError::SameHost),
        // Allowed by the policy, and refused because of its address.
        ("http://example.com/", EndpointError::PrivateAddress),
    ] {
        let fixture = Fixture::new(uri, same_host).await;
        assert_eq!(fixture.dropped().await, dropped_for(expected), "{uri}");
    }
}

/// 7469-2.1.4-c
#[tokio::test(flavor = "multi_thread")]
async fn nginx_receives_a_report_over_tls_of_another_ca() {
    let other = Ca::root("Other");
    let leaf = other.intermediate("CA").leaf(&["reports.example"]);
    let Some(nginx) = Peer::nginx_as_collector(&leaf) else {
        return;
    };
    let root = Ca::root("Root");
    let server = Server::start(&root.leaf(&[HOST]), &[]).await;
    let uri = format!("https://reports.example:{}/pins", nginx.address.port());
    let anchors = built_in_anchors(&[&other]);
    let pinning = Pinning::builder()
        .time_provider(Clock::new())
        .static_pins(HOST, policy_with(unrelated_pin()))
        // The endpoint has pins of its own and satisfies them.
        .static_pins("reports.example", policy_with(other.pin()))
        .reporter(move |pinning| {
            HttpReporter::builder(pinning)
                .with_anchors(anchors)
                .with_provider(provider())
                .resolve_with(|_| async { Ok(vec!["127.0.0.1".parse().unwrap()]) })
                .endpoint(uri)
                .build()
        })
        .build()
        .unwrap();
    let names = Names::new([(HOST, &server)]);
    let mut client = client(&pinning, built_in_anchors(&[&root]), &names);
    let error = get(&mut client, "https://example.com/").await.unwrap_err();
    let violation = PinViolation::find(&error).unwrap();
    let report = tokio::task::spawn_blocking(move || nginx.next_report());
    let report = serde_json::from_str::<Value>(&report.await.unwrap()).unwrap();
    assert_eq!(report["hostname"], HOST);
    assert_eq!(report["port"], 443);
    let pins = violation.policy().pins.len();
    assert_eq!(report["known-pins"].as_array().unwrap().len(), pins);
}
