//! [`ChromeRoots`], the facts of a `root_store.textproto` of Chromium.

use std::collections::BTreeMap;

/// The Chrome Root Store.
pub(crate) struct ChromeRoots {
    pub(crate) version: u64,
    /// The anchors by the SHA-256 of their certificates, in hexadecimal.
    pub(crate) anchors: BTreeMap<String, Anchor>,
}

/// An anchor of Chrome.
#[derive(Clone, Default)]
pub(crate) struct Anchor {
    /// Whether it is in the list of roots; the others are intermediates and certificates of other
    /// kinds.
    pub(crate) is_root: bool,
    /// Chrome accepts no certificate below it whose SCTs are later, in seconds since 1970.
    pub(crate) sct_not_after: Option<u64>,
}

/// The constraints that apply together. Those of one anchor are alternatives.
#[derive(Default)]
struct Constraints {
    sct_not_after: Option<u64>,
    /// Whether only versions before some version of Chrome apply them.
    is_past: bool,
}

/// Parses the file. The form of its text is that of Chromium's: one field a line.
pub(crate) fn parse(file: &str) -> Result<ChromeRoots, String> {
    let mut version = None;
    let mut anchors = BTreeMap::new();
    let mut anchor = Entry::default();
    let mut constraints = None;
    for (index, line) in file.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let error = |expected| format!("line {}: expected {expected}", index + 1);
        let (name, value) = line.split_once([':', ' ']).unwrap_or((line, ""));
        let value = value.trim().trim_matches('"');
        let number = || value.parse::<u64>().map_err(|_| error("a number"));
        match name {
            "version_major" => version = Some(number()?),
            "trust_anchors" => anchor = Entry::new(true),
            "additional_certs" => anchor = Entry::new(false),
            "constraints" => constraints = Some(Constraints::default()),
            "sha256_hex" => value.clone_into(&mut anchor.sha256),
            "sct_not_after_sec" => {
                let constraints = constraints.as_mut().ok_or_else(|| error("`constraints`"))?;
                constraints.sct_not_after = Some(number()?);
            }
            "max_version_exclusive" => {
                let constraints = constraints.as_mut().ok_or_else(|| error("`constraints`"))?;
                constraints.is_past = true;
            }
            "}" => match constraints.take() {
                Some(constraints) => anchor.alternatives.push(constraints),
                None => {
                    let (sha256, read) = std::mem::take(&mut anchor).finish();
                    if sha256.len() != 64 || anchors.insert(sha256, read).is_some() {
                        return Err(error("one `sha256_hex` in front of it"));
                    }
                }
            },
            _ => {}
        }
    }
    let version = version.ok_or("expected `version_major`")?;
    Ok(ChromeRoots { version, anchors })
}

#[derive(Default)]
struct Entry {
    is_root: bool,
    sha256: String,
    alternatives: Vec<Constraints>,
}

impl Entry {
    fn new(is_root: bool) -> Self {
        Self {
            is_root,
            ..Self::default()
        }
    }

    /// The alternatives of past versions do not count. If several are left, the latest time holds,
    /// or none if one of them has no limit.
    fn finish(self) -> (String, Anchor) {
        let present = self.alternatives.iter().filter(|it| !it.is_past);
        let times = present
            .map(|it| it.sct_not_after)
            .collect::<Option<Vec<_>>>();
        let anchor = Anchor {
            is_root: self.is_root,
            sct_not_after: times.and_then(|times| times.into_iter().max()),
        };
        (self.sha256.to_ascii_lowercase(), anchor)
    }
}
