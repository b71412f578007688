//! The formats that pins are read from and written to, one file for each.

mod android;
mod android_output;
mod apple;
mod chromium;
mod curl;
mod header;
mod okhttp;
mod tlsa;
mod trustkit_ios;

use clap::ValueEnum;
use pinhold::Pinning;
use pinhold::pin_file::PinFile;

use crate::pins::abilities::Abilities;
use crate::pins::loss::Losses;
use crate::pins::reduce::reduce;
use crate::pins::rules::Rules;
use crate::pins::source::{Context, InputError};

/// A format of pins.
// The values have no help of their own, which would spread the whole help over more lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    AndroidNsc,
    Apple,
    Chromium,
    Curl,
    Header,
    Okhttp,
    PinFile,
    Tlsa,
    TrustkitAndroid,
    TrustkitIos,
}

/// What a reader returns: the rules, and what it did not take over.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) rules: Rules,
    pub(crate) losses: Losses,
}

/// What a writer returns: the text, and what it does not say.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) losses: Losses,
}

/// Fails for what no application could use, such as a second policy of a host, or none at all.
fn ensure_valid(rules: &Rules) -> Result<(), String> {
    let built = Pinning::builder().pins(rules.pin_file()?).build();
    built.map(drop).map_err(|error| error.to_string())
}

impl Format {
    /// Returns the name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AndroidNsc => "android-nsc",
            Self::Apple => "apple",
            Self::Chromium => "chromium",
            Self::Curl => "curl",
            Self::Header => "header",
            Self::Okhttp => "okhttp",
            Self::PinFile => "pin-file",
            Self::Tlsa => "tlsa",
            Self::TrustkitAndroid => "trustkit-android",
            Self::TrustkitIos => "trustkit-ios",
        }
    }

    pub(crate) fn abilities(self) -> Abilities {
        match self {
            Self::AndroidNsc => android::abilities(android::Flavour::Platform),
            Self::Apple => apple::abilities(),
            Self::Chromium => chromium::abilities(),
            Self::Curl => curl::abilities(),
            Self::Header => header::abilities(),
            Self::Okhttp => okhttp::abilities(),
            Self::PinFile => Abilities::full(),
            Self::Tlsa => tlsa::abilities(),
            Self::TrustkitAndroid => android::abilities(android::Flavour::TrustKit),
            Self::TrustkitIos => trustkit_ios::abilities(),
        }
    }

    /// Reads the rules from a text, which may begin with a byte order mark.
    pub(crate) fn read(self, text: &str, context: &Context) -> Result<Read, InputError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut losses = Losses::default();
        let mut rules = match self {
            Self::AndroidNsc => android::read(text, android::Flavour::Platform, &mut losses),
            Self::Apple => apple::read(text, &mut losses),
            Self::Chromium => chromium::read(text, context, &mut losses),
            Self::Curl => curl::read(text, context, &mut losses),
            Self::Header => header::read(text, context, &mut losses),
            Self::Okhttp => okhttp::read(text, &mut losses),
            Self::PinFile => PinFile::parse(text)
                .map(|file| Rules::from(&file))
                .map_err(InputError::whole),
            Self::Tlsa => tlsa::read(text, &mut losses),
            Self::TrustkitAndroid => android::read(text, android::Flavour::TrustKit, &mut losses),
            Self::TrustkitIos => trustkit_ios::read(text, &mut losses),
        }?;
        if let Some(role) = context.role {
            rules.assign_role(role);
        }
        match ensure_valid(&rules) {
            Ok(()) => Ok(Read { rules, losses }),
            Err(_) if rules.rules.is_empty() => Err(InputError::nothing(losses)),
            Err(error) => Err(InputError::whole(error)),
        }
    }

    /// Writes rules. An error is why the format can say none of them.
    pub(crate) fn write(self, rules: Rules, context: &Context) -> Result<Written, Losses> {
        let mut losses = Losses::default();
        if self == Self::PinFile {
            return match rules.pin_file() {
                Ok(file) => Ok(Written {
                    text: file.to_string(),
                    losses,
                }),
                Err(_) => Err(losses),
            };
        }
        let rules = reduce(rules, &self.abilities(), context.at, &mut losses);
        if rules.rules.is_empty() {
            return Err(losses);
        }
        let text = match self {
            Self::AndroidNsc => android_output::write(&rules, android::Flavour::Platform),
            Self::Apple => apple::write(&rules),
            Self::Chromium => Ok(chromium::write(&rules, &mut losses)),
            Self::Curl => Ok(curl::write(&rules, &mut losses)),
            Self::Header => Ok(header::write(&rules, context)),
            Self::Okhttp => Ok(okhttp::write(&rules)),
            Self::PinFile | Self::Tlsa => Ok(tlsa::write(&rules)),
            Self::TrustkitAndroid => android_output::write(&rules, android::Flavour::TrustKit),
            Self::TrustkitIos => trustkit_ios::write(&rules),
        };
        // Writing to memory does not fail.
        let text = text.map_err(|_| Losses::default())?;
        Ok(Written { text, losses })
    }
}
