//! Random pin files are printed and read back.

use pinhold::pin_file::PinFile;
use pinhold::policy::{
    AfterExpiry, Overlap, PinGroup, PinRole, PlainHttp, Scope, UnpinnedHosts, UnpinnedName,
};
use pinhold::{Enforcement, PinPolicy, PinSet, SpkiFingerprint, UserAddedRoots};
use proptest::prelude::*;

use crate::common::at;

fn pins() -> impl Strategy<Value = Vec<SpkiFingerprint>> {
    prop::collection::vec((any::<[u8; 31]>(), 0..2_u8), 1..4).prop_map(|pins| {
        let pins = pins.into_iter().map(|(bytes, last)| {
            let mut digest = [last; 32];
            digest[..31].copy_from_slice(&bytes);
            // Not a placeholder.
            digest[0] = !digest[1];
            SpkiFingerprint::from_digest(digest)
        });
        pins.collect()
    })
}

fn group() -> impl Strategy<Value = PinGroup> {
    let role = prop::sample::select(vec![PinRole::Any, PinRole::Ca, PinRole::Leaf]);
    let one = (role, pins()).prop_map(|(role, pins)| PinGroup::of_role(role, pins).unwrap());
    prop::collection::vec(one, 1..3)
        .prop_map(|groups| groups.into_iter().reduce(PinGroup::or).unwrap())
}

fn groups() -> impl Strategy<Value = Vec<PinGroup>> {
    prop::collection::vec(group(), 1..4)
}

prop_compose! {
    fn policy()(
        groups in groups(),
        candidate in prop::option::of(groups()),
        scope in prop::sample::select(vec![
            Scope::Host, Scope::OneLabel, Scope::Subdomains, Scope::HostAndSubdomains,
        ]),
        enforcement in prop::sample::select(vec![Enforcement::Enforce, Enforcement::ReportOnly]),
        expiry in prop::option::of((0..253_402_300_800_u64, prop::sample::select(vec![
            AfterExpiry::Refuse, AfterExpiry::ReportOnly, AfterExpiry::Unpin,
        ]))),
        exempt in prop::collection::vec("[a-z]{1,5}", 0..3),
        uris in prop::collection::vec("[a-z]{1,5}", 0..3),
        roots in prop::option::of(prop::sample::select(vec![
            UserAddedRoots::EnforcePins, UserAddedRoots::SkipPins,
        ])),
        plain in prop::option::of(prop::sample::select(vec![
            PlainHttp::Allow, PlainHttp::Refuse,
        ])),
    ) -> PinPolicy {
        let mut policy = PinPolicy::all_of_without_backup(groups).unwrap();
        policy = policy.scope(scope).enforcement(enforcement);
        if let Some(candidate) = candidate {
            policy = policy.candidate_all_of(candidate).unwrap();
        }
        if let Some((seconds, then)) = expiry {
            policy = policy.expires(at(seconds), then);
        }
        for name in exempt {
            policy = policy.exempt(format!("{name}.a.example")).unwrap();
        }
        for name in uris {
            policy = policy.report_uri(format!("https://{name}.example/").parse().unwrap());
        }
        if let Some(choice) = roots {
            policy = policy.user_added_roots(choice);
        }
        match plain {
            Some(choice) => policy.plain_http(choice),
            None => policy,
        }
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(
        policies in prop::collection::vec(policy(), 1..4),
        overlap in prop::option::of(prop::sample::select(vec![Overlap::Nearest, Overlap::Union])),
        refused in prop::option::of(pins()),
        unpinned in prop::sample::select(vec![
            UnpinnedHosts::Allow, UnpinnedHosts::Report, UnpinnedHosts::Refuse,
        ]),
    ) {
        let hosts = policies.into_iter().enumerate();
        let hosts = hosts.map(|(number, policy)| (format!("h{number}.a.example"), policy));
        let allowed = ["cdn.example", "::1"].map(|name| UnpinnedName::try_from(name).unwrap());
        let mut file = PinFile::new(hosts).unwrap().with_unpinned_hosts(unpinned, allowed);
        if let Some(overlap) = overlap {
            file = file.with_overlap(overlap);
        }
        if let Some(keys) = refused {
            file = file.with_refused_keys(PinSet::new(keys).unwrap());
        }
        prop_assert_eq!(PinFile::parse(&file.to_string()).unwrap(), file);
    }
}
