//! Trust on first use: the keys that are remembered of a host, and how long they hold.
//!
//! Uses `policy`. Has no I/O; time is an argument.
//!
//! Offers [`KnownKeys`] to the store and to the engine.

mod keys;

pub(crate) use crate::known_keys::keys::MAX_KEYS;
pub use crate::known_keys::keys::{KeyState, KnownKey, KnownKeys};
