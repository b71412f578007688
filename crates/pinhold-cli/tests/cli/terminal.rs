//! Colours and progress: on a terminal, and nowhere else.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::mpsc::channel;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::common::TIMEOUT;
use crate::program::{Folder, command, pin, run, run_with};
use crate::store_files::V2;

/// Runs the program with standard output and error on a new terminal. Returns what it shows.
fn on_terminal(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let name = name.to_str().unwrap();
    let open = || -> OwnedFd {
        let file = File::options().read(true).write(true).open(name);
        file.unwrap().into()
    };
    let mut command = command();
    command.env("TERM", "xterm").envs(variables.iter().copied());
    command.args(arguments).stdin(Stdio::null());
    command.stdout(open()).stderr(open());
    let mut child = command.spawn().unwrap();
    // The terminal ends once no process has it open: neither the child nor this command.
    drop(command);
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let _ = sender.send(read_to_end(File::from(terminal)));
    });
    let shown = receiver.recv_timeout(TIMEOUT);
    if shown.is_err() {
        child.kill().unwrap();
    }
    child.wait().unwrap();
    String::from_utf8(shown.unwrap()).unwrap()
}

fn read_to_end(mut terminal: File) -> Vec<u8> {
    let mut shown = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        match terminal.read(&mut bytes) {
            Ok(0) => return shown,
            Ok(count) => shown.extend(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Linux returns `EIO` in place of the end.
            Err(_) => return shown,
        }
    }
}

const ESCAPE: char = '\u{1b}';

#[test]
fn a_terminal_has_colours_unless_no_color_is_set() {
    let folder = Folder::new();
    let file = folder.write("noted", V2);
    let root = folder.write("root.pem", crate::pki::Ca::root("Root").pem());
    let [one, two] = [1, 2].map(|byte| pin(byte).to_string());
    for arguments in [
        &["--help"][..],
        &["get"],
        &["fingerprint", &root],
        &["fingerprint", "missing/file"],
        &["store", "list", "--file", &file],
        &[
            "doctor",
            "example.com",
            "--offline",
            "--pin",
            &one,
            "--pin",
            &two,
        ],
    ] {
        let shown = on_terminal(&[], arguments);
        assert!(shown.contains(ESCAPE), "{arguments:?}: {shown:?}");
        let shown = on_terminal(&[("NO_COLOR", "1")], arguments);
        assert!(!shown.is_empty(), "{arguments:?}");
        assert!(!shown.contains(ESCAPE), "{arguments:?}: {shown:?}");
        let run = run(arguments);
        assert!(!run.text().contains(ESCAPE), "{arguments:?}");
        assert!(!run.stderr.contains(ESCAPE), "{arguments:?}");
    }
}

#[test]
fn json_has_no_colours() {
    let folder = Folder::new();
    let file = folder.write("noted", V2);
    let arguments = ["store", "list", "--file", &file, "--json"];
    assert!(!on_terminal(&[], &arguments).contains(ESCAPE));
    let run = run_with(&[("CLICOLOR_FORCE", "1")], arguments);
    assert!(!run.text().contains(ESCAPE));
}

#[test]
fn doctor_shows_its_progress_on_a_terminal_and_removes_it() {
    let pins = [1, 2].map(|byte| format!("--pin={}", pin(byte)));
    let [live, backup] = &pins;
    let hosts = ["doctor", "a.invalid", "b.invalid", "--no-dns", live, backup];
    let shown = on_terminal(&[], &hosts);
    for text in ["\r0 of 2 hosts", "\r1 of 2 hosts", "\r2 of 2 hosts"] {
        assert!(shown.contains(text), "{text:?} in {shown:?}");
    }
    let (_, rest) = shown.rsplit_once("2 of 2 hosts").unwrap();
    let removed = format!("\r{}\r", " ".repeat("2 of 2 hosts".len()));
    assert!(rest.starts_with(&removed), "{shown:?}");
    let with_json = [&hosts[..], &["--json"]].concat();
    assert!(!on_terminal(&[], &with_json).contains("of 2 hosts"));
    assert!(!run(hosts).stderr.contains("of 2 hosts"));
}
