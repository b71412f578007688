//! The program under test, its working folders, and a server to connect to.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pinhold::SpkiFingerprint;
use serde_json::Value;

use crate::common::TIMEOUT;
use crate::pki::{Ca, Leaf};
use crate::server::Server;

/// Exit code and output of a finished run.
pub struct Run {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Run {
    pub fn json(&self) -> Value {
        let text = self.text();
        assert_eq!(text.lines().count(), 1, "one object: {text:?}");
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.stdout).unwrap()
    }

    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        let (stdout, stderr) = (String::from_utf8_lossy(&self.stdout), &self.stderr);
        assert_eq!(self.code, code, "stdout: {stdout}\nstderr: {stderr}");
        self
    }
}

pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    run_with(&[], arguments)
}

/// The program with none of the environment variables that it reads.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhold"));
    command.stdin(Stdio::null());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    for name in ["REQUEST_METHOD", "NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR"] {
        command.env_remove(name);
    }
    command
}

/// Runs the program with these environment variables.
pub fn run_with<S: AsRef<OsStr>>(
    variables: &[(&str, &str)],
    arguments: impl IntoIterator<Item = S>,
) -> Run {
    let mut command = command();
    command.envs(variables.iter().copied());
    command.args(arguments).stdout(Stdio::piped());
    finish(&mut command)
}

/// Runs the program with this file as its standard input.
pub fn run_with_input<S: AsRef<OsStr>>(file: &str, arguments: impl IntoIterator<Item = S>) -> Run {
    let mut command = command();
    command.stdin(File::open(file).unwrap()).args(arguments);
    finish(command.stdout(Stdio::piped()))
}

/// Runs `openssl` with these arguments and this input. Returns its output.
pub fn openssl(program: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    output.stdout
}

/// Returns the pin of a public key in DER, as `openssl` computes it.
pub fn pin_by_openssl(program: &Path, public: &[u8]) -> String {
    let digest = openssl(program, &["dgst", "-sha256", "-binary"], public);
    let base64 = openssl(program, &["base64"], &digest);
    format!("sha256/{}", String::from_utf8(base64).unwrap().trim_end())
}

/// Runs a command to its end, for a limited time. Its output is empty unless it is a pipe.
pub fn finish(command: &mut Command) -> Run {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take();
    let stdout = stdout.map_or_else(|| read_all(io::empty()), read_all);
    let stderr = read_all(child.stderr.take().unwrap());
    let outputs = [stdout, stderr].map(|output| output.recv_timeout(TIMEOUT));
    let [Ok(stdout), Ok(stderr)] = outputs else {
        child.kill().unwrap();
        panic!("the program does not end");
    };
    Run {
        // The code is 101 after a panic, and missing after a signal.
        code: child.wait().unwrap().code().unwrap(),
        stdout,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Reads an output to its end on another thread.
fn read_all(mut output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).unwrap();
        let _ = sender.send(bytes);
    });
    receiver
}

/// Runs the program on another thread, so that servers of this runtime can respond to it.
pub async fn run_async<S: AsRef<str>>(arguments: &[S]) -> Run {
    run_async_with(&[], arguments).await
}

/// As [`run_async`], with these environment variables.
pub async fn run_async_with<S: AsRef<str>>(variables: &[(&str, &str)], arguments: &[S]) -> Run {
    let arguments = arguments.iter().map(|text| text.as_ref().to_owned());
    let arguments = arguments.collect::<Vec<_>>();
    let variables = variables.iter();
    let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let variables = variables.collect::<Vec<_>>();
    let blocking = move || {
        let variables = variables.iter().map(|(name, value)| (&**name, &**value));
        run_with(&variables.collect::<Vec<_>>(), arguments)
    };
    tokio::task::spawn_blocking(blocking).await.unwrap()
}

/// A new folder below `target`, which is removed on drop.
pub struct Folder(PathBuf);

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

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Returns all names in the folder, with the bytes of those that are files.
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

/// A pin that begins with this byte. Its text can be parsed, unlike that of 32 equal bytes.
pub fn pin(byte: u8) -> SpkiFingerprint {
    let mut digest = [byte; 32];
    digest[31] = !byte;
    SpkiFingerprint::from_digest(digest)
}

/// A pin that matches no key in any test.
pub fn unrelated_pin() -> SpkiFingerprint {
    pin(0xab)
}

pub fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{encoded}\n-----END {label}-----\n")
}

/// A server for `shop.example` with its own root, and a folder that contains `root.pem`.
pub struct Site {
    pub root: Ca,
    pub leaf: Leaf,
    pub server: Server,
    pub folder: Folder,
}

impl Site {
    /// Starts a server whose responses have these header fields.
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
        Self::with_chain(root, leaf, fields).await
    }

    pub async fn with_chain(root: Ca, leaf: Leaf, fields: &[(&'static str, &str)]) -> Self {
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

    /// Runs a command on the server's URL, with the bundled roots.
    pub async fn run(&self, command: &str, options: &[&str]) -> Run {
        let resolve = format!("shop.example:{}:127.0.0.1", self.port());
        let url = self.url();
        let fixed = [command, &url, "--resolve", &resolve];
        run_async(&[&fixed[..], options].concat()).await
    }

    /// Runs a command on the server's URL, with its root as the only built-in one.
    pub async fn run_trusted(&self, command: &str, options: &[&str]) -> Run {
        let root = self.root_file();
        self.run(command, &[&["--ca", &root], options].concat())
            .await
    }
}
