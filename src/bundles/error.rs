//! Why a note, a root or a bundle is refused: [`NoteError`], [`RootError`] and [`BundleError`].

use std::error::Error;
use std::fmt;

use rustls_pki_types::UnixTime;

use crate::pin_file::PinFileError;
use crate::policy::text::{hex, write_with_causes};
use crate::policy::timestamp::print_capped;
use crate::policy::{BundleVersion, Host};
use crate::store::StorageError;

/// Why a text is not a signed note.
///
/// ```
/// use pinhold::bundle::{NoteError, SignedNote};
///
/// // What a captive portal returns in place of a bundle:
/// let error = SignedNote::parse("<html>Please log in</html>");
/// assert_eq!(error, Err(NoteError::NoSignatures));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteError {
    /// The text has a control character other than the line feed.
    ControlCharacter {
        /// Its position, in bytes from 0.
        offset: usize,
    },
    /// No signature follows the last empty line, or there is no empty line.
    NoSignatures,
    /// A line after the last empty line is not a signature.
    SignatureLine {
        /// The number of the line among those of signatures, from 1.
        number: usize,
    },
    /// There are more signatures than
    /// [`MAX_SIGNATURES`](crate::bundle::SignedNote::MAX_SIGNATURES).
    TooManySignatures,
    /// The bytes are not UTF-8.
    Utf8,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlCharacter { offset } => {
                write!(f, "not a signed note: byte {offset} is a control character")
            }
            Self::NoSignatures => f.write_str(
                "not a signed note: no line with a signature follows an empty line at its end",
            ),
            Self::SignatureLine { number } => write!(
                f,
                "not a signed note: line {number} after the last empty line is not a signature, \
                 expected \"\u{2014} NAME BASE64\""
            ),
            Self::TooManySignatures => f.write_str("more than 64 signatures"),
            Self::Utf8 => f.write_str("not a signed note: not UTF-8"),
        }
    }
}

impl fmt::Debug for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for NoteError {}

/// Why a root of trust for pins, or a key of it, is refused.
///
/// ```
/// use pinhold::bundle::{RootError, VerifierKey};
///
/// let error = "example.com/foo".parse::<VerifierKey>();
/// assert!(matches!(error, Err(RootError::Key { .. })));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum RootError {
    /// A signature with the name and ID of a key of the root is wrong.
    BadSignature {
        /// The name of the key.
        name: String,
    },
    /// The text of the root can't be read.
    Body(PinFileError),
    /// The root has a member that must be understood and that this version does not know.
    Critical {
        /// The name of the member.
        member: String,
    },
    /// The text is not an Ed25519 verifier key, or its key ID is that of another key.
    Key {
        /// The text.
        text: String,
    },
    /// The text can't be the name of a key: it is empty, or has a space, a plus or a control
    /// character.
    KeyName {
        /// The text.
        name: String,
    },
    /// The text is not a signed note.
    Note(NoteError),
    /// Fewer keys have signed the root than its threshold, or that of its predecessor, demands.
    Signatures {
        /// The version of the root whose threshold is not reached.
        by: u64,
        /// The number of distinct keys of that root with a valid signature.
        valid: usize,
        /// The number of keys that must sign.
        threshold: usize,
    },
    /// The threshold is zero, or larger than the number of distinct Ed25519 keys.
    Threshold {
        /// The threshold.
        threshold: u64,
        /// The number of distinct Ed25519 keys.
        keys: usize,
    },
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSignature { name } => write!(f, "the signature of {name:?} is wrong"),
            Self::Body(error) => write_body(f, error),
            Self::Critical { member } => write_critical(f, member),
            Self::Key { text } => write!(
                f,
                "{text:?} is not an Ed25519 verifier key, expected NAME+KEYID+BASE64 with the ID of \
                 this name and key"
            ),
            Self::KeyName { name } => write!(
                f,
                "{name:?} can't be the name of a key, expected text without spaces and plus signs, \
                 such as example.com/pins/1"
            ),
            Self::Note(error) => error.fmt(f),
            Self::Signatures {
                by,
                valid,
                threshold,
            } => write!(
                f,
                "distinct keys of root {by} that have signed it: {valid}, expected at least {threshold}"
            ),
            Self::Threshold { threshold, keys } => write!(
                f,
                "the threshold is {threshold}, expected 1 to {keys}, the number of distinct Ed25519 \
                 keys"
            ),
        }
    }
}

impl fmt::Debug for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for RootError {}

/// Why a bundle is refused. The last good one then stays in effect.
///
/// ```
/// use pinhold::Pinning;
/// use pinhold::bundle::BundleError;
///
/// let pinning = Pinning::builder().build()?;
/// let error = pinning.apply_bundle(b"").unwrap_err();
/// assert!(matches!(error, BundleError::NotSetUp));
/// # Ok::<(), pinhold::BuildError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum BundleError {
    /// A signature with the name and ID of a key of the root is wrong.
    BadSignature {
        /// The name of the key.
        name: String,
    },
    /// The text of the bundle can't be read.
    Body(PinFileError),
    /// The bundle has a member that must be understood and that this version does not know.
    Critical {
        /// The name of the member.
        member: String,
    },
    /// Another bundle with this version was accepted before: the keys have signed two.
    Equivocation {
        /// The version of both.
        version: BundleVersion,
        /// The SHA-256 digest of the text that was accepted before.
        known: [u8; 32],
        /// The SHA-256 digest of the refused text.
        refused: [u8; 32],
    },
    /// A name is exempt from a policy that does not cover it, or has the same pins anyway.
    Exemption {
        /// The host of the policy.
        host: Host,
        /// The exempt name.
        exempt: Host,
    },
    /// The bundle expires before it was issued.
    Expiry {
        /// When it was issued.
        issued: UnixTime,
        /// When it expires.
        expires: UnixTime,
    },
    /// An intermediate certificate is not base64 of at most 4 KiB, or there are more than 16.
    Intermediate {
        /// Its position, from 0.
        index: usize,
    },
    /// The kill switch is on for longer than 30 days after the bundle was issued.
    KillSwitch {
        /// The end that it states.
        until: UnixTime,
        /// The latest end that is allowed.
        limit: UnixTime,
    },
    /// The text is not a signed note. Networks that require a login return such texts.
    Note(NoteError),
    /// The bundle is signed for another root than the newest one that it contains or that is known.
    NotNewestRoot {
        /// The version of the root that it is signed for.
        root: u64,
        /// The version of the newest root.
        newest: u64,
    },
    /// The application has set up no root of trust for pins
    /// ([`PinningBuilder::bundles`](crate::PinningBuilder::bundles)).
    NotSetUp,
    /// The bundle is older than one that was accepted, or than the one that the application contains.
    Rollback {
        /// The version of the refused bundle.
        offered: BundleVersion,
        /// The lowest version that is accepted.
        floor: BundleVersion,
    },
    /// A root in the bundle is refused.
    Root {
        /// Its position in the chain of roots, from 0.
        index: usize,
        /// Why.
        error: RootError,
    },
    /// The chain of roots lacks the successor of the newest known root.
    RootGap {
        /// The version of the successor.
        expected: u64,
        /// The version of the root in its place.
        found: u64,
    },
    /// Fewer keys of the newest root have signed the bundle than its threshold demands.
    Signatures {
        /// The number of distinct keys with a valid signature.
        valid: usize,
        /// The number of keys that must sign.
        threshold: usize,
    },
    /// The percentage of a staged bundle is above 100.
    Staging {
        /// The percentage.
        percent: u64,
    },
    /// The bundle could not be stored, so it has not taken effect.
    Storage(StorageError),
    /// The bundle suspends noted pins of a host that none of its policies names.
    SuspendsOther {
        /// The host.
        host: Host,
    },
    /// The bundle is larger than [`PinBundle::MAX_SIZE`](crate::bundle::PinBundle::MAX_SIZE).
    TooLarge {
        /// The size in bytes.
        size: usize,
    },
    /// A policy has several groups of pins where overlapping policies are united.
    UnionOfGroups {
        /// The host of the policy.
        host: Host,
    },
}

impl BundleError {
    /// Prints why a bundle is not trusted, or not received as a whole.
    fn fmt_untrusted(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSignature { name } => write!(f, "the signature of {name:?} is wrong"),
            Self::Equivocation {
                version,
                known,
                refused,
            } => write!(
                f,
                "another bundle with the version {version} was accepted before (SHA-256 {}, this \
                 one {}); the operator must issue a higher version, and find out who signed both",
                hex(known),
                hex(refused)
            ),
            Self::Note(error) => write!(f, "{error}"),
            Self::NotNewestRoot { root, newest } => write!(
                f,
                "it is signed for root {root}, expected the newest one, root {newest}"
            ),
            Self::NotSetUp => f.write_str("the application has set up no root of trust for pins"),
            Self::Rollback { offered, floor } => write!(
                f,
                "version {offered} is older than {floor}, which is known: an old bundle is served"
            ),
            Self::Root { index, error } => write!(f, "root {index} of its chain: {error}"),
            Self::RootGap { expected, found } => write!(
                f,
                "its chain of roots has version {found} where {expected} is expected"
            ),
            Self::Signatures { valid, threshold } => write!(
                f,
                "distinct keys of the newest root that have signed it: {valid}, expected at least \
                 {threshold}"
            ),
            Self::Storage(error) => write!(f, "it can't be stored: {error}"),
            Self::TooLarge { size } => write!(f, "it has {size} bytes, expected at most 1 MiB"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pin bundle refused: ")?;
        match self {
            Self::Body(error) => write_body(f, error),
            Self::Critical { member } => write_critical(f, member),
            Self::Exemption { host, exempt } => write!(
                f,
                "{exempt} is exempt from the pins of {host}, which do not apply to it, or which it \
                 has itself"
            ),
            Self::Expiry { issued, expires } => write!(
                f,
                "it expires at {}, before it was issued at {}",
                print_capped(*expires),
                print_capped(*issued)
            ),
            Self::Intermediate { index } => write!(
                f,
                "intermediate {index} is not one of at most 16 certificates of at most 4 KiB in \
                 base64"
            ),
            Self::KillSwitch { until, limit } => write!(
                f,
                "its kill switch ends at {}, expected at most 30 days after it was issued: {}",
                print_capped(*until),
                print_capped(*limit)
            ),
            Self::Staging { percent } => {
                write!(f, "it is staged for {percent} percent, expected 0 to 100")
            }
            Self::SuspendsOther { host } => write!(
                f,
                "it suspends the noted pins of {host}, which none of its policies names"
            ),
            Self::UnionOfGroups { host } => write!(
                f,
                "the policy of {host} has several groups of pins, which can't be united with \
                 overlapping policies"
            ),
            Self::BadSignature { .. }
            | Self::Equivocation { .. }
            | Self::Note(_)
            | Self::NotNewestRoot { .. }
            | Self::NotSetUp
            | Self::Rollback { .. }
            | Self::Root { .. }
            | Self::RootGap { .. }
            | Self::Signatures { .. }
            | Self::Storage(_)
            | Self::TooLarge { .. } => self.fmt_untrusted(f),
        }
    }
}

impl fmt::Debug for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for BundleError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Storage(error) => error.source(),
            _ => None,
        }
    }
}

fn write_body(f: &mut fmt::Formatter<'_>, error: &PinFileError) -> fmt::Result {
    write!(
        f,
        "line {}, column {}: {}",
        error.line(),
        error.column(),
        error.problem()
    )
}

fn write_critical(f: &mut fmt::Formatter<'_>, member: &str) -> fmt::Result {
    write!(
        f,
        "it must not be used without knowing the member {member:?}, which a newer version of pinhold \
         may know"
    )
}
