//! Each attack of the threat model in `SECURITY.md`, by a real handshake, over TLS 1.2 and 1.3,
//! with every crypto provider of the build.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::pki::{Ca, Leaf, ca_params, leaf_params};
use common::server::{Names, Server, answer, full, get};
use common::stage::{builder, certificate_error, known, noted, pinned, stages, violation};
use common::validated::{trusting, verified_chain};
use common::{Clock, DAY, NOW, foreign_pin, header_value, pinned_to};
use http_body_util::BodyExt;
use pinhold::header::{HeaderError, HeaderSyntax, IgnoreReason, Noted, PinHeader};
use pinhold::roots::AnchorOrigin;
use pinhold::{
    Decision, Host, PinPolicy, PinStore, PinViolation, Pinning, SpkiFingerprint, VerifiedConnection,
};
use rcgen::{BasicConstraints, IsCa};
use rustls::CertificateError;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

#[tokio::test]
async fn attack_1_the_pinned_certificate_appended_to_a_mis_issued_chain() {
    for stage in stages() {
        let (genuine_root, other_root) = (Ca::root("Genuine"), Ca::root("Other"));
        let genuine_ca = genuine_root.intermediate("Genuine CA");
        let genuine = genuine_ca.leaf(&["example.com"]);
        let mis_issued = other_root.intermediate("Other CA").leaf(&["example.com"]);
        let anchors = trusting(&[&genuine_root, &other_root]);
        let everything = genuine
            .chain
            .iter()
            .cloned()
            .chain([genuine_root.certificate()]);
        for pin in [genuine.pin(), genuine_ca.pin(), genuine_root.pin()] {
            let pinning = pinned(pinned_to(pin));
            for served in [
                mis_issued.serving(mis_issued.chain.clone()),
                mis_issued.appending([genuine.certificate()]),
                mis_issued.appending(everything.clone()),
            ] {
                let server = stage.serve(&served, &[]).await;
                let visit = stage.visit(&pinning, &anchors, &server).await;
                let violation = violation(visit).unwrap();
                assert_eq!(violation.chain().served().len(), served.chain.len());
                // Expected, and where it was served beside the path: seen, for what it is worth.
                let told = violation.to_string().matches(&pin.to_string()).count();
                let keys = served.chain.iter().map(SpkiFingerprint::of_certificate);
                assert_eq!(
                    told,
                    1 + usize::from(keys.into_iter().any(|key| key == Ok(pin)))
                );
                assert_eq!(
                    server.requests(),
                    0,
                    "no byte of a request reached the attacker"
                );
            }
            let server = stage.serve(&genuine, &[]).await;
            assert!(stage.visit(&pinning, &anchors, &server).await.is_ok());
        }
    }
}

/// Presents a certificate without having its key.
#[derive(Debug)]
struct Replay(Arc<CertifiedKey>);

impl ResolvesServerCert for Replay {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn attack_2_the_genuine_certificate_without_its_key() {
    for stage in stages() {
        let root = Ca::root("Root");
        let genuine = root.leaf(&["example.com"]);
        let own_key = root.leaf(&["attacker.example"]).key();
        let key = stage
            .provider
            .key_provider
            .load_private_key(own_key)
            .unwrap();
        let mut config = stage.config(&genuine);
        let replayed = CertifiedKey::new(genuine.chain.clone(), key);
        config.cert_resolver = Arc::new(Replay(Arc::new(replayed)));
        let value = header_value(genuine.pin(), "max-age=100");
        let server = Server::with_config(config, answer(&[("public-key-pins", &value)])).await;

        for pinning in [pinned(pinned_to(genuine.pin())), builder().build().unwrap()] {
            let visit = stage.visit(&pinning, &trusting(&[&root]), &server).await;
            assert_eq!(certificate_error(visit), CertificateError::BadSignature);
            assert!(
                !known(&pinning, "example.com"),
                "nothing is learnt in the verifier"
            );
        }
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn attack_3_a_pinned_key_in_an_invalid_chain() {
    for stage in stages() {
        let root = Ca::root("Root");
        let anchors = trusting(&[&root]);
        for (leaf, expected) in invalid_chains(&root) {
            let pinning = pinned(pinned_to(leaf.pin()));
            let server = stage.serve(&leaf, &[]).await;
            let error = certificate_error(stage.visit(&pinning, &anchors, &server).await);
            assert!(expected(&error), "{error:?}");
            assert_eq!(server.requests(), 0);
        }
    }
}

type Expected = fn(&CertificateError) -> bool;

fn invalid_chains(root: &Ca) -> Vec<(Leaf, Expected)> {
    let mut expired = leaf_params(&["example.com"]);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut future = leaf_params(&["example.com"]);
    future.not_before = rcgen::date_time_ymd(2030, 1, 1);
    let mut no_ca = ca_params("No CA");
    no_ca.is_ca = IsCa::ExplicitNoCa;
    let mut shallow = ca_params("Shallow");
    shallow.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let too_deep = root
        .intermediate_from(shallow, "Shallow")
        .intermediate("Too deep");
    vec![
        (root.leaf_from(expired), |error| {
            matches!(error, CertificateError::ExpiredContext { .. })
        }),
        (root.leaf_from(future), |error| {
            matches!(error, CertificateError::NotValidYetContext { .. })
        }),
        (root.leaf(&["example.net"]), |error| {
            matches!(error, CertificateError::NotValidForNameContext { .. })
        }),
        (
            root.intermediate_from(no_ca, "No CA")
                .leaf(&["example.com"]),
            |error| matches!(error, CertificateError::Other(_)),
        ),
        (too_deep.leaf(&["example.com"]), |error| {
            matches!(error, CertificateError::Other(_))
        }),
        (Ca::root("Nowhere").leaf(&["example.com"]), |error| {
            matches!(error, CertificateError::UnknownIssuer)
        }),
    ]
}

#[tokio::test]
async fn attack_6_another_spelling_of_the_name() {
    for stage in stages() {
        let root = Ca::root("Root");
        let names = ["example.com", "xn--bcher-kva.example", "127.0.0.1"];
        let mis_issued = root.leaf(&names);
        let value = header_value(mis_issued.pin(), "max-age=100");
        let server = stage
            .serve(&mis_issued, &[("public-key-pins", &value)])
            .await;
        let pinning = builder()
            .static_pins("example.com", pinned_to(foreign_pin()))
            .static_pins("XN--bcher-kva.example.", pinned_to(foreign_pin()))
            .build()
            .unwrap();
        let names = Names::new(names.map(|name| (name, &server)));
        let mut client = stage.client(&pinning, trusting(&[&root]), &names);
        for uri in [
            "https://example.com./",
            "https://EXAMPLE.com/",
            "https://eXample.COM.:443/",
            "https://xn--bcher-kva.example/",
            "https://XN--BCHER-KVA.Example./",
        ] {
            assert!(violation(get(&mut client, uri).await).is_some(), "{uri}");
        }
        assert_eq!(server.requests(), 0);

        // An address is never pinned, whatever its header says.
        let response = get(&mut client, "https://127.0.0.1/").await.unwrap();
        assert_eq!(noted(&response), &Noted::Ignored(IgnoreReason::NoHost));
        assert!(pinning.store().list().is_empty());
    }
}

#[test]
fn attack_6_letters_that_only_look_alike() {
    // A URI with such a letter is none; a policy for one needs the feature, and then is the same.
    assert!("https://ex\u{ff41}mple.com/".parse::<http::Uri>().is_err());
    for name in ["ex\u{ff41}mple.com", "b\u{fc}cher.example"] {
        let built = Pinning::builder()
            .static_pins(name, pinned_to(foreign_pin()))
            .build();
        if cfg!(feature = "idn") {
            let pinning = built.unwrap();
            let a_labels = ["example.com", "xn--bcher-kva.example"].map(Host::parse);
            let covered = a_labels.into_iter().filter(|host| {
                !pinning
                    .query(host.as_ref().unwrap(), common::now())
                    .is_empty()
            });
            assert_eq!(covered.count(), 1, "{name}");
        } else {
            let error = built.unwrap_err();
            let refused = matches!(
                error,
                pinhold::BuildError::Host(pinhold::policy::HostError::IdnFeatureNeeded { .. })
            );
            assert!(refused, "{error:?}");
        }
    }
}

#[tokio::test]
async fn attack_7_a_header_over_plain_http() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["example.com"]);
    let value = header_value(leaf.pin(), "max-age=100");
    let server = Server::plain(answer(&[("public-key-pins", &value)])).await;
    let names = Names::new([("example.com", &server)]);
    for stage in stages() {
        let pinning = builder().build().unwrap();
        let mut client = stage.client(&pinning, trusting(&[&root]), &names);
        let response = get(&mut client, "http://example.com/").await.unwrap();
        assert_eq!(
            noted(&response),
            &Noted::Ignored(IgnoreReason::InsecureTransport)
        );
        assert!(!known(&pinning, "example.com"));
    }
}

#[tokio::test]
async fn attack_7_a_header_over_a_user_added_root() {
    for stage in stages() {
        let (root, proxy) = (Ca::root("Root"), Ca::root("Proxy"));
        let genuine = root.leaf(&["example.com"]);
        let intercepted = proxy.leaf(&["example.com"]);
        let anchors = trusting(&[&root])
            .with_user_added([proxy.certificate()])
            .unwrap();
        let pinning = builder().build().unwrap();
        let value = header_value(genuine.pin(), "max-age=100");
        let server = stage.serve(&genuine, &[("public-key-pins", &value)]).await;
        let response = stage.visit(&pinning, &anchors, &server).await.unwrap();
        assert_eq!(noted(&response), &Noted::Added);

        let ignored = IgnoreReason::AnchorNotBuiltIn(AnchorOrigin::UserAdded);
        for value in ["max-age=0", &header_value(intercepted.pin(), "max-age=100")] {
            let server = stage
                .serve(&intercepted, &[("public-key-pins", value)])
                .await;
            let response = stage.visit(&pinning, &anchors, &server).await.unwrap();
            assert_eq!(noted(&response), &Noted::Ignored(ignored.clone()));
            let connection = response.extensions().get::<VerifiedConnection>().unwrap();
            assert!(matches!(connection.decision(), Decision::Skipped));
        }
        let entry = &pinning.store().list()[0];
        assert!(
            entry.pins.contains(&genuine.pin()),
            "the noted pins are as they were"
        );
    }
}

#[tokio::test]
async fn attack_7_unpinning_where_the_pins_fail() {
    for stage in stages() {
        let root = Ca::root("Root");
        let (genuine, mis_issued) = (root.leaf(&["example.com"]), root.leaf(&["example.com"]));
        let anchors = trusting(&[&root]);
        let pinning = pinned(pinned_to(genuine.pin()));
        let host = Host::parse("example.com").unwrap();
        let value = header_value(genuine.pin(), "max-age=100");
        let server = stage.serve(&genuine, &[("public-key-pins", &value)]).await;
        stage.visit(&pinning, &anchors, &server).await.unwrap();
        assert!(known(&pinning, "example.com"));

        let attacker = stage
            .serve(&mis_issued, &[("public-key-pins", "max-age=0")])
            .await;
        assert!(violation(stage.visit(&pinning, &anchors, &attacker).await).is_some());
        assert!(known(&pinning, "example.com"));

        // A connection that was admitted before the pins were in force: judged anew.
        assert!(pinning.forget(&host).is_some());
        pinning.disable_static(&host);
        let names = Names::new([("example.com", &attacker)]);
        let mut client = stage.client(&pinning, anchors, &names);
        let response = get(&mut client, "https://example.com/").await.unwrap();
        let old = response.extensions().get::<VerifiedConnection>().unwrap();
        pinning.restore_static();
        let remove = PinHeader::parse(b"max-age=0", HeaderSyntax::Rfc7469).unwrap();
        let noted = pinning.note(&host, &remove, old.chain(), common::now());
        assert_eq!(noted, Noted::Ignored(IgnoreReason::PinsFailed));
        assert!(violation(get(&mut client, "https://example.com/").await).is_some());
    }
}

#[tokio::test]
async fn attack_7_a_subdomain_against_its_parent() {
    for stage in stages() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com", "sub.example.com"]);
        let value = header_value(leaf.pin(), "max-age=100; includeSubDomains");
        let parent = stage.serve(&leaf, &[("public-key-pins", &value)]).await;
        let child = stage
            .serve(&leaf, &[("public-key-pins", "max-age=0")])
            .await;
        let names = Names::new([("example.com", &parent), ("sub.example.com", &child)]);
        let pinning = builder().build().unwrap();
        let mut client = stage.client(&pinning, trusting(&[&root]), &names);
        get(&mut client, "https://example.com/").await.unwrap();
        let response = get(&mut client, "https://sub.example.com/").await.unwrap();
        assert_eq!(noted(&response), &Noted::Ignored(IgnoreReason::NotKnown));
        assert!(
            known(&pinning, "sub.example.com"),
            "covered by its parent, as before"
        );
    }
}

#[tokio::test]
async fn attack_7_in_a_trailer() {
    for stage in stages() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let value = header_value(leaf.pin(), "max-age=100");
        let server = Server::with_config(stage.config(&leaf), move |_| {
            let mut trailers = http::HeaderMap::new();
            trailers.insert("public-key-pins", value.parse().unwrap());
            let trailers = async move { Some(Ok::<_, std::io::Error>(trailers)) };
            let body = full("ok").with_trailers(Box::pin(trailers)).boxed();
            http::Response::new(body)
        })
        .await;
        let pinning = builder().build().unwrap();
        let names = Names::new([("example.com", &server)]);
        let mut client = stage.client(&pinning, trusting(&[&root]), &names);
        let request = http::Request::get("https://example.com/")
            .body(http_body_util::Empty::new())
            .unwrap();
        let response = tower::Service::call(&mut client, request).await.unwrap();
        let (parts, body) = response.into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap();
        assert!(
            trailers.contains_key("public-key-pins"),
            "the trailer did arrive"
        );
        assert!(parts.extensions.get::<Noted>().is_none());
        assert!(!known(&pinning, "example.com"));
    }
}

#[tokio::test]
async fn attack_7_in_an_interim_response() {
    for stage in stages() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let value = header_value(leaf.pin(), "max-age=100");
        let hints = format!(
            "HTTP/1.1 103 Early Hints\r\nPublic-Key-Pins: {value}\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        );
        let mut config = stage.config(&leaf);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server = Server::raw(config, hints.into_bytes()).await;
        let pinning = builder().build().unwrap();
        let response = stage
            .visit(&pinning, &trusting(&[&root]), &server)
            .await
            .unwrap();
        assert_eq!(response.body(), "ok");
        assert!(response.extensions().get::<Noted>().is_none());
        assert!(!known(&pinning, "example.com"));
    }
}

#[tokio::test]
async fn attack_7_in_a_switch_of_protocols() {
    for stage in stages() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let value = header_value(leaf.pin(), "max-age=100");
        let switch = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\
             Public-Key-Pins: {value}\r\n\r\n"
        );
        let mut config = stage.config(&leaf);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server = Server::raw(config, switch.into_bytes()).await;
        let pinning = builder().build().unwrap();
        let names = Names::new([("example.com", &server)]);
        let mut client = stage.client(&pinning, trusting(&[&root]), &names);
        let request = http::Request::get("https://example.com/")
            .header("connection", "upgrade")
            .header("upgrade", "other")
            .body(http_body_util::Empty::new())
            .unwrap();
        let response = tower::Service::call(&mut client, request).await.unwrap();
        assert_eq!(response.status(), 101);
        assert!(response.headers().contains_key("public-key-pins"));
        assert!(response.extensions().get::<Noted>().is_none());
        assert!(!known(&pinning, "example.com"));
    }
}

#[tokio::test]
async fn attack_7_with_the_chain_of_a_refused_handshake() {
    for stage in stages() {
        let root = Ca::root("Root");
        let mis_issued = root.leaf(&["example.com"]);
        let server = stage.serve(&mis_issued, &[]).await;
        let pinning = pinned(pinned_to(foreign_pin()));
        let visit = stage.visit(&pinning, &trusting(&[&root]), &server).await;
        let violation = violation(visit).unwrap();
        // Its server has not proved that it has the key: that chain notes nothing, even unpinned.
        pinning.disable_all_static();
        let value = header_value(mis_issued.pin(), "max-age=100");
        let header = PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469).unwrap();
        let chain = violation.chain();
        let outcome = pinning.note(violation.host(), &header, chain, common::now());
        assert_eq!(outcome, Noted::Ignored(IgnoreReason::HandshakeNotVerified));
    }
}

#[tokio::test]
async fn attack_7_two_chains_at_once() {
    let root = Ca::root("Root");
    let leaves = [root.leaf(&["example.com"]), root.leaf(&["example.com"])];
    let anchors = trusting(&[&root]);
    let chains = [
        verified_chain(&leaves[0], "example.com", &anchors).await,
        verified_chain(&leaves[1], "example.com", &anchors).await,
    ];
    // So many pins that judging takes longer than starting a thread.
    let many = (0..50_000_u32).map(|n| {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&n.to_be_bytes());
        SpkiFingerprint::from_digest(digest)
    });
    let pins = many.chain([root.pin()]).collect::<Vec<_>>();
    let host = Host::parse("example.com").unwrap();
    for _ in 0..20 {
        let pinning = pinned(PinPolicy::new(pins.iter().copied()).unwrap());
        let start = std::sync::Barrier::new(2);
        let note = |side: usize| {
            let value = header_value(leaves[side].pin(), "max-age=100");
            let header = PinHeader::parse(value.as_bytes(), HeaderSyntax::Rfc7469).unwrap();
            start.wait();
            pinning.note(&host, &header, &chains[side], common::now())
        };
        let outcomes = std::thread::scope(|scope| {
            let other = scope.spawn(|| note(1));
            [note(0), other.join().unwrap()]
        });
        // Whoever came second was judged by what the first had noted.
        let failed = Noted::Ignored(IgnoreReason::PinsFailed);
        assert!(
            outcomes.contains(&Noted::Added) && outcomes.contains(&failed),
            "{outcomes:?}"
        );
    }
}

#[tokio::test]
async fn attack_7_on_a_redirect_to_another_host() {
    use tower::ServiceExt;
    use tower_http::follow_redirect::FollowRedirectLayer;
    use tower_layer::Layer;

    for stage in stages() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let value = header_value(leaf.pin(), "max-age=100");
        let config = stage.config(&leaf);
        let redirecting = Server::with_config(config, move |_| {
            http::Response::builder()
                .status(302)
                .header("location", "https://other.example/")
                .header("public-key-pins", &value)
                .body(full(""))
                .unwrap()
        })
        .await;
        let other = root.leaf(&["other.example"]);
        let hostile = stage
            .serve(&other, &[("public-key-pins", "max-age=0")])
            .await;
        let names = Names::new([("example.com", &redirecting), ("other.example", &hostile)]);
        let pinning = builder().build().unwrap();
        let request = || {
            let body = http_body_util::Empty::<Bytes>::new();
            http::Request::get("https://example.com/")
                .body(body)
                .unwrap()
        };

        // Above the layer: every hop is seen, each speaks for itself.
        let client = stage.client(&pinning, trusting(&[&root]), &names);
        let client = FollowRedirectLayer::new().layer(client);
        let response = client.oneshot(request()).await.unwrap();
        let outcome = response.extensions().get::<Noted>().unwrap();
        assert_eq!(outcome, &Noted::Ignored(IgnoreReason::NotKnown));
        assert!(
            known(&pinning, "example.com"),
            "noted from the redirect itself"
        );

        // Below the layer: it sees the other host's answer to a request for example.com.
        let inner = stage.client(&pinning, trusting(&[&root]), &names);
        let inner = FollowRedirectLayer::new().layer(inner);
        let client = pinhold::NotePinsLayer::new(pinning.clone()).layer(inner);
        let response = client.oneshot(request()).await.unwrap();
        let outcome = response.extensions().get::<Noted>().unwrap();
        assert_eq!(outcome, &Noted::Ignored(IgnoreReason::OtherHost));
        assert!(known(&pinning, "example.com"));
    }
}

#[tokio::test]
async fn attack_7_a_second_field_and_a_second_directive() {
    for stage in stages() {
        let root = Ca::root("Root");
        let leaf = root.leaf(&["example.com"]);
        let anchors = trusting(&[&root]);
        let good = header_value(leaf.pin(), "max-age=100");
        let twice = header_value(leaf.pin(), "max-age=100; max-age=0");
        let pinning = builder().build().unwrap();
        let two_fields = [
            ("public-key-pins", &*good),
            ("public-key-pins", "max-age=0"),
        ];
        let server = stage.serve(&leaf, &two_fields).await;
        let response = stage.visit(&pinning, &anchors, &server).await.unwrap();
        assert_eq!(noted(&response), &Noted::Added);

        // The first field counts even if it is malformed: the second one does not step in.
        let malformed = [
            ("public-key-pins", &*twice),
            ("public-key-pins", "max-age=0"),
        ];
        let server = stage.serve(&leaf, &malformed).await;
        let response = stage.visit(&pinning, &anchors, &server).await.unwrap();
        let expected = HeaderError::DuplicateDirective {
            name: "max-age".to_owned(),
        };
        assert_eq!(
            noted(&response),
            &Noted::Ignored(IgnoreReason::Header(expected))
        );
        assert!(known(&pinning, "example.com"));
    }
}

#[tokio::test]
async fn attack_8_a_wall_of_intermediates() {
    for stage in stages() {
        let root = Ca::root("Root");
        let issuer = Ca::root("Issuer");
        // All have the issuer's name, so each may have issued the leaf and each other, and a
        // signature must be checked to know: the root signed each of them, too.
        let bricks = (0..60)
            .map(|_| root.intermediate("Issuer"))
            .collect::<Vec<_>>();
        let wall = bricks.iter().map(|brick| brick.chain[0].clone());
        let wall = wall.collect::<Vec<_>>();
        let last = root.cross_sign(&issuer);
        let leaf = issuer.leaf(&["example.com"]);
        let nowhere = leaf.appending(wall.clone());
        let behind = leaf.appending(wall.iter().cloned().chain([last.clone()]));
        let before = leaf.appending(std::iter::once(last).chain(wall));
        let anchors = trusting(&[&root]);
        let foreign = pinned(pinned_to(bricks[59].pin()));
        for (served, refused_by_pins) in [(nowhere, false), (behind, false), (before, true)] {
            let server = stage.serve(&served, &[]).await;
            let visit = stage.visit(&foreign, &anchors, &server);
            let visit = tokio::time::timeout(Duration::from_secs(60), visit).await;
            let error = visit.expect("in bounded time").unwrap_err();
            let by_pins = PinViolation::find(&error).is_some();
            // A path behind the wall may be found or not, but it never passes.
            assert!(by_pins || !refused_by_pins, "{error:?}");
            assert_eq!(server.requests(), 0);
        }
    }
}

#[tokio::test]
async fn attack_9_filling_the_store_from_one_domain() {
    for stage in stages() {
        let root = Ca::root("Root");
        let hostile = (0..12)
            .map(|n| format!("n{n}.evil.example"))
            .collect::<Vec<_>>();
        let mut names = hostile.iter().map(String::as_str).collect::<Vec<_>>();
        names.extend(["example.com", "example.org"]);
        let leaf = root.leaf(&names);
        let value = header_value(leaf.pin(), &format!("max-age={}", 30 * DAY));
        let server = stage.serve(&leaf, &[("public-key-pins", &value)]).await;
        let store = PinStore::builder().capacity(64).in_memory();
        let clock = Clock::new();
        let builder = builder().time_provider(clock.clone());
        let pinning = builder.store(store).build().unwrap();
        let names = Names::new(names.into_iter().map(|name| (name, &server)));
        let mut client = stage.client(&pinning, trusting(&[&root]), &names);
        get(&mut client, "https://example.com/").await.unwrap();
        let mut full = 0;
        for host in &hostile {
            let response = get(&mut client, &format!("https://{host}/")).await.unwrap();
            full += usize::from(noted(&response) == &Noted::Ignored(IgnoreReason::DomainFull));
        }
        assert_eq!(full, 8, "a sixteenth of 64 is what one domain may fill");
        assert!(known(&pinning, "example.com"));
        let response = get(&mut client, "https://example.org/").await.unwrap();
        assert_eq!(noted(&response), &Noted::Added, "there is room for others");
        // Entries that run out, batch after batch, and then are renewed at once fill no more.
        let mut late = NOW;
        for hosts in hostile.chunks(4).chain([&hostile[..]]) {
            late += 31 * DAY;
            clock.set(late);
            for host in hosts {
                get(&mut client, &format!("https://{host}/")).await.unwrap();
            }
        }
        let live = |host: &&String| {
            let host = Host::parse(host).unwrap();
            pinning.store().query(&host, common::at(late)).is_some()
        };
        assert_eq!(hostile.iter().filter(live).count(), 4);
    }
}
