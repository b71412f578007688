//! `pinhold bundle`: roots and pin bundles from the first key to a client that accepts them.

mod changes;
mod checks;
mod client;
mod inputs;
pub mod kit;
mod life;
mod roots;
mod terms;
