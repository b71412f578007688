//! The verifier of `rustls-platform-verifier` as the inner verifier. On Linux only: elsewhere no
//! environment variable changes what the platform trusts.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use pinhold::TrustAnchors;
use rustls::CertificateError;

use super::{unpinned, visit, with_inner_verifier};
use crate::common::pki::Ca;
use crate::common::tls_setup::{certificate_error, pinning_with, tls_setups, violation};
use crate::common::{policy_with, unrelated_pin};

/// Runs the test of this name again in its own process, since `SSL_CERT_FILE` applies to the whole
/// process. Returns the path of that file in the second process, and `None` in the first.
fn in_own_process(test: &str) -> Option<PathBuf> {
    const FILE_VARIABLE: &str = "PINHOLD_TEST_FILE";
    if let Some(file) = env::var_os(FILE_VARIABLE) {
        return Some(file.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root.pem");
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("inner_verifier::{test}")])
        .env_remove("SSL_CERT_DIR")
        .env("SSL_CERT_FILE", &file)
        .env(FILE_VARIABLE, &file)
        .status();
    assert!(
        status.unwrap().success() && file.exists(),
        "the test failed in its own process, or did not run"
    );
    None
}

#[tokio::test]
async fn pins_apply_to_chains_that_the_platform_trusts() {
    let Some(file) = in_own_process("platform::pins_apply_to_chains_that_the_platform_trusts")
    else {
        return;
    };
    let (root, other) = (Ca::root("Root"), Ca::root("Other"));
    fs::write(file, root.pem()).unwrap();
    for setup in tls_setups() {
        let (anchors, errors) = TrustAnchors::native();
        assert!(errors.is_empty(), "{errors:?}");
        let anchors = anchors.with_built_in([other.certificate()]).unwrap();
        let provider = setup.provider.clone();
        let platform = Arc::new(rustls_platform_verifier::Verifier::new(provider).unwrap());
        let leaf = root.leaf(&["example.com"]);
        let server = setup.serve(&leaf, &[]).await;
        for (pin, passes) in [
            (leaf.pin(), true),
            (root.pin(), true),
            (unrelated_pin(), false),
        ] {
            let pinning = pinning_with(policy_with(pin));
            let config = with_inner_verifier(&setup, platform.clone(), &pinning, anchors.clone());
            let visit = visit(&pinning, config, &server).await;
            assert_eq!(visit.is_ok(), passes);
            assert!(passes || violation(visit).is_some());
        }
        // A chain that the platform does not trust is refused, even to one of the anchors.
        let server = setup.serve(&other.leaf(&["example.com"]), &[]).await;
        let config = with_inner_verifier(&setup, platform, &unpinned(), anchors);
        let error = certificate_error(visit(&unpinned(), config, &server).await);
        assert_eq!(error, CertificateError::UnknownIssuer);
    }
}
