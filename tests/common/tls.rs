//! In-memory handshakes between rustls clients and servers, and a replaceable server certificate.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, HandshakeKind, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};

use super::pki::Leaf;

pub const VERSIONS: [&[&SupportedProtocolVersion]; 2] =
    [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];

/// Moves all pending TLS records of `from` to `to`.
pub fn transfer(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut bytes = &bytes[..];
    while !bytes.is_empty() {
        to.read_tls(&mut bytes).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// A client and a server connection before their handshake.
pub fn new_connections(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> [Connection; 2] {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    [
        ClientConnection::new(client.clone(), name).unwrap().into(),
        ServerConnection::new(server.clone()).unwrap().into(),
    ]
}

/// Runs a handshake until the client has completed it. The client has not yet read the tickets that
/// TLS 1.3 servers send afterwards.
pub fn start_handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<[Connection; 2], Error> {
    let [mut client, mut server] = new_connections(client, server, name);
    while client.is_handshaking() {
        transfer(&mut client, &mut server)?;
        transfer(&mut server, &mut client)?;
    }
    Ok([client, server])
}

/// Completes the handshake of the server and reads two bytes from it, so that the tickets have
/// arrived.
pub fn finish_handshake([client, server]: &mut [Connection; 2]) -> HandshakeKind {
    while server.is_handshaking() {
        transfer(client, server).unwrap();
        transfer(server, client).unwrap();
    }
    server.writer().write_all(b"ok").unwrap();
    transfer(server, client).unwrap();
    let mut bytes = [0; 2];
    client.reader().read_exact(&mut bytes).unwrap();
    assert_eq!(client.handshake_kind(), server.handshake_kind());
    client.handshake_kind().unwrap()
}

pub fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<HandshakeKind, Error> {
    Ok(finish_handshake(&mut start_handshake(
        client, server, name,
    )?))
}

/// A server certificate that a test replaces while sessions are open.
#[derive(Debug)]
pub struct SwappableCertificate(Mutex<Arc<CertifiedKey>>, Arc<CryptoProvider>);

impl SwappableCertificate {
    pub fn new(leaf: &Leaf, provider: Arc<CryptoProvider>) -> Arc<Self> {
        let key = certified(leaf, &provider);
        Arc::new(Self(Mutex::new(key), provider))
    }

    pub fn set(&self, leaf: &Leaf) {
        *self.0.lock().unwrap() = certified(leaf, &self.1);
    }
}

fn certified(leaf: &Leaf, provider: &CryptoProvider) -> Arc<CertifiedKey> {
    let key = provider.key_provider.load_private_key(leaf.key()).unwrap();
    Arc::new(CertifiedKey::new(leaf.chain.clone(), key))
}

impl ResolvesServerCert for SwappableCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().unwrap().clone())
    }
}
