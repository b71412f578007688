//! Preload lists of HSTS hosts.

use pinhold::Host;
use pinhold::hsts::HstsPreload;
use pinhold::policy::HostMatch;

/// The input is the text of a list.
///
/// # Panics
///
/// If a name that an accepted list has is not found.
pub fn target(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok(list) = HstsPreload::parse(text) else {
        return;
    };
    let json = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let json = json.collect::<Vec<_>>().join("\n");
    let json = serde_json::from_str::<serde_json::Value>(&json).expect("the list was accepted");
    for entry in json["entries"].as_array().into_iter().flatten() {
        if entry["mode"] == "force-https" {
            let name = entry["name"].as_str().expect("the list was accepted");
            let host = Host::parse(name).expect("the list was accepted");
            assert_eq!(list.query(&host), Some(HostMatch::Congruent), "{name}");
        }
    }
}
