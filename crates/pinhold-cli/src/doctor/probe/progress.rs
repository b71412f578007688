//! [`Progress`], how many hosts were connected to, in one line on the terminal.

use std::io::{self, IsTerminal, Write};

use crate::output::{Output, counted};

/// A line on standard error, which is rewritten in place and removed at the end.
pub(super) struct Progress<W: Write> {
    /// `None` if nothing is shown.
    terminal: Option<W>,
    total: usize,
    done: usize,
    /// The number of characters of the line.
    width: usize,
}

impl Progress<io::Stderr> {
    /// Shows the progress if standard error is a terminal, text is printed, and there are several hosts.
    pub(super) fn new(total: usize, output: Output) -> Self {
        let stderr = io::stderr();
        let is_shown = total > 1 && !output.is_json() && stderr.is_terminal();
        Self::on(is_shown.then_some(stderr), total)
    }
}

impl<W: Write> Progress<W> {
    fn on(terminal: Option<W>, total: usize) -> Self {
        let mut progress = Self {
            terminal,
            total,
            done: 0,
            width: 0,
        };
        progress.show();
        progress
    }

    /// Counts one more host.
    pub(super) fn advance(&mut self) {
        self.done += 1;
        self.show();
    }

    fn show(&mut self) {
        let text = format!("{} of {}", self.done, counted(self.total, "host", "hosts"));
        self.width = self.width.max(text.len());
        let width = self.width;
        self.write(&format!("\r{text:width$}"));
    }

    /// Spaces and carriage returns are understood by every terminal, escape sequences are not.
    fn write(&mut self, text: &str) {
        if let Some(terminal) = &mut self.terminal {
            // The command does not depend on this line.
            let _ = terminal.write_all(text.as_bytes());
            let _ = terminal.flush();
        }
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        self.write(&format!("\r{:1$}\r", "", self.width));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is left on a line after this was written to it.
    fn line(written: &[u8]) -> String {
        let mut line = Vec::new();
        let mut column = 0;
        for byte in written {
            if *byte == b'\r' {
                column = 0;
            } else {
                line.resize(line.len().max(column + 1), b' ');
                line[column] = *byte;
                column += 1;
            }
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    #[test]
    fn the_line_is_rewritten_and_removed() {
        let mut written = Vec::new();
        let mut progress = Progress::on(Some(&mut written), 200);
        for _ in 0..12 {
            progress.advance();
        }
        let shown = progress.terminal.as_deref().cloned().unwrap_or_default();
        assert_eq!(line(&shown), "12 of 200 hosts");
        drop(progress);
        assert_eq!(line(&written), "");
        assert!(!written.contains(&b'\n'));
    }

    #[test]
    fn nothing_is_written_without_a_terminal_and_with_json() {
        assert!(Progress::new(200, Output::new(true)).terminal.is_none());
        assert!(Progress::new(1, Output::new(false)).terminal.is_none());
    }
}
