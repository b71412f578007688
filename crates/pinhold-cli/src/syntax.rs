//! The option `--syntax`: the grammar of `Public-Key-Pins` headers.

use clap::ValueEnum;
use pinhold::header::{HeaderSyntax, PinHeader};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Syntax {
    /// RFC 7469, and as browsers did: empty directives (a trailing `;`), white space around `=`
    Browsers,
    /// RFC 7469 to the letter
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

/// Parses a `Public-Key-Pins` or `Public-Key-Pins-Report-Only` value.
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

    /// Returns a hint to append to the error, if only the grammar of browsers accepts the value.
    pub(crate) fn hint(self, value: &[u8], syntax: Syntax) -> &'static str {
        let is_refused = self.parse(value, syntax).is_err();
        if is_refused && self.parse(value, Syntax::Browsers).is_ok() {
            "; browsers accept this value, as does --syntax browsers"
        } else {
            ""
        }
    }
}
