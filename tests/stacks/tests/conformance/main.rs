//! Runs the same test cases for every supported network stack, with the code of its example.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod cases;
#[path = "../../../common/mod.rs"]
mod common;
mod examples;
mod grpc;
mod harness;
mod limits;
mod over_tcp;
#[allow(dead_code, reason = "only a part is used")]
#[path = "../../../common/proxy.rs"]
mod proxy;
mod quic;
mod reqwest_feature;
#[allow(dead_code, reason = "only a part is used")]
#[path = "../../../common/server.rs"]
mod server;
mod websocket;

use common::{pki, provider};

/// Defines a test for every case and every stack.
macro_rules! conformance {
    ($($name:ident: $stack:ty,)+) => {$(
        mod $name {
            use crate::{cases, harness::bounded};

            type Stack = $stack;

            #[tokio::test(flavor = "multi_thread")]
            async fn passes_a_server_with_a_pinned_key() {
                bounded(cases::pinned_key::<Stack>()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn refuses_a_mis_issued_chain_with_the_genuine_certificate_appended() {
                bounded(cases::mis_issued_chain::<Stack>()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn refuses_a_wrong_name_without_a_pin_violation() {
                bounded(cases::wrong_name::<Stack>()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn refuses_a_replayed_certificate_without_its_key() {
                bounded(cases::replayed_certificate::<Stack>()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn skips_pins_for_a_user_added_root_and_emits_an_event() {
                bounded(cases::user_added_root::<Stack>()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn resumes_a_session_only_while_its_chain_satisfies_the_pins() {
                bounded(cases::resumption_after_a_change_of_pins::<Stack>()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn checks_concurrent_first_connections_each_by_its_own_pins() {
                bounded(cases::concurrent_first_connections::<Stack>()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn treats_an_open_connection_as_documented_when_pins_change() {
                bounded(cases::open_connection::<Stack>()).await;
            }
        }
    )+};
}

conformance! {
    hyper_util: crate::over_tcp::HyperUtil,
    hyper_rustls: crate::over_tcp::HyperRustls,
    quinn_h3: crate::quic::QuinnH3,
    reqwest_0_13: crate::reqwest_feature::Plain,
    reqwest_0_13_that_notes: crate::reqwest_feature::Noting,
    reqwest_0_12: crate::over_tcp::Reqwest,
    tokio_tungstenite: crate::websocket::Tungstenite,
    tokio_tungstenite_over_the_connector: crate::websocket::OverConnector,
    tonic: crate::grpc::Tonic,
}
