//! Recovery of the requests of a `NotingClient`.

use bytes::Bytes;
use http_body_util::Full;
use pinhold::PinViolation;
use pinhold::reqwest::NotingClient;

use crate::common::tls_setup::{TlsSetup, tls_setups};
use crate::world::{API, World};

fn client(setup: &TlsSetup, world: &World) -> NotingClient {
    let client = setup.noting(&world.pinning, &world.anchors, &world.names);
    client.build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_of_any_method_is_sent_again_once_a_bundle_accepts_its_server() {
    for setup in tls_setups() {
        for method in [reqwest::Method::GET, reqwest::Method::POST] {
            let mut world = World::new().await;
            let _updater = world.updater();
            let pin = world.rotate().await;
            world.served.set(world.operator.sign(&world.bundle(2, pin)));
            let client = client(&setup, &world);
            let request = client.reqwest().request(method, format!("https://{API}/"));
            let response = client.send(request.body("text")).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(world.served.requests(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_body_is_a_stream_fails_and_the_next_one_succeeds() {
    let mut world = World::new().await;
    let _updater = world.updater();
    let pin = world.rotate().await;
    world.served.set(world.operator.sign(&world.bundle(2, pin)));
    let client = client(&tls_setups()[0], &world);
    let send = || {
        let body = reqwest::Body::wrap(Full::new(Bytes::from("text")));
        let request = client.reqwest().post(format!("https://{API}/"));
        client.send(request.body(body))
    };
    let error = send().await.unwrap_err();
    assert!(PinViolation::find(&error).is_some());
    let recovered = async {
        while world.pinning.bundle_status().unwrap().in_effect.bundle < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::common::TIMEOUT, recovered)
        .await
        .unwrap();
    assert_eq!(send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_no_bundle_accepts_stays_refused() {
    let mut world = World::new().await;
    let _updater = world.updater();
    world.rotate().await;
    let client = client(&tls_setups()[0], &world);
    let request = client.reqwest().get(format!("https://{API}/"));
    let error = client.send(request).await.unwrap_err();
    assert!(PinViolation::find(&error).is_some());
    assert_eq!(world.served.requests(), 1);
}
