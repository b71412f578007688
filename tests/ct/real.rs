//! A chain of a public CA with the SCTs of three public logs, see `tests/formats/ct/README.md`.

use pinhold::ct::{CtMode, CtOptions, CtViolation, LogList, SctVerdict};
use pinhold::{Pinning, PinningVerifier, TrustAnchors};
use rustls::Error;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::common::{at, providers};
use crate::world::verdicts;

const LEAF: &[u8] = include_bytes!("../formats/ct/ee.der");
const INTERMEDIATE: &[u8] = include_bytes!("../formats/ct/inter.der");
const ROOT: &[u8] = include_bytes!("../formats/ct/ca.der");
const LIST: &str = include_str!("../formats/ct/log_list.json");
/// 1 January 2022.
const TIME: u64 = 1_640_995_200;

fn verify(list: LogList) -> Vec<Result<(), Error>> {
    let each = providers().into_iter().map(|provider| {
        let options = CtOptions::new(list.clone()).other_hosts(CtMode::Enforce);
        let builder = Pinning::builder().certificate_transparency(options);
        let root = TrustAnchors::new().with_built_in([CertificateDer::from(ROOT)]);
        let verifier = PinningVerifier::builder(builder.build().unwrap())
            .with_anchors(root.unwrap())
            .with_provider(provider)
            .verifier_without_resumption_check()
            .unwrap();
        let name = ServerName::try_from("cloudflare-dns.com").unwrap();
        let intermediates = [CertificateDer::from(INTERMEDIATE)];
        let leaf = CertificateDer::from(LEAF);
        let verdict = verifier.verify_server_cert(&leaf, &intermediates, &name, &[], at(TIME));
        verdict.map(drop)
    });
    each.collect()
}

#[test]
fn scts_of_public_logs_are_verified() {
    let list = LogList::parse(LIST).unwrap();
    assert_eq!(list.logs().count(), 3);
    for verdict in verify(list) {
        verdict.unwrap();
    }
}

#[test]
fn an_unknown_public_log_does_not_count() {
    let other = LIST.replacen("\"usable\"", "\"rejected\"", 1);
    for verdict in verify(LogList::parse(&other).unwrap()) {
        let violation = CtViolation::find(&verdict.unwrap_err()).unwrap();
        let verdicts = verdicts(&violation);
        assert!(verdicts.contains(&SctVerdict::NotAccepted), "{verdicts:?}");
    }
}
