//! Findings about policies.

use std::time::Duration;

use http::Uri;
use pinhold::pin_file::PinFile;
use pinhold::policy::{
    AfterExpiry, AppliedPolicy, PinGroup, PlainHttp, ReportUri, Scope, UnpinnedHosts, UnpinnedName,
};
use pinhold::storage::PublicSuffixes;
use pinhold::{Enforcement, Host, PinPolicy, Pinning, SpkiFingerprint};
use rustls::pki_types::UnixTime;

use crate::output::counted;
use crate::pin_file::unpinned;
use crate::pins::check::finding::Finding;
use crate::pins::check::known::Known;
use crate::pins::check::source::{Place, Source};
use crate::{rfc3339, suffixes};

/// A pin file that can be read, and what its policies are compared with.
pub(crate) struct PolicyCheck<'a> {
    file: &'a PinFile,
    source: &'a Source,
    known: &'a Known,
    /// `None` if the policies contradict each other.
    pinning: Option<&'a Pinning>,
    /// The list of the system, if it has one.
    suffixes: Option<PublicSuffixes>,
    now: UnixTime,
}

/// A policy of the file, which may be that of several hosts.
struct Subject<'a> {
    policy: &'a PinPolicy,
    /// The first of the hosts.
    host: &'a Host,
    hosts: &'a [(Host, PinPolicy)],
    /// The place of the first host.
    place: Option<Place>,
}

impl Subject<'_> {
    fn names(&self) -> String {
        match self.hosts.len().saturating_sub(1) {
            0 => self.host.to_string(),
            others => {
                let others = counted(others, "other host", "other hosts");
                format!("{} and {others}", self.host)
            }
        }
    }

    fn finding(&self, finding: Finding) -> Finding {
        finding.of_host(self.host).at(self.place)
    }
}

impl<'a> PolicyCheck<'a> {
    pub(crate) fn new(
        file: &'a PinFile,
        source: &'a Source,
        known: &'a Known,
        pinning: Option<&'a Pinning>,
        now: UnixTime,
    ) -> Self {
        Self {
            file,
            source,
            known,
            pinning,
            suffixes: suffixes::load(),
            now,
        }
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut rest = self.file.policies();
        for source in &self.source.policies {
            let Some((hosts, others)) = rest.split_at_checked(source.hosts.len()) else {
                break;
            };
            rest = others;
            let (Some((host, policy)), Some((_, end))) = (hosts.first(), source.hosts.first())
            else {
                continue;
            };
            let place = Some(self.source.place(*end));
            let subject = Subject {
                policy,
                host,
                hosts,
                place,
            };
            findings.extend(self.of_policy(&subject));
            let places = source.hosts.iter().map(|(_, end)| self.source.place(*end));
            for ((host, policy), place) in hosts.iter().zip(places) {
                let own = self.of_host(host, policy).into_iter();
                findings.extend(own.map(|finding| finding.of_host(host).at(place)));
            }
        }
        findings.extend(self.allowed_but_pinned());
        findings
    }

    /// Returns the place of the first policy of a host.
    pub(crate) fn place_of(&self, host: &Host) -> Option<Place> {
        let hosts = self.source.policies.iter().flat_map(|it| &it.hosts);
        let mut hosts = self.file.policies().iter().zip(hosts);
        let (_, (_, end)) = hosts.find(|((known, _), _)| known == host)?;
        Some(self.source.place(*end))
    }

    fn of_policy(&self, subject: &Subject<'_>) -> Vec<Finding> {
        let mut findings = self.backups(subject);
        findings.extend(self.expiry(subject));
        findings.extend(plain_http(subject));
        let uris = subject.policy.report_uris().iter();
        findings.extend(uris.flat_map(|uri| self.report_uri(subject, uri)));
        let of_subject = |finding| subject.finding(finding);
        findings.into_iter().map(of_subject).collect()
    }

    fn backups(&self, subject: &Subject<'_>) -> Vec<Finding> {
        let names = subject.names();
        let groups = subject.policy.groups();
        let candidate = subject.policy.candidate_groups();
        let enforced = groups.iter().map(|group| (group, "the policy"));
        let candidate = candidate.iter().map(|group| (group, "the candidate"));
        let findings = enforced.chain(candidate).filter_map(|(group, part)| {
            let pins = distinct(group);
            if let [pin] = pins.as_slice() {
                let detail = format!(
                    "{part} of {names} has no backup: {pin} is the only pin of a group, and \
                     without its key the host is unreachable"
                );
                let remedy = "add the pin of a key that is kept offline (`pinhold key new`), or of \
                              a root of another CA";
                return Some(Finding::warning("no-backup", detail, remedy));
            }
            if let Some(file) = self.known.chain_of_all(&pins) {
                let detail = format!(
                    "all pins of {part} of {names} are keys of the chain in {file}: none is a backup"
                );
                let remedy = "add the pin of a key that is kept offline (`pinhold key new`), or of \
                              a root of another CA";
                return Some(Finding::warning("one-chain", detail, remedy));
            }
            let organization = self.known.organization_of_all(&pins)?;
            let detail = format!(
                "all pins of {part} of {names} are roots of {organization}: without this CA the \
                 host is unreachable"
            );
            let remedy = "add the pin of a root of another CA, or of a key of your own";
            Some(Finding::warning("one-ca", detail, remedy))
        });
        findings.collect()
    }

    fn expiry(&self, subject: &Subject<'_>) -> Option<Finding> {
        let (at, then) = subject.policy.expiry()?;
        let (names, until) = (subject.names(), rfc3339::print(at));
        let consequence = self.after_expiry(subject, at, then);
        let remedy = "compare the pins with the keys of the server, and set a later `expires`";
        if self.now > at {
            let detail = format!("the policy of {names} has expired ({until}): {consequence}");
            return Some(Finding::error("expired", detail, remedy));
        }
        let left = at.as_secs() - self.now.as_secs();
        (left <= SOON.as_secs()).then(|| {
            let days = counted_days(left);
            let detail =
                format!("the policy of {names} expires in {days} ({until}); then {consequence}");
            Finding::warning("expires-soon", detail, remedy)
        })
    }

    /// Returns what holds for the host after the expiry of its policy.
    fn after_expiry(&self, subject: &Subject<'_>, at: UnixTime, then: AfterExpiry) -> String {
        let is_enforced = subject.policy.enforcement_setting() == Enforcement::Enforce;
        let consequence = match then {
            AfterExpiry::Refuse if is_enforced => "every connection is refused",
            AfterExpiry::Unpin => "the pins no longer apply",
            _ => "failed pin checks are only reported",
        };
        let later = UnixTime::since_unix_epoch(Duration::from_secs(at.as_secs().saturating_add(1)));
        if is_enforced && self.is_refused(subject.host, subject.policy.scope_setting(), later) {
            format!("{consequence}, and the host is refused because `unpinned_hosts` is `refuse`")
        } else {
            consequence.to_owned()
        }
    }

    /// Returns whether connections to a name of the policy are refused because it is unpinned.
    fn is_refused(&self, host: &Host, scope: Scope, at: UnixTime) -> bool {
        let name = covered_name(host, scope);
        let policy = self.static_policy(&name, at);
        let name = UnpinnedName::Host(name);
        self.pinning.is_some()
            && unpinned(Some(self.file), &name, policy.as_ref()) == Some(UnpinnedHosts::Refuse)
    }

    fn static_policy(&self, name: &Host, at: UnixTime) -> Option<AppliedPolicy> {
        self.pinning?.policies(name, at).static_policy
    }

    fn report_uri(&self, subject: &Subject<'_>, uri: &ReportUri) -> Vec<Finding> {
        let mut findings = Vec::new();
        let parsed = uri.as_str().parse::<Uri>().ok();
        let scheme = parsed.as_ref().and_then(Uri::scheme_str);
        if scheme == Some("http") {
            let detail =
                format!("reports are sent to {uri} by http, where others can read and change them");
            findings.push(Finding::warning(
                "report-uri-http",
                detail,
                "use an https endpoint",
            ));
        }
        let host = parsed.as_ref().and_then(Uri::host);
        let host = host.and_then(|host| Host::parse(host).ok());
        let policy = host.and_then(|host| self.static_policy(&host, self.now));
        let is_own = |policy: &AppliedPolicy| {
            let mut hosts = subject.hosts.iter();
            hosts.any(|(host, _)| *host == policy.noted_hostname)
        };
        if policy.as_ref().is_some_and(is_own) {
            let detail = format!(
                "reports of {} are sent to {uri}, which the same pins protect: when they fail, the \
                 reports fail, too",
                subject.names()
            );
            let remedy = "use an endpoint at a host with other keys, or without pins";
            findings.push(Finding::warning("report-uri-pinned", detail, remedy));
        }
        findings
    }

    fn of_host(&self, host: &Host, policy: &PinPolicy) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.public_suffix(host, policy));
        let is_expired = policy.expiry().is_some_and(|(at, _)| self.now > at);
        let is_report_only = policy.enforcement_setting() == Enforcement::ReportOnly;
        let is_refused = || self.is_refused(host, policy.scope_setting(), self.now);
        if is_report_only && !is_expired && is_refused() {
            let detail = format!(
                "connections to {host} are refused: its policy is report-only, and \
                 `unpinned_hosts` is `refuse`"
            );
            let remedy = "enforce the policy, or list the host in `allow_unpinned`";
            findings.push(Finding::error("unreachable", detail, remedy));
        }
        findings
    }

    fn public_suffix(&self, host: &Host, policy: &PinPolicy) -> Option<Finding> {
        let scope = policy.scope_setting();
        let kind = suffixes::shared_subdomains(host, scope, self.suffixes.as_ref())?;
        let detail = format!("the policy of {host} covers its subdomains, but it is {kind}");
        let remedy = "set the policy for your own domain below it";
        Some(Finding::warning("public-suffix", detail, remedy))
    }

    /// Finds names that need no exception.
    fn allowed_but_pinned(&self) -> Vec<Finding> {
        let names = self.file.allow_unpinned().iter();
        let findings = names.zip(&self.source.allow_unpinned);
        let findings = findings.filter_map(|(name, end)| {
            let UnpinnedName::Host(host) = name else {
                return None;
            };
            let policy = self.static_policy(host, self.now)?;
            if unpinned(Some(self.file), name, Some(&policy)).is_some() {
                return None;
            }
            let detail = format!(
                "{host} is in `allow_unpinned`, but the policy of {} pins it: the entry has no \
                 effect",
                policy.noted_hostname
            );
            let remedy = "remove the entry, or exempt the host from the policy (`exempt`)";
            let finding = Finding::warning("allowed-but-pinned", detail, remedy);
            Some(finding.of_host(host).at(self.source.place(*end)))
        });
        findings.collect()
    }
}

fn plain_http(subject: &Subject<'_>) -> Option<Finding> {
    let policy = subject.policy;
    let is_enforced = policy.enforcement_setting() == Enforcement::Enforce;
    (is_enforced && policy.plain_http_setting() == Some(PlainHttp::Allow)).then(|| {
        let detail = format!(
            "the policy of {} is enforced, but allows http, where no pins are checked",
            subject.names()
        );
        let remedy = "remove `\"plain_http\": \"allow\"`, unless the server has no https";
        Finding::warning("plain-http", detail, remedy)
    })
}

fn distinct(group: &PinGroup) -> Vec<SpkiFingerprint> {
    let mut pins = group.iter().map(|(_, pin)| *pin).collect::<Vec<_>>();
    pins.sort_unstable();
    pins.dedup();
    pins
}

/// Returns a name that the policy of this host covers.
fn covered_name(host: &Host, scope: Scope) -> Host {
    let below = match scope {
        Scope::OneLabel | Scope::Subdomains => Host::parse(&format!("www.{host}")).ok(),
        _ => None,
    };
    below.unwrap_or_else(|| host.clone())
}

fn counted_days(seconds: u64) -> String {
    match usize::try_from(seconds / (24 * 60 * 60)) {
        Ok(0) | Err(_) => "less than a day".to_owned(),
        Ok(days) => counted(days, "day", "days"),
    }
}

/// How long before an expiry it is a finding: 30 days.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);
