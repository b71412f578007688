//! Options of all commands that connect to a server: trust anchors, addresses and the time limit.
//! Parsing of URLs, and the connector.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use http::Uri;
use pinhold::pin_file::PinFile;
use pinhold::policy::HostError;
use pinhold::{Host, Pinning, PinningConnector, PinningVerifier, TrustAnchors};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::failure::Failure;
use crate::output::cut;
use crate::peer::{Deadline, Peer, Target, Timeout};
use crate::proxy::Proxy;
use crate::refusal::PinSources;
use crate::roots::Roots;
use crate::transport::{AddressOverride, Overrides, Transport};
use crate::verifier::{Recorder, Served};

#[derive(Args)]
#[command(next_help_heading = "Connection options")]
pub(crate) struct NetworkOptions {
    /// Trust the certificates of this file (PEM or DER) instead of the bundled roots
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Trust the certificates of this file, too, as user-added roots: pins are skipped on chains
    /// to them
    #[arg(long, value_name = "FILE")]
    user_ca: Vec<PathBuf>,
    /// Connect to ADDR for HOST:PORT instead of resolving HOST by DNS
    #[arg(long, value_name = "HOST:PORT:ADDR")]
    resolve: Vec<AddressOverride>,
    /// Give up after this time in total: seconds (30, 30s) or minutes (2m) [default: 30]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<Timeout>,
}

impl NetworkOptions {
    /// Returns the server of a URL. The time limit begins now.
    pub(crate) fn peer(&self, url: &str, uri: &Uri, sources: PinSources) -> Peer {
        Peer {
            url: url.to_owned(),
            target: Target::of(uri),
            served: Served::default(),
            roots: self.roots(),
            sources,
            deadline: self.deadline(),
        }
    }

    /// Returns a connector to the server that enforces the pins and uses the anchors and addresses
    /// of the options.
    pub(crate) fn connector(
        &self,
        pinning: &Pinning,
        peer: &Peer,
        uri: &Uri,
    ) -> Result<PinningConnector<Transport>, Failure> {
        let anchors = self.anchors()?;
        let recorder = Recorder::new(&anchors, provider(), peer.served.clone())?;
        let config = PinningVerifier::builder(pinning.clone())
            .with_provider(provider())
            .with_anchors(anchors)
            .with_inner_verifier(Arc::new(recorder))
            .client_config()
            .map_err(|error| Failure::of_build(&error))?;
        PinningConnector::builder(pinning.clone())
            .with_tls_config(config)
            .wrap_connector(self.transport(uri)?)
            .map_err(|error| Failure::of_build(&error))
    }

    /// Returns the files whose certificates replace the bundled roots.
    pub(crate) fn ca_files(&self) -> &[PathBuf] {
        &self.ca
    }

    /// Returns the files whose certificates are user-added roots.
    pub(crate) fn user_ca_files(&self) -> &[PathBuf] {
        &self.user_ca
    }

    /// Returns whether no option was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.ca.is_empty()
            && self.user_ca.is_empty()
            && self.resolve.is_empty()
            && self.timeout.is_none()
    }

    /// Returns the time limit of the command, which begins now.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    pub(crate) fn roots(&self) -> Roots {
        if self.ca.is_empty() {
            Roots::Bundled
        } else {
            Roots::Files
        }
    }

    /// Returns the connector below TLS for this URL.
    pub(crate) fn transport(&self, uri: &Uri) -> Result<Transport, Failure> {
        Ok(Transport::new(self.overrides(), Proxy::for_url(uri)?))
    }

    pub(crate) fn overrides(&self) -> Overrides {
        Overrides::new(&self.resolve)
    }

    /// Returns the roots of the `--ca` files, or the bundled ones, and those of `--user-ca`.
    pub(crate) fn anchors(&self) -> Result<TrustAnchors, Failure> {
        let mut anchors = if self.ca.is_empty() {
            TrustAnchors::webpki_roots()
        } else {
            TrustAnchors::new()
        };
        for file in &self.ca {
            anchors = anchors
                .with_built_in(certificates(file)?)
                .map_err(|_| not_a_certificate(file))?;
        }
        for file in &self.user_ca {
            anchors = anchors
                .with_user_added(certificates(file)?)
                .map_err(|_| not_a_certificate(file))?;
        }
        Ok(anchors)
    }
}

/// Returns the crypto provider of all connections. It is named explicitly, because rustls can't
/// choose one where a build enables two.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(provider)
}

/// Reads the certificates of a PEM file, or the one of a DER file.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = read(file)?;
    refuse_unread(file, &String::from_utf8_lossy(&bytes))?;
    let sections = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match sections {
        Ok(certificates) if certificates.len() < begun(&bytes, "CERTIFICATE") => {
            Err(not_at_start(file))
        }
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        // The tag of a DER certificate.
        _ if bytes.first() == Some(&0x30) => Ok(vec![bytes.into()]),
        _ => Err(not_a_certificate(file)),
    }
}

/// Reads a file, without the byte order mark that text editors on Windows write: it would hide the
/// first PEM section.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = File::open(file).and_then(whole);
    let mut bytes = bytes.map_err(|error| Failure::input(&file.display().to_string(), error))?;
    remove_byte_order_mark(&mut bytes);
    Ok(bytes)
}

/// Reads an input that is not larger than [`MAX_SIZE`], which devices such as `/dev/zero` are.
pub(crate) fn whole(input: impl Read) -> io::Result<Vec<u8>> {
    let bytes = begin(input)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= MAX_SIZE) {
        Ok(bytes)
    } else {
        Err(io::Error::other("larger than 64 MiB"))
    }
}

/// Reads an input, of a larger one than [`MAX_SIZE`] one byte more than that.
pub(crate) fn begin(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn remove_byte_order_mark(bytes: &mut Vec<u8>) {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
}

/// Returns the labels of all PEM sections, wherever they begin.
pub(crate) fn labels(text: &str) -> impl Iterator<Item = &str> {
    let begun = text.split("-----BEGIN ").skip(1);
    begun.filter_map(|begun| Some(begun.split_once("-----")?.0))
}

/// Returns how many PEM sections of this kind begin anywhere in the text. The parser finds only
/// those at the start of a line.
pub(crate) fn begun(text: &[u8], kind: &str) -> usize {
    let begin = format!("-----BEGIN {kind}-----");
    let windows = text.windows(begin.len());
    windows.filter(|window| *window == begin.as_bytes()).count()
}

/// Refuses PEM with certificates or public keys in a form that the parser skips, such as OpenSSL's
/// `TRUSTED CERTIFICATE`. The others of the file may not be all that the user means.
pub(crate) fn refuse_unread(file: &Path, text: &str) -> Result<(), Failure> {
    let unread = labels(text).find(|label| {
        let is_key = label.ends_with(" CERTIFICATE") || label.ends_with(" PUBLIC KEY");
        is_key || ["PKCS7", "CMS"].contains(label)
    });
    match unread {
        Some(label) => Err(Failure::input(
            &file.display().to_string(),
            format!(
                "a PEM section {:?} is not supported, expected CERTIFICATE or PUBLIC KEY",
                cut(label, 80)
            ),
        )),
        None => Ok(()),
    }
}

pub(crate) fn not_at_start(file: &Path) -> Failure {
    Failure::input(
        &file.display().to_string(),
        "a PEM section that does not begin at the start of a line, and would be skipped",
    )
}

pub(crate) fn not_a_certificate(file: &Path) -> Failure {
    Failure::input(
        &file.display().to_string(),
        "no certificate, or one that can't be read; expected one or more in PEM, or one in DER",
    )
}

/// Parses a URL. Converts a host outside ASCII to A-labels; the default scheme is `https`.
pub(crate) fn url(text: &str) -> Result<Uri, Failure> {
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let shown = without_login(text);
    let ascii = with_a_labels(&with_scheme).map_err(|error| {
        // The text of the error has a part of the URL.
        if shown == text {
            Failure::input(shown, error)
        } else {
            Failure::input(shown, "not a valid URL")
        }
    })?;
    let uri = ascii.parse::<Uri>();
    let uri = uri.map_err(|error| Failure::input(shown, format!("not a valid URL: {error}")))?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        let scheme = uri.scheme_str().unwrap_or_default();
        let reason = format!("the scheme is {scheme:?}, expected https or http");
        return Err(Failure::input(shown, reason));
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    // The user name and password would be sent as part of the authority.
    if authority.contains('@') {
        let reason = "contains a user name, expected none";
        return Err(Failure::input(shown, reason));
    }
    // A password that contains `/` would be taken for a port and a path.
    let port = authority.get(uri.host().unwrap_or_default().len()..);
    if port.is_some_and(|port| !port.is_empty()) && uri.port_u16().is_none() {
        return Err(Failure::input(shown, "the port is not a number"));
    }
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(uri),
        _ => Err(Failure::input(shown, "contains no host, expected one")),
    }
}

/// Returns the name of a URL in an error: the URL itself, unless it may contain a password.
pub(crate) fn without_login(url: &str) -> &str {
    if url.contains('@') && url.contains(':') {
        "the URL"
    } else {
        url
    }
}

fn with_a_labels(url: &str) -> Result<String, HostError> {
    if url.is_ascii() {
        return Ok(url.to_owned());
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, format!(":{port}")),
        None => (authority, String::new()),
    };
    let host = Host::parse(host)?;
    Ok(format!("{scheme}://{host}{port}{path}"))
}

/// The largest file that is read, in bytes.
const MAX_SIZE: u64 = PinFile::MAX_SIZE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_use_the_library_of_the_feature() {
        let provider = provider();
        let is_ring = format!("{:?}", provider.secure_random).contains("Ring");
        assert_eq!(is_ring, cfg!(not(feature = "aws-lc-rs")));
    }
}
