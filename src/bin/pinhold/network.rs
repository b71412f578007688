//! What `get` and `fingerprint` share: the anchors, the address book, the URL, the connector.

use std::collections::HashMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use clap::Args;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use pinhold::roots::AnchorOrigin;
use pinhold::{Host, Pinning, PinningConnector, TrustAnchors};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tower_service::Service;

use crate::output::Failure;

#[derive(Args)]
pub(crate) struct Network {
    /// Trust the certificates of this PEM file instead of the bundled roots
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Trust the certificates of this PEM file, too, as added by the user: pins are skipped there
    #[arg(long, value_name = "FILE")]
    user_ca: Vec<PathBuf>,
    /// Connect to ADDR instead of what the DNS says for HOST:PORT
    #[arg(long, value_name = "HOST:PORT:ADDR")]
    resolve: Vec<Resolve>,
}

impl Network {
    pub(crate) fn connector(
        &self,
        pinning: &Pinning,
    ) -> Result<PinningConnector<Resolved>, Failure> {
        PinningConnector::builder(pinning.clone())
            .with_provider(provider())
            .with_anchors(self.anchors()?)
            .wrap_connector(self.transport())
            .map_err(|error| Failure::Usage(error.to_string()))
    }

    /// Whether no option was given.
    pub(crate) fn is_unused(&self) -> bool {
        self.ca.is_empty() && self.user_ca.is_empty() && self.resolve.is_empty()
    }

    /// The inner connector alone.
    pub(crate) fn transport(&self) -> Resolved {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let book = self.resolve.iter().cloned();
        Resolved {
            book: Arc::new(
                book.map(|entry| ((entry.host, entry.port), entry.address))
                    .collect(),
            ),
            http,
        }
    }

    pub(crate) fn anchors(&self) -> Result<TrustAnchors, Failure> {
        let mut anchors = if self.ca.is_empty() {
            TrustAnchors::webpki_roots()
        } else {
            TrustAnchors::new()
        };
        for (files, origin) in [
            (&self.ca, AnchorOrigin::BuiltIn),
            (&self.user_ca, AnchorOrigin::UserAdded),
        ] {
            for file in files {
                let certificates = certificates(file)?;
                let name = file.display().to_string();
                anchors = match origin {
                    AnchorOrigin::BuiltIn => anchors.with_built_in(certificates),
                    _ => anchors.with_user_added(certificates),
                }
                .map_err(|error| Failure::input(&name, error))?;
            }
        }
        Ok(anchors)
    }
}

/// The provider that the feature `cli` brings, whatever else the build enables.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let name = file.display().to_string();
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| Failure::input(&name, error))?;
    if certificates.is_empty() {
        Err(Failure::input(&name, "no PEM certificate in it"))
    } else {
        Ok(certificates)
    }
}

/// Parses a URL; a host outside ASCII becomes A-labels, a missing scheme `https`.
pub(crate) fn url(text: &str) -> Result<Uri, Failure> {
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let ascii = a_labels(&with_scheme).map_err(|error| Failure::input(text, error))?;
    let uri = ascii
        .parse::<Uri>()
        .map_err(|error| Failure::input(text, error))?;
    // It would go out as part of the authority.
    if uri
        .authority()
        .is_some_and(|known| known.as_str().contains('@'))
    {
        return Err(Failure::Usage(
            "the URL holds a user name, expected none".to_owned(),
        ));
    }
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(uri),
        _ => Err(Failure::input(text, "no host in it")),
    }
}

fn a_labels(url: &str) -> Result<String, pinhold::policy::HostError> {
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

/// One `--resolve`.
#[derive(Clone)]
struct Resolve {
    host: String,
    port: u16,
    address: IpAddr,
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || format!("{text:?} is not HOST:PORT:ADDR");
        let mut parts = text.splitn(3, ':');
        let (Some(host), Some(port), Some(address)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(expected());
        };
        let host = Host::parse(host).map_err(|error| error.to_string())?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_string(),
            port: port.parse().map_err(|_| expected())?,
            address: address.parse().map_err(|_| expected())?,
        })
    }
}

/// TCP to where `--resolve` says, else to where the DNS says. The TLS name stays the URL's.
#[derive(Clone)]
pub(crate) struct Resolved {
    book: Arc<HashMap<(String, u16), IpAddr>>,
    http: HttpConnector,
}

impl Resolved {
    /// What `--resolve` says of a name, on whatever port.
    pub(crate) fn lookup(&self, name: &str) -> Option<IpAddr> {
        let host = Host::parse(name).ok()?;
        let mut known = self.book.iter();
        let found = known.find(|((known, _), _)| *known == host.as_str());
        found.map(|(_, address)| *address)
    }

    fn destination(&self, uri: Uri) -> Uri {
        let port = uri.port_u16().unwrap_or_else(|| match uri.scheme_str() {
            Some("http") => 80,
            _ => 443,
        });
        let host = uri.host().and_then(|host| Host::parse(host).ok());
        let known = host.and_then(|host| self.book.get(&(host.to_string(), port)).copied());
        match known {
            Some(address) => {
                let socket = SocketAddr::new(address, port);
                // A socket address always makes a URI; the name would only be looked up.
                format!("http://{socket}/").parse().unwrap_or(uri)
            }
            None => uri,
        }
    }
}

impl Service<Uri> for Resolved {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.http.call(self.destination(uri));
        Box::pin(async move { Ok(connecting.await?) })
    }
}
