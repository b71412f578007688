//! Measures what it costs a new process to build a client and to make its first handshake, in
//! memory.
//!
//! The server uses ring in every build and runs in the same process, so that the time of a
//! handshake includes the server's part, 0.1 ms.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pinhold::{PinPolicy, Pinning, PinningVerifier, SpkiFingerprint, TrustAnchors};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::time::{ClockId, clock_gettime};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

const HOST: &str = "example.com";

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().any(|arg| arg == "warmed") {
        let warming = std::thread::spawn(|| pinhold_size::provider().secure_random.fill(&mut [0]));
        // Wait for the thread, to measure what remains for the first handshake in another thread.
        let _ = warming.join();
    }
    let (root, server) = server()?;
    let mut steps = Steps::new();
    let config = client(&root)?;
    steps.done("client");
    let name = ServerName::try_from(HOST)?;
    let mut client = Connection::from(ClientConnection::new(config, name)?);
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    steps.done("hello");
    let mut server = Connection::from(ServerConnection::new(server)?);
    server.read_tls(&mut &hello[..])?;
    server.process_new_packets()?;
    while client.is_handshaking() {
        transfer(&mut server, &mut client)?;
        transfer(&mut client, &mut server)?;
    }
    steps.done("handshake");
    Ok(())
}

/// Prints the name of each step, and its processor and wall time in microseconds.
struct Steps(Duration, Instant);

impl Steps {
    fn new() -> Self {
        Self(cpu_time(), Instant::now())
    }

    fn done(&mut self, step: &str) {
        let (cpu, wall) = (cpu_time() - self.0, self.1.elapsed());
        println!("{step}\t{}\t{}", cpu.as_micros(), wall.as_micros());
        *self = Self::new();
    }
}

/// Returns the processor time of all threads of this process.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Returns the configuration of a client with Mozilla's roots, the test's root, and one pin.
fn client(root: &CertificateDer<'_>) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let pin = SpkiFingerprint::of_certificate(root)?;
    let policy = PinPolicy::new([pin, SpkiFingerprint::from_digest([1; 32])])?;
    let pinning = Pinning::builder().static_pins(HOST, policy).build()?;
    let anchors = TrustAnchors::webpki_roots().with_built_in([root.clone()])?;
    let builder = PinningVerifier::builder(pinning).with_anchors(anchors);
    let config = builder.with_provider(pinhold_size::provider());
    Ok(Arc::new(config.client_config()?))
}

/// Returns a root certificate and a server. The server always uses ring, so that the first random
/// bytes of the measured provider are drawn by the client.
fn server() -> Result<(CertificateDer<'static>, Arc<ServerConfig>), Box<dyn Error>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new([HOST.to_owned()])?.signed_by(&key, &root)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
    Ok((root.der().clone().into_owned(), Arc::new(config)))
}

fn transfer(from: &mut Connection, to: &mut Connection) -> Result<(), Box<dyn Error>> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes)?;
    }
    let mut bytes = &bytes[..];
    while !bytes.is_empty() {
        to.read_tls(&mut bytes)?;
        to.process_new_packets()?;
    }
    Ok(())
}
