//! Parts that the clients share: the crypto provider of the build, TLS configurations, and pins.

use std::error::Error;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};

/// Returns the crypto provider that the feature chose.
pub fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    return Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Arc::new(rustls::crypto::ring::default_provider());
}

/// Returns a configuration without pins.
pub fn plain() -> Result<ClientConfig, rustls::Error> {
    let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore { roots })
        .with_no_client_auth();
    Ok(config)
}

/// Returns the pins of a client with a pin file.
#[cfg(feature = "pin-file")]
pub fn pinning() -> Result<pinhold::Pinning, Box<dyn Error>> {
    use pinhold::pin_file::PinFile;

    let pins = PinFile::open("pins.json")?;
    Ok(pinhold::Pinning::builder().pins(pins).build()?)
}

/// Returns the pins of a client with pins.
#[cfg(all(feature = "pinned", not(feature = "pin-file")))]
pub fn pinning() -> Result<pinhold::Pinning, Box<dyn Error>> {
    use pinhold::{PinPolicy, Pinning};

    let policy = PinPolicy::new([
        "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
        "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    ])?;
    let builder = Pinning::builder().static_pins("example.com", policy);
    #[cfg(not(feature = "static"))]
    let builder = builder.store(store());
    #[cfg(feature = "bundles")]
    let builder = builder.bundles(bundles()?);
    #[cfg(feature = "health")]
    let builder = builder.health(pinhold::health::HealthOptions::new("1.0"));
    let pinning = builder.build()?;
    #[cfg(feature = "health")]
    println!("{}", pinning.health().to_json());
    #[cfg(feature = "bundles")]
    pinning.apply_bundle(&std::fs::read("new.bundle")?)?;
    Ok(pinning)
}

#[cfg(feature = "bundles")]
fn bundles() -> Result<pinhold::bundle::PinBundles, Box<dyn Error>> {
    let (root, bundle) = (
        std::fs::read_to_string("pins.root")?,
        std::fs::read("pins.bundle")?,
    );
    let bundles = pinhold::bundle::PinBundles::new(root, bundle);
    Ok(bundles.with_provider(provider()))
}

#[cfg(all(feature = "pinned", not(feature = "static")))]
fn store() -> pinhold::PinStore {
    use pinhold::{FileStorage, PinStore};

    let (store, error) = PinStore::open_or_recover(FileStorage::new("noted-pins.jsonl"));
    if let Some(error) = error {
        eprintln!("{error}");
    }
    store
}

/// Returns a configuration with these pins, or without pins if pinhold is not part of the build.
pub fn config() -> Result<ClientConfig, Box<dyn Error>> {
    #[cfg(feature = "pinned")]
    {
        let pinning = pinning()?;
        let config = pinhold::PinningVerifier::builder(pinning.clone())
            .with_anchors(pinhold::TrustAnchors::webpki_roots())
            .with_provider(provider())
            .client_config()?;
        #[cfg(feature = "self-test")]
        pinning.self_test(&config)?;
        Ok(config)
    }
    #[cfg(not(feature = "pinned"))]
    Ok(plain()?)
}

/// Prints why a request failed.
pub fn print_error(error: &(dyn Error + 'static)) {
    #[cfg(feature = "pinned")]
    if let Some(violation) = pinhold::PinViolation::find(error) {
        eprintln!("{violation}");
        return;
    }
    eprintln!("{error:?}");
}
