//! The examples, whose functions the test cases use.
#![allow(dead_code, reason = "the `main` functions are not used")]

#[path = "../../examples/hyper_rustls.rs"]
pub mod hyper_rustls;
#[path = "../../examples/quinn_h3.rs"]
pub mod quinn_h3;
#[path = "../../examples/reqwest_0_12.rs"]
pub mod reqwest_0_12;
#[path = "../../examples/tokio_tungstenite.rs"]
pub mod tokio_tungstenite;
#[path = "../../examples/tonic.rs"]
pub mod tonic;
