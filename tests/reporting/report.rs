//! The JSON of reports (RFC 7469 section 3): golden files, types of fields, and other readers.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::common::peers::program;
use crate::common::pki::{Ca, Leaf};
use crate::common::recording::{Recorder, with_recorder};
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{Clock, DAY, NOW, at, header_value, now, policy_with, unrelated_pin};
use pinhold::header::PinHeader;
use pinhold::policy::AfterExpiry;
use pinhold::report::{Report, ReportDetail, ReportForm};
use pinhold::roots::AnchorOrigin;
use pinhold::{Decision, Host, PinPolicy, Pinning, PinningBuilder, TrustAnchors, UserAddedRoots};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// A server that fails its pins, and a recorder of reports.
struct Fixture {
    root: Ca,
    leaf: Leaf,
    server: Server,
    pinning: Pinning,
    recorder: Recorder,
}

impl Fixture {
    /// Starts a server whose chain has an additional certificate.
    async fn start(build: impl FnOnce(PinningBuilder) -> PinningBuilder) -> Self {
        let root = Ca::root("Root");
        let leaf = root.intermediate("Sub");
        let leaf = leaf.leaf(&["example.com", "www.example.com"]);
        let leaf = leaf.with_appended([Ca::root("Beside").certificate()]);
        let builder = build(Pinning::builder().time_provider(Clock::new()));
        let (pinning, recorder) = with_recorder(builder);
        Self {
            server: Server::start(&leaf, &[]).await,
            root,
            leaf,
            pinning,
            recorder,
        }
    }

    async fn visit(&self, uri: &str, anchors: TrustAnchors) -> Option<Report> {
        visit(&self.server, &self.pinning, uri, anchors).await;
        self.recorder.reports(&self.pinning).pop()
    }

    /// Returns the report of a request that the pins refuse.
    async fn report(&self, uri: &str) -> Report {
        let report = self.visit(uri, built_in_anchors(&[&self.root])).await;
        report.unwrap()
    }

    fn served(&self) -> Value {
        self.leaf.chain.iter().map(pem).collect()
    }

    fn path(&self) -> Vec<Value> {
        self.leaf.chain[..2].iter().map(pem).collect()
    }
}

async fn visit(server: &Server, pinning: &Pinning, uri: &str, anchors: TrustAnchors) {
    let names = Names::new([("example.com", server), ("www.example.com", server)]);
    let mut client = client(pinning, anchors, &names);
    let _ = get(&mut client, uri).await;
}

/// Returns a certificate as PEM, by another implementation than that of the library.
fn pem(der: &CertificateDer<'static>) -> Value {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64);
    let lines = lines.map(|line| format!("{}\n", str::from_utf8(line).unwrap()));
    let lines = lines.collect::<String>();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n").into()
}

/// A JSON object; reading fails if a key occurs twice.
struct Strict(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Strict;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
                let (mut seen, mut entries) = (BTreeSet::new(), Vec::new());
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if !seen.insert(key.clone()) {
                        return Err(serde::de::Error::custom(format!("{key} twice")));
                    }
                    entries.push((key, value));
                }
                Ok(Strict(entries))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

impl Strict {
    fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(key, _)| &**key).collect()
    }

    fn get(&self, key: &str) -> &Value {
        let found = self.0.iter().find(|(known, _)| known == key);
        &found.unwrap_or_else(|| panic!("no {key}")).1
    }
}

fn full(report: &Report) -> Strict {
    Strict::read(&report.to_json(&ReportForm::new()))
}

fn with_static_policy(policy: PinPolicy) -> impl FnOnce(PinningBuilder) -> PinningBuilder {
    |builder| builder.static_pins("example.com", policy)
}

/// Returns the leaf and the root in `tests/data/report`, which belong to the golden files.
fn golden_leaf() -> (Leaf, CertificateDer<'static>) {
    let certificate = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
    let key = include_bytes!("../data/report/leaf.key.pem");
    let key = PrivatePkcs8KeyDer::from_pem_slice(key).unwrap();
    let chain = [
        include_str!("../data/report/leaf.pem"),
        include_str!("../data/report/intermediate.pem"),
        include_str!("../data/report/beside.pem"),
    ];
    let leaf = Leaf::from_parts(
        key.secret_pkcs8_der().to_vec(),
        chain.map(certificate).to_vec(),
    );
    (leaf, certificate(include_str!("../data/report/root.pem")))
}

#[tokio::test]
async fn a_report_has_exactly_the_text_of_the_golden_files() {
    // 7469-3-a, 7469-3-b, 7469-3-c, 7469-3-d, 7469-3-e, 7469-3-f, 7469-3-g, 7469-3-h,
    // 7469-3-h2, 7469-3-j, 7469-3-k, 7469-5-e
    let (leaf, root) = golden_leaf();
    let server = Server::start(&leaf, &[]).await;
    let policy = policy_with(unrelated_pin()).include_subdomains();
    let policy = policy.expires(at(NOW + 30 * DAY), AfterExpiry::Refuse);
    let builder = Pinning::builder().time_provider(Clock::new());
    let (pinning, recorder) = with_recorder(builder.static_pins("example.com", policy));
    let anchors = TrustAnchors::new().with_built_in([root]).unwrap();
    // The report has the canonical form of the host name.
    visit(&server, &pinning, "https://WWW.Example.com.:8443/", anchors).await;
    let report = recorder.reports(&pinning).pop().unwrap();
    for (detail, expected) in [
        (ReportDetail::Full, include_str!("../data/report/full.json")),
        (
            ReportDetail::Fingerprints,
            include_str!("../data/report/fingerprints.json"),
        ),
        (
            ReportDetail::Counts,
            include_str!("../data/report/counts.json"),
        ),
    ] {
        let form = ReportForm::new().detail(detail);
        let form = form.field("app-version", "2.7.1").unwrap();
        assert_eq!(report.to_json(&form), expected.trim_end(), "{detail:?}");
    }
}

#[tokio::test]
async fn a_report_has_each_field_of_the_rfc_once_with_its_type() {
    // 7469-3-b, 7469-3-c, 7469-3-d, 7469-3-e, 7469-3-f, 7469-3-g, 7469-3-h
    let fixture = Fixture::start(with_static_policy(policy_with(unrelated_pin()))).await;
    for (uri, port) in [
        ("https://example.com/", 443),
        ("https://example.com:8443/", 8443),
    ] {
        let report = full(&fixture.report(uri).await);
        let keys = "date-time hostname port effective-expiration-date include-subdomains \
                    noted-hostname served-certificate-chain validated-certificate-chain \
                    known-pins";
        assert_eq!(report.keys(), keys.split(' ').collect::<Vec<_>>());
        assert_eq!(report.get("date-time"), "2023-11-14T22:13:20Z");
        assert_eq!(report.get("hostname"), "example.com");
        assert_eq!(report.get("port"), &Value::from(port));
        // The policy does not expire.
        let end = report.get("effective-expiration-date");
        assert_eq!(end, "9999-12-31T23:59:59Z");
        assert_eq!(report.get("include-subdomains"), &Value::Bool(false));
        assert_eq!(report.get("noted-hostname"), "example.com");
    }
}

#[tokio::test]
async fn a_report_names_the_noted_superdomain_with_its_expiry_and_flag() {
    // 7469-3-a, 7469-3-f, 7469-3-g, 7469-3-h, 7469-3-k
    let fixture = Fixture::start(|builder| builder).await;
    let chain = verified_chain(
        &fixture.leaf,
        "example.com",
        &built_in_anchors(&[&fixture.root]),
    )
    .await;
    let rest = "max-age=864000; includeSubDomains; report-uri=\"https://r.example/hpkp\"";
    let header = header_value(fixture.leaf.pin(), rest);
    let header = crate::common::header::parse(header).unwrap();
    let host = Host::parse("example.com").unwrap();
    fixture.pinning.note(&host, &header, &chain, now());
    let entry = fixture.pinning.store().list().remove(0);
    assert_eq!(entry.expires_at, at(NOW + 10 * DAY));

    let intruder = fixture.root.leaf(&["www.example.com"]);
    let intruder = Server::start(&intruder, &[]).await;
    let (anchors, uri) = (
        built_in_anchors(&[&fixture.root]),
        "https://www.example.com/",
    );
    visit(&intruder, &fixture.pinning, uri, anchors).await;
    let report = fixture.recorder.reports(&fixture.pinning).pop().unwrap();
    let policy = report.violation().policy();
    assert_eq!(policy.report_uris().first(), entry.report_uri.as_ref());
    let report = full(&report);
    assert_eq!(report.get("hostname"), "www.example.com");
    assert_eq!(report.get("noted-hostname"), "example.com");
    assert_eq!(report.get("include-subdomains"), &Value::Bool(true));
    let end = report.get("effective-expiration-date");
    assert_eq!(end, "2023-11-24T22:13:20Z");

    // `known-pins` is parsed to the pins that are stored.
    let pins = report.get("known-pins").as_array().unwrap();
    let pins = pins.iter().map(|pin| pin.as_str().unwrap());
    let value = pins.chain(["max-age=1"]).collect::<Vec<_>>().join("; ");
    let header: PinHeader = crate::common::header::parse(value).unwrap();
    assert!(header.pins().iter().eq(entry.pins.iter()));
}

#[tokio::test]
async fn the_validated_chain_ends_with_the_root_if_it_is_known() {
    // 7469-3-h2
    let fixture = Fixture::start(with_static_policy(policy_with(unrelated_pin()))).await;
    let uri = "https://example.com/";
    let root = fixture.root.certificate();
    let by_name = webpki_anchor(&root);
    let by_name = TrustAnchors::new().with_anchors(AnchorOrigin::BuiltIn, [by_name]);
    let sending = fixture.leaf.with_appended([root.clone()]);
    let sending_root = Server::start(&sending, &[]).await;

    let supplied = full(&fixture.report(uri).await);
    assert_eq!(supplied.get("served-certificate-chain"), &fixture.served());
    let with_root = fixture.path().into_iter().chain([pem(&root)]);
    let with_root = with_root.collect::<Value>();
    assert_eq!(supplied.get("validated-certificate-chain"), &with_root);

    let unknown = fixture.visit(uri, by_name.clone()).await.unwrap();
    let unknown = full(&unknown);
    let without = Value::from(fixture.path());
    assert_eq!(unknown.get("validated-certificate-chain"), &without);

    // The root is on the path and also the anchor, and is reported once.
    for anchors in [by_name, built_in_anchors(&[&fixture.root])] {
        visit(&sending_root, &fixture.pinning, uri, anchors).await;
        let report = fixture.recorder.reports(&fixture.pinning).pop().unwrap();
        let keys = ReportForm::new().detail(ReportDetail::Fingerprints);
        let keys = Strict::read(&report.to_json(&keys));
        assert_eq!(keys.get("validated-pins").as_array().unwrap().len(), 3);
        let report = full(&report);
        assert_eq!(report.get("validated-certificate-chain"), &with_root);
        let served = report.get("served-certificate-chain").as_array().unwrap();
        assert_eq!(served.len(), 4);
    }
}

/// Returns an anchor that has only the root's name and key, not its certificate.
fn webpki_anchor(root: &CertificateDer<'_>) -> rustls::pki_types::TrustAnchor<'static> {
    let mut store = rustls::RootCertStore::empty();
    store.add(root.clone().into_owned()).unwrap();
    store.roots.remove(0)
}

#[tokio::test]
async fn the_last_of_several_valid_paths_is_reported() {
    // 7469-3-i
    let (old, new) = (Ca::root("Old"), Ca::root("New"));
    let leaf = new.leaf(&["example.com"]);
    let cross = old.cross_sign(&new);
    let server = Server::start(&leaf.with_appended([cross.clone()]), &[]).await;
    let builder = Pinning::builder().time_provider(Clock::new());
    let builder = builder.static_pins("example.com", policy_with(unrelated_pin()));
    let (pinning, recorder) = with_recorder(builder);
    visit(
        &server,
        &pinning,
        "https://example.com/",
        built_in_anchors(&[&old, &new]),
    )
    .await;
    // webpki tries all anchors for a certificate before it continues with the next certificate.
    let report = full(&recorder.reports(&pinning).pop().unwrap());
    let longer = [&leaf.certificate(), &cross, &old.certificate()];
    let longer = longer.map(pem).into_iter().collect::<Value>();
    assert_eq!(report.get("validated-certificate-chain"), &longer);
}

#[tokio::test]
async fn violations_are_reported_for_built_in_roots_only() {
    // 7469-2.6-j, 7469-5-e
    let policy = policy_with(unrelated_pin()).user_added_roots(UserAddedRoots::EnforcePins);
    let fixture = Fixture::start(with_static_policy(policy)).await;
    let root = || [fixture.root.certificate()];
    for anchors in [
        TrustAnchors::new().with_user_added(root()),
        TrustAnchors::new().with_unknown(root()),
    ] {
        let report = fixture
            .visit("https://example.com/", anchors.unwrap())
            .await;
        assert!(report.is_none());
        let violation = fixture.recorder.violation(&fixture.pinning);
        assert_eq!(violation.host().as_str(), "example.com");
    }
    let reported = fixture.report("https://example.com/").await;
    assert_eq!(reported.violation().host().as_str(), "example.com");
}

#[tokio::test]
async fn an_id_depends_on_facts_and_time_and_not_on_the_form() {
    let fixture = Fixture::start(with_static_policy(policy_with(unrelated_pin()))).await;
    let chain = verified_chain(
        &fixture.leaf,
        "example.com",
        &built_in_anchors(&[&fixture.root]),
    )
    .await;
    let host = Host::parse("example.com").unwrap();
    let report = |seconds| match fixture.pinning.check(&host, &chain, at(seconds)) {
        Decision::Refuse(violation) => Report::new(violation),
        decision => panic!("{decision:?}"),
    };
    let first = report(NOW);
    assert_eq!(first.id().len(), 32);
    assert!(first.id().bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(first.id(), report(NOW).id());
    assert_eq!(first.id(), report(NOW).with_port(443).id());
    // Also for the report of a connection, after it was encoded in another form.
    let seen = fixture.report("https://example.com/").await;
    let form = ReportForm::new().detail(ReportDetail::Counts);
    assert!(!seen.to_json(&form).is_empty());
    assert_eq!(first.id(), seen.id());
    assert_ne!(first.id(), report(NOW + 1).id());
    assert_ne!(first.id(), report(NOW).with_port(8443).id());
    let policy = policy_with(crate::common::header::pin(1));
    let replaced = [("example.com", policy)];
    fixture.pinning.replace_pins(replaced).unwrap();
    assert_ne!(first.id(), report(NOW).id());
}

#[test]
fn additional_fields_can_not_have_names_that_reports_use() {
    // 7469-3-b
    for golden in [
        include_str!("../data/report/full.json"),
        include_str!("../data/report/fingerprints.json"),
        include_str!("../data/report/counts.json"),
    ] {
        for name in Strict::read(golden).keys() {
            let refused = ReportForm::new().field(name, "x");
            match name {
                "app-version" => assert!(refused.is_ok()),
                _ => assert_eq!(refused.unwrap_err().name, name),
            }
        }
    }
}

#[tokio::test]
async fn openssl_reads_the_certificates() {
    // 7469-3-h2
    let Some(openssl) = program("openssl") else {
        return;
    };
    let fixture = Fixture::start(with_static_policy(policy_with(unrelated_pin()))).await;
    let report = full(&fixture.report("https://example.com/").await);
    let served = report.get("served-certificate-chain").as_array().unwrap();
    assert_eq!(served.len(), fixture.leaf.chain.len());
    for (text, der) in served.iter().zip(&fixture.leaf.chain) {
        let mut child = Command::new(&openssl)
            .args(["x509", "-outform", "DER"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let text = text.as_str().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, der.as_ref());
    }
}

/// Returns whether the value is a time of RFC 3339 section 5.6 in UTC.
fn is_date(value: &Value) -> bool {
    let form = "dddd-dd-ddTdd:dd:ddZ";
    let text = value.as_str().unwrap();
    let is_like = |(char, form): (char, char)| match form {
        'd' => char.is_ascii_digit(),
        _ => char == form,
    };
    text.len() == form.len() && text.chars().zip(form.chars()).all(is_like)
}

/// The types are those that Sentry's endpoint for security reports requires.
#[tokio::test]
async fn every_form_has_the_types_that_collectors_of_security_reports_expect() {
    // 7469-3-a, 7469-3-j
    let fixture = Fixture::start(with_static_policy(policy_with(unrelated_pin()))).await;
    let report = fixture.report("https://example.com:8443/").await;
    for detail in [
        ReportDetail::Counts,
        ReportDetail::Fingerprints,
        ReportDetail::Full,
    ] {
        let text = report.to_json(&ReportForm::new().detail(detail));
        assert!(!text.contains('\''));
        let report = Strict::read(&text);
        assert!(report.get("hostname").is_string());
        assert!(report.get("noted-hostname").is_string());
        assert!(report.get("known-pins").is_array());
        assert!(is_date(report.get("date-time")));
        assert!(is_date(report.get("effective-expiration-date")));
        assert!(report.get("port").is_u64());
        assert!(report.get("include-subdomains").is_boolean());
        for (key, value) in &report.0 {
            let strings = value.as_array().into_iter().flatten();
            assert!(strings.clone().all(Value::is_string), "{key}");
        }
    }
}
