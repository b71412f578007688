//! Output on the terminal, and the failures that decide the exit code.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use hyper_util::client::legacy as client;
use pinhold::connector::ConnectError;
use pinhold::policy::PinSource;
use pinhold::storage::StorageError;
use pinhold::{PinViolation, ValidatedChain};
use serde_json::{Value, json};

/// Writer of results, as text or as JSON, and of messages.
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

    /// Writes a result to standard output in the requested form.
    pub(crate) fn print(self, json: &Value, text: &dyn fmt::Display) -> Result<(), Failure> {
        if self.json {
            self.write(format!("{json}\n").as_bytes())
        } else {
            self.write(format!("{text}\n").as_bytes())
        }
    }

    /// Writes bytes to standard output.
    pub(crate) fn write(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
            Err(error) => Err(Failure::of_request("standard output", error)),
            Ok(()) => Ok(()),
        }
    }

    /// Writes a message to standard error.
    pub(crate) fn message(self, text: &dyn fmt::Display) {
        let lines = text.to_string();
        let lines = lines.split('\n').map(printable).collect::<Vec<_>>();
        // An error can't be reported anywhere if standard error is closed.
        let _ = writeln!(io::stderr(), "pinhold: {}", lines.join("\n"));
    }

    /// Writes a failure to standard error, and with `--json` to standard output, too. Returns its
    /// exit code.
    pub(crate) fn fail(self, failure: &Failure) -> ExitCode {
        if !matches!(failure, Failure::OutputClosed | Failure::AlreadyPrinted) {
            self.message(failure);
            if self.json {
                // The exit code already says that the program failed.
                let _ = self.write(format!("{}\n", failure.json()).as_bytes());
            }
        }
        ExitCode::from(failure.code())
    }
}

/// Reasons to end the program early or with an exit code other than 0.
pub(crate) enum Failure {
    /// The result was printed, and so was the message about what failed.
    AlreadyPrinted,
    /// Standard output was closed by its reader. The exit code is 0, as with a reader like `head`.
    OutputClosed,
    /// The chain is valid, but contains no pinned key.
    PinViolation(PinViolation),
    /// The connection, the validation or the request failed.
    Request {
        /// What failed, usually the URL.
        subject: String,
        error: Box<dyn Error + Send + Sync>,
    },
    /// Noted pins could not be read.
    StorageRead(StorageError),
    /// Noted pins could not be written.
    StorageWrite(StorageError),
    /// Invalid usage or input.
    Usage(String),
}

impl Failure {
    /// Returns the failure for an input that can't be used.
    pub(crate) fn input(subject: &str, reason: impl fmt::Display) -> Self {
        Self::Usage(format!("{subject}: {reason}"))
    }

    /// Returns the failure for an error of a connection or request, which may be a pin violation.
    pub(crate) fn of_request(
        subject: &str,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let error = error.into();
        match PinViolation::find(&*error) {
            Some(violation) => Self::PinViolation(violation),
            None => Self::Request {
                subject: subject.to_owned(),
                error,
            },
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::AlreadyPrinted | Self::Request { .. } | Self::StorageWrite(_) => 1,
            Self::StorageRead(_) | Self::Usage(_) => 2,
            Self::PinViolation(_) => 90,
        }
    }

    fn json(&self) -> Value {
        let message = self.to_string();
        match self {
            Self::PinViolation(violation) => {
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
                    "chain": chain_json(violation.chain()),
                    "anchor_origin": violation.chain().anchor_origin().to_string(),
                    "message": message,
                })
            }
            Self::AlreadyPrinted | Self::OutputClosed => json!(null),
            Self::StorageRead(_) | Self::StorageWrite(_) => {
                json!({ "error": "storage", "message": message })
            }
            Self::Request { .. } => json!({ "error": "request", "message": message }),
            Self::Usage(_) => json!({ "error": "usage", "message": message }),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PinViolation(violation) => {
                violation.fmt(f)?;
                if violation.policy().source == PinSource::Noted {
                    let host = &violation.policy().noted_hostname;
                    write!(
                        f,
                        "\n  to forget it: pinhold store forget {host} --file FILE"
                    )?;
                }
                Ok(())
            }
            Self::AlreadyPrinted => f.write_str("failure already printed"),
            Self::OutputClosed => f.write_str("standard output is closed"),
            Self::StorageRead(StorageError::Corrupt {
                file,
                corruption,
                readable,
                ..
            }) => {
                let (file, entries) = (file.display(), counted(*readable, "entry", "entries"));
                write!(f, "{file}: {corruption}; {entries} can be recovered")?;
                write!(f, "\n  to recover: pinhold store recover --file {file}")
            }
            Self::StorageRead(error) | Self::StorageWrite(error) => error.fmt(f),
            Self::Usage(message) => f.write_str(message),
            Self::Request { subject, error } => {
                let mut text = subject.clone();
                let mut next = Some::<&(dyn Error + 'static)>(&**error);
                while let Some(error) = next {
                    // Some errors repeat the text of their cause, which is printed once.
                    let statement = statement(error).filter(|it| !text.ends_with(it.as_str()));
                    if let Some(statement) = statement {
                        text = format!("{text}: {statement}");
                    }
                    next = error.source();
                }
                f.write_str(&text)
            }
        }
    }
}

/// Returns what an error states; `None` if it states only that an inner error occurred, in words of
/// the library that returned it.
fn statement(error: &(dyn Error + 'static)) -> Option<String> {
    if error.is::<client::Error>() && error.source().is_some() {
        return None;
    }
    match error.downcast_ref() {
        Some(ConnectError::Transport(_)) => None,
        Some(ConnectError::PlainHttp { host }) => Some(format!(
            "http to the pinned host {host}, where pins can't be checked; expected https"
        )),
        _ => Some(error.to_string()),
    }
}

/// Escapes control characters, characters that change the direction of text, and characters without
/// width. A hostile certificate or server could otherwise control the terminal or forge lines.
pub(crate) fn printable(text: &str) -> String {
    let is_unsafe = |char: char| {
        char.is_control()
            || matches!(
                char,
                '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{2069}'
            )
    };
    let escape = |char: char| {
        if is_unsafe(char) {
            char.escape_unicode().to_string()
        } else {
            char.to_string()
        }
    };
    text.chars().map(escape).collect()
}

/// Returns a number with its noun: "1 entry", "2 entries".
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{count} {noun}")
}

/// Returns the keys of a chain, leaf first.
pub(crate) fn chain_json(chain: &ValidatedChain) -> Vec<Value> {
    let keys = chain.keys().map(|key| {
        json!({
            "fingerprint": key.fingerprint.to_string(),
            "role": key.role.to_string(),
            "subject": key.subject,
        })
    });
    keys.collect()
}
