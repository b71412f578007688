//! Colours of text. Output that is not a terminal, and `NO_COLOR`, remove them when it is written.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// What needs attention, such as an error or an expired entry.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is recommended.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What the reader looks for.
pub(crate) const STRONG: Style = Style::new().bold();

/// Returns the text in this style.
pub(crate) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}
