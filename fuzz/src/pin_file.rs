//! Pin files.

use pinhold::Pinning;
use pinhold::pin_file::{PinFile, PinFileProblem};

/// The input is the text of a pin file.
///
/// # Panics
///
/// If a file that is read differs from itself after it was printed, has no policy, or has a policy
/// without pins; if an error has no place in the text; or if building pins from the file panics.
pub fn target(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let file = match PinFile::parse(text) {
        Ok(file) => file,
        Err(error) => {
            assert!(!matches!(error.problem(), PinFileProblem::Io(_)));
            assert!((1..=text.lines().count().max(1) + 1).contains(&error.line()));
            assert!(error.column() <= text.len());
            assert!(error.to_string().contains("line "));
            return;
        }
    };
    assert!(!file.policies().is_empty());
    for (_, policy) in file.policies() {
        assert!(policy.pins().len() > 0 && !policy.groups().is_empty());
    }
    let printed = file.to_string();
    assert_eq!(
        PinFile::parse(&printed).as_ref().ok(),
        Some(&file),
        "{printed}"
    );
    // An error for contradictions, such as an exemption that no policy covers.
    let built = Pinning::builder().pins(file.clone()).build();
    let empty = Pinning::builder().build().expect("no pins");
    assert_eq!(empty.replace_pins(file).is_ok(), built.is_ok());
}
