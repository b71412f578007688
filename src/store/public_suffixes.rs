//! The public suffix list in the compact form that Debian installs: [`PublicSuffixes`].

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::policy::text::write_with_causes;
use crate::store::domains::FindSuffix;

/// A list of public suffixes, such as `com` and `co.uk`: the names under which anyone can register
/// a domain. With it a [`PinStore`](crate::PinStore) tells domains of different owners apart.
///
/// Read from the DAFSA that libpsl uses, which is the file [`PATH`](Self::PATH) of Debian's package
/// `publicsuffix`. `psl-make-dafsa` makes it from the list of <https://publicsuffix.org>. Only the
/// section of ICANN counts: suffixes that a company registers for its customers, such as
/// `github.io`, are domains of the company. The parent of a wildcard rule (`kobe.jp` for
/// `*.kobe.jp`) counts as a public suffix, too. Cheap to clone.
///
/// ```no_run
/// use pinhold::PinStore;
/// use pinhold::storage::PublicSuffixes;
///
/// let suffixes = PublicSuffixes::from_bytes(std::fs::read(PublicSuffixes::PATH)?)?;
/// assert_eq!(suffixes.public_suffix("www.example.co.uk"), "co.uk");
/// let store = PinStore::builder().public_suffixes(suffixes).in_memory();
/// # drop(store);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PublicSuffixes {
    /// The graph without its header.
    graph: Arc<[u8]>,
}

impl PublicSuffixes {
    /// Where Debian and its derivatives install the list.
    pub const PATH: &str = "/usr/share/publicsuffix/public_suffix_list.dafsa";

    /// The maximum length of a list: 1 MiB, twenty times that of Debian's.
    pub const MAX_LEN: usize = 1024 * 1024;

    /// Parses a list. The graph itself is read when a name is looked up; in one that is corrupt
    /// some names are not found. They then count as without a list, by their last two labels.
    ///
    /// # Errors
    ///
    /// [`PublicSuffixesError`] if the bytes do not begin as a DAFSA of libpsl does, or are too many.
    ///
    /// ```
    /// use pinhold::storage::{PublicSuffixes, PublicSuffixesError};
    ///
    /// let error = PublicSuffixes::from_bytes("// the list as text").unwrap_err();
    /// assert_eq!(error, PublicSuffixesError::NotADafsa);
    /// ```
    pub fn from_bytes(bytes: impl AsRef<[u8]>) -> Result<Self, PublicSuffixesError> {
        let bytes = bytes.as_ref();
        if bytes.len() > Self::MAX_LEN {
            return Err(PublicSuffixesError::TooLarge { len: bytes.len() });
        }
        match bytes.strip_prefix(HEADER) {
            Some(graph) if !graph.is_empty() => Ok(Self {
                graph: graph.into(),
            }),
            _ => Err(PublicSuffixesError::NotADafsa),
        }
    }

    /// Returns the public suffix of a name in canonical form (A-labels in lower case, no trailing
    /// dot): the name itself, or the labels at its end. Where no rule applies it is the last label.
    #[must_use]
    pub fn public_suffix<'a>(&self, name: &'a str) -> &'a str {
        let (mut longer, mut current) = (None, name);
        loop {
            let parent = current.split_once('.').map(|(_, parent)| parent);
            match self.flags(current) {
                Some(flags) if flags & ICANN == 0 => {}
                Some(flags) if flags & EXCEPTION != 0 => return parent.unwrap_or(current),
                Some(flags) if flags & WILDCARD != 0 => return longer.unwrap_or(current),
                Some(_) => return current,
                None => {}
            }
            let Some(parent) = parent else {
                return current;
            };
            (longer, current) = (Some(current), parent);
        }
    }

    /// Returns the flags of the rule with exactly this name.
    fn flags(&self, name: &str) -> Option<u8> {
        let mut key = name.as_bytes();
        // The children of the current node, from here on.
        let mut children = Children {
            rest: &self.graph,
            at: 0,
        };
        while let Some(child) = children.next(&self.graph) {
            let mut label = self.graph.get(child..)?;
            let mut has_matched = false;
            // A label is a sequence of characters. The last one has its high bit set, or is a value.
            while let [first, rest @ ..] = label
                && first & LAST == 0
                && let [wanted, key_rest @ ..] = key
            {
                if first != wanted {
                    break;
                }
                (label, key, has_matched) = (rest, key_rest, true);
            }
            let [last, rest @ ..] = label else {
                return None;
            };
            match key {
                [] if last & VALUE_BITS == VALUE => return Some(last & FLAGS),
                [wanted, key_rest @ ..] if *last == wanted | LAST => {
                    key = key_rest;
                    children = Children {
                        rest,
                        at: self.graph.len() - rest.len(),
                    };
                }
                // No other child begins with the same character.
                _ if has_matched => return None,
                _ => {}
            }
        }
        None
    }
}

impl FindSuffix for PublicSuffixes {
    fn public_suffix<'a>(&self, name: &'a str) -> &'a str {
        Self::public_suffix(self, name)
    }
}

impl fmt::Debug for PublicSuffixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicSuffixes")
            .field("bytes", &self.graph.len())
            .finish()
    }
}

/// The offsets of the children of a node. Each is relative to the one before it, and the first one
/// to the position of the list.
struct Children<'a> {
    rest: &'a [u8],
    at: usize,
}

impl Children<'_> {
    /// Returns the position of the next child.
    fn next(&mut self, graph: &[u8]) -> Option<usize> {
        let [first, after @ ..] = self.rest else {
            return None;
        };
        let bytes = match first & 0x60 {
            0x60 => [first & 0x1f, *after.first()?, *after.get(1)?],
            0x40 => [0, first & 0x1f, *after.first()?],
            _ => [0, 0, first & 0x3f],
        };
        let used = match first & 0x60 {
            0x60 => 2,
            0x40 => 1,
            _ => 0,
        };
        let [high, middle, low] = bytes;
        let offset = u32::from_be_bytes([0, high, middle, low]);
        self.at = self.at.checked_add(usize::try_from(offset).ok()?)?;
        self.rest = if first & LAST == 0 {
            after.get(used..)?
        } else {
            &[]
        };
        (self.at < graph.len()).then_some(self.at)
    }
}

/// Why bytes are not a list of public suffixes.
///
/// ```
/// use pinhold::storage::PublicSuffixes;
///
/// let error = PublicSuffixes::from_bytes("").unwrap_err();
/// assert!(error.to_string().starts_with("not a list of public suffixes"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicSuffixesError {
    /// The bytes do not begin with the header of a DAFSA, or nothing follows it.
    NotADafsa,
    /// There are more bytes than [`PublicSuffixes::MAX_LEN`].
    TooLarge {
        /// The number of bytes.
        len: usize,
    },
}

impl fmt::Display for PublicSuffixesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADafsa => write!(
                f,
                "not a list of public suffixes in the form of libpsl, expected a file such as {}",
                PublicSuffixes::PATH
            ),
            Self::TooLarge { len } => write!(
                f,
                "the list of public suffixes has {len} bytes, expected at most {}",
                PublicSuffixes::MAX_LEN
            ),
        }
    }
}

impl fmt::Debug for PublicSuffixesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for PublicSuffixesError {}

/// The first line of a DAFSA of version 0.
const HEADER: &[u8] = b".DAFSA@PSL_0   \n";
/// The bit of the last offset of a list, and of the last character of a label.
const LAST: u8 = 0x80;
/// The bits that distinguish a value from a last character, and those of a value.
const VALUE_BITS: u8 = 0xe0;
const VALUE: u8 = 0x80;
const FLAGS: u8 = 0x0f;
/// Flags of a rule: `!NAME`, `*.NAME`, and a rule of the section of ICANN.
const EXCEPTION: u8 = 1;
const WILDCARD: u8 = 2;
const ICANN: u8 = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Rules by name, and their flags.
    type Rules = BTreeMap<String, u8>;

    /// Encodes the rules whose rest after `prefix` is not read yet, with one character in each
    /// label.
    fn encode(rules: &Rules, prefix: &str) -> Vec<u8> {
        let rest = rules.keys().filter_map(|name| name.strip_prefix(prefix));
        let mut next = rest.map(|rest| rest.chars().next()).collect::<Vec<_>>();
        next.dedup();
        let children = next.iter().map(|char| match char {
            None => vec![VALUE | rules[prefix]],
            Some(char) => {
                let below = encode(rules, &format!("{prefix}{char}"));
                [vec![u8::try_from(*char).unwrap() | LAST], below].concat()
            }
        });
        let (mut offsets, mut bodies, mut before) = (Vec::new(), Vec::new(), 0);
        for (number, child) in (1..).zip(children) {
            let at = 3 * next.len() + bodies.len();
            let [.., high, middle, low] = u32::try_from(at - before).unwrap().to_be_bytes();
            let last = if number == next.len() { LAST } else { 0 };
            offsets.extend([0x60 | last | high, middle, low]);
            bodies.extend(child);
            before = at;
        }
        [offsets, bodies].concat()
    }

    fn list(rules: &Rules) -> PublicSuffixes {
        PublicSuffixes::from_bytes([HEADER, &encode(rules, "")].concat()).unwrap()
    }

    /// The algorithm of publicsuffix.org, on the rules of the section of ICANN.
    fn expected(rules: &Rules, name: &str) -> String {
        let labels = name.split('.').collect::<Vec<_>>();
        let of_len = |len: usize| labels[labels.len() - len..].join(".");
        let flags = |len: usize| {
            let flags = rules.get(&of_len(len)).filter(|flags| **flags & ICANN != 0);
            flags.copied()
        };
        let mut longest = 1;
        for len in 1..=labels.len() {
            match flags(len) {
                Some(flags) if flags & EXCEPTION != 0 => return of_len(len.max(2) - 1),
                Some(flags) if flags & WILDCARD != 0 => longest = (len + 1).min(labels.len()),
                Some(_) => longest = longest.max(len),
                None => {}
            }
        }
        of_len(longest)
    }

    #[test]
    fn a_rule_of_icann_applies_with_its_exceptions_and_wildcards() {
        let rules = [
            ("com", ICANN),
            ("uk", ICANN),
            ("co.uk", ICANN),
            ("ck", ICANN | WILDCARD),
            ("www.ck", ICANN | EXCEPTION),
            ("github.io", 8),
        ];
        let rules = rules.map(|(name, flags)| (name.to_owned(), flags));
        let list = list(&rules.into());
        for (name, suffix) in [
            ("example.com", "com"),
            ("a.evil.co.uk", "co.uk"),
            ("co.uk", "co.uk"),
            ("a.b.ck", "b.ck"),
            ("b.ck", "b.ck"),
            ("ck", "ck"),
            ("a.www.ck", "ck"),
            ("a.github.io", "io"),
            ("example.test", "test"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(list.public_suffix(name), suffix, "{name}");
        }
    }

    #[test]
    fn bytes_of_another_kind_and_too_many_bytes_are_errors() {
        let not_a_dafsa = Err(PublicSuffixesError::NotADafsa);
        for bytes in [&b""[..], HEADER, b".DAFSA@PSL_1   \n@", b"com\nco.uk\n"] {
            assert_eq!(PublicSuffixes::from_bytes(bytes).map(|_| ()), not_a_dafsa);
        }
        let len = PublicSuffixes::MAX_LEN + 1;
        let too_large = PublicSuffixes::from_bytes(vec![0; len]).unwrap_err();
        assert_eq!(too_large, PublicSuffixesError::TooLarge { len });
    }

    fn rules() -> impl Strategy<Value = Rules> {
        let name = "[ab]{1,2}(\\.[ab]{1,2}){0,2}";
        let flags = proptest::sample::select(vec![4_u8, 4, 5, 6, 8, 10, 12]);
        proptest::collection::btree_map(name, flags, 0..20)
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_the_algorithm_finds(
            rules in rules(),
            name in "[ab]{1,2}(\\.[ab]{1,2}){0,4}",
        ) {
            // No real list has a rule below a wildcard or an exception, or a label as exception.
            let is_real = |(name, flags): &(String, u8)| {
                let is_above = |(above, flags): (&String, &u8)| {
                    flags & (WILDCARD | EXCEPTION) != 0 && name.ends_with(&format!(".{above}"))
                };
                let is_label = !name.contains('.');
                !rules.iter().any(is_above) && (flags & EXCEPTION == 0 || !is_label)
            };
            let rules = rules.clone().into_iter().filter(is_real).collect::<Rules>();
            prop_assume!(!rules.is_empty());
            prop_assert_eq!(list(&rules).public_suffix(&name), expected(&rules, &name));
        }

        #[test]
        fn arbitrary_bytes_yield_a_suffix_and_cause_no_panic(
            graph in proptest::collection::vec(any::<u8>(), 1..300),
            name in "[a-z0-9-]{1,5}(\\.[a-z0-9-]{1,5}){0,4}",
        ) {
            let list = PublicSuffixes::from_bytes([HEADER, &graph].concat()).unwrap();
            let suffix = list.public_suffix(&name);
            let is_label = name == suffix || name.ends_with(&format!(".{suffix}"));
            prop_assert!(is_label && !suffix.is_empty());
        }

        #[test]
        fn a_corrupt_list_yields_a_suffix_and_causes_no_panic(
            rules in rules(),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
            name in "[ab]{1,2}(\\.[ab]{1,2}){0,4}",
        ) {
            let mut graph = encode(&rules, "");
            prop_assume!(!graph.is_empty());
            let at = at.index(graph.len());
            graph[at] = byte;
            let list = PublicSuffixes::from_bytes([HEADER, &graph].concat()).unwrap();
            prop_assert!(name.ends_with(list.public_suffix(&name)));
        }
    }
}
