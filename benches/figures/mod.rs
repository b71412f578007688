//! Output of measured figures, one line each, and a summary of the targets met and missed.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The figures of one run.
#[derive(Default)]
pub(crate) struct Figures {
    met: usize,
    missed: Vec<String>,
}

impl Figures {
    /// Prints `ratio`, name, value and target, separated by tabs. A target starts with `<=` or
    /// `>=`; any other text is printed and is not a target.
    pub(crate) fn add(&mut self, name: &str, value: f64, target: &str) {
        println!("ratio\t{name}\t{value:.4}\t{target}");
        let bound = |text: &str| text.parse::<f64>().unwrap();
        let is_met = match (target.strip_prefix("<="), target.strip_prefix(">=")) {
            (Some(most), _) => value <= bound(most),
            (_, Some(least)) => value >= bound(least),
            _ => return,
        };
        if is_met {
            self.met += 1
        } else {
            let line = format!("missed: {name} is {value:.4}, target {target}");
            self.missed.push(line);
        }
    }

    pub(crate) fn are_all_met(&self) -> bool {
        self.missed.is_empty()
    }

    /// Prints the number of targets met and lists those missed.
    pub(crate) fn conclude(&self) {
        let all = self.met + self.missed.len();
        println!("\n{} of {all} targets met", self.met);
        self.missed.iter().for_each(|line| println!("{line}"));
    }
}

/// Medians of a variant's time and of its ratio to the first variant in the same round.
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    pub(crate) ratio: f64,
}

/// Times each of `N` variants once per round. The first one rotates, because it warms up the caches
/// they share.
pub(crate) fn compare<const N: usize>(
    rounds: u32,
    mut time: impl FnMut(usize, usize) -> Duration,
) -> [Cost; N] {
    let mut all: [(Vec<f64>, Vec<f64>); N] = std::array::from_fn(|_| Default::default());
    for round in 0..usize::try_from(rounds).unwrap() {
        let mut times = [0.0; N];
        for turn in 0..N {
            let variant = (round + turn) % N;
            *times.get_mut(variant).unwrap() = time(round, variant).as_secs_f64();
        }
        let first = *times.first().unwrap();
        for ((seconds, ratios), time) in all.iter_mut().zip(times) {
            seconds.push(time);
            ratios.push(time / first);
        }
    }
    all.map(|(seconds, ratios)| Cost {
        seconds: median(seconds),
        ratio: median(ratios),
    })
}

pub(crate) fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// Returns the value at this quantile, from 0 to 1.
pub(crate) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let position = part * f64::from(u32::try_from(values.len()).unwrap() - 1);
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into the list"
    )]
    let position = position.round() as usize;
    *values.get(position).unwrap()
}

/// Returns the thread CPU time of the work, without the time to drop its result.
pub(crate) fn cpu_time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = cpu();
    let result = black_box(work());
    let time = cpu() - start;
    drop(result);
    time
}

pub(crate) fn wall_time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Returns the thread CPU time. Fails under callgrind.
pub(crate) fn cpu() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}
