//! [`Client`], the resolver of CAA records.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::Instant;

use crate::doctor::caa::name_server::NameServer;
use crate::doctor::caa::property;
use crate::doctor::observation::Caa;
use crate::output::{cut, printable};
use crate::peer::Deadline;

#[derive(Clone)]
pub(super) struct Client {
    resolver: TokioResolver,
    deadline: Deadline,
}

impl Client {
    /// Returns a client of these servers, of those of the system if there is none. Fails with the reason
    /// why those of the system can't be used.
    pub(super) fn new(servers: &[NameServer], deadline: Deadline) -> Result<Self, String> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = servers.iter().map(|server| config(server.0));
            let config = ResolverConfig::from_name_servers(servers.collect());
            let runtime = TokioRuntimeProvider::default();
            Ok(TokioResolver::builder_with_config(config, runtime))
        }
        .map_err(|error| unusable(&error))?;
        let options = builder.options_mut();
        options.timeout = ATTEMPT;
        options.attempts = 1;
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = builder.build().map_err(|error| unusable(&error))?;
        Ok(Self { resolver, deadline })
    }

    /// Returns what the records of a domain permit; `None` if it has none. The resolver follows
    /// aliases (CNAME), and repeats a query by TCP if the answer is truncated.
    pub(super) fn query(&self, domain: String) -> impl Future<Output = Option<Caa>> + Send + use<> {
        let Self { resolver, deadline } = self.clone();
        async move {
            let failed = |reason: &str| {
                let reason = printable(&cut(reason, MAX_REASON));
                Some(Caa::Failed(format!("CAA records of {domain}: {reason}")))
            };
            // A name that ends with a dot is not completed with the search list of the system.
            let Ok(name) = Name::from_ascii(format!("{domain}.")) else {
                return failed("not the name of a domain");
            };
            let end = Instant::now() + QUERY.min(deadline.left());
            let lookup = resolver.lookup(name, RecordType::CAA);
            let Ok(answer) = tokio::time::timeout_at(end, lookup).await else {
                return failed("the DNS server did not answer in time");
            };
            match answer {
                Ok(answer) => {
                    let records = answer.answers().iter();
                    let records = records.filter_map(|record| match &record.data {
                        RData::CAA(caa) => Some(caa.clone()),
                        _ => None,
                    });
                    let records = records.collect::<Vec<_>>();
                    (!records.is_empty()).then(|| property::meaning(&domain, &records))
                }
                Err(error) if is_without_records(&error) => None,
                Err(error) => failed(&text(&error)),
            }
        }
    }
}

fn config(server: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, connections)
}

/// Returns whether the domain does not exist, or has no records of this type.
fn is_without_records(error: &NetError) -> bool {
    matches!(
        error,
        NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NoError | ResponseCode::NXDomain,
            ..
        }))
    )
}

/// Returns a failure in words.
fn text(error: &NetError) -> String {
    match error {
        NetError::Timeout => "the DNS server did not answer in time".to_owned(),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => {
            "the DNS server answers SERVFAIL, so that a CA must not issue".to_owned()
        }
        NetError::Dns(DnsError::ResponseCode(code)) => {
            format!("the DNS server answers with an error: {code}")
        }
        error => error.to_string(),
    }
}

fn unusable(error: &NetError) -> String {
    let error = printable(&cut(&error.to_string(), MAX_REASON));
    format!("the DNS servers of the system can't be used: {error}")
}

/// The time of one attempt, of which there are two.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The time of a query, with its aliases and with TCP.
const QUERY: Duration = Duration::from_secs(6);
/// The number of characters of a reason.
const MAX_REASON: usize = 200;
