//! `pinhold get` against each kind of server that `pinhold-testing` has.

use pinhold_testing::{TestCa, TestServer, TestServerBuilder};
use serde_json::json;

use crate::program::{Folder, Run, run_async};

const HOST: &str = "api.example";

/// The files with the roots, and the pins of the genuine server.
struct Fixture {
    ca: TestCa,
    _folder: Folder,
    options: Vec<String>,
}

impl Fixture {
    fn new() -> Self {
        let ca = TestCa::new().unwrap();
        let folder = Folder::new();
        let built_in = folder.write("built-in.pem", ca.built_in_pem());
        let user_added = folder.write("user-added.pem", ca.user_added_pem());
        let [live, backup] = ca.pins(HOST).unwrap().map(|pin| pin.to_string());
        let options = ["--ca", &built_in, "--user-ca", &user_added];
        let pins = ["--pin", &live, "--pin", &backup];
        Self {
            options: [options, pins]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            ca,
            _folder: folder,
        }
    }

    fn server(&self) -> TestServerBuilder {
        TestServer::builder(HOST).with_ca(&self.ca)
    }

    async fn get(&self, server: &TestServer) -> Run {
        let resolve = format!("{HOST}:{}:127.0.0.1", server.addr().port());
        let fixed = ["get", "--json", &server.url(), "--resolve", &resolve];
        let options = self.options.iter().map(String::as_str);
        run_async(&fixed.into_iter().chain(options).collect::<Vec<_>>()).await
    }
}

#[tokio::test]
async fn the_genuine_server_passes() {
    let fixture = Fixture::new();
    let server = fixture.server().good().await.unwrap();
    let json = fixture.get(&server).await.expect_code(0).json();
    assert_eq!(json["decision"], "pass");
    assert_eq!(json["body"], "ok");
}

#[tokio::test]
async fn a_mis_issued_chain_is_a_pin_violation_and_no_request_is_sent() {
    let fixture = Fixture::new();
    let server = fixture.server().mis_issued().await.unwrap();
    let json = fixture.get(&server).await.expect_code(90).json();
    assert_eq!(json["error"], "pin-violation");
    assert_eq!(json["noted_hostname"], HOST);
    assert_eq!((server.connections(), server.requests()), (1, 0));
}

#[tokio::test]
async fn pins_are_skipped_for_a_proxy_that_decrypts() {
    let fixture = Fixture::new();
    let server = fixture.server().inspected().await.unwrap();
    let json = fixture.get(&server).await.expect_code(0).json();
    let decided = (&json["decision"], &json["anchor_origin"]);
    assert_eq!(decided, (&json!("skipped"), &json!("user-added")));
}

#[tokio::test]
async fn an_expired_certificate_is_not_a_pin_violation() {
    let fixture = Fixture::new();
    let server = fixture.server().expired().await.unwrap();
    let json = fixture.get(&server).await.expect_code(1).json();
    assert_eq!(json["error"], "certificate", "{json}");
    assert_eq!(json["reason"], "expired", "{json}");
    assert_eq!((server.connections(), server.requests()), (1, 0));
}
