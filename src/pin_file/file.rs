//! [`PinFile`], the contents of a pin file.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::pin_file::error::{PinFileError, PinFileProblem};
use crate::pin_file::{print, read};
use crate::policy::{
    Host, HostError, IntoStaticRules, Overlap, PinPolicy, PinSet, StaticRules, UnpinnedHosts,
    UnpinnedName, sealed,
};

/// The static pins of an application, read from JSON.
///
/// ```
/// use pinhold::Pinning;
/// use pinhold::pin_file::PinFile;
///
/// let pins = PinFile::parse(
///     r#"{
///         "version": 1,
///         "policies": [{
///             "hosts": ["api.example.com", "example.org"],
///             "scope": "host-and-subdomains",
///             "pins": [
///                 { "pin": "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=", "comment": "ISRG X1" },
///                 "sha256/hxqRlPTu1bMS/0DITB1SSu0vd4u/8l8TjPgfaAp63Gc="
///             ]
///         }]
///     }"#,
/// )?;
/// let pinning = Pinning::builder().pins(pins).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Format
///
/// A JSON object in UTF-8. Each object may have a member `"comment"` with any value. All other
/// members that are not listed here are refused, so that no misspelled rule is dropped in silence.
///
/// | member of the file | value | meaning |
/// |---|---|---|
/// | `version` | `1` | required |
/// | `policies` | list of policies, not empty | required |
/// | `overlap` | `nearest` (default), `union` | [`Overlap`] |
/// | `refused_keys` | list of pins | [`refuse_keys`](crate::PinningBuilder::refuse_keys) |
/// | `unpinned_hosts` | `allow` (default), `report`, `refuse` | [`UnpinnedHosts`] |
/// | `allow_unpinned` | list of hosts and IP addresses | [`allow_unpinned`](crate::PinningBuilder::allow_unpinned) |
/// | `$schema` | text | ignored; for editors |
///
/// | member of a policy | value | meaning |
/// |---|---|---|
/// | `hosts` | list of host names, not empty | required; each host gets the policy |
/// | `scope` | `host` (default), `one-label`, `subdomains`, `host-and-subdomains` | [`Scope`](crate::policy::Scope) |
/// | `exempt` | list of host names | [`PinPolicy::exempt`] |
/// | `pins`, `leaf_pins`, `ca_pins` | lists of pins | one group: any of these pins, see [`PinGroup`](crate::policy::PinGroup) |
/// | `all_of` | list of objects with `pins`, `leaf_pins`, `ca_pins` | in their place: groups that must all hold |
/// | `candidate` | object with `pins`, `leaf_pins`, `ca_pins` or `all_of` | [`PinPolicy::candidate`] |
/// | `without_backup` | `true`, `false` (default) | [`PinPolicy::without_backup`] |
/// | `enforcement` | `enforce` (default), `report-only` | [`Enforcement`](crate::Enforcement) |
/// | `expires` | `2027-06-30T23:59:59Z` | [`PinPolicy::expires`], with `after_expiry` |
/// | `after_expiry` | `refuse`, `report-only`, `unpin` | [`AfterExpiry`](crate::policy::AfterExpiry) |
/// | `report_uris` | list of URIs | [`PinPolicy::report_uri`] |
/// | `user_added_roots` | `enforce-pins`, `skip-pins` | [`UserAddedRoots`](crate::UserAddedRoots) |
/// | `plain_http` | `allow`, `refuse` | [`PlainHttp`](crate::policy::PlainHttp) |
///
/// A pin is a text in any spelling that [`SpkiFingerprint`](crate::SpkiFingerprint) parses, or an
/// object with the member `pin`, so that it can have a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinFile {
    pub(crate) rules: StaticRules,
}

impl PinFile {
    /// The JSON Schema (draft 2020-12) of the format. It accepts every pin file that can be read;
    /// what it can't express, such as a pin that is no SHA-256, is only found by
    /// [`parse`](Self::parse).
    pub const SCHEMA: &'static str = include_str!("schema.json");

    /// The largest file that [`open`](Self::open) reads, in bytes: 64 MiB, about 250,000 hosts.
    pub const MAX_SIZE: u64 = 64 << 20;

    /// Reads a pin file from its text. A byte order mark is ignored.
    ///
    /// # Errors
    ///
    /// A [`PinFileError`] with the line and the column of the first problem.
    pub fn parse(text: &str) -> Result<Self, PinFileError> {
        let rules = read::rules(text.strip_prefix('\u{feff}').unwrap_or(text))?;
        Ok(Self { rules })
    }

    /// Reads a pin file from the file system.
    ///
    /// # Errors
    ///
    /// As of [`parse`](Self::parse), and [`PinFileProblem::Io`] and [`PinFileProblem::TooLarge`].
    ///
    /// ```
    /// use pinhold::pin_file::{PinFile, PinFileProblem};
    ///
    /// let error = PinFile::open("no-such-file.json").unwrap_err();
    /// assert!(matches!(error.problem(), PinFileProblem::Io(_)));
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PinFileError> {
        let path = path.as_ref();
        let text = read_text(path);
        let text = text.map_err(|problem| PinFileError::new(problem, 0, 0).in_file(path))?;
        Self::parse(&text).map_err(|error| error.in_file(path))
    }

    /// Creates the contents of a pin file with these policies, to be printed.
    ///
    /// # Errors
    ///
    /// [`PinFileProblem::Host`], [`PinFileProblem::NoPolicies`] and
    /// [`PinFileProblem::DuplicateHost`].
    ///
    /// ```
    /// use pinhold::PinPolicy;
    /// use pinhold::pin_file::PinFile;
    ///
    /// let policy = PinPolicy::new([
    ///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
    ///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    /// ])?;
    /// let file = PinFile::new([("example.com", policy)])?;
    /// assert_eq!(PinFile::parse(&file.to_string())?, file);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new<H>(policies: impl IntoIterator<Item = (H, PinPolicy)>) -> Result<Self, PinFileError>
    where
        H: TryInto<Host, Error: Into<HostError>>,
    {
        let failed = |problem| PinFileError::new(problem, 0, 0);
        let rules = policies.into_rules();
        let rules = rules.map_err(|error| failed(PinFileProblem::Host(error)))?;
        read::ensure_distinct(&rules.policies).map_err(failed)?;
        Ok(Self { rules })
    }

    /// Sets which pins apply to a name that several policies cover.
    #[must_use]
    pub fn with_overlap(mut self, overlap: Overlap) -> Self {
        self.rules.settings.overlap = Some(overlap);
        self
    }

    /// Sets the refused keys.
    #[must_use]
    pub fn with_refused_keys(mut self, keys: PinSet) -> Self {
        self.rules.settings.refused_keys = Some(keys);
        self
    }

    /// Sets what happens at a connection to an unpinned host, and which names may be unpinned.
    #[must_use]
    pub fn with_unpinned_hosts(
        mut self,
        choice: UnpinnedHosts,
        allowed: impl IntoIterator<Item = UnpinnedName>,
    ) -> Self {
        self.rules.settings.unpinned_hosts = choice;
        self.rules.settings.allow_unpinned = allowed.into_iter().collect();
        self
    }

    /// Returns the hosts and their policies, in the order of the file.
    #[must_use]
    pub fn policies(&self) -> &[(Host, PinPolicy)] {
        &self.rules.policies
    }

    /// Returns which pins apply to a name that several policies cover; `None` if the file does not
    /// say.
    #[must_use]
    pub fn overlap(&self) -> Option<Overlap> {
        self.rules.settings.overlap
    }

    /// Returns the refused keys.
    #[must_use]
    pub fn refused_keys(&self) -> Option<&PinSet> {
        self.rules.settings.refused_keys.as_ref()
    }

    /// Returns what happens at a connection to an unpinned host.
    #[must_use]
    pub fn unpinned_hosts(&self) -> UnpinnedHosts {
        self.rules.settings.unpinned_hosts
    }

    /// Returns the names that may be unpinned.
    #[must_use]
    pub fn allow_unpinned(&self) -> &[UnpinnedName] {
        &self.rules.settings.allow_unpinned
    }
}

impl FromStr for PinFile {
    type Err = PinFileError;

    fn from_str(text: &str) -> Result<Self, PinFileError> {
        Self::parse(text)
    }
}

/// Prints the file as JSON that [`PinFile::parse`] reads back to an equal value, with a policy for
/// each host. Comments are not kept. Two values can't be read back: a pin that is a placeholder, made
/// by [`SpkiFingerprint::from_digest`](crate::SpkiFingerprint::from_digest), and an expiry beyond the
/// year 9999.
impl fmt::Display for PinFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print::rules(&self.rules))
    }
}

impl sealed::Sealed for PinFile {}

impl IntoStaticRules for PinFile {
    const HAS_SETTINGS: bool = true;

    fn into_rules(self) -> Result<StaticRules, HostError> {
        Ok(self.rules)
    }
}

fn read_text(path: &Path) -> Result<String, PinFileProblem> {
    let failed = |error| PinFileProblem::Io(Arc::new(error));
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    let mut limited = file.take(PinFile::MAX_SIZE + 1);
    limited.read_to_string(&mut text).map_err(failed)?;
    if limited.limit() == 0 {
        return Err(PinFileProblem::TooLarge);
    }
    Ok(text)
}
