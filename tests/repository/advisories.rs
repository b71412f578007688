//! No manifest allows, and no lock file contains, a version of a dependency with a known advisory.
//!
//! An application resolves its own versions, so a fixed lock file alone does not protect it. This
//! list is kept by hand; `cargo deny` compares the lock file with the database of all advisories.

use std::fs;
use std::path::{Path, PathBuf};

/// Each crate, its first version without the advisories, and those.
const FIXED: &[(&str, [u64; 3], &str)] = &[
    ("aws-lc-sys", [0, 39, 0], "RUSTSEC-2026-0044 to -0048"),
    ("bytes", [1, 11, 1], "RUSTSEC-2026-0007"),
    ("h2", [0, 4, 16], "RUSTSEC-2024-0332, RUSTSEC-2026-0258"),
    ("hickory-net", [0, 26, 1], "RUSTSEC-2026-0120"),
    ("hickory-proto", [0, 26, 1], "RUSTSEC-2026-0119"),
    ("idna", [1, 0, 0], "RUSTSEC-2024-0421"),
    ("ring", [0, 17, 12], "RUSTSEC-2025-0009"),
    (
        "rustls",
        [0, 23, 45],
        "RUSTSEC-2024-0336, RUSTSEC-2026-0285",
    ),
    (
        "rustls-webpki",
        [0, 103, 13],
        "RUSTSEC-2026-0049, -0098, -0099, -0104",
    ),
    ("tokio", [1, 44, 2], "RUSTSEC-2025-0023"),
];

#[test]
fn no_manifest_allows_a_version_with_an_advisory() {
    let mut checked = 0;
    for path in files("Cargo.toml") {
        let manifest = fs::read_to_string(&path).unwrap();
        for (name, requirement) in manifest.lines().filter_map(requirement) {
            let Some((_, fixed, advisory)) = FIXED.iter().find(|(fixed, ..)| *fixed == name) else {
                continue;
            };
            checked += 1;
            let file = path.display();
            assert!(
                version(requirement) >= *fixed,
                "{file}: {name} {requirement} has {advisory}, expected at least {fixed:?}"
            );
        }
    }
    assert!(checked > 20, "{checked} requirements found");
}

#[test]
fn no_lock_file_contains_a_version_with_an_advisory() {
    let mut checked = 0;
    for path in files("Cargo.lock") {
        let lock = fs::read_to_string(&path).unwrap();
        let lines = lock.lines().collect::<Vec<_>>();
        for pair in lines.windows(2) {
            let value = |line: &str, key: &str| {
                let quoted = line.strip_prefix(key)?.strip_prefix(" = ")?;
                Some(quoted.trim_matches('"').to_owned())
            };
            let found = value(pair[0], "name").zip(value(pair[1], "version"));
            for (name, fixed, advisory) in FIXED {
                let Some((_, locked)) = found.as_ref().filter(|(found, _)| found == name) else {
                    continue;
                };
                checked += 1;
                let file = path.display();
                assert!(
                    version(locked) >= *fixed,
                    "{file}: {name} {locked} has {advisory}"
                );
            }
        }
    }
    assert!(checked > 20, "{checked} packages found");
}

#[test]
fn requirements_are_read() {
    for (line, expected) in [
        ("bytes = \"1.11\"", Some(("bytes", [1, 11, 0]))),
        (
            "webpki = { package = \"rustls-webpki\", version = \"0.103.14\", features = [\"std\"] }",
            Some(("rustls-webpki", [0, 103, 14])),
        ),
        (
            "tokio = { version = \"1\", optional = true }",
            Some(("tokio", [1, 0, 0])),
        ),
        ("pinhold = { path = \"..\" }", None),
        ("hyper = [\"dep:tokio\"]", None),
        ("# tokio = \"1\"", None),
    ] {
        let found = requirement(line).map(|(name, text)| (name, version(text)));
        assert_eq!(found, expected, "{line}");
    }
}

/// Returns the crate and the version that a line of a manifest requires.
fn requirement(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(" = ")?;
    if let Some(version) = value.strip_prefix('"') {
        return Some((name, version.strip_suffix('"')?)).filter(|_| !name.starts_with('#'));
    }
    let field = |key: &str| {
        let (_, rest) = value.split_once(&format!("{key} = \""))?;
        Some(rest.split_once('"')?.0)
    };
    Some((field("package").unwrap_or(name), field("version")?))
}

/// Parts that are missing or no numbers are zero.
fn version(text: &str) -> [u64; 3] {
    let core = text.split(['-', '+']).next().unwrap();
    let mut parts = core.split('.').map(|part| part.parse().unwrap_or(0));
    [(); 3].map(|()| parts.next().unwrap_or(0))
}

/// The files of this name of all workspaces in the repository.
fn files(name: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        ".",
        "benches/guard",
        "crates/pinhold-cli",
        "crates/pinhold-testing",
        "fuzz",
        "tests/stacks",
        "tests/stacks/size",
    ];
    let files = folders.map(|folder| root.join(folder).join(name));
    files.into_iter().filter(|path| path.exists()).collect()
}
