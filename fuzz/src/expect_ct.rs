//! `Expect-CT` fields.

use pinhold::ct::ExpectCt;

/// The input is the value of a field.
///
/// # Panics
///
/// If an accepted value is not accepted with an empty and an unknown directive.
pub fn target(data: &[u8]) {
    match ExpectCt::parse(data) {
        Ok(field) => {
            let more = [data, b", ,x=\"a,b\""].concat();
            assert_eq!(ExpectCt::parse(&more), Ok(field));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
