//! Pin files beside other pins and settings of the builder, and their replacement.

use pinhold::pin_file::{PinFile, PinFileProblem as Problem};
use pinhold::policy::{Overlap, Scope};
use pinhold::{BuildError, Host, PinPolicy, Pinning, SpkiFingerprint};

use super::pin_files::{A, B, C, D, parse, with_policy};
use crate::common::now;

#[test]
fn a_host_has_one_policy_of_each_scope_and_all_of_them_in_one_place() {
    let two = format!(r#""pins":["{A}","{B}"]"#);
    let policy = format!(r#"{{"hosts":["a.example","A.example."],{two}}}"#);
    let file = format!(r#"{{"version":1,"policies":[{policy}]}}"#);
    let error = PinFile::parse(&file).unwrap_err();
    assert!(matches!(
        error.problem(),
        Problem::DuplicateHost {
            scope: Scope::Host,
            ..
        }
    ));
    assert_eq!(error.column(), file.len() - 2, "the end of the policy");
    let file = parse(&with_policy(&two));
    let policy = PinPolicy::new([A, B]).unwrap().scope(Scope::OneLabel);
    let built = Pinning::builder()
        .static_pins("example.com", policy)
        .pins(file)
        .build();
    assert!(matches!(built, Err(BuildError::HostInPinFile { .. })));
}

#[test]
fn replaced_pins_take_the_rules_of_the_new_file_and_keep_those_of_the_builder() {
    let host = |name| Host::parse(name).unwrap();
    let key = |text: &str| text.parse::<SpkiFingerprint>().unwrap();
    let rules = |members: &str, host: &str| {
        parse(&format!(
            r#"{{"version":1,{members}"policies":[{{"hosts":["{host}"],"pins":["{A}","{B}"]}}]}}"#
        ))
    };
    let first = rules(&format!(r#""refused_keys":["{C}"],"#), "one.example");
    let pinning = Pinning::builder().refuse_keys([D]).pins(first).build();
    let pinning = pinning.unwrap();
    let refused = |name| {
        let policies = pinning.policies(&host(name), now());
        policies
            .refused_keys
            .map(|keys| keys.iter().copied().collect::<Vec<_>>())
    };
    let mut both = vec![key(C), key(D)];
    both.sort_unstable();
    assert_eq!(refused("one.example"), Some(both));
    pinning.replace_pins(rules("", "two.example")).unwrap();
    assert_eq!(refused("two.example"), Some(vec![key(D)]));
    let is_pinned = |name| pinning.policies(&host(name), now()).static_policy.is_some();
    assert!(is_pinned("two.example") && !is_pinned("one.example"));
    // Pins beside the file stay, and may not be in the new file.
    let policy = PinPolicy::new([A, B]).unwrap();
    let beside = Pinning::builder()
        .static_pins("beside.example", policy)
        .overlap(Overlap::Nearest)
        .pins(rules(r#""overlap":"union","#, "one.example"))
        .build()
        .unwrap();
    beside.replace_pins(rules("", "two.example")).unwrap();
    let has_pins = |name| beside.policies(&host(name), now()).static_policy.is_some();
    assert!(has_pins("beside.example") && has_pins("two.example") && !has_pins("one.example"));
    let conflict = beside.replace_pins(rules("", "beside.example"));
    assert!(matches!(conflict, Err(BuildError::HostInPinFile { .. })));
    // A file that contradicts itself changes nothing.
    let wrong = parse(&with_policy(&format!(
        r#""pins":["{A}","{B}"],"exempt":["dev.example.org"]"#
    )));
    let error = pinning.replace_pins(wrong).unwrap_err();
    assert!(matches!(error, BuildError::Exemption { .. }));
    assert!(is_pinned("two.example"));
}

#[test]
fn the_overlap_of_the_builder_comes_before_that_of_the_file() {
    let file = |overlap: &str| {
        parse(&format!(
            r#"{{"version":1,"overlap":"{overlap}","policies":[
                {{"hosts":["example.com"],"scope":"host-and-subdomains","pins":["{A}","{B}"]}},
                {{"hosts":["a.example.com"],"pins":["{C}","{D}"]}}]}}"#
        ))
    };
    let pins = |pinning: Pinning| {
        let host = Host::parse("a.example.com").unwrap();
        let policies = pinning.policies(&host, now());
        policies.static_policy.unwrap().pins.len()
    };
    let builder = || Pinning::builder().pins(file("union"));
    assert_eq!(pins(builder().build().unwrap()), 4);
    let nearest = builder().overlap(Overlap::Nearest);
    assert_eq!(pins(nearest.build().unwrap()), 2);
    let union = Pinning::builder()
        .pins(file("nearest"))
        .overlap(Overlap::Union);
    assert_eq!(pins(union.build().unwrap()), 4);
}
