//! reqwest 0.13 with pins enforced, and a client that also notes `Public-Key-Pins`.
//!
//! Uses `layer` for noting and `tls` for the configuration. It is the only module whose public
//! items name types of reqwest, so that a new major version of reqwest changes this module alone.
//!
//! Offers [`Pinning::reqwest_client_builder`](crate::Pinning::reqwest_client_builder), which
//! enforces pins, and [`NotingClient`], which also notes them.

mod client_builder;
mod connection_map;
mod error;
mod inner_clients;
mod known_chains;
mod noting_builder;
mod noting_client;
mod redirect;
mod settings;

pub use crate::reqwest::error::{ClientBuildError, RequestError};
pub use crate::reqwest::noting_builder::NotingClientBuilder;
pub use crate::reqwest::noting_client::NotingClient;
pub use crate::reqwest::redirect::RedirectError;
