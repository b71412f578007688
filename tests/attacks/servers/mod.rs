//! The attacks of the threat model in `SECURITY.md`, each performed in real handshakes over TLS 1.2
//! and 1.3 with every crypto provider of the build.

mod filling;
mod noting;
mod responses;

use std::time::Duration;

use crate::common::pki::{Ca, Leaf, ca_params, leaf_params};
use crate::common::server::{Names, Server, answer, get};
use crate::common::tls_setup::{
    builder, certificate_error, is_known, noted, pinning_with, tls_setups, violation,
};
use crate::common::validated::built_in_anchors;
use crate::common::{header_value, policy_with, unrelated_pin};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::{Host, PinViolation, Pinning, SpkiFingerprint};
use rcgen::{BasicConstraints, IsCa};
use rustls::CertificateError;

#[tokio::test]
async fn attack_1_a_mis_issued_chain_with_the_pinned_certificate_appended_is_refused() {
    for setup in tls_setups() {
        let (genuine_root, other_root) = (Ca::root("Genuine"), Ca::root("Other"));
        let genuine_ca = genuine_root.intermediate("Genuine CA");
        let genuine = genuine_ca.leaf(&["example.com"]);
        let mis_issued = other_root.intermediate("Other CA").leaf(&["example.com"]);
        let anchors = built_in_anchors(&[&genuine_root, &other_root]);
        let everything = genuine
            .chain
            .iter()
            .cloned()
            .chain([genuine_root.certificate()]);
        for pin in [genuine.pin(), genuine_ca.pin(), genuine_root.pin()] {
            let pinning = pinning_with(policy_with(pin));
            for served in [
                mis_issued.with_chain(mis_issued.chain.clone()),
                mis_issued.with_appended([genuine.certificate()]),
                mis_issued.with_appended(everything.clone()),
            ] {
                let server = setup.serve(&served, &[]).await;
                let visit = setup.visit(&pinning, &anchors, &server).await;
                let violation = violation(visit).unwrap();
                assert_eq!(violation.chain().served().len(), served.chain.len());
                // The message names each pin as expected, and in the statement of the cause if its
                // certificate was served beside the path.
                let mentions = violation.to_string().matches(&pin.to_string()).count();
                let keys = served.chain.iter().map(SpkiFingerprint::of_certificate);
                assert_eq!(
                    mentions,
                    1 + usize::from(keys.into_iter().any(|key| key == Ok(pin)))
                );
                assert_eq!(server.requests(), 0, "no request reaches the attacker");
            }
            let server = setup.serve(&genuine, &[]).await;
            assert!(setup.visit(&pinning, &anchors, &server).await.is_ok());
        }
    }
}

#[tokio::test]
async fn attack_2_the_genuine_certificate_without_its_key_is_refused() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let genuine = root.leaf(&["example.com"]);
        let config = setup.config_without_key(&genuine, &root.leaf(&["attacker.example"]));
        let value = header_value(genuine.pin(), "max-age=100");
        let server = Server::with_config(config, answer(&[("public-key-pins", &value)])).await;

        for pinning in [
            pinning_with(policy_with(genuine.pin())),
            builder().build().unwrap(),
        ] {
            let visit = setup
                .visit(&pinning, &built_in_anchors(&[&root]), &server)
                .await;
            assert_eq!(certificate_error(visit), CertificateError::BadSignature);
            assert!(
                !is_known(&pinning, "example.com"),
                "nothing is noted before the handshake is verified"
            );
        }
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn attack_3_an_invalid_chain_with_a_pinned_key_is_refused() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let anchors = built_in_anchors(&[&root]);
        for (leaf, expected) in invalid_chains(&root) {
            let pinning = pinning_with(policy_with(leaf.pin()));
            let server = setup.serve(&leaf, &[]).await;
            let error = certificate_error(setup.visit(&pinning, &anchors, &server).await);
            assert!(expected(&error), "{error:?}");
            assert_eq!(server.requests(), 0);
        }
    }
}

type Expected = fn(&CertificateError) -> bool;

fn invalid_chains(root: &Ca) -> Vec<(Leaf, Expected)> {
    let mut expired = leaf_params(&["example.com"]);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut future = leaf_params(&["example.com"]);
    future.not_before = rcgen::date_time_ymd(2030, 1, 1);
    let mut no_ca = ca_params("No CA");
    no_ca.is_ca = IsCa::ExplicitNoCa;
    let mut shallow = ca_params("Shallow");
    shallow.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let too_deep = root
        .intermediate_from(shallow, "Shallow")
        .intermediate("Too deep");
    vec![
        (root.leaf_from(expired), |error| {
            matches!(error, CertificateError::ExpiredContext { .. })
        }),
        (root.leaf_from(future), |error| {
            matches!(error, CertificateError::NotValidYetContext { .. })
        }),
        (root.leaf(&["example.net"]), |error| {
            matches!(error, CertificateError::NotValidForNameContext { .. })
        }),
        (
            root.intermediate_from(no_ca, "No CA")
                .leaf(&["example.com"]),
            |error| matches!(error, CertificateError::Other(_)),
        ),
        (too_deep.leaf(&["example.com"]), |error| {
            matches!(error, CertificateError::Other(_))
        }),
        (Ca::root("Untrusted").leaf(&["example.com"]), |error| {
            matches!(error, CertificateError::UnknownIssuer)
        }),
    ]
}

#[tokio::test]
async fn attack_6_every_spelling_of_a_host_has_its_pins() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let names = ["example.com", "xn--bcher-kva.example", "127.0.0.1"];
        let mis_issued = root.leaf(&names);
        let value = header_value(mis_issued.pin(), "max-age=100");
        let server = setup
            .serve(&mis_issued, &[("public-key-pins", &value)])
            .await;
        let pinning = builder()
            .static_pins("example.com", policy_with(unrelated_pin()))
            .static_pins("XN--bcher-kva.example.", policy_with(unrelated_pin()))
            .build()
            .unwrap();
        let names = Names::new(names.map(|name| (name, &server)));
        let mut client = setup.client(&pinning, built_in_anchors(&[&root]), &names);
        for uri in [
            "https://example.com./",
            "https://EXAMPLE.com/",
            "https://eXample.COM.:443/",
            "https://xn--bcher-kva.example/",
            "https://XN--BCHER-KVA.Example./",
        ] {
            assert!(violation(get(&mut client, uri).await).is_some(), "{uri}");
        }
        assert_eq!(server.requests(), 0);

        // An IP address is never pinned, whatever its header contains.
        let response = get(&mut client, "https://127.0.0.1/").await.unwrap();
        assert_eq!(noted(&response), &Noted::Ignored(IgnoreReason::NoHost));
        assert!(pinning.store().list().is_empty());
    }
}

#[test]
fn attack_6_lookalike_letters_do_not_evade_pins() {
    // A URI with such a letter is invalid. A policy for such a host needs the feature `idn`, which
    // converts it to the same A-labels.
    assert!("https://ex\u{ff41}mple.com/".parse::<http::Uri>().is_err());
    for name in ["ex\u{ff41}mple.com", "b\u{fc}cher.example"] {
        let built = Pinning::builder()
            .static_pins(name, policy_with(unrelated_pin()))
            .build();
        if cfg!(feature = "idn") {
            let pinning = built.unwrap();
            let a_labels = ["example.com", "xn--bcher-kva.example"].map(Host::parse);
            let pinned = a_labels.into_iter().filter(|host| {
                !pinning
                    .policies(host.as_ref().unwrap(), crate::common::now())
                    .is_empty()
            });
            assert_eq!(pinned.count(), 1, "{name}");
        } else {
            let error = built.unwrap_err();
            let is_refused = matches!(
                error,
                pinhold::BuildError::Host(pinhold::policy::HostError::IdnFeatureNeeded { .. })
            );
            assert!(is_refused, "{error:?}");
        }
    }
}

#[tokio::test]
async fn attack_8_many_intermediates_are_searched_in_bounded_time() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let issuer = Ca::root("Issuer");
        // All have the issuer's name, so each may have issued the leaf and every other one, and
        // only a signature check can exclude it. The root has signed each of them.
        let candidates = (0..60)
            .map(|_| root.intermediate("Issuer"))
            .collect::<Vec<_>>();
        let intermediates = candidates.iter().map(|ca| ca.chain[0].clone());
        let intermediates = intermediates.collect::<Vec<_>>();
        let real = root.cross_sign(&issuer);
        let leaf = issuer.leaf(&["example.com"]);
        let without_path = leaf.with_appended(intermediates.clone());
        let real_last = leaf.with_appended(intermediates.iter().cloned().chain([real.clone()]));
        let real_first = leaf.with_appended(std::iter::once(real).chain(intermediates));
        let anchors = built_in_anchors(&[&root]);
        let pinning = pinning_with(policy_with(candidates[59].pin()));
        for (served, refused_by_pins) in [
            (without_path, false),
            (real_last, false),
            (real_first, true),
        ] {
            let server = setup.serve(&served, &[]).await;
            let visit = setup.visit(&pinning, &anchors, &server);
            let visit = tokio::time::timeout(Duration::from_secs(60), visit).await;
            let error = visit.expect("the search takes bounded time").unwrap_err();
            let by_pins = PinViolation::find(&error).is_some();
            // A path by the last intermediate may or may not be found, but it never passes.
            assert!(by_pins || !refused_by_pins, "{error:?}");
            assert_eq!(server.requests(), 0);
        }
    }
}
