//! The settings that a pin file has as one of several words.

use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer};

use crate::pin_file::error::PinFileProblem;
use crate::pin_file::members::{Problems, Text};
use crate::policy::{
    AfterExpiry, Enforcement, Overlap, PlainHttp, Scope, UnpinnedHosts, UserAddedRoots,
};

/// A setting with a word for each value.
pub(crate) trait Words: Copy + 'static {
    const VALUES: &'static [Self];
    const WORDS: &'static [&'static str];

    fn word(self) -> &'static str;
}

macro_rules! words {
    ($type:ty { $($value:ident => $word:literal),* $(,)? }) => {
        impl Words for $type {
            const VALUES: &'static [Self] = &[$(Self::$value),*];
            const WORDS: &'static [&'static str] = &[$($word),*];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word),*
                }
            }
        }
    };
}

words!(AfterExpiry { Refuse => "refuse", ReportOnly => "report-only", Unpin => "unpin" });
words!(Enforcement { Enforce => "enforce", ReportOnly => "report-only" });
words!(Overlap { Nearest => "nearest", Union => "union" });
words!(PlainHttp { Allow => "allow", Refuse => "refuse" });
words!(Scope {
    Host => "host",
    OneLabel => "one-label",
    Subdomains => "subdomains",
    HostAndSubdomains => "host-and-subdomains",
});
words!(UnpinnedHosts { Allow => "allow", Report => "report", Refuse => "refuse" });
words!(UserAddedRoots { EnforcePins => "enforce-pins", SkipPins => "skip-pins" });

/// Reads one of several words.
pub(crate) struct Word<'p, T> {
    member: &'static str,
    problems: &'p Problems,
    value: PhantomData<T>,
}

impl<'p, T> Word<'p, T> {
    pub(crate) fn new(member: &'static str, problems: &'p Problems) -> Self {
        Self {
            member,
            problems,
            value: PhantomData,
        }
    }
}

impl<'de, T: Words> DeserializeSeed<'de> for Word<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<T, D::Error> {
        let member = self.member;
        let parse = move |text: &str| {
            let mut values = T::VALUES.iter();
            let known = values.find(|value| value.word() == text);
            known.copied().ok_or_else(|| PinFileProblem::UnknownValue {
                member,
                value: text.to_owned(),
                expected: T::WORDS,
            })
        };
        Text(parse, self.problems).deserialize(input)
    }
}
