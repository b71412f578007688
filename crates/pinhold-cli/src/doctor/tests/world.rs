//! [`World`], a set-up of CAs, roots, servers and pins, made from JSON: certificates with own keys
//! in place of the real ones, and the facts about their CAs in the format of `--pki-data`.
//!
//! Members: `at`, `host`, `certificates` (`name`, `issuer`, `from`, `until`, `operator` or `names`),
//! `anchors`, `platform`, `user_added`, `chains`, `groups`, and what is published: `operators`, `events`,
//! `rotates`, `lifetimes`, `programme_dates`, `services`.

use std::collections::HashMap;

use pinhold::policy::{PinRole, Scope};
use pinhold::{Host, SpkiFingerprint, TrustAnchors, UserAddedRoots};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use serde_json::{Value, json};

use crate::doctor::forecast::{HostForecast, Report, RootStore};
use crate::doctor::judge::{self, Roots};
use crate::doctor::observation::{Caa, ChainSource, Observation, Observations};
use crate::doctor::pki::PkiData;
use crate::doctor::subject::{Expiry, Pin, Probe, Staleness, Subject};
use crate::rfc3339;

pub(super) struct World {
    spec: Value,
    keys: HashMap<String, KeyPair>,
    /// By name, and by `NAME by ISSUER`.
    certificates: HashMap<String, CertificateDer<'static>>,
}

impl World {
    pub(super) fn new(spec: Value) -> Self {
        let mut world = Self {
            spec,
            keys: HashMap::new(),
            certificates: HashMap::new(),
        };
        for certificate in world.list("certificates") {
            world.issue(&certificate);
        }
        world
    }

    fn list(&self, member: &str) -> Vec<Value> {
        self.spec[member].as_array().cloned().unwrap_or_default()
    }

    fn issue(&mut self, spec: &Value) {
        let name = text(&spec["name"]);
        let issuer = spec["issuer"]
            .as_str()
            .map_or_else(|| name.clone(), str::to_owned);
        for name in [&name, &issuer] {
            let key = || KeyPair::generate().unwrap();
            self.keys.entry(name.clone()).or_insert_with(key);
        }
        let params = params(spec);
        let key = &self.keys[&name];
        let der = if issuer == name {
            params.self_signed(key).unwrap().der().clone()
        } else {
            let issuer = Issuer::new(ca_params(&issuer), &self.keys[&issuer]);
            params.signed_by(key, &issuer).unwrap().der().clone()
        };
        self.certificates
            .insert(format!("{name} by {issuer}"), der.clone());
        self.certificates.insert(name, der);
    }

    pub(super) fn certificate(&self, name: &str) -> CertificateDer<'static> {
        self.certificates[name].clone()
    }

    pub(super) fn at(&self) -> UnixTime {
        time(&self.spec["at"])
    }

    /// Returns the pin of a key. One that has no certificate is that of an offline backup.
    pub(super) fn pin(&self, name: &str) -> SpkiFingerprint {
        if let Some(digest) = name.strip_prefix("certificate:") {
            let der = self.certificate(digest);
            let digest = ring_sha256(&der);
            return SpkiFingerprint::from_digest(digest);
        }
        match self.keys.get(name) {
            Some(key) => {
                let der = SubjectPublicKeyInfoDer::from(key.subject_public_key_info());
                SpkiFingerprint::of_public_key(&der).unwrap()
            }
            None => SpkiFingerprint::from_digest(ring_sha256(name.as_bytes())),
        }
    }

    pub(super) fn data(&self) -> PkiData {
        let json = self.pki_json().to_string();
        let data = PkiData::parse(json.as_bytes(), "the test");
        data.unwrap_or_else(|error| panic!("{error}: {json}"))
    }

    /// Returns the facts in the format of `--pki-data`.
    fn pki_json(&self) -> Value {
        let mut statements = Vec::new();
        let mut statement = |spec: &Value| {
            let id = format!("s{}", statements.len());
            let published = spec["published"].as_str().unwrap_or("2020-01-01");
            let text = spec["text"].as_str().unwrap_or("It is announced");
            let source = spec["source"].as_str().unwrap_or("a test");
            statements.push(json!({
                "id": id, "text": text, "source": source, "published": published,
            }));
            id
        };
        let operators = self.spec["operators"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let operators = operators.iter().map(|(name, caa)| {
            let mut operator = json!({ "name": name, "caa": caa });
            let rotates = &self.spec["rotates"][name];
            if rotates.is_object() {
                operator["rotates"] = json!(statement(rotates));
            }
            operator
        });
        let operators = operators.collect::<Vec<_>>();
        let events = self.list("events").into_iter().map(|event| {
            json!({
                "at": event["at"], "key": self.pin(&text(&event["key"])).to_base64(),
                "kind": event["kind"], "statement": statement(&event),
                "certainty": event["certainty"].as_str().unwrap_or("announced"),
            })
        });
        let events = events.collect::<Vec<_>>();
        let lifetimes = self.list("lifetimes").into_iter().map(
            |it| json!({ "from": it["from"], "days": it["days"], "statement": statement(&it) }),
        );
        let lifetimes = lifetimes.collect::<Vec<_>>();
        let dates = self.list("programme_dates").into_iter();
        let dates = dates.map(|it| json!({ "at": it["at"], "statement": statement(&it) }));
        let dates = dates.collect::<Vec<_>>();
        let services = self.list("services").into_iter();
        let services =
            services.map(|it| json!({ "name": it["name"], "statement": statement(&it) }));
        let services = services.collect::<Vec<_>>();
        json!({
            "format": 1, "date": self.spec["data_date"].as_str().unwrap_or("2026-01-01"),
            "attribution": [], "not_available": [], "operators": operators,
            "roots": self.roots_json(), "intermediates": self.intermediates_json(),
            "events": events, "lifetimes": lifetimes, "programme_dates": dates, "services": services,
            "statements": statements,
        })
    }

    fn roots_json(&self) -> Value {
        let own = self.list("certificates").into_iter();
        let own = own.filter(|it| it["operator"].is_string() && it["issuer"].is_null());
        let roots = own.map(|it| {
            json!({
                "key": self.pin(&text(&it["name"])).to_base64(), "name": it["name"],
                "operator": it["operator"], "stores": ["mozilla"],
                "certificates": [period(&it)],
            })
        });
        roots.collect()
    }

    fn intermediates_json(&self) -> Value {
        let issued = self.list("certificates").into_iter();
        let issued = issued.filter(|it| it["operator"].is_string() && it["issuer"].is_string());
        let issued = issued.map(|it| {
            let [from, until] = period(&it);
            let key = self.pin(&text(&it["name"])).to_base64();
            json!({
                "issuer": self.pin(&text(&it["issuer"])).to_base64(), "operator": it["operator"],
                "certificates": [[key, it["name"], from, until]],
            })
        });
        issued.collect()
    }

    fn roots(&self) -> Roots {
        let named = |member: &str| {
            let names = self.list(member).into_iter();
            names
                .map(|name| self.certificate(&text(&name)))
                .collect::<Vec<_>>()
        };
        let (built_in, user_added) = (named("anchors"), named("user_added"));
        let anchors = TrustAnchors::new().with_built_in(built_in.clone()).unwrap();
        let anchors = anchors.with_user_added(user_added).unwrap();
        let store = match self.spec["store"].as_str() {
            Some("files") => RootStore::Files,
            _ => RootStore::Mozilla,
        };
        let roots = Roots::of_list(store, &anchors, &built_in);
        if self.spec["platform"].is_null() {
            return roots;
        }
        let platform = TrustAnchors::new()
            .with_built_in(named("platform"))
            .unwrap();
        roots.with_platform(&platform)
    }

    fn subject(&self) -> Subject {
        let host = Host::parse(self.spec["host"].as_str().unwrap_or("api.example")).unwrap();
        let groups = self.list("groups").into_iter().map(|group| {
            let pins = group
                .as_array()
                .unwrap()
                .iter()
                .map(|pin| self.role_pin(&text(pin)));
            pins.collect()
        });
        let expiry = &self.spec["expiry"];
        let stale = &self.spec["stale"];
        let scope = match self.spec["scope"].as_str() {
            Some("subdomains") => Scope::Subdomains,
            Some("host-and-subdomains") => Scope::HostAndSubdomains,
            _ => Scope::Host,
        };
        Subject {
            probe: match scope {
                Scope::Subdomains => Probe::NotProbed,
                _ => Probe::Name(host.clone()),
            },
            host,
            scope,
            source: "pins.json".to_owned(),
            port: 443,
            groups: groups.collect(),
            expiry: expiry.is_object().then(|| Expiry {
                at: time(&expiry["at"]),
                refuses: expiry["refuses"] == true,
            }),
            staleness: stale.is_string().then(|| Staleness {
                at: time(stale),
                then: "enforce",
            }),
            is_enforced: self.spec["report_only"] != true,
            refused_keys: self
                .list("refused_keys")
                .iter()
                .map(|it| self.pin(&text(it)))
                .collect(),
            user_added_roots: if self.spec["enforce_on_user_added"] == true {
                UserAddedRoots::EnforcePins
            } else {
                UserAddedRoots::SkipPins
            },
        }
    }

    fn role_pin(&self, name: &str) -> Pin {
        let (role, name) = match name.split_once(':') {
            Some(("leaf", name)) => (PinRole::Leaf, name),
            Some(("ca", name)) => (PinRole::Ca, name),
            _ => (PinRole::Any, name),
        };
        Pin {
            role,
            fingerprint: self.pin(name),
        }
    }

    fn observations(&self) -> Observations {
        let chains = self
            .list("chains")
            .into_iter()
            .enumerate()
            .map(|(index, chain)| {
                let names = chain.as_array().unwrap().iter();
                let served = names.map(|name| self.certificate(&text(name)));
                Observation {
                    source: ChainSource::File(format!("chain {index}")),
                    served: Ok(served.collect()),
                }
            });
        let caa = &self.spec["caa"];
        let issuers = |value: &Value| value.as_array().unwrap().iter().map(text).collect();
        Observations {
            chains: chains.collect(),
            left_out: Vec::new(),
            caa: if let Some(reason) = caa.as_str() {
                Caa::Failed(reason.to_owned())
            } else if caa.is_array() {
                Caa::Found {
                    domain: "example".to_owned(),
                    issue: issuers(caa),
                    issue_wild: None,
                }
            } else {
                Caa::NotQueried
            },
        }
    }

    pub(super) fn report(&self) -> Report {
        let at = self.at();
        let judged = vec![(self.subject(), self.observations())];
        judge::report(judged, &self.data(), &self.roots(), at, at)
    }

    pub(super) fn forecast(&self) -> HostForecast {
        self.report().hosts.remove(0)
    }
}

fn params(spec: &Value) -> CertificateParams {
    let name = text(&spec["name"]);
    let mut params = match spec["names"].as_array() {
        None => ca_params(&name),
        Some(names) => {
            let names = names.iter().map(text).collect::<Vec<_>>();
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        }
    };
    let usages = spec["usages"].as_array().into_iter().flatten();
    for usage in usages.map(text) {
        match usage.as_str() {
            "encipherment" => params.key_usages.push(KeyUsagePurpose::KeyEncipherment),
            "signature" => params.key_usages.push(KeyUsagePurpose::DigitalSignature),
            "client" => {
                let both = [
                    ExtendedKeyUsagePurpose::ServerAuth,
                    ExtendedKeyUsagePurpose::ClientAuth,
                ];
                params.extended_key_usages.extend(both);
            }
            other => panic!("{other}"),
        }
    }
    let [from, until] = period(spec).map(|date| {
        let mut parts = date.split('-').map(|part| part.parse::<u16>().unwrap());
        let mut next = || parts.next().unwrap();
        let (year, month, day) = (next(), next(), next());
        let [month, day] = [month, day].map(|part| u8::try_from(part).unwrap());
        rcgen::date_time_ymd(year.into(), month, day)
    });
    (params.not_before, params.not_after) = (from, until);
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn period(spec: &Value) -> [String; 2] {
    let of = |member: &str, default: &str| spec[member].as_str().unwrap_or(default).to_owned();
    [of("from", "2020-01-01"), of("until", "2035-01-01")]
}

fn time(value: &Value) -> UnixTime {
    rfc3339::parse_date(value.as_str().unwrap()).unwrap()
}

pub(super) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value}"))
        .to_owned()
}

fn ring_sha256(bytes: &[u8]) -> [u8; 32] {
    let provider = crate::network::provider();
    let suites = provider.cipher_suites.iter();
    let mut hashes = suites.filter_map(|suite| Some(suite.tls13()?.common.hash_provider));
    let hash = hashes.find(|hash| hash.output_len() == 32).unwrap();
    hash.hash(bytes).as_ref().try_into().unwrap()
}
