//! The proxy variables: honoured by HTTP CONNECT, or refused.

use crate::collector::{Answer, Collector};
use crate::program::{Run, Site, run_async_with, run_with, unrelated_pin};
#[cfg(unix)]
use crate::program::{command, finish};
use crate::proxy::Proxy;
use crate::store_files::UNREACHABLE;

/// Runs `get` on a name that only the proxy resolves.
async fn get(site: &Site, variables: &[(&str, &str)], options: &[&str]) -> Run {
    let (root, url) = (site.root_file(), site.url());
    let fixed = ["get", &url, "--ca", &root, "--json"];
    run_async_with(variables, &[&fixed[..], options].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_variable_is_honoured() {
    let site = Site::start(&[]).await;
    let proxy = Proxy::connect(site.server.address, None).await;
    let address = proxy.address.to_string();
    let url = format!("http://{address}");
    let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    for (count, name) in (1..).zip(names) {
        let value = if count == 1 { &address } else { &url };
        let json = get(&site, &[(name, value)], &[]).await;
        assert_eq!(json.expect_code(0).json()["body"], "ok", "{name}");
        assert_eq!(proxy.tunnels(), count, "{name}");
    }
    // The pins are checked on the chain of the server, not on that of the proxy.
    let pin = unrelated_pin().to_string();
    let run = get(&site, &[("https_proxy", &url)], &["--pin", &pin]).await;
    assert_eq!(run.expect_code(90).json()["error"], "pin-violation");
    let (root, authority) = (site.root_file(), format!("shop.example:{}", site.port()));
    for options in [&["--insecure"][..], &["--ca", &root]] {
        let arguments = [&["fingerprint", &authority], options].concat();
        let run = run_async_with(&[("https_proxy", &url)], &arguments).await;
        run.expect_code(0);
    }
    assert_eq!(proxy.tunnels(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_goes_through_the_proxy_of_its_variable() {
    let server = crate::server::Server::plain(crate::server::answer(&[])).await;
    let proxy = Proxy::connect(server.address, None).await;
    let value = format!("http://{}", proxy.address);
    for (count, name) in (1..).zip(["http_proxy", "HTTP_PROXY", "all_proxy"]) {
        let arguments = ["get", "http://shop.example/"];
        let run = run_async_with(&[(name, &value)], &arguments).await;
        assert_eq!(run.expect_code(0).stdout, b"ok");
        assert_eq!(proxy.tunnels(), count);
    }
    // In a CGI program the client of the web server chooses the variable.
    for name in ["HTTP_PROXY", "http_proxy"] {
        let variables = [(name, value.as_str()), ("REQUEST_METHOD", "GET")];
        let url = format!("http://{}/", server.address);
        let run = run_async_with(&variables, &["get", &url]).await;
        run.expect_code(0);
    }
    assert_eq!(proxy.tunnels(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_and_an_empty_variable_exempt_a_host() {
    let site = Site::start(&[]).await;
    let proxy = Proxy::connect(site.server.address, None).await;
    let value = format!("http://{}", proxy.address);
    let resolve = format!("shop.example:{}:127.0.0.1", site.port());
    for exempt in ["shop.example", "example", "other.example,shop.example", "*"] {
        for name in ["no_proxy", "NO_PROXY"] {
            let variables = [("https_proxy", value.as_str()), (name, exempt)];
            let run = get(&site, &variables, &["--resolve", &resolve]).await;
            run.expect_code(0);
        }
    }
    let variables = [("https_proxy", ""), ("all_proxy", &value)];
    let run = get(&site, &variables, &["--resolve", &resolve]).await;
    run.expect_code(0);
    assert_eq!(proxy.tunnels(), 0);
    let variables = [
        ("https_proxy", value.as_str()),
        ("no_proxy", "other.example"),
    ];
    get(&site, &variables, &[]).await.expect_code(0);
    assert_eq!(proxy.tunnels(), 1);
}

#[test]
fn a_proxy_that_is_not_supported_is_refused() {
    for value in [
        "socks5://127.0.0.1:1080",
        "socks5h://user:secret@127.0.0.1:1080",
        "https://127.0.0.1:3129",
        "ftp://127.0.0.1/",
        "http://",
        "two words",
    ] {
        for name in ["https_proxy", "ALL_PROXY"] {
            for command in [
                &["get"][..],
                &["fingerprint"],
                &["fingerprint", "--insecure"],
            ] {
                let arguments = [command, &["https://shop.example/", "--json"]].concat();
                let run = run_with(&[(name, value)], arguments).expect_code(2);
                let json = run.json();
                assert_eq!(json["error"], "usage", "{value}");
                let message = json["message"].as_str().unwrap();
                assert!(message.starts_with(name), "{message}");
                assert!(!message.contains("secret"), "{message}");
            }
        }
    }
    // The variable has no effect on an exempt host.
    let variables = [
        ("https_proxy", "socks5://127.0.0.1:1080"),
        ("no_proxy", "127.0.0.1"),
    ];
    let run = run_with(&variables, ["get", UNREACHABLE, "--json"]).expect_code(1);
    assert_eq!(run.json()["error"], "connection");
}

/// Otherwise a part of the password would be taken for the host, printed, and looked up by DNS.
#[test]
fn a_proxy_with_an_ambiguous_password_or_without_a_port_is_refused() {
    for value in [
        "http://u:s3c@ret@127.0.0.1:1",
        "u:s3c@ret@127.0.0.1:1",
        "http://u:s3/cret@127.0.0.1:1",
        "http://u:12/s3cret@127.0.0.1:1",
        "http://u:s3?cret@127.0.0.1:1",
        "http://u:s3#cret@127.0.0.1:1",
        "http://u:s3cret@127.0.0.1",
        "http://u:s3cret@",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "127.0.0.1",
        "[::1]",
    ] {
        let arguments = ["get", "https://shop.example/", "--json"];
        let run = run_with(&[("https_proxy", value)], arguments).expect_code(2);
        assert_eq!(run.json()["error"], "usage", "{value}");
        for part in ["s3", "ret"] {
            assert!(!run.stderr.contains(part), "{}", run.stderr);
        }
    }
}

#[test]
fn no_proxy_that_would_match_nothing_is_refused() {
    let proxy = ("https_proxy", "http://127.0.0.1:1");
    for exempt in ["*.example", "shop.example, *.test", "*shop.example"] {
        let arguments = ["get", "https://shop.example/", "--json"];
        let run = run_with(&[proxy, ("no_proxy", exempt)], arguments).expect_code(2);
        let json = run.json();
        let message = json["message"].as_str().unwrap();
        assert!(message.starts_with("no_proxy: "), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn no_proxy_that_is_no_text_is_refused_with_its_own_form() {
    use std::os::unix::ffi::OsStrExt;

    let mut command = command();
    command.env("https_proxy", "http://127.0.0.1:1");
    command.env("NO_PROXY", std::ffi::OsStr::from_bytes(b"\xff"));
    let run = finish(command.args(["get", "https://shop.example/"])).expect_code(2);
    let has_names = run.stderr.contains("expected names");
    assert!(
        run.stderr.contains("NO_PROXY") && has_names,
        "{}",
        run.stderr
    );
}

#[test]
fn an_unreachable_proxy_is_named() {
    let value = "http://user:secret@127.0.0.1:1";
    let arguments = ["get", "https://shop.example:8443/", "--json"];
    let run = run_with(&[("HTTPS_PROXY", value)], arguments).expect_code(1);
    let json = run.json();
    assert_eq!(json["error"], "proxy");
    assert_eq!(
        (&json["host"], &json["port"]),
        (&"shop.example".into(), &8443.into())
    );
    let message = json["message"].as_str().unwrap();
    for part in ["shop.example:8443", "127.0.0.1:1", "HTTPS_PROXY"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("secret"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_refused_where_a_proxy_is_set() {
    let site = Site::start(&[]).await;
    let collector = Collector::start(None, vec![Answer::Status(204)]).await;
    let endpoint = collector.uri("http", "reports.example");
    let options = ["--report-to", &endpoint];
    let variables = [("http_proxy", "http://127.0.0.1:1")];
    let json = get(&site, &variables, &options).await.expect_code(2).json();
    let message = json["message"].as_str().unwrap();
    assert!(message.starts_with("--report-to") && message.contains("http_proxy"));
    assert_eq!(collector.connections(), 0);
}
