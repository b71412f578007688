//! `pinhold fingerprint`: the keys in a file, or behind a URL.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use http::Uri;
use pinhold::tls::KeyRole;
use pinhold::{Pinning, SpkiFingerprint, ValidatedChain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;
use tower_service::Service;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::BasicConstraints;

use crate::network::{self, Network};
use crate::output::{Failure, Output, printable};

#[derive(Args)]
pub(crate) struct Arguments {
    /// A PEM or DER file with certificates or public keys, or an https URL
    #[arg(value_name = "FILE|URL")]
    source: String,
    /// Show what a server serves without validating it
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    network: Network,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let source = arguments.source.as_str();
    let is_file = !source.contains("://");
    if is_file && (arguments.insecure || !arguments.network.is_unused()) {
        return Err(Failure::input(source, "a file, but an option is for URLs"));
    }
    let (validated, keys) = if is_file {
        (false, in_file(source)?)
    } else if arguments.insecure {
        output.remark(&"nothing is validated: these keys may be anybody's");
        (false, served(&arguments).await?)
    } else {
        (true, validated(&arguments).await?)
    };
    let mut text = String::new();
    for key in &keys {
        let expiry = key.not_after.as_deref().unwrap_or("-");
        // Writing to a string can't fail.
        let _ = writeln!(
            text,
            "{} {:<12} {expiry:<20} {}",
            key.fingerprint, key.role, key.subject
        );
    }
    let json = json!({
        "source": source,
        "validated": validated,
        "certificates": keys.iter().map(Key::json).collect::<Vec<_>>(),
    });
    output.print(&json, &text.trim_end())
}

/// One line of the result.
struct Key {
    fingerprint: SpkiFingerprint,
    subject: String,
    role: &'static str,
    /// RFC 3339; `None` for a bare key and for an anchor, whose certificate is not at hand.
    not_after: Option<String>,
}

impl Key {
    fn of_certificate(der: &CertificateDer<'_>, role: Option<&'static str>) -> Option<Self> {
        let fingerprint = SpkiFingerprint::of_certificate(der).ok()?;
        let parsed = Certificate::from_der(der).ok();
        let body = parsed.as_ref().map(Certificate::tbs_certificate);
        let is_ca = body.is_some_and(|body| {
            let constraints = body.get_extension::<BasicConstraints>();
            matches!(
                constraints,
                Ok(Some((_, BasicConstraints { ca: true, .. })))
            )
        });
        let mut subject = String::new();
        if let Some(body) = body {
            // Not `to_string`, which panics where printing an odd name fails half-way.
            let _ = write!(subject, "{}", body.subject());
        }
        Some(Self {
            fingerprint,
            subject: printable(&subject),
            role: role.unwrap_or(if is_ca { "ca" } else { "end-entity" }),
            not_after: body.map(|body| body.validity().not_after.to_date_time().to_string()),
        })
    }

    fn of_key(der: &SubjectPublicKeyInfoDer<'_>) -> Option<Self> {
        Some(Self {
            fingerprint: SpkiFingerprint::of_public_key(der).ok()?,
            subject: String::new(),
            role: "key",
            not_after: None,
        })
    }

    fn json(&self) -> Value {
        json!({
            "fingerprint": self.fingerprint.to_string(),
            "subject": self.subject,
            "role": self.role,
            "not_after": self.not_after,
        })
    }
}

fn in_file(name: &str) -> Result<Vec<Key>, Failure> {
    let bytes = fs::read(Path::new(name)).map_err(|error| Failure::input(name, error))?;
    let unreadable = || Failure::input(name, "neither PEM nor DER of certificates or public keys");
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
        let key = match section.map_err(|error| Failure::input(name, error))? {
            (SectionKind::Certificate, der) => Key::of_certificate(&der.into(), None),
            (SectionKind::PublicKey, der) => Key::of_key(&der.into()),
            _ => continue,
        };
        keys.push(key.ok_or_else(unreadable)?);
    }
    if keys.is_empty() {
        let certificate = Key::of_certificate(&bytes.as_slice().into(), None);
        let key = certificate.or_else(|| Key::of_key(&bytes.as_slice().into()));
        keys.push(key.ok_or_else(unreadable)?);
    }
    Ok(keys)
}

fn https_url(arguments: &Arguments) -> Result<Uri, Failure> {
    let uri = network::url(&arguments.source)?;
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        _ => Err(Failure::input(&arguments.source, "expected an https URL")),
    }
}

/// The validated chain, and what was served beside it.
async fn validated(arguments: &Arguments) -> Result<Vec<Key>, Failure> {
    let uri = https_url(arguments)?;
    let pinning = Pinning::builder().build();
    let pinning = pinning.map_err(|error| Failure::Usage(error.to_string()))?;
    let mut connector = arguments.network.connector(&pinning)?;
    let stream = connector.call(uri).await.map_err(Failure::of_request)?;
    let Some(connection) = stream.verified() else {
        return Err(Failure::input(
            &arguments.source,
            "the connection was not verified",
        ));
    };
    Ok(keys_of(connection.chain()))
}

/// The keys of the path, then those that were served beside it.
fn keys_of(chain: &ValidatedChain) -> Vec<Key> {
    let mut path = chain.certificates();
    let mut keys = Vec::new();
    for key in chain.keys() {
        let role = match key.role {
            KeyRole::Leaf => "leaf",
            KeyRole::Intermediate => "intermediate",
            _ => "anchor",
        };
        let on_path = path
            .next()
            .and_then(|der| Key::of_certificate(der, Some(role)));
        keys.push(on_path.unwrap_or(Key {
            fingerprint: key.fingerprint,
            subject: key.subject,
            role,
            not_after: None,
        }));
    }
    let path = chain.certificates().collect::<Vec<_>>();
    let unused = chain
        .served()
        .iter()
        .filter(|served| !path.contains(served));
    keys.extend(unused.filter_map(|served| Key::of_certificate(served, Some("unused"))));
    keys
}

/// Whatever the server serves.
async fn served(arguments: &Arguments) -> Result<Vec<Key>, Failure> {
    let uri = https_url(arguments)?;
    let host = uri.host().unwrap_or_default();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|error| Failure::input(&arguments.source, error))?;
    let provider = network::provider();
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Failure::of_request)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ShowOnly(provider)))
        .with_no_client_auth();
    let transport = arguments.network.transport().call(uri).await;
    let transport = transport.map_err(Failure::of_request)?;
    let tls = TlsConnector::from(Arc::new(config));
    let stream = tls
        .connect(name, transport.into_inner())
        .await
        .map_err(Failure::of_request)?;
    let served = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(served
        .iter()
        .filter_map(|der| Key::of_certificate(der, Some("served")))
        .collect())
}

/// Accepts every certificate, to show it. No request is ever sent over such a connection.
#[derive(Debug)]
struct ShowOnly(Arc<CryptoProvider>);

impl ServerCertVerifier for ShowOnly {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
