//! The command `pinhold fingerprint`: prints the keys in files and of servers, or their pins in the
//! form of a client's configuration.

use std::path::Path;

use clap::{Args, ValueHint};
use pinhold::{Host, SpkiFingerprint};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};

use crate::certificate::Facts;
use crate::failure::{Failure, RequestFailure};
use crate::key_file::{STANDARD_INPUT, keys_in_file};
use crate::network::{self, NetworkOptions};
use crate::output::{Output, printable};
use crate::pin_format::{self, Format};
use crate::rfc3339;
use crate::server_keys::{served_keys, validated_keys};
use crate::style::{GOOD, STRONG, paint};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Files with certificates, certificate requests, public keys or private keys (PEM or DER),
    /// `-` for standard input, hosts, hosts and ports, or https URLs; a file is preferred to a
    /// host of the same name
    #[arg(value_name = "FILE|HOST[:PORT]|URL", required = true, value_hint = ValueHint::AnyPath)]
    sources: Vec<String>,
    /// Print the keys that a server sends, without validating its chain
    #[arg(long)]
    insecure: bool,
    /// Print the pins in this form: of a server those of the recommended keys, of a file all.
    /// `header` has the pin directives of a Public-Key-Pins header, without its max-age
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    format: Format,
    /// Print pins for this host instead of the servers, with --format pin-file or kotlin
    #[arg(long, value_name = "HOST", value_parser = Host::parse)]
    host: Vec<Host>,
    #[command(flatten)]
    network: NetworkOptions,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    arguments.refuse_meaningless()?;
    let mut sources = Vec::new();
    for name in &arguments.sources {
        sources.push(arguments.read(name).await?);
    }
    if arguments.insecure {
        output.message(&"the chain was not validated: these keys may belong to an attacker");
    }
    match arguments.format {
        Format::Text => print(&sources, output),
        format => pin_format::print(format, &sources, &arguments.host, output),
    }
}

impl Arguments {
    /// Refuses options that have no effect on these sources or on this form.
    fn refuse_meaningless(&self) -> Result<(), Failure> {
        if let Some(file) = self.sources.first()
            && self.sources.iter().all(|source| is_file(source))
            && (self.insecure || !self.network.is_empty())
        {
            let reason = "is a file, expected a host or URL with --insecure and connection options";
            return Err(Failure::input(file, reason));
        }
        if !self.host.is_empty() && !self.format.has_hosts() {
            let reason = "has no effect, expected --format pin-file or kotlin with it";
            return Err(Failure::input("--host", reason));
        }
        Ok(())
    }

    async fn read(&self, name: &str) -> Result<Source, Failure> {
        let is_file = is_file(name);
        let is_missing =
            name != STANDARD_INPUT && matches!(Path::new(name).try_exists(), Ok(false));
        if is_file && is_missing {
            let reason = "no such file; a URL with a path begins with https://";
            return Err(Failure::input(network::without_login(name), reason));
        }
        let keys = if is_file {
            keys_in_file(name)
        } else if self.insecure {
            served_keys(name, &self.network).await
        } else {
            validated_keys(name, &self.network).await
        };
        let keys = keys.map_err(|failure| or_no_file(failure, name))?;
        let uri = (!is_file).then(|| network::url(name)).transpose()?;
        Ok(Source {
            name: name.to_owned(),
            host: uri.and_then(|uri| uri.host().map(str::to_owned)),
            is_validated: !is_file && !self.insecure,
            keys,
        })
    }
}

/// A file or a server with its keys.
pub(crate) struct Source {
    pub(crate) name: String,
    /// The name or address of a server.
    pub(crate) host: Option<String>,
    is_validated: bool,
    pub(crate) keys: Vec<Key>,
}

fn print(sources: &[Source], output: Output) -> Result<(), Failure> {
    let is_only = sources.len() == 1;
    let mut lines = Vec::new();
    let mut certificates = Vec::new();
    for source in sources {
        if !is_only {
            lines.push(format!("{}:", printable(&source.name)));
        }
        lines.extend(source.keys.iter().map(Key::text));
        certificates.extend(source.keys.iter().map(|key| key.json(source)));
    }
    let mut keys = sources.iter().flat_map(|source| &source.keys);
    if keys.any(|key| key.is_recommended()) {
        lines.push(BACKUP.to_owned());
    }
    let json = json!({
        "source": sources.first().filter(|_| is_only).map(|source| &source.name),
        "validated": sources.iter().all(|source| source.is_validated),
        "certificates": certificates,
    });
    output.print(&json, &lines.join("\n"))
}

/// Returns whether the argument is a file and not the name of a server.
fn is_file(source: &str) -> bool {
    let is_path = ["", STANDARD_INPUT].contains(&source) || source.contains(['/', '\\']);
    !source.contains("://") && (is_path || Path::new(source).exists())
}

/// Adds to a failed connection that the argument may have been meant as a file.
fn or_no_file(mut failure: Failure, source: &str) -> Failure {
    if let Failure::Request {
        kind: RequestFailure::Connection,
        detail,
        ..
    } = &mut failure
        && !source.contains("://")
    {
        *detail += "\n  there is no file of this name, either";
    }
    failure
}

/// A key, which is one entry of the result.
#[derive(PartialEq)]
pub(crate) struct Key {
    fingerprint: SpkiFingerprint,
    /// Leaf, intermediate, root, and what is none of these.
    role: &'static str,
    subject: String,
    /// RFC 3339 text. `None` for a public key alone, and for a root of which the certificate is not
    /// available.
    not_after: Option<String>,
    /// The option that a root came from.
    source: Option<&'static str>,
    /// When to pin this key, if it is recommended.
    advice: Option<&'static str>,
}

impl Key {
    /// Returns the key of a certificate, with the role that the certificate itself states unless
    /// another is given.
    pub(crate) fn of_certificate(
        der: &CertificateDer<'_>,
        role: Option<&'static str>,
    ) -> Option<Self> {
        let fingerprint = SpkiFingerprint::of_certificate(der).ok()?;
        let facts = Facts::of(der);
        let stated = match &facts {
            Some(facts) if facts.is_ca && facts.is_self_issued() => "root",
            Some(facts) if facts.is_ca => "intermediate",
            _ => "leaf",
        };
        let not_after = facts.as_ref().map(|facts| rfc3339::print(facts.not_after));
        Some(Self {
            fingerprint,
            role: role.unwrap_or(stated),
            subject: facts.map(|facts| facts.subject).unwrap_or_default(),
            not_after,
            source: None,
            advice: None,
        })
    }

    pub(crate) fn of_public_key(
        der: &SubjectPublicKeyInfoDer<'_>,
        role: &'static str,
    ) -> Option<Self> {
        let fingerprint = SpkiFingerprint::of_public_key(der).ok()?;
        Some(Self::without_certificate(fingerprint, role, String::new()))
    }

    pub(crate) fn without_certificate(
        fingerprint: SpkiFingerprint,
        role: &'static str,
        subject: String,
    ) -> Self {
        Self {
            fingerprint,
            role,
            subject,
            not_after: None,
            source: None,
            advice: None,
        }
    }

    pub(crate) fn with_subject(self, subject: String) -> Self {
        Self { subject, ..self }
    }

    /// Sets the option that a root came from.
    pub(crate) fn with_source(self, source: &'static str) -> Self {
        Self {
            source: Some(source),
            ..self
        }
    }

    /// Adds when to pin this key, if its role recommends it.
    ///
    /// CAs replace intermediates without notice, and Google Trust Services states that only its
    /// roots may be pinned. A leaf's key is replaced with each certificate unless it is kept.
    pub(crate) fn with_advice(self) -> Self {
        let advice = match self.role {
            "csr" | "key" | "private-key" => {
                Some("pin this if it is your server's key, or a backup that is kept offline")
            }
            "leaf" => Some("pin this if you run the server and keep this key at renewal"),
            "root" => Some("pin this if the server stays with this CA: it survives renewals"),
            _ => None,
        };
        Self { advice, ..self }
    }

    pub(crate) fn fingerprint(&self) -> SpkiFingerprint {
        self.fingerprint
    }

    pub(crate) fn is_recommended(&self) -> bool {
        self.advice.is_some()
    }

    /// Returns what a reader of a pin file learns about this key.
    pub(crate) fn comment(&self, source: &str) -> String {
        let subject = if self.subject.is_empty() {
            source
        } else {
            &self.subject
        };
        format!("{}, {subject}", self.role)
    }

    fn text(&self) -> String {
        let (fingerprint, role) = (paint(STRONG, self.fingerprint), self.role);
        let mut text = format!("{fingerprint}  {role}");
        match self.source {
            None => {}
            Some(option) if option.starts_with('-') => text += &format!(" from {option}"),
            Some(source) => text += &format!(" ({source})"),
        }
        let subject = (!self.subject.is_empty()).then(|| self.subject.clone());
        let expiry = self.not_after.as_ref().map(|at| format!("expires {at}"));
        let facts = subject.into_iter().chain(expiry).collect::<Vec<_>>();
        if !facts.is_empty() {
            text += &format!("\n  {}", facts.join("  "));
        }
        if let Some(advice) = self.advice {
            text += &format!("\n  {}", paint(GOOD, advice));
        }
        text
    }

    fn json(&self, source: &Source) -> Value {
        json!({
            "source": source.name,
            "validated": source.is_validated,
            "fingerprint": self.fingerprint.to_string(),
            "subject": self.subject,
            "role": self.role,
            "from": self.source,
            "not_after": self.not_after,
            "pin_this": self.advice,
        })
    }
}

const BACKUP: &str = "Pin a backup, too: a key that is kept offline, or a root of another CA.";

const EXAMPLES: &str = "\
Examples:
  pinhold fingerprint example.com
  pinhold fingerprint example.com:8443 --ca root.pem
  pinhold fingerprint backup.key backup.csr --json
  openssl pkey -in encrypted.key -pubout | pinhold fingerprint -
  pinhold fingerprint example.com backup.key --format pin-file";
