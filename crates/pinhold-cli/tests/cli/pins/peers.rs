//! What other programs read of converted files.

use std::process::Command;

use pinhold_testing::{TestCa, TestServer};
use serde_json::{Value, json};

use crate::peers::program;
use crate::pins::kit::{A, B, C, D, base64, convert};
use crate::program::Folder;

fn file() -> String {
    json!({ "version": 1, "policies": [
        {
            "hosts": ["example.com"], "scope": "host-and-subdomains", "leaf_pins": [A, B],
            "exempt": ["old.example.com"], "report_uris": ["https://r.example/?a=1&b='"],
            "expires": "2027-06-30T00:00:00Z", "after_expiry": "unpin",
        },
        { "hosts": ["example.org"], "ca_pins": [C, D] },
    ]})
    .to_string()
}

fn converted(format: &str) -> String {
    let json = convert("pin-file", format, &file(), &[])
        .expect_code(0)
        .json();
    json["output"].as_str().unwrap().to_owned()
}

#[test]
fn python_reads_the_property_lists() {
    let Some(python) = program("python3") else {
        return;
    };
    let folder = Folder::new();
    let script =
        "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    let read = |format: &str| {
        let file = folder.write(format, converted(format));
        let output = Command::new(&python)
            .args(["-c", script, &file])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let identity = |pin| json!({ "SPKI-SHA256-BASE64": base64(pin) });
    assert_eq!(
        read("apple"),
        json!({ "NSAppTransportSecurity": { "NSPinnedDomains": {
            "example.com": {
                "NSIncludesSubdomains": false,
                "NSPinnedLeafIdentities": [identity(A), identity(B)],
            },
            "example.org": {
                "NSIncludesSubdomains": false,
                "NSPinnedCAIdentities": [identity(D), identity(C)],
            },
        }}})
    );
    let list = read("trustkit-ios");
    let domains = &list["TSKConfiguration"]["TSKPinnedDomains"];
    assert_eq!(
        domains["example.com"],
        json!({
            "TSKIncludeSubdomains": true,
            "TSKEnforcePinning": true,
            "TSKExpirationDate": "2027-06-30",
            "TSKPublicKeyHashes": [base64(A), base64(B)],
            "TSKDisableDefaultReportUri": true,
            "TSKReportUris": ["https://r.example/?a=1&b='"],
        })
    );
    let excluded = json!({ "TSKExcludeSubdomainFromParentPolicy": true });
    assert_eq!(domains["old.example.com"], excluded);
}

#[test]
fn xmllint_reads_the_xml() {
    let Some(xmllint) = program("xmllint") else {
        return;
    };
    let folder = Folder::new();
    for format in ["android-nsc", "trustkit-android", "apple", "trustkit-ios"] {
        let file = folder.write(format, converted(format));
        // Without the network the DTD of property lists is not fetched.
        let status = Command::new(&xmllint)
            .args(["--noout", "--nonet", &file])
            .status();
        assert!(status.unwrap().success(), "{format}");
    }
    let file = folder.path("android-nsc");
    let path = "/network-security-config/domain-config[domain='example.com']/pin-set/@expiration";
    let output = Command::new(&xmllint)
        .args(["--xpath", path, &file])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "expiration=\"2027-06-30\""
    );
}

#[tokio::test]
async fn curl_enforces_the_converted_pins() {
    let Some(curl) = program("curl") else {
        return;
    };
    let ca = TestCa::new().unwrap();
    let server = TestServer::builder("api.example")
        .with_ca(&ca)
        .good()
        .await
        .unwrap();
    let folder = Folder::new();
    let roots = folder.write("roots.pem", ca.built_in_pem());
    let resolve = format!("api.example:{}:127.0.0.1", server.addr().port());
    let pins = server.pins().map(|pin| pin.to_string());
    let [live, backup] = &pins;
    for (pins, expected) in [([live.as_str(), backup], 0), ([A, B], 90)] {
        let policy = json!({ "hosts": ["api.example"], "leaf_pins": pins });
        let file = json!({ "version": 1, "policies": [policy] }).to_string();
        let json = convert("pin-file", "curl", &file, &["--strict"])
            .expect_code(0)
            .json();
        let config = folder.write("curlrc", json["output"].as_str().unwrap());
        let mut command = Command::new(&curl);
        command.args([
            "--disable",
            "--silent",
            "--config",
            &config,
            "--cacert",
            &roots,
        ]);
        command.args([
            "--noproxy",
            "*",
            "--max-time",
            "30",
            "--resolve",
            &resolve,
            &server.url(),
        ]);
        let run = tokio::task::spawn_blocking(move || command.status().unwrap());
        assert_eq!(run.await.unwrap().code(), Some(expected), "{pins:?}");
    }
}

#[test]
fn openssl_computes_the_data_of_the_records() {
    let Some(openssl) = program("openssl") else {
        return;
    };
    let folder = Folder::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = folder.write("key.pem", key.public_key_pem());
    let digest = Command::new(&openssl)
        .args([
            "pkey",
            "-pubin",
            "-in",
            &pem,
            "-outform",
            "DER",
            "-out",
            &folder.path("key.der"),
        ])
        .status();
    assert!(digest.unwrap().success());
    let output = Command::new(&openssl)
        .args(["dgst", "-sha256", "-r", &folder.path("key.der")])
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let digest = output.split_whitespace().next().unwrap();
    let policy = json!({
        "hosts": ["example.com"], "leaf_pins": [key.public_key_pem()], "without_backup": true,
    });
    let file = json!({ "version": 1, "policies": [policy] }).to_string();
    let json = convert("pin-file", "tlsa", &file, &[])
        .expect_code(0)
        .json();
    let expected = format!("_443._tcp.example.com. IN TLSA 1 1 1 {digest}\n");
    assert_eq!(json["output"], expected);
    // The whole key, matching type 0, is the same pin.
    let der = std::fs::read(folder.path("key.der")).unwrap();
    let hex = der
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect::<String>();
    let whole = format!("_443._tcp.example.com. IN TLSA 1 1 0 {hex}\n");
    let json = convert("tlsa", "tlsa", &whole, &[]).expect_code(0).json();
    assert_eq!(json["output"], expected);
}
