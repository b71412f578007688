//! The architecture shows in the imports: a module uses lower floors only, and each dependency
//! has one door.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;

/// From the ground up; modules of one floor don't know each other. See `DESIGN.md`.
const FLOORS: &[&[&str]] = &[
    &[
        "certificate",
        "fingerprint",
        "generation",
        "host",
        "local_roots",
        "report_uri",
        "revocation",
        "signatures",
        "timestamp",
    ],
    &["anchors", "header", "policy"],
    &[
        "chain",
        "entries",
        "format",
        "native",
        "noting",
        "overrides",
        "rollout",
    ],
    &["static_pins", "storage", "violation"],
    &[
        "connect_error",
        "file_storage",
        "report",
        "unproved",
        "writer",
    ],
    &["build_error", "observers", "store"],
    &["pinning"],
    &["builder", "heard", "provider", "sessions"],
    &["connection"],
    &["finding", "retiring", "stream", "verifier"],
    &["connector", "layer", "redirect", "repeat"],
    &["endpoint", "reqwest", "sent"],
    &["noting_client", "outbound"],
    &["http_reporter"],
];

/// A dependency, and the modules that may name it.
const DOORS: &[(&str, &[&str])] = &[
    ("base64", &["fingerprint"]),
    ("fluent_uri", &["report_uri"]),
    (
        "foldhash",
        &[
            "anchors",
            "entries",
            "retiring",
            "sessions",
            "signatures",
            "static_pins",
        ],
    ),
    ("futures_timer", &["layer"]),
    ("idna", &["host"]),
    (
        "parking_lot",
        &[
            "builder",
            "generation",
            "http_reporter",
            "observers",
            "pinning",
            "reqwest",
            "retiring",
            "rollout",
            "sessions",
            "signatures",
            "store",
            "writer",
        ],
    ),
    ("pem_rfc7468", &["report"]),
    // As it is written where a module has the same name.
    ("::reqwest", &["noting_client", "redirect", "reqwest"]),
    ("rustls_native_certs", &["native"]),
    ("security_framework", &["local_roots"]),
    ("serde", &["report"]),
    ("serde_json", &["report"]),
    ("sha2", &["fingerprint"]),
    ("smol_str", &["host"]),
    ("spki", &["certificate", "fingerprint", "timestamp"]),
    ("tokio_rustls", &["connector", "stream"]),
    ("webpki", &["chain", "revocation"]),
    ("webpki_roots", &["anchors", "native"]),
    ("windows_registry", &["local_roots"]),
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// Name and code of each module, without its tests.
fn modules() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = fs::read_dir(src)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            (name, lines.collect::<Vec<_>>().join("\n"))
        })
        .filter(|(name, _)| name != "lib")
        .collect()
}

/// The identifiers that follow `prefix` in `code`.
fn names_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    code.split(prefix).skip(1).map(|rest| {
        let end = rest.find(|char: char| !char.is_alphanumeric() && char != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn modules_import_only_downwards() {
    let modules = modules();
    assert!(modules.len() > 10, "found {}", modules.len());
    for (name, code) in &modules {
        let own = floor(name).unwrap_or_else(|| panic!("{name} has no floor"));
        for used in names_after(code, "crate::") {
            let below = floor(used).is_some_and(|floor| floor < own);
            assert!(below, "{name} (floor {own}) imports {used}");
        }
        assert!(!code.contains("super::"), "{name}: imports go by `crate::`");
    }
}

#[test]
fn each_dependency_has_one_door() {
    for (name, code) in &modules() {
        for (dependency, doors) in DOORS {
            let names_it = code
                .match_indices(&format!("{dependency}::"))
                .any(|(at, _)| {
                    !code[..at]
                        .ends_with(|char: char| char.is_alphanumeric() || "_:".contains(char))
                });
            assert!(
                !names_it || doors.contains(&name.as_str()),
                "{name} uses {dependency}"
            );
        }
    }
}
