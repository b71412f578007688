//! The replays, one function each.

use pinhold::tls::{Cause, ClockEvidence, PathEvidence};
use pinhold::{Event, TrustAnchors};

use crate::app::{App, HOST};
use crate::common::bundles::{Body, ISSUED, base64, pins};
use crate::common::pki::{Ca, leaf_params};
use crate::common::validated::built_in_anchors;
use crate::common::{DAY, at};

/// Let's Encrypt, 13 May 2026: certificates are issued below new roots, which the old ones have
/// cross-signed. A client that trusts the new roots stops at them if a server does not send the
/// cross-sign.
#[tokio::test]
async fn gen_y_cross_sign() {
    let [x1, yr] = ["ISRG Root X1", "ISRG Root YR"].map(|name| Ca::root_of("ISRG", name));
    let before = x1.intermediate("R10").leaf(&[HOST]);
    let after = yr.intermediate("YR1").leaf(&[HOST]);
    let cross = x1.cross_sign(&yr);
    let app = App::start([x1.pin(), pins(9)[0]], built_in_anchors(&[&x1, &yr]));
    let events = app.visit_for_90_days(&before).await;
    assert!(
        matches!(&events[..], [Event::BackupNeverSeen { .. }]),
        "{events:?}"
    );

    let cause = app.refusal(&after).await.cause().clone();
    let Cause::OtherPath {
        evidence: PathEvidence::SameOperator { expected, seen, .. },
    } = &cause
    else {
        panic!("{cause:?}");
    };
    assert_eq!([expected.key, seen.key], [x1.pin(), yr.pin()]);

    // A server that sends the cross-sign is accepted: all paths are tried.
    app.visit(&after.with_appended([cross.clone()]))
        .await
        .unwrap();

    // The pins stay as they are: the bundle brings the certificate that the server does not send.
    let body = Body::new(2, [(HOST, [x1.pin(), pins(9)[0]])]);
    app.update(body.with("intermediates", format!("[\"{}\"]", base64(&cross))));
    app.visit(&after).await.unwrap();
}

/// Cloudflare, 7 July 2026: certificates of a host come from another CA than before.
#[tokio::test]
async fn cloudflare_changes_the_ca() {
    let [x1, x2] = ["ISRG Root X1", "ISRG Root X2"].map(|name| Ca::root_of("ISRG", name));
    let r4 = Ca::root_of("Google Trust Services LLC", "GTS Root R4");
    let (before, after) = (x1.leaf(&[HOST]), r4.intermediate("WE1").leaf(&[HOST]));
    let anchors = built_in_anchors(&[&x1, &x2, &r4]);

    let one_operator = App::start([x1.pin(), x2.pin()], anchors.clone());
    let events = one_operator.visit_for_90_days(&before).await;
    assert!(
        matches!(&events[..], [Event::BackupNeverSeen { .. }]),
        "{events:?}"
    );
    let cause = one_operator.refusal(&after).await.cause().clone();
    let Cause::OtherCa { expected, seen, .. } = &cause else {
        panic!("{cause:?}");
    };
    assert_eq!(expected.len(), 2);
    assert_eq!(seen.organisation, "Google Trust Services LLC");
    one_operator.update(Body::new(2, [(HOST, [x1.pin(), r4.pin()])]));
    one_operator.visit(&after).await.unwrap();

    // With a root of another operator as backup nothing is refused, and the use of the backup is seen.
    let two_operators = App::start([x1.pin(), r4.pin()], anchors);
    two_operators.visit(&before).await.unwrap();
    let mut events = Vec::new();
    for day in 2..=9 {
        two_operators.clock.set(ISSUED + day * DAY);
        two_operators.visit(&after).await.unwrap();
        events.extend(two_operators.events());
    }
    let is_backup =
        |event: &Event| matches!(event, Event::OnlyBackupMatches { pin, .. } if *pin == r4.pin());
    assert!(events.iter().any(is_backup), "{events:?}");
}

/// Amazon, July 2026: the intermediate M01 is replaced by M04 below the same root.
#[tokio::test]
async fn amazon_replaces_an_intermediate() {
    let root = Ca::root_of("Amazon", "Amazon Root CA 1");
    let [m01, m04] =
        ["Amazon RSA 2048 M01", "Amazon RSA 2048 M04"].map(|name| root.intermediate(name));
    let (before, after) = (m01.leaf(&[HOST]), m04.leaf(&[HOST]));
    let app = App::start([m01.pin(), pins(9)[0]], built_in_anchors(&[&root]));
    let events = app.visit_for_90_days(&before).await;
    assert!(
        matches!(&events[..], [Event::BackupNeverSeen { .. }]),
        "{events:?}"
    );
    let cause = app.refusal(&after).await.cause().clone();
    assert!(
        matches!(&cause, Cause::SameCa { ca, .. } if *ca == root.pin()),
        "{cause:?}"
    );
    app.update(Body::new(2, [(HOST, [root.pin(), pins(9)[0]])]));
    app.visit(&after).await.unwrap();
}

/// Brave, 17 January 2026: intermediates became trust anchors, so that the shortest path did not
/// reach the pinned root any more. All paths are tried here: nothing is refused.
#[tokio::test]
async fn intermediates_as_anchors() {
    let root = Ca::root_of("Google Trust Services LLC", "GTS Root R4");
    let intermediate = root.intermediate("WE1");
    let leaf = intermediate.leaf(&[HOST]);
    let both = TrustAnchors::new()
        .with_built_in([intermediate.certificate(), root.certificate()])
        .unwrap();
    let app = App::start([root.pin(), pins(9)[0]], both);
    app.visit(&leaf).await.unwrap();
    assert!(app.events().is_empty());
}

/// Mozilla, 2026: GTS Root R2 leaves the list. A server that still sends its chain is not reachable,
/// pinned or not; after it has changed to another root of the operator, pins of R2 alone refuse it.
#[tokio::test]
async fn a_root_leaves_the_list() {
    let [r1, r2] =
        ["GTS Root R1", "GTS Root R2"].map(|name| Ca::root_of("Google Trust Services LLC", name));
    let (before, after) = (r2.leaf(&[HOST]), r1.leaf(&[HOST]));
    let pinned = [r2.pin(), pins(9)[0]];
    let earlier = App::start(pinned, built_in_anchors(&[&r1, &r2]));
    earlier.visit(&before).await.unwrap();

    let app = App::start(pinned, built_in_anchors(&[&r1]));
    assert_eq!(app.other_failure(&before).await, Cause::UnknownIssuer);
    let cause = app.refusal(&after).await.cause().clone();
    // The root that left is not among the built-in ones, so that its name is not known.
    assert_eq!(cause, Cause::OtherKeys);
    // A cross-sign by the root that stayed keeps the pinned key on a path.
    app.visit(&before.with_appended([r1.cross_sign(&r2)]))
        .await
        .unwrap();
    app.update(Body::new(2, [(HOST, [r1.pin(), r2.pin()])]));
    app.visit(&after).await.unwrap();
}

/// A company's proxy, whose root the administrator has installed: pins are skipped there, visibly.
#[tokio::test]
async fn corporate_proxy() {
    let (public, company) = (
        Ca::root_of("Public", "Public Root"),
        Ca::root("Company Proxy"),
    );
    let (genuine, inspected) = (public.leaf(&[HOST]), company.leaf(&[HOST]));
    let anchors = || {
        let anchors = built_in_anchors(&[&public]);
        anchors.with_user_added([company.certificate()]).unwrap()
    };
    let app = App::start([public.pin(), pins(9)[0]], anchors());
    app.visit(&inspected).await.unwrap();
    let events = app.events();
    let is_bypass = |event: &Event| matches!(event, Event::BypassActive { .. });
    assert!(events.iter().any(is_bypass), "{events:?}");

    // The same with pins that are enforced on user-added roots.
    let strict = format!(
        r#"{{ "version": 1, "policies": [{{ "hosts": ["{HOST}"], "pins": ["{}", "{}"],
          "user_added_roots": "enforce-pins" }}] }}"#,
        public.pin(),
        pins(9)[0]
    );
    app.update(Body::new(2, []).with("pins", strict));
    let cause = app.refusal(&inspected).await.cause().clone();
    assert_eq!(cause, Cause::UserAddedRoot { key: company.pin() });
    app.visit(&genuine).await.unwrap();
}

/// A device whose clock shows the year 2040: the certificate seems to have expired, and the pins are
/// as before once the clock is right.
#[tokio::test]
async fn a_clock_in_2040() {
    let [root, other] = ["Root", "Other"].map(Ca::root);
    let mut params = leaf_params(&[HOST]);
    (params.not_before, params.not_after) = (
        rcgen::date_time_ymd(2026, 12, 1),
        rcgen::date_time_ymd(2027, 6, 1),
    );
    let leaf = root.leaf_from(params);
    let app = App::start([root.pin(), pins(9)[0]], built_in_anchors(&[&root, &other]));
    app.clock.set(2_208_988_800);
    let cause = app.other_failure(&leaf).await;
    let Cause::Clock { now, evidence, .. } = cause else {
        panic!("{cause:?}");
    };
    assert_eq!(
        (now, evidence),
        (at(2_208_988_800), ClockEvidence::BeyondRenewal)
    );
    app.clock.set(ISSUED + DAY);
    app.visit(&leaf).await.unwrap();
    app.refusal(&other.leaf(&[HOST])).await;
}

/// badssl.com, October 2025: the pinned key of a server is replaced with its certificate.
#[tokio::test]
async fn a_server_key_is_replaced() {
    let root = Ca::root("Root");
    let [before, after] = [(); 2].map(|()| root.leaf(&[HOST]));
    let app = App::start([before.pin(), pins(9)[0]], built_in_anchors(&[&root]));
    let events = app.visit_for_90_days(&before).await;
    assert!(
        matches!(&events[..], [Event::BackupNeverSeen { .. }]),
        "{events:?}"
    );
    let cause = app.refusal(&after).await.cause().clone();
    assert!(
        matches!(&cause, Cause::SameCa { ca, .. } if *ca == root.pin()),
        "{cause:?}"
    );
    app.update(Body::new(2, [(HOST, [after.pin(), pins(9)[0]])]));
    app.visit(&after).await.unwrap();
    app.refusal(&before).await;
}

/// DigiNotar, 2011: another trusted CA issues a certificate for the host to an attacker. The refusal
/// is the purpose of pins; the genuine server stays reachable, and a bundle refuses the CA's key.
#[tokio::test]
async fn another_ca_is_broken_into() {
    let genuine_ca = Ca::root_of("Genuine", "Genuine Root");
    let broken = Ca::root_of("DigiNotar", "DigiNotar Root CA");
    let genuine = genuine_ca.leaf(&[HOST]);
    let attack = broken.leaf(&[HOST]).with_appended(genuine.chain.clone());
    let pinned = [genuine_ca.pin(), pins(9)[0]];
    let app = App::start(pinned, built_in_anchors(&[&genuine_ca, &broken]));
    app.visit(&genuine).await.unwrap();
    let cause = app.refusal(&attack).await.cause().clone();
    assert!(
        matches!(&cause, Cause::OtherCa { seen, .. } if seen.key == broken.pin()),
        "{cause:?}"
    );
    app.visit(&genuine).await.unwrap();

    let body = Body::new(2, [(HOST, pinned)]);
    app.update(body.with("refused_keys", format!("[\"{}\"]", broken.pin())));
    let cause = app.refusal(&attack).await.cause().clone();
    assert_eq!(
        cause,
        Cause::RefusedKey {
            keys: vec![broken.pin()]
        }
    );
    app.visit(&genuine).await.unwrap();
}
