//! Rules that `Pinning::replace_pins` takes from a pin file only, and rules for unpinned hosts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pinhold::pin_file::PinFile;
use pinhold::policy::UnpinnedHosts;
use pinhold::{PinPolicy, Pinning, PinningBuilder, SpkiFingerprint};
use tower::{Service, ServiceExt};

use super::server::{Loopback, Names};
use super::tls_setup::builder;

/// A pin file with this member, which pins a host to which no test connects.
fn with_member(member: &str) -> PinFile {
    PinFile::parse(&format!(
        r#"{{"version": 1, "policies": [{{"hosts": ["other.test"], "pins": [
            "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
            "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI="]}}], {member}}}"#
    ))
    .unwrap()
}

/// A pin file that refuses this key.
pub fn refusing(key: SpkiFingerprint) -> PinFile {
    with_member(&format!(r#""refused_keys": ["{key}"]"#))
}

/// A pin file that refuses unpinned hosts.
pub fn refusing_unpinned() -> PinFile {
    with_member(r#""unpinned_hosts": "refuse""#)
}

/// A builder with a test clock that refuses unpinned hosts.
pub fn strict() -> PinningBuilder {
    builder().unpinned_hosts(UnpinnedHosts::Refuse)
}

/// Removes all static pins.
pub fn remove_pins(pinning: &Pinning) {
    let none = std::iter::empty::<(&str, PinPolicy)>();
    pinning.replace_pins(none).unwrap();
}

/// [`Loopback`], with a count of its calls.
pub fn counting(
    names: &Names,
) -> (
    impl Service<
        http::Uri,
        Response = <Loopback as Service<http::Uri>>::Response,
        Error = <Loopback as Service<http::Uri>>::Error,
        Future = impl Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static,
    Arc<AtomicUsize>,
) {
    let calls = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&calls);
    let inner = Loopback::new(names).map_request(move |uri: http::Uri| {
        count.fetch_add(1, Ordering::SeqCst);
        uri
    });
    (inner, calls)
}
