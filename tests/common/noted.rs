//! Hosts that send pin headers, with one real TLS connection each.

use std::convert::Infallible;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, Response};
use pinhold::header::Noted;
use pinhold::{
    Host, NotePinsLayer, PinStore, Pinning, SpkiFingerprint, TrustAnchors, ValidatedChain,
    VerifiedConnection,
};
use rcgen::KeyPair;
use tempfile::TempDir;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

use super::header::{directive, parse};
use super::pki::{Ca, Leaf, leaf_params};
use super::validated::{built_in_anchors, verified_connection};
use super::{Clock, at};

/// Creates a temporary directory below `target`, removed when dropped.
pub fn temp_dir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Hosts that share one certificate.
pub struct Hosts {
    pub leaf: Leaf,
    pub anchors: TrustAnchors,
    hosts: Vec<(Host, VerifiedConnection)>,
}

impl Hosts {
    pub async fn connect(names: &[&str]) -> Self {
        Self::connect_with(names, KeyPair::generate().unwrap()).await
    }

    /// Uses this key, so that several processes can serve the same one.
    pub async fn connect_with(names: &[&str], key: KeyPair) -> Self {
        let root = Ca::root("Root");
        let leaf = root.leaf_with_key(leaf_params(names), key);
        let anchors = built_in_anchors(&[&root]);
        let mut hosts = Vec::new();
        for name in names {
            let connection = verified_connection(&leaf, name, &anchors).await;
            hosts.push((Host::parse(name).unwrap(), connection));
        }
        Self {
            leaf,
            anchors,
            hosts,
        }
    }

    /// Connects from a test that has no runtime.
    pub fn blocking(names: &[&str]) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(Self::connect(names))
    }

    pub fn host(&self, index: usize) -> &Host {
        &self.hosts[index].0
    }

    pub fn chain(&self, index: usize) -> &ValidatedChain {
        self.hosts[index].1.chain()
    }

    /// A header value with the pin of the served key and this backup pin.
    pub fn value(&self, backup: SpkiFingerprint, rest: &str) -> String {
        let (pin, backup) = (directive(self.leaf.pin()), directive(backup));
        format!("{pin}; {backup}; {rest}")
    }

    /// Notes a header value for the host at this index.
    pub fn note(&self, pinning: &Pinning, index: usize, value: &str, seconds: u64) -> Noted {
        let header = parse(value).unwrap();
        pinning.note(self.host(index), &header, self.chain(index), at(seconds))
    }

    /// Passes a response of the host with this header through the layer.
    pub async fn respond(
        &self,
        layer: &NotePinsLayer,
        index: usize,
        value: &str,
    ) -> Response<Bytes> {
        let (host, connection) = &self.hosts[index];
        let connection = connection.clone();
        let client = service_fn(async |_: Request<Bytes>| {
            let response = Response::builder().header("public-key-pins", value);
            let response = response.extension(connection.clone());
            Ok::<_, Infallible>(response.body(Bytes::new()).unwrap())
        });
        let request = Request::get(format!("https://{host}/"));
        let request = request.body(Bytes::new()).unwrap();
        layer.layer(client).oneshot(request).await.unwrap()
    }
}

/// A pin that matches no key and encodes `number`.
pub fn numbered_pin(number: u64) -> SpkiFingerprint {
    let mut digest = [0xcd; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    SpkiFingerprint::from_digest(digest)
}

/// The number encoded in a pin by [`numbered_pin`], or `None` for any other pin.
pub fn pin_number(pin: &SpkiFingerprint) -> Option<u64> {
    let (number, rest) = pin.as_bytes().split_at(8);
    let is_numbered = rest.iter().all(|byte| *byte == 0xcd);
    is_numbered.then(|| u64::from_be_bytes(number.try_into().unwrap()))
}

/// A [`Pinning`] with this store and a test clock.
pub fn pinning(store: &PinStore) -> Pinning {
    let builder = Pinning::builder().time_provider(Clock::new());
    builder.store(store.clone()).build().unwrap()
}

/// The names of the files in a directory, sorted.
pub fn file_names(folder: &TempDir) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let mut names = entries
        .map(|entry| entry.unwrap().file_name().into())
        .collect::<Vec<_>>();
    names.sort();
    names
}
