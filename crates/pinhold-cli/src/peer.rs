//! The server that a command connects to, as errors name it, and the time limit of the command.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;

use crate::failure::{Failure, RequestFailure};
use crate::refusal::PinSources;
use crate::roots::Roots;
use crate::verifier::Served;

/// Host and port of a URL.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn of(uri: &Uri) -> Self {
        let default = match uri.scheme_str() {
            Some("http") => 80,
            _ => 443,
        };
        Self {
            host: uri.host().unwrap_or_default().to_owned(),
            port: uri.port_u16().unwrap_or(default),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The server of a request, and what an error of the request names.
pub(crate) struct Peer {
    /// The URL as it was given.
    pub(crate) url: String,
    pub(crate) target: Target,
    pub(crate) served: Served,
    pub(crate) roots: Roots,
    pub(crate) sources: PinSources,
    pub(crate) deadline: Deadline,
}

impl Peer {
    /// Waits for a step of the request until the time limit. `missing` is what did not happen, as
    /// in "no response".
    pub(crate) async fn limit<T>(
        &self,
        missing: &str,
        step: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let limited = self.deadline.limit(step).await;
        limited.ok_or_else(|| {
            let (target, limit) = (&self.target, self.deadline.total);
            let detail = format!(
                "{missing} {target} within {limit}\n  what to do: --timeout SECONDS allows more \
                 time"
            );
            self.failure(RequestFailure::Timeout, detail)
        })
    }

    /// Returns the failure of this request.
    pub(crate) fn failure(&self, kind: RequestFailure, detail: String) -> Failure {
        Failure::Request {
            kind,
            subject: self.url.clone(),
            target: self.target.clone(),
            detail,
            cause: None,
        }
    }
}

/// When a command ends at the latest.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    /// The whole time of the command.
    pub(crate) total: Timeout,
}

impl Deadline {
    pub(crate) fn after(timeout: Option<Timeout>) -> Self {
        let total = timeout.unwrap_or(Timeout(DEFAULT_TIMEOUT));
        Self {
            at: Instant::now() + total.0,
            total,
        }
    }

    /// Waits for a step until this time. Returns `None` if it takes longer.
    pub(crate) async fn limit<T>(self, step: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.at, step).await.ok()
    }

    /// Returns the time that is left.
    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// The value of `--timeout`: seconds, as in `30` or `30s`, or minutes, as in `2m`.
#[derive(Clone, Copy)]
pub(crate) struct Timeout(pub(crate) Duration);

impl FromStr for Timeout {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, factor) = match text.strip_suffix('m') {
            Some(minutes) => (minutes, 60),
            None => (text.strip_suffix('s').unwrap_or(text), 1),
        };
        let number = digits.parse::<u64>().ok();
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = number.and_then(|number| number.checked_mul(factor));
        match seconds {
            Some(seconds) if is_number && (1..=MAX_SECONDS).contains(&seconds) => {
                Ok(Self(Duration::from_secs(seconds)))
            }
            _ => Err("expected 1 to 86400 seconds as in 30 or 30s, or minutes as in 2m"),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs())
    }
}

/// Long enough for a slow network, and short enough that a script does not wait forever.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// One day.
const MAX_SECONDS: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_number_of_seconds_or_minutes() {
        for (text, seconds) in [("30", 30), ("1s", 1), ("2m", 120), ("86400", 86_400)] {
            let parsed = text.parse::<Timeout>().ok();
            assert_eq!(parsed.map(|it| it.0.as_secs()), Some(seconds), "{text}");
        }
        for text in [
            "",
            "0",
            "0s",
            "-1",
            "+1",
            "s",
            "m",
            "1.5",
            "1h",
            "86401",
            "1441m",
            "1ms",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Timeout>().is_err(), "{text}");
        }
    }
}
