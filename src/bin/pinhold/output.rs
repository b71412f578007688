//! What goes to the terminal, and with which exit code the tool ends.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use pinhold::policy::PinSource;
use pinhold::storage::StorageError;
use pinhold::{PinViolation, ValidatedChain};
use serde_json::{Value, json};

/// Text for people, or JSON.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// One result in the form that was asked for.
    pub(crate) fn print(self, json: &Value, text: &dyn fmt::Display) -> Result<(), Failure> {
        if self.json {
            self.write(format!("{json}\n").as_bytes())
        } else {
            self.write(format!("{text}\n").as_bytes())
        }
    }

    pub(crate) fn write(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            // Whoever reads has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Closed),
            Err(error) => Err(Failure::Request(error.into())),
            Ok(()) => Ok(()),
        }
    }

    /// A remark beside the result.
    pub(crate) fn remark(self, text: &dyn fmt::Display) {
        // Nothing can be said any more where standard error is gone.
        let lines = text.to_string();
        let lines = lines.split('\n').map(printable).collect::<Vec<_>>();
        let _ = writeln!(io::stderr(), "pinhold: {}", lines.join("\n"));
    }

    /// Tells a failure: on standard error, with `--json` on standard output, too.
    pub(crate) fn fail(self, failure: &Failure) -> ExitCode {
        if !matches!(failure, Failure::Closed | Failure::Told) {
            self.remark(failure);
            if self.json {
                // A second failure would have nowhere to go.
                let _ = self.write(format!("{}\n", failure.json()).as_bytes());
            }
        }
        ExitCode::from(failure.code())
    }
}

/// Why the tool ends with another code than 0.
pub(crate) enum Failure {
    /// Nobody reads standard output any more: no failure, but no reason to go on either.
    Closed,
    /// Noted pins can't be written.
    NotStored(StorageError),
    /// The chain is valid, but holds no pinned key.
    Pins(PinViolation),
    /// The connection, the validation or the request failed.
    Request(Box<dyn Error + Send + Sync>),
    /// Noted pins can't be read.
    Storage(StorageError),
    /// There is a result all the same, and what failed was said beside it.
    Told,
    /// Bad usage or bad input.
    Usage(String),
}

impl Failure {
    /// An input that can't be used, and why.
    pub(crate) fn input(subject: &str, why: impl fmt::Display) -> Self {
        Self::Usage(format!("{subject}: {why}"))
    }

    /// Finds a pin violation in an error, if there is one.
    pub(crate) fn of_request(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        match PinViolation::find(&*error) {
            Some(violation) => Self::Pins(violation),
            None => Self::Request(error),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::NotStored(_) | Self::Request(_) | Self::Told => 1,
            Self::Storage(_) | Self::Usage(_) => 2,
            Self::Pins(_) => 90,
        }
    }

    fn json(&self) -> Value {
        let message = self.to_string();
        match self {
            Self::Pins(violation) => {
                let policy = violation.policy();
                let pins = policy.pins.iter().map(ToString::to_string);
                json!({
                    "error": "pin-violation",
                    "host": violation.host().as_str(),
                    "noted_hostname": policy.noted_hostname.as_str(),
                    "source": match policy.source {
                        PinSource::Noted => "noted",
                        _ => "static",
                    },
                    "expected": pins.collect::<Vec<_>>(),
                    "chain": chain(violation.chain()),
                    "anchor_origin": violation.chain().anchor_origin().to_string(),
                    "message": message,
                })
            }
            Self::Closed | Self::Told => json!(null),
            Self::NotStored(_) | Self::Storage(_) => {
                json!({ "error": "storage", "message": message })
            }
            Self::Request(_) => json!({ "error": "request", "message": message }),
            Self::Usage(_) => json!({ "error": "usage", "message": message }),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pins(violation) => violation.fmt(f),
            Self::Closed => f.write_str("standard output is closed"),
            Self::NotStored(error) => error.fmt(f),
            Self::Storage(error) => {
                error.fmt(f)?;
                match error {
                    StorageError::Corrupt { file, .. } => {
                        write!(f, ": `pinhold store recover --file {}`", file.display())
                    }
                    _ => Ok(()),
                }
            }
            Self::Told => f.write_str("said before"),
            Self::Usage(message) => f.write_str(message),
            Self::Request(error) => {
                // The outer layers of hyper's errors say little; the innermost says why.
                let mut innermost: &dyn Error = &**error;
                while let Some(source) = innermost.source() {
                    innermost = source;
                }
                write!(f, "{innermost}")
            }
        }
    }
}

/// Escapes control characters, and those that turn the direction of text or have no width: neither
/// a certificate nor a server's words must steer the terminal that shows them.
pub(crate) fn printable(text: &str) -> String {
    let steers = |char: char| {
        char.is_control()
            || matches!(
                char,
                '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{2069}'
            )
    };
    let escape = |char: char| {
        if steers(char) {
            char.escape_unicode().to_string()
        } else {
            char.to_string()
        }
    };
    text.chars().map(escape).collect()
}

/// The keys of a chain, leaf first.
pub(crate) fn chain(chain: &ValidatedChain) -> Vec<Value> {
    let keys = chain.keys().map(|key| {
        json!({
            "fingerprint": key.fingerprint.to_string(),
            "role": key.role.to_string(),
            "subject": key.subject,
        })
    });
    keys.collect()
}
