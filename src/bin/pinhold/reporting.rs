//! `--report-to`: pin violations, told to an endpoint.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use pinhold::connector::PlainHttp;
use pinhold::policy::ReportUri;
use pinhold::report::HttpReporter;
use pinhold::{Event, Pinning, PinningBuilder};

use crate::network::{self, Network};
use crate::output::{Failure, Output};

/// What became of violations.
pub(crate) struct Reporting {
    uri: ReportUri,
    events: Receiver<Event>,
}

impl Reporting {
    /// Has violations reported; also over plain http, since that is what was asked for.
    pub(crate) fn begin(
        builder: PinningBuilder,
        uri: &ReportUri,
        network: &Network,
    ) -> Result<(PinningBuilder, Self), Failure> {
        let (sender, events) = channel();
        let (endpoint, anchors) = (uri.clone(), network.anchors()?);
        let book = network.transport();
        let builder = builder
            .observer(move |event| drop(sender.send(event.clone())))
            .reporter(move |pinning| {
                HttpReporter::builder(pinning)
                    .with_anchors(anchors)
                    .with_provider(network::provider())
                    .plain_http(PlainHttp::Allow)
                    .endpoint(endpoint)
                    .resolve_with(move |name| {
                        let known = book.lookup(&name);
                        async move {
                            match known {
                                Some(address) => Ok(vec![address]),
                                None => system(name).await,
                            }
                        }
                    })
                    .build()
            });
        let uri = uri.clone();
        Ok((builder, Self { uri, events }))
    }

    /// Waits until what there is to report is reported, and says so.
    pub(crate) fn conclude(&self, pinning: &Pinning, output: Output) {
        let in_time = pinning.flush_reports(PATIENCE);
        let (mut seen, mut dropped) = (0, 0);
        for event in self.events.try_iter() {
            match event {
                Event::Violation(_) | Event::WouldBeViolation(_) => seen += 1,
                Event::ReportDropped { reason, .. } => {
                    dropped += 1;
                    output.remark(&format_args!("not reported to {}: {reason}", self.uri));
                }
                _ => {}
            }
        }
        match in_time {
            true if seen > dropped => output.remark(&format_args!("reported to {}", self.uri)),
            true => {}
            false => output.remark(&format_args!("not reported to {} in time", self.uri)),
        }
    }
}

async fn system(name: String) -> io::Result<Vec<std::net::IpAddr>> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Longer than one attempt may take.
const PATIENCE: Duration = Duration::from_secs(15);
