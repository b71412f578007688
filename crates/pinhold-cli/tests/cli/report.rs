//! `pinhold get --report-to`: reports of pin violations.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc::channel;

use serde_json::json;
use tokio::sync::Notify;

use crate::collector::{Answer, Collector};
use crate::common::{TIMEOUT, header_value};
use crate::program::{Site, command, unrelated_pin};

const REPORTS: &str = "reports.example";

/// Starts a report collector. Returns it with the options to report to it.
async fn collector(site: &Site) -> (Collector, [String; 4]) {
    let leaf = site.root.leaf(&[REPORTS]);
    let collector = Collector::start(Some(&leaf), vec![Answer::Status(204)]).await;
    let port = collector.address.port();
    let options = [
        "--report-to".to_owned(),
        collector.uri("https", REPORTS),
        "--resolve".to_owned(),
        format!("{REPORTS}:{port}:127.0.0.1"),
    ];
    (collector, options)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_violation_is_reported_and_the_exit_code_is_90() {
    let site = Site::start(&[]).await;
    let (collector, options) = collector(&site).await;
    let pin = unrelated_pin().to_string();
    let mut arguments = vec!["--pin", &pin];
    arguments.extend(options.iter().map(String::as_str));
    let run = site.run_trusted("get", &arguments).await.expect_code(90);
    let report = collector.next().json();
    assert_eq!(report["hostname"], "shop.example");
    assert_eq!(report["port"], site.port());
    let sent = format!("1 report sent to {}", options[1]);
    assert!(run.stderr.contains(&sent), "{}", run.stderr);
}

/// Those of the file would bypass a proxy.
#[tokio::test(flavor = "multi_thread")]
async fn the_endpoints_of_a_pin_file_are_not_used() {
    let site = Site::start(&[]).await;
    let (own, options) = collector(&site).await;
    let (of_file, of_file_options) = collector(&site).await;
    let document = json!({
        "version": 1,
        "policies": [{
            "hosts": ["shop.example"],
            "pins": [unrelated_pin().to_string()],
            "without_backup": true,
            "report_uris": [of_file_options[1]],
        }],
    });
    let file = site.folder.write("pins.json", document.to_string());
    let mut arguments = vec!["--pins", &file];
    let options = options.iter().chain(&of_file_options[2..]);
    arguments.extend(options.map(String::as_str));
    let run = site.run_trusted("get", &arguments).await.expect_code(90);
    assert!(run.stderr.contains("1 report sent"), "{}", run.stderr);
    assert_eq!((own.connections(), of_file.connections()), (1, 0));
}

/// 7469-2.3.2-b, 7469-2.5-f
#[tokio::test(flavor = "multi_thread")]
async fn a_report_only_header_is_evaluated_and_the_body_printed() {
    let value = header_value(unrelated_pin(), "max-age=1");
    let site = Site::start(&[("public-key-pins-report-only", &value)]).await;
    let (collector, options) = collector(&site).await;
    let arguments = options.iter().map(String::as_str).collect::<Vec<_>>();
    let run = site.run_trusted("get", &arguments).await.expect_code(0);
    assert_eq!(run.stdout, b"ok");
    let report = collector.next().json();
    assert_eq!(report["noted-hostname"], "shop.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reported_without_a_violation() {
    let site = Site::start(&[]).await;
    let (collector, options) = collector(&site).await;
    let pin = site.leaf.pin().to_string();
    let mut arguments = vec!["--pin", &pin];
    arguments.extend(options.iter().map(String::as_str));
    let run = site.run_trusted("get", &arguments).await.expect_code(0);
    assert_eq!(run.stderr, "");
    assert_eq!(collector.connections(), 0);
}

/// The endpoint holds its connection until the test has read of the violation. A program that first
/// waited for the endpoint would give up its report.
#[tokio::test(flavor = "multi_thread")]
async fn a_violation_is_printed_before_the_endpoint_responds() {
    let site = Site::start(&[]).await;
    let leaf = site.root.leaf(&[REPORTS]);
    let release = Arc::<Notify>::default();
    let answer = Answer::AfterRelease(Arc::clone(&release));
    let collector = Collector::start(Some(&leaf), vec![answer]).await;
    let resolved = [
        ("shop.example", site.port()),
        (REPORTS, collector.address.port()),
    ];
    let resolved = resolved.map(|(host, port)| format!("--resolve={host}:{port}:127.0.0.1"));
    let uri = collector.uri("https", REPORTS);
    let mut child = command()
        .args(["get", &site.url(), "--ca", &site.root_file()])
        .args(["--pin", &unrelated_pin().to_string(), "--report-to", &uri])
        .args(resolved)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        stderr
            .lines()
            .try_for_each(|line| sender.send(line.unwrap()))
    });
    let wait_for = |text: &str| {
        while !lines.recv_timeout(TIMEOUT).unwrap().contains(text) {}
    };
    collector.next();
    wait_for("no key in the validated chain of shop.example is pinned");
    release.notify_one();
    wait_for("1 report sent to");
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert_eq!(status.await.unwrap().code(), Some(90));
}

/// An endpoint that never answers delays the program by the time limit at most.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_limit_includes_reports() {
    let site = Site::start(&[]).await;
    let leaf = site.root.leaf(&[REPORTS]);
    let collector = Collector::start(Some(&leaf), vec![Answer::NoResponse]).await;
    let port = collector.address.port();
    let (uri, pin) = (collector.uri("https", REPORTS), unrelated_pin().to_string());
    let resolve = format!("{REPORTS}:{port}:127.0.0.1");
    let arguments = ["--pin", &pin, "--report-to", &uri, "--resolve", &resolve];
    let limited = [&arguments[..], &["--timeout", "5"]].concat();
    let run = site.run_trusted("get", &limited).await.expect_code(90);
    let message = run
        .stderr
        .lines()
        .find(|line| line.contains("not all reports"));
    let (_, rest) = message.unwrap().split_once("within ").unwrap();
    let seconds = rest.strip_suffix(" s").unwrap().parse::<f64>().unwrap();
    assert!(seconds <= 5.0, "{}", run.stderr);
}
