//! Instruction counts, by running the benchmark itself under valgrind's callgrind.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::fs;
use std::hint::black_box;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

/// Returns the task of a run under callgrind, or `None` in the run that the user started.
pub(crate) fn task() -> Option<String> {
    std::env::var(TASK).ok()
}

fn is_installed() -> bool {
    let mut valgrind = Command::new("valgrind");
    match valgrind.arg("--version").stdout(Stdio::null()).status() {
        Ok(status) => status.success(),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => panic!("valgrind: {error}"),
    }
}

/// Returns the number of instructions that `count` repetitions of the task take; `count` is
/// appended to the task.
///
/// The result is the difference between runs of `count` and of twice as many, so that one-time
/// costs cancel. Counts only what `function` executes, on its thread.
pub(crate) fn instructions(function: &str, task: &str, count: u32) -> f64 {
    let [once, twice] = [count, 2 * count].map(|count| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("callgrind.out");
        run(function, &format!("{task} {count}"), &path, &[]);
        total(&path)
    });
    assert!(twice > once, "callgrind counted nothing");
    twice - once
}

/// Returns the instructions of each call of a function that matches the pattern, in call order.
pub(crate) fn instructions_of_each(function: &str, task: &str) -> Vec<f64> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callgrind.out");
    run(function, task, &path, &[format!("--dump-after={function}")]);
    let files = (1..).map(|call| path.with_extension(format!("out.{call}")));
    let counts = files.take_while(|file| file.exists());
    let counts = counts.map(|file| total(&file)).collect::<Vec<_>>();
    assert!(!counts.is_empty(), "callgrind counted nothing");
    counts
}

/// Runs the work so that [`instructions_of_each`] can count it.
#[inline(never)]
pub(crate) fn counted(work: &mut dyn FnMut()) {
    work();
    black_box(());
}

/// The pattern that matches [`counted`].
pub(crate) const COUNTED: &str = "*::callgrind::counted";

fn run(function: &str, task: &str, path: &Path, options: &[String]) {
    let status = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--toggle-collect={function}"))
        .arg(format!("--callgrind-out-file={}", path.display()))
        .args(options)
        .arg(std::env::current_exe().unwrap())
        .env(TASK, task)
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

fn total(path: &Path) -> f64 {
    let text = fs::read_to_string(path).unwrap();
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total.unwrap().trim().parse::<f64>().unwrap()
}

/// Exits with a non-zero code if valgrind is not installed.
pub(crate) fn require() {
    if !is_installed() {
        eprintln!("valgrind is not installed; it is needed to count instructions");
        std::process::exit(1);
    }
}

const TASK: &str = "PINHOLD_BENCH_TASK";
