//! Shared test support: certificates, servers, clients and a clock.
#![allow(
    clippy::exhaustive_structs,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "each test binary uses a part of this module, and none of it is a public interface"
)]

#[cfg(feature = "bundles")]
pub mod bundles;
#[cfg(feature = "hyper")]
pub mod collector;
pub mod header;
#[cfg(feature = "hyper")]
pub mod noted;
pub mod peers;
pub mod pki;
#[cfg(feature = "reqwest")]
pub mod proxy;
#[cfg(feature = "hyper")]
pub mod recording;
#[cfg(feature = "reqwest")]
pub mod reqwests;
#[cfg(all(feature = "hyper", feature = "pin-file"))]
pub mod rules;
#[cfg(feature = "hyper")]
pub mod server;
pub mod tls;
#[cfg(feature = "hyper")]
pub mod tls_setup;
#[cfg(feature = "hyper")]
pub mod validated;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pinhold::{PinPolicy, SpkiFingerprint};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// 14 November 2023, in seconds since the Unix epoch. Every certificate of `pki` is valid then
/// unless a test sets other dates.
pub const NOW: u64 = 1_700_000_000;

/// How long a test waits for something that must happen. Long, because a loaded machine is slow.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// One day in seconds.
pub const DAY: u64 = 24 * 60 * 60;

pub fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

pub fn now() -> UnixTime {
    at(NOW)
}

/// A clock that the test sets. It starts at [`NOW`].
#[derive(Debug)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(NOW)))
    }

    pub fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(at(self.0.load(Ordering::SeqCst)))
    }
}

/// Every crypto provider compiled into this build.
pub fn providers() -> Vec<Arc<CryptoProvider>> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        #[cfg(feature = "ring")]
        Arc::new(rustls::crypto::ring::default_provider()),
    ]
}

/// The first of [`providers`], for tests to which the provider makes no difference.
pub fn provider() -> Arc<CryptoProvider> {
    providers().remove(0)
}

/// A pin that matches no key in any test.
pub fn unrelated_pin() -> SpkiFingerprint {
    SpkiFingerprint::from_digest([0xab; 32])
}

/// A policy with this pin and a backup pin that matches no key.
pub fn policy_with(pin: SpkiFingerprint) -> PinPolicy {
    PinPolicy::new([pin, SpkiFingerprint::from_digest([0xba; 32])]).unwrap()
}

/// A valid header value: this pin, a backup pin that matches no key, then `rest`.
pub fn header_value(pin: SpkiFingerprint, rest: &str) -> String {
    let (pin, backup) = (pin.to_base64(), unrelated_pin().to_base64());
    format!("pin-sha256=\"{pin}\"; pin-sha256=\"{backup}\"; {rest}")
}

/// A pseudo-random number generator (xorshift) that yields the same numbers in every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number in `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
