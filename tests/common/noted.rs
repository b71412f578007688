//! Hosts that pin by header, as often as a test wants, over one real connection each.

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

/// A folder of its own below `target`; gone when dropped.
pub fn temp_dir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// One certificate for all of them.
pub struct Hosts {
    pub leaf: Leaf,
    pub anchors: TrustAnchors,
    hosts: Vec<(Host, VerifiedConnection)>,
}

impl Hosts {
    pub async fn connect(names: &[&str]) -> Self {
        Self::connect_with(names, KeyPair::generate().unwrap()).await
    }

    /// With a key that other processes have, too.
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

    /// The same where no runtime is at hand.
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

    /// The live pin and this backup.
    pub fn value(&self, backup: SpkiFingerprint, rest: &str) -> String {
        let (live, backup) = (directive(self.leaf.pin()), directive(backup));
        format!("{live}; {backup}; {rest}")
    }

    /// Notes a header of the host.
    pub fn note(&self, pinning: &Pinning, index: usize, value: &str, seconds: u64) -> Noted {
        let header = parse(value).unwrap();
        pinning.note(self.host(index), &header, self.chain(index), at(seconds))
    }

    /// A response of the host with this header, handed on by the layer.
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

/// A pin of a key that nobody has.
pub fn numbered_pin(number: u64) -> SpkiFingerprint {
    let mut digest = [0xcd; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    SpkiFingerprint::from_digest(digest)
}

/// The number of a pin that [`numbered`] made.
pub fn pin_number(pin: &SpkiFingerprint) -> Option<u64> {
    let (number, rest) = pin.as_bytes().split_at(8);
    let made = rest.iter().all(|byte| *byte == 0xcd);
    made.then(|| u64::from_be_bytes(number.try_into().unwrap()))
}

/// Pins of this store, by the tests' clock.
pub fn pinning(store: &PinStore) -> Pinning {
    let builder = Pinning::builder().time_provider(Clock::new());
    builder.store(store.clone()).build().unwrap()
}

/// What stands in a folder, by name.
pub fn file_names(folder: &TempDir) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let mut names = entries
        .map(|entry| entry.unwrap().file_name().into())
        .collect::<Vec<_>>();
    names.sort();
    names
}
