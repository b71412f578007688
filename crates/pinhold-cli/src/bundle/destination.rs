//! The options `--output` and `--force`, and the writing of results.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::new_file::{self, NewFile, Readers};
use crate::output::Output;

#[derive(Args)]
pub(super) struct Destination {
    /// File to create; `-` is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// A text that a command has made, and what is to be known about it.
pub(super) struct Made {
    pub(super) text: String,
    /// An object; `file` and `output` are added.
    pub(super) facts: Value,
    pub(super) summary: String,
}

impl Destination {
    /// Returns the name of the file in commands that messages recommend.
    pub(super) fn name_or<'a>(&'a self, otherwise: &'a str) -> &'a Path {
        if self.is_standard_output() {
            Path::new(otherwise)
        } else {
            &self.output
        }
    }

    fn is_standard_output(&self) -> bool {
        self.output == Path::new("-")
    }

    /// Writes a text. Without a file, the summary goes to standard error.
    pub(super) fn write(&self, made: Made, output: Output) -> Result<(), Failure> {
        let Made {
            text,
            mut facts,
            summary,
        } = made;
        let is_standard_output = self.is_standard_output();
        let path = self.output.display().to_string();
        if let Value::Object(members) = &mut facts {
            let file = (!is_standard_output).then_some(&path);
            members.insert("file".to_owned(), json!(file));
            let printed = is_standard_output.then_some(&text);
            members.insert("output".to_owned(), json!(printed));
        }
        if !is_standard_output {
            self.write_file(&text)?;
            return output.print(&facts, &format!("{path}: {summary}"));
        }
        if output.is_json() {
            return output.print(&facts, &"");
        }
        output.write(text.as_bytes())?;
        output.message(&summary);
        Ok(())
    }

    fn write_file(&self, text: &str) -> Result<(), Failure> {
        if self.force {
            return new_file::replace(&self.output, text.as_bytes());
        }
        let expected = "a new one, or --force to replace it";
        let mut file = NewFile::create(&self.output, Readers::All, expected)?;
        file.write(text.as_bytes())?;
        file.keep();
        Ok(())
    }
}
