//! Configurations in the form of the platforms' documentation, and of applications.

use serde_json::json;

use crate::pins::kit::{A, B, C, D, assert_read};

/// The configuration of developer.android.com, "Network security configuration", certificate pinning.
#[test]
fn the_example_of_android_is_read() {
    let input = r#"<?xml version="1.0" encoding="utf-8"?>
        <network-security-config>
            <domain-config>
                <domain includeSubdomains="true">example.com</domain>
                <pin-set expiration="2018-01-01">
                    <pin digest="SHA-256">7HIpactkIAq2Y49orFOOQKurWxmmSFZhBCoQYcRhJ3Y=</pin>
                    <!-- backup pin -->
                    <pin digest="SHA-256">fwza0LRMXouZHRC8Ei+4PyuldPDcf3UKgO/04cDM1oE=</pin>
                </pin-set>
            </domain-config>
        </network-security-config>"#;
    let policies = json!([{
        "hosts": ["example.com"],
        "scope": "host-and-subdomains",
        "pins": [
            "sha256/7HIpactkIAq2Y49orFOOQKurWxmmSFZhBCoQYcRhJ3Y=",
            "sha256/fwza0LRMXouZHRC8Ei+4PyuldPDcf3UKgO/04cDM1oE=",
        ],
        "expires": "2018-01-01T00:00:00Z",
        "after_expiry": "unpin",
    }]);
    assert_read("android-nsc", input, &policies, &["expiry"]);
}

/// The configuration of Apple's article on identity pinning: a CA with subdomains, and leaves.
#[test]
fn the_example_of_apple_is_read() {
    let input = r#"<?xml version="1.0" encoding="UTF-8"?>
        <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
        <plist version="1.0"><dict>
        <key>CFBundleName</key><string>App</string>
        <key>NSAppTransportSecurity</key><dict><key>NSPinnedDomains</key><dict>
            <key>example.org</key><dict>
                <key>NSIncludesSubdomains</key><true/>
                <key>NSPinnedCAIdentities</key><array>
                    <dict><key>SPKI-SHA256-BASE64</key>
                    <string>r/mIkG3eEpVdm+u/ko/cwxzOMo1bk4TyHIlByibiA5E=</string></dict>
                </array>
            </dict>
            <key>example.net</key><dict>
                <key>NSPinnedLeafIdentities</key><array>
                    <dict><key>SPKI-SHA256-BASE64</key><string>{A}</string></dict>
                    <dict><key>SPKI-SHA256-BASE64</key><string>{B}</string></dict>
                </array>
            </dict>
        </dict></dict></dict></plist>"#;
    let ca = ["sha256/r/mIkG3eEpVdm+u/ko/cwxzOMo1bk4TyHIlByibiA5E="];
    let policies = json!([
        { "hosts": ["example.org"], "scope": "one-label", "ca_pins": ca, "without_backup": true },
        { "hosts": ["example.org"], "ca_pins": ca, "without_backup": true },
        { "hosts": ["example.net"], "leaf_pins": [A, B] },
    ]);
    assert_read("apple", input, &policies, &[]);
}

#[test]
fn trustkit_configurations_are_read() {
    let input = r#"<plist version="1.0"><dict><key>TSKConfiguration</key><dict>
        <key>TSKSwizzleNetworkDelegates</key><true/>
        <key>TSKPinnedDomains</key><dict>
            <key>shop.example</key><dict>
                <key>TSKIncludeSubdomains</key><true/>
                <key>TSKEnforcePinning</key><false/>
                <key>TSKExpirationDate</key><string>2027-03-01</string>
                <key>TSKDisableDefaultReportUri</key><true/>
                <key>TSKReportUris</key><array><string>https://r.example/pins</string></array>
                <key>TSKPublicKeyHashes</key><array><string>{A}</string><string>{B}</string></array>
            </dict>
            <key>pay.example</key><dict>
                <key>TSKDisableDefaultReportUri</key><true/>
                <key>TSKPublicKeyHashes</key><array><string>{C}</string><string>{D}</string></array>
            </dict>
        </dict></dict></dict></plist>"#;
    let policies = json!([
        {
            "hosts": ["shop.example"], "scope": "host-and-subdomains", "pins": [A, B],
            "enforcement": "report-only", "report_uris": ["https://r.example/pins"],
            "expires": "2027-03-01T00:00:00Z", "after_expiry": "unpin",
        },
        { "hosts": ["pay.example"], "pins": [C, D] },
    ]);
    assert_read("trustkit-ios", input, &policies, &[]);
    let input = r#"<network-security-config><domain-config>
        <domain>shop.example</domain>
        <pin-set><pin digest="SHA-256">{A}</pin><pin digest="SHA-256">{B}</pin></pin-set>
        <trustkit-config disableDefaultReportUri="true" enforcePinning="true">
            <report-uri>https://r.example/pins</report-uri>
        </trustkit-config>
        </domain-config></network-security-config>"#;
    let policies = json!([{
        "hosts": ["shop.example"], "pins": [A, B], "report_uris": ["https://r.example/pins"],
    }]);
    assert_read("trustkit-android", input, &policies, &[]);
}

#[test]
fn kotlin_and_java_sources_are_read() {
    let kotlin = r#"
        val pinner = CertificatePinner.Builder()
            .add("shop.example", "sha256/{A}", "sha256/{B}") // live, and "backup"
            /* .add("gone.example", "sha256/{C}") */
            .add("*.shop.example",
                "sha256/{C}",
                "sha256/{D}",
            )
            .build()
        val names = listOf("x"); names.add("y")
    "#;
    let policies = json!([
        { "hosts": ["shop.example"], "pins": [A, B] },
        { "hosts": ["shop.example"], "scope": "one-label", "pins": [C, D] },
    ]);
    assert_read("okhttp", kotlin, &policies, &[]);
    let java = r#"CertificatePinner pinner = new CertificatePinner.Builder()
        .add("shop.example", "sha256/{A}")
        .add("shop.example", "sha256/{B}")
        .build();"#;
    let policies = json!([{ "hosts": ["shop.example"], "pins": [A, B] }]);
    assert_read("okhttp", java, &policies, &[]);
}

#[test]
fn curl_commands_and_configuration_files_are_read() {
    let policies = json!([{ "hosts": ["shop.example"], "leaf_pins": [A, B] }]);
    for input in [
        "# shop.example\nsha256//{A};sha256//{B}",
        "# shop.example\npinnedpubkey = \"sha256//{A};sha256//{B}\"\n",
        "# shop.example\n--pinnedpubkey 'sha256//{A};sha256//{B}'",
        "curl -sS --pinnedpubkey \"sha256//{A};sha256//{B}\" https://shop.example:8443/path",
        "curl --pinnedpubkey=sha256//{A}\\;sha256//{B} https://shop.example",
    ] {
        assert_read("curl", input, &policies, &[]);
    }
}

#[test]
fn header_fields_are_read() {
    let enforced = "# shop.example\nPublic-Key-Pins: max-age=86400; pin-sha256=\"{A}\"; \
                    pin-sha256=\"{B}\"; includeSubDomains; report-uri=\"https://r.example/\"\n";
    let candidate = "Public-Key-Pins-Report-Only: pin-sha256=\"{C}\"; pin-sha256=\"{D}\"; \
                     includeSubDomains; report-uri=\"https://r.example/\"\n";
    let mut policy = json!({
        "hosts": ["shop.example"], "scope": "host-and-subdomains", "pins": [A, B],
        "report_uris": ["https://r.example/"],
        "expires": "2027-01-02T00:00:00Z", "after_expiry": "unpin",
    });
    assert_read("header", enforced, &json!([policy]), &["expiry"]);
    policy["candidate"] = json!({ "pins": [C, D] });
    assert_read(
        "header",
        &format!("{enforced}{candidate}"),
        &json!([policy]),
        &["expiry"],
    );
    let report_only = json!([{
        "hosts": ["shop.example"], "scope": "host-and-subdomains", "pins": [C, D],
        "report_uris": ["https://r.example/"], "enforcement": "report-only",
    }]);
    assert_read(
        "header",
        &format!("# shop.example\n{candidate}"),
        &report_only,
        &[],
    );
}

#[test]
fn tlsa_records_are_read() {
    // The digests of A to D.
    let [a, b] = [
        "0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3",
        "762195C225586EE6C0237456E2107DC54F1EFC21F61A792EBD515913CCE68332",
    ];
    let input = format!(
        "$ORIGIN example.\n; records\n_443._tcp.shop 3600 IN TLSA 0 1 1 {a}\n    IN TLSA ( 1 1 1\n \
         {} {} ) ; split\n_443._tcp.both.example. TLSA 0 1 1 {a}\n\
         _443._tcp.both.example. TLSA 1 1 1 {a}\n",
        b.get(..32).unwrap(),
        b.get(32..).unwrap(),
    );
    let policies = json!([
        { "hosts": ["shop.example"], "leaf_pins": [B], "ca_pins": [A] },
        { "hosts": ["both.example"], "pins": [A], "without_backup": true },
    ]);
    assert_read("tlsa", &input, &policies, &["port"]);
}
