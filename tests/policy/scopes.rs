//! Scopes of static policies, against each other and against exempt names, and overlapping policies.

use crate::common::{NOW, at, now};
use pinhold::policy::{
    AfterExpiry, AppliedPolicies, AppliedPolicy, HostMatch, Overlap, PinGroup, PinRole,
    PolicyState, Scope,
};
use pinhold::{BuildError, Enforcement, Host, PinPolicy, Pinning, PinningBuilder, SpkiFingerprint};

fn pin(byte: u8) -> SpkiFingerprint {
    SpkiFingerprint::from_digest([byte; 32])
}

/// A policy that is recognised by its pin.
fn policy(byte: u8) -> PinPolicy {
    PinPolicy::without_backup([pin(byte)]).unwrap()
}

fn policies(pinning: &Pinning, name: &str) -> AppliedPolicies {
    pinning.policies(&Host::parse(name).unwrap(), now())
}

fn applied(pinning: &Pinning, name: &str) -> Option<AppliedPolicy> {
    policies(pinning, name).static_policy
}

/// Returns the bytes of the pins that apply to a name.
fn pins(pinning: &Pinning, name: &str) -> Vec<u8> {
    let policy = applied(pinning, name);
    let pins = policy.iter().flat_map(|policy| policy.pins.iter());
    let mut bytes = pins.map(|pin| pin.as_bytes()[0]).collect::<Vec<_>>();
    bytes.sort_unstable();
    bytes
}

fn build(
    policies: impl IntoIterator<Item = (&'static str, PinPolicy)>,
) -> Result<Pinning, BuildError> {
    add(Pinning::builder(), policies).build()
}

fn add(
    builder: PinningBuilder,
    policies: impl IntoIterator<Item = (&'static str, PinPolicy)>,
) -> PinningBuilder {
    policies
        .into_iter()
        .fold(builder, |builder, (host, policy)| {
            builder.static_pins(host, policy)
        })
}

fn union(
    policies: impl IntoIterator<Item = (&'static str, PinPolicy)>,
) -> Result<Pinning, BuildError> {
    add(Pinning::builder().overlap(Overlap::Union), policies).build()
}

#[test]
fn each_scope_covers_its_names_and_no_others() {
    for (scope, covered) in [
        (Scope::Host, [true, false, false]),
        (Scope::OneLabel, [false, true, false]),
        (Scope::Subdomains, [false, true, true]),
        (Scope::HostAndSubdomains, [true, true, true]),
    ] {
        let pinning = build([("example.com", policy(1).scope(scope))]).unwrap();
        for (name, is_covered) in ["example.com", "a.example.com", "b.a.example.com"]
            .into_iter()
            .zip(covered)
        {
            let applied = applied(&pinning, name);
            assert_eq!(applied.is_some(), is_covered, "{scope:?} {name}");
            if let Some(applied) = applied {
                assert_eq!(applied.scope, scope);
                let is_host = name == "example.com";
                assert_eq!(applied.matched == HostMatch::Congruent, is_host);
            }
        }
        for name in ["com", "notexample.com", "example.org"] {
            assert!(applied(&pinning, name).is_none(), "{scope:?} {name}");
        }
    }
}

#[test]
fn of_one_host_the_policy_with_the_smallest_scope_applies() {
    let all = [
        (4, Scope::HostAndSubdomains),
        (3, Scope::Subdomains),
        (2, Scope::OneLabel),
        (1, Scope::Host),
    ];
    let with = |all: &[(u8, Scope)]| {
        let policies = all.iter().map(|(byte, scope)| policy(*byte).scope(*scope));
        build(policies.map(|policy| ("example.com", policy))).unwrap()
    };
    let names = ["example.com", "a.example.com", "b.a.example.com"];
    for (policies, expected) in [
        (&all[..], [1, 2, 3]),
        (&all[..3], [4, 2, 3]),
        (&all[..2], [4, 3, 3]),
        (&all[..1], [4, 4, 4]),
        (&[all[0], all[2]], [4, 2, 4]),
    ] {
        let pinning = with(policies);
        assert_eq!(names.map(|name| pins(&pinning, name)[0]), expected);
    }
    let twice = build(["example.com", "EXAMPLE.com."].map(|host| (host, policy(1))));
    assert!(matches!(twice, Err(BuildError::DuplicateHost { .. })));
}

/// A policy that is unpinned by its expiry covers nothing, so that the next one applies.
#[test]
fn the_next_policy_applies_once_the_nearest_one_is_unpinned() {
    let expired = policy(1).expires(at(NOW - 1), AfterExpiry::Unpin);
    let pinning = build([
        ("a.example.com", expired.clone()),
        ("example.com", policy(2).scope(Scope::OneLabel)),
        ("example.com", policy(3).scope(Scope::HostAndSubdomains)),
    ]);
    assert_eq!(pins(&pinning.unwrap(), "a.example.com"), [2]);
    let pinning = build([
        ("example.com", expired.scope(Scope::OneLabel)),
        ("example.com", policy(3).scope(Scope::HostAndSubdomains)),
    ]);
    assert_eq!(pins(&pinning.unwrap(), "a.example.com"), [3]);
}

#[test]
fn an_exempt_name_must_be_in_the_scope_of_its_policy() {
    for (scope, name, is_accepted) in [
        (Scope::Host, "dev.example.com", false),
        (Scope::OneLabel, "dev.example.com", true),
        (Scope::OneLabel, "a.dev.example.com", false),
        (Scope::Subdomains, "dev.example.com", true),
        (Scope::Subdomains, "a.dev.example.com", true),
        (Scope::HostAndSubdomains, "example.com", false),
        (Scope::Subdomains, "example.org", false),
    ] {
        let policy = policy(1).scope(scope).exempt(name).unwrap();
        match build([("example.com", policy)]) {
            Ok(pinning) => {
                assert!(is_accepted, "{scope:?} {name}");
                assert!(applied(&pinning, name).is_none());
                assert!(applied(&pinning, &format!("a.{name}")).is_none());
                assert!(applied(&pinning, "www.example.com").is_some());
            }
            Err(BuildError::Exemption { .. }) => assert!(!is_accepted, "{scope:?} {name}"),
            Err(error) => panic!("{error:?}"),
        }
    }
    // An exemption without effect is refused: the name's own policy covers all that it covers.
    let exempting = || policy(1).include_subdomains().exempt("dev.example.com");
    let own = |scope| {
        let policies = [
            ("example.com", exempting().unwrap()),
            ("dev.example.com", policy(2).scope(scope)),
        ];
        build(policies)
    };
    let refused = own(Scope::HostAndSubdomains);
    assert!(matches!(refused, Err(BuildError::Exemption { .. })));
    let pinning = own(Scope::Subdomains).unwrap();
    assert!(applied(&pinning, "dev.example.com").is_none());
    assert_eq!(pins(&pinning, "a.dev.example.com"), [2]);
    // The name is pinned alone, and the names below it are not.
    let pinning = own(Scope::Host).unwrap();
    assert_eq!(pins(&pinning, "dev.example.com"), [2]);
    assert!(applied(&pinning, "a.dev.example.com").is_none());
    assert_eq!(pins(&pinning, "www.example.com"), [1]);
}

/// The other policy did not state the exemption.
#[test]
fn an_exemption_leaves_the_policies_of_its_host_with_other_scopes_in_force() {
    for overlap in [Overlap::Nearest, Overlap::Union] {
        let exempting = policy(1).include_subdomains().exempt("dev.example.com");
        let policies = [
            ("example.com", exempting.unwrap()),
            ("example.com", policy(2).scope(Scope::Subdomains)),
        ];
        let builder = Pinning::builder().overlap(overlap);
        let pinning = add(builder, policies).build().unwrap();
        for name in ["dev.example.com", "a.dev.example.com"] {
            assert_eq!(pins(&pinning, name), [2], "{overlap:?} {name}");
        }
        let exempting = policy(2).scope(Scope::OneLabel).exempt("dev.example.com");
        let policies = [
            ("example.com", policy(1).include_subdomains()),
            ("example.com", exempting.unwrap()),
        ];
        let builder = Pinning::builder().overlap(overlap);
        let pinning = add(builder, policies).build().unwrap();
        assert_eq!(pins(&pinning, "dev.example.com"), [1]);
        let both: &[u8] = if overlap == Overlap::Union {
            &[1, 2]
        } else {
            &[2]
        };
        assert_eq!(pins(&pinning, "www.example.com"), both);
    }
}

#[test]
fn a_union_has_the_pins_of_all_policies_that_cover_the_name() {
    let pinning = union([
        ("example.com", policy(1).include_subdomains()),
        ("example.com", policy(2).scope(Scope::OneLabel)),
        ("a.example.com", policy(3)),
        ("b.a.example.com", policy(4).include_subdomains()),
    ])
    .unwrap();
    for (name, expected) in [
        ("example.com", &[1][..]),
        ("a.example.com", &[1, 2, 3]),
        ("www.example.com", &[1, 2]),
        ("b.a.example.com", &[1, 4]),
        ("c.b.a.example.com", &[1, 4]),
    ] {
        assert_eq!(pins(&pinning, name), expected, "{name}");
    }
    // All else is as the nearest policy sets it.
    let nearest = applied(&pinning, "a.example.com").unwrap();
    assert_eq!(nearest.noted_hostname.as_str(), "a.example.com");
    assert_eq!(nearest.matched, HostMatch::Congruent);
    assert_eq!(nearest.scope, Scope::Host);
    pinning.disable_static(&Host::parse("example.com").unwrap());
    assert_eq!(pins(&pinning, "a.example.com"), [3]);
}

#[test]
fn expired_and_report_only_policies_add_no_pins_to_an_enforced_one() {
    let past = || at(NOW - 1);
    let parents = [
        (policy(1), Some(1)),
        (policy(1).enforcement(Enforcement::ReportOnly), None),
        (policy(1).expires(past(), AfterExpiry::Unpin), None),
        (policy(1).expires(past(), AfterExpiry::ReportOnly), None),
        (policy(1).expires(past(), AfterExpiry::Refuse), None),
        (policy(1).expires(at(NOW), AfterExpiry::Unpin), Some(1)),
    ];
    for (parent, added) in parents {
        let parent = parent.include_subdomains();
        let pinning = union([("example.com", parent), ("a.example.com", policy(2))]);
        let pinning = pinning.unwrap();
        let expected = added.into_iter().chain([2]).collect::<Vec<_>>();
        assert_eq!(pins(&pinning, "a.example.com"), expected);
        let state = applied(&pinning, "a.example.com").unwrap().state;
        assert_eq!(state, PolicyState::Enforced);
    }
    // A report-only policy stays so, and has the pins of those that are enforced.
    let nearest = policy(2).enforcement(Enforcement::ReportOnly);
    let pinning = union([
        ("example.com", policy(1).include_subdomains()),
        ("a.example.com", nearest),
    ]);
    let pinning = pinning.unwrap();
    assert_eq!(pins(&pinning, "a.example.com"), [1, 2]);
    let state = applied(&pinning, "a.example.com").unwrap().state;
    assert_eq!(state, PolicyState::ReportOnly);
    for then in [AfterExpiry::ReportOnly, AfterExpiry::Refuse] {
        let parent = policy(1).include_subdomains().expires(past(), then);
        let nearest = policy(2).enforcement(Enforcement::ReportOnly);
        let pinning = union([("example.com", parent), ("a.example.com", nearest)]);
        assert_eq!(pins(&pinning.unwrap(), "a.example.com"), [2], "{then:?}");
    }
    // One that refuses after its expiry refuses everything, whatever others pin.
    let nearest = policy(2).expires(past(), AfterExpiry::Refuse);
    let pinning = union([
        ("example.com", policy(1).include_subdomains()),
        ("a.example.com", nearest),
    ]);
    let state = applied(&pinning.unwrap(), "a.example.com").unwrap().state;
    assert_eq!(state, PolicyState::Expired);
}

#[test]
fn pins_keep_their_roles_in_a_union() {
    let leaf = PinGroup::leaf([pin(1), pin(2)]).unwrap();
    let ca = PinGroup::ca([pin(3), pin(4)]).unwrap();
    let pinning = union([
        (
            "example.com",
            PinPolicy::all_of([ca]).unwrap().include_subdomains(),
        ),
        ("a.example.com", PinPolicy::all_of([leaf]).unwrap()),
    ]);
    let applied = applied(&pinning.unwrap(), "a.example.com").unwrap();
    let [group] = applied.groups() else {
        panic!("{applied:?}");
    };
    assert_eq!(group.pins(PinRole::Leaf).map(|pins| pins.len()), Some(2));
    assert_eq!(group.pins(PinRole::Ca).map(|pins| pins.len()), Some(2));
    assert!(group.pins(PinRole::Any).is_none());
}

/// A candidate shows what happens once it is enforced: then it is united with the other pins.
#[test]
fn a_candidate_is_united_with_the_pins_of_the_other_policies() {
    let nearest = policy(2).candidate([pin(3)]).unwrap();
    let pinning = union([
        ("example.com", policy(1).include_subdomains()),
        ("a.example.com", nearest),
    ]);
    let policies = policies(&pinning.unwrap(), "a.example.com");
    let candidate = policies.candidate.unwrap();
    assert_eq!(candidate.state, PolicyState::ReportOnly);
    assert!(candidate.pins.contains(&pin(1)) && candidate.pins.contains(&pin(3)));
    assert!(!candidate.pins.contains(&pin(2)));
    assert_eq!(policies.static_policy.unwrap().pins.len(), 2);
}

#[test]
fn groups_that_must_all_hold_can_not_be_united() {
    let groups = || [pin(1), pin(2)].map(|pin| PinGroup::new([pin]).unwrap());
    let candidate = policy(3).candidate_all_of(groups()).unwrap();
    let policy = PinPolicy::all_of_without_backup(groups()).unwrap();
    for policy in [policy, candidate] {
        let policies = || [("example.com", policy.clone())];
        assert!(matches!(
            union(policies()),
            Err(BuildError::UnionOfGroups { .. })
        ));
        assert!(build(policies()).is_ok());
        let empty = union([]).unwrap();
        let replaced = empty.replace_pins(policies());
        assert!(matches!(replaced, Err(BuildError::UnionOfGroups { .. })));
    }
}
