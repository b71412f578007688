//! The option `--report-to`: sends reports of pin violations to an endpoint.

use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use http::Uri;
use pinhold::connector::PlainHttp;
use pinhold::policy::ReportUri;
use pinhold::report::HttpReporter;
use pinhold::{Event, Pinning, PinningBuilder};

use crate::failure::Failure;
use crate::network::{self, NetworkOptions};
use crate::output::{Output, counted, cut};
use crate::peer::Deadline;
use crate::proxy::Proxy;

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
        let overrides = network.overrides();
        let builder = builder
            .observer(move |event| drop(sender.send(event.clone())))
            .reporter(move |pinning| {
                HttpReporter::builder(pinning)
                    .with_anchors(anchors)
                    .with_provider(network::provider())
                    .plain_http(PlainHttp::Allow)
                    .endpoint(endpoint)
                    .resolve_with(move |name| {
                        let address = overrides.address_of(&name);
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
    pub(crate) fn finish(&self, pinning: &Pinning, deadline: Deadline, output: Output) {
        let timeout = TIMEOUT.min(deadline.left());
        let in_time = pinning.flush_reports(timeout);
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
            output.message(&format_args!(
                "not all reports to {} were sent within {:.1} s",
                self.uri,
                timeout.as_secs_f64()
            ));
        } else if sent > 0 {
            let reports = counted(sent, "report", "reports");
            output.message(&format_args!("{reports} sent to {}", self.uri));
        }
    }
}

/// Parses an endpoint. Refuses one with a user name, and one for which a proxy is set: reports are
/// sent without one.
pub(crate) fn endpoint(text: &str) -> Result<ReportUri, Failure> {
    let refused = |reason: String| Failure::input("--report-to", reason);
    let shown = network::without_login(text);
    let invalid = || {
        refused(format!(
            "{:?} is not the URL of an endpoint, expected one such as https://reports.example/pins",
            cut(shown, 80)
        ))
    };
    let uri = ReportUri::parse(text).map_err(|_| invalid())?;
    let url = uri.as_str().parse::<Uri>().map_err(|_| invalid())?;
    // An error of the library would print the whole URL.
    if url.authority().is_some_and(|it| it.as_str().contains('@')) {
        return Err(refused(
            "the URL contains a user name, expected none".to_owned(),
        ));
    }
    match Proxy::for_url(&url)? {
        Some(proxy) => Err(refused(format!(
            "reports are not sent through {proxy}; add the endpoint's host to no_proxy"
        ))),
        None => Ok(uri),
    }
}

async fn resolve(name: String) -> io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Longer than one delivery attempt may take.
const TIMEOUT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy variables could not be checked for such an endpoint.
    #[test]
    fn an_endpoint_that_is_no_url_of_the_client_is_refused() {
        let too_long = format!("https://r.example/{}", "x".repeat(70_000));
        assert!(ReportUri::parse(&too_long).is_ok());
        assert!(matches!(endpoint(&too_long), Err(Failure::Usage(_))));
    }
}
