//! Errors of connections and requests: the time limit, and that each error names host and port.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpSocket;

use crate::program::{Folder, Run, Site, run, unrelated_pin};

/// Far less than the default time limit, which a command without `--timeout` would reach.
const BOUND: Duration = Duration::from_secs(20);

/// A server that accepts connections and never answers: the kernel completes them.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A server that writes these bytes to one connection once it has received something.
fn answering(bytes: &'static [u8]) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(bytes);
    });
    (port, server)
}

/// The error of a run, which names this port of the loopback address.
fn error_at(run: Run, port: u16) -> Value {
    let run = run.expect_code(1);
    let json = run.json();
    assert_eq!(json["host"], "127.0.0.1", "{json}");
    assert_eq!(json["port"], port, "{json}");
    let target = format!("127.0.0.1:{port}");
    let message = json["message"].as_str().unwrap();
    // The URL has them, too, so they are expected after it.
    let (_, detail) = message.split_once(": ").unwrap();
    assert!(detail.contains(&target), "{message}");
    assert!(run.stderr.contains(&target), "{}", run.stderr);
    json
}

#[test]
fn a_server_that_never_answers_ends_with_the_time_limit() {
    let (_listener, port) = silent();
    let (https, http) = (
        format!("https://127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/"),
    );
    let authority = format!("127.0.0.1:{port}");
    for command in [
        &["get", &https][..],
        &["get", &http],
        &["fingerprint", &authority],
        &["fingerprint", "--insecure", &https],
    ] {
        let begin = Instant::now();
        let json = error_at(run([command, &["--timeout", "1", "--json"]].concat()), port);
        assert_eq!(json["error"], "timeout", "{command:?}");
        assert!(begin.elapsed() < BOUND, "{command:?}");
    }
}

#[test]
fn the_time_limit_includes_the_body() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 4096]);
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegin";
        socket.write_all(head).unwrap();
        // The connection stays open until the program has ended.
        let _ = socket.read(&mut [0; 1]);
    });
    let url = format!("http://127.0.0.1:{port}/");
    let begin = Instant::now();
    let json = error_at(run(["get", &url, "--timeout", "1s", "--json"]), port);
    assert_eq!(json["error"], "timeout");
    assert!(begin.elapsed() < BOUND);
    server.join().unwrap();
}

#[test]
fn connection_errors_name_host_and_port() {
    // The port is taken, so that no server of another test may listen on it.
    let unused = TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = unused.local_addr().unwrap().port();
    let url = format!("https://127.0.0.1:{closed}/");
    for command in [
        &["get", &url][..],
        &["fingerprint", &url],
        &["fingerprint", "--insecure", &url],
    ] {
        let json = error_at(run([command, &["--json"]].concat()), closed);
        assert_eq!(json["error"], "connection", "{command:?}");
    }
    for (bytes, kind) in [
        (&b""[..], "tls"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "tls"),
        // A fatal alert: handshake_failure.
        (b"\x15\x03\x03\x00\x02\x02\x28", "tls"),
    ] {
        for command in [
            &["get"][..],
            &["fingerprint"],
            &["fingerprint", "--insecure"],
        ] {
            let (port, server) = answering(bytes);
            let url = format!("https://127.0.0.1:{port}/");
            let json = error_at(run([command, &[&url, "--json"]].concat()), port);
            assert_eq!(json["error"], kind, "{command:?} {json}");
            let is_http = bytes.starts_with(b"HTTP");
            assert_eq!(json["cause"]["id"] == "not-tls", is_http, "{json}");
            server.join().unwrap();
        }
    }
    for bytes in [&b""[..], b"no http\r\n\r\n"] {
        let (port, server) = answering(bytes);
        let url = format!("http://127.0.0.1:{port}/");
        let json = error_at(run(["get", &url, "--json"]), port);
        assert_eq!(json["error"], "http");
        server.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_to_a_pinned_host_has_a_kind_of_its_own() {
    let pin = unrelated_pin().to_string();
    let arguments = ["get", "http://shop.example/", "--pin", &pin, "--json"];
    let json = run(arguments).expect_code(1).json();
    assert_eq!(json["error"], "plain-http");
    assert_eq!(json["host"], "shop.example");
    assert_eq!(json["port"], 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_options_that_it_depends_on() {
    let site = Site::start(&[]).await;
    let other = unrelated_pin().to_string();
    let arguments = ["--pin", &other, "--json"];
    let run = site.run_trusted("get", &arguments).await.expect_code(90);
    let (json, text) = (run.json(), run.stderr);
    assert_eq!(json["cause"]["id"], "other-keys");
    let statement = json["cause"]["statement"].as_str().unwrap();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.starts_with(&format!("pinhold: {statement}")),
        "{text}"
    );
    assert_eq!(text.matches("what to do").count(), 1, "{text}");
    for loosening in ["forget", "omit", "only then"] {
        assert!(!text.contains(loosening), "{loosening}: {text}");
    }
    for part in ["a root from --ca", "from --pin", "the server's operator"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_file_name_is_quoted_for_the_shell() {
    let folder = Folder::new();
    let mut names = vec!["two words"];
    if cfg!(unix) {
        names.push(r"back\slash");
    }
    for name in names {
        let file = folder.write(name, "");
        let run = run(["store", "check", "--file", &file]).expect_code(2);
        let command = format!("pinhold store recover --file='{file}'");
        assert!(run.stderr.contains(&command), "{}", run.stderr);
    }
}
