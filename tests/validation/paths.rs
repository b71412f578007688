//! Selection among several valid paths, and the decision and noted pins that follow from it.

use crate::common::pki::{Ca, Leaf};
use crate::common::server::{Names, Server, client, get};
use crate::common::{Clock, header_value, policy_with, unrelated_pin};
use bytes::Bytes;
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
    /// Starts a server that sends a header with the pin of its own key.
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
async fn a_cross_signed_path_with_a_pinned_key_is_found() {
    let network = CrossSigned::start().await;
    let anchors = TrustAnchors::new();
    let anchors = anchors.with_built_in([network.old.certificate(), network.new.certificate()]);
    let anchors = anchors.unwrap();
    let pinning = static_pins(PinPolicy::without_backup([network.old.pin()]).unwrap());
    let response = network.visit(&pinning, anchors.clone()).await;
    assert!(matches!(connection(&response).decision(), Decision::Pass));
    let longer = [network.leaf.pin(), network.new.pin(), network.old.pin()];
    assert_eq!(connection(&response).chain().fingerprints(), longer);
    // Without pins the shorter path is used.
    let response = network.visit(&unpinned(), anchors).await;
    let shorter = [network.leaf.pin(), network.new.pin()];
    assert_eq!(connection(&response).chain().fingerprints(), shorter);
}

#[tokio::test]
async fn a_path_to_a_built_in_root_is_preferred_to_a_shorter_path_to_another_origin() {
    let network = CrossSigned::start().await;
    let built_in = TrustAnchors::new()
        .with_built_in([network.old.certificate()])
        .unwrap();
    let new = || [network.new.certificate()];
    for anchors in [
        built_in.clone().with_user_added(new()),
        built_in.with_unknown(new()),
    ] {
        for pinning in [unpinned(), static_pins(policy_with(network.leaf.pin()))] {
            let response = network.visit(&pinning, anchors.clone().unwrap()).await;
            assert_eq!(connection(&response).anchor_origin(), AnchorOrigin::BuiltIn);
            assert_eq!(response.extensions().get(), Some(&Noted::Added));
        }
    }
    let unknown = TrustAnchors::new()
        .with_unknown([network.old.certificate()])
        .unwrap();
    let response = network
        .visit(&unpinned(), unknown.with_user_added(new()).unwrap())
        .await;
    assert_eq!(connection(&response).anchor_origin(), AnchorOrigin::Unknown);
    let ignored = IgnoreReason::AnchorNotBuiltIn(AnchorOrigin::Unknown);
    assert_eq!(response.extensions().get(), Some(&Noted::Ignored(ignored)));
}

#[tokio::test]
async fn a_path_that_passes_is_preferred_to_one_whose_pins_are_skipped() {
    let network = CrossSigned::start().await;
    let roots = [network.new.certificate(), network.old.certificate()];
    let user_added = TrustAnchors::new().with_user_added(roots).unwrap();
    for (pin, expected) in [(network.old.pin(), "pass"), (unrelated_pin(), "skipped")] {
        let pinning = static_pins(policy_with(pin));
        let response = network.visit(&pinning, user_added.clone()).await;
        match connection(&response).decision() {
            Decision::Pass => assert_eq!(expected, "pass"),
            Decision::Skipped => assert_eq!(expected, "skipped"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_report_only_policy_does_not_override_the_preference_for_built_in_roots() {
    let network = CrossSigned::start().await;
    let report_only = |pin| {
        let policy = PinPolicy::without_backup([pin]).unwrap();
        static_pins(policy.enforcement(Enforcement::ReportOnly))
    };
    let built_in = TrustAnchors::new()
        .with_built_in([network.old.certificate()])
        .unwrap();
    let both = built_in
        .clone()
        .with_built_in([network.new.certificate()])
        .unwrap();
    let mixed = built_in
        .with_user_added([network.new.certificate()])
        .unwrap();

    let response = network
        .visit(&report_only(network.leaf.pin()), both.clone())
        .await;
    assert!(matches!(connection(&response).decision(), Decision::Pass));
    // A longer path that satisfies the report-only policy is found, too.
    let response = network
        .visit(&report_only(network.old.pin()), both.clone())
        .await;
    assert!(matches!(connection(&response).decision(), Decision::Pass));
    let response = network.visit(&report_only(unrelated_pin()), both).await;
    assert!(matches!(
        connection(&response).decision(),
        Decision::ReportOnly(_)
    ));
    // The path to the user-added root would be skipped; the built-in one is used all the same.
    let response = network.visit(&report_only(unrelated_pin()), mixed).await;
    assert_eq!(connection(&response).anchor_origin(), AnchorOrigin::BuiltIn);
    assert!(matches!(
        connection(&response).decision(),
        Decision::ReportOnly(_)
    ));
    // A report-only failure does not prevent noting.
    assert_eq!(response.extensions().get(), Some(&Noted::Added));

    let user_added = TrustAnchors::new()
        .with_user_added([network.new.certificate()])
        .unwrap();
    let response = network
        .visit(&report_only(unrelated_pin()), user_added)
        .await;
    assert!(matches!(
        connection(&response).decision(),
        Decision::Skipped
    ));
}

#[tokio::test]
async fn only_hosts_listed_by_the_application_can_be_noted() {
    let network = CrossSigned::start().await;
    let anchors = TrustAnchors::new()
        .with_built_in([network.new.certificate()])
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
        let response = network.visit(&pinning, anchors.clone()).await;
        assert_eq!(response.extensions().get(), Some(&outcome), "{allowed:?}");
    }
}
