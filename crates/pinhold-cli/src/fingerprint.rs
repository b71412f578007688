//! The command `pinhold fingerprint`: prints the keys in a file or of a server.

use std::path::Path;

use clap::{Args, ValueHint};
use pinhold::SpkiFingerprint;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};

use crate::certificate::Facts;
use crate::failure::{Failure, RequestFailure};
use crate::network::{self, NetworkOptions};
use crate::output::Output;
use crate::rfc3339;
use crate::server_keys::{served_keys, validated_keys};
use crate::style::{GOOD, STRONG, paint};

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// File with certificates or public keys (PEM or DER), host, host and port, or https URL; a
    /// file is preferred to a host of the same name
    #[arg(value_name = "FILE|HOST[:PORT]|URL", value_hint = ValueHint::AnyPath)]
    source: String,
    /// Print the keys that a server sends, without validating its chain
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    network: NetworkOptions,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let source = arguments.source.as_str();
    let is_file = is_file(source);
    if is_file && (arguments.insecure || !arguments.network.is_empty()) {
        return Err(Failure::input(
            source,
            "is a file, expected a host or URL with --insecure and connection options",
        ));
    }
    if is_file && matches!(Path::new(source).try_exists(), Ok(false)) {
        let reason = "no such file; a URL with a path begins with https://";
        return Err(Failure::input(network::without_login(source), reason));
    }
    let validated = !is_file && !arguments.insecure;
    let keys = if is_file {
        keys_in_file(source)
    } else if arguments.insecure {
        served_keys(source, &arguments.network).await
    } else {
        validated_keys(source, &arguments.network).await
    };
    let keys = keys.map_err(|failure| or_no_file(failure, source))?;
    if arguments.insecure {
        output.message(&"the chain was not validated: these keys may belong to an attacker");
    }
    let mut lines = keys.iter().map(Key::text).collect::<Vec<_>>();
    if keys.iter().any(|key| key.advice.is_some()) {
        lines.push(BACKUP.to_owned());
    }
    let json = json!({
        "source": source,
        "validated": validated,
        "certificates": keys.iter().map(Key::json).collect::<Vec<_>>(),
    });
    output.print(&json, &lines.join("\n"))
}

/// Returns whether the argument is a file and not the name of a server.
fn is_file(source: &str) -> bool {
    let is_path = source.is_empty() || source.contains(['/', '\\']);
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

    fn of_key(der: &SubjectPublicKeyInfoDer<'_>) -> Option<Self> {
        let fingerprint = SpkiFingerprint::of_public_key(der).ok()?;
        Some(Self::without_certificate(fingerprint, "key", String::new()))
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
            "key" => Some("pin this if it is your server's key, or a backup that is kept offline"),
            "leaf" => Some("pin this if you run the server and keep this key at renewal"),
            "root" => Some("pin this if the server stays with this CA: it survives renewals"),
            _ => None,
        };
        Self { advice, ..self }
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

    fn json(&self) -> Value {
        json!({
            "fingerprint": self.fingerprint.to_string(),
            "subject": self.subject,
            "role": self.role,
            "from": self.source,
            "not_after": self.not_after,
            "pin_this": self.advice,
        })
    }
}

fn keys_in_file(name: &str) -> Result<Vec<Key>, Failure> {
    let bytes = network::read(Path::new(name))?;
    network::refuse_unread(Path::new(name), &bytes)?;
    let unreadable = || {
        let reason = "not a certificate or public key, expected one or more in PEM or DER";
        Failure::input(name, reason)
    };
    let mut keys = Vec::new();
    let mut known = Vec::new();
    let kinds = ["CERTIFICATE", "PUBLIC KEY"];
    let begun = kinds
        .map(|kind| network::begun(&bytes, kind))
        .iter()
        .sum::<usize>();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
        let (kind, der) = section.map_err(|_| unreadable())?;
        if !matches!(kind, SectionKind::Certificate | SectionKind::PublicKey) {
            continue;
        }
        let is_known = known.contains(&der);
        known.push(der.clone());
        let key = match kind {
            _ if is_known => continue,
            SectionKind::Certificate => Key::of_certificate(&der.into(), None),
            SectionKind::PublicKey => Key::of_key(&der.into()),
            _ => continue,
        };
        keys.push(key.ok_or_else(unreadable)?);
    }
    if known.len() < begun {
        return Err(network::not_at_start(Path::new(name)));
    }
    if keys.is_empty() {
        let certificate = Key::of_certificate(&bytes.as_slice().into(), None);
        let key = certificate.or_else(|| Key::of_key(&bytes.as_slice().into()));
        keys.push(key.ok_or_else(unreadable)?);
    }
    Ok(keys.into_iter().map(Key::with_advice).collect())
}

const BACKUP: &str = "Pin a backup, too: a key that is kept offline, or a root of another CA.";

const EXAMPLES: &str = "\
Examples:
  pinhold fingerprint example.com
  pinhold fingerprint example.com:8443 --ca root.pem
  pinhold fingerprint backup.pub --json";
