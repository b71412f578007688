//! The platform's roots in, [`TrustAnchors`] out, with what is known of where each came from.
//!
//! A root of Mozilla's list is built-in; one whose subject and key lie where users and
//! administrators put their own is user-added; the origin of any other is unknown. Nothing is
//! trusted here that the platform does not trust: lists and places only say where a root is from.

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fmt};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::policy::AnchorOrigin;
use crate::roots::anchors;
use crate::roots::anchors::{ParsedAnchor, TrustAnchors};
#[cfg(any(target_os = "macos", windows))]
use crate::roots::provenance;

impl TrustAnchors {
    /// The roots that the platform trusts, and what could not be read of them: a root that is
    /// damaged costs that root, not the others.
    ///
    /// As `rustls-native-certs` finds them: in the platform's store, or where `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` lead. Their origins:
    ///
    /// - [`BuiltIn`](AnchorOrigin::BuiltIn): its subject and key are in Mozilla's list.
    /// - [`UserAdded`](AnchorOrigin::UserAdded): neither variable is set, and it lies
    ///   - on Linux, in one of the [`LOCAL_ROOT_DIRS`](Self::LOCAL_ROOT_DIRS);
    ///   - on macOS, in the trust settings of the user or the administrator, and neither it nor
    ///     another certificate of its key in the system's;
    ///   - on Windows, in a root store of the user, of group policies or of the enterprise that has
    ///     at most 32, and not in that of Microsoft's program (what is in the machine's own store
    ///     may be Microsoft's).
    /// - [`Unknown`](AnchorOrigin::Unknown), so that pins are enforced: any other.
    ///
    /// Where the application knows more, it says so: by [`with_user_added`](Self::with_user_added),
    /// [`mark_user_added_from`](Self::mark_user_added_from) or
    /// [`with_unknown_as_user_added`](Self::with_unknown_as_user_added). Android and iOS lend no
    /// list: the anchors are empty there, and what is built from them is
    /// [`BuildError::NoTrustAnchors`](crate::BuildError::NoTrustAnchors).
    ///
    /// Reads files, or the registry: call it once, when the client is built.
    ///
    /// ```
    /// use pinhold::TrustAnchors;
    ///
    /// let (anchors, trouble) = TrustAnchors::native();
    /// for error in trouble {
    ///     eprintln!("{error}"); // the other roots are there
    /// }
    /// println!("{anchors:?}"); // how many of each origin
    /// ```
    #[must_use]
    pub fn native() -> (Self, Vec<NativeRootError>) {
        let loaded = rustls_native_certs::load_native_certs();
        let errors = loaded.errors.iter();
        let mut errors = errors
            .map(|error| NativeRootError::Platform {
                reason: error.to_string(),
            })
            .collect();
        let anchors = Self::of_platform(loaded.certs, &mut errors);
        // Whoever set it chose the roots: where they lie says nothing.
        if is_chosen(|name| env::var_os(name).is_some()) {
            return (anchors, errors);
        }
        let (anchors, more) = anchors.mark_user_added_from(Self::LOCAL_ROOT_DIRS);
        errors.extend(more);
        #[cfg(any(target_os = "macos", windows))]
        let anchors = {
            let found = provenance::load();
            let reasons = found.errors.into_iter();
            errors.extend(reasons.map(|reason| NativeRootError::Origin { reason }));
            anchors.user_added(found.local, found.of_system, &mut errors)
        };
        (anchors, errors)
    }

    /// Where administrators put roots of their own: `/usr/local/share/ca-certificates` (Debian,
    /// Alpine and others), `/etc/pki/ca-trust/source/anchors` (Fedora and its kin),
    /// `/etc/pki/trust/anchors` (openSUSE), `/etc/ca-certificates/trust-source/anchors` (Arch).
    ///
    /// Empty elsewhere than on Linux: Homebrew keeps Mozilla's whole list in the first of them.
    pub const LOCAL_ROOT_DIRS: &'static [&'static str] = if cfg!(target_os = "linux") {
        &[
            "/usr/local/share/ca-certificates",
            "/etc/pki/ca-trust/source/anchors",
            "/etc/pki/trust/anchors",
            "/etc/ca-certificates/trust-source/anchors",
        ]
    } else {
        &[]
    };

    /// Takes those anchors of unknown origin for user-added that lie in these folders, or below
    /// them, as PEM or DER; and says what could not be read there. No anchor is added.
    ///
    /// [`native`](Self::native) has done so with [`LOCAL_ROOT_DIRS`](Self::LOCAL_ROOT_DIRS): this is
    /// for systems that keep them elsewhere. Only the administrator may be able to write there. A
    /// folder that does not exist is none. Beyond 4,096 files or folders, 1 MiB of one file or 8
    /// levels nothing is read, and roots stay of unknown origin; so do those of a file with more
    /// than 8 of them, which is somebody's bundle, and those that OpenSSL writes as
    /// `TRUSTED CERTIFICATE`.
    #[must_use]
    pub fn mark_user_added_from<P: AsRef<Path>>(
        self,
        folders: impl IntoIterator<Item = P>,
    ) -> (Self, Vec<NativeRootError>) {
        let mut search = Search::default();
        for folder in folders {
            search.folder(folder.as_ref(), 0);
        }
        let mut errors = search.errors;
        (
            self.user_added(search.found, Vec::new(), &mut errors),
            errors,
        )
    }

    /// Takes those anchors of unknown origin for user-added that have subject and key of a local
    /// certificate, and of none that came with the system.
    fn user_added(
        self,
        local: Vec<CertificateDer<'static>>,
        of_system: Vec<CertificateDer<'static>>,
        errors: &mut Vec<NativeRootError>,
    ) -> Self {
        let mut keys_of = |certificates| {
            let parsed = parsed(certificates, errors).into_iter();
            let keys = parsed.map(|(anchor, _)| (anchor.subject, anchor.subject_public_key_info));
            keys.collect::<HashSet<_>>()
        };
        let (mut local, of_system) = (keys_of(local), keys_of(of_system));
        local.retain(|key| !of_system.contains(key));
        let unknown = self
            .iter()
            .filter(|(origin, _)| *origin == AnchorOrigin::Unknown);
        let added = unknown
            .map(|(_, anchor)| anchor.clone())
            .filter(|anchor| {
                let key = (
                    anchor.subject.clone(),
                    anchor.subject_public_key_info.clone(),
                );
                local.contains(&key)
            })
            .collect::<Vec<_>>();
        self.with_anchors(AnchorOrigin::UserAdded, added)
    }

    /// What the platform trusts, each root on its own.
    fn of_platform(
        certificates: Vec<CertificateDer<'static>>,
        errors: &mut Vec<NativeRootError>,
    ) -> Self {
        let known = webpki_roots::TLS_SERVER_ROOTS
            .iter()
            .map(|root| (&root.subject, &root.subject_public_key_info))
            .collect::<HashSet<_>>();
        let handed = parsed(certificates, errors);
        let (built_in, unknown) = handed.into_iter().partition::<Vec<_>, _>(|(anchor, _)| {
            known.contains(&(&anchor.subject, &anchor.subject_public_key_info))
        });
        let built_in = Self::new().with(AnchorOrigin::BuiltIn, built_in.into_iter());
        built_in.with(AnchorOrigin::Unknown, unknown.into_iter())
    }
}

/// Whether a variable says what to trust.
fn is_chosen(is_set: impl Fn(&str) -> bool) -> bool {
    ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().any(is_set)
}

/// Those that can be anchors.
fn parsed(
    certificates: Vec<CertificateDer<'static>>,
    errors: &mut Vec<NativeRootError>,
) -> Vec<ParsedAnchor> {
    let mut handed = Vec::new();
    for certificate in certificates {
        match anchors::parse(certificate.clone()) {
            Ok(parsed) => handed.push(parsed),
            Err(reason) => errors.push(NativeRootError::Certificate {
                certificate,
                reason,
            }),
        }
    }
    handed
}

/// The certificates below some folders, as far as the bounds let it read.
#[derive(Default)]
struct Search {
    found: Vec<CertificateDer<'static>>,
    errors: Vec<NativeRootError>,
    entries: usize,
}

impl Search {
    /// Links are followed, as `update-ca-certificates` does; the bounds end a circle of them.
    fn folder(&mut self, folder: &Path, level: usize) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) if level < MAX_LEVELS => entries,
            Ok(_) => return self.beyond(folder),
            Err(error) if level == 0 && error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.unreadable(folder, error),
        };
        for entry in entries {
            self.entries = self.entries.saturating_add(1);
            if self.entries > MAX_ENTRIES {
                return self.beyond(folder);
            }
            match entry {
                Ok(entry) => self.entry(&entry.path(), level),
                Err(error) => self.unreadable(folder, error),
            }
        }
    }

    fn entry(&mut self, path: &Path, level: usize) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, level.saturating_add(1)),
            Ok(metadata) if metadata.is_file() => match read(path) {
                Ok(bytes) => self.file(path, &bytes),
                Err(error) => self.unreadable(path, error),
            },
            // A device or a pipe holds no roots.
            Ok(_) => {}
            // A link that leads nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unreadable(path, error),
        }
    }

    fn file(&mut self, path: &Path, bytes: &[u8]) {
        if bytes.len() > MAX_BYTES {
            return self.beyond(path);
        }
        // DER begins with the tag of a sequence, which is the letter 0: no PEM begins with it.
        if bytes.first() == Some(&0x30) {
            return self.found.push(CertificateDer::from(bytes.to_vec()));
        }
        // Whoever put it there meant it, and the parser of PEM passes over it.
        let mut lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
        if lines.any(|line| line.starts_with(TRUSTED)) {
            let reason = "a section `TRUSTED CERTIFICATE`, expected `CERTIFICATE`";
            self.unreadable(path, io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        // A file without certificates, say a README, is none of ours.
        let mut found = Vec::new();
        for section in CertificateDer::pem_slice_iter(bytes) {
            match section {
                Ok(certificate) => found.push(certificate),
                // One that is damaged costs no other.
                Err(error) => {
                    self.unreadable(path, io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
        if found.len() > MAX_OF_FILE {
            self.beyond(path)
        } else {
            self.found.append(&mut found)
        }
    }

    fn beyond(&mut self, path: &Path) {
        let path = path.to_owned();
        self.errors.push(NativeRootError::Limit { path });
    }

    fn unreadable(&mut self, path: &Path, reason: io::Error) {
        self.errors.push(NativeRootError::Unreadable {
            path: path.to_owned(),
            reason: Arc::new(reason),
        });
    }
}

/// One byte more than is allowed is enough to know.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let mut file = File::open(path)?.take(most.saturating_add(1));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Something that was not read of the platform's roots, or of where they came from. The others
/// were.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NativeRootError {
    /// A certificate that can't be a trust anchor.
    Certificate {
        /// The certificate.
        certificate: CertificateDer<'static>,
        /// What is wrong with it.
        reason: rustls::Error,
    },
    /// A file or folder of local roots that is too large, or too deep.
    Limit {
        /// Which.
        path: PathBuf,
    },
    /// What the platform can't tell of who added roots: these stay of unknown origin.
    Origin {
        /// In its words.
        reason: String,
    },
    /// The platform's store, or a part of it, as `rustls-native-certs` says it.
    Platform {
        /// What is wrong with it.
        reason: String,
    },
    /// A file or folder of local roots that can't be read: its roots stay of unknown origin.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: Arc<io::Error>,
    },
}

impl fmt::Display for NativeRootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { reason, .. } => write!(
                f,
                "a root of this machine can't be a trust anchor, expected X.509: {reason}"
            ),
            Self::Limit { path } => write!(
                f,
                "{} holds more than is read of local roots; what it adds stays of unknown origin",
                path.display()
            ),
            Self::Origin { reason } => write!(
                f,
                "who added some roots is not known, they stay of unknown origin: {reason}"
            ),
            Self::Platform { reason } => write!(f, "the platform's roots: {reason}"),
            Self::Unreadable { path, reason } => write!(
                f,
                "{} can't be read; the roots in it stay of unknown origin: {reason}",
                path.display()
            ),
        }
    }
}

impl Error for NativeRootError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Certificate { reason, .. } => Some(reason),
            Self::Unreadable { reason, .. } => Some(&**reason),
            Self::Limit { .. } | Self::Origin { .. } | Self::Platform { .. } => None,
        }
    }
}

/// Files and folders below the local folders, of which there are a handful.
const MAX_ENTRIES: usize = 4096;
/// Folders within folders.
const MAX_LEVELS: usize = 8;
/// Roots of one file: administrators put one into each, public bundles have a hundred.
const MAX_OF_FILE: usize = 8;
/// Bytes of one file: four times Mozilla's whole list as PEM.
const MAX_BYTES: usize = 1024 * 1024;
/// OpenSSL's own form: a certificate, and after it what it is trusted or rejected for.
const TRUSTED: &[u8] = b"-----BEGIN TRUSTED CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SerialNumber};

    use super::*;

    /// Certificates of one name and key.
    fn issues(name: &str, serials: [u64; 2]) -> [CertificateDer<'static>; 2] {
        let key = KeyPair::generate().unwrap();
        serials.map(|serial| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.serial_number = Some(SerialNumber::from(serial));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.self_signed(&key).unwrap().der().clone()
        })
    }

    /// A copy, or another issue, of a root that came with the system, in the place of the user.
    #[test]
    fn a_root_of_the_system_is_not_the_users_wherever_else_it_lies() {
        let [own, _] = issues("Own", [1, 1]);
        let [trusted, of_system] = issues("System's", [1, 2]);
        let anchors = TrustAnchors::new().with_unknown([own.clone(), trusted.clone()]);
        let mut errors = Vec::new();
        let (local, of_system) = (vec![own.clone(), trusted], vec![of_system]);
        let anchors = anchors.unwrap().user_added(local, of_system, &mut errors);
        assert!(errors.is_empty());
        let parsed = anchors::parse(own).unwrap().0;
        for (origin, anchor) in anchors.iter() {
            let is_own = anchor.subject == parsed.subject;
            assert_eq!(origin == AnchorOrigin::UserAdded, is_own);
        }
        assert_eq!(anchors.iter().count(), 2);
    }

    #[test]
    fn places_say_nothing_where_a_variable_chose_the_roots() {
        assert!(!is_chosen(|_| false));
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            assert!(is_chosen(|name| name == variable));
        }
    }
}
