//! Files that commands create: none is overwritten unless that was requested, and none is left half
//! written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The users of the system that may read a new file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    All,
    /// On Unix; elsewhere the folder decides.
    Owner,
}

/// A file that did not exist before. It is removed on drop unless it is kept.
pub(crate) struct NewFile<'a> {
    path: &'a Path,
    file: File,
    is_kept: bool,
}

impl<'a> NewFile<'a> {
    /// Creates a file. `expected` is what the error says about one that exists.
    pub(crate) fn create(
        path: &'a Path,
        readers: Readers,
        expected: &str,
    ) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if readers == Readers::Owner {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        #[cfg(not(unix))]
        let _ = readers;
        let file = options.open(path).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                let path = path.display().to_string();
                Failure::input(&path, format!("the file exists, expected {expected}"))
            } else {
                failed(path, &error)
            }
        })?;
        Ok(Self {
            path,
            file,
            is_kept: false,
        })
    }

    /// Writes the contents, and waits until the disk has them.
    pub(crate) fn write(&mut self, contents: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(contents);
        let written = written.and_then(|()| self.file.sync_all());
        written.map_err(|error| failed(self.path, &error))
    }

    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            // The failure that is reported names the reason.
            let _ = fs::remove_file(self.path);
        }
    }
}

/// Replaces a file, or creates it. At every moment the path has the old contents or the new ones.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary: PathBuf = path.with_file_name(name);
    let mut file = NewFile::create(&temporary, Readers::All, "no file of that name")?;
    file.write(contents)?;
    fs::rename(&temporary, path).map_err(|error| failed(path, &error))?;
    file.keep();
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Internal {
        subject: "new file",
        error: io::Error::other(format!("{}: {error}", path.display())),
    }
}
