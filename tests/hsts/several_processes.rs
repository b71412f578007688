//! Several processes that share a file. Two stores on one file represent them, since they share
//! nothing but the file.

use std::path::Path;

use pinhold::hsts::HstsOptions;
use pinhold::{FileStorage, Host, PinStore};

use crate::clients::Fixture;
use crate::common::noted::temp_dir;
use crate::common::{NOW, at};

fn open(path: &Path) -> Fixture {
    let store = PinStore::open(FileStorage::new(path)).unwrap();
    Fixture::with(HstsOptions::new(), store)
}

/// Commits a change of another host, and so reads what the other process has stored.
fn synchronise(fixture: &Fixture) {
    let store = fixture.pinning.store();
    store.forget_hsts(&Host::parse("other.example").unwrap());
    store.flush().unwrap();
}

#[tokio::test]
async fn a_host_is_known_to_and_forgotten_by_every_process() {
    let folder = temp_dir();
    let path = folder.path().join("noted.jsonl");
    let (one, two) = (open(&path), open(&path));
    one.receive("https://example.com/", "max-age=100").await;
    synchronise(&two);
    assert!(two.is_upgraded("http://example.com/").await);
    two.receive("https://www.example.com/", "max-age=100").await;
    synchronise(&one);
    assert!(one.is_known("example.com") && one.is_known("www.example.com"));
    let host = Host::parse("example.com").unwrap();
    two.pinning.store().forget_hsts(&host);
    two.pinning.store().flush().unwrap();
    synchronise(&one);
    assert!(!one.is_upgraded("http://example.com/").await);
    assert!(one.is_known("www.example.com"));
}

#[tokio::test]
async fn clearing_reaches_what_another_process_has_stored() {
    let folder = temp_dir();
    let path = folder.path().join("noted.jsonl");
    let (one, two) = (open(&path), open(&path));
    one.receive("https://example.com/", "max-age=100").await;
    one.clock.set(NOW + 10);
    one.receive("https://www.example.com/", "max-age=100").await;
    two.pinning.store().clear_since(at(NOW + 10));
    two.pinning.store().flush().unwrap();
    synchronise(&one);
    for fixture in [&one, &two, &open(&path)] {
        assert!(fixture.is_known("example.com"));
        assert!(!fixture.is_known("www.example.com"));
    }
}
