//! The architecture that `DESIGN.md` describes, checked on the source text: the order of the
//! modules and of their files, the importers of each dependency, and the size of every file.
//!
//! The tests fail for a module or file that is not listed here, and for an entry that is no longer
//! needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of `src`: level, name, and the files in their order, the lowest first.
///
/// A module imports only from modules of lower levels, a file only from the files before it in its
/// module. `mod.rs` imports from all files of its module.
const MODULES: &str = "
    1 guide: auditing backup_key bundles choosing_pins command_line comparison desktop doctor health \
        links mobile moving noting performance pin_file pin_root reqwest rolling_out rotating stacks \
        testing user_added_roots
    1 policy: bundle_version der enforcement header_tokens origin plain_http scope sha256 text timestamp \
        fingerprint_error host report_uri fingerprint pem uri fingerprint_text header pin_set pin_group \
        applied judgement outcome known_host pin_policy bundled_policy unpinned static_rules
    2 ct: sct list_error log log_list ct_policy options outcome precert check violation expect_ct
    2 hsts: header known_host noted preload options upgrade
    2 pin_file: schema words error json members pins read print file
    2 roots: subject_index anchors sections provenance native_error root_files native overrides
    3 store: domains public_suffixes observed_clock worker generation record line bundle_floor \
        health_warning health_history health_text health_key health_salt noted change other_changes \
        format error file_lock pending batch queue storage health_book entries eviction records \
        host_table first_use_entry hsts_entry host_tables other_records journal file \
        compaction repair durable writer pin_store others builder update hsts
    3 chain: certificate fingerprint_cache revocation signature_cache validated relations path_builder \
        direct
    4 bundles: format error verifier_key note staging root body pin_bundle verifier signers
    4 violation: cause evidence_text cause_text evidence pin_violation key_change report_error \
        report_pem unpinned_host untrusted_server unverifiable report report_json
    5 pinning: clock not_applied noting rollout evaluation event event_trace health health_rules \
        health_export lanes build_error provider transparency bundle_terms covering static_pins first_use_rules bundle_rules rare_rules \
        observers recovery bundle_records bundle_status bundle_state handle first_use copy explain \
        explain_text bundle_engine apply_bundle replace bundle_recovery bundle_setup health_snapshot \
        record_health start builder note record hsts transparency_check
    6 tls: canary resumption connection observed_config error cause verifier client_config \
        direct_verifier direct_builder verifier_builder self_test_material self_test_handshake \
        self_test_report self_test
    7 connector: error schemes stream handshake service builder
    7 layer: cached_header expect_ct pin_fields recovery retry target target_connections open_connections \
        request_context note_pins
    8 reqwest: known_chains connection_map redirect client_builder error settings inner_clients \
        noting_client noting_builder
    8 updater: schedule error fetch pin_updater builder
    8 http_reporter: endpoint rate_limit rules transport queue reporter builder
    2 known_keys: keys
";

/// Each dependency and all that import it: a module, or one file of it as `module/file`.
const IMPORTERS: &str = "
    base64: policy/fingerprint violation/report_pem
    foldhash: chain ct layer pin_file pinning roots store tls
    futures_timer: connector/stream layer/note_pins updater
    hmac_sha256: policy/sha256
    http: connector hsts/upgrade http_reporter layer pinning/hsts reqwest tls updater
    hyper: connector updater
    hyper_util: connector http_reporter layer reqwest tls updater
    idna: policy/host
    iri_string: policy/report_uri
    openssl_probe: roots/root_files
    parking_lot: chain http_reporter layer pinning reqwest store tls updater
    pin_project_lite: layer
    reqwest: reqwest
    rustls: bundles chain connector http_reporter lib pinning policy reqwest roots store tls violation
    rustls_native_certs: roots/native
    rustls_pki_types: bundles chain connector ct hsts http_reporter known_keys layer pin_file pinning \
        policy reqwest roots store tls violation
    security_framework: roots/provenance
    serde: pin_file
    serde_json: ct hsts/preload pin_file violation/report_json
    smol_str: policy/host
    spki: chain/certificate ct/sct policy/der policy/fingerprint policy/timestamp
    tokio: http_reporter tls updater
    tokio_rustls: connector
    tower_layer: layer reqwest
    tower_service: connector http_reporter layer reqwest updater
    tracing: lib pinning/event_trace
    webpki: chain
    webpki_roots: roots
    windows_registry: roots/provenance
";

/// The limit includes the tests of a file.
const MAX_LINES: usize = 500;

#[test]
fn a_module_imports_only_from_lower_levels() {
    let modules = modules();
    let module = |name: &str| modules.iter().find(|module| module.name == name);
    for file in source_files() {
        let Some(own) = module(&file.module) else {
            continue;
        };
        for path in crate_paths(&file.code) {
            let used = path.split("::").next().unwrap();
            let used = module(used)
                .unwrap_or_else(|| panic!("{file}: `crate::{path}` does not name a module"));
            assert!(
                used.name == own.name || used.level < own.level,
                "{file} (level {}): imports `crate::{path}` (level {})",
                own.level,
                used.level
            );
        }
    }
}

#[test]
fn a_file_imports_only_from_files_below_it_in_its_module() {
    let modules = modules();
    for file in source_files() {
        let Some(own) = modules.iter().find(|module| module.name == file.module) else {
            continue;
        };
        assert!(
            !file.code.contains("super::"),
            "{file}: expected imports by `crate::`, found `super::`"
        );
        if file.name == "mod" {
            continue;
        }
        let position = |name: &str| own.files.iter().position(|file| *file == name);
        let own_position =
            position(&file.name).unwrap_or_else(|| panic!("{file}: expected it in MODULES"));
        for path in crate_paths(&file.code) {
            let mut names = path.split("::");
            if names.next() != Some(own.name) {
                continue;
            }
            let used = names.next().unwrap_or_default();
            assert!(
                position(used).is_some_and(|position| position < own_position),
                "{file}: `crate::{path}` is not in a file listed before it"
            );
        }
    }
}

#[test]
fn every_module_and_file_is_listed() {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(repository().join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // Programs see the public API only; the compiler enforces that.
        if name != "lib.rs" && name != "bin" {
            found.insert(name);
        }
    }
    let modules = modules();
    let listed = modules.iter().map(|module| module.name.to_owned());
    assert_eq!(found, listed.collect(), "folders of src");

    for Module { name, files, .. } in modules {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(repository().join("src").join(name)).unwrap() {
            let path = entry.unwrap().path();
            assert!(path.is_file(), "{}: expected no folder", path.display());
            let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if file != "mod" && !is_tests(&file) {
                found.insert(file);
            }
        }
        assert_eq!(found, set(files.iter()), "files of src/{name}");
    }
}

#[test]
fn each_dependency_is_imported_where_it_is_listed_and_nowhere_else() {
    let files = source_files();
    let rows = table(IMPORTERS);
    assert_eq!(
        dependencies(),
        set(rows.iter().map(|(name, _)| name)),
        "dependencies"
    );
    for (dependency, importers) in rows {
        let mut found = BTreeSet::new();
        for file in &files {
            if names_dependency(&file.code, dependency) {
                let path = format!("{}/{}", file.module, file.name);
                let by_file = importers.contains(&path.as_str());
                found.insert(if by_file { path } else { file.module.clone() });
            }
        }
        assert_eq!(found, set(importers.iter()), "importers of {dependency}");
    }
}

/// rustls's default clock panics before 1970, and so does `UnixTime::now`.
#[test]
fn no_clock_that_panics_is_used() {
    for folder in ["src", "crates/pinhold-cli/src"] {
        for path in rust_files(&repository().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let lines = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for line in lines {
                for clock in [
                    "ClientConfig::builder()",
                    "ClientConfig::builder_with_provider",
                    "ClientConfig::builder_with_protocol_versions",
                    "DefaultTimeProvider",
                    "UnixTime::now",
                ] {
                    assert!(!line.contains(clock), "{}: {line}", relative(&path));
                }
            }
        }
    }
}

#[test]
fn no_file_is_longer_than_the_limit() {
    let mut too_long = BTreeSet::new();
    for directory in ["src", "tests", "benches", "examples", "crates", "fuzz"] {
        for path in rust_files(&repository().join(directory)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > MAX_LINES {
                too_long.insert(relative(&path));
            }
        }
    }
    assert_eq!(
        too_long,
        BTreeSet::new(),
        "files of more than {MAX_LINES} lines"
    );
}

#[test]
fn the_doc_of_every_module_states_its_purpose_its_imports_and_its_exports() {
    let mut undocumented = BTreeSet::new();
    for Module { name, .. } in modules() {
        let path = repository().join("src").join(name).join("mod.rs");
        let text = fs::read_to_string(&path).unwrap();
        let docs = text.lines().map_while(|line| line.strip_prefix("//!"));
        let docs = docs.map(str::trim).collect::<Vec<_>>();
        let begins = |word: &str| docs.iter().any(|line| line.starts_with(word));
        let purpose = docs.first().is_some_and(|line| !line.is_empty());
        if !(purpose && begins("Uses ") && begins("Offers ")) {
            undocumented.insert(name.to_owned());
        }
    }
    assert_eq!(
        undocumented,
        BTreeSet::new(),
        "modules whose doc lacks one of three parts: its purpose, \"Uses ...\", \"Offers ...\""
    );
}

#[test]
fn the_design_document_lists_the_modules_on_their_levels() {
    let design = fs::read_to_string(repository().join("DESIGN.md")).unwrap();
    for Module { level, name, .. } in modules() {
        let row = format!("| {level} | `{name}` | ");
        assert!(design.contains(&row), "DESIGN.md: expected a row `{row}`");
    }
}

#[test]
fn paths_are_found_in_code() {
    let code = "use crate::policy::{Host, PinSet};\nuse crate::store::file::X;\ncrate::tls;";
    assert_eq!(
        crate_paths(code),
        ["policy::Host", "policy::PinSet", "store::file::X", "tls"]
    );
    for (code, expected) in [
        ("use reqwest::Client;", true),
        ("x: ::reqwest::Client", true),
        ("use crate::reqwest::Client;", false),
        ("pub use reqwest;", true),
        ("use my_reqwest::Client;", false),
        ("pinhold::reqwest::Client", false),
    ] {
        assert_eq!(names_dependency(code, "reqwest"), expected, "{code}");
    }
}

/// One line of [`MODULES`].
struct Module {
    level: usize,
    name: &'static str,
    files: Vec<&'static str>,
}

fn modules() -> Vec<Module> {
    let rows = table(MODULES).into_iter();
    rows.map(|(head, files)| {
        let (level, name) = head.split_once(' ').unwrap();
        let level = level.parse().unwrap();
        Module { level, name, files }
    })
    .collect()
}

/// The lines `head: word word ...` of a list.
fn table(text: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(head, words)| (head.trim(), words.split_whitespace().collect()))
        .collect()
}

fn set<T: ToString>(words: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    for word in words {
        let word = word.to_string();
        assert!(set.insert(word.clone()), "{word} is listed twice");
    }
    set
}

/// One file of the library: its code without comments and tests.
struct SourceFile {
    /// The folder of `src`, or `lib`.
    module: String,
    name: String,
    code: String,
}

impl std::fmt::Display for SourceFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "src/{}/{}.rs", self.module, self.name)
    }
}

fn source_files() -> Vec<SourceFile> {
    let src = repository().join("src");
    let paths = rust_files(&src);
    let paths = paths
        .iter()
        .filter(|path| !path.starts_with(src.join("bin")));
    let files = paths.map(|path| {
        let names = path.strip_prefix(&src).unwrap().with_extension("");
        let names = names.iter().map(|name| name.to_str().unwrap().to_owned());
        let names = names.collect::<Vec<_>>();
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let code = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        SourceFile {
            module: names.first().unwrap().clone(),
            name: names.last().unwrap().clone(),
            code: code.collect::<Vec<_>>().join("\n"),
        }
    });
    let files = files
        .filter(|file| !is_tests(&file.name))
        .collect::<Vec<_>>();
    assert!(files.len() > 40, "found {} files", files.len());
    files
}

/// Returns whether a file contains only tests, which may import anything.
fn is_tests(file: &str) -> bool {
    file == "tests" || file.ends_with("_tests")
}

/// Returns the paths that follow `crate::` in the code. A group in braces has several.
fn crate_paths(code: &str) -> Vec<String> {
    let in_path = |char: char| char.is_alphanumeric() || "_:".contains(char);
    let mut paths = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let end = rest.find(|char| !in_path(char)).unwrap_or(rest.len());
        let (path, rest) = rest.split_at(end);
        let group = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        match group {
            Some((group, _)) if path.ends_with("::") => {
                let names = group.split(',').map(str::trim);
                let names = names.filter(|name| !name.is_empty());
                paths.extend(names.map(|name| format!("{path}{name}")));
            }
            _ => paths.push(path.trim_end_matches(':').to_owned()),
        }
    }
    paths
}

/// Returns whether a path in the code begins with the dependency.
fn names_dependency(code: &str, dependency: &str) -> bool {
    let whole = format!("use {dependency};");
    code.contains(&whole)
        || code
            .match_indices(&format!("{dependency}::"))
            .any(|(at, _)| {
                let before = code.get(..at).unwrap();
                let before = before.strip_suffix("::").unwrap_or(before);
                !before.ends_with(|char: char| char.is_alphanumeric() || char == '_')
            })
}

/// The dependencies of the library, as they are named in code.
fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let mut in_dependencies = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            in_dependencies = section == "dependencies" || section.ends_with(".dependencies");
        } else if in_dependencies && let Some((name, _)) = line.split_once(" = ") {
            names.insert(name.replace('-', "_"));
        }
    }
    names
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The path from the root of the repository.
fn relative(path: &Path) -> String {
    let path = path.strip_prefix(repository()).unwrap();
    path.to_str().unwrap().replace('\\', "/")
}

/// Every Rust file below a folder, build output excepted.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}
