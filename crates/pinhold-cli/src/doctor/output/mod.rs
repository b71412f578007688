//! The report as a table, JSON, SARIF, JUnit XML and HTML.

#[cfg(test)]
mod fixture;
mod json;
mod junit;
mod page;
mod sarif;
mod summary;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Args, ValueHint};

use crate::doctor::forecast::Report;
use crate::failure::Failure;
use crate::new_file;
use crate::output::Output;

#[derive(Args, Default)]
pub(super) struct Files {
    /// Write the findings to this file in SARIF 2.1.0, for code scanning
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    sarif: Option<PathBuf>,
    /// Write the findings to this file in JUnit XML, one test case for each host
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    junit: Option<PathBuf>,
    /// Write a page with a timeline of each host to this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    html: Option<PathBuf>,
}

impl Files {
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.sarif, &self.junit, &self.html].into_iter().flatten()
    }

    /// Refuses to replace one of these files, which are read, or to write two results to one file.
    pub(super) fn refuse_overwriting<'p>(
        &self,
        inputs: impl IntoIterator<Item = &'p PathBuf>,
    ) -> Result<(), Failure> {
        let known_files = inputs.into_iter().map(|path| resolved(path));
        let mut known_files = known_files.collect::<Vec<_>>();
        for path in self.paths() {
            let file = resolved(path);
            if known_files.contains(&file) {
                let reason = "is an input or another result, too; expected a path of its own";
                return Err(Failure::input(&path.display().to_string(), reason));
            }
            known_files.push(file);
        }
        Ok(())
    }
}

/// Writes the report to the files, which replace those of earlier runs, and prints it.
pub(super) fn write(report: &Report, files: &Files, output: Output) -> Result<(), Failure> {
    write_files(report, files)?;
    output.print(&json::report(report), &table::report(report))
}

fn write_files(report: &Report, files: &Files) -> Result<(), Failure> {
    if let Some(path) = &files.sarif {
        replace(path, &sarif::log(report))?;
    }
    if let Some(path) = &files.junit {
        replace(path, &junit::document(report)?)?;
    }
    if let Some(path) = &files.html {
        replace(path, &page::html(report))?;
    }
    Ok(())
}

/// Replaces a file as a whole. A pipe or a device such as `/dev/stdout` is written to.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    if fs::metadata(path).is_ok_and(|it| !it.is_file()) {
        return fs::write(path, text).map_err(|error| Failure::Internal {
            subject: "result file",
            error: io::Error::other(format!("{}: {error}", path.display())),
        });
    }
    new_file::replace(&resolved(path), text.as_bytes())
}

/// Returns the path without links, so that not the link is replaced, but what it leads to.
fn resolved(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
