//! The command `pinhold key`: makes a key, which is pinned as a backup before a server uses it, with
//! its certificate signing request.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand, ValueHint};
use pinhold::policy::HostError;
use pinhold::{Host, SpkiFingerprint};
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData, SanType};
use serde_json::json;
use zeroize::{Zeroize, Zeroizing};

use crate::failure::Failure;
use crate::new_file::{NewFile, Readers};
use crate::output::Output;
use crate::refusal::shell_word;
use crate::style::{STRONG, paint};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a key on P-256 and its certificate signing request, and print the pin of the key
    New(New),
}

#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct New {
    /// Files to create, without their extensions: the private key is written to NAME.key, which is
    /// not encrypted, and the request to NAME.csr. No file is overwritten
    #[arg(value_name = "NAME", value_hint = ValueHint::AnyPath)]
    name: PathBuf,
    /// Host to request a certificate for; `*.HOST` is a wildcard
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<CertifiedName>,
}

/// A host name, or a wildcard for the names one label below it.
#[derive(Clone)]
struct CertifiedName(String);

impl FromStr for CertifiedName {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (prefix, host) = match text.strip_prefix("*.") {
            Some(host) => ("*.", host),
            None => ("", text),
        };
        let host = Host::parse(host)?;
        Ok(Self(format!("{prefix}{}", host.as_str())))
    }
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let Action::New(new) = &arguments.action;
    let [key_file, csr_file] = ["key", "csr"].map(|extension| with_suffix(&new.name, extension));
    let made = Made::new(&new.hosts).map_err(|error| Failure::Internal {
        subject: "new key",
        error: io::Error::other(error),
    })?;
    // A file that is not kept is removed, so that both files exist afterwards, or none.
    let create = |path| NewFile::create(path, Readers::Owner, "a NAME of new files");
    let mut key = create(&key_file)?;
    let mut csr = create(&csr_file)?;
    key.write(made.key.as_bytes())?;
    csr.write(made.csr.as_bytes())?;
    key.keep();
    csr.keep();
    let json = json!({
        "key": key_file.display().to_string(),
        "csr": csr_file.display().to_string(),
        "fingerprint": made.pin.to_string(),
        "hosts": new.hosts.iter().map(|host| &host.0).collect::<Vec<_>>(),
    });
    let recipe = recipe(&key_file, &csr_file, !new.hosts.is_empty());
    let pin = paint(STRONG, made.pin);
    output.print(&json, &format!("{pin}\n{recipe}"))
}

/// Appends an extension. `Path::with_extension` would replace that of a name such as `a.example`.
fn with_suffix(name: &Path, extension: &str) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// A new key in PEM, its request, and its pin.
struct Made {
    key: Zeroizing<String>,
    csr: String,
    pin: SpkiFingerprint,
}

impl Made {
    fn new(hosts: &[CertifiedName]) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // RFC 5280 limits a common name to 64 characters. CAs read the alternative names.
        if let Some(host) = hosts.first().filter(|host| host.0.len() <= 64) {
            params
                .distinguished_name
                .push(DnType::CommonName, host.0.as_str());
        }
        for host in hosts {
            let name = Ia5String::try_from(host.0.as_str())?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let mut key = KeyPair::generate()?;
        let spki = key.subject_public_key_info();
        let pin = SpkiFingerprint::of_public_key(&spki.into());
        let made = Self {
            pin: pin.map_err(|_| rcgen::Error::CouldNotParseKeyPair)?,
            csr: params.serialize_request(&key)?.pem()?,
            key: Zeroizing::new(key.serialize_pem()),
        };
        key.zeroize();
        Ok(made)
    }
}

/// Returns what to do with the files.
fn recipe(key: &Path, csr: &Path, has_hosts: bool) -> String {
    let [key, csr] = [key, csr].map(shell_word);
    let request = if has_hosts {
        format!("send {csr} to the CA")
    } else {
        format!(
            "send a request to the CA.\n     {csr} has no names; for a CA that requires them:\n     \
             openssl req -new -key {key} -subj / \\\n     -addext subjectAltName=DNS:HOST"
        )
    };
    format!(
        "  {key}  private key on P-256, not encrypted\n  {csr}  certificate signing request\n\
         What to do:\n  \
         1. Keep {key} offline, as the backup, and on no server. To encrypt it:\n     \
         openssl pkey -in {key} -aes256 -out ENCRYPTED\n  \
         2. Add the pin to the pin file. It is the same that openssl computes:\n     \
         openssl pkey -in {key} -pubout -outform DER |\n     \
         openssl dgst -sha256 -binary | openssl base64\n  \
         3. When the live key must be replaced, {request}"
    )
}

const EXAMPLES: &str = "\
Examples:
  pinhold key new backup --host example.com --host www.example.com
  pinhold fingerprint backup.csr";
