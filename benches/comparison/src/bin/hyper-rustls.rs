//! hyper-util's client over hyper-rustls, without pins.

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use pinhold_comparison::{Arguments, Failure, provider, send};
use rustls::{ClientConfig, RootCertStore};

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse()?;
    let mut roots = RootCertStore::empty();
    roots.add(arguments.root.clone())?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // As pinhold and reqwest do.
    tcp.set_nodelay(true);
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    let builder = builder.https_only().enable_all_versions();
    send(&arguments, builder.wrap_connector(tcp))
}
