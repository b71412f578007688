//! TLS handshakes of this thread with itself, in memory: servers with the certificates of the
//! self-test, and the transfer between both sides.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, HandshakeKind, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, DnsName, PrivatePkcs8KeyDer, ServerName};

use crate::tls::self_test_material::{HOST, Material};
#[cfg(feature = "direct-trust")]
use {
    crate::policy::der::public_key, rustls::CertificateError,
    rustls::server::AlwaysResolvesServerRawPublicKeys,
};

/// The provider, clock and version of both sides.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) clock: Arc<dyn TimeProvider>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
}

/// Why a handshake failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Client(Error),
    Server(Error),
}

impl Failure {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Client(error) | Self::Server(error) => error,
        }
    }
}

impl Side {
    /// Returns a server that sends these certificates and signs with this key. Whether the key is that
    /// of the first certificate is not checked.
    pub(crate) fn server(
        &self,
        certificates: &[Material],
        key: Material,
    ) -> Result<Arc<ServerConfig>, Error> {
        let certificates = certificates
            .iter()
            .map(|it| CertificateDer::from(it.certificate));
        let certified = self.certified(certificates.collect(), key)?;
        self.server_with(Arc::new(SingleCertAndKey::from(certified)))
    }

    /// Returns a server that sends its public key in place of a certificate.
    #[cfg(feature = "direct-trust")]
    pub(crate) fn server_with_raw_key(&self, own: Material) -> Result<Arc<ServerConfig>, Error> {
        let key = public_key(own.certificate).ok_or(CertificateError::BadEncoding)?;
        let certified = self.certified(vec![CertificateDer::from(key)], own)?;
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::new(certified));
        self.server_with(Arc::new(resolver))
    }

    fn certified(
        &self,
        sent: Vec<CertificateDer<'static>>,
        key: Material,
    ) -> Result<CertifiedKey, Error> {
        let key = PrivatePkcs8KeyDer::from(key.key);
        let key = self.provider.key_provider.load_private_key(key.into())?;
        Ok(CertifiedKey::new(sent, key))
    }

    fn server_with(
        &self,
        resolver: Arc<dyn ResolvesServerCert>,
    ) -> Result<Arc<ServerConfig>, Error> {
        let (provider, clock) = (Arc::clone(&self.provider), Arc::clone(&self.clock));
        let config = ServerConfig::builder_with_details(provider, clock)
            .with_protocol_versions(self.versions)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        Ok(Arc::new(config))
    }
}

/// Makes one connection to [`HOST`], until neither side has anything to send.
pub(crate) fn connect(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<HandshakeKind, Failure> {
    let name = DnsName::try_from(HOST).map_err(|_| Failure::Client(incomplete()))?;
    let name = ServerName::DnsName(name);
    let client = ClientConnection::new(Arc::clone(client), name).map_err(Failure::Client)?;
    let server = ServerConnection::new(Arc::clone(server)).map_err(Failure::Server)?;
    let (mut client, mut server) = (Connection::from(client), Connection::from(server));
    loop {
        let sent = transfer(&mut client, &mut server).map_err(Failure::Server)?;
        let received = transfer(&mut server, &mut client).map_err(Failure::Client)?;
        if !sent && !received {
            break;
        }
    }
    match client.handshake_kind() {
        Some(kind) if !client.is_handshaking() => Ok(kind),
        _ => Err(Failure::Client(incomplete())),
    }
}

/// Transfers what one side has to send. Returns whether there was anything.
fn transfer(from: &mut Connection, to: &mut Connection) -> Result<bool, Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).map_err(|_| incomplete())?;
    }
    let mut rest = &*bytes;
    while !rest.is_empty() {
        to.read_tls(&mut rest).map_err(|_| incomplete())?;
        to.process_new_packets()?;
    }
    Ok(!bytes.is_empty())
}

/// The error of a handshake that ends without one.
fn incomplete() -> Error {
    Error::HandshakeNotComplete
}
