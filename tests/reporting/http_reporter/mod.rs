//! [`HttpReporter`] and its endpoints, over real connections. Reports never delay the connection
//! that failed its pins.

mod endpoints;
mod failing_endpoints;
mod waiting;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::common::collector::{Answer, Collector};
use crate::common::pki::{Ca, Leaf};
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, NOW, TIMEOUT, policy_with, provider, unrelated_pin};
use http::HeaderValue;
use pinhold::connector::PlainHttp;
use pinhold::policy::ReportUri;
use pinhold::report::{
    DeliveryError, DropReason, EndpointError, HttpReporter, HttpReporterBuilder, ReportDetail,
    ReportForm,
};
use pinhold::{BuildError, Enforcement, Event, PinPolicy, PinViolation, Pinning};

const HOST: &str = "example.com";
const REPORTS: &str = "reports.example";

/// A server that fails its pins, and the roots of the server and of the endpoints.
struct Fixture {
    server: Server,
    root: Ca,
    endpoint_root: Ca,
    clock: Arc<Clock>,
}

/// A client that sends reports, and the reports that it dropped.
struct Reporting {
    pinning: Pinning,
    dropped: Receiver<DropReason>,
    names: Names,
    root: Ca,
}

impl Fixture {
    async fn new() -> Self {
        let root = Ca::root("Root");
        Self {
            server: Server::start(&root.leaf(&[HOST, "www.example.com"]), &[]).await,
            root,
            endpoint_root: Ca::root("Endpoint"),
            clock: Clock::new(),
        }
    }

    fn endpoint(&self) -> Leaf {
        self.endpoint_root.leaf(&[REPORTS])
    }

    async fn collector(&self, answers: Vec<Answer>) -> Collector {
        Collector::start(Some(&self.endpoint()), answers).await
    }

    /// Returns a client whose pins for `HOST` fail, with a reporter that `configure` sets up.
    fn reporting(
        self,
        configure: impl FnOnce(HttpReporterBuilder) -> HttpReporterBuilder + Send + 'static,
    ) -> (Reporting, Server) {
        self.reporting_with(policy_with(unrelated_pin()), Vec::new(), configure)
    }

    fn reporting_with(
        self,
        policy: PinPolicy,
        more: Vec<(&str, PinPolicy)>,
        configure: impl FnOnce(HttpReporterBuilder) -> HttpReporterBuilder + Send + 'static,
    ) -> (Reporting, Server) {
        let (sender, dropped) = channel();
        let anchors = built_in_anchors(&[&self.root, &self.endpoint_root]);
        let mut builder = Pinning::builder()
            .time_provider(self.clock)
            .static_pins(HOST, policy.include_subdomains())
            .observer(move |event| {
                if let Event::ReportDropped {
                    endpoint, reason, ..
                } = event
                {
                    assert!(endpoint.is_some(), "an event without its endpoint");
                    let _ = sender.send(reason.clone());
                }
            })
            .reporter(|pinning| {
                let builder = HttpReporter::builder(pinning)
                    .with_anchors(anchors)
                    .with_provider(provider())
                    .backoff(Duration::from_millis(1))
                    .resolve_with(|_| async { Ok(vec![Ipv4Addr::LOCALHOST.into()]) });
                configure(builder).build()
            });
        for (host, policy) in more {
            builder = builder.static_pins(host, policy);
        }
        let names = Names::new([(HOST, &self.server), ("www.example.com", &self.server)]);
        let reporting = Reporting {
            pinning: builder.build().unwrap(),
            dropped,
            names,
            root: self.root,
        };
        (reporting, self.server)
    }
}

impl Reporting {
    /// Makes a request that the pins refuse, and returns the violation.
    async fn fail(&self, host: &str) -> PinViolation {
        let mut client = client(&self.pinning, built_in_anchors(&[&self.root]), &self.names);
        let visit = get(&mut client, &format!("https://{host}:8443/")).await;
        PinViolation::find(&visit.unwrap_err()).unwrap()
    }

    /// Drops the last handle, and returns the reports that are dropped later.
    fn into_dropped(self) -> Receiver<DropReason> {
        self.dropped
    }

    fn dropped(&self) -> DropReason {
        self.dropped.recv_timeout(TIMEOUT).unwrap()
    }

    /// Waits until all reports are sent or dropped.
    async fn flush(&self) {
        let pinning = self.pinning.clone();
        let flushed = tokio::task::spawn_blocking(move || pinning.flush_reports(TIMEOUT));
        assert!(flushed.await.unwrap());
    }
}

fn with_endpoint(
    uri: String,
) -> impl FnOnce(HttpReporterBuilder) -> HttpReporterBuilder + Send + 'static {
    move |builder| builder.endpoint(uri)
}

fn gave_up(attempts: u32, last: DeliveryError) -> DropReason {
    DropReason::GaveUp { attempts, last }
}

/// 7469-2.1.4-a, 7469-2.3.2-e, 7469-3-a
#[tokio::test(flavor = "multi_thread")]
async fn a_violation_is_posted_once_to_the_applications_endpoint() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let (reporting, _server) = fixture.reporting(with_endpoint(collector.uri("https", REPORTS)));
    let violation = reporting.fail(HOST).await;
    let received = collector.next();
    assert_eq!(received.request.method(), http::Method::POST);
    assert_eq!(received.request.uri().path(), "/pins");
    let media_type = received.header("content-type");
    assert_eq!(media_type, Some("application/json; charset=utf-8"));
    for absent in ["cookie", "authorization", "origin", "referer"] {
        assert_eq!(received.header(absent), None);
    }
    let json = received.json();
    assert_eq!(json["hostname"], violation.host().as_str());
    assert_eq!(json["port"], 8443);
    assert_eq!(json["date-time"], "2023-11-14T22:13:20Z");
    reporting.flush().await;
    assert_eq!(collector.discard_rest(), 0);
    assert!(reporting.dropped.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_reports_are_sent_after_the_last_handle_is_dropped() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let (reporting, _server) = fixture.reporting(with_endpoint(collector.uri("https", REPORTS)));
    let violation = reporting.fail(HOST).await;
    drop(reporting);
    assert_eq!(
        collector.next().json()["hostname"],
        violation.host().as_str()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_chooses_form_and_media_type() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(200)]).await;
    let uri = collector.uri("https", REPORTS);
    let (reporting, _server) = fixture.reporting(|builder| {
        let form = ReportForm::new().detail(ReportDetail::Counts);
        builder
            .endpoint(uri)
            .form(form.field("app", "7").unwrap())
            .media_type(HeaderValue::from_static("application/reports+json"))
    });
    reporting.fail(HOST).await;
    let received = collector.next();
    let media_type = received.header("content-type");
    assert_eq!(media_type, Some("application/reports+json"));
    assert_eq!(received.json()["app"], "7");
    assert!(received.json().get("served-certificate-chain").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_sent_to_the_endpoints_of_the_policy_and_of_the_application() {
    let fixture = Fixture::new().await;
    let own = fixture.collector(vec![Answer::Status(204)]).await;
    let all = fixture.collector(vec![Answer::Status(204)]).await;
    let uri = ReportUri::parse(&own.uri("https", REPORTS)).unwrap();
    let policy = policy_with(unrelated_pin()).report_uri(uri);
    let endpoint = all.uri("https", REPORTS);
    let (reporting, _server) = fixture.reporting_with(policy, Vec::new(), with_endpoint(endpoint));
    reporting.fail(HOST).await;
    assert_eq!(own.next().body, all.next().body);
}

/// 7469-2.1.4-i, 7469-2.5-i
#[tokio::test(flavor = "multi_thread")]
async fn an_equal_report_is_sent_once_an_hour_and_other_reports_at_once() {
    let fixture = Fixture::new().await;
    let clock = fixture.clock.clone();
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let (reporting, _server) = fixture.reporting(with_endpoint(collector.uri("https", REPORTS)));
    for _ in 0..3 {
        reporting.fail(HOST).await;
    }
    reporting.flush().await;
    assert_eq!(collector.discard_rest(), 1);
    let reasons = [reporting.dropped(), reporting.dropped()];
    assert_eq!(reasons, [DropReason::Duplicate, DropReason::Duplicate]);

    // Reports of another host, of another pin set, and of another hour are not equal.
    reporting.fail("www.example.com").await;
    let other = PinPolicy::without_backup([unrelated_pin()]).unwrap();
    reporting.pinning.replace_pins([(HOST, other)]).unwrap();
    reporting.fail(HOST).await;
    reporting.flush().await;
    assert_eq!(collector.discard_rest(), 2);
    clock.set(NOW + 3_600);
    reporting.fail(HOST).await;
    reporting.flush().await;
    assert_eq!(collector.discard_rest(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_the_resolver_drops_only_its_own_report() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let (good, bad) = (collector.uri("https", REPORTS), "https://bad.example/");
    let (reporting, _server) = fixture.reporting(move |builder| {
        let builder = builder.endpoint(bad).endpoint(good);
        builder.resolve_with(|name| async move {
            assert_ne!(name, "bad.example", "expected by the test");
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        })
    });
    for host in [HOST, "www.example.com"] {
        reporting.fail(host).await;
        reporting.flush().await;
        // The event is emitted before the flush returns.
        assert_eq!(reporting.dropped.try_recv(), Ok(DropReason::Reporter));
        collector.next();
    }
}

/// 7469-2.1.4-g: over TLS the connection would fail by the same pins.
#[tokio::test(flavor = "multi_thread")]
async fn the_host_that_failed_its_pins_receives_reports_over_plain_http_only() {
    let fixture = Fixture::new().await;
    let uri = format!("https://{HOST}:8444/");
    let (reporting, server) = fixture.reporting(with_endpoint(uri));
    reporting.fail(HOST).await;
    let same = DropReason::Endpoint(EndpointError::SameHost);
    assert_eq!(reporting.dropped(), same);
    assert_eq!(server.connections(), 1);

    for (plain, sent) in [(PlainHttp::Refuse, 0), (PlainHttp::Allow, 1)] {
        let collector = Collector::start(None, vec![Answer::Status(204)]).await;
        let uri = collector.uri("http", HOST).parse().unwrap();
        let policy = policy_with(unrelated_pin()).report_uri(uri);
        let fixture = Fixture::new().await;
        let (reporting, _server) =
            fixture.reporting_with(policy, Vec::new(), move |builder| builder.plain_http(plain));
        reporting.fail(HOST).await;
        reporting.flush().await;
        assert_eq!(collector.discard_rest(), sent);
        let refused = DropReason::Endpoint(EndpointError::PlainHttp);
        let dropped = reporting.dropped.try_iter().collect::<Vec<_>>();
        assert_eq!(dropped, vec![refused; 1 - sent]);
    }
}

/// Report-only pins do not refuse the connection to the endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_report_only_pins_receives_reports_over_tls() {
    let fixture = Fixture::new().await;
    let own_leaf = fixture.root.leaf(&[HOST]);
    let collector = Collector::start(Some(&own_leaf), vec![Answer::Status(204)]).await;
    let uri = collector.uri("https", HOST).parse().unwrap();
    let policy = policy_with(unrelated_pin()).enforcement(Enforcement::ReportOnly);
    let policy = policy.report_uri(uri);
    let (reporting, _server) = fixture.reporting_with(policy, Vec::new(), |builder| builder);
    let mut client = client(
        &reporting.pinning,
        built_in_anchors(&[&reporting.root]),
        &reporting.names,
    );
    get(&mut client, &format!("https://{HOST}/")).await.unwrap();
    assert_eq!(collector.next().json()["hostname"], HOST);
}

/// Plain HTTP is allowed to only one pinned host, the one that failed its pins.
#[tokio::test(flavor = "multi_thread")]
async fn another_pinned_host_receives_no_report_over_plain_http() {
    let fixture = Fixture::new().await;
    let collector = Collector::start(None, vec![Answer::Status(204)]).await;
    let uri = collector.uri("http", REPORTS);
    let pinned = vec![(REPORTS, policy_with(unrelated_pin()))];
    let (reporting, _server) =
        fixture.reporting_with(policy_with(unrelated_pin()), pinned, move |builder| {
            builder.endpoint(uri).plain_http(PlainHttp::Allow)
        });
    reporting.fail(HOST).await;
    let refused = DropReason::Endpoint(EndpointError::PlainHttp);
    assert_eq!(reporting.dropped(), refused);
    assert_eq!(collector.connections(), 0);
}

/// If each flush used up all attempts, an endpoint that is down for a moment would get no report.
#[tokio::test(flavor = "multi_thread")]
async fn each_flush_skips_one_backoff() {
    let fixture = Fixture::new().await;
    let answers = [503, 503, 204].map(Answer::Status);
    let collector = fixture.collector(Vec::from(answers)).await;
    let uri = collector.uri("https", REPORTS);
    let (reporting, _server) =
        fixture.reporting(|builder| builder.endpoint(uri).backoff(Duration::from_secs(600)));
    reporting.fail(HOST).await;
    collector.next();
    for (within, is_done) in [(Duration::from_millis(200), false), (TIMEOUT, true)] {
        let pinning = reporting.pinning.clone();
        let flush = tokio::task::spawn_blocking(move || pinning.flush_reports(within));
        collector.next();
        assert_eq!(flush.await.unwrap(), is_done);
        assert_eq!(collector.discard_rest(), 0);
    }
}

/// 7469-2.1.4-d
#[tokio::test(flavor = "multi_thread")]
async fn http_is_upgraded_for_a_known_hsts_host() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let uri = collector.uri("http", REPORTS);
    let (reporting, _server) = fixture.reporting(|builder| {
        let is_known = |host: &pinhold::Host| host.as_str() == REPORTS;
        builder.endpoint(uri).known_hsts_host(is_known)
    });
    reporting.fail(HOST).await;
    collector.next();
}

#[tokio::test(flavor = "multi_thread")]
async fn building_fails_for_an_endpoint_that_can_not_be_used() {
    let build = |uri: &str| {
        let uri = uri.to_owned();
        let builder = Pinning::builder().reporter(|pinning| {
            let anchors = built_in_anchors(&[&Ca::root("Root")]);
            let builder = HttpReporter::builder(pinning).with_provider(provider());
            builder.with_anchors(anchors).endpoint(uri).build()
        });
        builder.build().err()
    };
    for (uri, expected) in [
        ("ftp://a.example/", EndpointError::Scheme),
        ("https://me@a.example/", EndpointError::UserInfo),
        ("http://a.example/", EndpointError::PlainHttp),
    ] {
        let error = build(uri);
        assert!(
            matches!(&error, Some(BuildError::ReportEndpoint { reason, .. }) if *reason == expected),
            "{error:?}"
        );
    }
    assert!(matches!(build("/pins"), Some(BuildError::ReportUri(_))));
    assert!(build("https://127.0.0.1/pins").is_none());
}

/// 7469-2.1.4-i
#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_reports_in_a_flood_of_violations_is_limited() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let uri = collector.uri("https", REPORTS);
    let violation = {
        let (reporting, _server) = Fixture::new().await.reporting(|builder| builder);
        reporting.fail(HOST).await
    };
    let address: IpAddr = Ipv4Addr::LOCALHOST.into();
    let anchors = built_in_anchors(&[&fixture.endpoint_root]);
    let pinning = Pinning::builder().build().unwrap();
    let reporter = HttpReporter::builder(pinning)
        .with_anchors(anchors)
        .with_provider(provider())
        .resolve_with(move |_| async move { Ok(vec![address]) })
        .endpoint(uri)
        .build()
        .unwrap();
    tokio::task::spawn_blocking(move || {
        use pinhold::report::Reporter;
        for number in 0..100_000_u32 {
            // 1,000 different reports, each 100 times.
            let port = u16::try_from(number % 1_000).unwrap();
            let report = pinhold::report::Report::new(violation.clone()).with_port(port);
            let _ = reporter.report(report);
        }
        assert!(reporter.flush(TIMEOUT));
    })
    .await
    .unwrap();
    // The limit of one origin within an hour.
    assert_eq!(
        (collector.discard_rest(), collector.connections()),
        (30, 30)
    );
}
