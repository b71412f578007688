//! What the library, in a client, does with the files that the program makes.

use pinhold::bundle::{BundleError, BundleOutcome, BundleVersion, PinBundle, PinBundles, PinRoot};
use pinhold::{Host, PinStore, Pinning};

use crate::bundle::kit::{Team, pins};
use crate::common::now;
use crate::pins::kit::{A, C};
use crate::provider;

/// Returns a client that contains the first root and this bundle.
fn client(team: &Team, bundle: &str) -> Pinning {
    let bundles = PinBundles::new(team.read("1.root"), team.read(bundle));
    let builder = Pinning::builder().store(PinStore::in_memory());
    builder
        .bundles(bundles.with_provider(provider()))
        .build()
        .unwrap()
}

#[test]
fn a_client_accepts_each_bundle_of_the_program_and_no_older_one() {
    let team = Team::with_root();
    team.sign("1.bundle", &["--version", "1"]).expect_code(0);
    team.folder.write("pins.json", pins(&[A, C]).to_string());
    team.sign("2.bundle", &["--previous", "1.bundle"])
        .expect_code(0);
    team.roll();
    let sign = [
        "sign",
        "pins.json",
        "--root",
        "1.root",
        "--roots",
        "2.root",
        "--expires",
        "90d",
    ];
    let keys = [
        "--key",
        "3.key",
        "--key",
        "4.key",
        "--previous",
        "2.bundle",
        "-o",
        "3.bundle",
    ];
    team.run(&sign, &keys).expect_code(0);

    let client = client(&team, "1.bundle");
    let apply = |name: &str| client.apply_bundle(team.read(name).as_bytes());
    for (name, version) in [
        ("2.bundle", BundleVersion::new(1, 2)),
        ("3.bundle", BundleVersion::new(2, 3)),
    ] {
        assert_eq!(apply(name).unwrap(), BundleOutcome::Applied(version));
        let policies = client.policies(&Host::parse("api.example.com").unwrap(), now());
        let policy = policies.static_policy.unwrap();
        assert!(policy.pins.iter().any(|pin| pin.to_string() == C));
    }
    for name in ["1.bundle", "2.bundle"] {
        assert!(
            matches!(apply(name), Err(BundleError::Rollback { .. })),
            "{name}"
        );
    }
}

#[test]
fn a_client_refuses_what_the_program_calls_incomplete() {
    let team = Team::with_root();
    let sign = [
        "sign",
        "pins.json",
        "--root",
        "1.root",
        "--expires",
        "90d",
        "--version",
        "1",
    ];
    team.run(&sign, &["--key", "1.key", "-o", "part.bundle"])
        .expect_code(0);
    let root = PinRoot::parse(&team.read("1.root")).unwrap();
    let bundle = team.read("part.bundle");
    let verified = PinBundle::verify(bundle.as_bytes(), &root, &provider());
    assert!(matches!(
        verified,
        Err(BundleError::Signatures {
            valid: 1,
            threshold: 2
        })
    ));
    team.run(
        &[
            "sign",
            "part.bundle",
            "--root",
            "1.root",
            "--key",
            "2.key",
            "-o",
            "1.bundle",
        ],
        &[],
    )
    .expect_code(0);
    let bundle = PinBundle::verify(team.read("1.bundle").as_bytes(), &root, &provider()).unwrap();
    assert_eq!(bundle.version(), BundleVersion::new(1, 1));
}
