//! `pinhold store`: what a file of noted pins holds, and how it is changed and mended.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use clap::{Args, Subcommand};
use pinhold::policy::{HostMatch, KnownPinnedHost, ReportUri};
use pinhold::storage::{Storage, StorageError};
use pinhold::{FileStorage, Host, PinStore};
use rustls_pki_types::UnixTime;
use serde_json::{Value, json};
use spki::der::DateTime;

use crate::output::{Failure, Output};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The file of noted pins
    // Expected by `run`: clap knows no global option that is required.
    #[arg(long, global = true, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Say whether the file is sound, and change nothing
    Check,
    /// Remove all entries
    Clear {
        /// Only those noted or refreshed at this time or later, as in 2026-11-23T04:16:53Z
        #[arg(long, value_name = "RFC3339", value_parser = moment)]
        since: Option<UnixTime>,
    },
    /// Remove the entry of this very name
    Forget {
        /// The name; entries of names above it stay
        #[arg(value_parser = Host::parse)]
        host: Host,
    },
    /// Print all entries, expired ones included
    List,
    /// Say which entry applies to a name now
    Query {
        /// The name that a client connects to
        host: String,
    },
    /// Keep the entries of a damaged file that verify, and put the file aside
    Recover,
}

pub(crate) fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let Some(file) = arguments.file else {
        return Err(Failure::Usage(
            "no --file, expected the file of noted pins".to_owned(),
        ));
    };
    // A mistyped path must not look like a store without entries.
    if fs::symlink_metadata(&file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(Failure::input(&file.display().to_string(), "no such file"));
    }
    match arguments.action {
        Action::Check => check(&file, output),
        Action::Clear { since } => clear(&file, since, output),
        Action::Forget { host } => forget(&file, &host, output),
        Action::List => list(&file, output),
        Action::Query { host } => query(&file, &host, output),
        Action::Recover => recover(&file, output),
    }
}

/// Opens a file that must be sound, or absent.
pub(crate) fn open(file: &Path) -> Result<PinStore, Failure> {
    PinStore::open(FileStorage::new(file)).map_err(Failure::Storage)
}

fn check(file: &Path, output: Output) -> Result<(), Failure> {
    let hosts = open(file)?.list();
    let now = UnixTime::now();
    let expired = hosts.iter().filter(|known| known.is_expired(now)).count();
    let live = hosts.len() - expired;
    let json = json!({
        "file": file.display().to_string(),
        "hosts": hosts.len(),
        "live": live,
        "expired": expired,
    });
    let file = file.display();
    output.print(
        &json,
        &format_args!("{file} is sound: {live} live, {expired} expired"),
    )
}

fn clear(file: &Path, since: Option<UnixTime>, output: Output) -> Result<(), Failure> {
    let store = open(file)?;
    let since = since.unwrap_or(UnixTime::since_unix_epoch(Duration::ZERO));
    // What other processes noted meanwhile goes, too, but is not counted.
    let cleared = store.list().into_iter();
    let cleared = cleared.filter(|known| known.noted_at >= since).count();
    store.clear_since(since);
    store.flush().map_err(Failure::NotStored)?;
    let kept = store.list().len();
    let json = json!({ "cleared": cleared, "kept": kept });
    output.print(&json, &format_args!("{cleared} removed, {kept} kept"))
}

fn forget(file: &Path, host: &Host, output: Output) -> Result<(), Failure> {
    let store = open(file)?;
    let forgotten = store.forget(host).is_some();
    store.flush().map_err(Failure::NotStored)?;
    // An entry further up stays; whoever forgets a host wants to know.
    let applied = store.query(host, UnixTime::now());
    let policy = applied.as_ref().map(|(_, known)| known.host.as_str());
    let json = json!({ "host": host.as_str(), "forgotten": forgotten, "policy": policy });
    let mut text = if forgotten {
        format!("{host} is forgotten")
    } else {
        format!("{host} was not known")
    };
    if let Some(policy) = policy {
        text += &format!(", but is still under the noted pins of {policy}");
    }
    output.print(&json, &text)
}

fn list(file: &Path, output: Output) -> Result<(), Failure> {
    let hosts = open(file)?.list();
    let now = UnixTime::now();
    let entries = hosts.iter().map(|known| entry(known, now));
    let json = json!({
        "file": file.display().to_string(),
        "hosts": entries.collect::<Vec<_>>(),
    });
    let width = hosts.iter().map(|known| known.host.as_str().len()).max();
    let lines = hosts.iter().map(|known| {
        format!(
            "{:<width$}  {}  noted {}  {} {}  pins {}",
            known.host.as_str(),
            if known.includes_subdomains {
                "subdomains"
            } else {
                "-         "
            },
            time(known.noted_at),
            if known.is_expired(now) {
                "EXPIRED"
            } else {
                "expires"
            },
            time(known.expires_at),
            known.pins.len(),
            width = width.unwrap_or_default(),
        )
    });
    if hosts.is_empty() {
        output.print(&json, &"no entries")
    } else {
        output.print(&json, &lines.collect::<Vec<_>>().join("\n"))
    }
}

fn entry(known: &KnownPinnedHost, now: UnixTime) -> Value {
    json!({
        "host": known.host.as_str(),
        "pins": pins(known),
        "include_subdomains": known.includes_subdomains,
        "report_uri": known.report_uri.as_ref().map(ReportUri::as_str),
        "noted_at": time(known.noted_at),
        "expires_at": time(known.expires_at),
        "expired": known.is_expired(now),
    })
}

fn query(file: &Path, name: &str, output: Output) -> Result<(), Failure> {
    let store = open(file)?;
    let parsed = Host::parse(name);
    let host = parsed.as_ref().ok();
    let applied = host.and_then(|host| store.query(host, UnixTime::now()));
    let why = applied.as_ref().map(|(matched, _)| match matched {
        HostMatch::Superdomain => "superdomain",
        _ => "congruent",
    });
    let known = applied.as_ref().map(|(_, known)| &**known);
    let report_uri = known.and_then(|known| known.report_uri.as_ref());
    let json = json!({
        "host": host.map(Host::as_str),
        "policy": known.map(|known| known.host.as_str()),
        "why": why,
        "pins": known.map_or_else(Vec::new, pins),
        "include_subdomains": known.map(|known| known.includes_subdomains),
        "report_uri": report_uri.map(ReportUri::as_str),
        "noted_at": known.map(|known| time(known.noted_at)),
        "expires_at": known.map(|known| time(known.expires_at)),
    });
    let text = match (&parsed, known, why) {
        (Err(error), ..) => format!("never pinned: {error}"),
        (Ok(host), Some(known), Some(why)) => {
            let policy = &known.host;
            format!(
                "{host} is under the noted pins of {policy} ({why})\n{}",
                details(known)
            )
        }
        (Ok(host), ..) => format!("{host} is under no noted pins"),
    };
    output.print(&json, &text)
}

/// What an entry says, a line each.
fn details(known: &KnownPinnedHost) -> String {
    let mut lines = Vec::new();
    lines.extend(known.pins.iter().map(|pin| format!("  pin         {pin}")));
    if known.includes_subdomains {
        lines.push("  subdomains  included".to_owned());
    }
    let report_uri = known.report_uri.as_ref();
    lines.extend(report_uri.map(|uri| format!("  report-uri  {}", uri.as_str())));
    lines.push(format!("  noted       {}", time(known.noted_at)));
    lines.push(format!("  expires     {}", time(known.expires_at)));
    lines.join("\n")
}

fn recover(file: &Path, output: Output) -> Result<(), Failure> {
    let (store, trouble) = PinStore::open_or_recover(FileStorage::new(file));
    let trouble = trouble.map(|error| mended(&store, error)).transpose()?;
    // Mended is what opens strictly.
    let kept = FileStorage::new(file).load().map_err(Failure::Storage)?;
    let kept = kept.len();
    let (corruption, moved_to) = match &trouble {
        Some(StorageError::Corrupt {
            corruption,
            moved_to,
            ..
        }) => (Some(corruption), moved_to.as_ref()),
        _ => (None, None),
    };
    let json = json!({
        "file": file.display().to_string(),
        "corruption": corruption.map(ToString::to_string),
        "kept": kept,
        "moved_to": moved_to.map(|path| path.display().to_string()),
    });
    let file = file.display();
    let text = match (corruption, moved_to) {
        (None, _) => format!("{file} is sound: nothing to do"),
        (Some(corruption), None) => format!("{file}: {corruption}; another process has mended it"),
        (Some(corruption), Some(moved_to)) => format!(
            "{file}: {corruption}; entries kept: {kept}; the damaged file is now {}",
            moved_to.display()
        ),
    };
    output.print(&json, &text)
}

/// What was wrong with a file that is mended now.
fn mended(store: &PinStore, trouble: StorageError) -> Result<StorageError, Failure> {
    match trouble {
        StorageError::Corrupt { moved_to: None, .. } => {
            // Opening does not tell why the file could not be replaced. A change that changes
            // nothing has it tried again, and that tells.
            store.clear_since(UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX)));
            match store.flush() {
                Ok(()) => Ok(trouble),
                Err(error @ StorageError::Corrupt { .. }) => Ok(error),
                Err(error) => Err(Failure::NotStored(error)),
            }
        }
        StorageError::Corrupt { .. } => Ok(trouble),
        error => Err(Failure::Storage(error)),
    }
}

fn pins(known: &KnownPinnedHost) -> Vec<String> {
    known.pins.iter().map(ToString::to_string).collect()
}

fn time(time: UnixTime) -> String {
    // Beyond what RFC 3339 can say, the last second that it can.
    DateTime::from_unix_duration(Duration::from_secs(time.as_secs())).map_or_else(
        |_| "9999-12-31T23:59:59Z".to_owned(),
        |time| time.to_string(),
    )
}

fn moment(text: &str) -> Result<UnixTime, String> {
    let time = text.parse::<DateTime>();
    let time = time.map_err(|_| format!("{text:?}, expected UTC as in 2026-11-23T04:16:53Z"))?;
    Ok(UnixTime::since_unix_epoch(time.unix_duration()))
}
