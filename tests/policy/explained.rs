//! `Pinning::explain` against the decisions that the same pins make, and why a policy applies.

use pinhold::explain::{Explanation, NotApplied, StaticOrigin};
#[cfg(feature = "pin-file")]
use pinhold::policy::PinSource;
use pinhold::policy::{AfterExpiry, Outcome, Overlap, PlainHttp, Scope, UnpinnedHosts};
use pinhold::roots::AnchorOrigin;
use pinhold::{
    Decision, Enforcement, Host, PinPolicy, Pinning, PinningBuilder, TrustAnchors, UserAddedRoots,
    ValidatedChain,
};

use crate::common::header::parse;
use crate::common::pki::{Ca, Leaf};
use crate::common::validated::verified_chain;
use crate::common::{Clock, DAY, NOW, at, header_value, now, policy_with, unrelated_pin};

const HOST: &str = "api.example.com";

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

fn builder() -> PinningBuilder {
    Pinning::builder().time_provider(Clock::new())
}

fn explain(pinning: &Pinning, name: &str) -> Explanation {
    pinning.explain(&host(name), now())
}

fn outcome(decision: &Decision) -> Outcome {
    match decision {
        Decision::NotPinned => Outcome::NotPinned,
        Decision::Pass => Outcome::Pass,
        Decision::Refuse(_) => Outcome::Refuse,
        Decision::ReportOnly(_) => Outcome::ReportOnly,
        Decision::Skipped => Outcome::Skip,
        other => panic!("{other:?}"),
    }
}

/// Chains of a server with the pinned key and of one without, to anchors of each origin.
struct Chains(Vec<(AnchorOrigin, ValidatedChain, ValidatedChain)>);

impl Chains {
    async fn new(root: &Ca, pinned: &Leaf, other: &Leaf) -> Self {
        let root = || [root.certificate()];
        let anchors = [
            TrustAnchors::new().with_built_in(root()).unwrap(),
            TrustAnchors::new().with_unknown(root()).unwrap(),
            TrustAnchors::new().with_user_added(root()).unwrap(),
        ];
        let mut chains = Vec::new();
        for anchors in anchors {
            let pinned = verified_chain(pinned, HOST, &anchors).await;
            let other = verified_chain(other, HOST, &anchors).await;
            chains.push((pinned.anchor_origin(), pinned, other));
        }
        Self(chains)
    }

    /// Compares the explanation of the host with the decisions on all chains.
    fn assert_explained(&self, pinning: &Pinning, case: &str) {
        let explanation = explain(pinning, HOST);
        let decide = |chain| outcome(&pinning.check(&host(HOST), chain, now()));
        let explained = explanation.anchors.iter();
        let explained = explained
            .map(|it| (it.origin, it.pinned, it.not_pinned))
            .collect::<Vec<_>>();
        let decided = self.0.iter();
        let decided = decided
            .map(|(origin, pinned, other)| (*origin, decide(pinned), decide(other)))
            .collect::<Vec<_>>();
        assert_eq!(explained, decided, "{case}\n{explanation}");
        let (origin, _, built_in) = decided[0];
        assert_eq!(origin, AnchorOrigin::BuiltIn);
        let is_enforced = built_in == Outcome::Refuse;
        assert_eq!(pinning.is_enforced(&host(HOST)), is_enforced, "{case}");
        assert_eq!(explanation.policies, pinning.policies(&host(HOST), now()));
    }
}

/// Whether there are a candidate and noted pins beside the static policy.
const BESIDE: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// Every state of a static policy, by its name.
fn states(policy: &PinPolicy) -> Vec<(&'static str, Option<PinPolicy>)> {
    let expired = |then| policy.clone().expires(at(NOW - 1), then);
    let report_only = policy.clone().enforcement(Enforcement::ReportOnly);
    vec![
        ("none", None),
        ("enforced", Some(policy.clone())),
        ("report-only", Some(report_only.clone())),
        ("expired", Some(expired(AfterExpiry::Refuse))),
        ("expired, reported", Some(expired(AfterExpiry::ReportOnly))),
        ("lapsed", Some(expired(AfterExpiry::Unpin))),
        (
            "report-only, expired",
            Some(report_only.expires(at(NOW - 1), AfterExpiry::Refuse)),
        ),
        (
            "expires",
            Some(policy.clone().expires(at(NOW + DAY), AfterExpiry::Unpin)),
        ),
    ]
}

#[tokio::test]
async fn each_outcome_is_that_of_a_connection_in_every_state() {
    let root = Ca::root("Root");
    let [pinned, other] = [(); 2].map(|()| root.leaf(&[HOST]));
    let chains = Chains::new(&root, &pinned, &other).await;
    let (_, for_noting, _) = &chains.0[0];
    let mut cases = 0;
    for (state, policy) in states(&policy_with(pinned.pin()).include_subdomains()) {
        for roots in [UserAddedRoots::SkipPins, UserAddedRoots::EnforcePins] {
            for (candidate, noted) in BESIDE {
                let pinning = builder().user_added_roots(roots).build().unwrap();
                if noted {
                    let header = parse(header_value(pinned.pin(), "max-age=60")).unwrap();
                    pinning.note(&host(HOST), &header, for_noting, now());
                }
                let policy = policy.clone().map(|policy| {
                    if !candidate {
                        return policy;
                    }
                    policy.candidate([pinned.pin(), unrelated_pin()]).unwrap()
                });
                let policy = policy.map(|policy| ("example.com", policy));
                pinning.replace_pins(policy).unwrap();
                let case = format!("{state}, {roots:?}, {candidate}, {noted}");
                assert_eq!(explain(&pinning, HOST).policies.noted.is_some(), noted);
                chains.assert_explained(&pinning, &case);
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 64);
}

#[tokio::test]
async fn a_query_leaves_nothing() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    let events = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = std::sync::Arc::clone(&events);
    let builder = builder().static_pins(HOST, policy_with(leaf.pin()));
    let builder = builder
        .unpinned_hosts(UnpinnedHosts::Refuse)
        .observer(move |_| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
    let pinning = builder.build().unwrap();
    let first = explain(&pinning, HOST);
    assert_eq!(explain(&pinning, HOST), first);
    drop(explain(&pinning, "other.example"));
    assert!(pinning.flush_reports(crate::common::TIMEOUT));
    assert_eq!(events.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert_eq!(pinning.rollout(&host(HOST)).unwrap().connections, 0);
    assert!(pinning.store().list().is_empty());
}

/// Returns the hosts, scopes and reasons of the policies that do not apply.
fn others(explanation: &Explanation) -> Vec<(&str, Scope, NotApplied)> {
    let others = explanation.others.iter();
    others
        .map(|it| (it.host.as_str(), it.scope, it.reason))
        .collect()
}

/// A policy for the domain, and others at names below it.
fn nested(overlap: Overlap) -> Pinning {
    let policy = || policy_with(unrelated_pin());
    let domain = policy().include_subdomains().exempt("old.example.com");
    let lapsed = policy().expires(at(NOW - 1), AfterExpiry::Unpin);
    let builder = builder()
        .static_pins("example.com", domain.unwrap())
        .static_pins("api.example.com", policy().include_subdomains())
        .static_pins("one.example.com", policy().scope(Scope::OneLabel))
        .static_pins("lapsed.example.com", lapsed);
    builder.overlap(overlap).build().unwrap()
}

const BOTH: Scope = Scope::HostAndSubdomains;

#[test]
fn it_is_explained_why_a_policy_applies_and_another_does_not() {
    let pinning = nested(Overlap::Nearest);
    let of_domain = |reason| vec![("example.com", BOTH, reason)];
    let nearer = of_domain(NotApplied::Nearer);
    let out_of_scope = vec![("one.example.com", Scope::OneLabel, NotApplied::Scope)];
    let lapsed = vec![("lapsed.example.com", Scope::Host, NotApplied::Expired)];
    for (name, applied, expected) in [
        ("example.com", Some("example.com"), vec![]),
        ("api.example.com", Some("api.example.com"), nearer.clone()),
        ("a.api.example.com", Some("api.example.com"), nearer),
        ("old.example.com", None, of_domain(NotApplied::Exempt)),
        ("one.example.com", Some("example.com"), out_of_scope),
        ("lapsed.example.com", Some("example.com"), lapsed),
        ("example.org", None, vec![]),
    ] {
        let explanation = explain(&pinning, name);
        let policy = explanation.policies.static_policy.as_ref();
        let policy = policy.map(|policy| policy.noted_hostname.as_str());
        assert_eq!(policy, applied, "{name}");
        assert_eq!(others(&explanation), expected, "{name}");
        assert_eq!(explanation.static_origin.is_some(), applied.is_some());
    }
    let united = explain(&nested(Overlap::Union), "api.example.com");
    assert_eq!(others(&united), of_domain(NotApplied::United));
}

#[test]
fn disabled_policies_are_explained() {
    let pinning = nested(Overlap::Nearest);
    assert!(pinning.is_enforced(&host("api.example.com")));
    pinning.disable_static(&host("example.com"));
    let found = explain(&pinning, "one.example.com");
    let disabled = ("example.com", BOTH, NotApplied::Disabled);
    assert_eq!(others(&found)[1..], [disabled]);
    pinning.disable_all_static();
    let found = explain(&pinning, "api.example.com");
    assert_eq!(found.policies.static_policy, None);
    assert_eq!(others(&found)[1..], [disabled]);
    assert!(!pinning.is_enforced(&host("api.example.com")));
}

#[test]
fn the_next_change_and_what_follows_are_explained() {
    let policy = policy_with(unrelated_pin());
    let expires = policy.expires(at(NOW + DAY), AfterExpiry::ReportOnly);
    let pinning = builder().static_pins(HOST, expires).build().unwrap();
    let explanation = explain(&pinning, HOST);
    assert_eq!(explanation.until, Some(at(NOW + DAY)));
    assert_eq!(explanation.after_expiry, Some(AfterExpiry::ReportOnly));
    assert_eq!(explanation.static_origin, Some(StaticOrigin::Application));
    let then = pinning.explain(&host(HOST), at(NOW + DAY + 1));
    assert_eq!(then.anchors[0].not_pinned, Outcome::ReportOnly);
    assert_eq!(then.until, None);
    assert!(
        then.to_string()
            .contains("only reported, expired at 2023-11-15T22:13:20Z"),
        "{then}"
    );
}

#[test]
fn unpinned_hosts_and_plain_http_are_explained() {
    let builder = builder().static_pins(HOST, policy_with(unrelated_pin()));
    let pinning = builder
        .unpinned_hosts(UnpinnedHosts::Refuse)
        .build()
        .unwrap();
    let pinned = explain(&pinning, HOST);
    assert_eq!(
        (pinned.unpinned, pinned.plain_http),
        (None, PlainHttp::Refuse)
    );
    let unpinned = explain(&pinning, "other.example");
    assert_eq!(unpinned.unpinned, Some(UnpinnedHosts::Refuse));
    assert!(
        unpinned
            .anchors
            .iter()
            .all(|it| it.pinned == Outcome::Refuse)
    );
    assert!(
        !pinning.is_enforced(&host("other.example")),
        "no pin decides"
    );
}

#[test]
fn the_text_states_the_same() {
    let policy = policy_with(unrelated_pin()).include_subdomains();
    let policy = policy.expires(at(NOW + DAY), AfterExpiry::Refuse);
    let pinning = builder()
        .static_pins("example.com", policy)
        .build()
        .unwrap();
    assert_eq!(
        explain(&pinning, HOST).to_string(),
        "\
api.example.com at 2023-11-14T22:13:20Z
  static policy: example.com (a superdomain; covers the host and its subdomains), pins: 2
    set by the application
    enforced, until 2023-11-15T22:13:20Z, then every chain is refused
  plain http: refused
  a valid chain to a root    with pinned keys  without
    that is built-in         pass              refuse
    that is unknown          pass              refuse
    that is user-added       pass              skip
  all of this until 2023-11-15T22:13:20Z"
    );
    let unpinned = explain(&pinning, "example.org").to_string();
    assert!(unpinned.contains("no policy applies"), "{unpinned}");
}

#[cfg(feature = "pin-file")]
#[test]
fn the_origin_of_a_static_policy_is_explained() {
    let file = |name: &str| {
        pinhold::pin_file::PinFile::parse(&format!(
            r#"{{"version": 1, "policies": [{{"hosts": ["{name}"], "pins": [
                "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
                "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI="]}}]}}"#
        ))
        .unwrap()
    };
    let builder = builder().static_pins(HOST, policy_with(unrelated_pin()));
    let pinning = builder.pins(file("file.example")).build().unwrap();
    let origin = |name: &str| explain(&pinning, name).static_origin;
    assert_eq!(origin(HOST), Some(StaticOrigin::Application));
    assert_eq!(origin("file.example"), Some(StaticOrigin::PinFile));
    pinning.replace_pins(file("next.example")).unwrap();
    assert_eq!(origin(HOST), Some(StaticOrigin::Application));
    assert_eq!(origin("next.example"), Some(StaticOrigin::PinFile));
    let policy = policy_with(unrelated_pin());
    pinning.replace_pins([("next.example", policy)]).unwrap();
    assert_eq!(origin("next.example"), Some(StaticOrigin::Application));
    let policies = explain(&pinning, "next.example").policies;
    assert_eq!(policies.static_policy.unwrap().source, PinSource::Static);
}
