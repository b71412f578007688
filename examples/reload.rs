//! Replaces the pins of a running client when its pin file changes:
//! `cargo run --features pin-file --example reload -- pins.json`.
//!
//! The content is compared every 30 seconds. Kubernetes replaces a mounted ConfigMap by exchanging a
//! symbolic link, which watchers of the file itself miss.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use pinhold::Pinning;
use pinhold::pin_file::PinFile;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: reload PIN_FILE")?;
    let mut pins = ReloadedPins::open(path)?;
    // Clones of `pins.pinning` go to the connectors and clients of the application.
    loop {
        thread::sleep(Duration::from_secs(30));
        match pins.poll() {
            Ok(true) => println!("pins replaced"),
            Ok(false) => {}
            // The pins in effect stay. A typing error must neither unpin nor lock out.
            Err(error) => eprintln!("pins not replaced: {error}"),
        }
    }
}

/// Pins that follow a file.
pub(crate) struct ReloadedPins {
    pub(crate) pinning: Pinning,
    path: PathBuf,
    current: PinFile,
}

impl ReloadedPins {
    /// Reads the file. Without a valid one the application does not start.
    pub(crate) fn open(path: impl Into<PathBuf>) -> Result<Self, Box<dyn Error>> {
        let path = path.into();
        let current = PinFile::open(&path)?;
        let pinning = Pinning::builder().pins(current.clone()).build()?;
        Ok(Self {
            pinning,
            path,
            current,
        })
    }

    /// Reads the file again, and replaces the pins if it says something else. Returns whether it did.
    pub(crate) fn poll(&mut self) -> Result<bool, Box<dyn Error>> {
        let pins = PinFile::open(&self.path)?;
        if pins == self.current {
            return Ok(false);
        }
        self.pinning.replace_pins(pins.clone())?;
        self.current = pins;
        Ok(true)
    }
}
