//! Which static policies apply to a name, compared with a model that scans all policies.

use pinhold::policy::{Overlap, Scope};
use pinhold::{Host, PinPolicy, Pinning, SpkiFingerprint};

use crate::common::now;

/// 500 sets of policies with 2,000 names each.
const SETS: u32 = 500;
const NAMES: u32 = 2_000;

#[test]
fn a_million_lookups_agree_with_a_scan_of_all_policies() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut matched = 0_u32;
    for set in 0..SETS {
        let model = Model::new(&mut random);
        let overlap = [Overlap::Nearest, Overlap::Union][usize::from(set % 2 == 1)];
        let pinning = model.pinning(overlap);
        for _ in 0..NAMES {
            let name = random.name(1, 5);
            let host = Host::parse(&name).unwrap();
            let found = pinning.policies(&host, now()).static_policy;
            let found = found.map(|policy| policy.pins.iter().copied().collect::<Vec<_>>());
            let expected = model.pins(&name, overlap);
            assert_eq!(found, expected, "{name} in {model:?}, {overlap:?}");
            matched += u32::from(expected.is_some());
        }
    }
    // The names are chosen such that both outcomes are frequent.
    assert!((200_000..900_000).contains(&matched), "{matched}");
}

#[derive(Debug)]
struct Model(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    host: String,
    scope: Scope,
    exempt: Vec<String>,
    pin: SpkiFingerprint,
}

impl Model {
    /// Adds random policies, without those that the builder refuses.
    fn new(random: &mut Random) -> Self {
        let mut model = Self(Vec::new());
        for number in 0..=random.below(12) {
            let scopes = [
                Scope::Host,
                Scope::OneLabel,
                Scope::Subdomains,
                Scope::HostAndSubdomains,
            ];
            let host = random.name(1, 3);
            let scope = scopes[usize::try_from(random.below(4)).unwrap()];
            let exempt = (0..random.below(3)).map(|_| format!("{}.{host}", random.name(1, 2)));
            let mut rule = Rule {
                exempt: exempt.collect(),
                host,
                scope,
                pin: SpkiFingerprint::from_digest([u8::try_from(number + 1).unwrap(); 32]),
            };
            rule.exempt
                .retain(|name| covers(scope, labels(name) - labels(&rule.host)));
            if random.below(4) == 0 {
                rule.exempt.clear();
            }
            model.0.push(rule);
            if model.build(Overlap::Nearest).is_err() {
                model.0.pop();
            }
        }
        model
    }

    fn build(&self, overlap: Overlap) -> Result<Pinning, pinhold::BuildError> {
        let rules = self.0.iter().map(|rule| {
            let policy = PinPolicy::without_backup([rule.pin]).unwrap();
            let policy = policy.scope(rule.scope);
            let exempt = rule.exempt.iter();
            let policy = exempt.fold(policy, |policy, name| policy.exempt(name.as_str()).unwrap());
            (rule.host.as_str(), policy)
        });
        let builder = Pinning::builder().overlap(overlap);
        rules
            .fold(builder, |builder, (host, policy)| {
                builder.static_pins(host, policy)
            })
            .build()
    }

    fn pinning(&self, overlap: Overlap) -> Pinning {
        self.build(overlap).unwrap()
    }

    /// Returns the pins that apply to a name, in their order.
    fn pins(&self, name: &str, overlap: Overlap) -> Option<Vec<SpkiFingerprint>> {
        let applies = |rule: &&Rule| {
            let is_exempt = rule
                .exempt
                .iter()
                .any(|exempt| is_at_or_below(name, exempt));
            let is_below = is_at_or_below(name, &rule.host);
            is_below && !is_exempt && covers(rule.scope, labels(name) - labels(&rule.host))
        };
        let mut applying = self.0.iter().filter(applies).collect::<Vec<_>>();
        // The longest host first, then the smallest scope.
        applying.sort_by_key(|rule| (usize::MAX - labels(&rule.host), rank(rule.scope)));
        if overlap == Overlap::Nearest {
            applying.truncate(1);
        }
        let mut pins = applying.iter().map(|rule| rule.pin).collect::<Vec<_>>();
        pins.sort_unstable();
        (!pins.is_empty()).then_some(pins)
    }
}

fn is_at_or_below(name: &str, host: &str) -> bool {
    name == host || name.ends_with(&format!(".{host}"))
}

fn labels(name: &str) -> usize {
    name.split('.').count()
}

fn covers(scope: Scope, more: usize) -> bool {
    match (scope, more) {
        (Scope::Host, 0) | (Scope::OneLabel, 1) => true,
        (Scope::Host | Scope::OneLabel, _) => false,
        (Scope::Subdomains, more) => more > 0,
        (Scope::HostAndSubdomains, _) => true,
        _ => panic!("a new scope"),
    }
}

fn rank(scope: Scope) -> u8 {
    match scope {
        Scope::Host => 0,
        Scope::OneLabel => 1,
        Scope::Subdomains => 2,
        _ => 3,
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Returns a name of few labels, so that names of policies and hosts often overlap.
    fn name(&mut self, least: u64, most: u64) -> String {
        let count = least + self.below(most - least + 1);
        let labels = (0..count).map(|_| ["a", "b", "aa"][usize::try_from(self.below(3)).unwrap()]);
        labels.collect::<Vec<_>>().join(".")
    }
}
