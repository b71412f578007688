//! [`CtOptions`], the hosts whose certificates have to be logged.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::ct::ct_policy::CtPolicy;
use crate::ct::log_list::LogList;
use crate::policy::{Host, HostError, Scope};

/// What happens if the SCTs of a host's certificate don't comply.
///
/// ```
/// use pinhold::ct::CtMode;
///
/// assert_eq!(CtMode::default(), CtMode::Off);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CtMode {
    /// SCTs are not looked for.
    #[default]
    Off,
    /// The connection is used, and an event is emitted.
    ReportOnly,
    /// The connection is refused with a [`CtViolation`](crate::ct::CtViolation).
    Enforce,
}

/// The hosts whose certificates have to be logged, and the logs that count.
///
/// Only chains to built-in roots are checked: the CAs of a user log nothing.
///
/// ```no_run
/// use pinhold::Pinning;
/// use pinhold::ct::{CtMode, CtOptions, LogList};
/// use pinhold::policy::Scope;
///
/// let list = LogList::parse(&std::fs::read_to_string("log_list.json")?)?;
/// let options = CtOptions::new(list)
///     .host("example.com", Scope::HostAndSubdomains, CtMode::Enforce)
///     .other_hosts(CtMode::ReportOnly);
/// let pinning = Pinning::builder().certificate_transparency(options).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CtOptions {
    list: LogList,
    rules: CtRules,
    error: Option<HostError>,
}

impl CtOptions {
    /// Returns options by which no host is checked yet.
    pub fn new(list: LogList) -> Self {
        Self {
            list,
            rules: CtRules::default(),
            error: None,
        }
    }

    /// Sets what happens for the names that the scope has, seen from this host. If several contain a
    /// name, the nearest one decides, as for static pins. Replaces an earlier choice for the same host
    /// and scope.
    pub fn host<H>(mut self, host: H, scope: Scope, mode: CtMode) -> Self
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        match host.try_into() {
            Ok(host) => {
                let scopes = self.rules.hosts.entry(host).or_default();
                scopes.retain(|(known, _)| *known != scope);
                scopes.push((scope, mode));
                scopes.sort_by_key(|(scope, _)| *scope);
            }
            Err(error) => self.error = self.error.or_else(|| Some(error.into())),
        }
        self
    }

    /// Sets what happens for all other hosts and for IP addresses. Default: [`CtMode::Off`].
    pub fn other_hosts(mut self, mode: CtMode) -> Self {
        self.rules.others = mode;
        self
    }

    /// Sets what the SCTs have to show. Default: [`CtPolicy::default`].
    pub fn policy(mut self, policy: CtPolicy) -> Self {
        self.rules.policy = policy;
        self
    }

    pub(crate) fn into_parts(self) -> Result<(CtRules, LogList), HostError> {
        self.error.map_or(Ok((self.rules, self.list)), Err)
    }
}

/// What the options say, without the list, which is replaced at run time.
#[derive(Clone, Debug, Default)]
pub(crate) struct CtRules {
    /// The scopes of each host, the smallest first.
    hosts: HashMap<Host, Vec<(Scope, CtMode)>, RandomState>,
    others: CtMode,
    pub(crate) policy: CtPolicy,
}

impl CtRules {
    /// Returns what happens for a host; for an IP address if it is `None`.
    pub(crate) fn mode(&self, host: Option<&Host>) -> CtMode {
        let names = host.into_iter().flat_map(Host::and_superdomains);
        let mut found = names.enumerate().filter_map(|(more_labels, name)| {
            let mut scopes = self.hosts.get(name)?.iter();
            scopes.find(|(scope, _)| scope.covers(more_labels))
        });
        found.next().map_or(self.others, |(_, mode)| *mode)
    }
}
