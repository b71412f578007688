//! [`RootFiles`], the files that `rustls-native-certs` reads. It skips some certificates in them
//! without an error, which are found here.

use std::collections::HashSet;
use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;

use crate::roots::anchors;
use crate::roots::native_error::NativeRootError;
use crate::roots::sections::Sections;

/// A file and directories of roots in PEM.
#[derive(Default)]
pub(crate) struct RootFiles {
    file: Option<PathBuf>,
    dirs: Vec<PathBuf>,
}

impl RootFiles {
    /// Returns the locations that `rustls-native-certs` reads. There are none on macOS and Windows,
    /// unless `SSL_CERT_FILE` or `SSL_CERT_DIR` is set.
    pub(crate) fn locate() -> Self {
        let dirs = env::var_os("SSL_CERT_DIR").unwrap_or_default();
        let dirs = env::split_paths(&dirs).filter(|dir| !dir.as_os_str().is_empty());
        let located = Self {
            file: env::var_os("SSL_CERT_FILE").map(PathBuf::from),
            dirs: dirs.collect(),
        };
        if located.file.is_some() || !located.dirs.is_empty() {
            return located;
        }
        Self::of_platform()
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    fn of_platform() -> Self {
        let found = openssl_probe::probe();
        Self {
            file: found.cert_file,
            dirs: found.cert_dir,
        }
    }

    #[cfg(not(all(unix, not(target_os = "macos"))))]
    fn of_platform() -> Self {
        Self::default()
    }

    /// Returns the certificates that were skipped without an error, such as the one after a byte
    /// order mark, and an error for each file with sections that can't be read.
    pub(crate) fn skipped(&self, loaded: &[CertificateDer<'static>]) -> Skipped {
        let mut search = Search {
            skipped: Skipped::default(),
            known: loaded.iter().cloned().collect(),
            paths: HashSet::new(),
            entries: 0,
            bytes_left: MAX_BYTES,
        };
        if let Some(file) = &self.file {
            search.search_file(file, true);
        }
        for dir in &self.dirs {
            search.search_dir(dir);
        }
        search.skipped
    }
}

/// What [`RootFiles::skipped`] finds.
#[derive(Default)]
pub(crate) struct Skipped {
    pub(crate) found: Vec<CertificateDer<'static>>,
    pub(crate) errors: Vec<NativeRootError>,
}

/// A search within limits. `rustls-native-certs` has reported what can't be opened.
struct Search {
    skipped: Skipped,
    known: HashSet<CertificateDer<'static>>,
    /// The files that were read, without symbolic links: a directory has several to each file.
    paths: HashSet<PathBuf>,
    entries: usize,
    bytes_left: u64,
}

impl Search {
    /// Searches the files of a directory, but not those of its directories.
    fn search_dir(&mut self, dir: &Path) {
        let Ok(entries) = fs::read_dir(dir) else {
            return;
        };
        for entry in entries.flatten() {
            self.entries = self.entries.saturating_add(1);
            if self.entries > MAX_ENTRIES {
                return self.skipped.errors.push(NativeRootError::limit(dir));
            }
            self.search_file(&entry.path(), false);
        }
    }

    fn search_file(&mut self, path: &Path, is_named: bool) {
        let Ok(metadata) = fs::metadata(path) else {
            return;
        };
        if !metadata.is_file() {
            // Reading a pipe again could block for ever.
            if is_named && !metadata.is_dir() {
                let reason = "not a regular file, so that it was not searched for malformed roots";
                let error = NativeRootError::invalid(path, reason);
                self.skipped.errors.push(error);
            }
            return;
        }
        let is_new = fs::canonicalize(path).is_ok_and(|path| self.paths.insert(path));
        if !is_new || path.file_name().is_some_and(|name| name == TRUST_BUNDLE) {
            return;
        }
        if metadata.len() > self.bytes_left {
            return self.skipped.errors.push(NativeRootError::limit(path));
        }
        if let Ok(bytes) = read(path, self.bytes_left) {
            let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.bytes_left = self.bytes_left.saturating_sub(read);
            self.parse_file(path, &bytes, is_named);
        }
    }

    fn parse_file(&mut self, path: &Path, bytes: &[u8], is_named: bool) {
        let sections = Sections::of(bytes);
        for error in sections.errors {
            let error = NativeRootError::invalid(path, error);
            self.skipped.errors.push(error);
        }
        for certificate in sections.found {
            if self.known.contains(&certificate) {
                continue;
            }
            // Directories may contain anything, and DER is not a form of their roots.
            if !is_named && *certificate == *bytes {
                if anchors::parse(certificate).is_ok() {
                    let error =
                        NativeRootError::invalid(path, "a certificate in DER, expected PEM");
                    self.skipped.errors.push(error);
                }
                continue;
            }
            self.known.insert(certificate.clone());
            self.skipped.found.push(certificate);
        }
    }
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Fedora's copy of its whole list in OpenSSL's form `TRUSTED CERTIFICATE`, beside the one that is
/// read. It also has the roots that are not trusted.
const TRUST_BUNDLE: &str = "ca-bundle.trust.crt";
/// The limit of directory entries read in total. Debian's directory has 300.
const MAX_ENTRIES: usize = 4096;
/// The limit of bytes read in total: Mozilla's list has 220 KiB, and Debian has it twice.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
