//! Which of several valid paths the client takes, and what it then tells and notes.
#![cfg(feature = "hyper")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod common;

use bytes::Bytes;
use common::pki::{Ca, Leaf};
use common::server::{Names, Server, client, get};
use common::{Clock, header_value, policy_with, unrelated_pin};
use pinhold::header::{IgnoreReason, Noted};
use pinhold::roots::AnchorOrigin;
use pinhold::{Decision, Enforcement, PinPolicy, Pinning, TrustAnchors, VerifiedConnection};

/// ```text
///  Old root ----> New (cross-signed) --+
///                                      +--> leaf
///  New root (same name and key) -------+
/// ```
struct CrossSigned {
    old: Ca,
    new: Ca,
    leaf: Leaf,
    server: Server,
}

impl CrossSigned {
    /// The server asks for its key to be pinned.
    async fn start() -> Self {
        let (old, new) = (Ca::root("Old"), Ca::root("New"));
        let leaf = new.leaf(&["example.com"]);
        let leaf = leaf.with_appended([old.cross_sign(&new)]);
        let value = header_value(leaf.pin(), "max-age=100");
        let server = Server::start(&leaf, &[("public-key-pins", &value)]).await;
        Self {
            old,
            new,
            leaf,
            server,
        }
    }

    async fn visit(&self, pinning: &Pinning, anchors: TrustAnchors) -> http::Response<Bytes> {
        let names = Names::new([("example.com", &self.server)]);
        get(
            &mut client(pinning, anchors, &names),
            "https://example.com/",
        )
        .await
        .unwrap()
    }
}

fn unpinned() -> Pinning {
    Pinning::builder()
        .time_provider(Clock::new())
        .build()
        .unwrap()
}

fn static_pins(policy: PinPolicy) -> Pinning {
    let builder = Pinning::builder().time_provider(Clock::new());
    builder.static_pins("example.com", policy).build().unwrap()
}

fn connection(response: &http::Response<Bytes>) -> &VerifiedConnection {
    response.extensions().get().unwrap()
}

#[tokio::test]
async fn a_cross_signed_path_with_a_pin_is_found() {
    let world = CrossSigned::start().await;
    let anchors = TrustAnchors::new();
    let anchors = anchors.with_built_in([world.old.certificate(), world.new.certificate()]);
    let anchors = anchors.unwrap();
    let pinning = static_pins(PinPolicy::without_backup([world.old.pin()]).unwrap());
    let response = world.visit(&pinning, anchors.clone()).await;
    assert!(matches!(connection(&response).decision(), Decision::Pass));
    let longer = [world.leaf.pin(), world.new.pin(), world.old.pin()];
    assert_eq!(connection(&response).chain().fingerprints(), longer);
    // Without pins the shorter one is taken.
    let response = world.visit(&unpinned(), anchors).await;
    let shorter = [world.leaf.pin(), world.new.pin()];
    assert_eq!(connection(&response).chain().fingerprints(), shorter);
}

#[tokio::test]
async fn a_built_in_path_is_taken_over_a_shorter_one_to_another_origin() {
    let world = CrossSigned::start().await;
    let built_in = TrustAnchors::new()
        .with_built_in([world.old.certificate()])
        .unwrap();
    let new = || [world.new.certificate()];
    for anchors in [
        built_in.clone().with_user_added(new()),
        built_in.with_unknown(new()),
    ] {
        for pinning in [unpinned(), static_pins(policy_with(world.leaf.pin()))] {
            let response = world.visit(&pinning, anchors.clone().unwrap()).await;
            assert_eq!(connection(&response).anchor_origin(), AnchorOrigin::BuiltIn);
            assert_eq!(response.extensions().get(), Some(&Noted::Added));
        }
    }
    let unknown = TrustAnchors::new()
        .with_unknown([world.old.certificate()])
        .unwrap();
    let response = world
        .visit(&unpinned(), unknown.with_user_added(new()).unwrap())
        .await;
    assert_eq!(connection(&response).anchor_origin(), AnchorOrigin::Unknown);
    let ignored = IgnoreReason::AnchorNotBuiltIn(AnchorOrigin::Unknown);
    assert_eq!(response.extensions().get(), Some(&Noted::Ignored(ignored)));
}

#[tokio::test]
async fn a_path_that_passes_is_taken_over_one_that_may_be_skipped() {
    let world = CrossSigned::start().await;
    let roots = [world.new.certificate(), world.old.certificate()];
    let user_added = TrustAnchors::new().with_user_added(roots).unwrap();
    for (pin, expected) in [(world.old.pin(), "pass"), (unrelated_pin(), "skipped")] {
        let pinning = static_pins(policy_with(pin));
        let response = world.visit(&pinning, user_added.clone()).await;
        match connection(&response).decision() {
            Decision::Pass => assert_eq!(expected, "pass"),
            Decision::Skipped => assert_eq!(expected, "skipped"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_report_only_policy_sways_no_path_and_tells_on_the_one_taken() {
    let world = CrossSigned::start().await;
    let report_only = |pin| {
        let policy = PinPolicy::without_backup([pin]).unwrap();
        static_pins(policy.enforcement(Enforcement::ReportOnly))
    };
    let built_in = TrustAnchors::new()
        .with_built_in([world.old.certificate()])
        .unwrap();
    let both = built_in
        .clone()
        .with_built_in([world.new.certificate()])
        .unwrap();
    let mixed = built_in.with_user_added([world.new.certificate()]).unwrap();

    let response = world
        .visit(&report_only(world.leaf.pin()), both.clone())
        .await;
    assert!(matches!(connection(&response).decision(), Decision::Pass));
    // Another path that satisfies it is found here, too.
    let response = world
        .visit(&report_only(world.old.pin()), both.clone())
        .await;
    assert!(matches!(connection(&response).decision(), Decision::Pass));
    let response = world.visit(&report_only(unrelated_pin()), both).await;
    assert!(matches!(
        connection(&response).decision(),
        Decision::ReportOnly(_)
    ));
    // It would pass on the user-added root's path alone... and still the built-in one is taken.
    let response = world.visit(&report_only(unrelated_pin()), mixed).await;
    assert_eq!(connection(&response).anchor_origin(), AnchorOrigin::BuiltIn);
    assert!(matches!(
        connection(&response).decision(),
        Decision::ReportOnly(_)
    ));
    // What it says keeps nobody from noting.
    assert_eq!(response.extensions().get(), Some(&Noted::Added));

    let user_added = TrustAnchors::new()
        .with_user_added([world.new.certificate()])
        .unwrap();
    let response = world.visit(&report_only(unrelated_pin()), user_added).await;
    assert!(matches!(
        connection(&response).decision(),
        Decision::Skipped
    ));
}

#[tokio::test]
async fn only_the_hosts_that_the_application_names_may_pin() {
    let world = CrossSigned::start().await;
    let anchors = TrustAnchors::new()
        .with_built_in([world.new.certificate()])
        .unwrap();
    for (allowed, outcome) in [
        (&["Example.com."][..], Noted::Added),
        (
            &["www.example.com", "com"],
            Noted::Ignored(IgnoreReason::NotAllowed),
        ),
        (&[], Noted::Ignored(IgnoreReason::NotAllowed)),
    ] {
        let builder = Pinning::builder().time_provider(Clock::new());
        let pinning = builder.note_only(allowed.iter().copied()).build().unwrap();
        let response = world.visit(&pinning, anchors.clone()).await;
        assert_eq!(response.extensions().get(), Some(&outcome), "{allowed:?}");
    }
}
