//! What the clients share: their arguments, the crypto provider of the build, and the requests.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub type Failure = Box<dyn Error>;

/// The arguments of each client.
pub struct Arguments {
    pub url: String,
    /// The only certificate that is trusted.
    pub root: CertificateDer<'static>,
    pub pin: String,
    pub requests: u32,
    /// Whether each request is sent over a connection of its own.
    pub connects_each_time: bool,
}

impl Arguments {
    /// Parses `URL CA-FILE PIN REQUESTS new|kept`.
    pub fn parse() -> Result<Self, Failure> {
        let mut rest = std::env::args().skip(1);
        let mut next = || {
            rest.next()
                .ok_or("expected URL CA-FILE PIN REQUESTS new|kept")
        };
        Ok(Self {
            url: next()?,
            root: CertificateDer::from_pem_file(next()?)?,
            pin: next()?,
            requests: next()?.parse()?,
            connects_each_time: next()? == "new",
        })
    }
}

/// Returns the crypto provider that the feature chose.
pub fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    return Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Arc::new(rustls::crypto::ring::default_provider());
}

/// Sends the requests one after another, over this connector.
pub fn send<C>(arguments: &Arguments, connector: C) -> Result<(), Failure>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    block_on(async {
        let mut builder = Client::builder(TokioExecutor::new());
        if arguments.connects_each_time {
            builder.pool_max_idle_per_host(0);
        }
        let client = builder.build::<_, Empty<Bytes>>(connector);
        for _ in 0..arguments.requests {
            let response = client.get(arguments.url.parse()?).await?;
            response.into_body().collect().await?;
        }
        Ok(())
    })
}

pub fn block_on(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(task)
}
