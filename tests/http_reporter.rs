//! Reports over real connections to endpoints that behave, and to those that don't: attack 11. The
//! connection under test has its verdict, and never waits.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::collector::{Answer, Collector, half_an_answer};
use common::pki::{Ca, Leaf};
use common::server::{Names, Server, client, get};
use common::validated::built_in_anchors;
use common::{Clock, NOW, TIMEOUT, policy_with, provider, unrelated_pin};
use http::HeaderValue;
use pinhold::connector::PlainHttp;
use pinhold::policy::ReportUri;
use pinhold::report::{
    DeliveryError, DropReason, EndpointError, HttpReporter, HttpReporterBuilder, ReportDetail,
    ReportForm,
};
use pinhold::{BuildError, Enforcement, Event, PinPolicy, PinViolation, Pinning};
use tokio::net::TcpListener;

const HOST: &str = "example.com";
const REPORTS: &str = "reports.example";

/// A server that fails its pins, and the anchors of everybody.
struct Fixture {
    server: Server,
    root: Ca,
    /// Of the endpoints.
    other: Ca,
    clock: Arc<Clock>,
}

/// A client that reports, and what its application is told.
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
            other: Ca::root("Other"),
            clock: Clock::new(),
        }
    }

    fn endpoint(&self) -> Leaf {
        self.other.leaf(&[REPORTS])
    }

    async fn collector(&self, answers: Vec<Answer>) -> Collector {
        Collector::start(Some(&self.endpoint()), answers).await
    }

    /// With foreign pins of `HOST`, and these choices.
    fn reporting(
        self,
        choose: impl FnOnce(HttpReporterBuilder) -> HttpReporterBuilder + Send + 'static,
    ) -> (Reporting, Server) {
        self.reporting_with(policy_with(unrelated_pin()), Vec::new(), choose)
    }

    fn reporting_with(
        self,
        policy: PinPolicy,
        more: Vec<(&str, PinPolicy)>,
        choose: impl FnOnce(HttpReporterBuilder) -> HttpReporterBuilder + Send + 'static,
    ) -> (Reporting, Server) {
        let (sender, dropped) = channel();
        let anchors = built_in_anchors(&[&self.root, &self.other]);
        let mut builder = Pinning::builder()
            .time_provider(self.clock)
            .static_pins(HOST, policy.include_subdomains())
            .observer(move |event| {
                if let Event::ReportDropped {
                    endpoint, reason, ..
                } = event
                {
                    assert!(endpoint.is_some(), "of whom it is not known");
                    let _ = sender.send(reason.clone());
                }
            })
            .reporter(|pinning| {
                let builder = HttpReporter::builder(pinning)
                    .with_anchors(anchors)
                    .with_provider(provider())
                    .backoff(Duration::from_millis(1))
                    .resolve_with(|_| async { Ok(vec![Ipv4Addr::LOCALHOST.into()]) });
                choose(builder).build()
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
    /// A request that the pins refuse, whatever becomes of the report.
    async fn fail(&self, host: &str) -> PinViolation {
        let mut client = client(&self.pinning, built_in_anchors(&[&self.root]), &self.names);
        let visit = get(&mut client, &format!("https://{host}:8443/")).await;
        PinViolation::find(&visit.unwrap_err()).unwrap()
    }

    fn dropped(&self) -> DropReason {
        self.dropped.recv_timeout(TIMEOUT).unwrap()
    }

    /// Until all is sent or dropped.
    async fn settle(&self) {
        let pinning = self.pinning.clone();
        let flushed = tokio::task::spawn_blocking(move || pinning.flush_reports(TIMEOUT));
        assert!(flushed.await.unwrap());
    }
}

fn to(uri: String) -> impl FnOnce(HttpReporterBuilder) -> HttpReporterBuilder + Send + 'static {
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
    let (reporting, _server) = fixture.reporting(to(collector.uri("https", REPORTS)));
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
    reporting.settle().await;
    assert_eq!(collector.rest(), 0);
    assert!(reporting.dropped.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_when_the_pins_are_dropped_is_still_tried() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let (reporting, _server) = fixture.reporting(to(collector.uri("https", REPORTS)));
    let violation = reporting.fail(HOST).await;
    drop(reporting);
    assert_eq!(
        collector.next().json()["hostname"],
        violation.host().as_str()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn form_and_media_type_are_the_applications() {
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

/// A static policy's own endpoint is the application's word, too.
#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_of_a_static_policy_is_used_beside_others() {
    let fixture = Fixture::new().await;
    let own = fixture.collector(vec![Answer::Status(204)]).await;
    let all = fixture.collector(vec![Answer::Status(204)]).await;
    let uri = ReportUri::parse(&own.uri("https", REPORTS)).unwrap();
    let policy = policy_with(unrelated_pin()).report_uri(uri);
    let endpoint = all.uri("https", REPORTS);
    let (reporting, _server) = fixture.reporting_with(policy, Vec::new(), to(endpoint));
    reporting.fail(HOST).await;
    assert_eq!(own.next().body, all.next().body);
}

/// 7469-2.1.4-i, 7469-2.5-i
#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_reported_once_an_hour_and_other_pins_at_once() {
    let fixture = Fixture::new().await;
    let clock = fixture.clock.clone();
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let (reporting, _server) = fixture.reporting(to(collector.uri("https", REPORTS)));
    for _ in 0..3 {
        reporting.fail(HOST).await;
    }
    reporting.settle().await;
    assert_eq!(collector.rest(), 1);
    let reasons = [reporting.dropped(), reporting.dropped()];
    assert_eq!(reasons, [DropReason::Duplicate, DropReason::Duplicate]);

    // Another name below, another set of pins, another hour.
    reporting.fail("www.example.com").await;
    let other = PinPolicy::without_backup([unrelated_pin()]).unwrap();
    reporting.pinning.replace_pins([(HOST, other)]).unwrap();
    reporting.fail(HOST).await;
    reporting.settle().await;
    assert_eq!(collector.rest(), 2);
    clock.set(NOW + 3_600);
    reporting.fail(HOST).await;
    reporting.settle().await;
    assert_eq!(collector.rest(), 1);
}

/// Attack 11. 7469-2.1.4-e, 7469-2.1.4-h
#[tokio::test(flavor = "multi_thread")]
async fn attack_11_an_endpoint_that_hangs_delays_nothing() {
    let fixture = Fixture::new().await;
    let hanging = fixture.collector(vec![Answer::Never]).await;
    let other = fixture.collector(vec![Answer::Status(204)]).await;
    let [one, two] = [&hanging, &other].map(|known| known.uri("https", REPORTS));
    let (reporting, _server) = fixture.reporting(|builder| {
        let timeout = Duration::from_secs(600);
        builder.endpoint(one).endpoint(two).timeout(timeout)
    });
    // While the first report hangs, more connections are judged, and others are reported to.
    reporting.fail(HOST).await;
    hanging.next();
    other.next();
    reporting.fail("www.example.com").await;
    other.next();
    let pinning = reporting.pinning.clone();
    let flushed = tokio::task::spawn_blocking(move || pinning.flush_reports(Duration::ZERO));
    assert!(!flushed.await.unwrap(), "something is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_panics_costs_its_report_alone() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let (good, bad) = (collector.uri("https", REPORTS), "https://bad.example/");
    let (reporting, _server) = fixture.reporting(move |builder| {
        let builder = builder.endpoint(bad).endpoint(good);
        builder.resolve_with(|name| async move {
            assert_ne!(name, "bad.example", "as the test wants");
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        })
    });
    for host in [HOST, "www.example.com"] {
        reporting.fail(host).await;
        reporting.settle().await;
        // Whoever flushes knows all that was lost.
        assert_eq!(reporting.dropped.try_recv(), Ok(DropReason::Reporter));
        collector.next();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_11_an_endpoint_that_takes_too_long_is_given_up() {
    let fixture = Fixture::new().await;
    let hanging = fixture.collector(vec![Answer::Never]).await;
    let uri = hanging.uri("https", REPORTS);
    let (reporting, _server) =
        fixture.reporting(|builder| builder.endpoint(uri).timeout(Duration::from_millis(50)));
    reporting.fail(HOST).await;
    assert_eq!(reporting.dropped(), gave_up(5, DeliveryError::Timeout));
}

/// 7469-2.1.4-h
#[tokio::test(flavor = "multi_thread")]
async fn attack_11_a_failing_endpoint_is_tried_again_with_the_same_report() {
    let fixture = Fixture::new().await;
    let answers = [500, 429, 204].map(Answer::Status).to_vec();
    let collector = fixture.collector(answers).await;
    let (reporting, _server) = fixture.reporting(to(collector.uri("https", REPORTS)));
    reporting.fail(HOST).await;
    let [one, two, three] = [(); 3].map(|()| collector.next());
    for again in [two, three] {
        assert_eq!(again.body, one.body);
        let id = "idempotency-key";
        assert!(one.header(id).is_some());
        assert_eq!(again.header(id), one.header(id));
    }
    reporting.settle().await;
    assert!(reporting.dropped.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_11_an_endpoint_that_always_fails_is_given_up_and_may_be_tried_anew() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(500)]).await;
    let (reporting, _server) = fixture.reporting(to(collector.uri("https", REPORTS)));
    for _ in 0..2 {
        reporting.fail(HOST).await;
        assert_eq!(reporting.dropped(), gave_up(5, DeliveryError::Status(500)));
        assert_eq!(collector.rest(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_11_redirects_are_not_followed_and_refusals_not_repeated() {
    let fixture = Fixture::new().await;
    let other = fixture.collector(vec![Answer::Status(204)]).await;
    let redirect = Answer::Redirect(other.uri("https", "other.example"));
    for (answer, status) in [(redirect, 301), (Answer::Status(404), 404)] {
        let fixture = Fixture::new().await;
        let collector = fixture.collector(vec![answer]).await;
        let (reporting, _server) = fixture.reporting(to(collector.uri("https", REPORTS)));
        reporting.fail(HOST).await;
        assert_eq!(
            reporting.dropped(),
            gave_up(1, DeliveryError::Status(status))
        );
        assert_eq!(collector.rest(), 1);
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_11_an_answer_that_is_cut_off_is_none() {
    let fixture = Fixture::new().await;
    let collector = fixture
        .collector(vec![Answer::CutOff, Answer::Status(204)])
        .await;
    let (reporting, _server) = fixture.reporting(to(collector.uri("https", REPORTS)));
    reporting.fail(HOST).await;
    let [one, two] = [(); 2].map(|()| collector.next());
    assert_eq!(one.body, two.body);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(half_an_answer(listener, b"HTTP/1.1 20"));
    let fixture = Fixture::new().await;
    let uri = format!("http://{REPORTS}:{port}/");
    let (reporting, _server) =
        fixture.reporting(|builder| builder.endpoint(uri).plain_http(PlainHttp::Allow));
    reporting.fail(HOST).await;
    assert_eq!(reporting.dropped(), gave_up(5, DeliveryError::Connection));
    task.abort();
}

/// 7469-2.1.4-f
#[tokio::test(flavor = "multi_thread")]
async fn attack_11_nothing_is_sent_to_an_endpoint_that_is_not_valid() {
    let fixture = Fixture::new().await;
    let unknown = Ca::root("Unknown").leaf(&[REPORTS]);
    let misnamed = fixture.other.leaf(&["other.example"]);
    for leaf in [unknown, misnamed] {
        let collector = Collector::start(Some(&leaf), vec![Answer::Status(204)]).await;
        let fixture = Fixture {
            other: Ca::root("Other"),
            ..Fixture::new().await
        };
        let (reporting, _server) = fixture.reporting(to(collector.uri("https", REPORTS)));
        reporting.fail(HOST).await;
        assert_eq!(reporting.dropped(), gave_up(1, DeliveryError::Certificate));
        assert_eq!(collector.rest(), 0);
    }
}

/// 7469-2.1.4-c, 7469-2.1.4-f
#[tokio::test(flavor = "multi_thread")]
async fn attack_11_an_endpoint_that_fails_its_own_pins_gets_nothing() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let more = vec![(REPORTS, policy_with(unrelated_pin()))];
    let endpoint = to(collector.uri("https", REPORTS));
    let (reporting, _server) = fixture.reporting_with(policy_with(unrelated_pin()), more, endpoint);
    reporting.fail(HOST).await;
    assert_eq!(reporting.dropped(), gave_up(1, DeliveryError::Pins));
    assert_eq!(collector.rest(), 0);
}

/// 7469-2.1.4-g: each fails its pins, and is to be told of the other.
#[tokio::test(flavor = "multi_thread")]
async fn attack_11_a_loop_of_reports_ends() {
    let fixture = Fixture::new().await;
    let other = fixture.collector(vec![Answer::Status(204)]).await;
    let uri = |host: &str, port| ReportUri::parse(&format!("https://{host}:{port}/")).unwrap();
    let to_other = uri(REPORTS, other.address.port());
    let back = uri(HOST, fixture.server.address.port());
    let policy = policy_with(unrelated_pin()).report_uri(to_other);
    let more = vec![(REPORTS, policy_with(unrelated_pin()).report_uri(back))];
    let requests = fixture.server.requests.clone();
    let (reporting, server) = fixture.reporting_with(policy, more, |builder| builder);
    reporting.fail(HOST).await;
    reporting.settle().await;
    assert_eq!(reporting.dropped(), gave_up(1, DeliveryError::Pins));
    assert!(reporting.dropped.try_recv().is_err(), "told once");
    assert_eq!(other.connections(), 1);
    assert_eq!(server.connections(), 1);
    assert_eq!(requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}

/// 7469-2.1.4-g: over TLS it would fail by the same pins, over http it is told where
/// that is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn the_failing_host_itself_is_told_over_http_only() {
    let fixture = Fixture::new().await;
    let uri = format!("https://{HOST}:8444/");
    let (reporting, server) = fixture.reporting(to(uri));
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
        reporting.settle().await;
        assert_eq!(collector.rest(), sent);
        let refused = DropReason::Endpoint(EndpointError::PlainHttp);
        let dropped = reporting.dropped.try_iter().collect::<Vec<_>>();
        assert_eq!(dropped, vec![refused; 1 - sent]);
    }
}

/// Pins on trial refuse nothing, so a report on them gets there.
#[tokio::test(flavor = "multi_thread")]
async fn the_host_of_pins_on_trial_is_told_over_tls() {
    let fixture = Fixture::new().await;
    let itself = fixture.root.leaf(&[HOST]);
    let collector = Collector::start(Some(&itself), vec![Answer::Status(204)]).await;
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

/// Of the pinned hosts only the one that failed may be told in the clear.
#[tokio::test(flavor = "multi_thread")]
async fn another_pinned_host_is_not_told_in_the_clear() {
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

/// An endpoint that is down for a moment gets its report later all the same.
#[tokio::test(flavor = "multi_thread")]
async fn each_flush_spares_one_pause_and_no_more() {
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
        assert_eq!(collector.rest(), 0);
    }
}

/// 7469-2.1.4-d
#[tokio::test(flavor = "multi_thread")]
async fn http_to_a_known_hsts_host_goes_over_tls() {
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
async fn endpoints_that_cannot_be_are_told_when_it_is_built() {
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
            matches!(&error, Some(BuildError::ReportEndpoint { problem, .. }) if *problem == expected),
            "{error:?}"
        );
    }
    assert!(matches!(build("/pins"), Some(BuildError::ReportUri(_))));
    assert!(build("https://127.0.0.1/pins").is_none());
}

/// 7469-2.1.4-i: bounds, and no duplicate within the hour, whatever comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_violations_is_reported_in_measure() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let uri = collector.uri("https", REPORTS);
    let violation = {
        let (reporting, _server) = Fixture::new().await.reporting(|builder| builder);
        reporting.fail(HOST).await
    };
    let address: IpAddr = Ipv4Addr::LOCALHOST.into();
    let anchors = built_in_anchors(&[&fixture.other]);
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
            // A thousand distinct ones.
            let port = u16::try_from(number % 1_000).unwrap();
            let report = pinhold::report::Report::new(violation.clone()).with_port(port);
            let _ = reporter.report(report);
        }
        assert!(reporter.flush(TIMEOUT));
    })
    .await
    .unwrap();
    // As many as one origin gets in an hour.
    assert_eq!((collector.rest(), collector.connections()), (30, 30));
}
