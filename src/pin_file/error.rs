//! [`PinFileError`], why a pin file can't be read.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::pin_file::words::Words;
use crate::policy::text::write_with_causes;
use crate::policy::{Host, HostError, ParseFingerprintError, PolicyError, ReportUriError, Scope};

/// Why a pin file can't be read, and where.
///
/// `Display` and `Debug` print the file, the line and the column, what was found, and what was
/// expected.
///
/// ```
/// use pinhold::pin_file::{PinFile, PinFileProblem};
///
/// let error = PinFile::parse("{\n  \"version\": 1,\n  \"pin\": []\n}").unwrap_err();
/// assert!(matches!(error.problem(), PinFileProblem::UnknownMember { name, .. } if name == "pin"));
/// assert_eq!((error.line(), error.column()), (3, 7));
/// ```
#[derive(Clone)]
pub struct PinFileError {
    problem: PinFileProblem,
    line: usize,
    column: usize,
    file: Option<PathBuf>,
}

impl PinFileError {
    pub(crate) fn new(problem: PinFileProblem, line: usize, column: usize) -> Self {
        Self {
            problem,
            line,
            column,
            file: None,
        }
    }

    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        self.file = Some(path.to_owned());
        self
    }

    /// Returns what is wrong.
    #[must_use]
    pub fn problem(&self) -> &PinFileProblem {
        &self.problem
    }

    /// Returns the line in which the problem was found, from 1; 0 if the file could not be read.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns the column in which the wrong name or value ends, in bytes from 1; 0 if the file could
    /// not be read.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }

    /// Returns the file, if it was given by its path.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// What is wrong with a pin file.
///
/// ```
/// use pinhold::pin_file::{PinFile, PinFileProblem};
///
/// let error = PinFile::parse(r#"{ "version": 2 }"#).unwrap_err();
/// assert!(matches!(error.problem(), PinFileProblem::Version { found: 2 }));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PinFileProblem {
    /// Two members of an object exclude each other, such as `pins` and `all_of`.
    ConflictingMembers {
        /// One of the members.
        one: &'static str,
        /// The other one.
        other: &'static str,
    },
    /// A host has two policies with the same scope.
    DuplicateHost {
        /// The host.
        host: Host,
        /// The scope.
        scope: Scope,
    },
    /// An object has a member twice.
    DuplicateMember {
        /// The name of the member.
        name: &'static str,
    },
    /// A name is not a host.
    Host(HostError),
    /// The file can't be read.
    Io(Arc<io::Error>),
    /// The text is not JSON, or a value has another type than its member expects.
    Json {
        /// What the JSON parser states.
        message: String,
    },
    /// An object lacks a member.
    MissingMember {
        /// The name of the member.
        name: &'static str,
        /// The kind of the object.
        of: &'static str,
    },
    /// The list of policies is empty: all pins would be removed.
    NoPolicies,
    /// A pin or a refused key can't be parsed.
    Pin(ParseFingerprintError),
    /// A policy lacks pins or a backup pin.
    Policy(PolicyError),
    /// An endpoint for reports is not a URI.
    ReportUri(ReportUriError),
    /// A time is not RFC 3339 text in UTC with whole seconds.
    Time {
        /// The text.
        text: String,
    },
    /// The file is larger than [`PinFile::MAX_SIZE`](crate::pin_file::PinFile::MAX_SIZE).
    TooLarge,
    /// An object has a member that this version of the format does not define.
    UnknownMember {
        /// The name of the member.
        name: String,
        /// The kind of the object.
        of: &'static str,
        /// The names that the object may have.
        expected: &'static [&'static str],
    },
    /// A member has a text that it does not define.
    UnknownValue {
        /// The name of the member.
        member: &'static str,
        /// The text.
        value: String,
        /// The texts that are defined.
        expected: &'static [&'static str],
    },
    /// The file has another version of the format than this code reads.
    Version {
        /// The version of the file.
        found: u64,
    },
}

impl fmt::Display for PinFileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConflictingMembers { one, other } => {
                write!(f, "both `{one}` and `{other}`, expected one of them")
            }
            Self::DuplicateHost { host, scope } => write!(
                f,
                "a second policy of {host} with the scope `{}`, expected one with all its pins",
                scope.word()
            ),
            Self::DuplicateMember { name } => write!(f, "`{name}` twice, expected it once"),
            Self::Host(error) => error.fmt(f),
            Self::Io(error) => write!(f, "can't be read: {error}"),
            Self::Json { message } => write!(f, "{message}"),
            Self::MissingMember { name, of } => write!(f, "the {of} lacks the member `{name}`"),
            Self::NoPolicies => f.write_str(
                "`policies` is empty, expected at least one policy: all pins would be removed",
            ),
            Self::Pin(error) => error.fmt(f),
            Self::Policy(PolicyError::NoBackup) => f.write_str(
                "fewer than 2 distinct pins and so no backup, expected 2 pins in each group, or \
                 `\"without_backup\": true`",
            ),
            Self::Policy(error) => error.fmt(f),
            Self::ReportUri(error) => error.fmt(f),
            Self::Time { text } => write!(
                f,
                "the time {text:?} is not in the form 2027-06-30T23:59:59Z (UTC)"
            ),
            Self::TooLarge => f.write_str("larger than 64 MiB, the limit of a pin file"),
            Self::UnknownMember { name, of, expected } => write!(
                f,
                "the {of} has the unknown member {name:?}, expected one of: {}",
                expected.join(", ")
            ),
            Self::UnknownValue {
                member,
                value,
                expected,
            } => write!(
                f,
                "`{member}` is {value:?}, expected one of: {}",
                expected.join(", ")
            ),
            Self::Version { found } => write!(
                f,
                "version {found} of the format, expected 1; a newer version of pinhold may read it"
            ),
        }
    }
}

impl fmt::Display for PinFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "pin file {}", file.display())?,
            None => f.write_str("pin file")?,
        }
        if self.line > 0 {
            write!(f, ", line {}, column {}", self.line, self.column)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl fmt::Debug for PinFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for PinFileError {}
