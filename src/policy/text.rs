//! Text forms that several modules print: hexadecimal digits, and an error with its causes.

use std::error::Error;
use std::fmt;

/// Returns the bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut hex = String::with_capacity(2 * bytes.len());
    hex.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    hex
}

/// Writes the `Display` text of an error, then each of its causes on a line of its own. Public
/// errors implement `Debug` by it, because `main` prints an error that it returns by `Debug`.
pub(crate) fn write_with_causes(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(f, "\ncaused by: {error}")?;
        cause = error.source();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Failed(Option<Box<Self>>, &'static str);

    impl fmt::Display for Failed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.1)
        }
    }

    impl Error for Failed {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            match &self.0 {
                Some(cause) => Some(&**cause),
                None => None,
            }
        }
    }

    struct Shown(Failed);

    impl fmt::Debug for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_with_causes(&self.0, f)
        }
    }

    #[test]
    fn hexadecimal_digits_are_lower_case_and_in_order() {
        assert_eq!(hex(&[0x00, 0x0f, 0xa5, 0xff]), "000fa5ff");
        assert_eq!(hex(&[]), "");
    }

    #[test]
    fn every_cause_is_written_after_the_error() {
        let cause = Failed(None, "no such file");
        let error = Failed(Some(Box::new(cause)), "the store can't be opened");
        let text = format!("{:?}", Shown(error));
        assert_eq!(text, "the store can't be opened\ncaused by: no such file");
    }
}
