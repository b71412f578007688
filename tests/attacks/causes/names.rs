//! Names in certificates of an attacker: they change no statement, and are escaped in every text.

use pinhold::tls::Cause;
use pinhold::{PinViolation, TrustAnchors, UserAddedRoots};
use rcgen::string::Ia5String;
use rcgen::{DnType, KeyPair, SanType};

use super::{HOST, Visitor, both};
use crate::common::pki::{Ca, Leaf, leaf_params};
use crate::common::policy_with;
use crate::common::validated::built_in_anchors;

/// The attacker's root as the user-added, the platform's or an untrusted one.
fn anchor_sets(known: &TrustAnchors, attacker: &Ca) -> [TrustAnchors; 3] {
    let root = || [attacker.certificate()];
    [
        known.clone().with_user_added(root()).unwrap(),
        known.clone().with_unknown(root()).unwrap(),
        known.clone(),
    ]
}

#[tokio::test]
async fn a_root_named_like_an_antivirus_product_changes_no_statement() {
    let root = Ca::root("Root");
    let genuine = root.leaf(&[HOST]);
    let known = built_in_anchors(&[&root]);
    let policy = policy_with(genuine.pin()).user_added_roots(UserAddedRoots::EnforcePins);
    let pem = KeyPair::generate().unwrap().serialize_pem();
    let mut statements = Vec::new();
    for (organisation, name) in [
        ("AO Kaspersky Lab", "Kaspersky Anti-Virus Personal Root"),
        ("Example", "Root of nothing"),
    ] {
        let key = KeyPair::from_pem(&pem).unwrap();
        let attacker = Ca::root_of_with_key(organisation, name, key);
        let plain = attacker.leaf(&[HOST]);
        let appended = plain.with_appended(genuine.chain.clone());
        let mut stated = Vec::new();
        for (leaf, anchors) in pairs([&plain, &appended], &anchor_sets(&known, &attacker)) {
            for server in both(leaf) {
                let visitor = Visitor::pinned(policy.clone(), anchors);
                let error = visitor.visit(server.address).await.unwrap_err();
                let cause = pinhold::tls::cause(&error).unwrap();
                stated.push((cause.id(), cause.to_string(), cause.remedy()));
            }
        }
        statements.push(stated);
    }
    assert_eq!(statements[0], statements[1]);
    let ids = statements[0].iter().map(|(id, ..)| *id);
    let expected = ["user-added-root", "unknown-root", "unknown-issuer"];
    let expected = expected.into_iter().flat_map(|id| [id, id]);
    let expected = expected.clone().chain(expected).collect::<Vec<_>>();
    let ids = ids.collect::<Vec<_>>();
    assert!(ids.is_empty() || ids == expected, "{ids:?}");
}

fn pairs<'a>(
    leaves: [&'a Leaf; 2],
    sets: &'a [TrustAnchors; 3],
) -> impl Iterator<Item = (&'a Leaf, &'a TrustAnchors)> {
    let leaves = leaves.into_iter();
    leaves.flat_map(move |leaf| sets.iter().map(move |anchors| (leaf, anchors)))
}

#[tokio::test]
async fn names_of_unverified_certificates_are_escaped_in_every_text() {
    let root = Ca::root("Root");
    let anchors = built_in_anchors(&[&root]);
    let genuine = root.leaf(&[HOST]);
    // A name of the certificate, which is for another host.
    let mut params = leaf_params(&[]);
    params.subject_alt_names = vec![SanType::DnsName(Ia5String::try_from(HOSTILE).unwrap())];
    for server in both(&root.leaf_from(params)) {
        let visitor = Visitor::pinned(policy_with(genuine.pin()), &anchors);
        let cause = visitor.failed(server.address).await;
        let Cause::OtherName { presented } = &cause else {
            panic!("{cause:?}");
        };
        assert!(!presented[0].chars().any(char::is_control), "{presented:?}");
        assert!(cause.to_string().contains(r#""a\"\n\u{1b}[2J""#), "{cause}");
    }
    // A subject in a refusal by pins: one line for each key, whatever it contains.
    let subjects = [HOSTILE, "plain"].map(|name| {
        let mut params = leaf_params(&[HOST]);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        root.leaf_from(params)
    });
    let mut lines = Vec::new();
    for leaf in &subjects {
        for server in both(leaf) {
            let visitor = Visitor::pinned(policy_with(genuine.pin()), &anchors);
            let error = visitor.visit(server.address).await.unwrap_err();
            let text = PinViolation::find(&error).unwrap().to_string();
            let is_control = |char: char| char.is_control() && char != '\n';
            assert!(!text.contains(is_control), "{text:?}");
            lines.push(text.lines().count());
        }
    }
    assert!(lines.windows(2).all(|pair| pair[0] == pair[1]), "{lines:?}");
}

const HOSTILE: &str = "a\"\n\u{1b}[2J";
