//! The texts of pin bundles and of roots.

use pinhold::bundle::{BundleError, PinBundle, PinRoot, SignedNote};

/// The input is the text of a bundle or of a root.
///
/// # Panics
///
/// If an accepted bundle or root breaks a rule of the format; if a signature changes what is read; if
/// members that no version knows change it; or if one that is critical does not refuse it.
pub fn target(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    root(text);
    let read = PinBundle::parse_text(text);
    if text.len() <= PinBundle::MAX_SIZE / 2 {
        let line_feed = if text.ends_with('\n') { "" } else { "\n" };
        let note = format!("{text}{line_feed}\n\u{2014} a AAAAAAA=\n");
        let unverified = PinBundle::parse_unverified(note.as_bytes());
        match (&read, &unverified) {
            (Ok(read), Ok(unverified)) => assert_eq!(read, unverified),
            (Err(read), Err(unverified)) => assert_eq!(read.to_string(), unverified.to_string()),
            _ => panic!("{read:?} {unverified:?}"),
        }
    }
    let bundle = match read {
        Ok(bundle) => bundle,
        Err(BundleError::Body(error)) => {
            assert!((1..=text.lines().count().max(1) + 1).contains(&error.line()));
            return;
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_consistent(&bundle);
    let unknown = PinBundle::parse_text(&in_each_object(text, r#""zz":{"zz":[1.5,null]}"#));
    assert_same(&unknown.expect("unknown members are ignored"), &bundle);
    let critical = text.replacen('{', r#"{"critical":["zz"],"#, 1);
    let refused = PinBundle::parse_text(&critical);
    assert!(matches!(
        refused,
        Err(BundleError::Critical { .. } | BundleError::Body(_))
    ));
}

fn root(text: &str) {
    let read = |text: &str| PinRoot::from_note(&SignedNote::new(text).ok()?).ok();
    let Some(root) = read(text) else {
        return;
    };
    assert!(root.threshold() >= 1);
    assert_eq!(read(&root.to_text()).as_ref(), Some(&root));
    let unknown = in_each_object(text, r#""zz":{"zz":[1.5,null]}"#);
    assert_eq!(read(&unknown), Some(root));
    // The type is another one.
    assert!(PinBundle::parse_text(text).is_err());
}

fn assert_consistent(bundle: &PinBundle) {
    assert!(bundle.expires() > bundle.issued());
    let limit = bundle.issued().as_secs() + PinBundle::MAX_KILL_SWITCH.as_secs();
    assert!(
        bundle
            .kill_switch()
            .is_none_or(|until| until.as_secs() <= limit)
    );
    assert!(
        bundle
            .staging()
            .is_none_or(|staging| staging.percent() <= 100)
    );
    let policies = bundle.pins().policies();
    assert!(!policies.is_empty());
    for host in bundle.suspend_noted() {
        assert!(policies.iter().any(|(named, _)| named == host));
    }
    let intermediates = bundle.intermediates();
    assert!(intermediates.len() <= 16 && intermediates.iter().all(|der| der.len() <= 4096));
}

/// Asserts that two bundles mean the same. Their digests differ.
fn assert_same(one: &PinBundle, other: &PinBundle) {
    assert_ne!(one.digest(), other.digest());
    assert_eq!(one.version(), other.version());
    assert_eq!(
        (one.issued(), one.expires()),
        (other.issued(), other.expires())
    );
    assert_eq!(one.when_stale(), other.when_stale());
    assert_eq!(one.pins(), other.pins());
    assert_eq!(one.refused_keys(), other.refused_keys());
    assert_eq!(
        (one.kill_switch(), one.staging()),
        (other.kill_switch(), other.staging())
    );
    assert_eq!(one.suspend_noted(), other.suspend_noted());
    assert_eq!(one.intermediates(), other.intermediates());
    assert_eq!(one.roots(), other.roots());
}

/// Returns the JSON text with this member in each object.
fn in_each_object(text: &str, member: &str) -> String {
    let mut with = String::new();
    let (mut is_in_string, mut is_escaped) = (false, false);
    for (index, next) in text.char_indices() {
        with.push(next);
        match next {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = is_in_string,
            '"' => is_in_string = !is_in_string,
            '{' if !is_in_string => {
                with.push_str(member);
                let rest = text[index + 1..].trim_start_matches([' ', '\n']);
                if !rest.starts_with('}') {
                    with.push(',');
                }
            }
            _ => {}
        }
    }
    with
}
