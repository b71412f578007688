//! The command `pinhold store`: inspects, changes and recovers a store file of noted pins and known
//! HSTS hosts.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use clap::{Args, Subcommand};
use pinhold::policy::{HostMatch, KnownPinnedHost, ReportUri};
use pinhold::storage::{Change, Merged, Record, Storage, StorageError};
use pinhold::{FileStorage, Host, PinStore};
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};

use crate::clock;
use crate::failure::Failure;
use crate::output::{Output, counted};
use crate::rfc3339;
use crate::storage_error::is_other_file;
use crate::store_hsts;
use crate::style::{BAD, paint};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Store file of noted pins and HSTS hosts (required)
    // `run` requires it: clap has no global options that are required.
    #[arg(long, global = true, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Check whether the file is intact, without changing it
    Check,
    /// Remove all entries
    Clear {
        /// Remove only entries noted or refreshed at or after this time, such as
        /// 2026-11-23T04:16:53Z
        #[arg(long, value_name = "RFC3339", value_parser = rfc3339::parse)]
        since: Option<UnixTime>,
    },
    /// Remove the entries of a host: noted pins and HSTS
    Forget {
        /// Host name; entries of its superdomains remain
        #[arg(value_parser = Host::parse)]
        host: Host,
    },
    /// List all entries, including expired ones
    List,
    /// Show which entries apply to a host name now
    Query {
        /// Host name to which a client connects
        host: String,
    },
    /// Replace a corrupt file by its readable entries, and keep it under another name
    Recover,
}

pub(crate) fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let Some(file) = arguments.file else {
        return Err(Failure::Usage(
            "--file is missing, expected the store file of noted pins".to_owned(),
        ));
    };
    ensure_exists(&file)?;
    match arguments.action {
        Action::Check => check(&file, output),
        Action::Clear { since } => clear(&file, since, output),
        Action::Forget { host } => forget(&file, &host, output),
        Action::List => list(&file, output),
        Action::Query { host } => query(&file, &host, output),
        Action::Recover => recover(&file, output),
    }
}

/// Fails for a path that is mistyped, which must not look like a store without entries, as it would
/// to `PinStore::open`.
fn ensure_exists(file: &Path) -> Result<(), Failure> {
    if fs::symlink_metadata(file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(Failure::input(
            &file.display().to_string(),
            "no such file, expected a store file of noted pins",
        ));
    }
    Ok(())
}

/// Opens a store file that exists, and writes nothing to it.
pub(crate) fn open_to_read(file: &Path) -> Result<PinStore, Failure> {
    ensure_exists(file)?;
    let file = ReadOnly(FileStorage::new(file));
    PinStore::open(file).map_err(Failure::StorageRead)
}

/// A store file that is only read: changes are made in memory.
struct ReadOnly(FileStorage);

impl Storage for ReadOnly {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        self.0.load()
    }

    fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
        Ok(Merged::Nothing)
    }
}

/// Opens a store file, which must be intact or absent.
pub(crate) fn open(file: &Path) -> Result<PinStore, Failure> {
    PinStore::open(FileStorage::new(file)).map_err(Failure::StorageRead)
}

fn check(file: &Path, output: Output) -> Result<(), Failure> {
    let store = open(file)?;
    let (hosts, hsts) = (store.list(), store.hsts_hosts());
    let now = clock::now();
    let expired = hosts.iter().filter(|known| known.is_expired(now)).count()
        + hsts.iter().filter(|known| known.is_expired(now)).count();
    let live = hosts.len() + hsts.len() - expired;
    let json = json!({
        "file": file.display().to_string(),
        "hosts": hosts.len(),
        "hsts": hsts.len(),
        "live": live,
        "expired": expired,
    });
    let file = file.display();
    let live = counted(live, "live entry", "live entries");
    output.print(
        &json,
        &format_args!("{file} is intact: {live}, {expired} expired"),
    )
}

fn clear(file: &Path, since: Option<UnixTime>, output: Output) -> Result<(), Failure> {
    let store = open(file)?;
    let since = since.unwrap_or(UnixTime::since_unix_epoch(Duration::ZERO));
    // Entries that other processes note in the meantime are removed, too, but not counted.
    let cleared = store.list().into_iter();
    let cleared = cleared.filter(|known| known.noted_at >= since).count()
        + store_hsts::noted_since(&store.hsts_hosts(), since);
    store.clear_since(since);
    store.flush().map_err(Failure::StorageWrite)?;
    let kept = store.list().len() + store.hsts_hosts().len();
    let json = json!({ "cleared": cleared, "kept": kept });
    let cleared = counted(cleared, "entry", "entries");
    output.print(&json, &format_args!("{cleared} removed, {kept} kept"))
}

fn forget(file: &Path, host: &Host, output: Output) -> Result<(), Failure> {
    let store = open(file)?;
    let forgotten = store.forget(host).is_some();
    let (hsts, hsts_text) = store_hsts::forget(&store, host, clock::now());
    store.flush().map_err(Failure::StorageWrite)?;
    // The entry of a superdomain may still apply, which the user would not expect.
    let applied = store.query(host, clock::now());
    let policy = applied.as_ref().map(|(_, known)| known.host.as_str());
    let json = json!({
        "host": host.as_str(),
        "forgotten": forgotten,
        "policy": policy,
        "hsts": hsts,
    });
    let mut text = if forgotten {
        format!("the entry of {host} was removed")
    } else {
        format!("{host} has no noted pins")
    };
    if let Some(policy) = policy {
        text += &format!("; the noted pins of {policy} still apply to it");
    }
    if let Some(hsts) = hsts_text {
        text += &format!("; {hsts}");
    }
    output.print(&json, &text)
}

fn list(file: &Path, output: Output) -> Result<(), Failure> {
    let store = open(file)?;
    let (hosts, hsts) = (store.list(), store.hsts_hosts());
    let now = clock::now();
    let entries = hosts.iter().map(|known| entry(known, now));
    let json = json!({
        "file": file.display().to_string(),
        "hosts": entries.collect::<Vec<_>>(),
        "hsts": hsts.iter().map(|known| store_hsts::entry(known, now)).collect::<Vec<_>>(),
    });
    let names = hosts.iter().map(|known| &known.host);
    let names = names.chain(hsts.iter().map(|known| &known.host));
    let width = names.map(|host| host.as_str().len()).max().unwrap_or(0);
    let pinned = hosts.iter().map(|known| Row {
        host: &known.host,
        includes_subdomains: known.includes_subdomains,
        is_confirmed: known.is_confirmed(),
        seen_since: known.seen_since,
        noted_at: known.noted_at,
        expires_at: known.expires_at,
        content: counted(known.pins.len(), "pin", "pins"),
    });
    let secure = hsts.iter().map(|known| Row {
        host: &known.host,
        includes_subdomains: known.includes_subdomains,
        is_confirmed: known.is_confirmed(),
        seen_since: known.seen_since,
        noted_at: known.noted_at,
        expires_at: known.expires_at,
        content: "HSTS".to_owned(),
    });
    let lines = pinned.chain(secure).map(|row| row.line(width, now));
    let lines = lines.collect::<Vec<_>>();
    if lines.is_empty() {
        output.print(&json, &"no entries")
    } else {
        output.print(&json, &lines.join("\n"))
    }
}

/// What a line of `list` shows.
struct Row<'a> {
    host: &'a Host,
    includes_subdomains: bool,
    is_confirmed: bool,
    seen_since: UnixTime,
    noted_at: UnixTime,
    expires_at: UnixTime,
    /// What is noted of the host.
    content: String,
}

impl Row<'_> {
    fn line(&self, width: usize, now: UnixTime) -> String {
        format!(
            "{:<width$}  {}  {}  seen since {}  noted {}  {} {}  {}",
            self.host.as_str(),
            if self.includes_subdomains {
                "subdomains"
            } else {
                "-         "
            },
            if self.is_confirmed {
                "confirmed"
            } else {
                "-        "
            },
            rfc3339::print(self.seen_since),
            rfc3339::print(self.noted_at),
            if now > self.expires_at {
                paint(BAD, "EXPIRED")
            } else {
                "expires".to_owned()
            },
            rfc3339::print(self.expires_at),
            self.content,
        )
    }
}

fn entry(known: &KnownPinnedHost, now: UnixTime) -> Value {
    json!({
        "host": known.host.as_str(),
        "pins": pins(known),
        "include_subdomains": known.includes_subdomains,
        "report_uri": known.report_uri.as_ref().map(ReportUri::as_str),
        "seen_since": rfc3339::print(known.seen_since),
        "confirmed": known.is_confirmed(),
        "noted_at": rfc3339::print(known.noted_at),
        "expires_at": rfc3339::print(known.expires_at),
        "expired": known.is_expired(now),
    })
}

fn query(file: &Path, name: &str, output: Output) -> Result<(), Failure> {
    let store = open(file)?;
    let parsed = Host::parse(name);
    let host = parsed.as_ref().ok();
    let applied = host.and_then(|host| store.query(host, clock::now()));
    let why = applied.as_ref().map(|(matched, _)| match matched {
        HostMatch::Superdomain => "superdomain",
        _ => "congruent",
    });
    let known = applied.as_ref().map(|(_, known)| &**known);
    let report_uri = known.and_then(|known| known.report_uri.as_ref());
    let hsts = host.map(|host| store_hsts::query(&store, host, clock::now()));
    let (hsts, hsts_text) = hsts.unwrap_or_default();
    let json = json!({
        "host": host.map(Host::as_str),
        "policy": known.map(|known| known.host.as_str()),
        "why": why,
        "pins": known.map_or_else(Vec::new, pins),
        "include_subdomains": known.map(|known| known.includes_subdomains),
        "report_uri": report_uri.map(ReportUri::as_str),
        "noted_at": known.map(|known| rfc3339::print(known.noted_at)),
        "expires_at": known.map(|known| rfc3339::print(known.expires_at)),
        "hsts": hsts,
    });
    let mut text = match (&parsed, known, why) {
        (Err(error), ..) => format!("can't be pinned: {error}"),
        (Ok(host), Some(known), Some(why)) => {
            let (policy, details) = (&known.host, details(known));
            format!("the noted pins of {policy} apply to {host} ({why})\n{details}")
        }
        (Ok(host), ..) => format!("no noted pins apply to {host}"),
    };
    if let Some(hsts) = hsts_text {
        text += &format!("\n{hsts}");
    }
    output.print(&json, &text)
}

/// Returns the content of an entry, one item per line.
fn details(known: &KnownPinnedHost) -> String {
    let mut lines = Vec::new();
    lines.extend(known.pins.iter().map(|pin| format!("  pin         {pin}")));
    if known.includes_subdomains {
        lines.push("  subdomains  included".to_owned());
    }
    let report_uri = known.report_uri.as_ref();
    lines.extend(report_uri.map(|uri| format!("  report-uri  {}", uri.as_str())));
    lines.push(format!("  noted       {}", rfc3339::print(known.noted_at)));
    lines.push(format!(
        "  expires     {}",
        rfc3339::print(known.expires_at)
    ));
    lines.join("\n")
}

fn recover(file: &Path, output: Output) -> Result<(), Failure> {
    // For a file of another kind, such as one with certificates, there is nothing to recover.
    match FileStorage::new(file).load() {
        Err(error) if is_other_file(&error) => return Err(Failure::StorageRead(error)),
        _ => {}
    }
    let (store, error) = PinStore::open_or_recover(FileStorage::new(file));
    let error = error
        .map(|error| ensure_replaced(&store, error))
        .transpose()?;
    // Recovery succeeded only if the file can be opened without it.
    let kept = FileStorage::new(file).load();
    let kept = kept.map_err(Failure::StorageRead)?.into_iter();
    let kept = kept.filter(|record| [Record::NOTED_PINS, Record::HSTS].contains(&record.kind()));
    let kept = kept.count();
    let (corruption, moved_to) = match &error {
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
        (None, _) => format!("{file} is intact: nothing to recover"),
        (Some(corruption), None) => {
            format!("{file}: {corruption}; another process has already recovered it")
        }
        (Some(corruption), Some(moved_to)) => {
            let kept = counted(kept, "entry", "entries");
            let moved_to = moved_to.display();
            format!("{file}: {corruption}; {kept} kept; the corrupt file was moved to {moved_to}")
        }
    };
    output.print(&json, &text)
}

/// Returns the corruption that was found, once the file has been replaced by an intact one.
fn ensure_replaced(store: &PinStore, error: StorageError) -> Result<StorageError, Failure> {
    match error {
        StorageError::Corrupt { moved_to: None, .. } => {
            // `open_or_recover` does not return why the file could not be replaced. Clearing no
            // entry makes the store write again, and `flush` returns the reason.
            store.clear_since(UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX)));
            match store.flush() {
                Ok(()) => Ok(error),
                Err(error @ StorageError::Corrupt { .. }) => Ok(error),
                Err(error) => Err(Failure::StorageWrite(error)),
            }
        }
        StorageError::Corrupt { .. } => Ok(error),
        error => Err(Failure::StorageRead(error)),
    }
}

fn pins(known: &KnownPinnedHost) -> Vec<String> {
    known.pins.iter().map(ToString::to_string).collect()
}
