//! Handshakes in memory.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, HandshakeKind, ServerConfig,
    ServerConnection,
};

/// Makes one connection, and returns the kind of its handshake or the client's error.
pub(crate) fn connect(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<HandshakeKind, Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut client = Connection::from(client);
    let server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut server = Connection::from(server);
    while client.wants_write() || server.wants_write() {
        transfer(&mut client, &mut server).unwrap();
        transfer(&mut server, &mut client)?;
    }
    Ok(client.handshake_kind().unwrap())
}

fn transfer(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = &*bytes;
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}
