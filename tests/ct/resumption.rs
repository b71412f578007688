//! Sessions, which are resumed without a certificate.

use pinhold::ct::CtMode;
use rustls::HandshakeKind::{Full, Resumed};

use crate::common::tls::handshake;
use crate::common::{DAY, NOW};
use crate::log::{Entry, Precertificate, Terms, ocsp_response, sct_list};
use crate::world::{HOST, World, short_lived, stapling};

#[test]
fn sessions_of_complying_certificates_are_resumed() {
    let world = World::new();
    let app = world.app();
    let client = world.client(&app.pinning);
    let bare = world.ca.leaf_from(short_lived());
    let entry = Entry::Certificate(bare.certificate().to_vec());
    let scts = [&world.elm, &world.ash].map(|log| log.sign(&entry, &Terms::default()));
    let embedded = Precertificate::new(&world.ca, short_lived());
    let embedded = embedded.logged(&[&world.elm, &world.ash]);
    for server in [
        stapling(&bare, ocsp_response(&sct_list(&scts))),
        stapling(&embedded, Vec::new()),
    ] {
        assert_eq!(handshake(&client, &server, HOST), Ok(Full));
        assert_eq!(handshake(&client, &server, HOST), Ok(Resumed));
    }
    assert!(app.events().is_empty());
}

/// While the list was stale nothing was refused. A session of that time must not be a way around the
/// new list.
#[test]
fn a_session_that_was_made_while_the_list_was_stale_is_not_resumed_with_a_new_list() {
    let world = World::new();
    let app = world.app();
    let client = world.client(&app.pinning);
    let leaf = world.ca.leaf(&[HOST]);
    let server = stapling(&leaf, Vec::new());
    app.clock.set(NOW + 100 * DAY);
    assert_eq!(handshake(&client, &server, HOST), Ok(Full));
    assert_eq!(handshake(&client, &server, HOST), Ok(Resumed));
    let usable = [&world.elm, &world.oak, &world.ash].map(|log| (log, crate::world::USABLE));
    let list = crate::world::list_of(NOW + 100 * DAY, &usable);
    app.pinning.replace_log_list(list);
    let error = handshake(&client, &server, HOST).unwrap_err();
    assert!(pinhold::ct::CtViolation::find(&error).is_some());
}

#[test]
fn a_refused_chain_leaves_no_session() {
    let world = World::new();
    let app = world.app();
    let client = world.client(&app.pinning);
    let server = stapling(&world.ca.leaf(&[HOST]), Vec::new());
    for _ in 0..2 {
        assert!(handshake(&client, &server, HOST).is_err());
    }
    assert_eq!(app.violations(), [true, true]);
}

#[test]
fn a_report_only_host_is_resumed_and_reported_for_the_full_handshake() {
    let world = World::new();
    let options = pinhold::ct::CtOptions::new(world.list()).other_hosts(CtMode::ReportOnly);
    let app = crate::world::App::new(options);
    let client = world.client(&app.pinning);
    let server = stapling(&world.ca.leaf(&[HOST]), Vec::new());
    assert_eq!(handshake(&client, &server, HOST), Ok(Full));
    assert_eq!(handshake(&client, &server, HOST), Ok(Resumed));
    assert_eq!(app.violations(), [false]);
}
