//! The options and the inputs of conversions and comparisons.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use pinhold::Host;
use pinhold::policy::PinRole;
use rustls::pki_types::UnixTime;

use crate::failure::Failure;
use crate::pins::source::Context;
use crate::{clock, network, rfc3339};

#[derive(Args)]
pub(super) struct Options {
    /// Role of pins that have none: apple and curl accept a key in one position of the chain only
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Host of an input that does not name it: header and curl
    #[arg(long)]
    host: Option<Host>,
    /// Time from which the duration of a header counts; default: now
    #[arg(long, value_name = "TIME", value_parser = rfc3339::parse)]
    at: Option<UnixTime>,
    /// File with the keys that the pin sets of a chromium file name
    #[arg(long, value_name = "FILE")]
    chromium_pins: Option<PathBuf>,
}

// The values have no help of their own, which would spread the whole help over more lines.
#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Ca,
    Leaf,
}

impl Options {
    pub(super) fn context(&self) -> Result<Context, Failure> {
        let pins = self.chromium_pins.as_deref().map(|path| {
            let name = path.display().to_string();
            read_file(path).map_err(|error| Failure::input(&name, error))
        });
        Ok(Context {
            host: self.host.clone(),
            at: self.at.unwrap_or_else(clock::now),
            role: self.role.map(|role| match role {
                Role::Ca => PinRole::Ca,
                Role::Leaf => PinRole::Leaf,
            }),
            chromium_pins: pins.transpose()?,
        })
    }
}

/// Reads a text file, or standard input for `-`.
pub(super) fn read_text(path: &str) -> Result<String, Failure> {
    let text = if path == "-" {
        read(io::stdin().lock())
    } else {
        read_file(Path::new(path))
    };
    text.map_err(|error| Failure::input(path, error))
}

fn read_file(path: &Path) -> io::Result<String> {
    read(File::open(path)?)
}

fn read(input: impl Read) -> io::Result<String> {
    match String::from_utf8(network::whole(input)?) {
        Ok(text) => Ok(text),
        // Its reader names the format.
        Err(error) if error.as_bytes().starts_with(b"bplist") => Ok("bplist".to_owned()),
        Err(_) => Err(io::Error::other("not UTF-8 text")),
    }
}
