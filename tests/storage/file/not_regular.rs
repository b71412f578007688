//! What is no regular file: directories, links, sockets and devices.

use std::fs;
use std::path::Path;

use pinhold::storage::StorageError;

use super::{ALL, fixture, names, open};

#[test]
fn attack_10_a_directory_in_place_of_the_file_is_refused() {
    let fixture = fixture();
    fs::remove_file(&fixture.file).unwrap();
    fs::create_dir(&fixture.file).unwrap();
    fixture.assert_left_unchanged(|error| matches!(error, StorageError::NotAFile { .. }), &[]);
}

#[cfg(unix)]
#[test]
fn attack_10_a_symbolic_link_is_refused() {
    let fixture = fixture();
    let elsewhere = fixture.folder.path().join("elsewhere");
    fs::rename(&fixture.file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &fixture.file).unwrap();
    fixture.assert_left_unchanged(|error| matches!(error, StorageError::NotAFile { .. }), &[]);
    assert_eq!(fs::read(&elsewhere).unwrap(), fixture.bytes);
}

/// Another user with write access to the folder tries to have a file of this user overwritten.
#[cfg(unix)]
#[test]
fn attack_10_links_in_place_of_the_temporary_and_the_lock_file_are_not_followed() {
    let fixture = fixture();
    let precious = fixture.folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    let store = open(&fixture.file).unwrap();

    let temporary = fixture.folder.path().join("pins.jsonl.tmp");
    std::os::unix::fs::symlink(&precious, &temporary).unwrap();
    store.forget(fixture.hosts.host(0));
    store.flush().unwrap();
    assert_eq!(names(&open(&fixture.file).unwrap()), ALL[1..]);

    let lock = fixture.folder.path().join("pins.jsonl.lock");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&precious, &lock).unwrap();
    store.forget(fixture.hosts.host(1));
    let error = store.flush().unwrap_err();
    assert!(matches!(error, StorageError::NotAFile { .. }), "{error:?}");
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
}

#[cfg(unix)]
#[test]
fn attack_10_a_socket_or_a_device_is_refused_without_being_opened() {
    let fixture = fixture();
    fs::remove_file(&fixture.file).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&fixture.file).unwrap();
    fixture.assert_left_unchanged(|error| matches!(error, StorageError::NotAFile { .. }), &[]);
    // Reading the device would never end.
    let error = open(Path::new("/dev/zero")).unwrap_err();
    assert!(matches!(error, StorageError::NotAFile { .. }), "{error:?}");
}
