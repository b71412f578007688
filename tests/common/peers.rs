//! Third-party programs on loopback ports: nginx, `openssl s_server`, mitmproxy and curl.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;
use std::{env, fs, thread};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pinhold::SpkiFingerprint;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::TIMEOUT;
use super::pki::{Ca, Leaf};

/// Returns the path of a program, or prints a note and returns `None` if it is missing. With
/// `PINHOLD_REQUIRE_PEERS=1` in the environment, a missing program fails the test.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Created by `tests/run.sh --install`.
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin");
    let found = std::iter::once(installed)
        .chain(env::split_paths(&path))
        // Debian installs servers here, which is in the path of root only.
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    if found.is_none() {
        report_missing(name);
    }
    found
}

/// Returns the bytes of a file of a Debian package; like [`program`] if it is missing.
pub fn file(path: &str) -> Option<Vec<u8>> {
    let bytes = fs::read(path).ok();
    if bytes.is_none() {
        report_missing(path);
    }
    bytes
}

fn report_missing(name: &str) {
    let required = env::var_os("PINHOLD_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(
        !required,
        "{name} is missing: install it by `tests/run.sh --install`"
    );
    // Written to the real stderr, since the output of passing tests is captured.
    let _ = writeln!(std::io::stderr(), "{name} is missing: a test is skipped");
}

/// The only TLS version that a server offers.
#[derive(Clone, Copy)]
pub enum Tls {
    V1_2,
    V1_3,
}

/// A running program, killed when dropped.
pub struct Peer {
    pub address: SocketAddr,
    child: Child,
    lines: Receiver<String>,
    folder: Folder,
}

impl Peer {
    /// Starts a program and waits for the line of its output that shows that it is ready.
    fn start(
        folder: Folder,
        command: &mut Command,
        ready: impl Fn(&str) -> Option<SocketAddr>,
    ) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        forward(child.stdout.take().unwrap(), sender.clone());
        forward(child.stderr.take().unwrap(), sender);
        let mut this = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            child,
            lines,
            folder,
        };
        let end = Instant::now() + TIMEOUT;
        let mut output = String::new();
        loop {
            let remaining = end.saturating_duration_since(Instant::now());
            let Ok(line) = this.lines.recv_timeout(remaining) else {
                panic!("{command:?} ended, or was not ready in {TIMEOUT:?}:\n{output}");
            };
            if let Some(address) = ready(&line) {
                this.address = address;
                return this;
            }
            output = output + &line + "\n";
        }
    }

    /// Starts nginx with this `Public-Key-Pins` value in each response.
    pub fn nginx(leaf: &Leaf, tls: Tls, pins: &str) -> Option<Self> {
        Self::nginx_with_field(leaf, tls, "Public-Key-Pins", pins)
    }

    /// Starts nginx with this field in each response.
    pub fn nginx_with_field(leaf: &Leaf, tls: Tls, name: &str, value: &str) -> Option<Self> {
        let program = program("nginx")?;
        let tls = match tls {
            Tls::V1_2 => "TLSv1.2",
            Tls::V1_3 => "TLSv1.3",
        };
        let folder = Folder::new();
        let (chain, key) = folder.write_leaf(leaf);
        // nginx does not report a port that it chose itself. If another process takes this port in
        // the meantime, nginx fails to start and the test fails with its message.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let config = format!(
            r#"daemon off; master_process off; pid nginx.pid; error_log stderr notice;
             events {{}}
             http {{
                access_log off;
                client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
                uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                server {{
                    listen {address} ssl http2;
                    ssl_protocols {tls};
                    ssl_certificate "{chain}";
                    ssl_certificate_key "{key}";
                    add_header {name} '{value}';
                    location / {{ return 200 ok; }}
                }}
             }}"#
        );
        folder.write("nginx.conf", &config);
        let mut command = Command::new(program);
        command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]);
        command.arg(&folder.0);
        // nginx logs this line after it has opened the port.
        Some(Self::start(folder, &mut command, |line| {
            line.contains("event method").then_some(address)
        }))
    }

    /// Starts nginx as a captive portal: it responds to every plain request with a redirect.
    pub fn nginx_portal() -> Option<Self> {
        let program = program("nginx")?;
        let folder = Folder::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let config = format!(
            r#"daemon off; master_process off; pid nginx.pid; error_log stderr notice;
             events {{}}
             http {{
                access_log off;
                client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
                uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                server {{
                    listen {address};
                    location / {{ return 302 http://portal.test/login; }}
                }}
             }}"#
        );
        folder.write("nginx.conf", &config);
        let mut command = Command::new(program);
        command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]);
        command.arg(&folder.0);
        Some(Self::start(folder, &mut command, |line| {
            line.contains("event method").then_some(address)
        }))
    }

    /// Starts nginx as a report endpoint that logs each posted body.
    pub fn nginx_as_collector(leaf: &Leaf) -> Option<Self> {
        let program = program("nginx")?;
        let folder = Folder::new();
        let (chain, key) = folder.write_leaf(leaf);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        // nginx reads a body only to pass it on, so the request is proxied to nginx itself.
        let config = format!(
            r#"daemon off; master_process off; pid nginx.pid; error_log stderr notice;
             events {{}}
             http {{
                log_format report escape=none '{REPORTED}$request_body';
                client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
                uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                client_body_in_single_buffer on; client_body_buffer_size 64k;
                access_log off;
                server {{
                    listen {address} ssl;
                    ssl_certificate "{chain}";
                    ssl_certificate_key "{key}";
                    location /pins {{
                        access_log /dev/stdout report;
                        proxy_pass https://{address}/taken;
                    }}
                    location /taken {{ return 204; }}
                }}
             }}"#
        );
        folder.write("nginx.conf", &config);
        let mut command = Command::new(program);
        command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]);
        command.arg(&folder.0);
        Some(Self::start(folder, &mut command, |line| {
            line.contains("event method").then_some(address)
        }))
    }

    /// Starts nginx with the files of this folder.
    pub fn nginx_with_files(leaf: &Leaf, files: &Path) -> Option<Self> {
        let program = program("nginx")?;
        let folder = Folder::new();
        let (chain, key) = folder.write_leaf(leaf);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let files = files.display();
        let config = format!(
            r#"daemon off; master_process off; pid nginx.pid; error_log stderr notice;
             events {{}}
             http {{
                log_format requested '{REQUESTED}$uri $status';
                access_log /dev/stdout requested;
                client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
                uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                server {{
                    listen {address} ssl;
                    ssl_certificate "{chain}";
                    ssl_certificate_key "{key}";
                    root "{files}";
                }}
             }}"#
        );
        folder.write("nginx.conf", &config);
        let mut command = Command::new(program);
        command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]);
        command.arg(&folder.0);
        Some(Self::start(folder, &mut command, |line| {
            line.contains("event method").then_some(address)
        }))
    }

    /// Returns the requests to [`Peer::nginx_with_files`] so far, each with its path and status.
    pub fn requested(&self) -> Vec<String> {
        let lines = self.lines.try_iter();
        let requested = lines.filter_map(|line| Some(line.strip_prefix(REQUESTED)?.to_owned()));
        requested.collect()
    }

    /// Returns the next body posted to [`Peer::nginx_as_collector`].
    pub fn next_report(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(TIMEOUT).unwrap();
            if let Some(report) = line.strip_prefix(REPORTED) {
                return report.to_owned();
            }
        }
    }

    /// Starts `openssl s_server`, which responds to each request with a page about the connection.
    pub fn s_server(leaf: &Leaf, tls: Tls) -> Option<Self> {
        Self::s_server_with(leaf, tls, &[])
    }

    /// As [`s_server`](Self::s_server), with the OCSP response in this file stapled.
    pub fn s_server_stapling(leaf: &Leaf, tls: Tls, response: &Path) -> Option<Self> {
        let response = response.to_str().unwrap();
        Self::s_server_with(leaf, tls, &["-status_file", response])
    }

    fn s_server_with(leaf: &Leaf, tls: Tls, more: &[&str]) -> Option<Self> {
        let program = program("openssl")?;
        let folder = Folder::new();
        let (chain, key) = folder.write_leaf(leaf);
        let intermediates = folder.write("intermediates.pem", &certificates(&leaf.chain[1..]));
        let tls = match tls {
            Tls::V1_2 => "-tls1_2",
            Tls::V1_3 => "-tls1_3",
        };
        let mut command = Command::new(program);
        command.args(["s_server", "-www", "-accept", "127.0.0.1:0", tls]);
        command.args(more);
        command.args(["-cert", &chain, "-key", &key]);
        if leaf.chain.len() > 1 {
            command.args(["-cert_chain", &intermediates]);
        }
        Some(Self::start(folder, &mut command, |line| {
            line.strip_prefix("ACCEPT ")?.parse().ok()
        }))
    }

    /// Starts mitmproxy as an HTTP proxy that connects to `server` for every requested host. It
    /// generates its own root.
    pub fn mitmproxy(server: SocketAddr) -> Option<Self> {
        Self::mitmdump(server, "regular@127.0.0.1:0")
    }

    /// Starts mitmproxy in place of `server`, as after a change of DNS or routing.
    pub fn reverse_mitmproxy(server: SocketAddr) -> Option<Self> {
        Self::mitmdump(server, &format!("reverse:https://{server}@127.0.0.1:0"))
    }

    fn mitmdump(server: SocketAddr, mode: &str) -> Option<Self> {
        let program = program("mitmdump")?;
        let folder = Folder::new();
        let (host, port) = (server.ip(), server.port());
        let addon =
            format!("def server_connect(data):\n    data.server.address = ('{host}', {port})\n");
        let addon = folder.write("addon.py", &addon);
        let mut command = Command::new(program);
        command.args(["--mode", mode, "--ssl-insecure", "--scripts", &addon]);
        command.args(["--set", &format!("confdir={}", folder.0.display())]);
        Some(Self::start(folder, &mut command, |line| {
            let (_, address) = line.split_once("listening at ")?;
            address.trim_end_matches('.').parse().ok()
        }))
    }

    /// The root that mitmproxy generated.
    pub fn root_of_mitmproxy(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.folder.0.join("mitmproxy-ca-cert.pem")).unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Fails only if the program has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The output helps to understand a failed test.
        for line in self.lines.try_iter() {
            println!("{line}");
        }
    }
}

/// Runs curl with `pin` as the only pin of the server and returns its exit code.
pub fn curl(root: &Ca, host: &str, address: SocketAddr, pin: SpkiFingerprint) -> Option<i32> {
    let program = program("curl")?;
    let folder = Folder::new();
    let root = folder.write("root.pem", &root.pem());
    let port = address.port();
    let mut command = Command::new(program);
    command.args([
        "--disable",
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "60",
    ]);
    command.args([
        "--cacert",
        &root,
        "--pinnedpubkey",
        &format!("sha256//{}", pin.to_base64()),
    ]);
    command.args(["--resolve", &format!("{host}:{port}:{}", address.ip())]);
    let output = command
        .arg(format!("https://{host}:{port}/"))
        .output()
        .unwrap();
    println!("{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output.status.code()
}

/// Generates an RSA key of this size with `openssl`.
pub fn rsa_key(bits: u32) -> Option<KeyPair> {
    let mut command = Command::new(program("openssl")?);
    command.args(["genpkey", "-algorithm", "RSA", "-pkeyopt"]);
    command.arg(format!("rsa_keygen_bits:{bits}"));
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(KeyPair::from_pem(str::from_utf8(&output.stdout).unwrap()).unwrap())
}

/// Runs `openssl` with these arguments, and returns its standard output.
pub fn openssl(arguments: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new(program("openssl")?);
    let output = command.args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    Some(output.stdout)
}

/// The prefix of a logged request.
const REQUESTED: &str = "requested: ";
/// The prefix of a logged body.
const REPORTED: &str = "posted: ";

/// A temporary directory below `target`, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("peer-{}-{count}", process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file and returns its path.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Writes chain and key as PEM files and returns their paths.
    fn write_leaf(&self, leaf: &Leaf) -> (String, String) {
        let chain = self.write("chain.pem", &certificates(&leaf.chain));
        let key = self.write("key.pem", &pem("PRIVATE KEY", leaf.key().secret_der()));
        (chain, key)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn certificates(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|der| pem("CERTIFICATE", der)).collect()
}

/// Encodes DER as PEM with this label.
pub fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let encoded = STANDARD.encode(der);
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(str::from_utf8(line).unwrap());
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// Forwards the lines of an output until its end, so that the program never blocks on a full pipe.
fn forward(output: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
}
