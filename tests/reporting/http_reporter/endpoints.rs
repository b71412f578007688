//! Several report URIs of one policy, endpoints that are not pinned, and plain HTTP to the host that
//! failed its pins.

use pinhold::connector::PlainHttp;
use pinhold::policy::{ReportUri, UnpinnedHosts};
use pinhold::report::{DropReason, EndpointError, HttpReporter};
use pinhold::{Event, PinViolation, Pinning, UnpinnedHost};

use super::{Fixture, HOST, REPORTS};
use crate::common::collector::{Answer, Collector};
use crate::common::recording::with_observer;
use crate::common::server::{Names, client, get};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, TIMEOUT, policy_with, provider, unrelated_pin};

fn parse(uri: &str) -> ReportUri {
    ReportUri::try_from(uri).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_report_uri_of_a_policy_receives_the_report_once() {
    let fixture = Fixture::new().await;
    let mut collectors = Vec::new();
    for _ in 0..3 {
        collectors.push(fixture.collector(vec![Answer::Status(204)]).await);
    }
    let own = collectors[2].uri("https", REPORTS);
    let mut policy = policy_with(unrelated_pin());
    for collector in &collectors[..2] {
        policy = policy.report_uri(parse(&collector.uri("https", REPORTS)));
    }
    // Other spellings of the first one and of the application's endpoint, and equal texts.
    let port = collectors[0].address.port();
    for uri in [
        collectors[0].uri("https", REPORTS),
        format!("https://REPORTS.example.:{port}/pins"),
        format!("HTTPS://reports.example:{port}/pins"),
        own.replace(REPORTS, "Reports.Example"),
    ] {
        policy = policy.report_uri(parse(&uri));
    }
    let configure = move |builder: pinhold::report::HttpReporterBuilder| builder.endpoint(own);
    let (reporting, _server) = fixture.reporting_with(policy, Vec::new(), configure);
    let violation = reporting.fail(HOST).await;
    assert_eq!(
        violation.policy().report_uris().len(),
        5,
        "equal texts are one URI"
    );
    reporting.flush().await;
    for (number, collector) in collectors.iter().enumerate() {
        let report = tokio::task::block_in_place(|| collector.next());
        assert_eq!(report.json()["hostname"], HOST);
        assert_eq!(collector.discard_rest(), 0, "{number}");
    }
    assert!(reporting.dropped.try_recv().is_err());
}

/// One endpoint that can't be used does not keep the others from their reports.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_report_uri_is_dropped_alone() {
    let fixture = Fixture::new().await;
    let collector = fixture.collector(vec![Answer::Status(204)]).await;
    let policy = policy_with(unrelated_pin())
        .report_uri(parse("https://example.com/pins"))
        .report_uri(parse(&collector.uri("https", REPORTS)));
    let (reporting, _server) = fixture.reporting_with(policy, Vec::new(), |builder| builder);
    reporting.fail(HOST).await;
    reporting.flush().await;
    let reason = DropReason::Endpoint(EndpointError::SameHost);
    assert_eq!(reporting.dropped(), reason);
    assert!(reporting.dropped.try_recv().is_err());
    tokio::task::block_in_place(|| collector.next());
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_reach_an_endpoint_that_is_not_pinned_where_unpinned_hosts_are_refused() {
    for choice in [UnpinnedHosts::Report, UnpinnedHosts::Refuse] {
        for scheme in ["https", "http"] {
            let fixture = Fixture::new().await;
            let tls = (scheme == "https").then(|| fixture.endpoint());
            let collector = Collector::start(tls.as_ref(), vec![Answer::Status(204)]).await;
            let uri = collector.uri(scheme, REPORTS);
            let anchors = built_in_anchors(&[&fixture.endpoint_root]);
            let builder = Pinning::builder()
                .time_provider(Clock::new())
                .unpinned_hosts(choice)
                .static_pins(HOST, policy_with(unrelated_pin()))
                .reporter(|pinning| {
                    HttpReporter::builder(pinning)
                        .with_anchors(anchors)
                        .with_provider(provider())
                        .plain_http(PlainHttp::Allow)
                        .resolve_with(|_| async { Ok(vec!["127.0.0.1".parse().unwrap()]) })
                        .endpoint(uri)
                        .build()
                });
            let (builder, events) = with_observer(builder);
            let pinning = builder.build().unwrap();
            let names = Names::new([(HOST, &fixture.server)]);
            let anchors = built_in_anchors(&[&fixture.root]);
            let mut client = client(&pinning, anchors, &names);
            let error = get(&mut client, "https://example.com/").await.unwrap_err();
            assert!(PinViolation::find(&error).is_some());
            tokio::task::block_in_place(|| collector.next());
            // The application itself must not connect to the endpoint.
            let visit = get(&mut client, &format!("https://{REPORTS}/")).await;
            let unpinned = UnpinnedHost::find(&visit.unwrap_err());
            assert_eq!(unpinned.is_some(), choice == UnpinnedHosts::Refuse);
            assert!(tokio::task::block_in_place(
                || pinning.flush_reports(TIMEOUT)
            ));
            let events = events.try_iter().collect::<Vec<_>>();
            let refusals = events
                .iter()
                .filter(|event| matches!(event, Event::Unpinned(_)));
            assert_eq!(refusals.count(), usize::from(unpinned.is_some()));
        }
    }
}

/// Plain HTTP is allowed to the host that failed its pins, unless its policy refuses it itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_refuses_plain_http_gets_no_plain_report_either() {
    for (choice, is_refused) in [
        (None, false),
        (Some(PlainHttp::Allow), false),
        (Some(PlainHttp::Refuse), true),
    ] {
        let fixture = Fixture::new().await;
        let collector = Collector::start(None, vec![Answer::Status(204)]).await;
        let mut policy = policy_with(unrelated_pin());
        if let Some(choice) = choice {
            policy = policy.plain_http(choice);
        }
        let policy = policy.report_uri(parse(&collector.uri("http", HOST)));
        let allow =
            |builder: pinhold::report::HttpReporterBuilder| builder.plain_http(PlainHttp::Allow);
        let (reporting, _server) = fixture.reporting_with(policy, Vec::new(), allow);
        reporting.fail(HOST).await;
        reporting.flush().await;
        if is_refused {
            let reason = DropReason::Endpoint(EndpointError::PlainHttp);
            assert_eq!(reporting.dropped(), reason);
        } else {
            tokio::task::block_in_place(|| collector.next());
        }
        assert_eq!(collector.connections(), usize::from(!is_refused));
    }
}
