//! Attack 7: headers of a hostile or mis-issued host that would change the store.

use pinhold::header::{HeaderSyntax, IgnoreReason, Noted, PinHeader};
use pinhold::roots::AnchorOrigin;
use pinhold::{Decision, Host, PinPolicy, SpkiFingerprint, VerifiedConnection};

use crate::common::pki::Ca;
use crate::common::server::{Names, get};
use crate::common::tls_setup::{builder, is_known, noted, pinning_with, tls_setups, violation};
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{header_value, now, policy_with, unrelated_pin};

#[tokio::test]
async fn attack_7_a_header_over_a_user_added_root_is_ignored() {
    for setup in tls_setups() {
        let (root, proxy) = (Ca::root("Root"), Ca::root("Proxy"));
        let genuine = root.leaf(&["example.com"]);
        let intercepted = proxy.leaf(&["example.com"]);
        let anchors = built_in_anchors(&[&root])
            .with_user_added([proxy.certificate()])
            .unwrap();
        let pinning = builder().build().unwrap();
        let value = header_value(genuine.pin(), "max-age=100");
        let server = setup.serve(&genuine, &[("public-key-pins", &value)]).await;
        let response = setup.visit(&pinning, &anchors, &server).await.unwrap();
        assert_eq!(noted(&response), &Noted::Added);

        let ignored = IgnoreReason::AnchorNotBuiltIn(AnchorOrigin::UserAdded);
        for value in ["max-age=0", &header_value(intercepted.pin(), "max-age=100")] {
            let server = setup
                .serve(&intercepted, &[("public-key-pins", value)])
                .await;
            let response = setup.visit(&pinning, &anchors, &server).await.unwrap();
            assert_eq!(noted(&response), &Noted::Ignored(ignored.clone()));
            let connection = response.extensions().get::<VerifiedConnection>().unwrap();
            assert!(matches!(connection.decision(), Decision::Skipped));
        }
        let entry = &pinning.store().list()[0];
        assert!(
            entry.pins.contains(&genuine.pin()),
            "the noted pins are unchanged"
        );
    }
}

#[tokio::test]
async fn attack_7_a_chain_that_fails_its_pins_cannot_remove_them() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let (genuine, mis_issued) = (root.leaf(&["example.com"]), root.leaf(&["example.com"]));
        let anchors = built_in_anchors(&[&root]);
        let pinning = pinning_with(policy_with(genuine.pin()));
        let host = Host::parse("example.com").unwrap();
        let value = header_value(genuine.pin(), "max-age=100");
        let server = setup.serve(&genuine, &[("public-key-pins", &value)]).await;
        setup.visit(&pinning, &anchors, &server).await.unwrap();
        assert!(is_known(&pinning, "example.com"));

        let attacker = setup
            .serve(&mis_issued, &[("public-key-pins", "max-age=0")])
            .await;
        assert!(violation(setup.visit(&pinning, &anchors, &attacker).await).is_some());
        assert!(is_known(&pinning, "example.com"));

        // A connection accepted before the pins applied is checked again when it is noted.
        assert!(pinning.store().forget(&host).is_some());
        pinning.disable_static(&host);
        let names = Names::new([("example.com", &attacker)]);
        let mut client = setup.client(&pinning, anchors, &names);
        let response = get(&mut client, "https://example.com/").await.unwrap();
        let old = response.extensions().get::<VerifiedConnection>().unwrap();
        pinning.restore_static();
        let remove = PinHeader::parse(b"max-age=0", HeaderSyntax::Rfc7469).unwrap();
        let noted = pinning.note(&host, &remove, old.chain(), now());
        assert_eq!(noted, Noted::Ignored(IgnoreReason::PinsFailed));
        assert!(violation(get(&mut client, "https://example.com/").await).is_some());
    }
}

#[tokio::test]
async fn attack_7_a_subdomain_cannot_remove_the_pins_of_its_parent() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com", "sub.example.com"]);
        let value = header_value(leaf.pin(), "max-age=100; includeSubDomains");
        let parent = setup.serve(&leaf, &[("public-key-pins", &value)]).await;
        let child = setup
            .serve(&leaf, &[("public-key-pins", "max-age=0")])
            .await;
        let names = Names::new([("example.com", &parent), ("sub.example.com", &child)]);
        let pinning = builder().build().unwrap();
        let mut client = setup.client(&pinning, built_in_anchors(&[&root]), &names);
        get(&mut client, "https://example.com/").await.unwrap();
        let response = get(&mut client, "https://sub.example.com/").await.unwrap();
        assert_eq!(noted(&response), &Noted::Ignored(IgnoreReason::NotKnown));
        assert!(
            is_known(&pinning, "sub.example.com"),
            "the pins of its parent still apply"
        );
    }
}

#[tokio::test]
async fn attack_7_the_chain_of_a_refused_handshake_notes_nothing() {
    for setup in tls_setups() {
        let root = Ca::root("Root");
        let mis_issued = root.leaf(&["example.com"]);
        let server = setup.serve(&mis_issued, &[]).await;
        let pinning = pinning_with(policy_with(unrelated_pin()));
        let visit = setup
            .visit(&pinning, &built_in_anchors(&[&root]), &server)
            .await;
        let violation = violation(visit).unwrap();
        // The server of that chain has not proved that it has the key, so the chain notes nothing,
        // even for a host without pins.
        pinning.disable_all_static();
        let value = header_value(mis_issued.pin(), "max-age=100");
        let header = PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469).unwrap();
        let chain = violation.chain();
        let outcome = pinning.note(violation.host(), &header, chain, now());
        assert_eq!(outcome, Noted::Ignored(IgnoreReason::HandshakeNotVerified));
    }
}

#[tokio::test]
async fn attack_7_two_concurrent_chains_cannot_both_note_their_pins() {
    let root = Ca::root("Root");
    let leaves = [root.leaf(&["example.com"]), root.leaf(&["example.com"])];
    let anchors = built_in_anchors(&[&root]);
    let chains = [
        verified_chain(&leaves[0], "example.com", &anchors).await,
        verified_chain(&leaves[1], "example.com", &anchors).await,
    ];
    // So many pins that their evaluation takes longer than starting a thread.
    let many = (0..50_000_u32).map(|n| {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&n.to_be_bytes());
        SpkiFingerprint::from_digest(digest)
    });
    let pins = many.chain([root.pin()]).collect::<Vec<_>>();
    let host = Host::parse("example.com").unwrap();
    for _ in 0..20 {
        let pinning = pinning_with(PinPolicy::new(pins.iter().copied()).unwrap());
        let start = std::sync::Barrier::new(2);
        let note = |side: usize| {
            let value = header_value(leaves[side].pin(), "max-age=100");
            let header = PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469).unwrap();
            start.wait();
            pinning.note(&host, &header, &chains[side], now())
        };
        let outcomes = std::thread::scope(|scope| {
            let other = scope.spawn(|| note(1));
            [note(0), other.join().unwrap()]
        });
        // The second chain is evaluated against the pins that the first one noted.
        let failed = Noted::Ignored(IgnoreReason::PinsFailed);
        assert!(
            outcomes.contains(&Noted::Added) && outcomes.contains(&failed),
            "{outcomes:?}"
        );
    }
}
