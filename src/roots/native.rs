//! The platform's roots as [`TrustAnchors`], with the origin of each as far as it can be
//! determined.
//!
//! A root of Mozilla's list is built-in. A root whose subject and key are found where users and
//! administrators add roots is user-added. The origin of any other root is unknown. Lists and
//! directories only determine origins: no root is trusted that the platform does not trust.

use std::collections::HashSet;
use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use rustls_pki_types::CertificateDer;

use crate::policy::AnchorOrigin;
use crate::roots::anchors;
use crate::roots::anchors::{ParsedAnchor, TrustAnchors};
use crate::roots::native_error::NativeRootError;
#[cfg(any(target_os = "macos", windows))]
use crate::roots::provenance;
use crate::roots::root_files::RootFiles;
use crate::roots::sections::Sections;

impl TrustAnchors {
    /// Loads the roots that the platform trusts. Returns them, and the errors of those that could
    /// not be read: a malformed root does not affect the others.
    ///
    /// `rustls-native-certs` finds the roots, in the platform's store or where `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` point. Certificates of these files that it skips without an error are loaded
    /// or named in an error, within the limits of 4,096 directory entries and 16 MiB in total. The
    /// origins:
    ///
    /// - [`BuiltIn`](AnchorOrigin::BuiltIn): subject and key are in Mozilla's list.
    /// - [`UserAdded`](AnchorOrigin::UserAdded): neither variable is set, and the root is found
    ///   - on Linux, in one of the [`LOCAL_ROOT_DIRS`](Self::LOCAL_ROOT_DIRS);
    ///   - on macOS, in the trust settings of the user or the administrator, while no certificate
    ///     with its subject and key is in those of the system;
    ///   - on Windows, in a root store of the user, of group policies or of the enterprise with at
    ///     most 32 certificates, and not in that of Microsoft's program. The machine's own store is
    ///     not searched, because it may contain Microsoft's roots, too.
    /// - [`Unknown`](AnchorOrigin::Unknown), so that pins are enforced: any other root.
    ///
    /// An application that knows more about its roots declares it by
    /// [`with_user_added`](Self::with_user_added),
    /// [`mark_user_added_from`](Self::mark_user_added_from) or
    /// [`with_unknown_as_user_added`](Self::with_unknown_as_user_added). Android and iOS provide no
    /// list of roots: there this function reads none, unless `SSL_CERT_FILE` or `SSL_CERT_DIR` is
    /// set. Building a client without anchors fails with
    /// [`BuildError::NoTrustAnchors`](crate::BuildError::NoTrustAnchors).
    ///
    /// The function blocks while it reads files or the registry. Call it once, when the client is
    /// built.
    ///
    /// ```
    /// use pinhold::TrustAnchors;
    ///
    /// let (anchors, errors) = TrustAnchors::native();
    /// for error in errors {
    ///     eprintln!("{error}"); // the other roots are loaded
    /// }
    /// println!("{anchors:?}"); // the number of roots of each origin
    /// ```
    #[must_use]
    pub fn native() -> (Self, Vec<NativeRootError>) {
        let loaded = rustls_native_certs::load_native_certs();
        let errors = loaded.errors.iter();
        let mut errors = errors
            .map(|error| NativeRootError::Platform {
                reason: error.to_string(),
            })
            .collect::<Vec<_>>();
        let mut certificates = loaded.certs;
        let skipped = RootFiles::locate().skipped(&certificates);
        certificates.extend(skipped.found);
        errors.extend(skipped.errors);
        let anchors = Self::from_platform(certificates, &mut errors);
        // If a variable is set, the roots are those of its files, and a copy of one in a directory
        // of the administrator does not show that the administrator added it.
        if is_overridden(|name| env::var_os(name).is_some()) {
            return (anchors, errors);
        }
        let (anchors, more) = anchors.mark_user_added_from(Self::LOCAL_ROOT_DIRS);
        errors.extend(more);
        #[cfg(any(target_os = "macos", windows))]
        let anchors = {
            let found = provenance::load();
            let reasons = found.errors.into_iter();
            errors.extend(reasons.map(|reason| NativeRootError::Origin { reason }));
            anchors.mark_user_added(found.local, found.of_system, &mut errors)
        };
        (anchors, errors)
    }

    /// The directories where administrators add roots: `/usr/local/share/ca-certificates` (Debian,
    /// Alpine and others), `/etc/pki/ca-trust/source/anchors` (Fedora and relatives),
    /// `/etc/pki/trust/anchors` (openSUSE), `/etc/ca-certificates/trust-source/anchors` (Arch).
    ///
    /// Empty on systems other than Linux: Homebrew keeps Mozilla's whole list in the first of them.
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

    /// Marks an anchor of unknown origin as user-added if it is found in or below one of these
    /// directories, as PEM or DER. Adds no anchor. Returns the anchors, and the errors of files and
    /// directories that could not be read.
    ///
    /// [`native`](Self::native) has searched the [`LOCAL_ROOT_DIRS`](Self::LOCAL_ROOT_DIRS)
    /// already. Use this for other directories, to which only the administrator must have write
    /// access. A directory that does not exist is skipped. The limits are 4,096 directory entries,
    /// 8 levels, 1 MiB per file and 8 roots per file (more are a public bundle); beyond them, and
    /// for roots in OpenSSL's form `TRUSTED CERTIFICATE`, the origin stays unknown.
    ///
    /// ```
    /// use pinhold::TrustAnchors;
    ///
    /// let (anchors, _) = TrustAnchors::native();
    /// let (anchors, errors) = anchors.mark_user_added_from(["/opt/company/roots"]);
    /// assert!(errors.is_empty()); // the directory does not exist
    /// ```
    #[must_use]
    pub fn mark_user_added_from<P: AsRef<Path>>(
        self,
        dirs: impl IntoIterator<Item = P>,
    ) -> (Self, Vec<NativeRootError>) {
        let mut search = Search::default();
        for dir in dirs {
            search.search_dir(dir.as_ref(), 0);
        }
        let mut errors = search.errors;
        (
            self.mark_user_added(search.found, Vec::new(), &mut errors),
            errors,
        )
    }

    /// Marks an anchor of unknown origin as user-added if it has the subject and key of a
    /// certificate in `local`, but of none in `of_system`.
    fn mark_user_added(
        self,
        local: Vec<CertificateDer<'static>>,
        of_system: Vec<CertificateDer<'static>>,
        errors: &mut Vec<NativeRootError>,
    ) -> Self {
        let mut keys_of = |certificates| {
            let parsed = parse_all(certificates, errors).into_iter();
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

    /// Returns the platform's roots. Those of Mozilla's list are built-in, the others of unknown
    /// origin.
    fn from_platform(
        certificates: Vec<CertificateDer<'static>>,
        errors: &mut Vec<NativeRootError>,
    ) -> Self {
        let mozilla = webpki_roots::TLS_SERVER_ROOTS
            .iter()
            .map(|root| (&root.subject, &root.subject_public_key_info))
            .collect::<HashSet<_>>();
        let parsed = parse_all(certificates, errors);
        let (built_in, unknown) = parsed.into_iter().partition::<Vec<_>, _>(|(anchor, _)| {
            mozilla.contains(&(&anchor.subject, &anchor.subject_public_key_info))
        });
        let built_in = Self::new().with_parsed(AnchorOrigin::BuiltIn, built_in.into_iter());
        built_in.with_parsed(AnchorOrigin::Unknown, unknown.into_iter())
    }
}

/// Returns whether an environment variable replaces the platform's roots.
fn is_overridden(is_set: impl Fn(&str) -> bool) -> bool {
    ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().any(is_set)
}

/// Returns the certificates that can be trust anchors, and adds an error for each of the others.
fn parse_all(
    certificates: Vec<CertificateDer<'static>>,
    errors: &mut Vec<NativeRootError>,
) -> Vec<ParsedAnchor> {
    let mut anchors = Vec::new();
    for certificate in certificates {
        match anchors::parse(certificate.clone()) {
            Ok(parsed) => anchors.push(parsed),
            Err(reason) => errors.push(NativeRootError::Certificate {
                certificate,
                reason,
            }),
        }
    }
    anchors
}

/// A search for certificates in directories, within limits.
#[derive(Default)]
struct Search {
    found: Vec<CertificateDer<'static>>,
    errors: Vec<NativeRootError>,
    entries: usize,
}

impl Search {
    /// Searches a directory. Follows symbolic links, as `update-ca-certificates` does; the limits
    /// end a cycle of them.
    fn search_dir(&mut self, dir: &Path, level: usize) {
        let entries = match fs::read_dir(dir) {
            Ok(entries) if level < MAX_LEVELS => entries,
            Ok(_) => return self.add_limit(dir),
            Err(error) if level == 0 && error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.add_unreadable(dir, error),
        };
        for entry in entries {
            self.entries = self.entries.saturating_add(1);
            if self.entries > MAX_ENTRIES {
                return self.add_limit(dir);
            }
            match entry {
                Ok(entry) => self.search_entry(&entry.path(), level),
                Err(error) => self.add_unreadable(dir, error),
            }
        }
    }

    fn search_entry(&mut self, path: &Path, level: usize) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.search_dir(path, level.saturating_add(1)),
            Ok(metadata) if metadata.is_file() => match read(path) {
                Ok(bytes) => self.parse_file(path, &bytes),
                Err(error) => self.add_unreadable(path, error),
            },
            // Devices and pipes are skipped.
            Ok(_) => {}
            // The target of a symbolic link does not exist.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.add_unreadable(path, error),
        }
    }

    fn parse_file(&mut self, path: &Path, bytes: &[u8]) {
        if bytes.len() > MAX_BYTES {
            return self.add_limit(path);
        }
        let Sections { mut found, errors } = Sections::of(bytes);
        for error in errors {
            self.add_invalid(path, error);
        }
        if found.len() > MAX_ROOTS_PER_FILE {
            self.add_limit(path)
        } else {
            self.found.append(&mut found)
        }
    }

    fn add_limit(&mut self, path: &Path) {
        self.errors.push(NativeRootError::limit(path));
    }

    fn add_invalid(&mut self, path: &Path, reason: impl Into<Box<dyn Error + Send + Sync>>) {
        self.errors.push(NativeRootError::invalid(path, reason));
    }

    fn add_unreadable(&mut self, path: &Path, reason: io::Error) {
        self.errors.push(NativeRootError::unreadable(path, reason));
    }
}

/// Reads a file up to one byte beyond the limit, which shows that the file exceeds it.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let mut file = File::open(path)?.take(limit.saturating_add(1));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The limit of directory entries read in total. The local directories have fewer than ten.
const MAX_ENTRIES: usize = 4096;
/// The limit of nested directories.
const MAX_LEVELS: usize = 8;
/// The limit of roots in one file. Administrators put one into each, public bundles have a hundred.
const MAX_ROOTS_PER_FILE: usize = 8;
/// The limit of bytes in one file: four times the size of Mozilla's list in PEM.
const MAX_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SerialNumber};

    use super::*;

    /// Returns certificates with the same name and key.
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

    /// The user's store may contain a copy of a system root, or another certificate with its key.
    #[test]
    fn a_root_of_the_system_is_not_user_added_if_the_user_has_a_copy() {
        let [own, _] = issues("Own", [1, 1]);
        let [trusted, of_system] = issues("System's", [1, 2]);
        let anchors = TrustAnchors::new().with_unknown([own.clone(), trusted.clone()]);
        let mut errors = Vec::new();
        let (local, of_system) = (vec![own.clone(), trusted], vec![of_system]);
        let anchors = anchors
            .unwrap()
            .mark_user_added(local, of_system, &mut errors);
        assert!(errors.is_empty());
        let parsed = anchors::parse(own).unwrap().0;
        for (origin, anchor) in anchors.iter() {
            let is_own = anchor.subject == parsed.subject;
            assert_eq!(origin == AnchorOrigin::UserAdded, is_own);
        }
        assert_eq!(anchors.iter().count(), 2);
    }

    #[test]
    fn either_variable_replaces_the_roots_of_the_platform() {
        assert!(!is_overridden(|_| false));
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            assert!(is_overridden(|name| name == variable));
        }
    }
}
