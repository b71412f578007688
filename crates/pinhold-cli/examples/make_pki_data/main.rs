//! Makes the snapshot of facts about CAs that `pinhold doctor` uses, from files given to it. It
//! connects to nothing; `data/README.md` lists the files and where they come from.
//!
//! ```text
//! make_pki_data certificates --facts FILE --chrome-root-store FILE --pem FILE... [--ccadb FILE] --at DATE
//! make_pki_data snapshot --facts FILE --chrome-root-store FILE --certificates FILE [--caa-identifiers FILE]
//! ```

mod ccadb;
mod certificates;
mod chrome;
mod facts;
mod record;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::process::ExitCode;
use std::{env, fs};

use facts::Facts;
use snapshot::Inputs;

fn main() -> ExitCode {
    let arguments = env::args().skip(1).collect::<Vec<_>>();
    let written = run(&arguments).and_then(|file| {
        let written = io::stdout().write_all(&file);
        written.map_err(|error| error.to_string())
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("make_pki_data: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<Vec<u8>, String> {
    let Some((command, options)) = arguments.split_first() else {
        return Err("expected the command `certificates` or `snapshot`".to_owned());
    };
    let options = Options::parse(options)?;
    let facts = options.one("--facts", Facts::read)?;
    let chrome = options.one("--chrome-root-store", |file| {
        chrome::parse(&String::from_utf8_lossy(file))
    })?;
    let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let mozilla = mozilla
        .map(|root| certificates::sha256(root))
        .collect::<BTreeSet<_>>();
    match command.as_str() {
        "certificates" => {
            let mut roots = mozilla;
            roots.extend(chrome.anchors.keys().cloned());
            for root in facts.list("removed_roots")? {
                roots.insert(facts::text(root, "sha256")?.to_owned());
            }
            let ccadb = options.optional("--ccadb", ccadb::certificate_records)?;
            let at = options.value("--at").ok_or("expected the option --at")?;
            let mut given = Vec::new();
            for file in options.values("--pem") {
                given.extend(certificates::in_pem(&read(file)?));
            }
            let selection = certificates::Selection {
                at: record::parse_date(at)?,
                roots: &roots,
                ccadb: &ccadb.unwrap_or_default(),
            };
            record::write(certificates::select(&given, &selection))
        }
        "snapshot" => {
            let caa = options.optional("--caa-identifiers", ccadb::caa_identifiers)?;
            let mut records = options.one("--certificates", record::read)?;
            add_mozilla(&mut records, &mozilla);
            let inputs = Inputs {
                records: &records,
                mozilla: &mozilla,
                chrome: &chrome,
                facts: &facts,
                caa: &caa.unwrap_or_default(),
            };
            snapshot::write(&inputs).map(String::into_bytes)
        }
        command => Err(format!("{command}: expected `certificates` or `snapshot`")),
    }
}

/// Adds the roots of Mozilla's list that no file has.
fn add_mozilla(records: &mut Vec<record::Record>, mozilla: &BTreeSet<String>) {
    let selection = certificates::Selection {
        at: x509_cert::der::DateTime::INFINITY,
        roots: mozilla,
        ccadb: &BTreeMap::new(),
    };
    let roots = certificates::select(webpki_root_certs::TLS_SERVER_ROOT_CERTS, &selection);
    let known = records
        .iter()
        .map(|it| it.sha256.clone())
        .collect::<BTreeSet<_>>();
    records.extend(roots.into_iter().filter(|it| !known.contains(&it.sha256)));
}

/// The options, each with a value.
struct Options(Vec<(String, String)>);

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Vec::new();
        for pair in arguments.chunks(2) {
            match pair {
                [name, value] if OPTIONS.contains(&name.as_str()) => {
                    options.push((name.clone(), value.clone()));
                }
                _ => {
                    return Err(format!(
                        "expected a value for one of {}",
                        OPTIONS.join(", ")
                    ));
                }
            }
        }
        Ok(Self(options))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(option, _)| option == name);
        named.map(|(_, value)| value.as_str())
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// Reads and parses the file of an option.
    fn one<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let parsed = self.optional(name, parse)?;
        parsed.ok_or_else(|| format!("expected the option {name}"))
    }

    fn optional<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let Some(file) = self.value(name) else {
            return Ok(None);
        };
        let parsed = parse(&read(file)?);
        parsed.map(Some).map_err(|error| format!("{file}: {error}"))
    }
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{file}: {error}"))
}

const OPTIONS: [&str; 7] = [
    "--at",
    "--caa-identifiers",
    "--ccadb",
    "--certificates",
    "--chrome-root-store",
    "--facts",
    "--pem",
];
