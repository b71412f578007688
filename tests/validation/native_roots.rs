//! The platform's roots and their origins. `SSL_CERT_FILE` and `SSL_CERT_DIR` apply to the whole
//! process, so each test that sets them runs itself again in its own process.

use std::io::ErrorKind;
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use crate::common::peers::pem;
use crate::common::pki::{Ca, Leaf, lookalike};
use crate::common::server::{Names, Server, client, get};
use crate::common::tls_setup::{Visit, builder, pinning_with, violation};
use crate::common::{header_value, policy_with, provider, unrelated_pin};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::roots::{AnchorOrigin, NativeRootError};
use pinhold::tls::Cause;
use pinhold::{
    BuildError, Decision, Pinning, PinningVerifier, TrustAnchors, UserAddedRoots,
    VerifiedConnection,
};
use rustls::pki_types::{Der, TrustAnchor};

/// Runs the test of this name again in its own process, with `variable` set to `file` in a
/// temporary directory. Returns the directory in that process, which must write to it, and `None`
/// here.
fn in_own_process(test: &str, variable: &str, file: &str) -> Option<PathBuf> {
    run_in_own_process(&format!("native_roots::{test}"), variable, file)
}

/// As [`in_own_process`], for a test of any module.
pub(crate) fn run_in_own_process(test: &str, variable: &str, file: &str) -> Option<PathBuf> {
    if let Some(directory) = env::var_os(OWN_PROCESS) {
        return Some(directory.into());
    }
    let directory = tempfile::tempdir().unwrap();
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", test])
        .env_remove("SSL_CERT_FILE")
        .env_remove("SSL_CERT_DIR")
        .env(variable, directory.path().join(file))
        .env(OWN_PROCESS, directory.path())
        .status();
    assert!(
        status.unwrap().success(),
        "the test failed in its own process"
    );
    let mut written = fs::read_dir(directory.path()).unwrap();
    assert!(written.next().is_some(), "no test of this name ran");
    None
}

/// Set in the process that a test starts for itself.
pub(crate) const OWN_PROCESS: &str = "PINHOLD_TEST_OWN_PROCESS";

pub(crate) fn origins(anchors: &TrustAnchors) -> Vec<AnchorOrigin> {
    anchors.iter().map(|(origin, _)| origin).collect()
}

/// Anchors of unknown origin.
fn unknown(roots: &[&Ca]) -> TrustAnchors {
    let roots = roots.iter().map(|root| root.certificate());
    TrustAnchors::new().with_unknown(roots).unwrap()
}

async fn visit(pinning: &Pinning, anchors: TrustAnchors, leaf: &Leaf) -> Visit {
    let pins = header_value(leaf.pin(), "max-age=100");
    let server = Server::start(leaf, &[("public-key-pins", &pins)]).await;
    let names = Names::new([("example.com", &server)]);
    get(
        &mut client(pinning, anchors, &names),
        "https://example.com/",
    )
    .await
}

/// A [`Pinning`] that refuses every server of these tests.
fn refusing() -> Pinning {
    pinning_with(policy_with(unrelated_pin()))
}

fn decision(visit: &Visit) -> &Decision {
    let connection = visit.as_ref().unwrap().extensions();
    connection.get::<VerifiedConnection>().unwrap().decision()
}

#[tokio::test]
async fn a_root_in_a_local_directory_skips_pins_and_one_of_unknown_origin_does_not() {
    let (root, directory) = (Ca::root("Proxy"), tempfile::tempdir().unwrap());
    let leaf = root.leaf(&["example.com"]);
    let nested = directory.path().join("company/proxies");
    fs::create_dir_all(&nested).unwrap();
    let platform = unknown(&[&root]);
    let pinning = refusing();

    // The directory exists but does not contain the root.
    let (anchors, errors) = platform.clone().mark_user_added_from([directory.path()]);
    assert!(errors.is_empty(), "{errors:?}");
    let refused = violation(visit(&pinning, anchors, &leaf).await).unwrap();
    assert_eq!(refused.chain().anchor_origin(), AnchorOrigin::Unknown);
    assert!(matches!(refused.cause(), Cause::UnknownRoot { .. }));

    fs::write(nested.join("proxy.crt"), root.pem()).unwrap();
    let (anchors, errors) = platform.clone().mark_user_added_from([directory.path()]);
    assert!(errors.is_empty(), "{errors:?}");
    let skipped = visit(&pinning, anchors.clone(), &leaf).await;
    assert!(matches!(decision(&skipped), Decision::Skipped));
    let ignored = IgnoreReason::AnchorNotBuiltIn(AnchorOrigin::UserAdded);
    let noted = skipped.unwrap().extensions().get::<Noted>().cloned();
    assert_eq!(noted, Some(Noted::Ignored(ignored)));

    let enforcing = policy_with(unrelated_pin()).user_added_roots(UserAddedRoots::EnforcePins);
    let refused = visit(&pinning_with(enforcing), anchors, &leaf).await;
    assert!(violation(refused).is_some());

    let skipped = visit(&pinning, platform.with_unknown_as_user_added(), &leaf).await;
    assert!(matches!(decision(&skipped), Decision::Skipped));
}

#[cfg(unix)]
#[test]
fn local_directories_may_contain_pem_der_links_and_other_files() {
    use std::os::unix::fs::symlink;

    let (pem, der, linked, absent) = (
        Ca::root("Pem"),
        Ca::root("Der"),
        Ca::root("Linked"),
        Ca::root("Absent"),
    );
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = |name: &str| directory.path().join(name);
    let two = format!("# Two roots\r\n{}\n{}", pem.pem(), linked.pem());
    fs::write(elsewhere.path().join("two.pem"), two).unwrap();
    symlink(elsewhere.path(), path("more")).unwrap();
    symlink(directory.path(), path("cycle")).unwrap();
    symlink("nowhere", path("dangling.crt")).unwrap();
    fs::write(path("root.der"), der.certificate()).unwrap();
    fs::write(path("README"), "put roots here\n").unwrap();

    let all = unknown(&[&pem, &der, &linked, &absent]);
    let directories = [directory.path(), Path::new("/nonexistent")];
    let (anchors, errors) = all.mark_user_added_from(directories);
    let is_limit = |error: &NativeRootError| matches!(error, NativeRootError::Limit { .. });
    assert!(
        !errors.is_empty() && errors.iter().all(is_limit),
        "a cycle of links ends at the limit: {errors:?}"
    );
    use AnchorOrigin::{Unknown, UserAdded};
    assert_eq!(
        origins(&anchors),
        [Unknown, UserAdded, UserAdded, UserAdded]
    );
    let (_, unknown) = anchors.iter().next().unwrap();
    let parsed = TrustAnchors::new()
        .with_unknown([absent.certificate()])
        .unwrap();
    assert_eq!(unknown, parsed.iter().next().unwrap().1);
}

#[test]
fn unreadable_files_mark_no_root_and_are_returned_as_errors() {
    let (root, directory) = (Ca::root("Proxy"), tempfile::tempdir().unwrap());
    let mut huge = root.pem().into_bytes();
    huge.resize(2 * 1024 * 1024, b'\n');
    let cut = root.certificate()[..100].to_vec();
    let torn = root.pem().replace("-----END", "!!!!");
    let flipped = root.pem().replacen('M', "*", 1);
    let files = [
        ("huge.crt", huge),
        ("cut.der", cut),
        ("torn.crt", torn.into_bytes()),
    ];
    for (name, bytes) in files
        .into_iter()
        .chain([("flipped.crt", flipped.into_bytes())])
    {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        let (anchors, errors) = unknown(&[&root]).mark_user_added_from([directory.path()]);
        assert_eq!(origins(&anchors), [AnchorOrigin::Unknown], "{name}");
        assert_eq!(errors.len(), 1, "{name}: {errors:?}");
        fs::remove_file(path).unwrap();
    }
    // A file instead of a directory.
    let file = directory.path().join("file");
    fs::write(&file, root.pem()).unwrap();
    let (anchors, errors) = unknown(&[&root]).mark_user_added_from([&file]);
    assert_eq!(origins(&anchors), [AnchorOrigin::Unknown]);
    assert!(matches!(&errors[..], [NativeRootError::Unreadable { path, .. }] if *path == file));
}

#[test]
fn a_malformed_root_does_not_affect_others_and_a_bundle_marks_none_of_its_roots() {
    let (root, directory) = (Ca::root("Proxy"), tempfile::tempdir().unwrap());
    let path = directory.path().join("roots.crt");
    let malformed = "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n";
    let bundle = (0..8).map(|number| Ca::root(&format!("Root {number}")).pem());
    let bundle = bundle.collect::<String>();
    for (before, expected) in [
        (malformed, AnchorOrigin::UserAdded),
        (&bundle, AnchorOrigin::Unknown),
    ] {
        fs::write(&path, format!("{before}{}", root.pem())).unwrap();
        let (anchors, errors) = unknown(&[&root]).mark_user_added_from([directory.path()]);
        assert_eq!(origins(&anchors), [expected]);
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
}

/// A byte order mark or an indented line must not lose a certificate in silence.
#[test]
fn every_certificate_of_a_file_is_read_or_named() {
    let (root, directory) = (Ca::root("Proxy"), tempfile::tempdir().unwrap());
    let path = directory.path().join("root.crt");
    let marked = [b"\xef\xbb\xbf", root.pem().as_bytes()].concat();
    fs::write(&path, marked).unwrap();
    let (anchors, errors) = unknown(&[&root]).mark_user_added_from([directory.path()]);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(origins(&anchors), [AnchorOrigin::UserAdded]);
    let other = Ca::root("Other").pem();
    let text = format!("\u{feff}{}", root.pem());
    let utf16 = text
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect::<Vec<_>>();
    for bytes in [
        format!("{other}  {}", root.pem()).into_bytes(),
        format!("{other}\u{feff}{}", root.pem()).into_bytes(),
        utf16,
    ] {
        fs::write(&path, bytes).unwrap();
        let (anchors, errors) = unknown(&[&root]).mark_user_added_from([directory.path()]);
        assert_eq!(origins(&anchors), [AnchorOrigin::Unknown]);
        assert!(
            matches!(&errors[..], [NativeRootError::Unreadable { path: named, .. }] if *named == path),
            "{errors:?}"
        );
    }
}

/// A root in OpenSSL's `TRUSTED CERTIFICATE` form, which appends the trusted uses to the
/// certificate.
pub(crate) fn trusted_pem(root: &Ca) -> String {
    root.pem().replace(" CERTIFICATE-", " TRUSTED CERTIFICATE-")
}

#[test]
fn a_trusted_certificate_of_openssl_is_an_error_and_does_not_affect_others() {
    use AnchorOrigin::{Unknown, UserAdded};
    let (root, directory) = (Ca::root("Proxy"), tempfile::tempdir().unwrap());
    let file = directory.path().join("roots.crt");
    let trusted = trusted_pem(&Ca::root("Trusted"));
    for (text, expected) in [
        (trusted_pem(&root), Unknown),
        (trusted_pem(&root).replace('\n', "\r\n"), Unknown),
        (format!("{trusted}{}", root.pem()), UserAdded),
        (format!("{}{trusted}", root.pem()), UserAdded),
    ] {
        fs::write(&file, text).unwrap();
        let (anchors, errors) = unknown(&[&root]).mark_user_added_from([directory.path()]);
        assert_eq!(origins(&anchors), [expected]);
        assert!(
            matches!(&errors[..], [NativeRootError::Unreadable { path, reason }]
            if *path == file && reason.kind() == ErrorKind::InvalidData)
        );
    }
}

/// `rustls-native-certs` reads that file, and does not return what it skips.
#[test]
fn a_file_of_trusted_certificates_of_openssl_yields_no_anchors() {
    let test = "a_file_of_trusted_certificates_of_openssl_yields_no_anchors";
    let Some(directory) = in_own_process(test, "SSL_CERT_FILE", "trusted.pem") else {
        return;
    };
    let trusted = trusted_pem(&Ca::root("Trusted"));
    fs::write(directory.join("trusted.pem"), trusted).unwrap();
    let (anchors, errors) = TrustAnchors::native();
    let named = |error: &NativeRootError| error.to_string().contains("TRUSTED CERTIFICATE");
    assert!(errors.iter().any(named), "{errors:?}");
    let client = PinningVerifier::builder(builder().build().unwrap()).with_anchors(anchors);
    let client = client.with_provider(provider()).client_config();
    assert!(matches!(client, Err(BuildError::NoTrustAnchors)));
}

/// The parser of `rustls-native-certs` does not find the section after a byte order mark.
#[test]
fn the_first_certificate_after_a_byte_order_mark_is_loaded() {
    let test = "the_first_certificate_after_a_byte_order_mark_is_loaded";
    let Some(directory) = in_own_process(test, "SSL_CERT_FILE", "marked.pem") else {
        return;
    };
    let [first, second] = ["First", "Second"].map(|name| Ca::root(name).pem());
    let text = format!("\u{feff}{first}{second}");
    fs::write(directory.join("marked.pem"), text).unwrap();
    let (anchors, errors) = TrustAnchors::native();
    assert_eq!(origins(&anchors), [AnchorOrigin::Unknown; 2]);
    assert!(errors.is_empty(), "{errors:?}");
    fs::write(directory.join("done"), "").unwrap();
}

/// The platforms have no list of roots that native code can read, and clients there rely on it that
/// none appears.
#[cfg(any(target_os = "android", target_os = "ios"))]
#[test]
fn a_mobile_platform_has_no_anchors() {
    let test = "a_mobile_platform_has_no_anchors";
    let Some(directory) = in_own_process(test, "PINHOLD_TEST_UNUSED", "") else {
        return;
    };
    let (anchors, _) = TrustAnchors::native();
    assert_eq!(origins(&anchors), []);
    fs::write(directory.join("done"), "").unwrap();
}

#[test]
fn a_local_directory_adds_no_anchor_and_does_not_change_a_built_in_one() {
    let (known, proxy) = (Ca::root("Known"), Ca::root("Proxy"));
    let directory = tempfile::tempdir().unwrap();
    for root in [&known, &proxy] {
        fs::write(directory.path().join(&root.name), root.pem()).unwrap();
    }
    let built_in = TrustAnchors::new()
        .with_built_in([known.certificate()])
        .unwrap();
    let (anchors, errors) = built_in.mark_user_added_from([directory.path()]);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(origins(&anchors), [AnchorOrigin::BuiltIn]);
}

#[tokio::test]
async fn a_root_of_ssl_cert_file_is_enforced() {
    let (test, name) = ("a_root_of_ssl_cert_file_is_enforced", "bundle.pem");
    let Some(directory) = in_own_process(test, "SSL_CERT_FILE", name) else {
        return;
    };
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let malformed = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(
        directory.join("bundle.pem"),
        format!("{malformed}{}", root.pem()),
    )
    .unwrap();

    let (anchors, errors) = TrustAnchors::native();
    assert_eq!(origins(&anchors), [AnchorOrigin::Unknown]);
    assert!(
        matches!(&errors[..], [NativeRootError::Certificate { .. }]),
        "a malformed root does not affect others: {errors:?}"
    );
    let refused = visit(&refusing(), anchors.clone(), &leaf).await;
    let refused = violation(refused).unwrap();
    assert_eq!(refused.chain().anchor_origin(), AnchorOrigin::Unknown);
    assert!(matches!(refused.cause(), Cause::UnknownRoot { .. }));

    // Pinned keys and unpinned hosts pass, but nothing is noted.
    let passed = visit(
        &pinning_with(policy_with(leaf.pin())),
        anchors.clone(),
        &leaf,
    )
    .await;
    assert!(matches!(decision(&passed), Decision::Pass));
    let unpinned = visit(&builder().build().unwrap(), anchors.clone(), &leaf)
        .await
        .unwrap();
    let ignored = IgnoreReason::AnchorNotBuiltIn(AnchorOrigin::Unknown);
    assert_eq!(unpinned.extensions().get(), Some(&Noted::Ignored(ignored)));

    assert_skipped_if_declared(anchors, &root, &leaf).await;
}

/// Asserts that pins are skipped once the application declares the root as user-added, although it
/// is among the anchors already with an unknown origin.
async fn assert_skipped_if_declared(anchors: TrustAnchors, root: &Ca, leaf: &Leaf) {
    let added = anchors.with_user_added([root.certificate()]).unwrap();
    let skipped = visit(&refusing(), added, leaf).await;
    assert!(matches!(decision(&skipped), Decision::Skipped));
}

#[test]
fn a_root_of_mozillas_list_is_built_in_from_every_source() {
    use AnchorOrigin::{BuiltIn, Unknown};
    let mozilla =
        TrustAnchors::new().with_anchors(BuiltIn, webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let test = "a_root_of_mozillas_list_is_built_in_from_every_source";
    let Some(directory) = in_own_process(test, "SSL_CERT_DIR", "") else {
        return;
    };
    for (number, (_, root)) in mozilla.iter().enumerate().take(3) {
        let path = directory.join(format!("{number}.pem"));
        fs::write(path, pem("CERTIFICATE", &lookalike(root))).unwrap();
    }
    // A root with only the same name, or only the same key, is a different one.
    let (_, first) = mozilla.iter().next().unwrap();
    let (_, second) = mozilla.iter().nth(1).unwrap();
    let mixed = TrustAnchor {
        subject: Der::from_slice(&first.subject),
        subject_public_key_info: Der::from_slice(&second.subject_public_key_info),
        name_constraints: None,
    };
    fs::write(
        directory.join("mixed.pem"),
        pem("CERTIFICATE", &lookalike(&mixed)),
    )
    .unwrap();
    fs::write(directory.join("other.pem"), Ca::root("Other").pem()).unwrap();

    let (anchors, errors) = TrustAnchors::native();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(
        origins(&anchors),
        [BuiltIn, BuiltIn, BuiltIn, Unknown, Unknown]
    );
}

/// Simulates a Debian machine with one root that its administrator added and one that is in no
/// local directory, in a process with other directories mounted over those of the system.
#[cfg(target_os = "linux")]
#[test]
fn a_root_that_the_administrator_added_is_user_added() {
    if env::var_os(OWN_PROCESS).is_some() {
        assert_added_root_is_user_added();
        return fs::write(env::var_os(OWN_PROCESS).unwrap(), "done").unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let [local, trusted] = ["local", "trusted"].map(|name| directory.path().join(name));
    for path in [&local, &trusted] {
        fs::create_dir(path).unwrap();
    }
    let [added, other] =
        ["Added", "Other"].map(|name| pem("CERTIFICATE", &Ca::root(name).certificate()));
    fs::write(
        trusted.join("ca-certificates.crt"),
        [&*added, &other].concat(),
    )
    .unwrap();
    fs::write(local.join("added.crt"), added).unwrap();
    let name = "native_roots::a_root_that_the_administrator_added_is_user_added";
    run_with_mounts(name, &local, &trusted);
}

/// Runs a test again in its own process, with directories mounted over those of the system. The
/// test must create the file that the variable names.
#[cfg(target_os = "linux")]
pub(crate) fn run_with_mounts(test: &str, local: &Path, trusted: &Path) {
    use std::io::Write;

    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let mount = "mount --bind \"$1\" /usr/local/share/ca-certificates \
        && mount --bind \"$2\" /etc/ssl/certs && shift 2 && exec \"$@\"";
    let run = |program: &Path, arguments: &[&str]| {
        let mut child = Command::new("unshare");
        child.args(["--mount", "--map-root-user", "sh", "-c", mount, "sh"]);
        child.args([local, trusted]).arg(program).args(arguments);
        child.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        child.env(OWN_PROCESS, &done).status().unwrap().success()
    };
    if !run(Path::new("true"), &[]) {
        // Containers may forbid mounts. Written to the real stderr, since the output of passing
        // tests is captured.
        let written = writeln!(
            std::io::stderr(),
            "mounts are not allowed here: a test is skipped"
        );
        return written.unwrap();
    }
    assert!(
        run(&env::current_exe().unwrap(), &["--exact", test]),
        "the test failed in its own process"
    );
    assert!(done.exists(), "no test of this name ran");
}

/// Asserts that the platform has two roots, of which the one named "Added" is user-added.
#[cfg(target_os = "linux")]
fn assert_added_root_is_user_added() {
    let (anchors, errors) = TrustAnchors::native();
    assert!(errors.is_empty(), "{errors:?}");
    let origins = anchors.iter().map(|(origin, anchor)| {
        let is_added = anchor.subject.windows(5).any(|text| text == b"Added");
        (origin, is_added)
    });
    assert_eq!(
        origins.collect::<Vec<_>>(),
        [
            (AnchorOrigin::Unknown, false),
            (AnchorOrigin::UserAdded, true)
        ]
    );
}
