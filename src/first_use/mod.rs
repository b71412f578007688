//! Trust on first use: the keys that are remembered of a host, and how long they hold.
//!
//! Uses `policy`. Has no I/O; time is an argument.
//!
//! Offers [`KnownKeys`] to the store and to the engine.

mod known_keys;

pub(crate) use crate::first_use::known_keys::MAX_KEYS;
pub use crate::first_use::known_keys::{KeyState, KnownKey, KnownKeys};
