//! Instructions, counted by valgrind's callgrind in a run of the benchmark itself.

#![allow(dead_code, reason = "each benchmark uses a part")]

use std::fs;
use std::hint::black_box;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

/// The task of a run under callgrind; `None` in the run that was asked for.
pub(crate) fn task() -> Option<String> {
    std::env::var(TASK).ok()
}

fn is_there() -> bool {
    let mut valgrind = Command::new("valgrind");
    match valgrind.arg("--version").stdout(Stdio::null()).status() {
        Ok(status) => status.success(),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => panic!("valgrind: {error}"),
    }
}

/// Of as many repetitions as `count`, which ends the task's text: the difference of two runs, so
/// that what happens once cancels. Only what `function` does is counted, in its thread.
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

/// Of each call of a function that fits the pattern, in the order of the calls, in one run.
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

/// What stands within calls of this function is counted by [`instructions_of_each`].
#[inline(never)]
pub(crate) fn counted(work: &mut dyn FnMut()) {
    work();
    black_box(());
}

/// The pattern of [`counted`].
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

/// Ends the program, and not well, where instructions can't be counted.
pub(crate) fn require() {
    if !is_there() {
        eprintln!("without valgrind no instructions are counted");
        std::process::exit(1);
    }
}

const TASK: &str = "PINHOLD_BENCH_TASK";
