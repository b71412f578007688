//! Signed notes, and the keys of their signers.

use pinhold::bundle::{NoteError, SignedNote, VerifierKey};

/// The input is a note, and the text of one.
///
/// # Panics
///
/// If a note that is read is printed otherwise than it was written; if an error has a place outside
/// of the text; or if what is signed is not read as the text and the signature that it was made of.
pub fn target(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match SignedNote::parse(text) {
        Ok(note) => {
            assert_eq!(note.to_string(), text);
            assert!(note.text().ends_with('\n') && text.starts_with(note.text()));
            let count = note.signatures().len();
            assert!((1..=SignedNote::MAX_SIGNATURES).contains(&count));
            for signature in note.signatures() {
                let name = signature.name();
                assert!(!name.is_empty() && !name.contains([' ', '+', '\n']));
                assert!(!signature.as_bytes().is_empty());
            }
        }
        Err(NoteError::ControlCharacter { offset }) => assert!(data[offset] < b' '),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    sign(text);
    for line in text.lines() {
        if let Ok(key) = line.parse::<VerifierKey>() {
            assert_eq!(key.to_string(), line.trim());
            let same = VerifierKey::new(key.name(), *key.public_key());
            assert_eq!(same.expect("the name of a key"), key);
        }
    }
}

/// Signs the text by one key, again, and by another key with the same name.
fn sign(text: &str) {
    let Ok(mut note) = SignedNote::new(text) else {
        return;
    };
    assert!(SignedNote::parse(&note.to_string()).is_err() || text.contains("\n\n"));
    let digest = note.digest();
    let [key, other] = [1, 2].map(|byte| VerifierKey::new("a", [byte; 32]).expect("a name"));
    note.sign(&key, &[1; 64]);
    note.sign(&other, &[2; 64]);
    note.sign(&key, &[3; 64]);
    let read = SignedNote::parse(&note.to_string()).expect("a signed note");
    assert_eq!(read, note);
    assert_eq!(
        read.text().trim_end_matches('\n'),
        text.trim_end_matches('\n')
    );
    assert_eq!((read.digest(), read.signatures().len()), (digest, 2));
    assert!(read.signatures()[0].is_of(&other) && read.signatures()[1].is_of(&key));
}
