//! The whole of pinning on one screen, against loopback servers: a visit that notes pins, one that
//! passes, a restart, an impostor refused, an inspecting proxy skipped visibly, pins that run out,
//! and new pins that are tried before they are relied on.
//!
//! Ends with a non-zero code if any step does not behave.
#![allow(clippy::print_stdout, reason = "it tells a story")]

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pinhold::header::Noted;
use pinhold::report::Rollout;
use pinhold::{
    Decision, FileStorage, Host, NotePinsLayer, PinPolicy, PinStore, PinViolation, Pinning,
    PinningConnector, PinningVerifier, SpkiFingerprint, TrustAnchors, VerifiedConnection,
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

#[tokio::main]
async fn main() -> ExitCode {
    match story().await {
        Ok(()) => {
            println!("\nEvery step behaved.");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("\nA step did not behave: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn story() -> Result<(), Failure> {
    let trusted = Ca::new("Trusted CA")?;
    let careless = Ca::new("Careless CA")?;
    let proxy = Ca::new("Office proxy")?;
    let genuine = trusted.certify()?;
    let mis_issued = careless.certify()?;
    let intercepted = proxy.certify()?;

    let pin = SpkiFingerprint::of_certificate(genuine.certificate()?)?;
    let backup = SpkiFingerprint::from_digest([0xbb; 32]);
    let header = format!(
        "pin-sha256=\"{}\"; pin-sha256=\"{}\"; max-age=86400; includeSubDomains",
        pin.to_base64(),
        backup.to_base64()
    );
    let mut world = World::new()?;
    let anchors = TrustAnchors::new().with_built_in([trusted.root(), careless.root()])?;
    let user_added = anchors.clone().with_user_added([proxy.root()])?;

    chapter("A first visit: the server asks for its key to be pinned, and the client notes it.");
    world.serve("shop.example", &genuine, Some(&header)).await?;
    let visit = world.visit(&anchors, "https://shop.example/").await;
    expect(
        matches!(
            visit,
            Visit::Answered {
                noted: Some(Noted::Added),
                ..
            }
        ),
        &visit,
    )?;

    chapter("A second visit, on a new connection: the pinned key is in the validated chain.");
    let visit = world.visit(&anchors, "https://shop.example/").await;
    expect(visit.passed(), &visit)?;

    chapter("The application ends and begins anew: what was noted is in a file.");
    world.restart()?;
    for entry in world.pinning.store().list() {
        println!("   {} is pinned to {} keys", entry.host, entry.pins.len());
    }

    chapter("An impostor has a certificate for the same name from another trusted CA.");
    world.serve("shop.example", &mis_issued, None).await?;
    let visit = world.visit(&anchors, "https://shop.example/").await;
    expect(matches!(visit, Visit::Refused(_)), &visit)?;

    chapter("It appends the genuine certificate, which is public, to what it serves.");
    let forged = mis_issued.with_appended(genuine.certificate()?);
    world.serve("shop.example", &forged, None).await?;
    let visit = world.visit(&anchors, "https://shop.example/").await;
    expect(matches!(visit, Visit::Refused(_)), &visit)?;

    chapter("A subdomain that was never visited is covered, too: the header said so.");
    world.serve("pay.shop.example", &mis_issued, None).await?;
    let visit = world.visit(&anchors, "https://pay.shop.example/").await;
    expect(matches!(visit, Visit::Refused(_)), &visit)?;

    chapter("The user's office reads the traffic, by a root that the user added: visibly skipped.");
    world
        .serve("shop.example", &intercepted, Some("max-age=0"))
        .await?;
    let visit = world.visit(&user_added, "https://shop.example/").await;
    let known = world.pinning.store().list().len();
    expect(visit.skipped() && known == 1, &visit)?;
    println!("   its header asked to forget the pins; hosts still pinned: {known}");

    chapter("A day and a second later max-age has run out: the host is no longer pinned.");
    world.clock.0.fetch_add(86_401, Ordering::SeqCst);
    world.serve("shop.example", &mis_issued, None).await?;
    let visit = world.visit(&anchors, "https://shop.example/").await;
    expect(visit.unpinned(), &visit)?;
    roll_out(&world, &anchors, &genuine, backup).await
}

/// A candidate beside enforced pins, with a mistake in it that nobody but the counts notices.
async fn roll_out(
    world: &World,
    anchors: &TrustAnchors,
    genuine: &Leaf,
    backup: SpkiFingerprint,
) -> Result<(), Failure> {
    let host = Host::parse("api.shop.example")?;
    let live = SpkiFingerprint::of_certificate(genuine.certificate()?)?;
    let mistaken = SpkiFingerprint::from_digest([0xcc; 32]);
    world.serve(host.as_str(), genuine, None).await?;
    let enforced = PinPolicy::new([live, backup])?;

    chapter("New pins are tried beside the enforced ones. They hold a mistake: nothing breaks.");
    let policy = enforced.clone().candidate([mistaken, backup])?;
    world.pinning.replace_pins([(host.clone(), policy)])?;
    let visit = world.visit(anchors, "https://api.shop.example/").await;
    expect(visit.would_be_refused(), &visit)?;
    let rollout = world.rollout(&host)?;
    (rollout.would_have_failed == 1)
        .then_some(())
        .ok_or("not counted")?;

    chapter("They are mended, and tried again: the counts begin anew, and stay clean.");
    let mended = [live, mistaken, backup];
    let policy = enforced.candidate(mended)?;
    world.pinning.replace_pins([(host.clone(), policy)])?;
    let visit = world.visit(anchors, "https://api.shop.example/").await;
    expect(visit.passed(), &visit)?;
    let rollout = world.rollout(&host)?;
    (rollout.would_have_failed == 0)
        .then_some(())
        .ok_or("counted")?;

    chapter("So they are enforced, under the running client.");
    let policy = PinPolicy::new(mended)?;
    world.pinning.replace_pins([(host, policy)])?;
    let visit = world.visit(anchors, "https://api.shop.example/").await;
    expect(visit.passed(), &visit)
}

fn chapter(text: &str) {
    println!("\n== {text}");
}

fn expect(behaved: bool, visit: &Visit) -> Result<(), Failure> {
    match visit {
        Visit::Answered { decision, noted } => {
            match decision {
                Decision::ReportOnly(violation) => {
                    println!("   answered; what would have been refused:");
                    for line in violation.to_string().lines() {
                        println!("   {line}");
                    }
                }
                decision => println!("   answered; pins: {decision:?}"),
            }
            match noted {
                Some(Noted::Ignored(reason)) => println!("   header ignored: {reason}"),
                Some(noted) => println!("   header: {noted:?}"),
                None => {}
            }
        }
        Visit::Refused(violation) => {
            for line in format!("refused: {violation}").lines() {
                println!("   {line}");
            }
        }
        Visit::Failed(failure) => println!("   failed: {failure}"),
    }
    behaved.then_some(()).ok_or_else(|| "see above".into())
}

/// What came of a request.
enum Visit {
    Answered {
        decision: Decision,
        noted: Option<Noted>,
    },
    Refused(PinViolation),
    Failed(Failure),
}

impl Visit {
    fn passed(&self) -> bool {
        matches!(
            self,
            Self::Answered {
                decision: Decision::Pass,
                ..
            }
        )
    }

    fn skipped(&self) -> bool {
        matches!(
            self,
            Self::Answered {
                decision: Decision::Skipped,
                ..
            }
        )
    }

    fn would_be_refused(&self) -> bool {
        matches!(
            self,
            Self::Answered {
                decision: Decision::ReportOnly(_),
                ..
            }
        )
    }

    fn unpinned(&self) -> bool {
        matches!(
            self,
            Self::Answered {
                decision: Decision::NotPinned,
                ..
            }
        )
    }
}

/// A clock that the story moves.
#[derive(Debug)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = Duration::from_secs(self.0.load(Ordering::SeqCst));
        Some(UnixTime::since_unix_epoch(seconds))
    }
}

/// What an application does at its start.
fn begin(folder: &TempDir, clock: &Arc<Clock>) -> Result<Pinning, Failure> {
    let file = folder.path().join("noted-pins.jsonl");
    let (store, trouble) = PinStore::open_or_recover(FileStorage::new(file));
    if let Some(error) = trouble {
        return Err(error.into());
    }
    let builder = Pinning::builder().store(store);
    Ok(builder.time_provider(clock.clone()).build()?)
}

/// The client's pins, its clock, and where each name leads.
struct World {
    folder: TempDir,
    pinning: Pinning,
    clock: Arc<Clock>,
    names: Arc<Mutex<HashMap<String, SocketAddr>>>,
}

impl World {
    fn new() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let clock = Arc::new(Clock(AtomicU64::new(UnixTime::now().as_secs())));
        Ok(Self {
            pinning: begin(&folder, &clock)?,
            folder,
            clock,
            names: Arc::default(),
        })
    }

    fn rollout(&self, host: &Host) -> Result<Rollout, Failure> {
        let rollout = self.pinning.rollout(host).ok_or("no static policy")?;
        let (connections, failures) = (rollout.connections, rollout.would_have_failed);
        println!("   {host}: {connections} connections, {failures} would have failed");
        for pin in rollout.never_seen() {
            println!("   {pin} was in no chain");
        }
        Ok(rollout)
    }

    fn restart(&mut self) -> Result<(), Failure> {
        // Ends with its last handle, as with the process.
        self.pinning = Pinning::builder().build()?;
        self.pinning = begin(&self.folder, &self.clock)?;
        Ok(())
    }

    /// One request by a new client, as an application would build it.
    async fn visit(&self, anchors: &TrustAnchors, uri: &str) -> Visit {
        let answer = self.request(anchors, uri).await;
        match answer {
            Ok(response) => {
                let extensions = response.extensions();
                let connection = extensions.get::<VerifiedConnection>();
                Visit::Answered {
                    decision: connection
                        .map_or(Decision::NotPinned, |known| known.decision().clone()),
                    noted: extensions.get().cloned(),
                }
            }
            Err(failure) => match PinViolation::find(&*failure) {
                Some(violation) => Visit::Refused(violation),
                None => Visit::Failed(failure),
            },
        }
    }

    async fn request(
        &self,
        anchors: &TrustAnchors,
        uri: &str,
    ) -> Result<http::Response<hyper::body::Incoming>, Failure> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let names = self.names.lock().map_err(|_| "names")?.clone();
        let loopback = tower::service_fn(move |uri: http::Uri| {
            let address = uri.host().and_then(|host| names.get(host)).copied();
            let mut tcp = tcp.clone();
            async move {
                let address = address.ok_or("no such host in this demo")?;
                let uri = format!("http://{address}").parse::<http::Uri>()?;
                Ok::<_, Failure>(tower::Service::call(&mut tcp, uri).await?)
            }
        });
        let config = PinningVerifier::builder(self.pinning.clone(), anchors.clone())
            .with_provider(provider())
            .client_config()?;
        let connector = PinningConnector::builder(self.pinning.clone())
            .with_tls_config(config)
            .https_only()
            .wrap_connector(loopback)?;
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let client = NotePinsLayer::new(self.pinning.clone()).layer(client);
        let request = http::Request::get(uri).body(Empty::<Bytes>::new())?;
        Ok(client.oneshot(request).await?)
    }

    /// Starts a server and lets the name lead to it.
    async fn serve(&self, name: &str, leaf: &Leaf, header: Option<&str>) -> Result<(), Failure> {
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                leaf.chain.clone(),
                PrivatePkcs8KeyDer::from(leaf.key.clone()).into(),
            )?;
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut names = self.names.lock().map_err(|_| "names")?;
        names.insert(name.to_owned(), listener.local_addr()?);
        let header = header.map(str::to_owned);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // A client that refuses the certificate hangs up here.
                let Ok(stream) = tls.accept(socket).await else {
                    continue;
                };
                let answer = service_fn(|_| {
                    let mut response = http::Response::builder();
                    if let Some(header) = &header {
                        response = response.header("public-key-pins", header);
                    }
                    let response = response.body(Full::new(Bytes::from("hello")));
                    async move { response }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), answer).await;
            }
        });
        Ok(())
    }
}

/// The first provider of this build; an application would leave the choice to pinhold.
fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    return Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(not(feature = "aws-lc-rs"))]
    return Arc::new(rustls::crypto::ring::default_provider());
}

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Result<Self, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(
            params,
            KeyPair::generate()?,
        )?))
    }

    fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate for the shop and its subdomains.
    fn certify(&self) -> Result<Leaf, Failure> {
        let names = ["shop.example".to_owned(), "*.shop.example".to_owned()];
        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "shop.example");
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Leaf {
            chain: vec![certificate.der().clone()],
            key: key.serialize_der(),
        })
    }
}

struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Leaf {
    fn certificate(&self) -> Result<&CertificateDer<'static>, Failure> {
        self.chain.first().ok_or_else(|| "no certificate".into())
    }

    fn with_appended(&self, certificate: &CertificateDer<'static>) -> Self {
        let mut chain = self.chain.clone();
        chain.push(certificate.clone());
        Self {
            chain,
            key: self.key.clone(),
        }
    }
}
