//! reqwest 0.13 with the pins enforced.

mod connection_map;
mod noting_client;
mod redirect;

pub use crate::reqwest::noting_client::{
    ClientBuildError, NotingClient, NotingClientBuilder, RequestError,
};
pub use crate::reqwest::redirect::RedirectError;
