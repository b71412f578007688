//! Texts in XML and JSON that a reader could take for less than they are.

use serde_json::json;

use crate::pins::kit::{A, B, assert_read, convert, filled};
use crate::program::Folder;

const PIN_SET: &str =
    r#"<pin-set><pin digest="SHA-256">{A}</pin><pin digest="SHA-256">{B}</pin></pin-set>"#;

fn nsc(domain: &str) -> String {
    format!(
        "<network-security-config><domain-config><domain>{domain}</domain>{PIN_SET}\
         </domain-config></network-security-config>"
    )
}

fn plist(domain: &str, pin: &str) -> String {
    format!(
        "<plist><dict><key>NSAppTransportSecurity</key><dict><key>NSPinnedDomains</key><dict>\
         <key>{domain}</key><dict><key>NSPinnedCAIdentities</key><array><dict>\
         <key>SPKI-SHA256-BASE64</key><string>{pin}</string></dict><dict>\
         <key>SPKI-SHA256-BASE64</key><string>{{B}}</string></dict></array></dict>\
         </dict></dict></dict></plist>"
    )
}

#[test]
fn a_text_goes_on_after_a_comment() {
    let policies = json!([{ "hosts": ["example.net"], "pins": [A, B] }]);
    for domain in [
        "example<!-- c -->.net",
        "example<?c?>.net",
        "example<![CDATA[.net]]>",
    ] {
        assert_read("android-nsc", &nsc(domain), &policies, &[]);
    }
    let policies = json!([{ "hosts": ["example.net"], "ca_pins": [A, B] }]);
    let pin = filled("{A}");
    let (one, other) = pin.split_at(9);
    let input = plist("example<!-- c -->.net", &format!("{one}<!-- c -->{other}"));
    assert_read("apple", &input, &policies, &[]);
}

#[test]
fn an_element_in_a_text_is_refused() {
    let input = filled(&nsc("example.net<b>.org</b>"));
    convert("android-nsc", "pin-file", &input, &[]).expect_code(2);
    for input in [
        plist("example.net<b/>", "{A}"),
        plist("example.net", "{A}<b/>"),
    ] {
        convert("apple", "pin-file", &filled(&input), &[]).expect_code(2);
    }
}

#[test]
fn chromium_includes_subdomains_for_pins_alone() {
    let input = r#"{ "pinsets": [{ "name": "s", "static_spki_hashes": ["sha256/{A}", "sha256/{B}"] }],
        "entries": [{ "name": "example.com", "pins": "s", "include_subdomains": false,
        "include_subdomains_for_pinning": true }] }"#;
    let policies = json!([
        { "hosts": ["example.com"], "scope": "host-and-subdomains", "pins": [A, B] },
    ]);
    assert_read("chromium", input, &policies, &[]);
}

#[test]
fn a_repeated_key_of_chromium_is_refused() {
    let input = r#"{ "pinsets": [{ "name": "s", "static_spki_hashes": ["One", "Two"] }],
        "entries": [{ "name": "example.com", "pins": "s" }] }"#;
    let folder = Folder::new();
    for (last, code) in [("Three", 0), ("One", 2)] {
        let keys = format!("One\nsha256/{{A}}\nTwo\nsha256/{{B}}\n{last}\nsha256/{{A}}\n");
        let keys = folder.write(last, filled(&keys));
        convert("chromium", "pin-file", input, &["--chromium-pins", &keys]).expect_code(code);
    }
}
