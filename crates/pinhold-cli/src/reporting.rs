//! The option `--report-to`: sends reports of pin violations to an endpoint.

use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use pinhold::connector::PlainHttp;
use pinhold::policy::ReportUri;
use pinhold::report::HttpReporter;
use pinhold::{Event, Pinning, PinningBuilder};

use crate::network::{self, NetworkOptions};
use crate::output::{Failure, Output, counted};

/// The events of a request whose violations are reported to an endpoint.
pub(crate) struct Reporting {
    uri: ReportUri,
    events: Receiver<Event>,
}

impl Reporting {
    /// Adds a reporter to the builder. Plain HTTP is allowed, since the user chose the endpoint.
    pub(crate) fn add_to(
        builder: PinningBuilder,
        uri: &ReportUri,
        network: &NetworkOptions,
    ) -> Result<(PinningBuilder, Self), Failure> {
        let (sender, events) = channel();
        let (endpoint, anchors) = (uri.clone(), network.anchors()?);
        let transport = network.transport();
        let builder = builder
            .observer(move |event| drop(sender.send(event.clone())))
            .reporter(move |pinning| {
                HttpReporter::builder(pinning)
                    .with_anchors(anchors)
                    .with_provider(network::provider())
                    .plain_http(PlainHttp::Allow)
                    .endpoint(endpoint)
                    .resolve_with(move |name| {
                        let address = transport.address_of(&name);
                        async move {
                            match address {
                                Some(address) => Ok(vec![address]),
                                None => resolve(name).await,
                            }
                        }
                    })
                    .build()
            });
        let uri = uri.clone();
        Ok((builder, Self { uri, events }))
    }

    /// Waits until pending reports are sent, and prints which were sent and which were not.
    pub(crate) fn finish(&self, pinning: &Pinning, output: Output) {
        let in_time = pinning.flush_reports(TIMEOUT);
        let (mut violations, mut dropped) = (0_usize, 0);
        for event in self.events.try_iter() {
            match event {
                Event::Violation(_) | Event::WouldBeViolation(_) => violations += 1,
                Event::ReportDropped { reason, .. } => {
                    dropped += 1;
                    let uri = &self.uri;
                    output.message(&format_args!("a report to {uri} was not sent: {reason}"));
                }
                _ => {}
            }
        }
        let sent = violations.saturating_sub(dropped);
        if !in_time {
            let seconds = TIMEOUT.as_secs();
            output.message(&format_args!(
                "not all reports to {} were sent within {seconds} s",
                self.uri
            ));
        } else if sent > 0 {
            let reports = counted(sent, "report", "reports");
            output.message(&format_args!("{reports} sent to {}", self.uri));
        }
    }
}

async fn resolve(name: String) -> io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Longer than one delivery attempt may take.
const TIMEOUT: Duration = Duration::from_secs(15);
