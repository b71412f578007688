//! Bundles that are refused: the last good one stays in effect, in this process and the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::app::{App, GROUPS, assert_in_effect, body, version};
use crate::common::bundles::{Body, ISSUED, Operator, Signer, pins, root, signed, time};
use crate::common::noted::temp_dir;
use crate::common::{DAY, TIMEOUT};
use pinhold::bundle::{BundleError, BundleOutcome, BundleVersion, PinBundle, SignedNote};
use pinhold::policy::Overlap;
use pinhold::storage::{Change, Merged, Record, Storage, StorageError};
use pinhold::{Event, PinStore, Pinning};

type IsExpected = fn(&BundleError) -> bool;

/// Returns bundles that are refused where that with the number 5 is in effect.
fn refused(operator: &Operator) -> Vec<(&'static str, Vec<u8>, IsExpected)> {
    let mut all = refused_by_version(operator);
    all.extend(refused_by_signatures(operator));
    all.extend(refused_by_contents(operator));
    all
}

fn refused_by_version(operator: &Operator) -> Vec<(&'static str, Vec<u8>, IsExpected)> {
    let another = operator.sign(&body(5).with("comment", 1));
    let of_root_2 = operator.sign(&body(6).with("root_version", 2));
    vec![
        ("an old one", operator.sign(&body(4)), |it| {
            matches!(it, BundleError::Rollback { offered, floor }
                if (*offered, *floor) == (version(1, 4), version(1, 5)))
        }),
        ("the contained one", operator.sign(&body(1)), |it| {
            matches!(it, BundleError::Rollback { .. })
        }),
        ("another one with its version", another, |it| {
            matches!(it, BundleError::Equivocation { version: of, known, refused }
                if *of == version(1, 5) && known != refused)
        }),
        ("one of another root", of_root_2, |it| {
            matches!(it, BundleError::NotNewestRoot { root: 2, newest: 1 })
        }),
    ]
}

fn refused_by_signatures(operator: &Operator) -> Vec<(&'static str, Vec<u8>, IsExpected)> {
    let [one, other] = operator.both();
    let mut wrong = SignedNote::new(body(6).text()).unwrap();
    wrong.sign(&one.key, &[1; 64]);
    other.sign(&mut wrong);
    let stranger = Signer::new(one.key.name());
    vec![
        ("one signature", body(6).signed(&[one]), |it| {
            matches!(
                it,
                BundleError::Signatures {
                    valid: 1,
                    threshold: 2
                }
            )
        }),
        ("another key", body(6).signed(&[&stranger, other]), |it| {
            matches!(it, BundleError::Signatures { valid: 1, .. })
        }),
        ("a wrong signature", wrong.to_string().into_bytes(), |it| {
            matches!(it, BundleError::BadSignature { .. })
        }),
        ("a login page", b"<html>\n\n</html>\n".to_vec(), |it| {
            matches!(it, BundleError::Note(_))
        }),
        ("nothing", Vec::new(), |it| {
            matches!(it, BundleError::Note(_))
        }),
        ("too much", vec![b'\n'; PinBundle::MAX_SIZE + 1], |it| {
            matches!(it, BundleError::TooLarge { .. })
        }),
        ("its root", operator.root.clone().into_bytes(), |it| {
            matches!(it, BundleError::Body(_))
        }),
    ]
}

fn refused_by_contents(operator: &Operator) -> Vec<(&'static str, Vec<u8>, IsExpected)> {
    let with = |name: &str, value: &str| {
        let value = value.replace("PIN", &pins(6)[0].to_string());
        operator.sign(&body(6).with(name, value.replace('\n', " ")))
    };
    let until = format!(r#"{{ "until": {} }}"#, time(ISSUED + 30 * DAY + 1));
    let exempt = r#"{ "version": 1, "policies": [{ "hosts": ["a.example"], "exempt": ["b.example"],
        "without_backup": true, "pins": ["PIN"] }] }"#;
    vec![
        ("a long kill switch", with("kill_switch", &until), |it| {
            matches!(it, BundleError::KillSwitch { .. })
        }),
        (
            "an unknown critical member",
            with("critical", r#"["next"]"#),
            |it| matches!(it, BundleError::Critical { member } if member == "next"),
        ),
        ("no policies", operator.sign(&Body::new(6, [])), |it| {
            matches!(it, BundleError::Body(_))
        }),
        (
            "an exemption of nothing",
            with("pins", exempt),
            |it| matches!(it, BundleError::Exemption { exempt, .. } if exempt.as_str() == "b.example"),
        ),
    ]
}

#[test]
fn the_last_good_bundle_stays_in_effect_after_each_refusal() {
    let operator = Operator::default();
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let with_file = || App::with_file(&operator, &body(1), &file);
    for app in [App::in_memory(&operator, &body(1)), with_file()] {
        let outcome = app.pinning.apply_bundle(&operator.sign(&body(5))).unwrap();
        assert_eq!(outcome, BundleOutcome::Applied(version(1, 5)));
        assert_in_effect(&app, 5);
        app.events();
        for (index, (case, bundle, is_expected)) in refused(&operator).iter().enumerate() {
            let error = app.pinning.apply_bundle(bundle).unwrap_err();
            assert!(is_expected(&error), "{case}: {error}");
            assert_in_effect(&app, 5);
            assert_eq!(
                app.status().counts.refused,
                u64::try_from(index).unwrap() + 1
            );
            match &app.events()[..] {
                [Event::BundleRefused(error)] => assert!(is_expected(error), "{case}: {error}"),
                events => panic!("{case}: {events:?}"),
            }
        }
    }
    let app = with_file();
    assert_in_effect(&app, 5);
    for (case, bundle, is_expected) in refused(&operator) {
        let error = app.pinning.apply_bundle(&bundle).unwrap_err();
        assert!(is_expected(&error), "{case}: {error}");
    }
    app.pinning.apply_bundle(&operator.sign(&body(6))).unwrap();
    assert_in_effect(&app, 6);
}

/// The keys have signed one text: who has signed it in which order does not matter.
#[test]
fn other_signatures_of_the_same_text_are_no_equivocation() {
    let operator = Operator::default();
    let [one, other] = operator.both();
    let third = Signer::new("example.com/pins/3");
    let app = App::in_memory(&operator, &body(1));
    app.pinning.apply_bundle(&operator.sign(&body(5))).unwrap();
    for signers in [vec![other, one], vec![&third, one, other]] {
        let outcome = app.pinning.apply_bundle(&body(5).signed(&signers));
        assert_eq!(outcome.unwrap(), BundleOutcome::Unchanged(version(1, 5)));
    }
    let built_in = App::in_memory(&operator, &body(1));
    let outcome = built_in.pinning.apply_bundle(&operator.sign(&body(1)));
    assert_eq!(outcome.unwrap(), BundleOutcome::Unchanged(version(1, 1)));
    let error = built_in
        .pinning
        .apply_bundle(&operator.sign(&body(1).with("comment", 1)));
    let error = error.unwrap_err();
    assert!(matches!(error, BundleError::Equivocation { .. }), "{error}");
    for app in [app, built_in] {
        let counts = app.status().counts;
        assert!(counts.applied < 2 && counts.staged == 0, "{counts:?}");
    }
}

/// Stolen keys can sign the last version. The operator then replaces the root.
#[test]
fn a_new_root_ends_what_stolen_keys_have_signed() {
    let operator = Operator::default();
    let stolen = operator.both();
    let new = ["example.com/pins/3", "example.com/pins/4"].map(Signer::new);
    let new = [&new[0], &new[1]];
    let second = root(2, 2, &new, &stolen);
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let app = App::with_file(&operator, &body(1), &file);
    let last = Body::new(u64::MAX, [("api.example.com", pins(66))]);
    let outcome = app.pinning.apply_bundle(&operator.sign(&last)).unwrap();
    assert_eq!(outcome, BundleOutcome::Applied(version(1, u64::MAX)));
    let error = app
        .pinning
        .apply_bundle(&operator.sign(&body(9)))
        .unwrap_err();
    assert!(matches!(error, BundleError::Rollback { .. }), "{error}");

    let recovery = body(1).with_roots(2, &[&second]).signed(&new);
    let outcome = app.pinning.apply_bundle(&recovery).unwrap();
    assert_eq!(outcome, BundleOutcome::Applied(version(2, 1)));
    assert_eq!(app.pins(), pins(1));
    // In this process and the next one.
    for app in [app, App::with_file(&operator, &body(1), &file)] {
        for (case, forged) in forged(&stolen, &second) {
            assert!(app.pinning.apply_bundle(&forged).is_err(), "{case}");
            assert_eq!(app.versions(), (version(2, 1), version(2, 1)), "{case}");
            assert_eq!(app.pins(), pins(1), "{case}");
        }
    }
    let app = App::with_file(&operator, &body(1), &file);
    let next = body(2).with_roots(2, &[&second]).signed(&new);
    app.pinning.apply_bundle(&next).unwrap();
    assert_eq!(app.pins(), pins(2));
}

/// Returns what a thief can sign by the keys of root 1 where root 2 is known: a second root of its
/// own, and third ones.
fn forged(stolen: &[&Signer; 2], second: &str) -> Vec<(&'static str, Vec<u8>)> {
    let thief = Signer::new("thief.example");
    let own = root(2, 1, &[&thief], stolen);
    let own_third = root(3, 1, &[&thief], &[]);
    let by_stolen = root(3, 1, &[&thief], stolen);
    let forged = |version, roots: &[&str]| {
        let body = Body::new(9, [("api.example.com", pins(66))]);
        let signers = [stolen.as_slice(), &[&thief]].concat();
        body.with_roots(version, roots).signed(&signers)
    };
    let last = Body::new(u64::MAX, [("api.example.com", pins(66))]);
    vec![
        ("the old chain", last.signed(stolen)),
        ("another second root", forged(2, &[&own])),
        ("both second roots", forged(2, &[second, &own])),
        ("both second roots, reversed", forged(2, &[&own, second])),
        (
            "a third root after another second one",
            forged(3, &[&own, &own_third]),
        ),
        (
            "a third root by the stolen keys",
            forged(3, &[second, &by_stolen]),
        ),
        ("that alone", forged(3, &[&by_stolen])),
    ]
}

/// A later run has the root of the application only: it could not load a bundle without the chain.
#[test]
fn a_bundle_without_the_whole_chain_of_roots_is_refused_also_where_its_root_is_known() {
    let operator = Operator::default();
    let [second, third] = [2, 3].map(|number| root(number, 2, &operator.both(), &[]));
    let bundle = |version, number: u8, roots: &[&str]| {
        operator.sign(&body(number).with_roots(version, roots))
    };
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    for app in [
        App::in_memory(&operator, &body(1)),
        App::with_file(&operator, &body(1), &file),
    ] {
        app.pinning.apply_bundle(&bundle(2, 1, &[&second])).unwrap();
        for (case, bundle) in [
            ("no root", bundle(2, 2, &[])),
            ("the last root only", bundle(3, 2, &[&third])),
        ] {
            assert!(app.pinning.apply_bundle(&bundle).is_err(), "{case}");
            let known = version(2, 1);
            assert_eq!(app.versions(), (known, known), "{case}");
        }
        app.pinning
            .apply_bundle(&bundle(3, 4, &[&second, &third]))
            .unwrap();
        assert_eq!(app.versions(), (version(3, 4), version(3, 4)));
        assert_eq!(app.pins(), pins(4));
    }
}

/// A bundle can be usable alone, and contradict the settings of the application.
#[test]
fn a_bundle_that_no_lookup_could_use_is_refused() {
    let operator = Operator::default();
    let builder = Pinning::builder().bundles(operator.bundles(&body(1)));
    let app = App::build(builder.overlap(Overlap::Union));
    let bundle = operator.sign(&body(2).with("pins", GROUPS));
    let error = app.pinning.apply_bundle(&bundle).unwrap_err();
    let expected =
        matches!(&error, BundleError::UnionOfGroups { host } if host.as_str() == "api.example.com");
    assert!(expected, "{error}");
    assert_in_effect(&app, 1);
}

#[test]
fn handles_to_one_store_agree() {
    let operator = Operator::default();
    let store = PinStore::in_memory();
    let [one, other] = [(), ()].map(|()| App::start(&operator, &body(1), store.clone()));
    for number in 2..6 {
        let app = [&one, &other][usize::from(number % 2)];
        app.pinning
            .apply_bundle(&operator.sign(&body(number)))
            .unwrap();
        assert_in_effect(&one, number);
        assert_in_effect(&other, number);
    }
}

/// One thread applies bundles, others cause events, and the writer thread takes over what is stored.
#[test]
fn bundles_are_applied_while_others_are_loaded() {
    let operator = Operator::default();
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let app = App::with_file(&operator, &body(1), &file);
    let bundles = (2..100).map(|number| operator.sign(&body(number)));
    let bundles = bundles.collect::<Vec<_>>();
    let (sender, finished) = std::sync::mpsc::channel();
    for _ in 0..3 {
        let (pinning, sender) = (app.pinning.clone(), sender.clone());
        let bundles = bundles.clone();
        std::thread::spawn(move || {
            for bundle in &bundles {
                let _ = pinning.apply_bundle(bundle);
                let _ = pinning.apply_bundle(b"");
            }
            let _ = sender.send(());
        });
    }
    for _ in 0..3 {
        finished
            .recv_timeout(TIMEOUT)
            .expect("a thread waits for another one");
    }
    assert_in_effect(&app, 99);
    assert_eq!(app.status().counts.applied, 98);
}

/// A storage that fails while the disk is full.
struct Disk {
    is_full: Arc<AtomicBool>,
}

impl Storage for Disk {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(StorageError::Panicked);
        }
        Ok(Merged::Nothing)
    }
}

#[test]
fn a_bundle_that_is_not_stored_takes_no_effect() {
    let operator = Operator::default();
    let is_full = Arc::new(AtomicBool::new(false));
    let disk = Disk {
        is_full: Arc::clone(&is_full),
    };
    let app = App::start(&operator, &body(1), PinStore::open(disk).unwrap());
    app.pinning.apply_bundle(&operator.sign(&body(2))).unwrap();
    is_full.store(true, Ordering::SeqCst);
    let error = app
        .pinning
        .apply_bundle(&operator.sign(&body(3)))
        .unwrap_err();
    assert!(matches!(error, BundleError::Storage(_)), "{error}");
    assert_in_effect(&app, 2);
    is_full.store(false, Ordering::SeqCst);
    let outcome = app.pinning.apply_bundle(&operator.sign(&body(3))).unwrap();
    assert_ne!(outcome, BundleOutcome::Staged(version(1, 3)));
    assert_in_effect(&app, 3);
}

#[test]
fn an_application_without_bundles_refuses_them() {
    let pinning = Pinning::builder().build().unwrap();
    let operator = Operator::default();
    let error = pinning.apply_bundle(&operator.sign(&body(1))).unwrap_err();
    assert!(matches!(error, BundleError::NotSetUp), "{error}");
    let signed = signed(&body(1).text(), &operator.both());
    let version = PinBundle::parse_unverified(signed.as_bytes())
        .unwrap()
        .version();
    assert_eq!(version, BundleVersion::new(1, 1));
}
