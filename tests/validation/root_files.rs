//! Certificates that `rustls-native-certs` skips without an error, in each kind of file that it
//! reads: they are loaded or named.

use std::fs;
use std::path::Path;

use super::native_roots::{origins, run_in_own_process, trusted_pem};
use crate::common::pki::Ca;
use pinhold::TrustAnchors;
use pinhold::roots::{AnchorOrigin, NativeRootError};

/// The path of an error's file and whether it exceeds a limit.
fn named(error: &NativeRootError) -> (&Path, bool) {
    match error {
        NativeRootError::Unreadable { path, .. } => (path, false),
        NativeRootError::Limit { path } => (path, true),
        error => panic!("{error:?}"),
    }
}

/// Returns one file for each way to lose a certificate. In order: its name, its bytes, whether the
/// certificate is loaded. If it is not, the file must be named.
fn files() -> Vec<(&'static str, Vec<u8>, bool)> {
    let root = Ca::root;
    let other = root("Other").pem();
    vec![
        ("other.pem", other.clone().into_bytes(), true),
        (
            "marked.pem",
            format!("\u{feff}{}", root("Marked").pem()).into_bytes(),
            true,
        ),
        (
            "joined.pem",
            format!("{other}\u{feff}{}", root("Joined").pem()).into_bytes(),
            false,
        ),
        (
            "indented.pem",
            format!("  {}", root("Indented").pem()).into_bytes(),
            false,
        ),
        ("root.der", root("Der").certificate().to_vec(), false),
        (
            "trusted.pem",
            trusted_pem(&root("Trusted")).into_bytes(),
            false,
        ),
    ]
}

/// Asserts that the roots are those of `files`, and the errors name the others, each once.
fn assert_loaded_or_named(directory: &Path) {
    let (anchors, errors) = TrustAnchors::native();
    assert_eq!(origins(&anchors), [AnchorOrigin::Unknown; 2]);
    let mut paths = errors.iter().map(named).collect::<Vec<_>>();
    paths.sort();
    let expected = ["indented.pem", "joined.pem", "root.der", "trusted.pem"];
    let expected = expected.map(|name| directory.join(name));
    let expected = expected.iter().map(|path| (path.as_path(), false));
    assert_eq!(paths, expected.collect::<Vec<_>>());
}

#[test]
fn every_certificate_of_ssl_cert_dir_is_loaded_or_named() {
    let test = "root_files::every_certificate_of_ssl_cert_dir_is_loaded_or_named";
    let Some(directory) = run_in_own_process(test, "SSL_CERT_DIR", "") else {
        return;
    };
    fs::create_dir(directory.join("nested")).unwrap();
    for (name, bytes, _) in files() {
        fs::write(directory.join(name), bytes).unwrap();
    }
    fs::write(directory.join("README"), "put roots here\n").unwrap();
    fs::write(directory.join("numbers"), "0 is no DER\n").unwrap();
    assert_loaded_or_named(&directory);
}

/// Mounts a directory with the files over the platform's own.
#[cfg(target_os = "linux")]
#[test]
fn every_certificate_of_the_platforms_directory_is_loaded_or_named() {
    use super::native_roots::{OWN_PROCESS, run_with_mounts};
    use std::os::unix::fs::symlink;

    if let Some(done) = std::env::var_os(OWN_PROCESS) {
        assert_loaded_or_named(Path::new("/etc/ssl/certs"));
        return fs::write(done, "").unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let [local, trusted] = ["local", "trusted"].map(|name| directory.path().join(name));
    fs::create_dir(&local).unwrap();
    fs::create_dir(&trusted).unwrap();
    for (name, bytes, is_loaded) in files() {
        fs::write(trusted.join(name), bytes).unwrap();
        if is_loaded {
            symlink(name, trusted.join(format!("{name}.0"))).unwrap();
        }
    }
    // Fedora has it beside the same roots in a form that is read.
    let copy = trusted_pem(&Ca::root("Copy"));
    fs::write(trusted.join("ca-bundle.trust.crt"), copy).unwrap();
    let test = "root_files::every_certificate_of_the_platforms_directory_is_loaded_or_named";
    run_with_mounts(test, &local, &trusted);
}

/// A bundle that was joined from files, of which one begins with a byte order mark.
#[cfg(target_os = "linux")]
#[test]
fn every_certificate_of_the_platforms_bundle_is_loaded_or_named() {
    use super::native_roots::{OWN_PROCESS, run_with_mounts};

    let bundle = "ca-certificates.crt";
    if let Some(done) = std::env::var_os(OWN_PROCESS) {
        let (anchors, errors) = TrustAnchors::native();
        assert_eq!(origins(&anchors), [AnchorOrigin::Unknown; 2]);
        let path = Path::new("/etc/ssl/certs").join(bundle);
        let paths = errors.iter().map(named).collect::<Vec<_>>();
        assert_eq!(paths, [(path.as_path(), false)]);
        return fs::write(done, "").unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let [local, trusted] = ["local", "trusted"].map(|name| directory.path().join(name));
    fs::create_dir(&local).unwrap();
    fs::create_dir(&trusted).unwrap();
    let [first, second, third] = ["First", "Second", "Third"].map(|name| Ca::root(name).pem());
    let text = format!("\u{feff}{first}{second}\u{feff}{third}");
    fs::write(trusted.join(bundle), text).unwrap();
    let test = "root_files::every_certificate_of_the_platforms_bundle_is_loaded_or_named";
    run_with_mounts(test, &local, &trusted);
}

#[test]
fn a_large_file_is_read_up_to_a_limit_that_is_reported() {
    let test = "root_files::a_large_file_is_read_up_to_a_limit_that_is_reported";
    let Some(directory) = run_in_own_process(test, "SSL_CERT_FILE", "large.pem") else {
        return;
    };
    let path = directory.join("large.pem");
    let [first, second] = ["First", "Second"].map(|name| Ca::root(name).pem());
    let mut bytes = format!("\u{feff}{first}{second}").into_bytes();
    bytes.resize(2 * 1024 * 1024, b'x');
    fs::write(&path, &bytes).unwrap();
    let (anchors, errors) = TrustAnchors::native();
    assert_eq!(origins(&anchors), [AnchorOrigin::Unknown; 2]);
    assert!(errors.is_empty(), "{errors:?}");

    bytes.resize(16 * 1024 * 1024 + 1, b'x');
    fs::write(&path, &bytes).unwrap();
    let (anchors, errors) = TrustAnchors::native();
    assert_eq!(origins(&anchors), [AnchorOrigin::Unknown]);
    let paths = errors.iter().map(named).collect::<Vec<_>>();
    assert_eq!(paths, [(path.as_path(), true)]);
}

#[test]
fn more_entries_of_a_directory_than_the_limit_are_reported() {
    let test = "root_files::more_entries_of_a_directory_than_the_limit_are_reported";
    let Some(directory) = run_in_own_process(test, "SSL_CERT_DIR", "") else {
        return;
    };
    for number in 0..=4096 {
        fs::write(directory.join(number.to_string()), "").unwrap();
    }
    let (_, errors) = TrustAnchors::native();
    let paths = errors.iter().map(named).collect::<Vec<_>>();
    assert_eq!(paths, [(directory.as_path(), true)]);
}

/// It may be a pipe, which must not be opened again: that could block for ever.
#[cfg(unix)]
#[test]
fn a_file_that_is_not_regular_is_named() {
    let test = "root_files::a_file_that_is_not_regular_is_named";
    let Some(directory) = run_in_own_process(test, "SSL_CERT_FILE", "/dev/null") else {
        return;
    };
    let (anchors, errors) = TrustAnchors::native();
    assert_eq!(origins(&anchors), []);
    let paths = errors.iter().map(named).collect::<Vec<_>>();
    assert_eq!(paths, [(Path::new("/dev/null"), false)]);
    fs::write(directory.join("done"), "").unwrap();
}
