//! [`TestServer`], an HTTPS server on loopback with a chain of one kind.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, Uri};
use pinhold::policy::HostError;
use pinhold::{
    Host, PinPolicy, PinViolation, Pinning, PinningConnector, SpkiFingerprint, TrustAnchors,
    VerifiedConnection,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use tower_service::Service;

use crate::ca::Identity;
use crate::connector::LoopbackConnector;
use crate::error::certificate_error;
use crate::running::Running;
use crate::{TestCa, TestError};

/// An HTTPS server on a free loopback port, for HTTP/1.1 and HTTP/2.
///
/// It sends `200 OK` with the body `ok` to every request, unless
/// [`with_response`](TestServerBuilder::with_response) sets another response. It runs in a thread
/// of its own, and stops when it is dropped.
///
/// ```
/// use pinhold::{PinViolation, Pinning};
/// use pinhold_testing::TestServer;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let server = TestServer::mis_issued("api.example").await?;
/// let pinning = Pinning::builder().static_pins("api.example", server.policy()).build()?;
/// let client = pinning.reqwest_client_builder(server.anchors())?;
/// let client = client.no_proxy().resolve("api.example", server.addr()).build()?;
///
/// let error = client.get(server.url()).send().await.unwrap_err();
/// assert!(PinViolation::find(&error).is_some());
/// assert_eq!(server.requests(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TestServer {
    host: Host,
    ca: TestCa,
    pins: [SpkiFingerprint; 2],
    policy: PinPolicy,
    provider: Arc<CryptoProvider>,
    running: Running,
}

impl TestServer {
    /// Starts the genuine server of this name: its chain contains the pinned key.
    ///
    /// # Errors
    ///
    /// If the name is no host name, or the server could not be started.
    pub async fn good<H>(host: H) -> Result<Self, TestError>
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        Self::builder(host).good().await
    }

    /// Starts a server whose chain is valid for this name, and contains no pinned key: a CA that
    /// the client trusts issued it to another party. The genuine certificate is appended to it.
    ///
    /// # Errors
    ///
    /// As [`good`](Self::good).
    pub async fn mis_issued<H>(host: H) -> Result<Self, TestError>
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        Self::builder(host).mis_issued().await
    }

    /// Starts a server whose chain is valid for this name and leads to a root that the user added,
    /// like that of a proxy that decrypts.
    ///
    /// # Errors
    ///
    /// As [`good`](Self::good).
    pub async fn inspected<H>(host: H) -> Result<Self, TestError>
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        Self::builder(host).inspected().await
    }

    /// Starts a server with the pinned key, whose certificate was valid in 2019.
    ///
    /// # Errors
    ///
    /// As [`good`](Self::good).
    pub async fn expired<H>(host: H) -> Result<Self, TestError>
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        Self::builder(host).expired().await
    }

    /// Returns a builder for a server of this name.
    pub fn builder<H>(host: H) -> TestServerBuilder
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        TestServerBuilder {
            host: host.try_into().map_err(Into::into),
            ca: None,
            response: Response::new(Bytes::from_static(b"ok")),
        }
    }

    /// Returns the URL of the server, with its name and port.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}:{}/", self.host, self.addr().port())
    }

    /// Returns the address that the server listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.running.addr
    }

    /// Returns the name of the server.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the certificate authorities: of the server, and those that its client trusts.
    #[must_use]
    pub fn ca(&self) -> &TestCa {
        &self.ca
    }

    /// Returns [`TestCa::anchors`].
    #[must_use]
    pub fn anchors(&self) -> TrustAnchors {
        self.ca.anchors()
    }

    /// Returns the pins of the *genuine* server of this name: its live key and its backup key.
    #[must_use]
    pub fn pins(&self) -> [SpkiFingerprint; 2] {
        self.pins
    }

    /// Returns a policy with the [pins](Self::pins) of the genuine server.
    #[must_use]
    pub fn policy(&self) -> PinPolicy {
        self.policy.clone()
    }

    /// Returns an inner connector that connects every name to this server.
    ///
    /// ```
    /// # use pinhold::{Pinning, PinningConnector};
    /// # use pinhold_testing::TestServer;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let server = TestServer::good("api.example").await?;
    /// # let pinning = Pinning::builder().build()?;
    /// let connector = PinningConnector::builder(pinning)
    ///     .with_anchors(server.anchors())
    ///     .https_only()
    ///     .wrap_connector(server.connector())?;
    /// # drop(connector);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn connector(&self) -> LoopbackConnector {
        LoopbackConnector(self.addr())
    }

    /// Returns how many requests have reached the server: 0 if its clients refused it.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.running.requests()
    }

    /// Returns how many connections the server has accepted, those with a failed handshake
    /// included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.running.connections()
    }

    /// Connects to the server with these pins, and returns what they decided on its chain. No
    /// request is sent. Observers and roll-out counts of `pinning` record the connection.
    ///
    /// # Errors
    ///
    /// [`TestError::Connect`] if the client refused the server.
    pub async fn connect(&self, pinning: &Pinning) -> Result<VerifiedConnection, TestError> {
        let mut connector = PinningConnector::builder(pinning.clone())
            .with_anchors(self.anchors())
            .with_provider(self.provider.clone())
            .https_only()
            .wrap_connector(self.connector())?;
        let uri = Uri::try_from(self.url()).map_err(certificate_error)?;
        let connected = self.running.spawn(async move {
            poll_fn(|context| connector.poll_ready(context)).await?;
            let stream = connector.call(uri).await?;
            Ok(stream.verified().cloned())
        });
        match connected.await?.map_err(TestError::Connect)? {
            Some(connection) => Ok(connection),
            None => Err(TestError::Connect(
                pinhold::connector::ConnectError::NotVerified,
            )),
        }
    }

    /// Connects to the server with these pins, and returns the violation by which they refused it.
    ///
    /// ```
    /// # use pinhold::Pinning;
    /// # use pinhold_testing::TestServer;
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let server = TestServer::mis_issued("api.example").await?;
    /// let pinning = Pinning::builder().static_pins("api.example", server.policy()).build()?;
    /// let violation = server.violation(&pinning).await?;
    /// assert_eq!(violation.host(), server.host());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TestError::NotRefused`] if the client accepted the server, and [`TestError::Connect`] if
    /// it refused it for another reason than pins.
    pub async fn violation(&self, pinning: &Pinning) -> Result<PinViolation, TestError> {
        match self.connect(pinning).await {
            Ok(_) => Err(TestError::NotRefused {
                host: self.host.clone(),
            }),
            Err(error) => PinViolation::find(&error).ok_or(error),
        }
    }
}

/// Sets the certificate authorities and the response of a [`TestServer`], and starts it.
#[derive(Debug)]
#[must_use]
pub struct TestServerBuilder {
    host: Result<Host, HostError>,
    ca: Option<TestCa>,
    response: Response<Bytes>,
}

impl TestServerBuilder {
    /// Sets the certificate authorities, which several servers may share. Without this, the server
    /// has new ones.
    pub fn with_ca(mut self, ca: &TestCa) -> Self {
        self.ca = Some(ca.clone());
        self
    }

    /// Sets the response to every request: its status, header fields and body.
    ///
    /// ```
    /// use pinhold_testing::{TestCa, TestServer};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let ca = TestCa::new()?;
    /// let [live, backup] = ca.pins("api.example")?.map(|pin| pin.to_base64());
    /// let pins = format!(r#"pin-sha256="{live}"; pin-sha256="{backup}"; max-age=300"#);
    /// let response = http::Response::builder().header("public-key-pins", pins).body("ok")?;
    /// let server = TestServer::builder("api.example").with_ca(&ca).with_response(response);
    /// let server = server.good().await?;
    /// # drop(server);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_response(mut self, response: Response<impl Into<Bytes>>) -> Self {
        self.response = response.map(Into::into);
        self
    }

    /// Starts the server as [`TestServer::good`] does.
    ///
    /// # Errors
    ///
    /// As [`TestServer::good`].
    pub async fn good(self) -> Result<TestServer, TestError> {
        self.start(TestCa::good).await
    }

    /// Starts the server as [`TestServer::mis_issued`] does.
    ///
    /// # Errors
    ///
    /// As [`TestServer::good`].
    pub async fn mis_issued(self) -> Result<TestServer, TestError> {
        self.start(TestCa::mis_issued).await
    }

    /// Starts the server as [`TestServer::inspected`] does.
    ///
    /// # Errors
    ///
    /// As [`TestServer::good`].
    pub async fn inspected(self) -> Result<TestServer, TestError> {
        self.start(TestCa::inspected).await
    }

    /// Starts the server as [`TestServer::expired`] does.
    ///
    /// # Errors
    ///
    /// As [`TestServer::good`].
    pub async fn expired(self) -> Result<TestServer, TestError> {
        self.start(TestCa::expired).await
    }

    async fn start(
        self,
        identity: fn(&TestCa, &Host) -> Result<Identity, TestError>,
    ) -> Result<TestServer, TestError> {
        let host = self.host?;
        let ca = self.ca.map_or_else(TestCa::new, Ok)?;
        let pins = ca.pins(host.clone())?;
        let policy = ca.policy(host.clone())?;
        let provider = provider();
        let config = server_config(identity(&ca, &host)?, &provider)?;
        let running = Running::start(config, self.response).await?;
        Ok(TestServer {
            host,
            ca,
            pins,
            policy,
            provider,
            running,
        })
    }
}

fn server_config(
    identity: Identity,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, TestError> {
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            let config = config.with_no_client_auth();
            config.with_single_cert(identity.chain, identity.key)
        });
    let mut config = config.map_err(certificate_error)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Returns the process default, else a provider that a feature enables: which one makes no
/// difference to a client.
fn provider() -> Arc<CryptoProvider> {
    if let Some(provider) = CryptoProvider::get_default() {
        return provider.clone();
    }
    #[cfg(feature = "aws-lc-rs")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(provider)
}
