//! Compares `SECURITY.md`, which names the tests that show each protection, with the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::conformance::{function_name, repository, rust_files};

/// A path of the repository, and the functions that are cited as being in it.
#[derive(Debug, PartialEq)]
struct Citation {
    path: String,
    functions: Vec<String>,
}

/// Returns the texts in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns the path that a text in backticks begins with, without arguments of a command.
fn path(quoted: &str) -> Option<&str> {
    let path = quoted.split(' ').next()?;
    let is_path = ["crates/", "src/", "tests/"]
        .iter()
        .any(|folder| path.starts_with(folder));
    is_path.then_some(path)
}

fn is_function(quoted: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    quoted.contains('_') && quoted.bytes().all(is_name)
}

/// Returns what the last cell of each row cites: functions come before the path that contains them.
fn citations(text: &str) -> Vec<Citation> {
    let rows = text.lines().filter_map(|line| line.strip_prefix('|'));
    let mut citations = Vec::new();
    for row in rows {
        let row = row.trim_end().trim_end_matches('|');
        let (_, cell) = row.rsplit_once('|').unwrap();
        let mut functions = Vec::new();
        for quoted in quoted(cell) {
            if let Some(path) = path(quoted) {
                let path = path.to_owned();
                let functions = std::mem::take(&mut functions);
                citations.push(Citation { path, functions });
            } else if is_function(quoted) {
                functions.push(quoted.to_owned());
            }
        }
        assert!(functions.is_empty(), "{functions:?}: expected a path");
    }
    citations
}

/// Returns the names of all functions in a file or below a folder.
fn functions(path: &str) -> BTreeSet<String> {
    let files = if repository().join(path).is_dir() {
        rust_files(path).into_iter().map(|(_, code)| code).collect()
    } else {
        vec![fs::read_to_string(repository().join(path)).unwrap()]
    };
    let names = files.iter().flat_map(|code| code.lines());
    names.filter_map(function_name).map(str::to_owned).collect()
}

fn security() -> String {
    fs::read_to_string(repository().join("SECURITY.md")).unwrap()
}

#[test]
fn every_path_that_is_cited_exists() {
    let text = security();
    let paths = quoted(&text).filter_map(path).collect::<BTreeSet<_>>();
    assert!(paths.len() > 30, "found {}", paths.len());
    let is_missing = |path: &&&str| !repository().join(Path::new(path)).exists();
    let missing = paths.iter().filter(is_missing).collect::<Vec<_>>();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_test_that_is_cited_exists() {
    let mut missing = Vec::new();
    let citations = citations(&security());
    for Citation {
        path,
        functions: cited,
    } in &citations
    {
        if !cited.is_empty() {
            let known = functions(path);
            let unknown = cited.iter().filter(|name| !known.contains(*name));
            missing.extend(unknown.map(|name| format!("{path}: {name}")));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    let count = citations
        .iter()
        .filter(|citation| !citation.functions.is_empty());
    assert!(count.count() > 5);
}

#[test]
fn every_attack_that_is_cited_exists() {
    let names = functions("tests");
    let text = security();
    let numbers = text.split("attack ").skip(1).map(|rest| {
        let end = rest.find(|char: char| !char.is_ascii_digit());
        &rest[..end.unwrap_or(rest.len())]
    });
    let numbers = numbers.filter(|number| !number.is_empty());
    let numbers = numbers.collect::<BTreeSet<_>>();
    assert!(numbers.len() > 8, "found {numbers:?}");
    for number in numbers {
        let prefix = format!("attack_{number}_");
        assert!(
            names.iter().any(|name| name.starts_with(&prefix)),
            "{number}"
        );
    }
}

#[test]
fn only_paths_and_functions_are_citations() {
    let row = "| a `threat_name` | b | attack 1, `some_test` and `other_test` in `tests/a.rs`, \
        `Type::a_b`, `tests/run.sh --full` |";
    let citation = |path: &str, functions: &[&str]| Citation {
        path: path.to_owned(),
        functions: functions.iter().map(|name| (*name).to_owned()).collect(),
    };
    let expected = [
        citation("tests/a.rs", &["some_test", "other_test"]),
        citation("tests/run.sh", &[]),
    ];
    assert_eq!(citations(row), expected);
}
