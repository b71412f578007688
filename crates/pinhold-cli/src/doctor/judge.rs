//! Judges pinned names: their valid paths, the future of each pin, and the findings of all rules.

pub(in crate::doctor) mod case;
pub(in crate::doctor) mod facts;
pub(in crate::doctor) mod future;
mod lock_out;
pub(in crate::doctor) mod paths;
mod roots;
mod served;
mod timeline;

use rustls::pki_types::UnixTime;

pub(super) use crate::doctor::judge::roots::Roots;

use crate::doctor::forecast::{ChainForecast, HostForecast, PathForecast, PinForecast, Report};
use crate::doctor::judge::case::{Case, Setting};
use crate::doctor::judge::facts::Facts;
use crate::doctor::observation::Observations;
use crate::doctor::pki::PkiData;
use crate::doctor::rules;
use crate::doctor::subject::Subject;
use crate::pins::check::known::Known;
use crate::suffixes;

/// Judges each name as of `at`.
pub(super) fn report(
    judged: Vec<(Subject, Observations)>,
    data: &PkiData,
    roots: &Roots,
    at: UnixTime,
    fail_before: UnixTime,
) -> Report {
    let suffixes = suffixes::load();
    let mut known = Known::of_roots();
    for (subject, observations) in &judged {
        let served = observations
            .chains
            .iter()
            .filter_map(|it| it.served.as_ref().ok());
        for certificate in served.flatten() {
            known.add(certificate, subject.host.as_str());
        }
    }
    let setting = Setting {
        facts: Facts::new(data, roots, at),
        roots,
        known,
        suffixes: suffixes.as_ref(),
        at,
    };
    let hosts = judged
        .into_iter()
        .map(|(subject, observations)| forecast(subject, &observations, &setting));
    let age = data.age(at);
    Report {
        at,
        fail_before,
        general: rules::general(&age, &setting),
        data: age,
        hosts: hosts.collect(),
    }
}

fn forecast(subject: Subject, observations: &Observations, setting: &Setting<'_>) -> HostForecast {
    let case = Case::new(&subject, observations, setting);
    let chains = case.chains.iter().map(|chain| ChainForecast {
        source: chain.source.clone(),
        failure: chain.failure(),
        paths: chain.paths().map(path).collect(),
    });
    let (chains, pins) = (chains.collect(), case.pins().map(pin).collect());
    let (findings, timeline) = (rules::findings(&case), timeline::spans(&case));
    let lock_out = case.lock_out.clone();
    HostForecast {
        subject,
        chains,
        pins,
        lock_out,
        findings,
        timeline,
    }
}

fn path(path: &paths::ValidPath) -> PathForecast {
    PathForecast {
        names: path.names().to_vec(),
        roots: path.store,
        until: path.until,
        is_pinned: path.is_pinned,
    }
}

fn pin(future: &future::Future<'_>) -> PinForecast {
    PinForecast {
        pin: future.pin,
        name: future.name.clone(),
        holds: future.holds,
        end: future.end.clone(),
        remedy: future.remedy(),
    }
}
