//! CAA records (RFC 8659) of the pinned names, found by climbing from each name towards the root.

mod client;
mod climb;
mod name_server;
mod property;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

use clap::Args;
use tokio::task::JoinHandle;

use crate::doctor::caa::client::Client;
use crate::doctor::caa::name_server::NameServer;
use crate::doctor::observation::{Caa, Observations};
use crate::doctor::subject::{Probe, Subject};
use crate::peer::Deadline;

#[derive(Args)]
pub(super) struct Options {
    /// DNS server to query for CAA records, as ADDR or ADDR:PORT; can be repeated [default: those of
    /// the system]
    #[arg(long, value_name = "ADDR")]
    resolver: Vec<NameServer>,
    /// Query no CAA records
    #[arg(long, conflicts_with = "resolver")]
    no_dns: bool,
}

/// Queries that run beside the connections to the servers.
pub(super) struct Queries(Option<JoinHandle<Vec<Caa>>>);

impl Queries {
    /// Begins to query the records of each subject, those of the name that is connected to, until the
    /// deadline. No socket is opened for `--no-dns`.
    pub(super) fn start(subjects: &[Subject], options: &Options, deadline: Deadline) -> Self {
        if options.no_dns || subjects.is_empty() {
            return Self(None);
        }
        let names = subjects.iter().map(|subject| match &subject.probe {
            Probe::Name(name) => name.to_string(),
            Probe::NotProbed => subject.host.to_string(),
        });
        let names = names.collect::<Vec<_>>();
        let client = Client::new(&options.resolver, deadline);
        Self(Some(tokio::spawn(async move {
            match client {
                Ok(client) => climb::all(names, &client).await,
                Err(reason) => names.iter().map(|_| Caa::Failed(reason.clone())).collect(),
            }
        })))
    }

    /// Waits for the queries, and adds the records to the observations of the subjects.
    pub(super) async fn add(self, observations: &mut [Observations]) {
        let Some(task) = self.0 else {
            return;
        };
        let found = task.await.unwrap_or_default();
        for (observed, caa) in observations.iter_mut().zip(found) {
            observed.caa = caa;
        }
    }
}
