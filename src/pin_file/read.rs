//! The members of a pin file, and what they mean.

use std::fmt;
use std::marker::PhantomData;

use rustls_pki_types::UnixTime;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::pin_file::error::{PinFileError, PinFileProblem};
use crate::pin_file::members::{List, Members, Object, Problems, Text, Word, missing};
use crate::pin_file::pins::{Candidate, Pin, Pins};
use crate::policy::{
    AfterExpiry, Enforcement, Host, Overlap, PinGroup, PinPolicy, PinSet, PlainHttp, ReportUri,
    Scope, Settings, SpkiFingerprint, StaticRules, UnpinnedHosts, UnpinnedName, UserAddedRoots,
    timestamp,
};

/// Reads the rules from the text of a pin file.
pub(crate) fn rules(text: &str) -> Result<StaticRules, PinFileError> {
    let problems = Problems::default();
    let mut input = serde_json::Deserializer::from_str(text);
    let read = Object::<File>::new(&problems).deserialize(&mut input);
    let read = read.and_then(|rules| input.end().map(|()| rules));
    read.map_err(|error| {
        let problem = problems.take().unwrap_or_else(|| PinFileProblem::Json {
            message: without_place(&error),
        });
        PinFileError::new(problem, error.line(), error.column())
    })
}

/// Fails if there is no policy, or if a host has two policies with the same scope.
pub(crate) fn ensure_distinct(policies: &[(Host, PinPolicy)]) -> Result<(), PinFileProblem> {
    let known = Problems::default();
    let mut policies = policies.iter();
    if policies.len() == 0 {
        return Err(PinFileProblem::NoPolicies);
    }
    policies.try_for_each(|(host, policy)| known.ensure_first(host, policy.scope_setting()))
}

/// Returns the text of an error of serde_json without line and column.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

#[derive(Default)]
pub(crate) struct File {
    version: Option<()>,
    policies: Option<Vec<Vec<(Host, PinPolicy)>>>,
    overlap: Option<Overlap>,
    refused_keys: Option<Vec<SpkiFingerprint>>,
    unpinned_hosts: Option<UnpinnedHosts>,
    allow_unpinned: Option<Vec<UnpinnedName>>,
    schema: Option<()>,
}

impl Members for File {
    type Value = StaticRules;
    const KIND: &'static str = "pin file";
    const NAMES: &'static [&'static str] = &[
        "$schema",
        "allow_unpinned",
        "overlap",
        "policies",
        "refused_keys",
        "unpinned_hosts",
        "version",
    ];

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
        problems: &Problems,
    ) -> Result<(), A::Error> {
        match name {
            "version" => problems.read(&mut self.version, name, Version(problems), map),
            "policies" => {
                let policy = || Object::<Policy>::new(problems);
                problems.read(&mut self.policies, name, List(policy), map)
            }
            "overlap" => problems.read(&mut self.overlap, name, Word::new(name, problems), map),
            "refused_keys" => {
                let pins = List(|| Pin(problems));
                problems.read(&mut self.refused_keys, name, pins, map)
            }
            "unpinned_hosts" => {
                let word = Word::new(name, problems);
                problems.read(&mut self.unpinned_hosts, name, word, map)
            }
            "allow_unpinned" => {
                let parse = |text: &str| UnpinnedName::try_from(text).map_err(PinFileProblem::Host);
                let names = List(|| Text(parse, problems));
                problems.read(&mut self.allow_unpinned, name, names, map)
            }
            _ => problems.read(
                &mut self.schema,
                name,
                Text(|_: &str| Ok(()), problems),
                map,
            ),
        }
    }

    fn finish(self, _: &Problems) -> Result<StaticRules, PinFileProblem> {
        self.version.ok_or_else(|| missing::<Self>("version"))?;
        let policies = self.policies.ok_or_else(|| missing::<Self>("policies"))?;
        let policies = policies.into_iter().flatten().collect::<Vec<_>>();
        if policies.is_empty() {
            return Err(PinFileProblem::NoPolicies);
        }
        Ok(StaticRules {
            policies,
            settings: Settings {
                overlap: self.overlap,
                refused_keys: PinSet::of(&self.refused_keys.unwrap_or_default()).ok(),
                unpinned_hosts: self.unpinned_hosts.unwrap_or_default(),
                allow_unpinned: self.allow_unpinned.unwrap_or_default(),
            },
        })
    }
}

#[derive(Default)]
struct Policy {
    hosts: Option<Vec<Host>>,
    scope: Option<Scope>,
    exempt: Option<Vec<Host>>,
    pins: Pins,
    candidate: Option<Vec<PinGroup>>,
    without_backup: Option<bool>,
    enforcement: Option<Enforcement>,
    expires: Option<UnixTime>,
    after_expiry: Option<AfterExpiry>,
    report_uris: Option<Vec<ReportUri>>,
    user_added_roots: Option<UserAddedRoots>,
    plain_http: Option<PlainHttp>,
}

impl Members for Policy {
    type Value = Vec<(Host, PinPolicy)>;
    const KIND: &'static str = "policy";
    const NAMES: &'static [&'static str] = &[
        "after_expiry",
        "all_of",
        "ca_pins",
        "candidate",
        "enforcement",
        "exempt",
        "expires",
        "hosts",
        "leaf_pins",
        "pins",
        "plain_http",
        "report_uris",
        "scope",
        "user_added_roots",
        "without_backup",
    ];

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
        problems: &Problems,
    ) -> Result<(), A::Error> {
        let hosts = || List(|| Text(parse_host, problems));
        match name {
            "hosts" => problems.read(&mut self.hosts, name, hosts(), map),
            "exempt" => problems.read(&mut self.exempt, name, hosts(), map),
            "scope" => problems.read(&mut self.scope, name, Word::new(name, problems), map),
            "candidate" => {
                let candidate = Object::<Candidate>::new(problems);
                problems.read(&mut self.candidate, name, candidate, map)
            }
            "without_backup" => problems.read(&mut self.without_backup, name, PhantomData, map),
            "enforcement" => {
                let word = Word::new(name, problems);
                problems.read(&mut self.enforcement, name, word, map)
            }
            "expires" => problems.read(&mut self.expires, name, Text(parse_time, problems), map),
            "after_expiry" => {
                let word = Word::new(name, problems);
                problems.read(&mut self.after_expiry, name, word, map)
            }
            "report_uris" => {
                let uris = List(|| Text(parse_uri, problems));
                problems.read(&mut self.report_uris, name, uris, map)
            }
            "user_added_roots" => {
                let word = Word::new(name, problems);
                problems.read(&mut self.user_added_roots, name, word, map)
            }
            "plain_http" => {
                let word = Word::new(name, problems);
                problems.read(&mut self.plain_http, name, word, map)
            }
            _ => self.pins.read(name, map, problems),
        }
    }

    fn finish(self, problems: &Problems) -> Result<Self::Value, PinFileProblem> {
        let policy = self.policy()?;
        let hosts = self.hosts.filter(|hosts| !hosts.is_empty());
        let hosts = hosts.ok_or(PinFileProblem::MissingMember {
            name: "hosts",
            of: Self::KIND,
        })?;
        let exempt = self.exempt.unwrap_or_default();
        // A policy of several hosts exempts a name from those above it only. A name that is below
        // none of them stays, so that the pins are refused when they are set.
        let is_misplaced = |name: &&Host| !hosts.iter().any(|host| name.is_subdomain_of(host));
        let misplaced = exempt.iter().find(is_misplaced);
        let of = |host: &Host| {
            let is_below = |name: &Host| hosts.len() == 1 || name.is_subdomain_of(host);
            let own = |name: &&Host| is_below(name) || misplaced == Some(*name);
            exempt.iter().filter(own).cloned().collect::<Vec<_>>()
        };
        let with_exemptions = |host: Host, policy: PinPolicy| {
            problems.ensure_first(&host, policy.scope_setting())?;
            let with = |policy: PinPolicy, name| policy.exempt(name);
            let policy = of(&host).into_iter().try_fold(policy, with);
            Ok((host, policy.map_err(PinFileProblem::Policy)?))
        };
        if let [host] = &*hosts {
            // Not copied: nearly every policy is of one host.
            return Ok(vec![with_exemptions(host.clone(), policy)?]);
        }
        let hosts = hosts.iter().cloned();
        hosts
            .map(|host| with_exemptions(host, policy.clone()))
            .collect()
    }
}

impl Policy {
    /// Returns the policy without exemptions.
    fn policy(&self) -> Result<PinPolicy, PinFileProblem> {
        let groups = self.pins.groups(Self::KIND)?;
        let policy = if self.without_backup == Some(true) {
            PinPolicy::all_of_without_backup(groups)
        } else {
            PinPolicy::all_of(groups)
        };
        let mut policy = policy.map_err(PinFileProblem::Policy)?;
        policy = policy
            .scope(self.scope.unwrap_or_default())
            .enforcement(self.enforcement.unwrap_or_default());
        if let Some(candidate) = &self.candidate {
            let with = policy.candidate_all_of(candidate.iter().cloned());
            policy = with.map_err(PinFileProblem::Policy)?;
        }
        policy = match (self.expires, self.after_expiry) {
            (Some(at), Some(then)) => policy.expires(at, then),
            (Some(_), None) => return Err(missing::<Self>("after_expiry")),
            (None, Some(_)) => return Err(missing::<Self>("expires")),
            (None, None) => policy,
        };
        if let Some(choice) = self.user_added_roots {
            policy = policy.user_added_roots(choice);
        }
        if let Some(choice) = self.plain_http {
            policy = policy.plain_http(choice);
        }
        let uris = self.report_uris.iter().flatten().cloned();
        Ok(uris.fold(policy, PinPolicy::report_uri))
    }
}

/// Reads the number of the format.
struct Version<'p>(&'p Problems);

impl<'de> DeserializeSeed<'de> for Version<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_u64(self)
    }
}

impl Visitor<'_> for Version<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number 1")
    }

    fn visit_u64<E: Error>(self, found: u64) -> Result<(), E> {
        match found {
            1 => Ok(()),
            _ => Err(self.0.fail(PinFileProblem::Version { found })),
        }
    }
}

pub(crate) fn parse_host(text: &str) -> Result<Host, PinFileProblem> {
    Host::parse(text).map_err(PinFileProblem::Host)
}

pub(crate) fn parse_time(text: &str) -> Result<UnixTime, PinFileProblem> {
    timestamp::parse(text).ok_or_else(|| PinFileProblem::Time {
        text: text.to_owned(),
    })
}

fn parse_uri(text: &str) -> Result<ReportUri, PinFileProblem> {
    ReportUri::parse(text).map_err(PinFileProblem::ReportUri)
}

/// The names of the members of all objects of a pin file.
#[cfg(feature = "bundles")]
pub(crate) const MEMBER_NAMES: [&[&str]; 5] = [
    File::NAMES,
    Policy::NAMES,
    Candidate::NAMES,
    &["pin"],
    &["comment"],
];
