//! [`InputError`], why an input can't be read, and what readers of text have in common.

use std::fmt;

use pinhold::policy::{PinRole, ReportUri};
use pinhold::{Host, SpkiFingerprint};
use rustls::pki_types::UnixTime;

use crate::pins::loss::Losses;

/// What a conversion needs beside its input.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The host of an input without one.
    pub(crate) host: Option<Host>,
    /// The time from which the duration of a header counts.
    pub(crate) at: UnixTime,
    /// The role of pins that have none.
    pub(crate) role: Option<PinRole>,
    /// The text of the file with the keys that Chromium's pin sets name.
    pub(crate) chromium_pins: Option<String>,
}

/// Why an input can't be read, and where.
#[derive(Debug)]
pub(crate) struct InputError {
    place: Option<Place>,
    text: String,
    /// What was not taken over, if no policy is left.
    nothing: Option<Losses>,
}

impl InputError {
    pub(crate) fn whole(text: impl fmt::Display) -> Self {
        Self {
            place: None,
            text: text.to_string(),
            nothing: None,
        }
    }

    /// The error of an input without a policy that can be taken over.
    pub(crate) fn nothing(losses: Losses) -> Self {
        Self {
            nothing: Some(losses),
            ..Self::whole("no policy can be taken over")
        }
    }

    /// Returns what was not taken over, if no policy is left.
    pub(crate) fn into_nothing(self) -> Result<Losses, Self> {
        match self.nothing {
            Some(losses) => Ok(losses),
            None => Err(self),
        }
    }

    /// Returns the text of the error, with its place in `input`.
    pub(crate) fn message(&self, input: &str) -> String {
        let place = match self.place {
            Some(Place::Line(line)) => format!("line {line}: "),
            Some(Place::Position { line, column }) => format!("line {line}, column {column}: "),
            Some(Place::Offset(offset)) => {
                let before = input.get(..offset).unwrap_or(input);
                let line = before.matches('\n').count() + 1;
                let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
                format!("line {line}, column {column}: ")
            }
            None => String::new(),
        };
        place + &self.text
    }
}

/// The place of a value in an input. Lines and columns count from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Line(usize),
    /// A number of bytes, so that the line is sought for an error only.
    Offset(usize),
    Position {
        line: usize,
        column: usize,
    },
}

impl Place {
    pub(crate) fn error(self, text: impl fmt::Display) -> InputError {
        InputError {
            place: Some(self),
            text: text.to_string(),
            nothing: None,
        }
    }

    pub(crate) fn host(self, text: &str) -> Result<Host, InputError> {
        Host::parse(text.trim()).map_err(|error| self.error(error))
    }

    pub(crate) fn pin(self, text: &str) -> Result<SpkiFingerprint, InputError> {
        text.trim().parse().map_err(|error| self.error(error))
    }

    pub(crate) fn report_uri(self, text: &str) -> Result<ReportUri, InputError> {
        ReportUri::parse(text.trim()).map_err(|error| self.error(error))
    }
}

/// The lines of a text that names the host of what follows in a comment: `# example.com`, or
/// `# host: localhost` for a name without a dot. With the option `--host` comments have no meaning.
pub(crate) struct HostLines<'t> {
    lines: std::iter::Enumerate<std::str::Lines<'t>>,
    is_fixed: bool,
    host: Option<Host>,
}

impl<'t> HostLines<'t> {
    pub(crate) fn new(text: &'t str, context: &Context) -> Self {
        Self {
            lines: text.lines().enumerate(),
            is_fixed: context.host.is_some(),
            host: context.host.clone(),
        }
    }
}

impl<'t> Iterator for HostLines<'t> {
    type Item = (Place, Option<Host>, &'t str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (index, line) = self.lines.next()?;
            let line = line.trim();
            if let Some(comment) = line.strip_prefix('#') {
                if !self.is_fixed
                    && let Some(host) = host_of(comment)
                {
                    self.host = Some(host);
                }
            } else if !line.is_empty() {
                return Some((Place::Line(index + 1), self.host.clone(), line));
            }
        }
    }
}

/// Returns the host that a comment names. A word without a dot, such as `TODO`, is none.
fn host_of(comment: &str) -> Option<Host> {
    let comment = comment.trim();
    if let Some(name) = comment.strip_prefix("host:") {
        return Host::parse(name.trim()).ok();
    }
    let host = Host::parse(comment).ok();
    host.filter(|host| host.as_str().contains('.'))
}

/// Returns the line that names `host` for the lines after it.
pub(crate) fn host_line(host: &Host) -> String {
    let name = host.as_str();
    let key = if name.contains('.') { "" } else { "host: " };
    format!("# {key}{name}\n")
}

/// The error of a value whose host is not known.
pub(crate) fn no_host(place: Place) -> InputError {
    place.error("the host is not known, expected a line `# HOST` before (`# host: NAME` without a dot), or --host")
}
