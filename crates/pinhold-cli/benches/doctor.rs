//! The time of `pinhold doctor` for 200 hosts, each with its own server on loopback, and for the same
//! hosts when 32 of the servers never answer.
//!
//! `cargo bench -p pinhold-cli --bench doctor`; the program is that of the profile `bench`.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, process};

use pinhold::SpkiFingerprint;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData};
use rustls::ServerConfig;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

const HOSTS: usize = 200;
const SILENT: usize = 32;
/// The limit for servers that answer.
const LIMIT: Duration = Duration::from_secs(10);
/// The value of `--timeout`, which is its default.
const TOTAL: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("doctor-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let dns = dns().await;
    let mut is_too_slow = false;
    for (silent, limit) in [(0, LIMIT), (SILENT, TOTAL + Duration::from_secs(1))] {
        let hosts = Hosts::start(&folder, silent).await;
        let command = hosts.command(dns);
        let (took, code, size) = tokio::task::spawn_blocking(|| time(command)).await.unwrap();
        is_too_slow |= took > limit;
        println!(
            "{HOSTS} hosts, {silent} of them silent: {:.2} s (limit {} s); exit code {code}, {size} \
             bytes of JSON",
            took.as_secs_f64(),
            limit.as_secs()
        );
    }
    fs::remove_dir_all(&folder).unwrap();
    assert!(!is_too_slow, "slower than the limit");
}

/// Pinned hosts and their servers.
struct Hosts {
    /// The port of each host, from `h0.test` on.
    ports: Vec<u16>,
    pins: PathBuf,
    roots: PathBuf,
}

impl Hosts {
    /// Starts the servers, of which the first ones are silent.
    async fn start(folder: &Path, silent: usize) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let (mut ports, mut policies) = (Vec::new(), Vec::new());
        for number in 0..HOSTS {
            let host = format!("h{number}.test");
            let (live, backup) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
            let pins = [&live, &backup].map(|key| {
                let key = SubjectPublicKeyInfoDer::from(key.subject_public_key_info());
                SpkiFingerprint::of_public_key(&key).unwrap().to_string()
            });
            policies.push(json!({ "hosts": [host], "pins": pins }));
            let leaf = CertificateParams::new([host]).unwrap();
            let leaf = leaf.signed_by(&live, &ca).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let key = PrivatePkcs8KeyDer::from(live.serialize_der());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![leaf.der().clone()], key.into());
            let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
            ports.push(serve((number >= silent).then_some(acceptor)).await);
        }
        let (pins, roots) = (folder.join("pins.json"), folder.join("roots.pem"));
        let document = json!({ "version": 1, "policies": policies });
        fs::write(&pins, document.to_string()).unwrap();
        fs::write(&roots, ca.pem()).unwrap();
        Self { ports, pins, roots }
    }

    fn command(&self, dns: SocketAddr) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinhold"));
        command.args(["doctor", "--json", "--resolver", &dns.to_string()]);
        command.arg("--pins").arg(&self.pins);
        command.arg("--ca").arg(&self.roots);
        for (number, port) in self.ports.iter().enumerate() {
            command.arg(format!("h{number}.test:{port}"));
            command.args(["--resolve", &format!("h{number}.test:{port}:127.0.0.1")]);
        }
        for name in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command
    }
}

/// Starts a server that makes TLS handshakes, or that never answers.
async fn serve(acceptor: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Some(acceptor) = acceptor {
                    let _ = acceptor.accept(stream).await;
                } else {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            });
        }
    });
    port
}

/// Starts a DNS server for which no name exists.
async fn dns() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut message = [0; 512];
        while let Ok((len, client)) = socket.recv_from(&mut message).await {
            // A response without records, and with the code NXDOMAIN (RFC 1035 section 4.1.1).
            message[2] |= 0x80;
            message[3] = 0x83;
            // The record of EDNS is cut off.
            message[10..12].fill(0);
            let question = message[12..len].iter().position(|byte| *byte == 0).unwrap() + 5;
            let _ = socket.send_to(&message[..12 + question], client).await;
        }
    });
    address
}

/// Runs the program. Returns its time, its exit code, and the size of its output.
fn time(mut command: Command) -> (Duration, i32, usize) {
    let begun = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = output.unwrap();
    let code = output.status.code().unwrap();
    (begun.elapsed(), code, output.stdout.len())
}
