//! The path-validation cases of C2SP/x509-limbo. Without pins, results and errors are those of
//! rustls's own verifier. With pins, exactly the keys of valid paths satisfy them.
//!
//! The cases are read from `../shared/data/x509-limbo-core.json`. If that file is missing, these
//! tests are skipped with a note, and `.ci/run` fails.

use std::cell::RefCell;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use crate::common::pki::Ca;
use crate::common::{at, now, providers, unrelated_pin};
use pinhold::{PinPolicy, PinViolation, Pinning, PinningVerifier, SpkiFingerprint, TrustAnchors};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{Error, RootCertStore};
use serde_json::Value;
use spki::der::DateTime;
use webpki::{EndEntityCert, KeyUsage, OwnedCertRevocationList, RevocationOptionsBuilder};

#[test]
fn results_and_errors_are_those_of_rustls() {
    let Some(cases) = cases() else { return };
    let unrelated = UnrelatedCa::new();
    for provider in providers() {
        let (mut accepted, mut refused) = (0, 0);
        for (case, checks) in cases.iter().flat_map(Case::with_revocation_checks) {
            let unpinned = Pinning::builder().build().unwrap();
            let pinhold = case.pinhold(unpinned, &provider, checks);
            let webpki = case.webpki(&provider, checks);
            let expected = case.verify(&*webpki, &case.served);
            for served in [&case.served, &unrelated.appended_to(&case.served)] {
                // Compared as text, since an `OtherError` of rustls does not equal itself.
                let found = format!("{:?}", case.verify(&pinhold, served));
                assert_eq!(found, format!("{expected:?}"), "{} {checks:?}", case.id);
            }
            match expected {
                Ok(()) => accepted += 1,
                Err(_) => refused += 1,
            }
        }
        print_note(&format!(
            "{accepted} cases accepted and {refused} refused by both verifiers"
        ));
        assert!(accepted >= 120 && refused >= 80, "too few cases");
    }
}

#[test]
fn exactly_the_keys_of_valid_paths_satisfy_a_pin() {
    let Some(cases) = cases() else { return };
    let unrelated = UnrelatedCa::new();
    for provider in providers() {
        let (mut accepted, mut passing, mut off_path) = (0, 0, 0);
        for case in &cases {
            if !case.is_accepted_by_dns_name(&provider) {
                continue;
            }
            accepted += 1;
            let paths = case.valid_paths(&provider);
            let keys_of_paths = paths.concat();
            for pin in case.keys() {
                let expected = keys_of_paths.contains(&pin);
                passing += usize::from(expected);
                off_path += usize::from(!expected && case.serves(pin));
                case.assert_pin(pin, expected, &paths, &unrelated, &provider);
            }
            for pin in unrelated.pins() {
                case.assert_pin(pin, false, &paths, &unrelated, &provider);
            }
        }
        print_note(&format!(
            "{accepted} accepted by DNS name, {passing} keys of their paths pass, {off_path} \
             keys served beside them fail"
        ));
        assert!(accepted >= 90 && passing >= 200, "too few cases");
        assert!(off_path >= 5, "too few cases");
    }
}

/// The certificates of a server and everything that determines whether they are valid.
struct Case {
    id: String,
    /// Leaf first.
    served: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
    time: UnixTime,
    crls: Vec<CertificateRevocationListDer<'static>>,
}

/// Settings of revocation checks. The default is that of rustls.
#[derive(Clone, Copy, Debug, Default)]
struct Checks {
    only_end_entity: bool,
    allow_unknown: bool,
    enforce_expiration: bool,
}

impl Case {
    /// Reads a case. Returns `None` if it has no peer name or its roots cannot be anchors.
    fn read(case: &Value) -> Option<Self> {
        let name = case["expected_peer_name"]["value"].as_str()?;
        let certificates = |list: &Value| {
            let list = list.as_array().unwrap().iter();
            list.map(certificate).collect::<Vec<_>>()
        };
        let roots = certificates(&case["trusted_certs"]);
        let mut store = RootCertStore::empty();
        if store.add_parsable_certificates(roots.clone()).1 > 0 {
            return None;
        }
        let mut served = vec![certificate(&case["peer_certificate"])];
        served.extend(certificates(&case["untrusted_intermediates"]));
        let crls = case["crls"].as_array().unwrap().iter();
        let crls = crls.map(|crl| crl.as_str().unwrap().as_bytes());
        Some(Self {
            id: case["id"].as_str().unwrap().to_owned(),
            served,
            roots,
            name: ServerName::try_from(name.to_owned()).unwrap(),
            time: case["validation_time"]
                .as_str()
                .map_or_else(now, parse_time),
            crls: crls
                .map(|crl| CertificateRevocationListDer::from_pem_slice(crl).unwrap())
                .collect(),
        })
    }

    /// Combines the case with every setting of revocation checks, if it has revocation lists.
    fn with_revocation_checks(&self) -> impl Iterator<Item = (&Self, Checks)> {
        let settings = if self.crls.is_empty() { 1 } else { 8 };
        (0..settings).map(move |bits| {
            let checks = Checks {
                only_end_entity: bits & 1 != 0,
                allow_unknown: bits & 2 != 0,
                enforce_expiration: bits & 4 != 0,
            };
            (self, checks)
        })
    }

    fn pinhold(
        &self,
        pinning: Pinning,
        provider: &Arc<CryptoProvider>,
        checks: Checks,
    ) -> PinningVerifier {
        let anchors = TrustAnchors::new().with_built_in(self.roots.clone());
        let mut builder = PinningVerifier::builder(pinning)
            .with_anchors(anchors.unwrap())
            .with_provider(Arc::clone(provider))
            .with_crls(self.crls.clone());
        if checks.only_end_entity {
            builder = builder.only_check_end_entity_revocation();
        }
        if checks.allow_unknown {
            builder = builder.allow_unknown_revocation_status();
        }
        if checks.enforce_expiration {
            builder = builder.enforce_revocation_expiration();
        }
        builder.verifier_without_resumption_check().unwrap()
    }

    fn webpki(&self, provider: &Arc<CryptoProvider>, checks: Checks) -> Arc<WebPkiServerVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.roots.clone());
        let (roots, provider) = (Arc::new(roots), Arc::clone(provider));
        let mut builder = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .with_crls(self.crls.clone());
        if checks.only_end_entity {
            builder = builder.only_check_end_entity_revocation();
        }
        if checks.allow_unknown {
            builder = builder.allow_unknown_revocation_status();
        }
        if checks.enforce_expiration {
            builder = builder.enforce_revocation_expiration();
        }
        builder.build().unwrap()
    }

    fn verify(
        &self,
        verifier: &dyn ServerCertVerifier,
        served: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let (leaf, intermediates) = served.split_first().unwrap();
        let verify = || {
            let (name, time) = (&self.name, self.time);
            let result = verifier.verify_server_cert(leaf, intermediates, name, &[], time);
            result.map(drop)
        };
        let cold = verify();
        // The signatures are cached now, which must not change the result.
        let warm = verify();
        assert_eq!(warm.is_ok(), cold.is_ok(), "{}", self.id);
        warm
    }

    fn is_accepted_by_dns_name(&self, provider: &Arc<CryptoProvider>) -> bool {
        let verifier = self.webpki(provider, Checks::default());
        matches!(self.name, ServerName::DnsName(_)) && self.verify(&*verifier, &self.served).is_ok()
    }

    /// Returns the keys of every valid path in webpki's order, leaf first. The callback rejects
    /// each path so that webpki continues until there is none left.
    fn valid_paths(&self, provider: &CryptoProvider) -> Vec<Vec<SpkiFingerprint>> {
        let paths = RefCell::new(Vec::new());
        let collect = |path: &webpki::VerifiedPath<'_>| {
            let intermediates = path.intermediate_certificates();
            let mut keys = vec![fingerprint(&self.served[0])];
            keys.extend(intermediates.map(|certificate| fingerprint(&certificate.der())));
            keys.push(SpkiFingerprint::of_anchor(path.anchor()));
            paths.borrow_mut().push(keys);
            Err(webpki::Error::UnknownIssuer)
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.roots.clone());
        let crls = self.crls.iter().map(|crl| {
            let crl = OwnedCertRevocationList::from_der(crl).unwrap();
            crl.into()
        });
        let crls = crls.collect::<Vec<_>>();
        let crls = crls.iter().collect::<Vec<_>>();
        let revocation = RevocationOptionsBuilder::new(&crls).ok();
        let leaf = EndEntityCert::try_from(&self.served[0]).unwrap();
        let end_of_search = leaf.verify_for_usage(
            provider.signature_verification_algorithms.all,
            &roots.roots,
            &self.served[1..],
            self.time,
            KeyUsage::server_auth(),
            revocation.map(RevocationOptionsBuilder::build),
            Some(&collect),
        );
        assert!(end_of_search.is_err());
        paths.into_inner()
    }

    /// The keys of all served and trusted certificates, whether on a path or not.
    fn keys(&self) -> Vec<SpkiFingerprint> {
        let certificates = self.served.iter().chain(&self.roots);
        let mut keys = certificates.map(fingerprint).collect::<Vec<_>>();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn serves(&self, pin: SpkiFingerprint) -> bool {
        self.served.iter().any(|served| fingerprint(served) == pin)
    }

    /// Asserts that the case passes with `pin` as the only pin, or is refused with the last path
    /// that was tried. Appended unrelated certificates make no difference.
    fn assert_pin(
        &self,
        pin: SpkiFingerprint,
        passes: bool,
        paths: &[Vec<SpkiFingerprint>],
        unrelated: &UnrelatedCa,
        provider: &Arc<CryptoProvider>,
    ) {
        let policy = PinPolicy::without_backup([pin]).unwrap();
        let pinning = Pinning::builder().static_pins(&*self.name.to_str(), policy);
        let verifier = self.pinhold(pinning.build().unwrap(), provider, Checks::default());
        for served in [&self.served, &unrelated.appended_to(&self.served)] {
            let result = self.verify(&verifier, served);
            if passes {
                assert_eq!(result, Ok(()), "{} {pin}", self.id);
                continue;
            }
            let violation = PinViolation::find(&result.unwrap_err());
            let violation = violation.unwrap_or_else(|| panic!("{} {pin}", self.id));
            let found = violation.chain().fingerprints();
            assert_eq!(Some(found), paths.last().map(Vec::as_slice), "{}", self.id);
        }
    }
}

/// Certificates of a CA that no case trusts.
struct UnrelatedCa {
    root: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
}

impl UnrelatedCa {
    fn new() -> Self {
        let root = Ca::root("Unrelated");
        Self {
            root: root.certificate(),
            leaf: root.leaf(&["example.com"]).certificate(),
        }
    }

    /// The served certificates with these ones appended.
    fn appended_to(&self, served: &[CertificateDer<'static>]) -> Vec<CertificateDer<'static>> {
        [served, &[self.leaf.clone(), self.root.clone()]].concat()
    }

    fn pins(&self) -> [SpkiFingerprint; 3] {
        let (leaf, root) = (fingerprint(&self.leaf), fingerprint(&self.root));
        [leaf, root, unrelated_pin()]
    }
}

/// Reads the cases of servers with a name, or returns `None` if the file is missing.
fn cases() -> Option<Vec<Case>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/x509-limbo-core.json");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            print_note(&format!("skipped: {} is missing", path.display()));
            return None;
        }
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let limbo = serde_json::from_str::<Value>(&text).unwrap();
    let all = limbo["testcases"].as_array().unwrap();
    let servers = all
        .iter()
        .filter(|case| case["validation_kind"] == "SERVER")
        .collect::<Vec<_>>();
    let cases = servers
        .iter()
        .filter_map(|case| Case::read(case))
        .collect::<Vec<_>>();
    print_note(&format!(
        "{} cases: {} not of servers, {} without a name or with roots that cannot be anchors, {} \
         covered",
        all.len(),
        all.len() - servers.len(),
        servers.len() - cases.len(),
        cases.len()
    ));
    Some(cases)
}

fn certificate(pem: &Value) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_str().unwrap().as_bytes()).unwrap()
}

fn fingerprint(certificate: &CertificateDer<'_>) -> SpkiFingerprint {
    SpkiFingerprint::of_certificate(certificate).unwrap()
}

/// Parses a time such as `2024-03-01T00:00:00.999+00:00`. Fractions of a second are dropped, since
/// `UnixTime` has none.
fn parse_time(text: &str) -> UnixTime {
    let seconds = text.strip_suffix("+00:00").unwrap().get(..19).unwrap();
    let time = format!("{seconds}Z").parse::<DateTime>().unwrap();
    at(time.unix_duration().as_secs())
}

/// Writes to the real stderr, since the output of passing tests is captured.
fn print_note(text: &str) {
    let _ = writeln!(std::io::stderr(), "limbo: {text}");
}
