//! A rotation from end to end with other programs: `openssl` makes the keys and the signatures, nginx
//! serves the bundle and the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http_body_util::Empty;
use pinhold::bundle::{BundleVersion, PinBundles, PinRoot, PinUpdater, SignedNote, VerifierKey};
use pinhold::layer::PinRetryLayer;
use pinhold::{Event, FileStorage, PinStore, PinViolation, Pinning};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::common::bundles::{Body, ISSUED, pins};
use crate::common::noted::temp_dir;
use crate::common::peers::{Peer, Tls, openssl};
use crate::common::pki::Ca;
use crate::common::server::{Loopback, Names, client};
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, header_value, provider, unrelated_pin};

const API: &str = "api.example.com";
const PINS: &str = "pins.example.com";

/// A signer whose key only `openssl` has.
struct OpenSsl {
    key: VerifierKey,
    private: PathBuf,
    folder: PathBuf,
}

impl OpenSsl {
    fn new(name: &str, folder: &Path) -> Option<Self> {
        let private = folder.join(format!("{}.pem", name.replace('/', "-")));
        let path = private.to_str().unwrap();
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", path])?;
        let public = openssl(&["pkey", "-in", path, "-pubout", "-outform", "DER"])?;
        // RFC 8410: the last 32 bytes are the key.
        let public = *public.last_chunk::<32>().unwrap();
        Some(Self {
            key: VerifierKey::new(name, public).unwrap(),
            private,
            folder: folder.to_owned(),
        })
    }

    fn sign(&self, note: &mut SignedNote) {
        let [text, signature] = ["text", "signature"].map(|name| self.folder.join(name));
        fs::write(&text, note.text()).unwrap();
        let [private, text, signature] =
            [&self.private, &text, &signature].map(|path| path.to_str().unwrap());
        openssl(&[
            "pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", text, "-out", signature,
        ]);
        let signature = fs::read(signature).unwrap();
        note.sign(&self.key, &signature.try_into().unwrap());
    }
}

fn signed(text: &str, signers: &[&OpenSsl]) -> String {
    let mut note = SignedNote::new(text).unwrap();
    signers.iter().for_each(|signer| signer.sign(&mut note));
    note.to_string()
}

/// Replaces the file as a deployment does.
fn publish(folder: &Path, bundle: &str) {
    let temporary = folder.join("new");
    fs::write(&temporary, bundle).unwrap();
    fs::rename(temporary, folder.join("pins.bundle")).unwrap();
}

#[expect(
    clippy::too_many_lines,
    reason = "one life of a bundle, from its keys to a restart"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_signs_nginx_serves_and_an_unannounced_rotation_is_recovered_from() {
    let [keys, files, data] = [temp_dir(), temp_dir(), temp_dir()];
    let signers = ["example.com/pins/1", "example.com/pins/2"];
    let signers = signers.map(|name| OpenSsl::new(name, keys.path()));
    let [Some(one), Some(two)] = &signers else {
        return;
    };
    let root = PinRoot::new(1, 2, [one.key.clone(), two.key.clone()]).unwrap();
    let root = signed(&root.to_text(), &[one, two]);

    let ca = Ca::root("root");
    let [live, next, last] = [0; 3].map(|_| ca.leaf(&[API]));
    let body = |version, pin| Body::new(version, [(API, [pin, pins(9)[0]])]).text();
    let first = signed(&body(1, live.pin()), &[one, two]);
    let header = header_value(unrelated_pin(), "max-age=0");
    publish(files.path(), &first);
    let servers = [&live, &next, &last].map(|leaf| Peer::nginx(leaf, Tls::V1_3, &header));
    let of_bundles = Peer::nginx_with_files(&ca.leaf(&[PINS]), files.path());
    let ([Some(api), Some(rotated), Some(again)], Some(of_bundles)) = (servers, of_bundles) else {
        return;
    };
    let names = Names::default();
    names.point_to(API, api.address);
    names.point_to(PINS, of_bundles.address);

    let clock = Clock::new();
    clock.set(ISSUED);
    let events = Arc::<Mutex<Vec<Event>>>::default();
    let recorded = Arc::clone(&events);
    let store = || PinStore::open(FileStorage::new(data.path().join("pins.jsonl"))).unwrap();
    let bundles = PinBundles::new(root, first).with_provider(provider());
    let pinning = Pinning::builder()
        .bundles(bundles.clone())
        .store(store())
        .time_provider(clock)
        .observer(move |event| recorded.lock().unwrap().push(event.clone()))
        .build()
        .unwrap();
    let anchors = built_in_anchors(&[&ca]);
    let updater = PinUpdater::builder(&pinning)
        .url("https://pins.example.com/pins.bundle")
        .with_anchors(anchors.clone())
        .wrap_connector(Loopback::new(&names))
        .unwrap();
    let visit = async || {
        let layer = PinRetryLayer::new().recover(pinning.clone());
        let client = layer.layer(client(&pinning, anchors.clone(), &names));
        let request = http::Request::get(format!("https://{API}/"));
        client.oneshot(request.body(Empty::new()).unwrap()).await
    };
    assert_eq!(visit().await.unwrap().status(), 200);

    // The key changes first, and with a bundle that only one key has signed nothing helps.
    names.point_to(API, rotated.address);
    publish(files.path(), &signed(&body(2, next.pin()), &[one]));
    let error = visit().await.unwrap_err();
    assert!(PinViolation::find(&error).is_some());
    // The next fetch is due in a minute, or when the application asks for it.
    publish(files.path(), &signed(&body(2, next.pin()), &[one, two]));
    updater.run_once().await.unwrap();
    assert_eq!(visit().await.unwrap().status(), 200);
    // The key changes again, after the bundle was published and without a word to the client.
    publish(files.path(), &signed(&body(3, last.pin()), &[one, two]));
    names.point_to(API, again.address);
    assert_eq!(visit().await.unwrap().status(), 200);
    let requested = of_bundles.requested();
    assert_eq!(requested.len(), 3);
    assert!(
        requested.iter().all(|line| line == "/pins.bundle 200"),
        "{requested:?}"
    );

    // The bundle is in effect after a restart without the network.
    assert!(pinning.flush_reports(crate::common::TIMEOUT));
    pinning.store().flush().unwrap();
    drop((updater, pinning));
    let restarted = Pinning::builder()
        .bundles(bundles)
        .store(store())
        .build()
        .unwrap();
    let status = restarted.bundle_status().unwrap();
    assert_eq!(status.in_effect, BundleVersion::new(1, 3));
    let refused = |event: &Event| matches!(event, Event::BundleRefused(_));
    assert_eq!(
        events
            .lock()
            .unwrap()
            .iter()
            .filter(|event| refused(event))
            .count(),
        1
    );
}
