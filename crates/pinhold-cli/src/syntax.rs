//! The option `--syntax`: the grammar of `Public-Key-Pins` headers.

use clap::ValueEnum;
use pinhold::header::{HeaderSyntax, PinHeader};

// The values have no help of their own, which would spread the whole help over more lines.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Syntax {
    Browsers,
    Rfc7469,
}

impl From<Syntax> for HeaderSyntax {
    fn from(syntax: Syntax) -> Self {
        match syntax {
            Syntax::Browsers => Self::Browsers,
            Syntax::Rfc7469 => Self::Rfc7469,
        }
    }
}

/// The header field that a value belongs to.
#[derive(Clone, Copy)]
pub(crate) enum Field {
    Pins,
    ReportOnly,
}

impl Field {
    pub(crate) fn parse(
        self,
        value: &[u8],
        syntax: Syntax,
    ) -> Result<PinHeader, pinhold::header::HeaderError> {
        match self {
            Self::Pins => PinHeader::parse(value, syntax.into()),
            Self::ReportOnly => PinHeader::parse_report_only(value, syntax.into()),
        }
    }

    /// Returns what to do about a value that only the grammar of browsers accepts.
    pub(crate) fn hint(self, value: &[u8], syntax: Syntax) -> Option<&'static str> {
        let is_refused = self.parse(value, syntax).is_err();
        let is_accepted = self.parse(value, Syntax::Browsers).is_ok();
        (is_refused && is_accepted)
            .then_some("browsers accept this value, as does --syntax browsers")
    }
}
