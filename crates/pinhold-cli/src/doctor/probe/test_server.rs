//! TLS servers on loopback for the tests of the probe.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::clock::Clock;
use crate::network;

/// A leaf and its issuer, with the key that the server signs by.
#[derive(Clone)]
pub(super) struct Chain {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Chain {
    pub(super) fn ec() -> Self {
        Self::new(&KeyPair::generate().unwrap())
    }

    pub(super) fn rsa() -> Self {
        Self::new(&KeyPair::from_pem(include_str!("rsa_test_key.pem")).unwrap())
    }

    fn new(key: &KeyPair) -> Self {
        let mut ca = CertificateParams::new([]).unwrap();
        ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        // The name is not that of the tests, and the chain leads to no root: nothing is validated.
        let leaf = CertificateParams::new(["other.example".to_owned()]).unwrap();
        let leaf = leaf.signed_by(key, &ca).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Self {
            certificates: vec![leaf.der().clone(), ca.der().clone()],
            key: Arc::new(key.into()),
        }
    }

    /// Returns the chain of a server that has recorded this one, and lacks its key.
    pub(super) fn replayed(&self) -> Self {
        Self {
            key: Self::ec().key,
            ..self.clone()
        }
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        let provider = network::provider();
        let key = provider.key_provider.load_private_key(self.key.clone_key());
        let key = key.unwrap();
        Arc::new(CertifiedKey::new(self.certificates.clone(), key))
    }
}

/// Chains of which the first is chosen that the client accepts.
#[derive(Debug)]
struct Chains {
    certified: Vec<Arc<CertifiedKey>>,
    names: Arc<Mutex<Vec<Option<String>>>>,
}

impl ResolvesServerCert for Chains {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_owned);
        self.names.lock().unwrap().push(name);
        let schemes = hello.signature_schemes();
        let mut usable = self.certified.iter();
        let usable = usable.find(|it| it.key.choose_scheme(schemes).is_some());
        usable.cloned()
    }
}

pub(super) struct TlsServer {
    pub(super) address: SocketAddr,
    /// The server names of the handshakes.
    pub(super) names: Arc<Mutex<Vec<Option<String>>>>,
    /// The number of bytes that clients sent after the handshake.
    pub(super) received: Arc<AtomicUsize>,
}

pub(super) struct Builder {
    pub(super) chains: Vec<Chain>,
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
    pub(super) requires_client_certificate: bool,
    pub(super) ip: IpAddr,
}

impl Builder {
    pub(super) fn new(chains: &[&Chain]) -> Self {
        Self {
            chains: chains.iter().map(|it| (*it).clone()).collect(),
            versions: rustls::ALL_VERSIONS,
            requires_client_certificate: false,
            ip: Ipv4Addr::LOCALHOST.into(),
        }
    }

    pub(super) async fn start(self) -> TlsServer {
        let names = Arc::new(Mutex::default());
        let chains = Chains {
            certified: self.chains.iter().map(Chain::certified).collect(),
            names: Arc::clone(&names),
        };
        let provider = network::provider();
        let config = ServerConfig::builder_with_details(provider.clone(), Arc::new(Clock));
        let config = config.with_protocol_versions(self.versions).unwrap();
        let config = if self.requires_client_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(self.chains[0].certificates[1].clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            config.with_no_client_auth()
        };
        let acceptor = TlsAcceptor::from(Arc::new(config.with_cert_resolver(Arc::new(chains))));
        let received = Arc::new(AtomicUsize::new(0));
        let count = received.clone();
        let address = serve(self.ip, move |stream| {
            let (acceptor, count) = (acceptor.clone(), count.clone());
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut bytes = Vec::new();
                let _ = stream.read_to_end(&mut bytes).await;
                count.fetch_add(bytes.len(), Ordering::SeqCst);
            }
        });
        TlsServer {
            address: address.await,
            names,
            received,
        }
    }
}

/// Starts a server that reads the beginning of a handshake, sends these bytes and closes.
pub(super) async fn responding(bytes: &'static [u8]) -> SocketAddr {
    let respond = move |mut stream: TcpStream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
    };
    serve(Ipv4Addr::LOCALHOST.into(), respond).await
}

/// Starts a server that accepts connections, and never sends a byte.
pub(super) async fn silent() -> SocketAddr {
    let wait = |mut stream: TcpStream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    serve(Ipv4Addr::LOCALHOST.into(), wait).await
}

/// Returns an address that refuses connections.
pub(super) async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn serve<F>(ip: IpAddr, handle: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}
