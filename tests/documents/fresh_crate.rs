//! Crates as a reader makes them: `cargo new`, `cargo add`, and the blocks of a document pasted.

use std::env;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

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

    let mut child = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["check", "--all-targets", "--offline", "--quiet"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", temporary.parent().unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The messages end when the build does.
    let mut stderr = child.stderr.take().unwrap();
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut messages = String::new();
        let read = stderr.read_to_string(&mut messages).map(|_| messages);
        drop(sender.send(read));
    });
    let Ok(messages) = receiver.recv_timeout(MAX_BUILD_TIME) else {
        child.kill().unwrap();
        panic!("{name}: `cargo check` took longer than {MAX_BUILD_TIME:?}");
    };
    reader.join().unwrap();
    let success = child.wait().unwrap().success();
    if success {
        Ok(())
    } else {
        Err(messages.unwrap())
    }
}

/// The limit of one `cargo check`, which compiles the dependencies, too, if nothing has before.
const MAX_BUILD_TIME: Duration = Duration::from_secs(600);

fn manifest(name: &str, dependencies: &[Dependency]) -> String {
    let mut text = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n"
    );
    for dependency in dependencies {
        let table = if dependency.dev {
            "dev-dependencies"
        } else {
            "dependencies"
        };
        let source = match package(&dependency.name) {
            Some(path) => format!("path = {:?}", path.to_str().unwrap()),
            None => {
                let version = dependency.version.as_deref().unwrap_or("*");
                format!("version = {version:?}")
            }
        };
        text.push_str(&format!(
            "\n[{table}.{}]\n{source}\ndefault-features = {}\nfeatures = {:?}\n",
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

/// Returns whether the dependencies are in this copy of the repository. A package from a registry
/// contains the library alone.
pub(crate) fn available(dependencies: &[Dependency]) -> bool {
    let mut packages = dependencies.iter().filter_map(|d| package(&d.name));
    repository().join("crates").exists() || packages.all(|path| path == repository())
}
