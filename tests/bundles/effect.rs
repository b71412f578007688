//! Whose pins win: built-in, fixed and noted policies, and those of a bundle that is in effect, stale
//! or killed.

use crate::common::bundles::{Body, ISSUED, Operator, base64, pins, policy, time};
use crate::common::header::{directive, parse};
use crate::common::pki::Ca;
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{Clock, DAY, at, provider};
use pinhold::bundle::{BundleOutcome, BundleVersion};
use pinhold::header::Noted;
use pinhold::policy::{Overlap, Scope, UnpinnedHosts};
use pinhold::{
    Decision, Host, PinSet, PinStore, PinViolation, Pinning, PinningVerifier, SpkiFingerprint,
    UnpinnedHost, ValidatedChain,
};
use rustls::client::danger::ServerCertVerifier;

const HOST: &str = "api.example.com";

/// A server with a certificate of each of two CAs: the checked chain, and one that notes wrong pins.
struct Chains {
    checked: ValidatedChain,
    other: ValidatedChain,
    /// The key of the checked chain's root, and a backup.
    right: [SpkiFingerprint; 2],
    other_root: SpkiFingerprint,
}

impl Chains {
    async fn new() -> Self {
        let [root, other] = ["root", "other"].map(Ca::root);
        let anchors = built_in_anchors(&[&root, &other]);
        Self {
            checked: verified_chain(&root.leaf(&[HOST]), HOST, &anchors).await,
            other: verified_chain(&other.leaf(&[HOST]), HOST, &anchors).await,
            right: [root.pin(), pins(99)[0]],
            other_root: other.pin(),
        }
    }

    /// Returns a store in which the host has noted pins.
    fn store(&self, noted: Has, now: u64) -> PinStore {
        let store = PinStore::in_memory();
        let (chain, pin) = match noted {
            Has::Nothing => return store,
            Has::Right => (&self.checked, self.right[0]),
            Has::Wrong => (&self.other, self.other_root),
        };
        let backup = directive(self.right[1]);
        let header = format!("{}; {backup}; max-age=5000000", directive(pin));
        let noting = Pinning::builder().store(store.clone()).build().unwrap();
        let noted = noting.note(&host(HOST), &parse(&header).unwrap(), chain, at(now));
        assert_eq!(noted, Noted::Added);
        store
    }
}

fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

/// A policy of the table: absent, with a key of the chain, or without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    Nothing,
    Right,
    Wrong,
}

impl Has {
    const ALL: [Self; 3] = [Self::Nothing, Self::Right, Self::Wrong];

    fn pins(self, right: [SpkiFingerprint; 2], wrong: u8) -> Option<[SpkiFingerprint; 2]> {
        match self {
            Self::Nothing => None,
            Self::Right => Some(right),
            Self::Wrong => Some(pins(wrong)),
        }
    }
}

/// What a bundle is at the time of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Current,
    Killed,
    KilledBefore,
    StaleBuiltIn,
    StaleEnforced,
    StaleReportOnly,
}

impl Is {
    const ALL: [Self; 6] = [
        Self::Current,
        Self::Killed,
        Self::KilledBefore,
        Self::StaleBuiltIn,
        Self::StaleEnforced,
        Self::StaleReportOnly,
    ];

    fn is_stale(self) -> bool {
        matches!(
            self,
            Self::StaleBuiltIn | Self::StaleEnforced | Self::StaleReportOnly
        )
    }

    fn apply(self, body: Body) -> Body {
        let kill_switch = format!(r#"{{ "until": {} }}"#, time(ISSUED + 10 * DAY));
        match self {
            Self::Current | Self::StaleEnforced => body,
            Self::Killed | Self::KilledBefore => body.with("kill_switch", kill_switch),
            Self::StaleBuiltIn => body.with("when_stale", r#""built-in""#),
            Self::StaleReportOnly => body.with("when_stale", r#""report-only""#),
        }
    }

    fn now(self) -> u64 {
        match self {
            _ if self.is_stale() => ISSUED + 90 * DAY + 1,
            Self::KilledBefore => ISSUED + 10 * DAY + 1,
            _ => ISSUED + 10 * DAY,
        }
    }
}

/// The rules in words, independent of the code: whether the host is refused.
fn expected(built_in: Has, fixed: Has, noted: Has, bundle: Has, is: Is) -> bool {
    let refuses_fixed = fixed == Has::Wrong;
    let refuses_noted = noted == Has::Wrong;
    // A fixed policy is a built-in one that stays.
    let built_in = if fixed == Has::Nothing {
        built_in
    } else {
        fixed
    };
    let falls_back = is == Is::StaleBuiltIn && built_in != Has::Nothing;
    let replaces = bundle != Has::Nothing && !falls_back;
    let wins = if replaces { bundle } else { built_in };
    let is_loose = match is {
        Is::Killed => true,
        Is::StaleReportOnly => replaces,
        _ => false,
    };
    refuses_fixed || refuses_noted || (wins == Has::Wrong && !is_loose)
}

#[tokio::test]
async fn every_combination_of_policies_is_decided_as_the_table_says() {
    let chains = Chains::new().await;
    let operator = Operator::default();
    let mut refused = 0;
    for case in cases() {
        let (built_in, fixed, noted, bundle, is) = case;
        let now = is.now();
        let mut builder = Pinning::builder()
            .store(chains.store(noted, now))
            .bundles(operator.bundles(&Body::new(1, [("other.example.com", pins(1))])));
        if let Some(pins) = built_in.pins(chains.right, 2) {
            builder = builder.static_pins(HOST, policy(pins));
        }
        if let Some(pins) = fixed.pins(chains.right, 3) {
            builder = builder.static_pins(HOST, policy(pins).fixed());
        }
        let pinning = builder.build().unwrap();
        let named = bundle.pins(chains.right, 6).map(|pins| (HOST, pins));
        let body = Body::new(2, named.into_iter().chain([("third.example.com", pins(5))]));
        let applied = pinning.apply_bundle(&operator.sign(&is.apply(body)));
        assert_eq!(
            applied.unwrap(),
            BundleOutcome::Applied(BundleVersion::new(1, 2))
        );
        let decision = pinning.check(&host(HOST), &chains.checked, at(now));
        let is_refused = matches!(decision, Decision::Refuse(_));
        let expected = expected(built_in, fixed, noted, bundle, is);
        assert_eq!(is_refused, expected, "{case:?}");
        refused += usize::from(is_refused);
    }
    assert!((100..200).contains(&refused), "{refused}");
}

type Case = (Has, Has, Has, Has, Is);

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for built_in in Has::ALL {
        for fixed in Has::ALL {
            // A host has one policy of a scope.
            if built_in != Has::Nothing && fixed != Has::Nothing {
                continue;
            }
            for noted in Has::ALL {
                for bundle in Has::ALL {
                    cases.extend(Is::ALL.map(|is| (built_in, fixed, noted, bundle, is)));
                }
            }
        }
    }
    cases
}

/// A server that does not send the cross-signed certificate of its CA.
#[tokio::test]
async fn a_path_through_a_certificate_of_the_bundle_is_found_when_the_server_does_not_send_it() {
    let [old, new] = ["old root", "new root"].map(Ca::root);
    let cross = old.cross_sign(&new);
    let leaf = new.leaf(&[HOST]);
    // The application knows the old root only, and pins it.
    let anchors = built_in_anchors(&[&old]);
    let operator = Operator::default();
    let built_in = Body::new(1, [(HOST, [old.pin(), pins(1)[0]])]);
    let pinning = Pinning::builder().time_provider(Clock::new());
    let pinning = pinning
        .bundles(operator.bundles(&built_in))
        .build()
        .unwrap();
    let server = Server::start(&leaf, &[]).await;
    let names = Names::new([(HOST, &server)]);
    let mut client = client(&pinning, anchors, &names);
    let url = format!("https://{HOST}/");
    assert!(get(&mut client, &url).await.is_err());
    let body = Body::new(2, [(HOST, [old.pin(), pins(1)[0]])]);
    let unrelated = Ca::root("unrelated").certificate();
    for (version, certificate, is_found) in [(2, &unrelated, false), (3, &cross, true)] {
        let body = body.clone().with("version", version);
        let body = body.with("intermediates", format!("[\"{}\"]", base64(certificate)));
        pinning.apply_bundle(&operator.sign(&body)).unwrap();
        let response = get(&mut client, &url).await;
        assert_eq!(response.is_ok(), is_found, "{version}");
    }
    // Wrong pins are not helped by it.
    let wrong = Body::new(4, [(HOST, pins(2))]);
    let wrong = wrong.with("intermediates", format!("[\"{}\"]", base64(&cross)));
    pinning.apply_bundle(&operator.sign(&wrong)).unwrap();
    let error = get(&mut client, &url).await.unwrap_err();
    assert!(
        PinViolation::find(&error).is_none(),
        "the server's own chain is not valid"
    );
}

/// A bundle can't add pins to a fixed policy where the application unites overlapping policies.
#[tokio::test]
async fn no_union_of_a_bundle_loosens_a_fixed_policy() {
    let chains = Chains::new().await;
    let operator = Operator::default();
    let pinning = Pinning::builder()
        .bundles(operator.bundles(&Body::new(1, [("other.example.com", pins(1))])))
        .static_pins(HOST, policy(pins(3)).fixed())
        .overlap(Overlap::Union)
        .build()
        .unwrap();
    let is_refused = || {
        let decision = pinning.check(&host(HOST), &chains.checked, at(ISSUED));
        matches!(decision, Decision::Refuse(_))
    };
    assert!(is_refused());
    let [one, other] = chains.right;
    let united = format!(
        r#"{{ "version": 1, "policies": [{{ "hosts": ["example.com"],
        "scope": "subdomains", "pins": ["{one}", "{other}"] }}] }}"#
    );
    let body = Body::new(2, []).with("pins", united.replace('\n', " "));
    pinning.apply_bundle(&operator.sign(&body)).unwrap();
    assert!(is_refused());
}

/// A bundle brings pins. What holds for all hosts is the application's choice: a mistake there would
/// refuse connections without a violation, by which a client could recover.
#[test]
fn the_settings_for_all_hosts_of_a_bundle_have_no_effect() {
    let operator = Operator::default();
    let built_in = Body::new(1, [("other.example.com", pins(1))]);
    let [strict, lax] = [UnpinnedHosts::Refuse, UnpinnedHosts::Allow].map(|choice| {
        let builder = Pinning::builder().bundles(operator.bundles(&built_in));
        let builder = builder.static_pins("example.com", policy(pins(2)).include_subdomains());
        builder.unpinned_hosts(choice).build().unwrap()
    });
    let [one, other] = pins(3);
    let settings = format!(
        r#"{{ "version": 1, "overlap": "union", "unpinned_hosts": "refuse",
  "allow_unpinned": ["elsewhere.example"],
  "policies": [{{ "hosts": ["{HOST}"], "pins": ["{one}", "{other}"] }}] }}"#
    );
    let bundle = operator.sign(&Body::new(2, []).with("pins", settings));
    for (pinning, is_refused) in [(&strict, true), (&lax, false)] {
        pinning.apply_bundle(&bundle).unwrap();
        let policies = pinning.policies(&host(HOST), at(ISSUED));
        assert_eq!(policies.static_policy.unwrap().pins.len(), 2);
        let verifier = PinningVerifier::builder(pinning.clone()).with_provider(provider());
        let anchors = built_in_anchors(&[&Ca::root("root")]);
        let verifier = verifier
            .with_anchors(anchors)
            .verifier_without_resumption_check();
        let leaf = Ca::root("root").leaf(&["elsewhere.example"]);
        let name = "elsewhere.example".try_into().unwrap();
        let verifier = verifier.unwrap();
        let refused = verifier.verify_server_cert(&leaf.chain[0], &[], &name, &[], at(ISSUED));
        let is_unpinned = UnpinnedHost::find(&refused.unwrap_err()).is_some();
        assert_eq!(is_unpinned, is_refused);
    }
}

/// A bundle replaces a policy of the application where it covers all of its names.
#[test]
fn names_that_a_policy_of_the_bundle_does_not_cover_keep_their_pins() {
    let operator = Operator::default();
    let scopes = ["host", "one-label", "subdomains", "host-and-subdomains"];
    let names = ["example.com", "www.example.com", "a.www.example.com"];
    let covers = |scope: usize, name: usize| match scope {
        0 => name == 0,
        1 => name == 1,
        2 => name > 0,
        _ => true,
    };
    for (built_in, bundled) in (0..4).flat_map(|one| (0..4).map(move |other| (one, other))) {
        let scope = [
            Scope::Host,
            Scope::OneLabel,
            Scope::Subdomains,
            Scope::HostAndSubdomains,
        ][built_in];
        let pinning = Pinning::builder()
            .bundles(operator.bundles(&Body::new(1, [("other.example.net", pins(1))])))
            .static_pins("example.com", policy(pins(2)).scope(scope))
            .build()
            .unwrap();
        let [one, other] = pins(3);
        let scope = scopes[bundled];
        let policies = format!(
            r#"{{ "version": 1, "policies": [{{ "hosts": ["example.com"], "scope": "{scope}",
  "pins": ["{one}", "{other}"] }}] }}"#
        );
        let bundle = operator.sign(&Body::new(2, []).with("pins", policies));
        pinning.apply_bundle(&bundle).unwrap();
        for (index, name) in names.iter().enumerate() {
            let expected = if covers(bundled, index) {
                Some(3)
            } else {
                covers(built_in, index).then_some(2)
            };
            let found = pinning.policies(&host(name), at(ISSUED)).static_policy;
            let found = found.map(|found| found.pins);
            let expected = expected.map(|number| PinSet::new(pins(number)).unwrap());
            assert_eq!(found, expected, "{name}: {built_in} {bundled}");
        }
    }
}
