//! `pinhold get --report-to` as a program.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::cli::Site;
use common::collector::{Answer, Collector};
use common::{header_value, unrelated_pin};

const REPORTS: &str = "reports.example";

async fn collector(site: &Site) -> (Collector, [String; 4]) {
    let leaf = site.root.leaf(&[REPORTS]);
    let collector = Collector::start(Some(&leaf), vec![Answer::Status(204)]).await;
    let port = collector.address.port();
    let arguments = [
        "--report-to".to_owned(),
        collector.uri("https", REPORTS),
        "--resolve".to_owned(),
        format!("{REPORTS}:{port}:127.0.0.1"),
    ];
    (collector, arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_violation_is_reported_and_the_exit_code_stays() {
    let site = Site::start(&[]).await;
    let (collector, more) = collector(&site).await;
    let pin = unrelated_pin().to_string();
    let mut arguments = vec!["--pin", &pin];
    arguments.extend(more.iter().map(String::as_str));
    let run = site.trusted("get", &arguments).await.ends_with(90);
    let report = collector.next().json();
    assert_eq!(report["hostname"], "shop.example");
    assert_eq!(report["port"], site.port());
    assert!(run.stderr.contains(&more[1]), "{}", run.stderr);
}

/// 7469-2.3.2-b, 7469-2.5-f
#[tokio::test(flavor = "multi_thread")]
async fn a_report_only_header_is_judged_and_the_body_printed() {
    let value = header_value(unrelated_pin(), "max-age=1");
    let site = Site::start(&[("public-key-pins-report-only", &value)]).await;
    let (collector, more) = collector(&site).await;
    let arguments = more.iter().map(String::as_str).collect::<Vec<_>>();
    let run = site.trusted("get", &arguments).await.ends_with(0);
    assert_eq!(run.stdout, b"ok");
    let report = collector.next().json();
    assert_eq!(report["noted-hostname"], "shop.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_reported_where_nothing_is_wrong() {
    let site = Site::start(&[]).await;
    let (collector, more) = collector(&site).await;
    let pin = site.leaf.pin().to_string();
    let mut arguments = vec!["--pin", &pin];
    arguments.extend(more.iter().map(String::as_str));
    let run = site.trusted("get", &arguments).await.ends_with(0);
    assert_eq!(run.stderr, "");
    assert_eq!(collector.connections(), 0);
}
