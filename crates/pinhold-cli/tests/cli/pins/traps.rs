//! What each format does that its users do not expect: each is stated as a loss, or refused.

use serde_json::json;

use crate::pins::kit::{A, B, C, D, assert_read, convert, filled, kinds};
use crate::program::Folder;

fn nsc(inner: &str) -> String {
    format!("<network-security-config>{inner}</network-security-config>")
}

const PIN_SET: &str =
    r#"<pin-set><pin digest="SHA-256">{A}</pin><pin digest="SHA-256">{B}</pin></pin-set>"#;

#[test]
fn an_empty_nested_pin_set_of_android_exempts() {
    let input = nsc(&format!(
        r#"<domain-config><domain includeSubdomains="true">example.com</domain>{PIN_SET}
        <domain-config><domain includeSubdomains="true">old.example.com</domain><pin-set/></domain-config>
        </domain-config>"#
    ));
    let policy = json!({
        "hosts": ["example.com"], "scope": "host-and-subdomains", "pins": [A, B],
        "exempt": ["old.example.com"],
    });
    assert_read("android-nsc", &input, &json!([policy]), &[]);
    // The most specific domain decides, wherever it is; names below it go back to the parent.
    let input = nsc(&format!(
        r#"<domain-config cleartextTrafficPermitted="true"><domain>old.example.com</domain></domain-config>
        <domain-config><domain includeSubdomains="true">example.com</domain>{PIN_SET}</domain-config>"#
    ));
    assert_read(
        "android-nsc",
        &input,
        &json!([policy]),
        &["exempt", "plain-http"],
    );
}

#[test]
fn a_nested_domain_config_of_android_inherits_and_may_replace() {
    let input = nsc(&format!(
        r#"<base-config cleartextTrafficPermitted="false"/>
        <domain-config><domain>example.com</domain>{PIN_SET}
        <trust-anchors><certificates src="system"/><certificates src="user" overridePins="true"/></trust-anchors>
        <domain-config cleartextTrafficPermitted="true"><domain>api.example.com</domain>
        <trust-anchors><certificates src="user"/></trust-anchors></domain-config>
        <domain-config><domain>www.example.com</domain>
        <pin-set><pin digest="SHA-256">{{C}}</pin></pin-set></domain-config>
        </domain-config>"#
    ));
    let policies = json!([
        { "hosts": ["example.com"], "pins": [A, B], "plain_http": "refuse",
          "user_added_roots": "skip-pins" },
        { "hosts": ["api.example.com"], "pins": [A, B], "plain_http": "allow",
          "user_added_roots": "enforce-pins" },
        { "hosts": ["www.example.com"], "pins": [C], "without_backup": true,
          "plain_http": "refuse", "user_added_roots": "skip-pins" },
    ]);
    assert_read("android-nsc", &input, &policies, &["ignored", "plain-http"]);
}

#[test]
fn what_android_does_not_accept_is_refused() {
    let config = |inner: &str| nsc(&format!("<domain-config>{inner}</domain-config>"));
    let domain = "<domain>example.com</domain>";
    for input in [
        config(&format!(
            r#"{domain}<pin-set><pin digest="SHA-1">{{A}}</pin></pin-set>"#
        )),
        config(&format!("{domain}<pin-set><pin>{{A}}</pin></pin-set>")),
        config(&format!("{domain}{PIN_SET}{PIN_SET}")),
        config(&format!("{domain}{domain}{PIN_SET}")),
        config(PIN_SET),
        config(&format!("<domain>*.example.com</domain>{PIN_SET}")),
        config(&format!("<domain>192.0.2.1</domain>{PIN_SET}")),
        config(&format!(
            r#"<domain includeSubdomains="yes">example.com</domain>{PIN_SET}"#
        )),
        config(&PIN_SET.replace(
            "<pin-set>",
            r#"<domain>a.b</domain><pin-set expiration="soon">"#,
        )),
        nsc(&format!("<base-config>{PIN_SET}</base-config>")),
        nsc(""),
        "<resources/>".to_owned(),
    ] {
        let input = filled(&input);
        convert("android-nsc", "pin-file", &input, &[]).expect_code(2);
    }
}

#[test]
fn pins_that_android_skips_or_does_not_know_are_stated() {
    let input = nsc(&format!(
        r#"<debug-overrides/><domain-config><domain>example.com</domain>{PIN_SET}
        <trust-anchors><certificates src="@raw/own"/></trust-anchors>
        <trustkit-config enforcePinning="false"/></domain-config>"#
    ));
    let policies = json!([{ "hosts": ["example.com"], "pins": [A, B] }]);
    assert_read("android-nsc", &input, &policies, &["ignored"]);
    let run = convert("android-nsc", "pin-file", &filled(&input), &[]).expect_code(0);
    assert_eq!(run.json()["losses"].as_array().unwrap().len(), 4);
}

#[test]
fn trustkit_for_android_applies_a_config_to_its_last_domain() {
    let input = nsc(&format!(
        "<domain-config><domain>a.example</domain><domain>b.example</domain>{PIN_SET}\
         <trustkit-config enforcePinning=\"true\"/></domain-config>"
    ));
    let policies = json!([{ "hosts": ["a.example", "b.example"], "pins": [A, B] }]);
    assert_read(
        "trustkit-android",
        &input,
        &policies,
        &["report-uris", "several-hosts"],
    );
    assert_read("android-nsc", &input, &policies, &["ignored"]);
    let file = json!({ "version": 1, "policies": policies }).to_string();
    let json = convert("pin-file", "trustkit-android", &file, &["--strict"])
        .expect_code(0)
        .json();
    assert_eq!(
        json["output"]
            .as_str()
            .unwrap()
            .matches("<domain-config>")
            .count(),
        2
    );
}

#[test]
fn trustkit_for_android_only_reports_by_default() {
    let input = nsc(&format!(
        "<domain-config><domain>a.example</domain>{PIN_SET}</domain-config>"
    ));
    let policies = json!([{
        "hosts": ["a.example"], "pins": [A, B], "enforcement": "report-only",
    }]);
    assert_read("trustkit-android", &input, &policies, &["report-uris"]);
}

#[test]
fn trustkit_refuses_a_domain_with_a_single_pin() {
    let pins = r#"<pin-set><pin digest="SHA-256">{A}</pin></pin-set><trustkit-config
        enforcePinning="true" disableDefaultReportUri="true"/>"#;
    let input = nsc(&format!(
        "<domain-config><domain>a.example</domain>{pins}</domain-config>"
    ));
    let policies = json!([{ "hosts": ["a.example"], "pins": [A], "without_backup": true }]);
    assert_read("trustkit-android", &input, &policies, &["backup"]);
    let input = "<plist><dict><key>TSKPinnedDomains</key><dict><key>a.example</key><dict>\
        <key>TSKPublicKeyHashes</key><array><string>{A}</string></array>\
        <key>TSKDisableDefaultReportUri</key><true/></dict></dict></dict></plist>";
    assert_read("trustkit-ios", input, &policies, &["backup"]);
}

fn plist(inner: &str) -> String {
    format!("<plist><dict><key>NSAppTransportSecurity</key><dict>{inner}</dict></dict></plist>")
}

fn identities(kind: &str, pin: &str) -> String {
    format!(
        "<key>NSPinned{kind}Identities</key><array><dict><key>SPKI-SHA256-BASE64</key>\
         <string>{pin}</string></dict></array>"
    )
}

#[test]
fn leaf_and_ca_identities_of_apple_must_both_hold() {
    let both = identities("CA", "{A}") + &identities("Leaf", "{B}");
    let input = plist(&format!(
        "<key>NSPinnedDomains</key><dict><key>example.com</key><dict>{both}</dict></dict>"
    ));
    let policies = json!([{
        "hosts": ["example.com"], "without_backup": true,
        "all_of": [{ "leaf_pins": [B] }, { "ca_pins": [A] }],
    }]);
    assert_read("apple", &input, &policies, &[]);
}

#[test]
fn pinned_domains_of_apple_in_exceptions_have_no_effect() {
    let pinned = format!(
        "<key>NSPinnedDomains</key><dict><key>example.com</key><dict>{}</dict></dict>",
        identities("CA", "{A}")
    );
    let nested = format!(
        "<key>NSExceptionDomains</key><dict><key>example.org</key><dict>{pinned}</dict></dict>"
    );
    let policies = json!([{ "hosts": ["example.com"], "ca_pins": [A], "without_backup": true }]);
    assert_read(
        "apple",
        &plist(&format!("{nested}{pinned}")),
        &policies,
        &["ignored"],
    );
    convert("apple", "pin-file", &filled(&plist(&nested)), &[]).expect_code(2);
}

#[test]
fn apple_and_curl_need_the_role_of_pins() {
    let file = json!({ "version": 1, "policies": [{ "hosts": ["example.com"], "pins": [A, B] }] });
    let file = file.to_string();
    for (format, role) in [("apple", "ca"), ("apple", "leaf"), ("curl", "leaf")] {
        convert("pin-file", format, &file, &["--strict"]).expect_code(2);
        let run = convert("pin-file", format, &file, &["--strict", "--role", role]).expect_code(0);
        let json = run.json();
        let text = json["output"].as_str().unwrap();
        let back = convert(format, "pin-file", text, &[]).expect_code(0).json();
        let back = back["output"].as_str().unwrap();
        assert!(back.contains(&format!("\"{role}_pins\"")), "{back}");
    }
}

#[test]
fn an_exclusion_of_trustkit_is_of_the_name_alone() {
    let hashes = "<key>TSKPublicKeyHashes</key><array><string>{A}</string><string>{B}</string></array>\
                  <key>TSKDisableDefaultReportUri</key><true/>";
    let input = format!(
        "<plist><dict><key>TSKPinnedDomains</key><dict>\
         <key>old.example.com</key><dict>\
         <key>TSKExcludeSubdomainFromParentPolicy</key><true/></dict>\
         <key>example.com</key><dict><key>TSKIncludeSubdomains</key><true/>{hashes}</dict>\
         </dict></dict></plist>"
    );
    let policies = json!([{
        "hosts": ["example.com"], "scope": "host-and-subdomains", "pins": [A, B],
        "exempt": ["old.example.com"],
    }]);
    assert_read("trustkit-ios", &input, &policies, &["exempt"]);
}

#[test]
fn nested_parents_of_trustkit_for_ios_have_no_order() {
    let file = json!({ "version": 1, "policies": [
        { "hosts": ["example.com"], "scope": "host-and-subdomains", "pins": [A, B] },
        { "hosts": ["api.example.com"], "scope": "host-and-subdomains", "pins": [C, D] },
    ]});
    let json = convert("pin-file", "trustkit-ios", &file.to_string(), &[])
        .expect_code(0)
        .json();
    assert_eq!(kinds(&json), ["overlap"]);
    let json = convert("pin-file", "android-nsc", &file.to_string(), &[])
        .expect_code(0)
        .json();
    assert_eq!(kinds(&json), [""; 0]);
}

#[test]
fn two_asterisks_of_okhttp_include_the_host_and_one_does_not() {
    let input = r#"CertificatePinner.Builder().add("**.a.example", "sha256/{A}", "sha256/{B}")
        .add("*.b.example", "sha256/{A}", "sha256/{B}")"#;
    let policies = json!([
        { "hosts": ["a.example"], "scope": "host-and-subdomains", "pins": [A, B] },
        { "hosts": ["b.example"], "scope": "one-label", "pins": [A, B] },
    ]);
    assert_read("okhttp", input, &policies, &[]);
}

#[test]
fn an_expired_entry_hides_its_parents_and_an_expired_policy_does_not() {
    let file = json!({ "version": 1, "policies": [
        { "hosts": ["example.com"], "scope": "host-and-subdomains", "pins": [A, B] },
        { "hosts": ["api.example.com"], "pins": [C, D],
          "expires": "2027-06-30T00:00:00Z", "after_expiry": "unpin" },
    ]});
    let json = convert("pin-file", "trustkit-ios", &file.to_string(), &[])
        .expect_code(0)
        .json();
    assert_eq!(kinds(&json), ["expiry"]);
    assert_eq!(json["losses"][0]["host"], "api.example.com");
    let written = json["output"].as_str().unwrap();
    let json = convert("trustkit-ios", "pin-file", written, &[])
        .expect_code(0)
        .json();
    assert_eq!(kinds(&json), ["expiry"]);
}

#[test]
fn trustkit_for_android_inherits_each_value_and_the_platform_the_set() {
    let input = nsc(&format!(
        "<domain-config><domain>a.example</domain>{}\
         <trustkit-config enforcePinning=\"true\" disableDefaultReportUri=\"true\"/>\
         <domain-config><domain>b.example</domain>{PIN_SET}</domain-config></domain-config>",
        PIN_SET.replace("<pin-set>", "<pin-set expiration=\"2027-06-30\">")
    ));
    let policy = |host: &str, expires: bool| {
        let mut policy = json!({ "hosts": [host], "pins": [A, B] });
        if expires {
            policy["expires"] = json!("2027-06-30T00:00:00Z");
            policy["after_expiry"] = json!("unpin");
        }
        policy
    };
    let both = json!([policy("a.example", true), policy("b.example", true)]);
    assert_read("trustkit-android", &input, &both, &["expiry"]);
    let first = json!([policy("a.example", true), policy("b.example", false)]);
    assert_read("android-nsc", &input, &first, &["expiry", "ignored"]);
}

/// The names with two labels more than the host can't be said, and the pins of the pattern count for
/// the host below it.
#[test]
fn pins_of_a_united_policy_that_is_narrowed_are_kept() {
    let file = json!({ "version": 1, "overlap": "union", "policies": [
        { "hosts": ["example.com"], "scope": "subdomains", "pins": [A, B] },
        { "hosts": ["v2.api.example.com"], "pins": [C, D] },
    ]});
    let json = convert("pin-file", "okhttp", &file.to_string(), &[])
        .expect_code(0)
        .json();
    let text = json["output"].as_str().unwrap();
    assert_eq!(text.matches("sha256/").count(), 6, "{text}");
}

#[test]
fn patterns_of_okhttp_are_united() {
    let input = filled(
        r#"CertificatePinner.Builder().add("**.example.com", "sha256/{A}", "sha256/{B}")
        .add("api.example.com", "sha256/{C}")"#,
    );
    let json = convert("okhttp", "pin-file", &input, &["--strict"])
        .expect_code(0)
        .json();
    assert!(
        json["output"].as_str().unwrap().contains("\"union\""),
        "{json:#}"
    );
    // The pins of the parent are added where the nearest policy decides.
    let json = convert("okhttp", "android-nsc", &input, &["--strict"])
        .expect_code(0)
        .json();
    assert_eq!(json["output"].as_str().unwrap().matches("<pin ").count(), 5);
}

#[test]
fn what_okhttp_accepts_and_a_pin_can_not_be_is_stated() {
    let input = r#"CertificatePinner.Builder().add("a.example", "sha1/AAAA", "sha256/{A}")
        .add(HOST, "sha256/{B}").add("b.example", *PINS).add("${name}.example", "sha256/{C}")"#;
    let policies = json!([{ "hosts": ["a.example"], "pins": [A], "without_backup": true }]);
    assert_read("okhttp", input, &policies, &["algorithm", "ignored"]);
    let input = r#".add("a.example", "sha1/AAAA")"#;
    convert("okhttp", "pin-file", input, &[]).expect_code(2);
}

#[test]
fn one_value_of_curl_is_for_all_hosts() {
    let file = json!({ "version": 1, "policies": [
        { "hosts": ["a.example", "b.example"], "leaf_pins": [A, B] },
    ]});
    let json = convert("pin-file", "curl", &file.to_string(), &[])
        .expect_code(0)
        .json();
    assert_eq!(kinds(&json), ["several-hosts"]);
    let input = filled("curl -k --pinnedpubkey sha256//{A} https://a.example/");
    let json = convert("curl", "pin-file", &input, &[])
        .expect_code(0)
        .json();
    assert_eq!(kinds(&json), ["validation"]);
    let twice = filled("# a.example\n--pinnedpubkey sha256//{A} --pinnedpubkey sha256//{B}");
    convert("curl", "pin-file", &twice, &[]).expect_code(2);
    convert(
        "curl",
        "pin-file",
        "# a.example\npinnedpubkey = key.pem",
        &[],
    )
    .expect_code(2);
    convert("curl", "pin-file", &filled("sha256//{A}"), &[]).expect_code(2);
    convert(
        "curl",
        "pin-file",
        &filled("sha256//{A}"),
        &["--host", "a.example"],
    )
    .expect_code(0);
}

#[test]
fn the_nearest_entry_of_chromium_hides_its_parents() {
    let input = r#"{ // comment
        "pinsets": [
            { "name": "one", "static_spki_hashes": ["sha256/{A}", "sha256/{B}"],
              "bad_static_spki_hashes": ["sha256/{D}"], "report_uri": "http://r.example/" },
            { "name": "two", "static_spki_hashes": ["sha256/{C}"] }
        ],
        "entries": [
            { "name": "example.com", "include_subdomains": true, "pins": "one" },
            { "name": "api.example.com", "pins": "two" }
        ]
    }"#;
    let json = convert("chromium", "pin-file", &filled(input), &[])
        .expect_code(0)
        .json();
    assert_eq!(kinds(&json), ["overlap", "refused-keys"]);
    let output = json["output"].as_str().unwrap();
    let output = serde_json::from_str::<serde_json::Value>(output).unwrap();
    assert_eq!(output["refused_keys"], json!([D]));
    assert_eq!(
        output["policies"][0]["report_uris"],
        json!(["http://r.example/"])
    );
}

#[test]
fn names_of_chromium_are_read_from_the_file_of_pins() {
    let input = r#"{ "pinsets": [{ "name": "s", "static_spki_hashes": ["RootOne", "RootTwo"] }],
        "entries": [{ "name": "example.com", "pins": "s" }] }"#;
    convert("chromium", "pin-file", input, &[]).expect_code(2);
    let folder = Folder::new();
    let pins = filled(
        "# keys\nPinsListTimestamp\n1700000000\n\nRootOne\nsha256/{A}\nRootTwo\nsha256/{B}\n",
    );
    let pins = folder.write("pins", pins);
    let run = convert(
        "chromium",
        "pin-file",
        input,
        &["--chromium-pins", &pins, "--strict"],
    );
    let json = run.expect_code(0).json();
    assert!(json["output"].as_str().unwrap().contains(A), "{json:#}");
}

#[test]
fn records_that_replace_the_pki_or_hash_otherwise_are_stated() {
    let hex = "0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3";
    let owner = "_443._tcp.example.com. IN TLSA";
    let record = format!("{owner} 3 1 1 {hex}\n{owner} 1 0 1 {hex}\n{owner} 1 1 2 {hex}{hex}\n");
    let policies = json!([{ "hosts": ["example.com"], "leaf_pins": [A], "without_backup": true }]);
    assert_read(
        "tlsa",
        &record,
        &policies,
        &["algorithm", "port", "validation"],
    );
    for record in ["1 0 1", "1 1 2"] {
        let record = format!("{owner} {record} {hex}");
        convert("tlsa", "pin-file", &record, &[]).expect_code(2);
    }
    for record in ["4 1 1", "1 1 1 00", "1 1"] {
        convert("tlsa", "pin-file", &format!("{owner} {record} {hex}"), &[]).expect_code(2);
    }
    convert(
        "tlsa",
        "pin-file",
        &format!("*.example.com. TLSA 1 1 1 {hex}"),
        &[],
    )
    .expect_code(2);
}

#[test]
fn a_header_that_removes_pins_or_has_none_is_refused() {
    let zero = filled("max-age=0; pin-sha256=\"{A}\"");
    for input in [
        zero.as_str(),
        "max-age=5",
        "nonsense=\"",
        "max-age=1; pin-sha256=\"AAAA\"",
    ] {
        convert("header", "pin-file", input, &["--host", "example.com"]).expect_code(2);
    }
    let field = "Public-Key-Pins-Report-Only: pin-sha256=\"{A}\"\n";
    let enforced = "Public-Key-Pins: max-age=9; pin-sha256=\"{A}\"\n";
    let host = ["--host", "example.com"];
    for (input, code) in [
        (field.repeat(2), 2),
        (enforced.repeat(2), 2),
        (format!("{enforced}{field}"), 0),
        (format!("{field}{enforced}"), 0),
        (format!("{enforced}{field}{field}"), 2),
    ] {
        convert("header", "pin-file", &filled(&input), &host).expect_code(code);
    }
    let input = filled("max-age=9; pin-sha256=\"{A}\"; pin-md5=\"AAAA\"");
    let run = convert("header", "pin-file", &input, &["--host", "example.com"]).expect_code(0);
    assert_eq!(kinds(&run.json()), ["algorithm", "backup", "expiry"]);
}
