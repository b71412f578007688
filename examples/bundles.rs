//! A client whose pins come in signed bundles, and that recovers from a rotation without an
//! announcement: `cargo run --features bundles --example bundles -- ROOT BUNDLE BUNDLE_URL URL`.
//! The files are those that `pinhold bundle init-root` and `pinhold bundle sign` write.
#![allow(clippy::print_stdout, reason = "the example prints its result")]

use std::error::Error;
use std::fs;

use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use pinhold::bundle::{PinBundles, PinUpdater};
use pinhold::layer::PinRetryLayer;
use pinhold::{FileStorage, PinStore, Pinning, PinningConnector};
use tower::ServiceExt;
use tower_layer::Layer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [root, bundle, bundle_url, url] = &arguments[..] else {
        return Err("usage: bundles ROOT BUNDLE BUNDLE_URL URL".into());
    };
    // An application contains both: `include_str!` and `include_bytes!`.
    let bundles = PinBundles::new(fs::read_to_string(root)?, fs::read(bundle)?);
    let (store, error) = PinStore::open_or_recover(FileStorage::new("pins.jsonl"));
    error.iter().for_each(|error| eprintln!("{error}"));
    let pinning = Pinning::builder().bundles(bundles).store(store);
    let pinning = pinning.observer(|event| eprintln!("{event:?}")).build()?;
    let updater = PinUpdater::builder(&pinning).url(bundle_url).build()?;
    tokio::spawn(updater.run());

    let connector = PinningConnector::builder(pinning.clone()).with_webpki_roots();
    let client = Client::builder(TokioExecutor::new()).build(connector.https_only().build()?);
    let client = PinRetryLayer::new().recover(pinning.clone()).layer(client);
    let response = client.oneshot(http::Request::get(url).body(String::new())?);
    println!("{}", response.await?.status());
    println!("{:#?}", pinning.bundle_status());
    Ok(())
}
