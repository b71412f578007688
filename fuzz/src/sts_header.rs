//! `Strict-Transport-Security` fields.

use pinhold::hsts::StsHeader;

/// The input is the value of a field.
///
/// # Panics
///
/// If the printed form of an accepted value does not parse to an equal one.
pub fn target(data: &[u8]) {
    match StsHeader::parse(data) {
        Ok(header) => {
            let printed = header.to_string();
            assert_eq!(
                StsHeader::parse(printed.as_bytes()),
                Ok(header),
                "{printed}"
            );
            let with_empty_directive = [data, b" ; ;"].concat();
            assert_eq!(StsHeader::parse(&with_empty_directive), Ok(header));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
