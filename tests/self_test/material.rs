//! The certificates and keys that `src/tls/self_test_material.rs` contains: their maker, and what
//! has to hold for them.
//!
//! To make new ones: `PINHOLD_WRITE_MATERIAL=1 cargo test --features self-test --test self_test material`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use pinhold::SpkiFingerprint;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};

use super::common::pki::Leaf;
use super::common::{at, provider};

#[path = "../../src/tls/self_test_material.rs"]
mod committed;

pub(crate) use committed::HOST;
use committed::{ANCHOR, Material, RIGHT, WRONG};

/// The server certificate whose key a self-test pins, with that key.
pub(crate) fn right() -> Leaf {
    let chain = vec![CertificateDer::from(RIGHT.certificate)];
    Leaf::from_parts(RIGHT.key.to_vec(), chain)
}

/// The last second of the year 9999, the latest that a certificate can contain.
const END: u64 = 253_402_300_799;

#[test]
fn the_chains_are_valid_from_1970_to_9999_and_for_one_name_below_invalid() {
    assert!(HOST.ends_with(".invalid"));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ANCHOR)).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    let verifier = verifier.build().unwrap();
    for material in [RIGHT, WRONG] {
        let leaf = CertificateDer::from(material.certificate);
        let verify = |name: &str, seconds| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(&leaf, &[], &name, &[], at(seconds))
        };
        verify(HOST, 0).unwrap();
        verify(HOST, END).unwrap();
        for other in ["invalid", "example.com", &format!("www.{HOST}")] {
            verify(other, 0).unwrap_err();
        }
    }
}

#[test]
fn each_key_is_that_of_its_certificate() {
    for Material { certificate, key } in [RIGHT, WRONG] {
        let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(key)).unwrap();
        let of_key = SpkiFingerprint::of_public_key(&key.subject_public_key_info().into()).unwrap();
        assert_eq!(of_key, pin(&CertificateDer::from(certificate)));
    }
    let [anchor, right, wrong] =
        [ANCHOR, RIGHT.certificate, WRONG.certificate].map(|der| pin(&CertificateDer::from(der)));
    assert!(anchor != right && right != wrong && wrong != anchor);
}

/// The key of the anchor is in no file, so no other certificate can be issued below it. New
/// certificates therefore differ in all bytes.
#[test]
fn the_committed_material_has_the_form_that_is_made() {
    let made = make();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/self_test_material.rs");
    if std::env::var_os("PINHOLD_WRITE_MATERIAL").is_some() {
        fs::write(&path, &made).unwrap();
        return;
    }
    let committed = fs::read_to_string(path).unwrap();
    let without_bytes = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("\\x"));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    assert_eq!(without_bytes(&committed), without_bytes(&made));
}

fn pin(certificate: &CertificateDer<'_>) -> SpkiFingerprint {
    SpkiFingerprint::of_certificate(certificate).unwrap()
}

/// Returns the text of the file with new keys.
fn make() -> String {
    let mut params = params();
    params
        .distinguished_name
        .push(DnType::CommonName, "pinhold self-test, not to be trusted");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let anchor = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut text = HEAD.to_owned();
    constant(&mut text, "pub(crate) const ANCHOR: &[u8] =", anchor.der());
    for name in ["RIGHT", "WRONG"] {
        let key = KeyPair::generate().unwrap();
        let leaf = leaf_params().signed_by(&key, &anchor).unwrap();
        writeln!(text, "\npub(crate) const {name}: Material = Material {{").unwrap();
        constant(&mut text, "    certificate:", leaf.der());
        constant(&mut text, "    key:", &key.serialize_der());
        text.push_str("};\n");
    }
    text
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31) + std::time::Duration::from_secs(86_399);
    params
}

fn leaf_params() -> CertificateParams {
    let mut params = params();
    let names = CertificateParams::new([HOST.to_owned()]).unwrap();
    params.subject_alt_names = names.subject_alt_names;
    params.distinguished_name.push(DnType::CommonName, HOST);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn constant(text: &mut String, head: &str, bytes: &[u8]) {
    let indent = if head.starts_with(' ') {
        "        "
    } else {
        "    "
    };
    let end = if head.starts_with(' ') { "," } else { ";" };
    text.push_str(head);
    text.push_str(" b\"\\\n");
    for line in bytes.chunks(22) {
        text.push_str(indent);
        for byte in line {
            write!(text, "\\x{byte:02x}").unwrap();
        }
        text.push_str("\\\n");
    }
    text.push_str(indent);
    text.push_str(&format!("\"{end}\n"));
}

const HEAD: &str = r#"//! The certificates and keys of the self-test, which `tests/self_test/material.rs` makes.
//!
//! Both private keys are public knowledge. That is safe: the certificates are for one name below
//! `.invalid`, which no DNS resolves, and only the copy of a verifier that a self-test makes, uses and
//! drops trusts their anchor, whose own private key is in no file.

/// The name of the only host that the certificates are for.
pub(crate) const HOST: &str = "self-test.pinhold.invalid";

/// A server certificate and its private key in PKCS #8.
#[derive(Clone, Copy)]
pub(crate) struct Material {
    pub(crate) certificate: &'static [u8],
    pub(crate) key: &'static [u8],
}

"#;
