//! Reports that wait for their next attempt: how many there may be, and that no wait outlives the
//! application's last handle.

use std::net::Ipv4Addr;
use std::time::Duration;

use pinhold::report::{DeliveryError, HttpReporter, Report, Reporter};
use pinhold::{PinViolation, Pinning};

use super::{Fixture, HOST, REPORTS, gave_up};
use crate::common::collector::{Answer, Collector};
use crate::common::pki::Ca;
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, DAY, NOW, TIMEOUT, header_value, policy_with, provider, unrelated_pin};

const HOUR: u64 = 60 * 60;

/// Returns a violation of noted pins for each of these times, and one of static pins at the last.
async fn violations(times: &[u64]) -> (Vec<PinViolation>, PinViolation) {
    let (root, clock) = (Ca::root("Root"), Clock::new());
    let genuine = root.leaf(&[HOST]);
    let value = header_value(genuine.pin(), &format!("max-age={DAY}"));
    let server = Server::start(&genuine, &[("public-key-pins", &value)]).await;
    let impostor = Server::start(&root.leaf(&[HOST, "static.example"]), &[]).await;
    let pinning = Pinning::builder()
        .time_provider(clock.clone())
        .static_pins("static.example", policy_with(unrelated_pin()))
        .build()
        .unwrap();
    let names = Names::new([(HOST, &server), ("static.example", &impostor)]);
    let visit = async |host: &str| {
        let mut client = client(&pinning, built_in_anchors(&[&root]), &names);
        get(&mut client, &format!("https://{host}/")).await
    };
    visit(HOST).await.unwrap();
    names.point(HOST, &impostor);
    let mut noted = Vec::new();
    for time in times {
        clock.set(*time);
        let error = visit(HOST).await.unwrap_err();
        noted.push(PinViolation::find(&error).unwrap());
    }
    let error = visit("static.example").await.unwrap_err();
    (noted, PinViolation::find(&error).unwrap())
}

/// Attack 11: reports on pins that a server keeps setting wait in a backoff longer than the hour of
/// the rate limit.
#[tokio::test(flavor = "multi_thread")]
async fn attack_11_reports_that_servers_cause_do_not_fill_the_queue() {
    let (noted, violation) = violations(&[0, 1, 2, 3, 4].map(|hours| NOW + hours * HOUR)).await;
    let fixture = Fixture::new().await;
    let failing = fixture.collector(vec![Answer::Status(503)]).await;
    let leaf = fixture.endpoint_root.leaf(&["other.example"]);
    let collector = Collector::start(Some(&leaf), vec![Answer::Status(204)]).await;
    let reporter = HttpReporter::builder(Pinning::builder().build().unwrap())
        .with_anchors(built_in_anchors(&[&fixture.endpoint_root]))
        .with_provider(provider())
        .resolve_with(|_| async { Ok(vec![Ipv4Addr::LOCALHOST.into()]) })
        .backoff(Duration::from_secs(HOUR))
        .endpoint(failing.uri("https", REPORTS))
        .endpoint(collector.uri("https", "other.example"))
        .build()
        .unwrap();
    for violation in noted {
        for port in 1..=30 {
            let report = Report::new(violation.clone()).with_port(port);
            reporter.report(report).unwrap();
        }
    }
    let report = Report::new(violation).with_port(9_999);
    reporter.report(report).unwrap();
    while collector.next().json()["port"] != 9_999 {}
    // The reports of the failing endpoint are sent no more than once.
    drop(reporter);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backoff_ends_with_the_last_handle_and_observers_receive_the_outcome() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(503)]).await;
    let uri = collector.uri("https", REPORTS);
    let (reporting, _server) =
        fixture.reporting(|builder| builder.endpoint(uri).backoff(Duration::MAX));
    reporting.fail(HOST).await;
    // The reporter closes the connection of an attempt after the backoff has begun.
    collector.wait_for_close();
    let dropped = reporting.into_dropped().recv_timeout(TIMEOUT);
    assert_eq!(dropped, Ok(gave_up(2, DeliveryError::Status(503))));
}

/// 7469-2.5-i
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_spelled_twice_receives_a_report_once() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let [uri, other] =
        ["reports.example", "Reports.EXAMPLE."].map(|host| collector.uri("https", host));
    let named = other.parse().unwrap();
    let policy = policy_with(unrelated_pin()).report_uri(named);
    let (reporting, _server) = fixture.reporting_with(policy, Vec::new(), |builder| {
        builder.endpoint(uri).endpoint(other)
    });
    reporting.fail(HOST).await;
    reporting.flush().await;
    assert_eq!(collector.discard_rest(), 1);
    assert!(reporting.dropped.try_recv().is_err());
}
