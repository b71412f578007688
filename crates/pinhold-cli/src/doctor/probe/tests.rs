use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use pinhold::policy::Scope;
use pinhold::{Host, UserAddedRoots};
use rustls::{SupportedProtocolVersion, version};
use tokio::time::Instant;

use super::test_server::{Builder, Chain, refusing, responding, silent};
use super::*;
use crate::doctor::observation::{KeyKind, ProbeFailureKind, TlsVersion};
use crate::peer::Timeout;

const NAME: &str = "shop.example";

/// Longer than any of these handshakes takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Connects to the addresses of one name.
async fn connect_to(addresses: &[SocketAddr], limit: Duration) -> Vec<Observation> {
    let mut all = connect_all(&[addresses], limit).await;
    all.remove(0).chains
}

async fn connect_all(hosts: &[&[SocketAddr]], limit: Duration) -> Vec<Observations> {
    let hosts = hosts.iter().map(|addresses| {
        let resolved = Resolved {
            routes: addresses.iter().copied().map(Route::Direct).collect(),
            before: Observations::default(),
        };
        (Some(ServerName::try_from(NAME).unwrap()), resolved)
    });
    let limits = Limits::new(Deadline::after(Some(Timeout(limit))));
    connect(hosts.collect(), limits, || ()).await
}

/// The address, the version and the restriction of an observation.
fn source(observation: &Observation) -> (SocketAddr, TlsVersion, Option<KeyKind>) {
    match observation.source {
        ChainSource::Server { address, version } => (address, version, None),
        ChainSource::OtherKey {
            address,
            version,
            key,
        } => (address, version, Some(key)),
        _ => panic!("{}", observation.source),
    }
}

/// Asserts the version and the chain, or the failure, of each observation.
#[track_caller]
fn assert_observed(
    observed: &[Observation],
    expected: &[(TlsVersion, Result<&Chain, ProbeFailureKind>)],
) {
    let found = observed.iter().map(|it| {
        let served = it.served.as_ref();
        let served = served.map_err(|failure| failure.kind);
        (source(it).1, served.map(Vec::as_slice))
    });
    let expected = expected.iter().map(|(version, chain)| {
        let certificates = chain.map(|chain| &chain.certificates[..]);
        (*version, certificates)
    });
    let details = observed.iter().filter_map(|it| it.served.as_ref().err());
    let details = details.collect::<Vec<_>>();
    assert_eq!(
        found.collect::<Vec<_>>(),
        expected.collect::<Vec<_>>(),
        "{details:?}"
    );
}

use ProbeFailureKind::{Connection, Timeout as TimedOut, Tls, Version};
use TlsVersion::{Tls12, Tls13};

#[tokio::test]
async fn each_version_is_observed_with_the_name_and_without_a_request() {
    let chain = Chain::ec();
    let server = Builder::new(&[&chain]).start().await;
    let observed = connect_to(&[server.address], LIMIT).await;
    assert_observed(&observed, &[(Tls13, Ok(&chain)), (Tls12, Ok(&chain))]);
    // Two more handshakes offer RSA only.
    let names = server.names.lock().unwrap().clone();
    assert_eq!(names, vec![Some(NAME.to_owned()); 4]);
    assert_eq!(server.received.load(Ordering::SeqCst), 0);
}

const ONLY_12: &[&SupportedProtocolVersion] = &[&version::TLS12];
const ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];

#[tokio::test]
async fn a_version_that_the_server_does_not_speak_is_no_error_of_tls() {
    let chain = Chain::ec();
    for (version, expected) in [
        (ONLY_12, [(Tls13, Err(Version)), (Tls12, Ok(&chain))]),
        (ONLY_13, [(Tls13, Ok(&chain)), (Tls12, Err(Version))]),
    ] {
        let mut server = Builder::new(&[&chain]);
        server.versions = version;
        let server = server.start().await;
        assert_observed(&connect_to(&[server.address], LIMIT).await, &expected);
    }
}

#[tokio::test]
async fn a_server_without_the_key_of_its_certificate_sends_no_chain() {
    for recorded in [Chain::ec(), Chain::rsa()] {
        let server = Builder::new(&[&recorded.replayed()]).start().await;
        let observed = connect_to(&[server.address], LIMIT).await;
        assert_observed(&observed, &[(Tls13, Err(Tls)), (Tls12, Err(Tls))]);
    }
}

#[tokio::test]
async fn the_certificates_of_both_kinds_of_keys_are_observed() {
    let (ec, rsa) = (Chain::ec(), Chain::rsa());
    for (chains, other) in [([&ec, &rsa], KeyKind::Rsa), ([&rsa, &ec], KeyKind::Ec)] {
        let server = Builder::new(&chains).start().await;
        let observed = connect_to(&[server.address], LIMIT).await;
        let [first, second] = chains;
        let expected = [
            (Tls13, Ok(first)),
            (Tls13, Ok(second)),
            (Tls12, Ok(first)),
            (Tls12, Ok(second)),
        ];
        assert_observed(&observed, &expected);
        let keys = observed.iter().map(|it| source(it).2);
        let expected = [None, Some(other), None, Some(other)];
        assert_eq!(keys.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn a_server_that_requires_a_client_certificate_is_observed() {
    let chain = Chain::ec();
    let mut server = Builder::new(&[&chain]);
    server.requires_client_certificate = true;
    let server = server.start().await;
    let observed = connect_to(&[server.address], LIMIT).await;
    assert_observed(&observed, &[(Tls13, Ok(&chain)), (Tls12, Ok(&chain))]);
}

#[tokio::test]
async fn each_address_is_observed_in_the_order_of_the_resolver() {
    let (first, second) = (Chain::ec(), Chain::rsa());
    let mut server = Builder::new(&[&second]);
    // Other systems than Linux have only the first address of the network on loopback.
    if cfg!(target_os = "linux") {
        server.ip = Ipv4Addr::new(127, 0, 0, 2).into();
    }
    let second_server = server.start().await;
    let first_server = Builder::new(&[&first]).start().await;
    let addresses = [second_server.address, first_server.address];
    let observed = connect_to(&addresses, LIMIT).await;
    let expected = [
        (Tls13, Ok(&second)),
        (Tls12, Ok(&second)),
        (Tls13, Ok(&first)),
        (Tls12, Ok(&first)),
    ];
    assert_observed(&observed, &expected);
    let found = observed.iter().map(|it| source(it).0).collect::<Vec<_>>();
    let [one, two] = addresses;
    assert_eq!(found, [one, one, two, two]);
}

#[tokio::test]
async fn each_failure_has_its_kind() {
    let cases = [
        (refusing().await, Connection),
        (responding(b"").await, Tls),
        (responding(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, Tls),
        // Alerts for the protocol version, and for a handshake without an algorithm in common.
        (responding(b"\x15\x03\x03\x00\x02\x02\x46").await, Version),
        (responding(b"\x15\x03\x03\x00\x02\x02\x28").await, Tls),
    ];
    for (number, (address, kind)) in cases.into_iter().enumerate() {
        let observed = connect_to(&[address], LIMIT).await;
        let kinds = observed
            .iter()
            .map(|it| it.served.as_ref().unwrap_err().kind);
        assert_eq!(kinds.collect::<Vec<_>>(), [kind; 2], "case {number}");
    }
}

#[tokio::test]
async fn servers_that_never_answer_do_not_delay_the_others_past_the_limit() {
    let chain = Chain::ec();
    let (silent, server) = (silent().await, Builder::new(&[&chain]).start().await);
    let mut hosts = vec![vec![silent]; 32];
    hosts.extend(vec![vec![server.address]; 8]);
    let hosts = hosts.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let begun = Instant::now();
    let observed = connect_all(&hosts, Duration::from_secs(3)).await;
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    for observed in &observed[..32] {
        let expected = [(Tls13, Err(TimedOut)), (Tls12, Err(TimedOut))];
        assert_observed(&observed.chains, &expected);
    }
    for observed in &observed[32..] {
        let expected = [(Tls13, Ok(&chain)), (Tls12, Ok(&chain))];
        assert_observed(&observed.chains, &expected);
    }
}

#[tokio::test]
async fn the_total_limit_ends_everything() {
    let silent = silent().await;
    let hosts = vec![[silent]; 200];
    let hosts = hosts.iter().map(|it| &it[..]).collect::<Vec<_>>();
    let begun = Instant::now();
    let observed = connect_all(&hosts, Duration::from_secs(1)).await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(observed.len(), 200);
    let expected = [(Tls13, Err(TimedOut)), (Tls12, Err(TimedOut))];
    for observed in observed {
        assert_observed(&observed.chains, &expected);
    }
}

#[tokio::test]
async fn names_are_resolved_or_overridden_or_not_probed() {
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        network: NetworkOptions,
    }
    let chain = Chain::ec();
    let server = Builder::new(&[&chain]).start().await;
    let port = server.address.port();
    let resolve = format!("--resolve={NAME}:{port}:127.0.0.1");
    let network = <Program as clap::Parser>::parse_from(["pinhold", &resolve]).network;
    let subject = |probe: Probe| Subject {
        host: Host::parse("example").unwrap(),
        scope: Scope::Host,
        source: String::new(),
        probe,
        port,
        groups: Vec::new(),
        expiry: None,
        staleness: None,
        is_enforced: true,
        refused_keys: Vec::new(),
        user_added_roots: UserAddedRoots::SkipPins,
    };
    let name = |name: &str| subject(Probe::Name(Host::parse(name).unwrap()));
    let subjects = [
        name("no.such.host.invalid"),
        subject(Probe::NotProbed),
        name(NAME),
    ];
    let deadline = Deadline::after(Some(Timeout(LIMIT)));
    let observed = observe(&subjects, &network, deadline, Output::new(true)).await;
    let [unresolved, not_probed, resolved] =
        <[_; 3]>::try_from(observed.ok().unwrap()).ok().unwrap();
    let [failure] = &unresolved.chains[..] else {
        panic!("{} observations", unresolved.chains.len());
    };
    assert!(matches!(failure.source, ChainSource::Unresolved));
    let failure = failure.served.as_ref().unwrap_err();
    assert_eq!(failure.kind, Connection, "{failure:?}");
    assert!(not_probed.chains.is_empty());
    let expected = [(Tls13, Ok(&chain)), (Tls12, Ok(&chain))];
    assert_observed(&resolved.chains, &expected);
}

#[tokio::test]
async fn progress_counts_each_host_once() {
    let address = refusing().await;
    let routes = |count| vec![Route::Direct(address); count];
    let hosts = [(true, 2), (true, 0), (false, 0), (true, 1)];
    let hosts = hosts.map(|(is_probed, addresses)| {
        let resolved = Resolved {
            routes: routes(addresses),
            before: Observations::default(),
        };
        let name = ServerName::try_from(NAME).unwrap();
        (is_probed.then_some(name), resolved)
    });
    let limits = Limits::new(Deadline::after(Some(Timeout(LIMIT))));
    let mut finished = 0;
    let observed = connect(hosts.into(), limits, || finished += 1).await;
    assert_eq!(finished, 3);
    let counts = observed.iter().map(|it| it.chains.len());
    assert_eq!(counts.collect::<Vec<_>>(), [4, 0, 0, 2]);
}

#[test]
fn a_detail_is_one_short_line_that_controls_no_terminal() {
    let detail = format!("\u{1b}[2J\n{}", "x".repeat(10_000));
    let refusal = Refusal::new(Tls, handshake::Cause::Other, &detail);
    let detail = refusal.failure.detail;
    assert!(
        detail.len() < 300 && detail.chars().all(|it| !it.is_control()),
        "{detail:?}"
    );
}
