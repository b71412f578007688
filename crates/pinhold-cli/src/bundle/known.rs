//! Members of a text that this version does not know. A client ignores them, and so would a signer,
//! who must know what the signature makes all clients do.

use pinhold::pin_file::PinFile;
use serde_json::Value;

use crate::bundle::input::{Document, Kind};
use crate::failure::Failure;

/// Fails for a text with a member that this version does not know.
pub(super) fn ensure_known(document: &Document) -> Result<(), Failure> {
    let name = &document.name;
    let text = serde_json::from_str::<Value>(document.note.text());
    let text = text.map_err(|error| Failure::input(name, error))?;
    let of_text = match document.kind {
        Kind::Bundle => BUNDLE,
        Kind::Root => ROOT,
    };
    let member = |name: &str| text.get(name).unwrap_or(&Value::Null);
    let objects = [
        (&text, of_text),
        (member("kill_switch"), &["comment", "until"][..]),
        (member("staging"), &["comment", "percent", "salt"]),
    ];
    for (object, known) in objects {
        let mut members = object.as_object().into_iter().flatten();
        if let Some((unknown, _)) = members.find(|(member, _)| !known.contains(&member.as_str())) {
            return Err(refused(name, format!("the member {unknown:?}")));
        }
    }
    // A pin file is not read with members that this version does not know.
    match text
        .get("pins")
        .map(|pins| PinFile::parse(&pins.to_string()))
    {
        Some(Err(error)) => Err(refused(
            name,
            format!("a member of `pins`: {}", error.problem()),
        )),
        _ => Ok(()),
    }
}

fn refused(name: &str, what: String) -> Failure {
    Failure::input(
        name,
        format!(
            "has {what}, which this version does not know; expected a text whose effect is known\n  \
             what to do: sign it with the version of pinhold that made it"
        ),
    )
}

/// The members of a bundle.
const BUNDLE: &[&str] = &[
    "comment",
    "critical",
    "expires",
    "intermediates",
    "issued",
    "kill_switch",
    "pins",
    "refused_keys",
    "root_version",
    "roots",
    "staging",
    "suspend_noted",
    "type",
    "version",
    "when_stale",
];

/// The members of a root.
const ROOT: &[&str] = &[
    "comment",
    "critical",
    "keys",
    "threshold",
    "type",
    "version",
];
