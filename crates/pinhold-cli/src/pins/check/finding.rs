//! [`Finding`], one fact about a pin file that is wrong or dangerous.

use serde_json::{Value, json};

use crate::output::{printable, wrapped};
use crate::pins::check::source::Place;
use crate::style::{BAD, STRONG, paint};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The file can't be used, or a rule can't have its effect.
    Error,
    /// The rule has its effect, and this may be unwanted.
    Warning,
}

pub(crate) struct Finding {
    /// The kind, which scripts match.
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    host: Option<String>,
    place: Option<Place>,
    detail: String,
    remedy: String,
}

impl Finding {
    pub(crate) fn error(id: &'static str, detail: impl Into<String>, remedy: &str) -> Self {
        Self {
            id,
            severity: Severity::Error,
            host: None,
            place: None,
            detail: detail.into(),
            remedy: remedy.to_owned(),
        }
    }

    pub(crate) fn warning(id: &'static str, detail: impl Into<String>, remedy: &str) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(id, detail, remedy)
        }
    }

    pub(crate) fn of_host(self, host: impl ToString) -> Self {
        Self {
            host: Some(host.to_string()),
            ..self
        }
    }

    pub(crate) fn at(self, place: impl Into<Option<Place>>) -> Self {
        Self {
            place: place.into(),
            ..self
        }
    }

    /// Removes the place, for a text that is not the input.
    pub(crate) fn without_place(self) -> Self {
        Self {
            place: None,
            ..self
        }
    }

    /// Returns the key by which findings are sorted: those without a place are the first.
    pub(crate) fn order(&self) -> (usize, usize) {
        self.place
            .map_or((0, 0), |place| (place.line, place.column))
    }

    fn severity_word(&self) -> &'static str {
        match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "severity": self.severity_word(),
            "host": self.host,
            "line": self.place.map(|place| place.line),
            "column": self.place.map(|place| place.column),
            "detail": self.detail,
            "remedy": self.remedy,
        })
    }

    /// Returns the place and the fact in one line, and the remedy below it.
    pub(crate) fn text(&self, file: &str) -> String {
        let style = match self.severity {
            Severity::Error => BAD,
            Severity::Warning => STRONG,
        };
        self.lines(file, &paint(style, self.severity_word()))
    }

    /// As [`text`](Self::text), without colours.
    pub(crate) fn plain_text(&self, file: &str) -> String {
        self.lines(file, self.severity_word())
    }

    fn lines(&self, file: &str, severity: &str) -> String {
        let place = self.place.map_or_else(String::new, |place| {
            format!(":{}:{}", place.line, place.column)
        });
        let (detail, id) = (printable(&self.detail), self.id);
        let remedy = wrapped(&format!("what to do: {}", printable(&self.remedy)));
        format!("{file}{place}: {severity}: {detail} [{id}]\n{remedy}")
    }
}
