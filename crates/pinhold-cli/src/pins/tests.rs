//! Properties of all formats, on random rules and on random texts.

mod generate;

use pinhold::policy::{PinGroup, PinRole, PolicyState};
use pinhold::{Host, Pinning, SpkiFingerprint};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[cfg(unix)]
use crate::growth::assert_linear;
use crate::pins::diff::differences;
use crate::pins::formats::Format;
use crate::pins::loss::{LossKind, Losses};
use crate::pins::reduce::reduce;
use crate::pins::rules::{Rule, Rules, group};
use crate::pins::source::Context;
use crate::pins::tests::generate::{NAMES, NOW, at, pin, rules};

const OTHERS: [Format; 9] = [
    Format::AndroidNsc,
    Format::Apple,
    Format::Chromium,
    Format::Curl,
    Format::Header,
    Format::Okhttp,
    Format::Tlsa,
    Format::TrustkitAndroid,
    Format::TrustkitIos,
];
fn context() -> Context {
    Context {
        host: None,
        at: at(NOW),
        role: None,
        chromium_pins: None,
    }
}

fn sorted(mut rules: Rules) -> Rules {
    for rule in &mut rules.rules {
        rule.exempt.sort_unstable();
    }
    rules
        .rules
        .sort_by(|one, other| (&one.host, one.scope).cmp(&(&other.host, other.scope)));
    rules
}

/// Returns the rules as the format can say them, with the losses.
fn reduced(rules: &Rules, format: Format) -> (Rules, Losses) {
    let mut losses = Losses::default();
    let reduced = reduce(rules.clone(), &format.abilities(), at(NOW), &mut losses);
    (sorted(reduced), losses)
}

/// What applies to a name: the pins by groups, the state, and what is set beside them.
fn applied(rules: &Rules, name: &str) -> Option<(PolicyState, Vec<PinGroup>, String)> {
    let pinning = Pinning::builder()
        .pins(rules.pin_file().unwrap())
        .build()
        .unwrap();
    let policies = pinning.policies(&Host::parse(name).unwrap(), at(NOW));
    let applied = policies.static_policy?;
    let normal = |it: &PinGroup| group(it.iter().map(|(role, pin)| (role, *pin))).unwrap();
    let groups = match applied.groups() {
        [] => vec![PinGroup::new(applied.pins.iter()).unwrap()],
        groups => groups.iter().map(normal).collect(),
    };
    let others = format!("{:?} {:?}", applied.user_added_roots, applied.plain_http);
    Some((applied.state, groups, others))
}

/// Returns whether the keys of a leaf and of its CA satisfy all groups.
fn accepts(groups: &[PinGroup], [leaf, ca]: &[SpkiFingerprint; 2]) -> bool {
    let has = |group: &PinGroup, role, key| group.pins(role).is_some_and(|it| it.contains(key));
    groups.iter().all(|group| {
        has(group, PinRole::Leaf, leaf)
            || has(group, PinRole::Ca, ca)
            || has(group, PinRole::Any, leaf)
            || has(group, PinRole::Any, ca)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn what_is_written_is_read_back(rules in rules(), format in select(OTHERS.to_vec())) {
        let (expected, losses) = reduced(&rules, format);
        match format.write(rules, &context()) {
            Err(_) => prop_assert!(expected.rules.is_empty()),
            Ok(written) => {
                let read = format.read(&written.text, &context());
                let read = read.map_err(|error| error.message(&written.text)).unwrap();
                prop_assert_eq!(sorted(read.rules), expected, "{}\n{:?}", written.text, losses);
            }
        }
    }

    #[test]
    fn a_pin_file_is_read_back(rules in rules()) {
        let written = Format::PinFile.write(rules.clone(), &context()).unwrap();
        let read = Format::PinFile.read(&written.text, &context()).unwrap();
        prop_assert!(written.losses.is_empty() && read.losses.is_empty());
        prop_assert_eq!(read.rules, rules);
    }

    #[test]
    fn a_second_reduction_changes_nothing(rules in rules(), format in select(OTHERS.to_vec())) {
        let (once, _) = reduced(&rules, format);
        prop_assert_eq!(&reduced(&once, format).0, &once);
    }

    #[test]
    fn a_file_does_not_differ_from_what_it_is_converted_to(
        rules in rules(),
        format in select(OTHERS.to_vec()),
        target in select(OTHERS.to_vec()),
    ) {
        let native = reduced(&rules, format).0;
        // Nested domains of Apple, of which OkHttp unites the pins for some of their names only.
        let is_partial = [format, target].contains(&Format::Apple)
            && [format, target].contains(&Format::Okhttp)
            && native.has_overlap();
        prop_assume!(!is_partial);
        let converted = reduced(&native, target).0;
        let both = format.abilities().meet(&target.abilities());
        let reduced = |rules: Rules| reduce(rules, &both, at(NOW), &mut Losses::default());
        let (one, other) = (reduced(native.clone()), reduced(converted.clone()));
        let found = differences(&one, &other).1;
        // What the target can't say at all is not in it.
        let is_whole = native.rules.iter().all(|rule| {
            converted.rules.iter().any(|it| it.host == rule.host)
        });
        prop_assert!(found.is_empty() || !is_whole, "{:?}\n{:?}\n{:?}", native, converted, found);
    }

    #[test]
    fn without_a_loss_the_same_applies_to_every_name(
        rules in rules(),
        format in select(OTHERS.to_vec()),
    ) {
        let (reduced, losses) = reduced(&rules, format);
        if losses.iter().all(|it| it.kind == LossKind::Port) && !reduced.rules.is_empty() {
            for name in NAMES {
                prop_assert_eq!(applied(&reduced, name), applied(&rules, name), "{}", name);
            }
        }
    }

    #[test]
    fn no_name_is_pinned_that_was_not(rules in rules(), format in select(OTHERS.to_vec())) {
        let (reduced, losses) = reduced(&rules, format);
        let has_other_pins = losses.iter().any(|it| it.detail.contains("the target applies the pins"));
        if has_other_pins || reduced.rules.is_empty() {
            return Ok(());
        }
        let is_enforced = |rules, name| {
            applied(rules, name).is_some_and(|(state, ..)| state == PolicyState::Enforced)
        };
        for name in NAMES {
            let is_exempt = |rule: &Rule| {
                let mut exempt = rule.exempt.iter();
                exempt.any(|it| name.ends_with(it.as_str()) && name != it.as_str())
            };
            // TrustKit for iOS can't exempt the names below an exemption, which is a loss.
            if format == Format::TrustkitIos && rules.rules.iter().any(is_exempt) {
                continue;
            }
            prop_assert!(is_enforced(&rules, name) || !is_enforced(&reduced, name), "{}", name);
        }
    }

    #[test]
    fn no_key_is_refused_that_was_accepted(rules in rules(), format in select(OTHERS.to_vec())) {
        let (reduced, losses) = reduced(&rules, format);
        let has_other_pins = losses.iter().any(|it| it.detail.contains("the target applies the pins"));
        if has_other_pins || reduced.rules.is_empty() {
            return Ok(());
        }
        let keys = (1..6).flat_map(|leaf| (1..6).map(move |ca| [pin(leaf), pin(ca)]));
        for name in NAMES {
            let (Some(before), Some(after)) = (applied(&rules, name), applied(&reduced, name)) else {
                continue;
            };
            for chain in keys.clone() {
                prop_assert!(accepts(&after.1, &chain) || !accepts(&before.1, &chain), "{}", name);
            }
        }
    }

    #[test]
    fn random_text_is_refused_or_read(
        text in "[\\PC\n]{0,200}",
        format in select(OTHERS.to_vec()),
    ) {
        let _ = format.read(&text, &context()).map_err(|error| error.message(&text));
        let _ = Format::PinFile.read(&text, &context());
    }

    #[test]
    fn a_changed_file_is_refused_or_read(
        rules in rules(),
        format in select(OTHERS.to_vec()),
        changes in vec((any::<prop::sample::Index>(), 0_usize..40, "[\\PC\n]{0,10}"), 1..4),
    ) {
        let Ok(written) = format.write(rules, &context()) else {
            return Ok(());
        };
        let mut text = written.text;
        for (index, length, inserted) in changes {
            let mut chars = text.chars().collect::<Vec<_>>();
            let begin = index.index(chars.len() + 1).min(chars.len());
            let end = chars.len().min(begin + length);
            chars.splice(begin..end, inserted.chars());
            text = chars.into_iter().collect();
        }
        let read = format.read(&text, &context());
        if let Ok(read) = read {
            prop_assert!(read.rules.pin_file().is_ok());
        }
    }
}

#[test]
fn deep_nesting_is_refused_by_every_reader() {
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let texts = [
        format!(
            "<network-security-config>{}</network-security-config>",
            deep("<domain-config>", "</domain-config>")
        ),
        format!("<plist>{}</plist>", deep("<array>", "</array>")),
        format!("<plist><dict>{}", "<key>a</key><dict>".repeat(100_000)),
        format!(
            "<!DOCTYPE plist [<!ENTITY a \"{}\">]><plist>&a;</plist>",
            deep("<array>", "</array>")
        ),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        format!(".add({}", "(".repeat(100_000)),
        "a\\".repeat(100_000),
        "(".repeat(100_000),
        "\"".repeat(100_000),
        "# example.com\n".repeat(100_000),
        "/*".repeat(100_000),
    ];
    for text in &texts {
        for format in OTHERS {
            let read = format.read(text, &context());
            assert!(
                read.is_err() || read.unwrap().rules.rules.is_empty(),
                "{format:?}"
            );
        }
        assert!(Format::PinFile.read(text, &context()).is_err());
    }
}

#[cfg(unix)]
#[test]
fn long_sources_are_read_in_linear_time() {
    let pinned = |count: usize| {
        let adds = (0..u32::try_from(count).unwrap()).map(|index| {
            let mut digest = [0x5a; 32];
            // In no order, as digests are.
            digest[..4].copy_from_slice(&index.wrapping_mul(0x9e37_79b1).to_be_bytes());
            let pin = SpkiFingerprint::from_digest(digest);
            format!(".add(\"h.example\", \"{pin}\")\n")
        });
        adds.collect::<String>()
    };
    // A role gathers the pins of each group once more.
    let mut with_role = context();
    with_role.role = Some(PinRole::Ca);
    assert_linear(10_000, pinned, |text| {
        let read = Format::Okhttp.read(text, &with_role).unwrap();
        assert_eq!(read.rules.rules.len(), 1);
    });
    for part in ["x.add(a,b)\n", "\"\" ", "/* /* */ "] {
        let text = |count| part.repeat(count);
        assert_linear(10_000, text, |text| {
            assert!(Format::Okhttp.read(text, &context()).is_err());
        });
    }
    let nested = ".add(\"a\", b(\n".repeat(900);
    assert!(Format::Okhttp.read(&nested, &context()).is_err());
    let keys = |count: usize| {
        let keys = (0..count).map(|index| format!("<key>{index}</key><true/>"));
        let keys = keys.collect::<String>();
        format!("<plist version=\"1.0\"><dict>{keys}</dict></plist>")
    };
    assert_linear(10_000, keys, |text| {
        assert!(Format::Apple.read(text, &context()).is_err());
    });
}
