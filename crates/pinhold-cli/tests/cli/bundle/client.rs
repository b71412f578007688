//! What the library, in a client, does with the files that the program makes.

use pinhold::bundle::{BundleError, BundleOutcome, BundleVersion, PinBundle, PinBundles, PinRoot};
use pinhold::{Host, PinStore, Pinning};

use crate::bundle::kit::{SIGN, SIGN_ROLLED, Team, pins};
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
    team.sign("--version 1 -o 1.bundle").expect_code(0);
    team.folder.write("pins.json", pins(&[A, C]).to_string());
    team.sign("--previous 1.bundle -o 2.bundle").expect_code(0);
    team.roll();
    let keys = "--key 3.key --key 4.key";
    team.run(&format!(
        "{SIGN_ROLLED} {keys} --previous 2.bundle -o 3.bundle"
    ))
    .expect_code(0);

    let client = client(&team, "1.bundle");
    let apply = |name: &str| client.apply_bundle(team.read(name).as_bytes());
    for (name, root, version) in [("2.bundle", 1, 2), ("3.bundle", 2, 3)] {
        let applied = BundleOutcome::Applied(BundleVersion::new(root, version));
        assert_eq!(apply(name).unwrap(), applied);
        let host = Host::parse("api.example.com").unwrap();
        let policy = client.policies(&host, now()).static_policy.unwrap();
        assert!(policy.pins.iter().any(|pin| pin.to_string() == C));
    }
    for name in ["1.bundle", "2.bundle"] {
        let refused = apply(name);
        assert!(
            matches!(refused, Err(BundleError::NotNewestRoot { newest: 2, .. })),
            "{name}"
        );
    }
}

#[test]
fn a_client_refuses_what_the_program_calls_incomplete() {
    let team = Team::with_root();
    let json = team.json(&format!("{SIGN} --version 1 --key 1.key -o part.bundle"));
    assert_eq!(json["complete"], false);
    let root = PinRoot::parse(&team.read("1.root")).unwrap();
    let verify = |name: &str| {
        let bundle = team.read(name);
        PinBundle::verify(bundle.as_bytes(), &root, &provider())
    };
    let refused = verify("part.bundle").unwrap_err();
    assert!(matches!(
        refused,
        BundleError::Signatures {
            valid: 1,
            threshold: 2
        }
    ));
    let json = team.json("sign part.bundle --root 1.root --key 2.key -o 1.bundle");
    assert_eq!(json["complete"], true);
    let version = verify("1.bundle").unwrap().version();
    assert_eq!(version, BundleVersion::new(1, 1));
}
