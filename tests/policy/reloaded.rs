//! The example that reloads a pin file, with a file that is replaced as Kubernetes does it.

#[allow(dead_code, reason = "an example, which has its own main")]
#[path = "../../examples/reload.rs"]
mod reload;

use std::fs;
use std::os::unix::fs::symlink;

use pinhold::pin_file::PinFile;
use pinhold::{Host, PinPolicy};
use reload::ReloadedPins;

use crate::common::now;

#[test]
fn a_config_map_that_is_exchanged_replaces_the_pins_and_a_faulty_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    // `pins.json` is a link to `..data/pins.json`, and `..data` a link to the folder of one version.
    let publish = |version: &str, text: &str| {
        let data = folder.path().join(version);
        fs::create_dir(&data).unwrap();
        fs::write(data.join("pins.json"), text).unwrap();
        let next = folder.path().join("..data_tmp");
        symlink(version, &next).unwrap();
        fs::rename(next, folder.path().join("..data")).unwrap();
    };
    let of = |host: &str| {
        let policy = PinPolicy::new([
            "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
            "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
        ]);
        let file = PinFile::new([(host, policy.unwrap())]);
        file.unwrap().to_string()
    };
    publish("..v1", &of("one.example"));
    let path = folder.path().join("pins.json");
    symlink("..data/pins.json", &path).unwrap();
    let mut pins = ReloadedPins::open(&path).unwrap();
    let pinning = pins.pinning.clone();
    let is_pinned = |host: &str| {
        let host = Host::parse(host).unwrap();
        pinning.policies(&host, now()).static_policy.is_some()
    };
    assert!(!pins.poll().unwrap());
    assert!(is_pinned("one.example"));
    publish("..v2", &of("two.example"));
    assert!(pins.poll().unwrap());
    assert!(is_pinned("two.example") && !is_pinned("one.example"));
    publish("..v3", &of("three.example").replace("hosts", "host"));
    assert!(pins.poll().is_err());
    assert!(is_pinned("two.example"), "kept");
    publish("..v4", &of("four.example"));
    assert!(pins.poll().unwrap());
    assert!(is_pinned("four.example"));
}
