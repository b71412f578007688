//! The settings that a pin file has as one of several words.

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
