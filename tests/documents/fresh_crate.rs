//! Crates as a reader makes them: `cargo new`, `cargo add`, and the blocks of a document pasted.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::blocks::{Block, Dependency};
use crate::repository;

/// Compiles the blocks, each as a module of one crate that has exactly these dependencies. Returns
/// the compiler's messages if it fails or warns.
///
/// The versions are those of the lock file of this repository, and the build is shared with it, so
/// that nothing is downloaded and no dependency is compiled twice.
pub(crate) fn check(
    name: &str,
    dependencies: &[Dependency],
    blocks: &[&Block],
) -> Result<(), String> {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = temporary.join("documents").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("Cargo.toml"), manifest(name, dependencies)).unwrap();
    let lock = repository().join("Cargo.lock");
    if lock.exists() {
        fs::copy(lock, folder.join("Cargo.lock")).unwrap();
    }
    // A reader's code that nothing calls yet is no reason for a warning; all else is.
    let mut root = "#![deny(warnings)]\n#![allow(dead_code)]\n".to_owned();
    for block in blocks {
        let module = block.module();
        root.push_str(&format!("mod {module};\n"));
        fs::write(folder.join("src").join(module + ".rs"), &block.text).unwrap();
    }
    fs::write(folder.join("src/lib.rs"), root).unwrap();

    let output = Command::new(env::var_os("CARGO").unwrap())
        .args(["check", "--all-targets", "--offline", "--quiet"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", temporary.parent().unwrap())
        .output()
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn manifest(name: &str, dependencies: &[Dependency]) -> String {
    let mut text = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [workspace]\n\n[dependencies]\n"
    );
    for dependency in dependencies {
        let source = match package(&dependency.name) {
            Some(path) => format!("path = {:?}", path.to_str().unwrap()),
            None => {
                let version = dependency.version.as_deref().unwrap_or("*");
                format!("version = {version:?}")
            }
        };
        text.push_str(&format!(
            "{} = {{ {source}, default-features = {}, features = {:?} }}\n",
            dependency.name, dependency.default_features, dependency.features
        ));
    }
    text
}

/// Returns the folder of a package of this repository.
fn package(name: &str) -> Option<std::path::PathBuf> {
    match name {
        "pinhold" => Some(repository().to_owned()),
        name if name.starts_with("pinhold-") => Some(repository().join("crates").join(name)),
        _ => None,
    }
}

/// Returns whether all of the packages of this repository are in this copy of it. A package from a
/// registry contains the library alone, and a package may be on another branch.
pub(crate) fn available(dependencies: &[Dependency]) -> bool {
    let packages = dependencies.iter().filter_map(|d| package(&d.name));
    packages
        .into_iter()
        .all(|path| path.join("Cargo.toml").exists())
}
