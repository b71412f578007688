//! Tests of each output, read by independent programs where there are such.

mod browser;
mod files;
mod places;
mod text;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;
use std::{env, fs, process};

/// Runs a program, for a limited time. Returns whether it succeeds, and its output; `None` if it is
/// missing, which fails the test with `PINHOLD_REQUIRE_PEERS=1`.
fn run(name: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(name));
    let Some(program) = found.into_iter().find(|program| program.is_file()) else {
        let is_required = env::var_os("PINHOLD_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(
            !is_required,
            "{name}: not found, `tests/run.sh --install` installs it"
        );
        let _ = writeln!(std::io::stderr(), "{name} is missing: a test is skipped");
        return None;
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let child = child.as_mut().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stdout.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    let output = receiver.recv_timeout(Duration::from_secs(60));
    if output.is_err() {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let output = String::from_utf8_lossy(&output.unwrap()).into_owned();
    Some((status.success(), output))
}

/// A new folder, which is removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pinhold-doctor-{}-{count}", process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, and returns its path.
    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the names of the files in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut names = names.collect::<Vec<_>>();
    names.sort();
    names
}
