//! Runs the command-line tool as a program.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::pki::{Ca, Leaf};
use super::server::Server;

/// What a run of the tool left behind.
pub struct Run {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Run {
    pub fn json(&self) -> Value {
        let text = str::from_utf8(&self.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "one object: {text:?}");
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.stdout).unwrap()
    }

    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        let (stdout, stderr) = (String::from_utf8_lossy(&self.stdout), &self.stderr);
        assert_eq!(self.code, code, "stdout: {stdout}\nstderr: {stderr}");
        self
    }
}

pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhold"));
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap();
    Run {
        // A panic ends with 101, a signal with none.
        code: status.code().unwrap(),
        stdout,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Beside the runtime, whose servers answer meanwhile.
pub async fn run_beside(arguments: Vec<String>) -> Run {
    tokio::task::spawn_blocking(|| run(arguments))
        .await
        .unwrap()
}

/// A folder of its own below `target`; gone when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cli-{}-{count}", process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Every name in it, with the bytes of those that are files.
    pub fn contents(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let entries = fs::read_dir(&self.0).unwrap().map(Result::unwrap);
        let named = entries.map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).ok())
        });
        named.collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{encoded}\n-----END {label}-----\n")
}

/// A server for `shop.example` below its own root, and how to get there.
pub struct Site {
    pub root: Ca,
    pub leaf: Leaf,
    pub server: Server,
    pub folder: Folder,
}

impl Site {
    pub async fn start(fields: &[(&'static str, &str)]) -> Self {
        Self::with_leaf(
            |root| root.intermediate("Sub").leaf(&["shop.example"]),
            fields,
        )
        .await
    }

    pub async fn with_leaf(
        leaf: impl FnOnce(&Ca) -> Leaf,
        fields: &[(&'static str, &str)],
    ) -> Self {
        let root = Ca::root("Root");
        let leaf = leaf(&root);
        Self::of(root, leaf, fields).await
    }

    pub async fn of(root: Ca, leaf: Leaf, fields: &[(&'static str, &str)]) -> Self {
        let server = Server::start(&leaf, fields).await;
        let folder = Folder::new();
        folder.write("root.pem", root.pem());
        Self {
            root,
            leaf,
            server,
            folder,
        }
    }

    pub fn port(&self) -> u16 {
        self.server.address.port()
    }

    pub fn url(&self) -> String {
        format!("https://shop.example:{}/", self.port())
    }

    pub fn root_file(&self) -> String {
        self.folder.path("root.pem")
    }

    /// Without anchors.
    pub async fn run(&self, command: &str, more: &[&str]) -> Run {
        let resolve = format!("shop.example:{}:127.0.0.1", self.port());
        let url = self.url();
        let mut arguments = vec![command, &url, "--resolve", &resolve];
        arguments.extend(more);
        run_beside(arguments.into_iter().map(str::to_owned).collect()).await
    }

    /// With the root as the only built-in one.
    pub async fn trusted(&self, command: &str, more: &[&str]) -> Run {
        let root = self.root_file();
        let arguments = [&["--ca", &root], more].concat();
        self.run(command, &arguments).await
    }
}
