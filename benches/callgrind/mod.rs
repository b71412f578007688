//! Instructions, counted by valgrind's callgrind in a run of the benchmark itself.

use std::fs;
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The task of a run under callgrind; `None` in the run that was asked for.
pub(crate) fn task() -> Option<String> {
    std::env::var(TASK).ok()
}

pub(crate) fn is_there() -> bool {
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
        let status = Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind"])
            .arg(format!("--toggle-collect={function}"))
            .arg(format!("--callgrind-out-file={}", path.display()))
            .arg(std::env::current_exe().unwrap())
            .env(TASK, format!("{task} {count}"))
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        let text = fs::read_to_string(path).unwrap();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        total.unwrap().trim().parse::<f64>().unwrap()
    });
    assert!(twice > once, "callgrind counted nothing");
    twice - once
}

/// Thread CPU time. Not under callgrind, where it fails.
pub(crate) fn cpu() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

const TASK: &str = "PINHOLD_BENCH_TASK";
