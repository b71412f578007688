//! Runs every target on the files of its corpus, without libFuzzer.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use pinhold_fuzz::{TARGETS, Target};

#[test]
fn no_file_of_a_corpus_breaks_a_property() {
    for Target { name, run } in TARGETS {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name}: expected a corpus");
        for path in files {
            let data = fs::read(&path).unwrap();
            let outcome = panic::catch_unwind(|| run(&data));
            assert!(outcome.is_ok(), "{}", path.display());
        }
    }
}

#[test]
fn every_target_has_a_program() {
    let mut found = fs::read_dir(folder().join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned())
        .collect::<Vec<_>>();
    found.sort_unstable();
    let names = TARGETS.iter().map(|target| target.name);
    assert_eq!(found, names.collect::<Vec<_>>());
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for Target { name, .. } in TARGETS {
        assert!(
            manifest.contains(&format!("\nname = \"{name}\"\n")),
            "{name}"
        );
    }
}

/// Corpora are minimised before they are committed.
#[test]
fn corpora_are_small() {
    for Target { name, .. } in TARGETS {
        let files = corpus(name);
        let sizes = files.iter().map(|path| path.metadata().unwrap().len());
        let bytes = sizes.sum::<u64>();
        assert!(files.len() <= MAX_FILES, "{name}: {} files", files.len());
        assert!(bytes <= MAX_BYTES, "{name}: {bytes} bytes");
    }
}

fn corpus(target: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder().join("corpus").join(target)).unwrap();
    let mut files = entries
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    files.sort_unstable();
    files
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const MAX_FILES: usize = 400;
const MAX_BYTES: u64 = 300_000;
