//! hyper, reqwest and `openssl s_server`.

use std::fs;

use pinhold::VerifiedConnection;
use pinhold::connector::ConnectError;
use pinhold::ct::{CtMode, CtOptions, CtVerdict, CtViolation};

use crate::common::peers::{Peer, Tls};
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::built_in_anchors;
use crate::log::{Entry, Precertificate, Terms, ocsp_response, sct_list};
use crate::world::{App, HOST, World, short_lived};

const URI: &str = "https://example.com/";

#[tokio::test]
async fn hyper_receives_the_refusal_and_its_connections_the_outcome() {
    let world = World::new();
    let app = world.app();
    let names = Names::default();
    let mut client = client(&app.pinning, built_in_anchors(&[&world.root]), &names);
    let server = Server::start(&world.ca.leaf(&[HOST]), &[]).await;
    names.point(HOST, &server);
    let error = get(&mut client, URI).await.unwrap_err();
    assert!(CtViolation::find(&error).unwrap().is_refused());
    let source = std::error::Error::source(&error).unwrap();
    assert!(matches!(source.downcast_ref(), Some(ConnectError::Ct(_))));
    assert_eq!(server.requests(), 0);
    assert_eq!(app.violations(), [true]);

    let leaf = Precertificate::new(&world.ca, short_lived());
    let server = Server::start(&leaf.logged(&[&world.elm, &world.ash]), &[]).await;
    names.point(HOST, &server);
    let response = get(&mut client, URI).await.unwrap();
    let connection = response.extensions().get::<VerifiedConnection>().unwrap();
    let outcome = connection.ct_outcome().unwrap();
    assert_eq!(
        (outcome.verdict(), outcome.scts().len()),
        (CtVerdict::Compliant, 2)
    );
    assert!(app.events().is_empty());
}

#[tokio::test]
async fn a_report_only_host_is_reported_once_for_each_connection() {
    let world = World::new();
    let app = App::new(CtOptions::new(world.list()).other_hosts(CtMode::ReportOnly));
    let server = Server::start(&world.ca.leaf(&[HOST]), &[]).await;
    let names = Names::new([(HOST, &server)]);
    let mut client = client(&app.pinning, built_in_anchors(&[&world.root]), &names);
    for _ in 0..2 {
        let response = get(&mut client, URI).await.unwrap();
        let connection = response.extensions().get::<VerifiedConnection>().unwrap();
        assert_ne!(
            connection.ct_outcome().unwrap().verdict(),
            CtVerdict::Compliant
        );
    }
    assert_eq!(app.violations(), [false]);
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn reqwest_receives_the_refusal() {
    use crate::common::tls_setup::tls_setups;

    let world = World::new();
    let bare = world.ca.leaf(&[HOST]);
    let logged = Precertificate::new(&world.ca, short_lived());
    let logged = logged.logged(&[&world.elm, &world.ash]);
    for setup in tls_setups() {
        let app = world.app();
        let (server, good) = (
            setup.serve(&bare, &[]).await,
            setup.serve(&logged, &[]).await,
        );
        let names = Names::default();
        let anchors = built_in_anchors(&[&world.root]);
        let client = setup
            .reqwest(&app.pinning, &anchors, &names)
            .build()
            .unwrap();
        names.point(HOST, &server);
        let url = |server: &Server| format!("https://{HOST}:{}/", server.address.port());
        let error = client.get(url(&server)).send().await.unwrap_err();
        assert!(CtViolation::find(&error).unwrap().is_refused());
        assert_eq!(app.violations(), [true]);
        names.point(HOST, &good);
        client.get(url(&good)).send().await.unwrap();
        assert!(app.violations().is_empty());
    }
}

/// `openssl s_server` staples a response from a file.
#[tokio::test]
async fn scts_that_openssl_staples_count() {
    let world = World::new();
    let folder = crate::common::noted::temp_dir();
    let file = folder.path().join("ocsp.der");
    let leaf = world.ca.leaf_from(short_lived());
    let entry = Entry::Certificate(leaf.certificate().to_vec());
    let scts = [&world.elm, &world.ash].map(|log| log.sign(&entry, &Terms::default()));
    for tls in [Tls::V1_2, Tls::V1_3] {
        for (count, is_refused) in [(2, false), (1, true)] {
            fs::write(&file, ocsp_response(&sct_list(&scts[..count]))).unwrap();
            let app = world.app();
            let Some(server) = Peer::s_server_stapling(&leaf, tls, &file) else {
                return;
            };
            let names = Names::default();
            names.point_to(HOST, server.address);
            let mut client = client(&app.pinning, built_in_anchors(&[&world.root]), &names);
            let visit = get(&mut client, URI).await;
            let refused = visit.err().map(|error| CtViolation::find(&error).unwrap());
            assert_eq!(refused.is_some(), is_refused, "{count}");
            if let Some(refused) = refused {
                assert_eq!(refused.outcome().scts().len(), 1);
            }
        }
    }
}
