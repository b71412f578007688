//! Where results point to, and where they are written.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::doctor::forecast::Report;
use crate::doctor::output::fixture::{self, healthy, hostile};
use crate::doctor::output::tests::{Folder, names};
use crate::doctor::output::{Files, replace, sarif, write_files};

/// Returns the locations of the results about a host.
fn locations(report: &Report, host: &str) -> Value {
    let log = serde_json::from_str::<Value>(&sarif::log(report)).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    let is_of_host = |it: &&Value| it["properties"]["host"] == host;
    let result = results.iter().find(is_of_host).unwrap();
    result["locations"].clone()
}

fn with_source(source: &str) -> Report {
    let mut report = fixture::every_kind();
    for host in &mut report.hosts {
        source.clone_into(&mut host.subject.source);
    }
    report
}

#[test]
fn a_result_has_the_place_of_its_host_in_the_pin_file() {
    let folder = Folder::new();
    let text = "{\"version\": 1, \"policies\": [\n{\"hosts\": [\"ok.example.com\",\n\
                \"PAY.example.com\"], \"pins\": []}]}";
    let file = folder.write("my pins.json", text);
    let locations = locations(&with_source(&file), "pay.example.com");
    let physical = &locations[0]["physicalLocation"];
    let uri = physical["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.ends_with("/my%20pins.json"), "{uri}");
    assert_eq!(physical["region"]["startLine"], 3);
}

#[test]
fn a_bundle_has_no_places_and_an_option_no_file() {
    let folder = Folder::new();
    let file = folder.write("pins.bundle", "not JSON");
    let found = locations(&with_source(&file), "pay.example.com");
    assert!(found[0]["physicalLocation"].get("region").is_none());
    let found = locations(&with_source("--pin"), "pay.example.com");
    assert_eq!(found, Value::Array(Vec::new()));
}

fn files(folder: &Folder, name: &str) -> Files {
    Files {
        sarif: Some(folder.path(&format!("{name}.sarif"))),
        junit: Some(folder.path(&format!("{name}.xml"))),
        html: Some(folder.path(&format!("{name}.html"))),
    }
}

#[test]
fn results_replace_those_of_earlier_runs() {
    let folder = Folder::new();
    folder.write("a.html", &"old ".repeat(1_000_000));
    for _ in 0..2 {
        let written = write_files(&fixture::every_kind(), &files(&folder, "a"));
        assert!(written.is_ok());
    }
    assert_eq!(names(&folder.0), ["a.html", "a.sarif", "a.xml"]);
    let page = fs::read_to_string(folder.path("a.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
}

#[test]
fn no_result_replaces_an_input_or_another_result() {
    let folder = Folder::new();
    let pins = folder.write("pins.json", "{}");
    let inputs = [PathBuf::from(&pins)];
    let other_name = folder.path("./pins.json");
    let page = folder.path("page.html");
    for (sarif, html) in [
        (None, Some(PathBuf::from(&pins))),
        (Some(other_name), None),
        (Some(page.clone()), Some(page)),
    ] {
        let files = Files {
            sarif,
            html,
            junit: None,
        };
        let refused = files.refuse_overwriting(&inputs);
        assert!(refused.is_err_and(|failure| failure.code() == 2));
    }
    assert_eq!(fs::read_to_string(&pins).unwrap(), "{}");
    assert_eq!(names(&folder.0), ["pins.json"]);
}

/// A result is written to what a link leads to, and into a device; neither is replaced.
#[cfg(unix)]
#[test]
fn links_and_devices_are_not_replaced() {
    let folder = Folder::new();
    let target = folder.write("target", "old");
    std::os::unix::fs::symlink(&target, folder.path("link")).unwrap();
    assert!(replace(&folder.path("link"), "new").is_ok());
    assert_eq!(fs::read_to_string(&target).unwrap(), "new");
    assert!(folder.path("link").is_symlink());
    assert!(replace(Path::new("/dev/null"), "new").is_ok());
    assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
    assert!(replace(&folder.path("no/such/folder"), "new").is_err());
}

/// Names of hosts can't have such texts, but files and certificates can.
#[test]
fn a_source_that_is_no_file_is_no_location() {
    let mut report = fixture::every_kind();
    report.hosts = vec![hostile(), healthy("ok.example.com")];
    let name = report.hosts[0].subject.host.to_string();
    assert_eq!(locations(&report, &name), Value::Array(Vec::new()));
}
