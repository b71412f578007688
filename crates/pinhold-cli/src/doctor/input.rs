//! The pinned names to judge, from pin files, bundles and options, and the chains of `--chain`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pinhold::pin_file::PinFile;
use pinhold::policy::{
    AfterExpiry, Overlap, PinGroup, PinRole, PinSet, Scope, UnpinnedHosts, UnpinnedName,
};
use pinhold::{Enforcement, Host, Pinning, SpkiFingerprint, UserAddedRoots};
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::doctor::Arguments;
use crate::doctor::observation::{ChainSource, Observation, Observations};
use crate::doctor::subject::{Expiry, Pin, Probe, Staleness, Subject};
use crate::failure::Failure;
use crate::peer::Target;
use crate::pins::rules::{Rule, Rules};
use crate::{bundle, network, pin_file};

/// A chain of a file, with the name of the file.
pub(super) struct GivenChain {
    pub(super) file: String,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// A HOST argument.
struct Name {
    host: Host,
    port: u16,
}

/// Returns the subjects in the order of the inputs: pin file, bundle, `--pin`.
pub(super) fn subjects(arguments: &Arguments, at: UnixTime) -> Result<Vec<Subject>, Failure> {
    let names = arguments.hosts.iter().map(|text| name(text));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let mut sources = Vec::new();
    if let Some(path) = &arguments.pins {
        sources.push(Source::new(path, pin_file::open(path)?, at)?);
    }
    if let Some(path) = &arguments.bundle {
        let bundle = bundle::open(path)?;
        let mut source = Source::new(path, bundle.pins().clone(), at)?;
        source.staleness = Some(Staleness {
            at: bundle.expires(),
            then: bundle::when_stale(bundle.when_stale()),
        });
        let refused = bundle.refused_keys().into_iter().flat_map(PinSet::iter);
        source.refused_keys.extend(refused.copied());
        sources.push(source);
    }
    if sources.is_empty() && arguments.pin.is_empty() {
        let expected = "no pins to judge, expected --pins, --bundle, or HOST with --pin";
        return Err(Failure::Usage(expected.to_owned()));
    }
    if !arguments.pin.is_empty() && names.is_empty() {
        return Err(Failure::input(
            "--pin",
            "for no host, expected HOST with it",
        ));
    }
    let mut subjects = Vec::new();
    for source in &sources {
        subjects.extend(source.subjects(&names));
    }
    if arguments.pin.is_empty() {
        refuse_unpinned(&names, &sources)?;
    } else {
        subjects.extend(names.iter().map(|name| of_option(name, arguments)));
    }
    Ok(subjects)
}

/// Refuses a name for which there are no pins, since nothing would be judged for it.
fn refuse_unpinned(names: &[Name], sources: &[Source]) -> Result<(), Failure> {
    let is_pinned = |name: &&Name| {
        sources
            .iter()
            .any(|it| !it.rules_for(&name.host).is_empty())
    };
    match names.iter().find(|name| !is_pinned(name)) {
        None => Ok(()),
        Some(name) => {
            let reason = "no policy covers it, expected a pinned host, or --pin with it";
            Err(Failure::input(name.host.as_str(), reason))
        }
    }
}

fn name(text: &str) -> Result<Name, Failure> {
    let uri = network::url(text)?;
    let Target { host, port } = Target::of(&uri);
    let host = Host::parse(&host).map_err(|error| Failure::input(text, error))?;
    Ok(Name { host, port })
}

/// Returns the subject for a name with the pins of `--pin`.
fn of_option(name: &Name, arguments: &Arguments) -> Subject {
    let pins = arguments.pin.iter().map(|fingerprint| Pin {
        role: PinRole::Any,
        fingerprint: *fingerprint,
    });
    Subject {
        host: name.host.clone(),
        scope: Scope::Host,
        source: "--pin".to_owned(),
        probe: Probe::Name(name.host.clone()),
        port: name.port,
        groups: vec![pins.collect()],
        expiry: None,
        staleness: None,
        is_enforced: true,
        refused_keys: Vec::new(),
        user_added_roots: UserAddedRoots::SkipPins,
    }
}

/// The policies of a pin file or bundle.
struct Source {
    name: String,
    file: PinFile,
    rules: Rules,
    pinning: Pinning,
    refused_keys: Vec<SpkiFingerprint>,
    staleness: Option<Staleness>,
    /// The time of the judgement.
    at: UnixTime,
}

impl Source {
    fn new(path: &Path, file: PinFile, at: UnixTime) -> Result<Self, Failure> {
        let pinning = Pinning::builder().pins(file.clone()).build();
        let refused = file.refused_keys().into_iter().flat_map(PinSet::iter);
        Ok(Self {
            refused_keys: refused.copied().collect(),
            name: path.display().to_string(),
            rules: Rules::from(&file),
            pinning: pinning.map_err(|error| Failure::of_build(&error))?,
            file,
            staleness: None,
            at,
        })
    }

    /// Returns the subjects for these names; without names, one for each policy.
    fn subjects(&self, names: &[Name]) -> Vec<Subject> {
        if !names.is_empty() {
            let named = names.iter().flat_map(|name| {
                let rules = self.rules_for(&name.host).into_iter();
                rules.map(|rule| self.subject(rule, Probe::Name(name.host.clone()), name.port))
            });
            return named.collect();
        }
        let all = self.rules.rules.iter().map(|rule| {
            let probe = match rule.scope {
                Scope::OneLabel | Scope::Subdomains => Probe::NotProbed,
                _ => Probe::Name(rule.host.clone()),
            };
            self.subject(rule, probe, DEFAULT_PORT)
        });
        all.collect()
    }

    /// Returns the policies that decide for a name: the nearest, of which there is one.
    fn rules_for(&self, name: &Host) -> Vec<&Rule> {
        let covering = self.rules.rules.iter().filter(|rule| {
            let mut exempt = rule.exempt.iter();
            let is_exempt = exempt.any(|it| it == name || name.is_subdomain_of(it));
            rule.covers(name) && !is_exempt
        });
        let covering = covering.collect::<Vec<_>>();
        let is_nearest = |rule: &&&Rule| !covering.iter().any(|other| other.is_nearer_than(rule));
        covering.iter().filter(is_nearest).copied().collect()
    }

    fn subject(&self, rule: &Rule, probe: Probe, port: u16) -> Subject {
        let is_enforced = rule.enforcement == Enforcement::Enforce;
        let expiry = rule.expiry.map(|(at, then)| Expiry {
            at,
            refuses: is_enforced
                && (then == AfterExpiry::Refuse || self.refuses_unpinned(rule, &probe, at)),
        });
        Subject {
            host: rule.host.clone(),
            scope: rule.scope,
            source: self.name.clone(),
            port,
            groups: self.groups(rule, &probe),
            probe,
            expiry,
            staleness: self.staleness,
            is_enforced,
            refused_keys: self.refused_keys.clone(),
            user_added_roots: rule.user_added_roots.unwrap_or_default(),
        }
    }

    /// Returns the groups of a policy; with `"overlap": "union"`, the pins of all policies that are
    /// accepted for its name.
    fn groups(&self, rule: &Rule, probe: &Probe) -> Vec<Vec<Pin>> {
        let own = || rule.groups.iter().map(pins_of).collect();
        if self.rules.overlap != Some(Overlap::Union) {
            return own();
        }
        let policies = self.pinning.policies(&name_of(rule, probe), self.at);
        let Some(policy) = policies.static_policy else {
            return own();
        };
        if policy.groups().is_empty() {
            let pins = policy.pins.iter().map(|fingerprint| Pin {
                role: PinRole::Any,
                fingerprint: *fingerprint,
            });
            return vec![pins.collect()];
        }
        policy.groups().iter().map(pins_of).collect()
    }

    /// Returns whether a name is refused after the expiry of its policy because it is unpinned.
    fn refuses_unpinned(&self, rule: &Rule, probe: &Probe, expiry: UnixTime) -> bool {
        let name = name_of(rule, probe);
        let later = Duration::from_secs(expiry.as_secs().saturating_add(1));
        let policies = self
            .pinning
            .policies(&name, UnixTime::since_unix_epoch(later));
        let policy = policies.static_policy.as_ref();
        let choice = pin_file::unpinned(Some(&self.file), &UnpinnedName::Host(name), policy);
        choice == Some(UnpinnedHosts::Refuse)
    }
}

/// Returns the name that is connected to, or else one that the policy covers.
fn name_of(rule: &Rule, probe: &Probe) -> Host {
    match probe {
        Probe::Name(name) => name.clone(),
        Probe::NotProbed => {
            let below = Host::parse(&format!("www.{}", rule.host));
            below.unwrap_or_else(|_| rule.host.clone())
        }
    }
}

/// Returns the pins of a group in the order of their text.
fn pins_of(group: &PinGroup) -> Vec<Pin> {
    let pins = group.iter();
    let mut pins = pins.map(|(role, pin)| (*pin, role)).collect::<Vec<_>>();
    pins.sort_by_key(|(pin, role)| (*pin, role.to_string()));
    let pins = pins.into_iter();
    pins.map(|(fingerprint, role)| Pin { role, fingerprint })
        .collect()
}

pub(super) fn chains(files: &[PathBuf]) -> Result<Vec<GivenChain>, Failure> {
    let chains = files.iter().map(|file| {
        Ok(GivenChain {
            file: file.display().to_string(),
            certificates: network::certificates(file)?,
        })
    });
    chains.collect()
}

/// Returns the observations of a subject for which only these chains are given.
pub(super) fn given(chains: &[GivenChain]) -> Observations {
    let chains = chains.iter().map(|chain| Observation {
        source: ChainSource::File(chain.file.clone()),
        served: Ok(chain.certificates.clone()),
    });
    Observations {
        chains: chains.collect(),
        ..Observations::default()
    }
}

const DEFAULT_PORT: u16 = 443;
