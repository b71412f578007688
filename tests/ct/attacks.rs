//! Certificates that were issued in secret, and SCTs that were made for others.

use pinhold::ct::{CtMode, CtOptions, CtVerdict, CtViolation, SctVerdict};
use pinhold::policy::Scope;
use pinhold::{PinViolation, TrustAnchors};

use crate::common::pki::{Ca, leaf_params};
use crate::common::tls::handshake;
use crate::common::{policy_with, provider, unrelated_pin};
use crate::log::{Entry, Precertificate, Terms, TestLog, ocsp_response, sct_list};
use crate::world::{App, HOST, World, short_lived, stapling, verdicts, violation};

/// The attack that Certificate Transparency is for.
#[test]
fn a_certificate_that_a_public_ca_issued_in_secret_is_refused() {
    let world = World::new();
    let app = world.app();
    let secret = world.ca.leaf_from(short_lived());
    let refused = world.refusal(&app, &secret);
    assert!(refused.outcome().scts().is_empty());
    let (found, required) = (0, 2);
    let verdict = CtVerdict::TooFewLogs { found, required };
    assert_eq!(refused.outcome().verdict(), verdict);
    assert_eq!(app.violations(), [true]);
    let text = refused.to_string();
    for part in [HOST, "is refused", "in no log", "what to do"] {
        assert!(text.contains(part), "{text}");
    }
}

/// The attack that it does not stop: the domain owner sees the certificate in a log, the client does
/// not know that it is not his.
#[test]
fn a_certificate_that_was_issued_to_someone_else_and_is_logged_is_accepted() {
    let world = World::new();
    let app = world.app();
    let other_ca = world.root.intermediate("Deceived CA");
    let issued = Precertificate::new(&other_ca, short_lived());
    assert!(
        world
            .visit(&app, &issued.logged(&[&world.elm, &world.ash]))
            .is_ok()
    );
    assert!(app.violations().is_empty());
}

#[test]
fn scts_of_another_certificate_do_not_count() {
    let world = World::new();
    let app = world.app();
    let genuine = Precertificate::new(&world.ca, short_lived());
    let scts = [&world.elm, &world.ash].map(|log| log.sign(&genuine.entry(), &Terms::default()));
    let forged = Precertificate::new(&world.ca, short_lived());
    let refused = world.refusal(&app, &forged.with_list(&sct_list(&scts)));
    assert_eq!(verdicts(&refused), [SctVerdict::BadSignature; 2]);
    assert!(refused.to_string().contains("another certificate"));

    let bare = forged.without_scts();
    let entry = Entry::Certificate(genuine.without_scts().certificate().to_vec());
    let scts = [&world.elm, &world.ash].map(|log| log.sign(&entry, &Terms::default()));
    let response = ocsp_response(&sct_list(&scts));
    let refused = violation(world.visit_stapled(&app, &bare, response));
    assert_eq!(verdicts(&refused), [SctVerdict::BadSignature; 2]);
}

/// A precertificate that a CA of no client has signed may be in a log: its SCTs must not count for the
/// same contents below another CA.
#[test]
fn scts_of_a_precertificate_of_another_issuer_do_not_count() {
    let world = World::new();
    let app = world.app();
    // The same name as that of the genuine CA, and another key.
    let other_ca = Ca::root("Other").intermediate("Intermediate");
    let params = short_lived();
    let leaf = Precertificate::new(&world.ca, params);
    let (Entry::Precertificate(own, contents), Entry::Precertificate(other, _)) = (
        leaf.entry(),
        Precertificate::new(&other_ca, short_lived()).entry(),
    ) else {
        panic!("expected precertificates");
    };
    assert_ne!(own, other);
    let entry = Entry::Precertificate(other, contents);
    let scts = [&world.elm, &world.ash].map(|log| log.sign(&entry, &Terms::default()));
    let refused = world.refusal(&app, &leaf.with_list(&sct_list(&scts)));
    assert_eq!(verdicts(&refused), [SctVerdict::BadSignature; 2]);
    assert!(
        world
            .visit(&app, &leaf.logged(&[&world.elm, &world.ash]))
            .is_ok()
    );
}

/// The issuer's key is that of the anchor if it has issued the certificate itself.
#[test]
fn a_certificate_of_a_root_is_checked_with_the_key_of_the_root() {
    let world = World::new();
    let app = world.app();
    let leaf = Precertificate::new(&world.root, short_lived());
    assert!(
        world
            .visit(&app, &leaf.logged(&[&world.elm, &world.ash]))
            .is_ok()
    );
    assert!(world.visit(&app, &leaf.without_scts()).is_err());
}

#[test]
fn scts_of_a_log_that_claims_the_id_of_another_one_do_not_count() {
    let world = World::new();
    let app = world.app();
    let leaf = Precertificate::new(&world.ca, short_lived());
    let rogue = TestLog::new("Rogue", "Three");
    let mut forged = rogue.sign(&leaf.entry(), &Terms::default());
    forged.splice(1..33, world.elm.id());
    let of_ash = world.ash.sign(&leaf.entry(), &Terms::default());
    let refused = world.refusal(&app, &leaf.with_list(&sct_list(&[forged, of_ash])));
    assert_eq!(
        verdicts(&refused),
        [SctVerdict::BadSignature, SctVerdict::Counts]
    );

    let refused = world.refusal(&app, &leaf.logged(&[&rogue, &world.ash]));
    assert_eq!(
        verdicts(&refused),
        [SctVerdict::Counts, SctVerdict::UnknownLog]
    );
    assert!(refused.to_string().contains("replace_log_list"));
}

#[test]
fn chains_to_user_added_roots_are_not_checked() {
    let world = World::new();
    let app = world.app();
    let anchors = TrustAnchors::new().with_user_added([world.root.certificate()]);
    let config = pinhold::PinningVerifier::builder(app.pinning.clone())
        .with_anchors(anchors.unwrap())
        .with_provider(provider())
        .client_config()
        .unwrap();
    let server = stapling(&world.ca.leaf(&[HOST]), Vec::new());
    assert!(handshake(&config.into(), &server, HOST).is_ok());
    assert!(app.violations().is_empty());
}

#[test]
fn pins_refuse_before_scts_are_looked_for() {
    let world = World::new();
    let builder = pinhold::Pinning::builder()
        .certificate_transparency(world.options())
        .static_pins(HOST, policy_with(unrelated_pin()));
    let app = App::build(builder);
    let error = world.visit(&app, &world.ca.leaf(&[HOST])).unwrap_err();
    assert!(PinViolation::find(&error).is_some());
    assert!(CtViolation::find(&error).is_none());
    assert!(app.violations().is_empty());
}

#[test]
fn an_application_without_options_or_for_other_hosts_is_not_affected() {
    let world = World::new();
    let leaf = world.ca.leaf_from(leaf_params(&[HOST]));
    let other = CtOptions::new(world.list()).host("other.example", Scope::Host, CtMode::Enforce);
    for app in [App::build(pinhold::Pinning::builder()), App::new(other)] {
        assert!(world.visit(&app, &leaf).is_ok());
        assert!(app.events().is_empty());
    }
}
