//! The roots of CAs that the documents name beside their pins.

use std::collections::BTreeSet;
use std::fs;

use pinhold::SpkiFingerprint;
use webpki_roots::TLS_SERVER_ROOTS;

use crate::{pages, repository};

/// Parts of the names of the roots that the guide pins.
const CAS: [&str; 4] = [
    "ISRG",
    "Internet Security Research Group",
    "GTS Root",
    "Google Trust Services",
];

fn contains(subject: &[u8], name: &str) -> bool {
    subject
        .windows(name.len())
        .any(|part| part == name.as_bytes())
}

#[test]
fn a_pin_beside_the_name_of_a_root_is_that_of_this_root() {
    let mut compared = 0;
    for (page, text) in pages() {
        for line in text.lines() {
            let Some((pin, name)) = line.split_once("\", // ") else {
                continue;
            };
            let name = name.split(" (").next().unwrap();
            if !CAS.iter().any(|ca| name.starts_with(ca)) {
                continue;
            }
            let pin = pin.trim().trim_start_matches('"').parse();
            let root = TLS_SERVER_ROOTS.iter();
            let root = root
                .filter(|root| contains(&root.subject, name))
                .collect::<Vec<_>>();
            let [root] = root[..] else {
                panic!("{page}: {name}: {} roots", root.len());
            };
            assert_eq!(pin, Ok(SpkiFingerprint::of_anchor(root)), "{page}: {name}");
            compared += 1;
        }
    }
    assert!(compared > 10, "{compared} pins");
}

/// A root that is missing there would be one that a reader does not pin. Only in the repository,
/// whose lock file names the version of the list.
#[test]
fn the_page_on_choosing_pins_has_all_roots_of_its_two_cas() {
    if !repository().join("crates").exists() {
        return;
    }
    let page = fs::read_to_string(repository().join("src/guide/choosing_pins.md")).unwrap();
    let roots = TLS_SERVER_ROOTS.iter();
    let roots = roots.filter(|root| CAS.iter().any(|ca| contains(&root.subject, ca)));
    let pins = roots.map(|root| SpkiFingerprint::of_anchor(root).to_string());
    let pins = pins.collect::<BTreeSet<_>>();
    assert!(pins.len() >= 5, "{pins:?}");
    let missing = pins.iter().filter(|pin| !page.contains(&***pin));
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0]);
}
