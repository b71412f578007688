//! Causes of failures before pins count: the clock, a captive portal, an unknown issuer.

use pinhold::Pinning;
use pinhold::tls::{Cause, ClockEvidence, ValidityLimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{HOST, Visitor, both};
use crate::common::peers::Peer;
use crate::common::pki::{Ca, Leaf, leaf_params};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, at, policy_with};

#[tokio::test]
async fn a_clock_in_2040_or_1970_is_stated_with_the_dates() {
    let root = Ca::root("Root");
    let mut params = leaf_params(&[HOST]);
    params.not_before = rcgen::date_time_ymd(2026, 12, 1);
    params.not_after = rcgen::date_time_ymd(2027, 3, 1);
    let leaf = root.leaf_from(params);
    for (now, limit, is_proved) in [
        (Y2040, ValidityLimit::NotAfter(at(MARCH_2027)), Some(false)),
        (
            Y1970,
            ValidityLimit::NotBefore(at(DECEMBER_2026)),
            Some(true),
        ),
        (JUNE_2027, ValidityLimit::NotAfter(at(MARCH_2027)), None),
    ] {
        for server in both(&leaf) {
            let cause = with_clock(now, &root, &leaf).failed(server.address).await;
            let Cause::Clock {
                now: shown,
                limit: found,
                evidence,
            } = cause
            else {
                panic!("{cause:?}");
            };
            assert_eq!((shown, found), (at(now), limit));
            match evidence {
                ClockEvidence::BeforeRelease { release } => {
                    assert_eq!(is_proved, Some(true));
                    assert!(release.as_secs() > NOVEMBER_2026);
                }
                ClockEvidence::BeyondRenewal => assert_eq!(is_proved, Some(false)),
                _ => assert_eq!(is_proved, None),
            }
            let statement = cause.to_string();
            let year = if now == Y1970 { "1970-" } else { "20" };
            assert!(statement.contains(year), "{statement}");
        }
    }
}

fn with_clock(now: u64, root: &Ca, leaf: &Leaf) -> Visitor {
    let clock = Clock::new();
    clock.set(now);
    let builder = Pinning::builder().time_provider(clock);
    let builder = builder.static_pins(HOST, policy_with(leaf.pin()));
    Visitor::new(builder, &built_in_anchors(&[root]))
}

/// A redirect of nginx over plain HTTP, and the bytes of one over a socket.
#[tokio::test]
async fn a_portal_that_responds_with_plain_http_is_stated() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    let visitor = || Visitor::pinned(policy_with(leaf.pin()), &built_in_anchors(&[&root]));
    let Some(nginx) = Peer::nginx_portal() else {
        return;
    };
    assert_eq!(visitor().failed(nginx.address).await, Cause::NotTls);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let portal = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://portal.test/\r\n\r\n";
        socket.write_all(redirect).await.unwrap();
        // The client's bytes are read, so that closing the socket resets nothing.
        let _ = socket.read_to_end(&mut Vec::new()).await;
    });
    assert_eq!(visitor().failed(address).await, Cause::NotTls);
    portal.await.unwrap();
}

#[tokio::test]
async fn a_portal_with_a_certificate_for_its_own_name_is_stated() {
    let root = Ca::root("Root");
    let anchors = built_in_anchors(&[&root]);
    let genuine = root.leaf(&[HOST]);
    for server in both(&root.leaf(&["portal.test"])) {
        let visitor = Visitor::pinned(policy_with(genuine.pin()), &anchors);
        let presented = vec!["portal.test".to_owned()];
        assert_eq!(
            visitor.failed(server.address).await,
            Cause::OtherName { presented }
        );
    }
}

#[tokio::test]
async fn an_issuer_that_is_not_trusted_is_stated() {
    let (root, portal) = (Ca::root("Root"), Ca::root("Portal"));
    let anchors = built_in_anchors(&[&root]);
    let genuine = root.leaf(&[HOST]);
    // The name does not matter without a trusted issuer.
    for leaf in [portal.leaf(&[HOST]), portal.leaf(&["portal.test"])] {
        for server in both(&leaf) {
            let visitor = Visitor::pinned(policy_with(genuine.pin()), &anchors);
            assert_eq!(visitor.failed(server.address).await, Cause::UnknownIssuer);
        }
    }
}

const Y1970: u64 = 1_000;
const NOVEMBER_2026: u64 = 1_793_491_200;
const DECEMBER_2026: u64 = 1_796_083_200;
const MARCH_2027: u64 = 1_803_859_200;
const JUNE_2027: u64 = 1_811_808_000;
const Y2040: u64 = 2_208_988_800;
