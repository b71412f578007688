//! Options and connections that `get` and `fingerprint` share: trust anchors, address overrides,
//! URLs, the connector and the crypto provider.

use std::collections::HashMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use clap::Args;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use pinhold::policy::HostError;
use pinhold::{Host, Pinning, PinningConnector, TrustAnchors};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower_service::Service;

use crate::output::Failure;

#[derive(Args)]
pub(crate) struct NetworkOptions {
    /// Trust the certificates of this PEM file instead of the bundled roots
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Trust the certificates of this PEM file as user-added roots, for which pins are skipped
    #[arg(long, value_name = "FILE")]
    user_ca: Vec<PathBuf>,
    /// Connect to ADDR for HOST:PORT instead of resolving HOST by DNS
    #[arg(long, value_name = "HOST:PORT:ADDR")]
    resolve: Vec<AddressOverride>,
}

impl NetworkOptions {
    /// Returns a connector that enforces the pins and uses the anchors and addresses of the
    /// options.
    pub(crate) fn connector(
        &self,
        pinning: &Pinning,
    ) -> Result<PinningConnector<OverridingConnector>, Failure> {
        PinningConnector::builder(pinning.clone())
            .with_provider(provider())
            .with_anchors(self.anchors()?)
            .wrap_connector(self.transport())
            .map_err(|error| Failure::Usage(error.to_string()))
    }

    /// Returns whether no option was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.ca.is_empty() && self.user_ca.is_empty() && self.resolve.is_empty()
    }

    /// Returns the connector below TLS.
    pub(crate) fn transport(&self) -> OverridingConnector {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let overrides = self.resolve.iter().cloned();
        let overrides = overrides.map(|entry| ((entry.host, entry.port), entry.address));
        OverridingConnector {
            overrides: Arc::new(overrides.collect()),
            tcp,
        }
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
                .map_err(|error| Failure::input(&file.display().to_string(), error))?;
        }
        for file in &self.user_ca {
            anchors = anchors
                .with_user_added(certificates(file)?)
                .map_err(|error| Failure::input(&file.display().to_string(), error))?;
        }
        Ok(anchors)
    }
}

/// Returns the crypto provider of all connections. It is named explicitly, because rustls can't
/// choose one where a build enables two.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let name = file.display().to_string();
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| Failure::input(&name, error))?;
    if certificates.is_empty() {
        Err(Failure::input(
            &name,
            "contains no certificate, expected one or more in PEM",
        ))
    } else {
        Ok(certificates)
    }
}

/// Parses a URL. Converts a host outside ASCII to A-labels; the default scheme is `https`.
pub(crate) fn url(text: &str) -> Result<Uri, Failure> {
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let ascii = with_a_labels(&with_scheme).map_err(|error| Failure::input(text, error))?;
    let uri = ascii
        .parse::<Uri>()
        .map_err(|error| Failure::Usage(format!("{text:?} is not a valid URL: {error}")))?;
    // The user name and password would be sent as part of the authority.
    let authority = uri.authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Failure::Usage(
            "the URL contains a user name, expected none".to_owned(),
        ));
    }
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(uri),
        _ => Err(Failure::input(text, "contains no host, expected one")),
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

/// The value of one `--resolve` option.
#[derive(Clone)]
struct AddressOverride {
    host: String,
    port: u16,
    address: IpAddr,
}

impl FromStr for AddressOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |part: &str| format!("invalid {part}, expected HOST:PORT:ADDR");
        let mut parts = text.splitn(3, ':');
        let (Some(host), Some(port), Some(address)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("expected HOST:PORT:ADDR".to_owned());
        };
        let host = Host::parse(host).map_err(|error| error.to_string())?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_string(),
            port: port.parse().map_err(|_| invalid("port"))?,
            address: address.parse().map_err(|_| invalid("IP address"))?,
        })
    }
}

/// TCP connector that applies the `--resolve` options before DNS. The TLS server name remains that
/// of the URL.
#[derive(Clone)]
pub(crate) struct OverridingConnector {
    overrides: Arc<HashMap<(String, u16), IpAddr>>,
    tcp: HttpConnector,
}

impl OverridingConnector {
    /// Returns the address that some `--resolve` option gives for a name, whatever its port.
    pub(crate) fn address_of(&self, name: &str) -> Option<IpAddr> {
        let name = Host::parse(name).ok()?;
        let mut overrides = self.overrides.iter();
        let found = overrides.find(|((host, _), _)| *host == name.as_str());
        found.map(|(_, address)| *address)
    }

    fn destination(&self, uri: Uri) -> Uri {
        let port = uri.port_u16().unwrap_or_else(|| match uri.scheme_str() {
            Some("http") => 80,
            _ => 443,
        });
        let host = uri.host().and_then(|host| Host::parse(host).ok());
        let address = host.and_then(|host| self.overrides.get(&(host.to_string(), port)));
        match address {
            Some(address) => {
                let socket = SocketAddr::new(*address, port);
                // Cannot fail: a socket address is a valid authority.
                format!("http://{socket}/").parse().unwrap_or(uri)
            }
            None => uri,
        }
    }
}

impl Service<Uri> for OverridingConnector {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(self.destination(uri));
        Box::pin(async move { Ok(connecting.await?) })
    }
}
