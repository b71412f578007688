//! Attack 11: endpoints that fail, or that use reports for an attack.

use std::time::Duration;

use pinhold::connector::PlainHttp;
use pinhold::policy::ReportUri;
use pinhold::report::DeliveryError;
use tokio::net::TcpListener;

use super::{Fixture, HOST, REPORTS, gave_up, with_endpoint};
use crate::common::collector::{Answer, Collector, respond_with};
use crate::common::pki::Ca;
use crate::common::{policy_with, unrelated_pin};

/// Attack 11. 7469-2.1.4-e, 7469-2.1.4-h
#[tokio::test(flavor = "multi_thread")]
async fn attack_11_an_endpoint_that_does_not_respond_delays_nothing() {
    let fixture = Fixture::new().await;
    let silent = fixture.collector(vec![Answer::NoResponse]).await;
    let other = fixture.collector(vec![Answer::Status(204)]).await;
    let [one, two] = [&silent, &other].map(|known| known.uri("https", REPORTS));
    let (reporting, _server) = fixture.reporting(|builder| {
        let timeout = Duration::from_secs(600);
        builder.endpoint(one).endpoint(two).timeout(timeout)
    });
    // While the first report waits for its response, connections are checked and other endpoints
    // receive reports.
    reporting.fail(HOST).await;
    silent.next();
    other.next();
    reporting.fail("www.example.com").await;
    other.next();
    let pinning = reporting.pinning.clone();
    let flushed = tokio::task::spawn_blocking(move || pinning.flush_reports(Duration::ZERO));
    assert!(!flushed.await.unwrap(), "a report is still queued");
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_11_a_report_is_dropped_after_five_timeouts() {
    let fixture = Fixture::new().await;
    let silent = fixture.collector(vec![Answer::NoResponse]).await;
    let uri = silent.uri("https", REPORTS);
    let (reporting, _server) =
        fixture.reporting(|builder| builder.endpoint(uri).timeout(Duration::from_millis(50)));
    reporting.fail(HOST).await;
    assert_eq!(reporting.dropped(), gave_up(5, DeliveryError::Timeout));
}

/// 7469-2.1.4-h
#[tokio::test(flavor = "multi_thread")]
async fn attack_11_a_report_is_sent_again_unchanged_after_a_temporary_error() {
    let fixture = Fixture::new().await;
    let answers = [500, 429, 204].map(Answer::Status).to_vec();
    let collector = fixture.collector(answers).await;
    let (reporting, _server) = fixture.reporting(with_endpoint(collector.uri("https", REPORTS)));
    reporting.fail(HOST).await;
    let [one, two, three] = [(); 3].map(|()| collector.next());
    for again in [two, three] {
        assert_eq!(again.body, one.body);
        let id = "idempotency-key";
        assert!(one.header(id).is_some());
        assert_eq!(again.header(id), one.header(id));
    }
    reporting.flush().await;
    assert!(reporting.dropped.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_11_a_dropped_report_can_be_sent_again() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(500)]).await;
    let (reporting, _server) = fixture.reporting(with_endpoint(collector.uri("https", REPORTS)));
    for _ in 0..2 {
        reporting.fail(HOST).await;
        assert_eq!(reporting.dropped(), gave_up(5, DeliveryError::Status(500)));
        assert_eq!(collector.discard_rest(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_11_redirects_are_not_followed_and_permanent_errors_not_repeated() {
    let fixture = Fixture::new().await;
    let other = fixture.collector(vec![Answer::Status(204)]).await;
    let redirect = Answer::Redirect(other.uri("https", "other.example"));
    for (answer, status) in [(redirect, 301), (Answer::Status(404), 404)] {
        let fixture = Fixture::new().await;
        let collector = fixture.collector(vec![answer]).await;
        let (reporting, _server) =
            fixture.reporting(with_endpoint(collector.uri("https", REPORTS)));
        reporting.fail(HOST).await;
        assert_eq!(
            reporting.dropped(),
            gave_up(1, DeliveryError::Status(status))
        );
        assert_eq!(collector.discard_rest(), 1);
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_11_an_incomplete_response_does_not_count() {
    let fixture = Fixture::new().await;
    let collector = fixture
        .collector(vec![Answer::CutOff, Answer::Status(204)])
        .await;
    let (reporting, _server) = fixture.reporting(with_endpoint(collector.uri("https", REPORTS)));
    reporting.fail(HOST).await;
    let [one, two] = [(); 2].map(|()| collector.next());
    assert_eq!(one.body, two.body);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(respond_with(listener, b"HTTP/1.1 20"));
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
async fn attack_11_nothing_is_sent_to_an_endpoint_with_an_invalid_certificate() {
    for has_wrong_name in [false, true] {
        let fixture = Fixture::new().await;
        let leaf = if has_wrong_name {
            fixture.endpoint_root.leaf(&["other.example"])
        } else {
            Ca::root("Unknown").leaf(&[REPORTS])
        };
        let collector = Collector::start(Some(&leaf), vec![Answer::Status(204)]).await;
        let (reporting, _server) =
            fixture.reporting(with_endpoint(collector.uri("https", REPORTS)));
        reporting.fail(HOST).await;
        assert_eq!(reporting.dropped(), gave_up(1, DeliveryError::Certificate));
        assert_eq!(collector.discard_rest(), 0);
    }
}

/// 7469-2.1.4-c, 7469-2.1.4-f
#[tokio::test(flavor = "multi_thread")]
async fn attack_11_nothing_is_sent_to_an_endpoint_that_fails_its_own_pins() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let more = vec![(REPORTS, policy_with(unrelated_pin()))];
    let endpoint = with_endpoint(collector.uri("https", REPORTS));
    let (reporting, _server) = fixture.reporting_with(policy_with(unrelated_pin()), more, endpoint);
    reporting.fail(HOST).await;
    assert_eq!(reporting.dropped(), gave_up(1, DeliveryError::Pins));
    assert_eq!(collector.discard_rest(), 0);
}

/// 7469-2.1.4-g: two hosts fail their pins, and each is the endpoint of reports on the other.
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
    reporting.flush().await;
    assert_eq!(reporting.dropped(), gave_up(1, DeliveryError::Pins));
    assert!(reporting.dropped.try_recv().is_err(), "dropped twice");
    assert_eq!(other.connections(), 1);
    assert_eq!(server.connections(), 1);
    assert_eq!(requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}
