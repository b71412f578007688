//! The two rules of all public errors: what `source` returns, and what `main` shows of an error
//! that it returns.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::{fs, io};

use crate::common::pki::Ca;
use crate::common::server::{Loopback, Names, Server};
use crate::common::tls_setup::{builder, pinning_with};
use crate::common::validated::built_in_anchors;
use crate::common::{policy_with, provider, unrelated_pin};
use pinhold::connector::ConnectError;
use pinhold::header::{HeaderSyntax, PinHeader};
use pinhold::policy::{HostError, PolicyError, ReportUri};
use pinhold::storage::StorageError;
use pinhold::{
    BuildError, FileStorage, Host, PinPolicy, PinStore, PinViolation, PinningConnector,
    SpkiFingerprint, TrustAnchors,
};
use tower_service::Service;

/// A cause is either in the text of the error or returned by `source`, never both.
#[track_caller]
fn follows_the_rules(error: &dyn Error) {
    let (display, debug) = (error.to_string(), format!("{error:?}"));
    assert!(debug.starts_with(&display), "{debug}");
    if let Some(cause) = error.source() {
        let cause = cause.to_string();
        assert!(!display.contains(&cause), "{display}: repeats {cause}");
        assert!(debug.contains(&cause), "{debug}: lacks {cause}");
    } else {
        assert_eq!(debug, display);
    }
}

#[test]
fn a_value_error_is_complete_in_itself() {
    let pin = "sha256/AAAA".parse::<SpkiFingerprint>().unwrap_err();
    let host = Host::parse("https://example.com/").unwrap_err();
    let uri = ReportUri::parse("/pins").unwrap_err();
    let pins = PinPolicy::new(["sha256/AAAA", "sha256/BBBB"]).unwrap_err();
    let exempt = policy_with(unrelated_pin()).exempt("192.0.2.1");
    let header = PinHeader::parse(b"max-age=x", HeaderSyntax::Rfc7469).unwrap_err();
    let anchor = TrustAnchors::new().with_built_in([b"no certificate".to_vec().into()]);
    let duplicate = builder()
        .static_pins("example.com", policy_with(unrelated_pin()))
        .static_pins("example.com", policy_with(unrelated_pin()))
        .build();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pins.jsonl");
    fs::write(&file, "not a store").unwrap();
    let corrupt = PinStore::open(FileStorage::new(&file)).unwrap_err();
    let missing = FileStorage::new(folder.path().join("none/pins.jsonl"));
    let missing = PinStore::open(missing).unwrap_err();
    let other = StorageError::other(io::Error::other("the database is locked"));
    assert!(matches!(
        exempt,
        Err(PolicyError::Exemption(HostError::IpAddress { .. }))
    ));
    assert!(matches!(duplicate, Err(BuildError::DuplicateHost { .. })));
    let errors: [&dyn Error; 11] = [
        &pin,
        &host,
        &uri,
        &pins,
        &exempt.unwrap_err(),
        &header,
        &anchor.unwrap_err(),
        &duplicate.unwrap_err(),
        &corrupt,
        &missing,
        &other,
    ];
    for error in errors {
        follows_the_rules(error);
        assert!(error.source().is_none(), "{error}");
    }
}

#[tokio::test]
async fn main_shows_the_advice_of_a_refusal() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let server = Server::start(&leaf, &[]).await;
    let loopback = Loopback::new(&Names::new([("example.com", &server)]));
    let mut connector = PinningConnector::builder(pinning_with(policy_with(unrelated_pin())))
        .with_anchors(built_in_anchors(&[&root]))
        .with_provider(provider())
        .wrap_connector(loopback)
        .unwrap();
    let uri = http::Uri::from_static("https://example.com/");
    let error = connector.call(uri).await.unwrap_err();
    follows_the_rules(&error);
    let violation = PinViolation::find(&error).unwrap();
    follows_the_rules(&violation);
    // What `fn main() -> Result<(), Box<dyn Error>>` prints.
    let boxed: Box<dyn Error> = error.into();
    let shown = format!("{boxed:?}");
    assert!(shown.contains(&violation.to_string()), "{shown}");
    for part in [
        unrelated_pin().to_string(),
        leaf.pin().to_string(),
        "set by the application for example.com".to_owned(),
        violation.cause().to_string(),
        "what to do: ".to_owned(),
    ] {
        assert!(shown.contains(&part), "{shown}: lacks {part}");
    }
}

#[tokio::test]
async fn an_error_of_the_transport_is_found_by_source() {
    let refused = tower::service_fn(|_: http::Uri| async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let error = io::Error::new(io::ErrorKind::ConnectionRefused, address.to_string());
        Err::<hyper_util::rt::TokioIo<tokio::net::TcpStream>, _>(error)
    });
    let root = Ca::root("Root");
    let mut connector = PinningConnector::builder(builder().build().unwrap())
        .with_anchors(built_in_anchors(&[&root]))
        .with_provider(provider())
        .wrap_connector(refused)
        .unwrap();
    let uri = http::Uri::from_static("https://example.com/");
    let error = connector.call(uri).await.unwrap_err();
    assert!(matches!(error, ConnectError::Transport(_)));
    follows_the_rules(&error);
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    assert_eq!(cause.unwrap().kind(), io::ErrorKind::ConnectionRefused);
}
