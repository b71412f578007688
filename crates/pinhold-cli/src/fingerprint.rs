//! The command `pinhold fingerprint`: prints the keys in a file or of a server.

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
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;
use tower_service::Service;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::BasicConstraints;

use crate::network::{self, NetworkOptions};
use crate::output::{Failure, Output, printable};

#[derive(Args)]
pub(crate) struct Arguments {
    /// File with certificates or public keys in PEM or DER, or https URL
    #[arg(value_name = "FILE|URL")]
    source: String,
    /// Print the keys that a server sends, without validating its chain
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    network: NetworkOptions,
}

pub(crate) async fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let source = arguments.source.as_str();
    let is_file = !source.contains("://");
    if is_file && (arguments.insecure || !arguments.network.is_empty()) {
        return Err(Failure::input(
            source,
            "is a file, expected a URL with --insecure, --ca, --user-ca or --resolve",
        ));
    }
    let (validated, keys) = if is_file {
        (false, keys_in_file(source)?)
    } else if arguments.insecure {
        let keys = served_keys(&arguments).await?;
        output.message(&"the chain was not validated: these keys may belong to an attacker");
        (false, keys)
    } else {
        (true, validated_keys(&arguments).await?)
    };
    let mut text = String::new();
    for key in &keys {
        let expiry = key.not_after.as_deref().unwrap_or("-");
        // Writing to a string cannot fail.
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

/// A key, which is one line of the result.
struct Key {
    fingerprint: SpkiFingerprint,
    subject: String,
    role: &'static str,
    /// RFC 3339 text. `None` for a public key alone, and for a trust anchor, of which the
    /// certificate is not available.
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
            // `to_string` would panic on a name whose formatting returns an error.
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

fn keys_in_file(name: &str) -> Result<Vec<Key>, Failure> {
    let bytes = fs::read(Path::new(name)).map_err(|error| Failure::input(name, error))?;
    let unreadable = || {
        let reason = "not a certificate or public key, expected one or more in PEM or DER";
        Failure::input(name, reason)
    };
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
        _ => Err(Failure::input(
            &arguments.source,
            "not an https URL, expected one",
        )),
    }
}

/// Connects, and returns the keys of the validated chain and of unused certificates.
async fn validated_keys(arguments: &Arguments) -> Result<Vec<Key>, Failure> {
    let uri = https_url(arguments)?;
    let pinning = Pinning::builder().build();
    let pinning = pinning.map_err(|error| Failure::Usage(error.to_string()))?;
    let mut connector = arguments.network.connector(&pinning)?;
    let stream = connector.call(uri).await;
    let stream = stream.map_err(|error| Failure::of_request(&arguments.source, error))?;
    let Some(connection) = stream.verified() else {
        return Err(Failure::input(
            &arguments.source,
            "the connection has no validated chain",
        ));
    };
    Ok(keys_of(connection.chain()))
}

/// Returns the keys of the validated chain, then those of certificates that the server sent but
/// that are not part of it.
fn keys_of(chain: &ValidatedChain) -> Vec<Key> {
    let mut path = chain.certificates();
    let mut keys = Vec::new();
    for key in chain.keys() {
        let role = match key.role {
            KeyRole::Leaf => "leaf",
            KeyRole::Intermediate => "intermediate",
            _ => "anchor",
        };
        let of_certificate = path
            .next()
            .and_then(|der| Key::of_certificate(der, Some(role)));
        // A trust anchor has a key, but no certificate.
        keys.push(of_certificate.unwrap_or(Key {
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

/// Connects without validation, and returns the keys of all certificates that the server sends.
async fn served_keys(arguments: &Arguments) -> Result<Vec<Key>, Failure> {
    let uri = https_url(arguments)?;
    let host = uri.host().unwrap_or_default();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|error| Failure::input(&arguments.source, error))?;
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::of_request(&arguments.source, error)
    };
    let provider = network::provider();
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.into()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAll(provider)))
        .with_no_client_auth();
    let transport = arguments.network.transport().call(uri).await;
    let transport = transport.map_err(failed)?;
    let tls = TlsConnector::from(Arc::new(config));
    let stream = tls
        .connect(name, transport.into_inner())
        .await
        .map_err(|error| failed(error.into()))?;
    let served = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(served
        .iter()
        .filter_map(|der| Key::of_certificate(der, Some("served")))
        .collect())
}

/// Verifier that accepts every chain, so that it can be shown. No request is sent over such a
/// connection.
#[derive(Debug)]
struct AcceptAll(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
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
