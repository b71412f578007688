//! Errors of store files: their text, with the command that helps, and their kind in JSON.

use pinhold::storage::{Corruption, StorageError};

use crate::output::{counted, wrapped};
use crate::refusal::shell_word;

/// Returns what failed and what to do.
pub(crate) fn text(error: &StorageError) -> String {
    match error {
        StorageError::Corrupt { file, .. } if is_other_file(error) => format!(
            "{}: not a pinhold store file\n{}\n{}",
            file.display(),
            wrapped("seen: the first line is not a header, and no line is an entry"),
            wrapped(
                "what to do: pass a store file, or a new name for get to create one. This file is \
                 left unchanged"
            )
        ),
        StorageError::Corrupt {
            file,
            corruption,
            readable,
            moved_to: None,
        } => format!(
            "{}: {corruption}; {} can be recovered\n  what to do: pinhold store recover --file={}",
            file.display(),
            counted(*readable, "entry", "entries"),
            shell_word(file)
        ),
        StorageError::Slow { waited } => format!(
            "the noted pins were not stored within {} s and may be lost\n  what to do: check the \
             disk, or allow more time by --timeout SECONDS",
            waited.as_secs()
        ),
        StorageError::TooLarge { file, limit } => format!(
            "{}: too many entries for a file, which has {} MiB at most\n  what to do: remove some \
             by pinhold store forget",
            file.display(),
            limit >> 20
        ),
        other => other.to_string(),
    }
}

/// Returns the kind of the error in JSON.
pub(crate) fn reason(error: &StorageError) -> &'static str {
    match error {
        StorageError::Corrupt { .. } if is_other_file(error) => "not-a-store",
        StorageError::Corrupt { .. } => "corrupt",
        StorageError::Io { .. } => "io",
        StorageError::Locked { .. } => "locked",
        StorageError::UnknownVersion { .. } => "unknown-version",
        StorageError::Unreadable { .. } => "unreadable",
        StorageError::NotAFile { .. } => "not-a-file",
        StorageError::Slow { .. } => "slow",
        StorageError::TooLarge { .. } => "too-large",
        _ => "other",
    }
}

/// Returns whether the file is of another kind than a store. A file that is empty, or whose header
/// is corrupt and that still has entries, is a store.
pub(crate) fn is_other_file(error: &StorageError) -> bool {
    match error {
        StorageError::Corrupt {
            corruption,
            readable,
            ..
        } => match corruption {
            Corruption::NotAStoreFile => true,
            // A store of this length would have entries.
            Corruption::Oversized { .. } => *readable == 0,
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_a_file_that_is_too_large_is_said_to_be() {
        let too_large = StorageError::TooLarge {
            file: "noted".into(),
            limit: 1 << 30,
        };
        assert!(text(&too_large).contains("1024 MiB"));
        assert_eq!(reason(&too_large), "too-large");
        let io = StorageError::Io {
            path: "noted".into(),
            error: Arc::new(io::Error::other("quota")),
        };
        assert!(text(&io).contains("quota"), "{}", text(&io));
        assert_eq!(reason(&io), "io");
    }
}
