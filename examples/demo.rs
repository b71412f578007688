//! Key pinning in one run, from the first visit to a key rotation, over real TLS on loopback.
//!
//! A client notes the pins of a server, keeps them across a restart, refuses mis-issued
//! certificates, skips its pins for a root that the user added and shows so, lets them expire, and
//! moves to new ones. The exit code is not 0 if a step does not end as its text states.
#![allow(clippy::print_stdout, reason = "the demo prints its steps")]

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pinhold::header::Noted;
use pinhold::{
    Decision, FileStorage, Host, NotePinsLayer, PinPolicy, PinStore, PinViolation, Pinning,
    PinningConnector, SpkiFingerprint, TrustAnchors, VerifiedConnection,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower::ServiceExt;
use tower_layer::Layer;

type Failure = Box<dyn Error + Send + Sync>;

const SHOP: &str = "shop.example";
const PAY: &str = "pay.shop.example";
const API: &str = "api.shop.example";

#[tokio::main]
async fn main() -> ExitCode {
    println!("pinhold demo: a client with key pins, over real TLS on loopback");
    match run().await {
        Ok(()) => {
            println!("\nEvery step ended as stated.");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("\nThe demo failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let mut demo = Demo::new()?;
    note_and_restart(&mut demo).await?;
    refuse_mis_issued_certificates(&demo).await?;
    skip_for_a_user_added_root(&demo).await?;
    expire(&demo).await?;
    rotate(&demo).await
}

async fn note_and_restart(demo: &mut Demo) -> Result<(), Failure> {
    step("First visit: the server sends a Public-Key-Pins header");
    let header = format!(
        "pin-sha256=\"{}\"; pin-sha256=\"{}\"; max-age=86400; includeSubDomains",
        demo.genuine.pin.to_base64(),
        backup_pin().to_base64()
    );
    demo.serve(SHOP, &demo.genuine, Some(&header)).await?;
    let visit = demo.visit(SHOP, &demo.anchors).await?;
    let added = matches!(visit.noted, Some(Noted::Added));
    visit.expect(added, "accepted: no pins are known yet")?;
    result("noted: 2 pins for shop.example and its subdomains, for one day");

    step("Second visit, over a new connection");
    let visit = demo.visit(SHOP, &demo.anchors).await?;
    let passed = matches!(visit.decision, Decision::Pass);
    visit.expect(passed, "accepted: a key of the validated chain is pinned")?;

    step("Restart: a new client reads the noted pins from its file");
    demo.restart()?;
    let known = demo.pinning.store().list();
    for entry in &known {
        result(&format!("{}: {} pins", entry.host, entry.pins.len()));
    }
    ensure(known.len() == 1, "one known pinned host")
}

async fn refuse_mis_issued_certificates(demo: &Demo) -> Result<(), Failure> {
    step("Attack: another trusted CA has issued a certificate for shop.example");
    demo.serve(SHOP, &demo.mis_issued, None).await?;
    let visit = demo.visit(SHOP, &demo.anchors).await?;
    visit.expect_refused()?;
    if let Decision::Refuse(violation) = &visit.decision {
        result("the client's error:");
        for line in violation.to_string().lines() {
            println!("     {line}");
        }
    }

    step("Attack: the same, with the genuine certificate appended to the served chain");
    let appended = demo.mis_issued.with_appended(&demo.genuine);
    demo.serve(SHOP, &appended, None).await?;
    demo.visit(SHOP, &demo.anchors).await?.expect_refused()?;
    result("why: only keys on the validated path count, and the genuine key is not on it");

    step("Attack: the mis-issued certificate on a subdomain that was never visited");
    demo.serve(PAY, &demo.mis_issued, None).await?;
    demo.visit(PAY, &demo.anchors).await?.expect_refused()?;
    result("why: the noted header covers subdomains (includeSubDomains)");
    Ok(())
}

async fn skip_for_a_user_added_root(demo: &Demo) -> Result<(), Failure> {
    step("Interception: a company proxy, whose root the user added, sends max-age=0");
    let anchors = demo.anchors.clone();
    let anchors = anchors.with_user_added([demo.proxy.root()])?;
    let leaf = demo.proxy.certify()?;
    demo.serve(SHOP, &leaf, Some("max-age=0")).await?;
    let visit = demo.visit(SHOP, &anchors).await?;
    let skipped = matches!(visit.decision, Decision::Skipped);
    visit.expect(
        skipped,
        "accepted: the pins are skipped, as the response shows",
    )?;
    let ignored = matches!(visit.noted, Some(Noted::Ignored(_)));
    visit.expect(ignored, "header ignored: shop.example is still pinned")?;
    result("why: the user decides about roots; a policy may enforce its pins there, too");
    ensure(demo.pinning.store().list().len() == 1, "the pins are kept")
}

async fn expire(demo: &Demo) -> Result<(), Failure> {
    step("Expiry: one day and one second later");
    demo.clock.0.fetch_add(86_401, Ordering::SeqCst);
    demo.serve(SHOP, &demo.mis_issued, None).await?;
    let visit = demo.visit(SHOP, &demo.anchors).await?;
    let unpinned = matches!(visit.decision, Decision::NotPinned);
    visit.expect(unpinned, "accepted, even with the mis-issued certificate")?;
    result("why: noted pins expire, max-age after the last visit; static pins need not");
    Ok(())
}

/// Moves the static pins of a host to a new set, which is tried report-only first. The set lacks
/// the key in use at first, a mistake that would have locked out every client.
async fn rotate(demo: &Demo) -> Result<(), Failure> {
    let (current, next) = (demo.genuine.pin, SpkiFingerprint::from_digest([0xcc; 32]));
    demo.serve(API, &demo.genuine, None).await?;
    let enforced = PinPolicy::new([current, backup_pin()])?;

    step("Rotation: a new set is tried report-only beside the enforced pins of api.shop.example");
    let policy = enforced.clone().candidate([next, backup_pin()])?;
    demo.pinning.replace_pins([(API, policy)])?;
    let visit = demo.visit(API, &demo.anchors).await?;
    let reported = matches!(visit.decision, Decision::ReportOnly(_));
    visit.expect(reported, "accepted: the enforced pins pass")?;
    demo.expect_failures(1)?;
    result("why: the new set lacks the key in use, a mistake that costs no connection");

    step("Rotation: the new set is corrected and tried again");
    let corrected = [current, next, backup_pin()];
    let policy = enforced.candidate(corrected)?;
    demo.pinning.replace_pins([(API, policy)])?;
    let visit = demo.visit(API, &demo.anchors).await?;
    let passed = matches!(visit.decision, Decision::Pass);
    visit.expect(passed, "accepted: both sets pass")?;
    demo.expect_failures(0)?;

    step("Rotation: the new set is enforced, without restarting the client");
    let policy = PinPolicy::new(corrected)?;
    demo.pinning.replace_pins([(API, policy)])?;
    let visit = demo.visit(API, &demo.anchors).await?;
    let passed = matches!(visit.decision, Decision::Pass);
    visit.expect(passed, "accepted: a key of the validated chain is pinned")
}

fn step(title: &str) {
    println!("\n== {title}");
}

fn result(text: &str) {
    println!("   {text}");
}

fn ensure(condition: bool, expected: &str) -> Result<(), Failure> {
    if condition {
        Ok(())
    } else {
        Err(format!("expected {expected}").into())
    }
}

/// The outcome of a request: a response, or the violation of a refused connection.
#[derive(Debug)]
struct Visit {
    decision: Decision,
    noted: Option<Noted>,
}

impl Visit {
    /// Prints the statement if it is true.
    fn expect(&self, is_true: bool, statement: &str) -> Result<(), Failure> {
        ensure(is_true, &format!("\"{statement}\", found {self:#?}"))?;
        result(statement);
        Ok(())
    }

    fn expect_refused(&self) -> Result<(), Failure> {
        let refused = matches!(self.decision, Decision::Refuse(_));
        self.expect(refused, "refused in the TLS handshake: no request was sent")
    }
}

/// A clock that the demo moves.
#[derive(Debug)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = Duration::from_secs(self.0.load(Ordering::SeqCst));
        Some(UnixTime::since_unix_epoch(seconds))
    }
}

/// Builds the pinning engine as an application does at startup.
fn open_pinning(folder: &TempDir, clock: &Arc<Clock>) -> Result<Pinning, Failure> {
    let file = folder.path().join("noted-pins.jsonl");
    let store = PinStore::open(FileStorage::new(file))?;
    let builder = Pinning::builder().store(store);
    Ok(builder.time_provider(clock.clone()).build()?)
}

/// The client's pins and clock, the certificates, and the address of each host.
struct Demo {
    folder: TempDir,
    pinning: Pinning,
    clock: Arc<Clock>,
    anchors: TrustAnchors,
    genuine: Leaf,
    /// For the same names, issued by another CA that the client trusts.
    mis_issued: Leaf,
    proxy: Ca,
    addresses: Mutex<HashMap<String, SocketAddr>>,
    /// Requests that reached any of the servers.
    requests: Arc<AtomicUsize>,
}

impl Demo {
    fn new() -> Result<Self, Failure> {
        let (trusted, careless) = (Ca::new("Trusted CA")?, Ca::new("Careless CA")?);
        let folder = tempfile::tempdir()?;
        let clock = Arc::new(Clock(AtomicU64::new(UnixTime::now().as_secs())));
        Ok(Self {
            pinning: open_pinning(&folder, &clock)?,
            folder,
            clock,
            anchors: TrustAnchors::new().with_built_in([trusted.root(), careless.root()])?,
            genuine: trusted.certify()?,
            mis_issued: careless.certify()?,
            proxy: Ca::new("Company proxy")?,
            addresses: Mutex::default(),
            requests: Arc::default(),
        })
    }

    fn restart(&mut self) -> Result<(), Failure> {
        // The file is released with the last handle, as at the end of a process.
        self.pinning = Pinning::builder().build()?;
        self.pinning = open_pinning(&self.folder, &self.clock)?;
        Ok(())
    }

    /// Prints the counts of the candidate pins, which must be one connection and this many
    /// failures.
    fn expect_failures(&self, failures: u64) -> Result<(), Failure> {
        let rollout = self.pinning.rollout(&Host::parse(API)?);
        let rollout = rollout.ok_or("no static policy")?;
        result(&format!(
            "counted: {} connection, {} would have been refused by the new set",
            rollout.connections, rollout.would_have_failed
        ));
        let unseen = rollout.never_seen().count();
        result(&format!(
            "         {unseen} of its pins found in no chain so far"
        ));
        let counts = (rollout.connections, rollout.would_have_failed);
        ensure(counts == (1, failures), "one connection counted")
    }

    /// Sends one request with a new client.
    async fn visit(&self, host: &str, anchors: &TrustAnchors) -> Result<Visit, Failure> {
        let before = self.requests.load(Ordering::SeqCst);
        match self.request(host, anchors).await {
            Ok(response) => {
                let extensions = response.extensions();
                let connection = extensions.get::<VerifiedConnection>();
                let connection = connection.ok_or("the connection was not verified")?;
                Ok(Visit {
                    decision: connection.decision().clone(),
                    noted: extensions.get().cloned(),
                })
            }
            Err(failure) => {
                let violation = PinViolation::find(&*failure).ok_or(failure)?;
                let received = self.requests.load(Ordering::SeqCst) - before;
                ensure(received == 0, "no request at the refused server")?;
                Ok(Visit {
                    decision: Decision::Refuse(violation),
                    noted: None,
                })
            }
        }
    }

    async fn request(
        &self,
        host: &str,
        anchors: &TrustAnchors,
    ) -> Result<http::Response<Incoming>, Failure> {
        let address = {
            let addresses = self.addresses.lock().map_err(|_| "poisoned lock")?;
            *addresses.get(host).ok_or("unknown host")?
        };
        // Connects to the loopback server, whatever host the URI names.
        let loopback = tower::service_fn(move |_: http::Uri| async move {
            let mut tcp = HttpConnector::new();
            let uri = format!("http://{address}").parse::<http::Uri>()?;
            Ok::<_, Failure>(tower::Service::call(&mut tcp, uri).await?)
        });
        let connector = PinningConnector::builder(self.pinning.clone())
            .with_provider(provider())
            .with_anchors(anchors.clone())
            .wrap_connector(loopback)?;
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let client = NotePinsLayer::new(self.pinning.clone()).layer(client);
        let request = http::Request::get(format!("https://{host}/"));
        Ok(client.oneshot(request.body(Empty::<Bytes>::new())?).await?)
    }

    /// Starts a server for this host, in place of an earlier one.
    async fn serve(&self, host: &str, leaf: &Leaf, header: Option<&str>) -> Result<(), Failure> {
        let key = PrivatePkcs8KeyDer::from(leaf.key.clone());
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(leaf.chain.clone(), key.into())?;
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut addresses = self.addresses.lock().map_err(|_| "poisoned lock")?;
        addresses.insert(host.to_owned(), listener.local_addr()?);
        let (header, requests) = (header.map(str::to_owned), self.requests.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // A client that refuses the certificate closes the connection here.
                let Ok(stream) = tls.accept(socket).await else {
                    continue;
                };
                let respond = service_fn(|_| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let mut response = http::Response::builder();
                    if let Some(header) = &header {
                        response = response.header("public-key-pins", header);
                    }
                    let response = response.body(Full::new(Bytes::from("hello")));
                    async move { response }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), respond).await;
            }
        });
        Ok(())
    }
}

/// Returns the first crypto provider of this build. An application can leave the choice to pinhold.
fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    return Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(not(feature = "aws-lc-rs"))]
    return Arc::new(rustls::crypto::ring::default_provider());
}

/// Returns the pin of a backup key, which is kept offline and in no certificate yet.
fn backup_pin() -> SpkiFingerprint {
    SpkiFingerprint::from_digest([0xbb; 32])
}

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Result<Self, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        Ok(Self(CertifiedIssuer::self_signed(params, key)?))
    }

    fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Issues a certificate for the shop and its subdomains.
    fn certify(&self) -> Result<Leaf, Failure> {
        let mut params = CertificateParams::new([SHOP.to_owned(), format!("*.{SHOP}")])?;
        params.distinguished_name.push(DnType::CommonName, SHOP);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Leaf {
            pin: SpkiFingerprint::of_certificate(certificate.der())?,
            chain: vec![certificate.der().clone()],
            key: key.serialize_der(),
        })
    }
}

/// A server certificate with its key, and the chain that is served.
struct Leaf {
    pin: SpkiFingerprint,
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Leaf {
    /// Returns this leaf with the other's chain after its own.
    fn with_appended(&self, other: &Self) -> Self {
        Self {
            pin: self.pin,
            chain: [&*self.chain, &other.chain].concat(),
            key: self.key.clone(),
        }
    }
}
