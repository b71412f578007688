//! What Android accepts in a configuration beside names and pins.

use serde_json::json;

use crate::pins::kit::{A, B, assert_read, convert, filled};

const PIN_SET: &str =
    r#"<pin-set><pin digest="SHA-256">{A}</pin><pin digest="SHA-256">{B}</pin></pin-set>"#;

fn nsc(inner: &str) -> String {
    format!("<network-security-config>{inner}</network-security-config>")
}

fn pinned(domains: &str, more: &str) -> String {
    format!("<domain-config>{domains}{PIN_SET}{more}</domain-config>")
}

const DOMAIN: &str = "<domain>example.com</domain>";

#[test]
fn an_ip_address_is_stated() {
    let policies = json!([{ "hosts": ["example.com"], "pins": [A, B] }]);
    for address in ["10.0.2.2", "::1", "[::1]"] {
        let address = format!("<domain>{address}</domain>");
        let config =
            format!("<domain-config cleartextTrafficPermitted=\"true\">{address}</domain-config>");
        let input = nsc(&(config + &pinned(DOMAIN, "")));
        assert_read("android-nsc", &input, &policies, &["ignored"]);
        let first = address.clone() + DOMAIN;
        assert_read(
            "android-nsc",
            &nsc(&pinned(&first, "")),
            &policies,
            &["scope"],
        );
        let more = r#"<trustkit-config enforcePinning="true" disableDefaultReportUri="true"/>"#;
        let input = nsc(&pinned(&first, more));
        assert_read("trustkit-android", &input, &policies, &["scope"]);
        let input = nsc(&pinned(&(DOMAIN.to_owned() + &address), more));
        let losses = ["scope", "several-hosts"];
        assert_read("trustkit-android", &input, &policies, &losses);
    }
}

#[test]
fn the_platform_ignores_the_case_of_a_digest() {
    let policies = json!([{ "hosts": ["example.com"], "pins": [A, B] }]);
    let input = nsc(&pinned(DOMAIN, "")).replace("SHA-256", "sha-256");
    assert_read("android-nsc", &input, &policies, &[]);
    convert("trustkit-android", "pin-file", &filled(&input), &[]).expect_code(2);
}

#[test]
fn a_second_base_config_is_refused() {
    let input = nsc(&("<base-config/>".to_owned() + &pinned(DOMAIN, "")));
    convert("android-nsc", "pin-file", &filled(&input), &["--strict"]).expect_code(0);
    let input = input.replace("<base-config/>", "<base-config/><base-config/>");
    convert("android-nsc", "pin-file", &filled(&input), &[]).expect_code(2);
}

#[test]
fn settings_that_no_policy_has_are_stated() {
    let anchors = r#"<trust-anchors><certificates src="user"/></trust-anchors>"#;
    let policies = json!([{
        "hosts": ["example.com"], "pins": [A, B], "user_added_roots": "enforce-pins",
    }]);
    let input = nsc(&pinned(DOMAIN, anchors));
    assert_read("android-nsc", &input, &policies, &["ignored"]);
    let policies = json!([{ "hosts": ["example.com"], "pins": [A, B], "plain_http": "refuse" }]);
    let base = r#"<base-config cleartextTrafficPermitted="false"/>"#;
    let input = nsc(&(base.to_owned() + &pinned(DOMAIN, "")));
    assert_read("android-nsc", &input, &policies, &["plain-http"]);
}
