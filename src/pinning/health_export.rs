//! [`Health`] as JSON and in the text format of Prometheus.
//!
//! No value needs an escape: names of hosts and scopes, fingerprints, dates and numbers have none of the
//! characters concerned, and a version of an application that has one is refused. A JSON library would
//! be a dependency for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};

use rustls_pki_types::UnixTime;

use crate::pinning::health::{Health, HostNames, PinHealth, PolicyHealth, VersionCounts};
use crate::policy::text::hex;
use crate::policy::{Host, SpkiFingerprint, sha256, timestamp};
use crate::store::{HealthWarning, scope_name};

impl Health {
    /// Returns the snapshot as one line of JSON:
    ///
    /// ```json
    /// {"app_version": "1.4.2", "policies": [{
    ///     "host": "5f0c3b7e2a9d4c81", "scope": "host", "current": true, "candidate": false,
    ///     "expires": "2027-06-30T00:00:00Z", "since": "2026-11-02", "days": 21,
    ///     "last_connection": "2026-11-30",
    ///     "pins": [{"pin": "1", "first_seen": "2026-11-02", "last_seen": "2026-11-30"},
    ///              {"pin": "2", "first_seen": null, "last_seen": null}],
    ///     "versions": [{"app_version": "1.4.2", "passed": 311, "refused": 0, "would_be_refused": 0,
    ///                   "skipped": 4, "candidate_passed": 0, "candidate_would_be_refused": 0}],
    ///     "warnings": ["bypass_active"]}]}
    /// ```
    ///
    /// `host` is a digest and `pin` a number unless
    /// [`HostNames::Include`](crate::health::HostNames::Include) is set. Later versions may add members.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::new();
        json.extend([r#"{"app_version":""#, &self.app_version, r#"","policies":"#]);
        let mut policies = self.policies.iter().collect::<Vec<_>>();
        if self.host_names == HostNames::Omit {
            // The order of the names says something about them.
            policies.sort_by_key(|policy| self.host(&policy.host));
        }
        print_list(&mut json, &policies, |json, policy| {
            self.print_policy(json, policy)
        });
        json.push('}');
        json
    }

    fn print_policy(&self, json: &mut String, policy: &PolicyHealth) {
        let since = policy.since.map(date);
        let last = policy.last_connection.map(date);
        let expires = policy.expires.map(timestamp::print_capped);
        let host = self.host(&policy.host);
        let scope = scope_name(policy.scope);
        let (current, candidate) = (policy.is_current, policy.is_candidate);
        json.extend([r#"{"host":""#, &host, r#"","scope":""#, scope, "\""]);
        append(
            json,
            format_args!(r#","current":{current},"candidate":{candidate}"#),
        );
        print_optional(json, "expires", expires);
        print_optional(json, "since", since);
        append(json, format_args!(r#","days":{}"#, policy.days));
        print_optional(json, "last_connection", last);
        json.push_str(r#","pins":"#);
        let pins = policy.pins.iter().enumerate().collect::<Vec<_>>();
        print_list(json, &pins, |json, (index, pin)| {
            self.print_pin(json, *index, pin)
        });
        json.push_str(r#","versions":"#);
        print_list(json, &policy.versions, |json, of| {
            json.extend([r#"{"app_version":""#, &of.app_version, "\""]);
            for (name, count) in of.outcomes().into_iter().chain(of.candidate_outcomes()) {
                append(json, format_args!(r#","{name}":{count}"#));
            }
            json.push('}');
        });
        json.push_str(r#","warnings":"#);
        print_list(json, &policy.warnings, |json, warning| {
            append(json, format_args!(r#""{warning}""#));
        });
        json.push('}');
    }

    fn print_pin(&self, json: &mut String, index: usize, pin: &PinHealth) {
        json.extend([r#"{"pin":""#, &self.pin(index, &pin.pin), "\""]);
        print_optional(json, "first_seen", pin.first_seen.map(date));
        print_optional(json, "last_seen", pin.last_seen.map(date));
        json.push('}');
    }

    /// Returns the snapshot in the [text format 0.0.4] of Prometheus. Counts are summed over the pin
    /// sets of a host, so that they go on when its pins change.
    ///
    /// ```
    /// use pinhold::Pinning;
    /// use pinhold::health::HealthOptions;
    ///
    /// let pinning = Pinning::builder().health(HealthOptions::new("1.4.2")).build()?;
    /// let text = pinning.health().to_prometheus();
    /// assert!(text.contains("# TYPE pinhold_connections_total counter\n"));
    /// # Ok::<(), pinhold::BuildError>(())
    /// ```
    ///
    /// [text format 0.0.4]: https://prometheus.io/docs/instrumenting/exposition_formats/
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        self.print_counts(&mut text, &CONNECTIONS, VersionCounts::outcomes);
        self.print_counts(&mut text, &CANDIDATES, VersionCounts::candidate_outcomes);
        let current = self.current();
        text.push_str(PIN_SEEN);
        for ((host, scope), Current { pins, .. }) in &current {
            for (index, (pin, seen)) in pins.iter().enumerate() {
                let pin = self.pin(index, pin);
                let labels = format!("host=\"{host}\",scope=\"{scope}\",pin=\"{pin}\"");
                let name = "pinhold_pin_last_seen_timestamp_seconds";
                print_sample(&mut text, name, &labels, seconds(*seen));
            }
        }
        text.push_str(EXPIRY);
        for ((host, scope), Current { expires, .. }) in &current {
            if let Some(expires) = expires {
                let labels = format!("host=\"{host}\",scope=\"{scope}\"");
                let name = "pinhold_policy_expiry_timestamp_seconds";
                print_sample(&mut text, name, &labels, expires.as_secs());
            }
        }
        text.push_str(WARNINGS);
        for ((host, scope), Current { warnings, .. }) in &current {
            for warning in warnings {
                let labels = format!("host=\"{host}\",scope=\"{scope}\",warning=\"{warning}\"");
                print_sample(&mut text, "pinhold_health_warning", &labels, 1);
            }
        }
        text
    }

    /// Returns the current policies by the labels of host and scope: a bundle's and a fixed one have
    /// the same.
    fn current(&self) -> BTreeMap<(String, &'static str), Current> {
        let mut current = BTreeMap::<_, Current>::new();
        let policies = self.policies.iter();
        for policy in policies.filter(|it| it.is_current && !it.is_candidate) {
            let labels = (self.host(&policy.host), scope_name(policy.scope));
            let known = current.entry(labels).or_default();
            for pin in &policy.pins {
                let seen = known.pins.entry(pin.pin).or_default();
                *seen = (*seen).max(pin.last_seen);
            }
            let expires = [known.expires, policy.expires].into_iter().flatten();
            known.expires = expires.min();
            known.warnings.extend(&policy.warnings);
        }
        current
    }

    fn print_counts<const COUNT: usize>(
        &self,
        text: &mut String,
        (name, head): &(&str, &str),
        outcomes: impl Fn(&VersionCounts) -> [(&'static str, u64); COUNT],
    ) {
        // In the order of the labels, since that of the names says something about them.
        let mut sums = BTreeMap::<_, u64>::new();
        for policy in &self.policies {
            for of in &policy.versions {
                for (outcome, count) in outcomes(of) {
                    let key = (self.host(&policy.host), &*of.app_version, outcome);
                    let sum = sums.entry(key).or_default();
                    *sum = sum.saturating_add(count);
                }
            }
        }
        text.push_str(head);
        for ((host, app_version, outcome), sum) in sums {
            let labels =
                format!("app_version=\"{app_version}\",host=\"{host}\",outcome=\"{outcome}\"");
            print_sample(text, name, &labels, sum);
        }
    }

    /// Returns the name of a host, or the digest in its place.
    fn host(&self, host: &Host) -> String {
        match self.host_names {
            HostNames::Include => host.as_str().to_owned(),
            HostNames::Omit => {
                let digest = sha256(&[&self.salt, host.as_str().as_bytes()]);
                hex(digest.first_chunk::<DIGEST>().unwrap_or(&[0; DIGEST]))
            }
        }
    }

    /// Returns a pin, or its number in place of it.
    fn pin(&self, index: usize, pin: &SpkiFingerprint) -> String {
        match self.host_names {
            HostNames::Include => pin.to_string(),
            HostNames::Omit => (index + 1).to_string(),
        }
    }
}

/// The current policies of a host with one scope.
#[derive(Default)]
struct Current {
    pins: BTreeMap<SpkiFingerprint, Option<UnixTime>>,
    expires: Option<UnixTime>,
    warnings: BTreeSet<HealthWarning>,
}

impl VersionCounts {
    fn outcomes(&self) -> [(&'static str, u64); 4] {
        [
            ("passed", self.passed),
            ("refused", self.refused),
            ("would_be_refused", self.would_be_refused),
            ("skipped", self.skipped),
        ]
    }

    fn candidate_outcomes(&self) -> [(&'static str, u64); 2] {
        [
            ("candidate_passed", self.candidate_passed),
            (
                "candidate_would_be_refused",
                self.candidate_would_be_refused,
            ),
        ]
    }
}

fn seconds(time: Option<UnixTime>) -> u64 {
    time.map_or(0, |time| time.as_secs())
}

/// Returns a day, such as `2026-11-30`.
fn date(time: UnixTime) -> String {
    let mut date = timestamp::print_capped(time);
    date.truncate("2026-11-30".len());
    date
}

fn print_optional(json: &mut String, name: &str, value: Option<impl Display>) {
    match value {
        Some(value) => append(json, format_args!(r#","{name}":"{value}""#)),
        None => append(json, format_args!(r#","{name}":null"#)),
    }
}

fn print_list<T>(json: &mut String, items: &[T], print: impl Fn(&mut String, &T)) {
    json.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        print(json, item);
    }
    json.push(']');
}

fn print_sample(text: &mut String, name: &str, labels: &str, value: u64) {
    append(text, format_args!("{name}{{{labels}}} {value}\n"));
}

fn append(text: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a `String` does not fail.
    let _ = text.write_fmt(part);
}

/// The bytes of a digest of a host name: two hosts of one installation do not share one.
const DIGEST: usize = 8;
const CONNECTIONS: (&str, &str) = (
    "pinhold_connections_total",
    "# HELP pinhold_connections_total Connections to pinned hosts, by what the pins decided.\n\
     # TYPE pinhold_connections_total counter\n",
);
const CANDIDATES: (&str, &str) = (
    "pinhold_candidate_connections_total",
    "# HELP pinhold_candidate_connections_total Connections by what candidate pins would decide.\n\
     # TYPE pinhold_candidate_connections_total counter\n",
);
const PIN_SEEN: &str = "# HELP pinhold_pin_last_seen_timestamp_seconds The last day on which a pin was seen, 0 if never.\n\
     # TYPE pinhold_pin_last_seen_timestamp_seconds gauge\n";
const EXPIRY: &str = "# HELP pinhold_policy_expiry_timestamp_seconds When the policy expires.\n\
     # TYPE pinhold_policy_expiry_timestamp_seconds gauge\n";
const WARNINGS: &str = "# HELP pinhold_health_warning 1 for each warning that holds.\n\
     # TYPE pinhold_health_warning gauge\n";
