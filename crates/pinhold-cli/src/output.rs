//! Output on the terminal.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::Style;
use serde_json::Value;

use crate::failure::Failure;
use crate::style::{BAD, STRONG, paint};

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

    /// Writes a result to standard output in the requested form. The text may have colours.
    pub(crate) fn print(self, json: &Value, text: &dyn fmt::Display) -> Result<(), Failure> {
        if self.json {
            self.write(format!("{json}\n").as_bytes())
        } else {
            let mut stdout = anstream::stdout().lock();
            let text = format!("{text}\n");
            written(
                stdout
                    .write_all(text.as_bytes())
                    .and_then(|()| stdout.flush()),
            )
        }
    }

    /// Writes bytes to standard output.
    pub(crate) fn write(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        written(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// Writes a message to standard error.
    pub(crate) fn message(self, text: &dyn fmt::Display) {
        write_message(STRONG, text);
    }

    /// Writes a failure to standard error, and with `--json` to standard output, too. Returns its
    /// exit code.
    pub(crate) fn fail(self, failure: &Failure) -> ExitCode {
        ExitCode::from(self.print_failure(failure).code())
    }

    /// As [`fail`](Self::fail), where the program does not end yet. Returns the failure to end it
    /// with.
    pub(crate) fn print_failure(self, failure: &Failure) -> Failure {
        let is_printed = matches!(failure, Failure::AlreadyPrinted { .. });
        if !is_printed && !matches!(failure, Failure::OutputClosed) {
            write_message(BAD, failure);
            self.print_error(&failure.json());
        }
        Failure::AlreadyPrinted {
            code: failure.code(),
        }
    }

    /// Writes an error to standard output if JSON was requested.
    pub(crate) fn print_error(self, json: &Value) {
        if self.json {
            // The exit code already says that the program failed.
            let _ = self.write(format!("{json}\n").as_bytes());
        }
    }
}

fn write_message(style: Style, text: &dyn fmt::Display) {
    let lines = text.to_string();
    let lines = lines.split('\n').map(printable).collect::<Vec<_>>();
    let name = paint(style, "pinhold:");
    // An error can't be reported anywhere if standard error is closed.
    let _ = writeln!(anstream::stderr(), "{name} {}", lines.join("\n"));
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(Failure::Internal {
            subject: "standard output",
            error,
        }),
        Ok(()) => Ok(()),
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

/// Cuts text after this number of characters.
pub(crate) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Breaks a sentence into lines of a message, all but the first of which are indented more.
pub(crate) fn wrapped(text: &str) -> String {
    wrapped_after(" ", text)
}

/// As [`wrapped`], for the first sentence of a message, which follows the name of the program.
pub(crate) fn wrapped_first(text: &str) -> String {
    let line = wrapped_after("pinhold:", text);
    line.trim_start_matches("pinhold: ").to_owned()
}

fn wrapped_after(start: &str, text: &str) -> String {
    let mut lines = Vec::new();
    let mut line = start.to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, "   ".to_owned()));
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line);
    lines.join("\n")
}

/// The usual width of a terminal.
const WIDTH: usize = 80;

/// Returns a number with its noun: "1 entry", "2 entries".
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{count} {noun}")
}
