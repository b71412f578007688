//! Which SCTs count, and how many are needed.

use pinhold::ct::{CtMode, CtOptions, CtPolicy, CtVerdict, SctDelivery, SctVerdict};
use pinhold::policy::Scope;

use crate::common::pki::leaf_params;
use crate::common::{DAY, NOW};
use crate::log::{Entry, Precertificate, Terms, TestLog, ocsp_response, sct_list};
use crate::world::{
    App, HOST, USABLE, World, list_of, short_lived, time_text, verdicts, violation,
};

/// Returns the text of a state that has been since this time.
fn state(word: &str, since: u64) -> String {
    format!(r#"{{"{word}": {{"timestamp": {}}}}}"#, time_text(since))
}

#[test]
fn a_short_lived_certificate_needs_two_logs_and_another_one_three() {
    let world = World::new();
    let app = world.app();
    let (elm, oak, ash) = (&world.elm, &world.oak, &world.ash);
    let short = Precertificate::new(&world.ca, short_lived());
    assert!(world.visit(&app, &short.logged(&[elm, ash])).is_ok());
    let refused = world.refusal(&app, &short.logged(&[elm]));
    let (found, required) = (1, 2);
    let verdict = CtVerdict::TooFewLogs { found, required };
    assert_eq!(refused.outcome().verdict(), verdict);

    let long = Precertificate::new(&world.ca, leaf_params(&[HOST]));
    assert!(world.visit(&app, &long.logged(&[elm, oak, ash])).is_ok());
    let refused = world.refusal(&app, &long.logged(&[elm, ash]));
    let (found, required) = (2, 3);
    let verdict = CtVerdict::TooFewLogs { found, required };
    assert_eq!(refused.outcome().verdict(), verdict);
}

#[test]
fn a_lifetime_of_180_days_is_short_and_one_second_more_is_not() {
    let world = World::new();
    let app = world.app();
    let mut params = short_lived();
    let days = std::time::Duration::from_secs(180 * DAY);
    for (more, is_refused) in [(0, false), (1, true)] {
        params.not_after = params.not_before + days + std::time::Duration::from_secs(more);
        let leaf = Precertificate::new(&world.ca, params.clone());
        let leaf = leaf.logged(&[&world.elm, &world.ash]);
        assert_eq!(world.visit(&app, &leaf).is_err(), is_refused, "{more}");
    }
}

#[test]
fn two_logs_of_one_operator_are_not_enough_and_two_scts_of_one_log_count_once() {
    let world = World::new();
    let app = world.app();
    let leaf = Precertificate::new(&world.ca, short_lived());
    let refused = world.refusal(&app, &leaf.logged(&[&world.elm, &world.oak]));
    let (found, required) = (1, 2);
    let verdict = CtVerdict::TooFewOperators { found, required };
    assert_eq!(refused.outcome().verdict(), verdict);

    let terms = |timestamp| Terms {
        timestamp,
        ..Terms::default()
    };
    let twice = [1, 2].map(|second| world.elm.sign(&leaf.entry(), &terms(1000 * second)));
    let refused = world.refusal(&app, &leaf.with_list(&sct_list(&twice)));
    assert_eq!(
        verdicts(&refused),
        [SctVerdict::Counts, SctVerdict::SameLog]
    );
}

#[test]
fn counts_and_operators_are_options() {
    let world = World::new();
    let mut policy = CtPolicy::default();
    (policy.short, policy.operators) = (1, 1);
    let app = App::new(world.options().policy(policy));
    let leaf = Precertificate::new(&world.ca, short_lived());
    assert!(world.visit(&app, &leaf.logged(&[&world.elm])).is_ok());
    assert!(world.visit(&app, &leaf.logged(&[])).is_err());
}

#[test]
fn logs_count_by_their_states() {
    let world = World::new();
    let leaf = Precertificate::new(&world.ca, short_lived());
    let leaf = leaf.logged(&[&world.elm, &world.ash]);
    let current = |word: &str| state(word, NOW - DAY);
    for (of_elm, verdict) in [
        (current("qualified"), None),
        (current("readonly"), None),
        (state("retired", NOW), None),
        (state("retired", NOW - 120), Some(SctVerdict::Retired)),
        (current("pending"), Some(SctVerdict::NotAccepted)),
        (current("rejected"), Some(SctVerdict::NotAccepted)),
        (current("unheard-of"), Some(SctVerdict::NotAccepted)),
        ("null".to_owned(), Some(SctVerdict::NotAccepted)),
    ] {
        let list = list_of(NOW, &[(&world.elm, &of_elm), (&world.ash, USABLE)]);
        let app = App::new(CtOptions::new(list).other_hosts(CtMode::Enforce));
        match verdict {
            None => assert!(world.visit(&app, &leaf).is_ok(), "{of_elm}"),
            Some(verdict) => {
                let refused = world.refusal(&app, &leaf);
                assert_eq!(
                    verdicts(&refused),
                    [verdict, SctVerdict::Counts],
                    "{of_elm}"
                );
            }
        }
    }
}

#[test]
fn retired_logs_alone_are_not_enough() {
    let world = World::new();
    let leaf = Precertificate::new(&world.ca, short_lived());
    let leaf = leaf.logged(&[&world.elm, &world.ash]);
    let retired = state("retired", NOW);
    let list = [
        (&world.elm, &*retired),
        (&world.ash, &*retired),
        (&world.oak, USABLE),
    ];
    let app = App::new(CtOptions::new(list_of(NOW, &list)).other_hosts(CtMode::Enforce));
    let refused = world.refusal(&app, &leaf);
    assert_eq!(refused.outcome().verdict(), CtVerdict::NoCurrentLog);
}

#[test]
fn an_earlier_operator_counts_for_scts_of_its_time() {
    let world = World::new();
    let leaf = Precertificate::new(&world.ca, short_lived());
    let leaf = leaf.logged(&[&world.elm, &world.oak]);
    for (end, is_refused) in [(NOW, false), (NOW - 120, true)] {
        let operators = format!(
            r#"{USABLE}, "previous_operators": [{{"name": "Three", "end_time": {}}}]"#,
            time_text(end)
        );
        let list = list_of(NOW, &[(&world.elm, USABLE), (&world.oak, &operators)]);
        let app = App::new(CtOptions::new(list).other_hosts(CtMode::Enforce));
        assert_eq!(world.visit(&app, &leaf).is_err(), is_refused, "{end}");
    }
}

#[test]
fn scts_of_the_future_and_of_unknown_versions_do_not_count() {
    let world = World::new();
    let app = world.app();
    let leaf = Precertificate::new(&world.ca, short_lived());
    let entry = leaf.entry();
    let with = |terms: &Terms| {
        let scts = [&world.elm, &world.ash].map(|log| log.sign(&entry, terms));
        leaf.with_list(&sct_list(&scts))
    };
    let now = Terms {
        timestamp: 1000 * NOW + 999,
        ..Terms::default()
    };
    assert!(world.visit(&app, &with(&now)).is_ok());
    let future = Terms {
        timestamp: 1000 * (NOW + 1),
        ..Terms::default()
    };
    let refused = world.refusal(&app, &with(&future));
    assert_eq!(verdicts(&refused), [SctVerdict::Future; 2]);
    let version = 1;
    let unknown = Terms {
        version,
        ..Terms::default()
    };
    assert_eq!(verdicts(&world.refusal(&app, &with(&unknown))), []);
}

#[test]
fn the_extensions_of_a_static_ct_log_are_signed() {
    let world = World::new();
    let app = world.app();
    let leaf = Precertificate::new(&world.ca, short_lived());
    // A leaf index (type 0) of 5 bytes.
    let terms = Terms {
        extensions: vec![0, 0, 5, 0, 0, 1, 2, 3],
        ..Terms::default()
    };
    let scts = [&world.elm, &world.ash].map(|log| log.sign(&leaf.entry(), &terms));
    let logged = leaf.with_list(&sct_list(&scts));
    assert!(world.visit(&app, &logged).is_ok());
    let certificate = logged.certificate();
    let read = pinhold::ct::Sct::of_certificate(&certificate);
    assert_eq!(read.len(), 2);
    assert!(read.iter().all(|sct| sct.leaf_index() == Some(0x01_0203)));

    let other = Terms {
        extensions: Vec::new(),
        ..terms
    };
    let mut forged = world.elm.sign(&leaf.entry(), &other);
    let extensions = [&[0, 8][..], &scts[0][43..51]].concat();
    forged.splice(41..43, extensions);
    let refused = world.refusal(&app, &leaf.with_list(&sct_list(&[forged, scts[1].clone()])));
    assert_eq!(
        verdicts(&refused),
        [SctVerdict::BadSignature, SctVerdict::Counts]
    );
}

#[test]
fn scts_of_a_stapled_response_count_for_themselves() {
    let world = World::new();
    let app = world.app();
    let precertificate = Precertificate::new(&world.ca, leaf_params(&[HOST]));
    let bare = precertificate.without_scts();
    let entry = Entry::Certificate(bare.certificate().to_vec());
    let staple = |logs: &[&TestLog]| {
        let scts = logs.iter().map(|log| log.sign(&entry, &Terms::default()));
        ocsp_response(&sct_list(&scts.collect::<Vec<_>>()))
    };
    let (elm, oak, ash) = (&world.elm, &world.oak, &world.ash);
    assert!(
        world
            .visit_stapled(&app, &bare, staple(&[elm, ash]))
            .is_ok()
    );
    let refused = violation(world.visit_stapled(&app, &bare, staple(&[elm, oak])));
    let (found, required) = (1, 2);
    let verdict = CtVerdict::TooFewOperators { found, required };
    assert_eq!(refused.outcome().verdict(), verdict);
    assert_eq!(refused.outcome().scts()[0].delivery, SctDelivery::Ocsp);

    // One embedded and one stapled SCT are two halves of two ways.
    let embedded = Precertificate::new(&world.ca, short_lived());
    let embedded = embedded.logged(&[elm]);
    let entry = Entry::Certificate(embedded.certificate().to_vec());
    let one = ocsp_response(&sct_list(&[ash.sign(&entry, &Terms::default())]));
    assert!(world.visit_stapled(&app, &embedded, one).is_err());

    // A retired log does not count here, whatever the time of its SCT.
    let retired = state("retired", NOW);
    let list = list_of(NOW, &[(elm, &retired), (ash, USABLE)]);
    let app = App::new(CtOptions::new(list).other_hosts(CtMode::Enforce));
    let refused = violation(world.visit_stapled(&app, &bare, staple(&[elm, ash])));
    assert_eq!(
        verdicts(&refused),
        [SctVerdict::Retired, SctVerdict::Counts]
    );
}

#[test]
fn the_nearest_host_decides_and_the_others_have_a_default() {
    let world = World::new();
    let leaf = world
        .ca
        .leaf(&[HOST, "a.example.com", "b.a.example.com", "192.0.2.1"]);
    let options = CtOptions::new(world.list())
        .host("a.example.com", Scope::Subdomains, CtMode::ReportOnly)
        .host(HOST, Scope::HostAndSubdomains, CtMode::Enforce);
    let app = App::new(options);
    for (name, is_refused, events) in [
        (HOST, true, vec![true]),
        ("a.example.com", true, vec![true]),
        ("b.a.example.com", false, vec![false]),
        ("192.0.2.1", false, vec![]),
    ] {
        let server = crate::world::stapling(&leaf, Vec::new());
        let visit = crate::common::tls::handshake(&world.client(&app.pinning), &server, name);
        assert_eq!(visit.is_err(), is_refused, "{name}");
        assert_eq!(app.violations(), events, "{name}");
    }
    let everywhere = CtOptions::new(world.list()).other_hosts(CtMode::Enforce);
    let app = App::new(everywhere);
    let server = crate::world::stapling(&leaf, Vec::new());
    let visit = crate::common::tls::handshake(&world.client(&app.pinning), &server, "192.0.2.1");
    assert!(visit.is_err());
}

/// Logs with RSA keys are allowed by RFC 6962.
#[test]
fn a_log_may_have_an_rsa_key() {
    let Some(key) = crate::common::peers::rsa_key(2048) else {
        return;
    };
    let world = World::new();
    let rsa = TestLog::with_key("Yew", "Three", key, [4, 1]);
    let list = list_of(NOW, &[(&rsa, USABLE), (&world.ash, USABLE)]);
    let app = App::new(CtOptions::new(list).other_hosts(CtMode::Enforce));
    let leaf = Precertificate::new(&world.ca, short_lived());
    assert!(world.visit(&app, &leaf.logged(&[&rsa, &world.ash])).is_ok());
    let mut forged = rsa.sign(&leaf.entry(), &Terms::default());
    *forged.last_mut().unwrap() ^= 1;
    let of_ash = world.ash.sign(&leaf.entry(), &Terms::default());
    let refused = world.refusal(&app, &leaf.with_list(&sct_list(&[forged, of_ash])));
    assert_eq!(
        verdicts(&refused),
        [SctVerdict::BadSignature, SctVerdict::Counts]
    );
}
