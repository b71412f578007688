//! A test of how the time of reading grows with the length of its input.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Asserts that four times the input take less than ten times the processor time of this thread:
/// linear work takes four times as long, quadratic work sixteen times.
pub(crate) fn assert_linear<T>(length: usize, input: impl Fn(usize) -> T, work: impl Fn(&T)) {
    let [small, large] = [length, 4 * length].map(|length| {
        let input = input(length);
        let times = (0..3).map(|_| {
            let begin = now();
            work(&input);
            now() - begin
        });
        times.min().unwrap_or_default()
    });
    assert!(large < 10 * small, "{small:?}, then {large:?}");
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into().unwrap_or_default()
}
