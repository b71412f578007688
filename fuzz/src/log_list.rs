//! Log lists for Certificate Transparency.

use pinhold::ct::{LogList, LogListError};

/// The input is a list.
///
/// # Panics
///
/// If a list has no log, or two logs with one ID; or if an error has a place outside of the text.
pub fn target(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match LogList::parse(text) {
        Ok(list) => {
            let ids = list.logs().map(|log| log.id()).collect::<Vec<_>>();
            assert!((1..=LogList::MAX_LOGS).contains(&ids.len()));
            assert!(ids.is_sorted_by(|one, next| one < next));
        }
        Err(LogListError::Json { line, .. }) => assert!(line <= text.lines().count() + 1),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
