//! The chains that the servers of pinned names send: each address, with TLS 1.3 and TLS 1.2, and for
//! each kind of key.
//!
//! Nothing is validated here: a chain that no client accepts is judged, too.

mod address;
mod chains;
mod handshake;
mod progress;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use http::Uri;
use rustls::pki_types::ServerName;

use crate::doctor::observation::{ChainSource, Observation, Observations};
use crate::doctor::probe::address::{Limits, Route};
use crate::doctor::probe::handshake::Refusal;
use crate::doctor::probe::progress::Progress;
use crate::doctor::subject::{Probe, Subject};
use crate::doctor::tasks;
use crate::failure::Failure;
use crate::network::NetworkOptions;
use crate::output::Output;
use crate::peer::{Deadline, Target};
use crate::proxy::Proxy;
use crate::transport::{Overrides, Transport};

/// Connects to the servers of each subject, 32 at once, until the deadline. Returns the observations
/// in the order of the subjects: addresses as they are resolved, TLS 1.3 before TLS 1.2.
pub(super) async fn observe(
    subjects: &[Subject],
    network: &NetworkOptions,
    deadline: Deadline,
    output: Output,
) -> Result<Vec<Observations>, Failure> {
    let limits = Limits::new(deadline);
    let servers = subjects
        .iter()
        .map(|subject| Server::of(subject, network))
        .collect::<Result<Vec<_>, _>>()?;
    let mut progress = Progress::new(servers.iter().flatten().count(), output);
    let lookups = servers.iter().cloned();
    let lookups = lookups.map(|server| resolve(server, network.overrides(), limits));
    let resolved = tasks::run(lookups.collect(), |_| {}).await.into_iter();
    let resolved = resolved.map(Option::unwrap_or_default);
    let names = servers.into_iter().map(|server| server.map(|it| it.name));
    let servers = names.zip(resolved).collect();
    Ok(connect(servers, limits, || progress.advance()).await)
}

/// Connects to all servers, each of which is given by its name. Calls `finished` for each whose
/// addresses are all observed.
async fn connect(
    servers: Vec<(Option<ServerName<'static>>, Resolved)>,
    limits: Limits,
    mut finished: impl FnMut(),
) -> Vec<Observations> {
    let mut observed = Vec::new();
    let mut pending = Pending::default();
    let mut tasks = Vec::new();
    for (name, Resolved { routes, before }) in servers {
        if let Some(name) = name {
            if routes.is_empty() {
                finished();
            }
            pending.add(observed.len(), routes.len());
            let routes = routes.into_iter();
            tasks.extend(routes.map(|route| chains::observe(route, name.clone(), limits)));
        }
        observed.push(before);
    }
    let results = tasks::run(tasks, |position| {
        if pending.finish(position) {
            finished();
        }
    });
    let results = results.await;
    for (owner, chains) in pending.owners.iter().zip(results) {
        if let Some(observed) = observed.get_mut(*owner) {
            observed.chains.extend(chains.into_iter().flatten());
        }
    }
    observed
}

/// The server of a subject.
#[derive(Clone)]
struct Server {
    name: ServerName<'static>,
    target: Target,
    /// The proxy through which it is reached, with its URL.
    proxy: Option<Box<(Transport, Uri)>>,
}

impl Server {
    /// Returns `None` for a subject that no name is given for.
    fn of(subject: &Subject, network: &NetworkOptions) -> Result<Option<Self>, Failure> {
        let Probe::Name(host) = &subject.probe else {
            return Ok(None);
        };
        let invalid = |error: &dyn std::fmt::Display| Failure::input(host.as_str(), error);
        let name = ServerName::try_from(host.to_string()).map_err(|error| invalid(&error))?;
        let uri = format!("https://{host}:{}/", subject.port);
        let uri = uri.parse::<Uri>().map_err(|error| invalid(&error))?;
        let target = Target::of(&uri);
        let proxy = match Proxy::for_url(&uri)? {
            Some(_) => Some(Box::new((network.transport(&uri)?, uri))),
            None => None,
        };
        Ok(Some(Self {
            name,
            target,
            proxy,
        }))
    }
}

/// Where a server is connected to, and what is known of it before.
#[derive(Default)]
struct Resolved {
    routes: Vec<Route>,
    before: Observations,
}

async fn resolve(server: Option<Server>, overrides: Overrides, limits: Limits) -> Resolved {
    let Some(server) = server else {
        return Resolved::default();
    };
    let mut before = Observations::default();
    if let Some(proxy) = server.proxy {
        let routes = vec![Route::Proxy(proxy)];
        return Resolved { routes, before };
    }
    let routes = match address::resolve(server.target, overrides, limits).await {
        Ok(addresses) => {
            before.left_out = addresses.left_out;
            addresses.used.into_iter().map(Route::Direct).collect()
        }
        Err(Refusal { failure, .. }) => {
            before.chains.push(Observation {
                source: ChainSource::Unresolved,
                served: Err(failure),
            });
            Vec::new()
        }
    };
    Resolved { routes, before }
}

/// The tasks that have not ended, by the subject that they belong to.
#[derive(Default)]
struct Pending {
    /// The position of the subject of each task.
    owners: Vec<usize>,
    /// The number of tasks of each subject.
    left: HashMap<usize, usize>,
}

impl Pending {
    fn add(&mut self, owner: usize, tasks: usize) {
        self.owners.extend(std::iter::repeat_n(owner, tasks));
        self.left.insert(owner, tasks);
    }

    /// Counts the end of a task. Returns whether it was the last one of its subject.
    fn finish(&mut self, task: usize) -> bool {
        let owner = self.owners.get(task);
        let left = owner.and_then(|owner| self.left.get_mut(owner));
        left.is_some_and(|left| {
            *left = left.saturating_sub(1);
            *left == 0
        })
    }
}
