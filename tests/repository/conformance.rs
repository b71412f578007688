//! Compares `CONFORMANCE.md`, which lists the tests that prove each rule, with the code.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What IDs begin with.
const PREFIXES: [&str; 3] = ["7469-", "6797-", "D-"];

/// One line of the table.
struct Row {
    status: String,
    /// As the table names them: `tests/file.rs::name`, `src/file.rs::tests::name`.
    tests: Vec<String>,
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The cells of the lines of a Markdown table whose first cell is an ID.
fn table(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix('|'));
    lines
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
        .filter(|cells| PREFIXES.iter().any(|prefix| cells[0].starts_with(prefix)))
}

fn rows() -> BTreeMap<String, Row> {
    let text = fs::read_to_string(repository().join("CONFORMANCE.md")).unwrap();
    let mut rows = BTreeMap::new();
    for cells in table(&text) {
        let [id, status, tests, ""] = cells[..] else {
            panic!("{cells:?}: expected ID, status and tests");
        };
        let tests = tests.split(',').map(|test| test.trim().trim_matches('`'));
        let tests = tests.filter(|test| !test.is_empty()).map(str::to_owned);
        let row = Row {
            status: status.to_owned(),
            tests: tests.collect(),
        };
        assert!(
            rows.insert(id.to_owned(), row).is_none(),
            "{id} occurs twice"
        );
    }
    rows
}

/// The IDs in a text: a section and a letter after `7469-` or `6797-`, or two digits after `D-`.
fn ids(text: &str) -> BTreeSet<String> {
    let starts_word = |at: usize| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|char| !char.is_ascii_alphanumeric() && char != '-')
    };
    let mut ids = BTreeSet::new();
    for prefix in PREFIXES {
        let starts = text.match_indices(prefix).map(|(at, _)| at);
        for at in starts.filter(|at| starts_word(*at)) {
            let rest = &text[at + prefix.len()..];
            let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && !".-".contains(char));
            let id = rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', '-']);
            let is_id = match (prefix, id.split_once('-')) {
                ("7469-" | "6797-", Some((section, letter))) => {
                    !section.is_empty() && !letter.is_empty()
                }
                ("D-", None) => id.len() == 2 && id.bytes().all(|byte| byte.is_ascii_digit()),
                _ => false,
            };
            if is_id {
                ids.insert(format!("{prefix}{id}"));
            }
        }
    }
    ids
}

/// Returns the comments of the code, each on its line.
fn comments(code: &str) -> String {
    let comments = code.lines().map(|line| match line.find("//") {
        Some(at) => &line[at..],
        None => "",
    });
    comments.collect::<Vec<_>>().join("\n")
}

pub(crate) fn function_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line.strip_prefix("async ").unwrap_or(line);
    let (name, _) = rest.strip_prefix("fn ")?.split_once(['(', '<'])?;
    Some(name)
}

/// The test functions of a file, each with its attributes and the comments above it.
fn tests(code: &str) -> BTreeMap<String, String> {
    let lines = code.lines().collect::<Vec<_>>();
    let mut tests = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let is_head = |line: &&&str| {
            let line = line.trim_start();
            line.starts_with("#[") || line.starts_with("//")
        };
        let head = lines[..at].iter().rev().take_while(is_head).count();
        let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        let length = lines[at..].iter().take_while(|line| **line != end).count();
        let attributes = lines[at - head..at].join("\n");
        if attributes.contains("#[test]") || attributes.contains("#[tokio::test") {
            let body = lines[at - head..at + length].join("\n");
            tests.insert(name.to_owned(), body);
        }
    }
    tests
}

/// Every Rust file below a directory of the repository, with its path from there.
pub(crate) fn rust_files(directory: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::from(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(repository().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(entry.path()).unwrap();
                files.push((path.to_str().unwrap().replace('\\', "/"), text));
            }
        }
    }
    files
}

#[test]
fn every_test_in_the_table_exists_and_names_its_rule() {
    for (id, row) in rows() {
        for test in &row.tests {
            let (file, name) = test.split_once("::").unwrap();
            let code = fs::read_to_string(repository().join(file));
            let code = code.unwrap_or_else(|error| panic!("{id}: {file}: {error}"));
            let name = if file.starts_with("src/") {
                name.strip_prefix("tests::").unwrap()
            } else {
                name
            };
            let tests = tests(&code);
            let body = tests
                .get(name)
                .unwrap_or_else(|| panic!("{id}: no test {test}"));
            assert!(
                ids(&comments(body)).contains(&id),
                "{test} does not name {id}"
            );
        }
    }
}

#[test]
fn the_status_of_every_rule_is_proved_later_or_not_applicable() {
    for (id, Row { status, tests }) in rows() {
        match status.split_once(": ") {
            None if status == "proved" => assert!(!tests.is_empty(), "{id}: expected a test"),
            Some(("later", work)) => assert!(!work.is_empty(), "{id}"),
            Some(("not applicable", why)) => assert!(!why.is_empty() && tests.is_empty(), "{id}"),
            _ => panic!("{id}: {status}"),
        }
    }
}

#[test]
fn every_rule_named_in_the_code_is_in_the_table() {
    let rows = rows();
    let files = ["crates", "src", "tests"].map(rust_files);
    for (file, code) in files.into_iter().flatten() {
        for id in ids(&comments(&code)) {
            assert!(rows.contains_key(&id), "{file}: {id}");
        }
        // The table lists all tests of these files.
        if file.contains("/rfc7469_") {
            for (name, body) in tests(&code) {
                let test = format!("{file}::{name}");
                let named = ids(&comments(&body));
                assert!(!named.is_empty(), "{test} names no rule");
                for id in named {
                    assert!(rows[&id].tests.contains(&test), "{id} lacks {test}");
                }
            }
        }
    }
}

#[test]
fn the_table_has_the_rules_of_the_conformance_list() {
    let rows = rows();
    assert!(rows.len() > 140, "found {}", rows.len());
    let Ok(list) = fs::read_to_string(repository().join("../shared/rfc7469.md")) else {
        let _ = writeln!(io::stderr(), "skipped: ../shared/rfc7469.md is missing");
        return;
    };
    let listed = table(&list)
        .map(|cells| cells[0].to_owned())
        .collect::<BTreeSet<_>>();
    // `CONFORMANCE.md` itself has the requirements of RFC 6797.
    let found = rows.into_keys().filter(|id| !id.starts_with("6797-"));
    assert_eq!(listed, found.collect::<BTreeSet<_>>());
}

#[test]
fn each_rule_of_rfc_6797_has_its_requirement() {
    let text = fs::read_to_string(repository().join("CONFORMANCE.md")).unwrap();
    let items = text.lines().filter_map(|line| line.strip_prefix("- 6797-"));
    let items = items.map(|item| item.split_once(": ").unwrap());
    let described = items.map(|(id, words)| {
        assert!(words.ends_with('.'), "6797-{id}: {words}");
        format!("6797-{id}")
    });
    let rules = rows().into_keys().filter(|id| id.starts_with("6797-"));
    assert_eq!(
        described.collect::<BTreeSet<_>>(),
        rules.collect::<BTreeSet<_>>()
    );
}

#[test]
fn only_ids_in_comments_are_found() {
    let found = |text: &str| ids(&comments(text)).into_iter().collect::<Vec<_>>();
    let section = "7469-2.1-a";
    assert_eq!(found(&format!("// {section}(2), {section}.")), [section]);
    assert_eq!(found(&format!("let x = \"{section}\";")), [""; 0]);
    let of_hsts = "6797-8.3-a";
    assert_eq!(found(&format!("/// {of_hsts}")), [of_hsts]);
    for other in [
        "RFC 7469-bis",
        "rfc7469#section-2.1",
        "7469-2",
        "AD-12",
        "D-1",
        "D-123",
        "ID-12",
    ] {
        assert_eq!(found(&format!("// {other}")), [""; 0], "{other}");
    }
    let code = "// D-01\n#[test]\nfn a() {\n    // D-02\n}\n\n// D-03\nfn b() {}\n";
    let tests = tests(code);
    assert_eq!(tests.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(found(&tests["a"]), ["D-01", "D-02"]);
}
