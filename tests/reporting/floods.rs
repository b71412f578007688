//! Floods of events that one server or many cause, while an observer blocks: the violation of
//! another host is still emitted and reported.

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, channel};

use crate::common::header::{directive, pin};
use crate::common::recording::{
    ChannelReporter, Fixture, Latch, ReleaseOnDrop, builder, failing_policy,
};
use crate::common::validated::{built_in_anchors, verified_connection};
use crate::common::{TIMEOUT, header_value};
use http::{Request, Response};
use pinhold::header::IgnoreReason;
use pinhold::report::Report;
use pinhold::{Event, NotePinsLayer, Pinning, PinningBuilder, VerifiedConnection};
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

const PKP: &str = "public-key-pins";
const RO: &str = "public-key-pins-report-only";

/// A client whose observer blocks.
struct Blocked {
    fixture: Fixture,
    pinning: Pinning,
    events: Receiver<Event>,
    reports: Receiver<Report>,
    release: ReleaseOnDrop,
}

impl Blocked {
    async fn start() -> Self {
        let builder = builder().static_pins("example.com", failing_policy());
        Self::start_with(builder).await
    }

    async fn start_with(builder: PinningBuilder) -> Self {
        let latch = Latch::default();
        let release = ReleaseOnDrop(latch.clone());
        let ((entered, blocked), (sender, events)) = (channel(), channel());
        let (reporter, reports) = channel();
        let builder = builder.observer(move |event| {
            let _ = entered.send(());
            latch.wait();
            let _ = sender.send(event.clone());
        });
        let builder = builder.reporter(|_| Ok(ChannelReporter(reporter)));
        let pinning = builder.build().unwrap();
        let fixture = Fixture::start().await;
        respond(&pinning, "first.example", (PKP, "junk"), None).await;
        blocked.recv_timeout(TIMEOUT).unwrap();
        Self {
            fixture,
            pinning,
            events,
            reports,
            release,
        }
    }

    /// Notes pins for `example.com`, which its server does not have.
    async fn note_failing_pins(&self) {
        let root = &self.fixture.root;
        let leaf = root.leaf(&["example.com"]);
        let anchors = built_in_anchors(&[root]);
        let connection = verified_connection(&leaf, "example.com", &anchors).await;
        let value = header_value(leaf.pin(), "max-age=1000");
        respond(
            &self.pinning,
            "example.com",
            (PKP, &value),
            Some(&connection),
        )
        .await;
    }

    /// Visits `example.com`, whose pins fail, releases the observer, and returns the events. Asserts that
    /// the violation is among them, before all events that waited, and reported.
    async fn events_with_violation(self) -> Vec<Event> {
        let violation = self.fixture.visit(&self.pinning).await;
        let violation = violation.unwrap_err().unwrap();
        drop(self.release);
        assert!(self.pinning.flush_reports(TIMEOUT));
        let events = self.events.try_iter().collect::<Vec<_>>();
        let of_host = |report: &Report| report.violation().host() == violation.host();
        let is_it = |event: &Event| matches!(event, Event::Violation(report) if of_host(report));
        assert_eq!(events.iter().filter(|event| is_it(event)).count(), 1);
        assert!(self.reports.try_iter().any(|report| of_host(&report)));
        let is_other = |event: &Event| matches!(event, Event::HeaderIgnored { .. });
        // The first event was being delivered.
        let first_other = events.iter().skip(1).position(is_other);
        assert!(first_other > events.iter().skip(1).position(is_it) || first_other.is_none());
        events
    }
}

/// Passes a response with this header field through the layer.
async fn respond(
    pinning: &Pinning,
    host: &str,
    (name, value): (&str, &str),
    connection: Option<&VerifiedConnection>,
) {
    let client = service_fn(|_: Request<()>| async {
        let mut response = Response::builder().header(name, value);
        if let Some(connection) = connection {
            response = response.extension(connection.clone());
        }
        Ok::<_, Infallible>(response.body(()).unwrap())
    });
    let request = Request::get(format!("https://{host}/")).body(()).unwrap();
    let layer = NotePinsLayer::new(pinning.clone());
    layer.layer(client).oneshot(request).await.unwrap();
}

#[tokio::test]
async fn attack_ignored_headers_of_one_host_displace_no_violation_and_are_counted_together() {
    let blocked = Blocked::start().await;
    for _ in 0..600 {
        respond(&blocked.pinning, "evil.example", (PKP, "junk"), None).await;
    }
    let events = blocked.events_with_violation().await;
    let counts = events.iter().skip(1).filter_map(|event| match event {
        Event::HeaderIgnored {
            host: Some(host),
            reason: IgnoreReason::NoConnectionData,
            headers,
        } if host.as_str() == "evil.example" => Some(*headers),
        Event::Violation(_) => None,
        event => panic!("{event:?}"),
    });
    assert_eq!(counts.collect::<Vec<_>>(), [600]);
}

#[tokio::test]
async fn attack_ignored_headers_of_many_hosts_displace_no_violation() {
    const HOSTS: usize = 600;
    let blocked = Blocked::start().await;
    for number in 0..HOSTS {
        let host = format!("host-{number}.example");
        respond(&blocked.pinning, &host, (PKP, "junk"), None).await;
    }
    let events = blocked.events_with_violation().await;
    let ignored = |event: &&Event| matches!(event, Event::HeaderIgnored { .. });
    assert_eq!(events.iter().skip(1).filter(ignored).count(), 64);
    let (lost, violations) = events
        .iter()
        .find_map(|event| match event {
            Event::Lost { events, violations } => Some((*events, *violations)),
            _ => None,
        })
        .unwrap();
    assert_eq!((lost, violations), (536, 0));
}

/// Sends a report-only header that fails from each of four servers 150 times.
async fn flood_with_report_only_headers(blocked: &Blocked) {
    let root = &blocked.fixture.root;
    for number in 0..4 {
        let name = format!("host-{number}.test");
        let leaf = root.leaf(&[&name]);
        let connection = verified_connection(&leaf, &name, &built_in_anchors(&[root])).await;
        for _ in 0..150 {
            let value = directive(pin(1));
            respond(&blocked.pinning, &name, (RO, &value), Some(&connection)).await;
        }
    }
}

/// A server's report-only header makes as many would-be violations as it sends.
#[tokio::test]
async fn attack_report_only_headers_of_servers_displace_no_violation() {
    let blocked = Blocked::start().await;
    flood_with_report_only_headers(&blocked).await;
    let events = blocked.events_with_violation().await;
    let would_be = |event: &&Event| matches!(event, Event::WouldBeViolation(_));
    assert_eq!(events.iter().filter(would_be).count(), 64);
    let lost = |event: &Event| {
        matches!(
            event,
            Event::Lost {
                violations: 536,
                ..
            }
        )
    };
    assert!(events.iter().any(lost));
}

/// The same for a violation of pins that a header announced, as the flood's pins were.
#[tokio::test]
async fn attack_report_only_headers_displace_no_violation_of_noted_pins() {
    let blocked = Blocked::start_with(builder()).await;
    blocked.note_failing_pins().await;
    flood_with_report_only_headers(&blocked).await;
    blocked.events_with_violation().await;
}
