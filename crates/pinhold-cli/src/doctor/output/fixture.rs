//! Reports for tests: every state, every kind of finding, and hostile texts.

use std::time::Duration;

use pinhold::policy::{PinRole, Scope};
use pinhold::{Host, SpkiFingerprint, UserAddedRoots};
use rustls::pki_types::UnixTime;

use crate::doctor::forecast::{
    Certainty, ChainForecast, DataAge, Finding, HostForecast, LockOut, PathForecast, PinForecast,
    Report, RootStore, Severity, Span, SpanKind,
};
use crate::doctor::subject::{Expiry, Pin, Probe, Staleness, Subject};

/// 2026-11-30T12:00:00Z.
pub(super) const AT: u64 = 1_796_040_000;

/// Texts that break out of quotes, elements and lines, where a format lets them.
pub(super) const HOSTILE: [&str; 7] = [
    "<script>document.title='run'</script>",
    "\"><img src=https://attacker.example/x onerror=document.title='run'>",
    "</style></title></svg><iframe src=https://attacker.example/></iframe>",
    "]]>&amp;<!-- --><?xml \u{0}\u{1b}[2J\u{9b}31m\r\nforged: line",
    "\u{202e}gpj.exe\u{2066}\u{200b}\u{feff}\u{2028}",
    "' onmouseover='run() `$(id)` {0} [a](https://attacker.example)",
    "\u{fffe}\u{ffff}\u{7f}",
];

pub(super) fn time(day: i64) -> UnixTime {
    let seconds = i64::try_from(AT).unwrap() + day * 86_400;
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap()))
}

pub(super) fn fingerprint(index: u8) -> SpkiFingerprint {
    let mut digest = [index; 32];
    // The text of 32 equal bytes is refused as a placeholder.
    digest[31] = !index;
    SpkiFingerprint::from_digest(digest)
}

fn pin(role: PinRole, index: u8) -> Pin {
    Pin {
        role,
        fingerprint: fingerprint(index),
    }
}

pub(super) fn lock_out(day: i64, certainty: Certainty, reason: &str) -> LockOut {
    LockOut {
        at: time(day),
        certainty,
        reason: reason.to_owned(),
    }
}

pub(super) fn finding(id: &'static str, severity: Severity, day: Option<i64>) -> Finding {
    Finding {
        id,
        severity,
        date: day.map(time),
        certainty: Certainty::Certain,
        evidence: format!("the evidence of {id}, with what was seen and what follows from it"),
        remedy: "add a backup pin of a key that you hold offline, and release it before this date",
    }
}

pub(super) fn span(kind: SpanKind, label: &str, from: i64, until: Option<i64>) -> Span {
    Span {
        kind,
        label: label.to_owned(),
        from: Some(time(from)),
        until: until.map(time),
        certainty: Certainty::Certain,
        is_pinned: matches!(kind, SpanKind::Pin | SpanKind::Backup),
    }
}

fn path(names: &[&str], roots: RootStore, until: i64, is_pinned: bool) -> PathForecast {
    PathForecast {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        roots,
        until: Some(time(until)),
        is_pinned,
    }
}

/// A host that holds: a leaf, an intermediate, and a pinned root with a backup.
pub(super) fn healthy(name: &str) -> HostForecast {
    let pins = [pin(PinRole::Any, 1), pin(PinRole::Any, 2)];
    let mut root = span(SpanKind::Root, "ISRG Root X1", -4000, Some(3100));
    root.is_pinned = true;
    HostForecast {
        subject: Subject {
            host: Host::parse(name).unwrap(),
            scope: Scope::Host,
            source: "pins.json".to_owned(),
            probe: Probe::Name(Host::parse(name).unwrap()),
            port: 443,
            groups: vec![pins.to_vec()],
            expiry: None,
            staleness: None,
            is_enforced: true,
            refused_keys: Vec::new(),
            user_added_roots: UserAddedRoots::SkipPins,
        },
        chains: vec![chain(name, "TLS 1.2"), chain(name, "TLS 1.3")],
        pins: vec![
            pin_forecast(pins[0], "root ISRG Root X1", true),
            pin_forecast(pins[1], "unknown key", false),
        ],
        lock_out: None,
        findings: Vec::new(),
        timeline: vec![
            span(SpanKind::Leaf, name, -20, Some(40)),
            span(SpanKind::Intermediate, "Let's Encrypt E7", -300, Some(470)),
            root,
            span(SpanKind::Pin, "root ISRG Root X1", -4000, Some(3100)),
            span(SpanKind::Backup, "unknown key", -30, None),
        ],
    }
}

fn chain(name: &str, version: &str) -> ChainForecast {
    let names = [name, "Let's Encrypt E7", "ISRG Root X1"];
    ChainForecast {
        source: format!("192.0.2.1:443, {version}"),
        failure: None,
        paths: vec![
            path(&names, RootStore::Mozilla, 40, true),
            path(&names, RootStore::Platform, 40, true),
        ],
    }
}

fn pin_forecast(pin: Pin, name: &str, holds: bool) -> PinForecast {
    PinForecast {
        pin,
        name: name.to_owned(),
        holds: Some(holds),
        end: None,
        remedy: None,
    }
}

fn locked_out() -> HostForecast {
    let mut host = healthy("pay.example.com");
    host.chains[0].paths[0].is_pinned = false;
    host.pins[0].holds = Some(false);
    host.pins[0].end = Some(lock_out(-3, Certainty::Certain, "the chain changed"));
    host.lock_out = Some(lock_out(
        -3,
        Certainty::Certain,
        "no valid path contains a pin",
    ));
    host.findings = vec![
        finding("locked-out", Severity::LockedOut, None),
        finding("one-ca", Severity::Warning, None),
    ];
    host
}

fn soon() -> HostForecast {
    let mut host = healthy("api.example.com");
    let reason = "the pinned leaf expires, and the key of the next one is not pinned";
    host.lock_out = Some(lock_out(20, Certainty::Certain, reason));
    host.pins[0].end = Some(lock_out(20, Certainty::Certain, "the certificate expires"));
    host.pins[0].remedy = Some("pin the key of the next certificate before");
    host.findings = vec![finding("leaf-expiry", Severity::Error, Some(20))];
    host.subject.groups = vec![
        vec![pin(PinRole::Leaf, 1), pin(PinRole::Leaf, 2)],
        vec![pin(PinRole::Ca, 3)],
    ];
    host.timeline[0].is_pinned = true;
    host.timeline[0].until = Some(time(20));
    host
}

fn later() -> HostForecast {
    let mut host = healthy("files.example.com");
    let reason = "Starfield Services Root G2 leaves Mozilla's programme";
    host.lock_out = Some(lock_out(200, Certainty::Announced, reason));
    let mut finding = finding("root-leaves-mozilla", Severity::Error, Some(200));
    finding.certainty = Certainty::Announced;
    let notice = self::finding("addresses-differ", Severity::Notice, None);
    host.findings = vec![finding, notice];
    host.timeline[2].until = Some(time(200));
    host.timeline[2].certainty = Certainty::Announced;
    host.subject.staleness = Some(Staleness {
        at: time(90),
        then: "enforce",
    });
    host.subject.expiry = Some(Expiry {
        at: time(365),
        refuses: false,
    });
    host.timeline
        .push(span(SpanKind::Policy, "policy", -100, Some(365)));
    host
}

fn risk() -> HostForecast {
    let mut host = healthy("www.example.com");
    let mut finding = finding("rotating-intermediate", Severity::Warning, None);
    finding.certainty = Certainty::Risk;
    host.findings = vec![finding];
    host.timeline[1].certainty = Certainty::Risk;
    host.timeline[1].is_pinned = true;
    host.subject.scope = Scope::HostAndSubdomains;
    host
}

fn not_probed(scope: Scope, name: &str) -> HostForecast {
    let mut host = healthy(name);
    host.subject.scope = scope;
    host.subject.probe = Probe::NotProbed;
    host.chains = Vec::new();
    host.pins.iter_mut().for_each(|pin| pin.holds = None);
    host.timeline.drain(..3);
    host
}

fn failed() -> HostForecast {
    let mut host = not_probed(Scope::Host, "down.example.com");
    host.subject.is_enforced = false;
    host.chains = vec![ChainForecast {
        source: "192.0.2.7:443, TLS 1.3".to_owned(),
        failure: Some("connection refused".to_owned()),
        paths: Vec::new(),
    }];
    host
}

fn undated() -> HostForecast {
    let mut host = healthy("old.example.com");
    host.findings = vec![finding("certificate-pin", Severity::Error, None)];
    host
}

/// A host all of whose texts are hostile.
pub(super) fn hostile() -> HostForecast {
    let mut host = locked_out();
    let name = format!("{}.example.org", ["a".repeat(60).as_str(); 3].join("."));
    host.subject.host = Host::parse(&name).unwrap();
    let all = HOSTILE.concat();
    host.subject.source = HOSTILE[1].to_owned();
    host.chains[0].source = HOSTILE[0].to_owned();
    host.chains[0].failure = Some(all.clone());
    host.chains[1].paths[0].names = HOSTILE.iter().map(|it| (*it).to_owned()).collect();
    host.lock_out = Some(lock_out(-1, Certainty::Certain, &all));
    host.findings[0].evidence.clone_from(&all);
    host.findings[1].evidence = "n".repeat(200);
    host.pins[0].name.clone_from(&all);
    host.pins[0].end = Some(lock_out(5, Certainty::Risk, &all));
    for (span, text) in host.timeline.iter_mut().zip(HOSTILE) {
        text.clone_into(&mut span.label);
    }
    host.timeline[4].label = "w".repeat(200);
    host
}

fn with_hosts(hosts: Vec<HostForecast>) -> Report {
    Report {
        at: time(0),
        fail_before: time(30),
        data: DataAge {
            date: time(-100),
            source: "compiled in".to_owned(),
            days: 100,
        },
        general: vec![finding("data-old", Severity::Warning, None)],
        hosts,
    }
}

/// A host of each kind.
pub(super) fn every_kind() -> Report {
    with_hosts(vec![
        healthy("ok.example.com"),
        later(),
        not_probed(Scope::Subdomains, "cdn.example.com"),
        risk(),
        soon(),
        not_probed(Scope::OneLabel, "apps.example.com"),
        failed(),
        locked_out(),
        undated(),
    ])
}

/// A report in which a party outside has chosen every text.
pub(super) fn with_hostile_texts() -> Report {
    let mut report = with_hosts(vec![hostile(), healthy("ok.example.com")]);
    report.data.source = HOSTILE.concat();
    report.general[0].evidence = HOSTILE.concat();
    report
}

/// 200 hosts, nearly all of which hold.
pub(super) fn many() -> Report {
    let mut hosts = (0..191)
        .map(|index| healthy(&format!("host-{index}.example.net")))
        .collect::<Vec<_>>();
    hosts.extend(every_kind().hosts);
    with_hosts(hosts)
}
