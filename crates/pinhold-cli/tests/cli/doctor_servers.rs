//! `pinhold doctor` against nginx, `openssl s_server`, proxies and DNS servers.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use pinhold::SpkiFingerprint;
use serde_json::Value;

use crate::peers::{Peer, Tls};
use crate::pki::{Ca, Leaf};
use crate::program::{Folder, Run, Site, run_async_with, run_with, unrelated_pin};
use crate::proxy::Proxy;

const HOST: &str = "shop.example";

/// Judges a server with this pin of its chain.
fn doctor(address: SocketAddr, pin: SpkiFingerprint, options: &[&str]) -> Run {
    let arguments = arguments(address, pin);
    let fixed = arguments.iter().map(String::as_str);
    run_with(&[], fixed.chain(options.iter().copied()))
}

fn arguments(address: SocketAddr, pin: SpkiFingerprint) -> Vec<String> {
    let port = address.port();
    let arguments = [
        "doctor".to_owned(),
        format!("{HOST}:{port}"),
        format!("--resolve={HOST}:{port}:127.0.0.1"),
        format!("--pin={pin}"),
        format!("--pin={}", unrelated_pin()),
        "--no-dns".to_owned(),
    ];
    arguments.into()
}

/// Returns each chain of the only host by its source, and whether it was observed.
fn chains(run: Run) -> Vec<(String, bool)> {
    let json = run.json();
    let chains = json["hosts"][0]["chains"].as_array();
    let chains = chains.unwrap_or_else(|| panic!("{json}")).iter();
    let chains = chains.map(|chain| {
        let source = chain["source"].as_str().unwrap().to_owned();
        (source, chain["failure"] == Value::Null)
    });
    chains.collect()
}

fn leaf() -> Leaf {
    Ca::root("Root").leaf(&[HOST])
}

#[test]
fn the_versions_of_nginx_and_openssl_are_observed() {
    let root = Ca::root("Root");
    let leaf = root.intermediate("Sub").leaf(&[HOST]);
    let folder = Folder::new();
    let roots = folder.write("root.pem", root.pem());
    for tls in [Tls::V1_2, Tls::V1_3] {
        let nginx = Peer::nginx(&leaf, tls, "");
        let s_server = Peer::s_server(&leaf, tls);
        for peer in [nginx, s_server].into_iter().flatten() {
            let address = peer.address;
            let chains = chains(doctor(address, leaf.pin(), &["--json", "--ca", &roots]));
            let is_old = matches!(tls, Tls::V1_2);
            let expected = [
                (format!("{address}, TLS 1.3"), !is_old),
                (format!("{address}, TLS 1.2"), is_old),
            ];
            assert_eq!(chains, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_the_only_route_to_a_server() {
    let site = Site::start(&[]).await;
    let proxy = Proxy::connect(site.server.address, None).await;
    let url = format!("http://{}", proxy.address);
    let mut arguments = arguments(site.server.address, site.leaf.pin());
    arguments.retain(|argument| !argument.starts_with("--resolve"));
    arguments.extend(["--json".to_owned(), format!("--ca={}", site.root_file())]);
    let run = run_async_with(&[("https_proxy", &url)], &arguments).await;
    let expected = ["TLS 1.3", "TLS 1.2"].map(|it| (format!("through the proxy, {it}"), true));
    assert_eq!(chains(run), expected);
    // Two of the tunnels are for a certificate with another kind of key.
    assert_eq!(proxy.tunnels(), 4);
}

#[test]
fn offline_no_server_and_no_resolver_is_connected_to() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    tcp.set_nonblocking(true).unwrap();
    udp.set_nonblocking(true).unwrap();
    let resolver = format!("--resolver={}", udp.local_addr().unwrap());
    let mut arguments = arguments(tcp.local_addr().unwrap(), leaf().pin());
    arguments.retain(|argument| argument != "--no-dns");
    arguments.extend(["--offline".to_owned(), "--json".to_owned(), resolver]);
    let run = run_with(&[], &arguments);
    assert_eq!(run.json()["hosts"].as_array().unwrap().len(), 1);
    assert_eq!(tcp.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let received = udp.recv_from(&mut [0; 512]);
    assert_eq!(received.unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// The counterpart of the test above: without `--offline` both are connected to.
#[test]
fn the_resolver_of_the_option_is_queried_over_udp() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(crate::TIMEOUT)).unwrap();
    let resolver = format!("--resolver={}", udp.local_addr().unwrap());
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut arguments = arguments(closed, leaf().pin());
    arguments.retain(|argument| argument != "--no-dns");
    arguments.extend(["--timeout=1".to_owned(), "--json".to_owned(), resolver]);
    let run = run_with(&[], &arguments);
    assert_eq!(run.json()["hosts"].as_array().unwrap().len(), 1);
    let mut query = [0; 512];
    let (len, _) = udp.recv_from(&mut query).unwrap();
    // The labels of the name, each after its length (RFC 1035 section 4.1.2).
    let name = b"\x04shop\x07example\x00";
    assert!(query[..len].windows(name.len()).any(|it| it == name));
}

#[test]
fn a_host_that_is_not_reached_ends_with_code_1_unless_it_is_locked_out() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let json = doctor(address, leaf().pin(), &["--json"])
        .expect_code(1)
        .json();
    assert_eq!(json["hosts"][0]["state"], "not_seen");
    let name = ["doctor", "shop.invalid", "--no-dns"].map(str::to_owned);
    let pin = |pin| format!("--pin={pin}");
    run_with(&[], name.iter().cloned().chain([pin(unrelated_pin())])).expect_code(1);
    // The root "Starfield Services Root Certificate Authority - G2".
    let leaves = "--pin=sha256/KwccWaCgrnaw6tsrrSO61FgLacNgG2MMLq8GE6+oP5I=".to_owned();
    let later = [leaves, "--at=2027-04-15".to_owned()];
    run_with(&[], name.iter().cloned().chain(later)).expect_code(90);
}

#[test]
fn a_resolver_that_is_no_address_is_invalid_usage() {
    let address = SocketAddr::from(([127, 0, 0, 1], 443));
    for options in [
        &["--resolver=dns.example", "--json"][..],
        &["--resolver=127.0.0.1", "--json"],
    ] {
        // The second one is rejected because of `--no-dns`.
        let run = doctor(address, unrelated_pin(), options).expect_code(2);
        assert_eq!(run.json()["error"], "usage");
    }
}
