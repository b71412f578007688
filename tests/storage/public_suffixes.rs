//! Debian's list of public suffixes in the compact form, compared with its list as text.

use std::collections::BTreeMap;

use pinhold::Host;
use pinhold::storage::PublicSuffixes;

use crate::common::peers;

/// A rule of the text: `NAME`, `*.NAME` or `!NAME`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Exception,
    Plain,
    Wildcard,
}

/// Returns the rules of the section of ICANN by name, and all names.
fn read(text: &str) -> (BTreeMap<String, Vec<Rule>>, Vec<String>) {
    let (mut rules, mut names) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
    let mut is_icann = false;
    for line in text.lines() {
        match line {
            "// ===BEGIN ICANN DOMAINS===" => is_icann = true,
            "// ===END ICANN DOMAINS===" => is_icann = false,
            _ => {}
        }
        let (rule, name) = match line.strip_prefix("*.") {
            Some(name) => (Rule::Wildcard, name),
            None => match line.strip_prefix('!') {
                Some(name) => (Rule::Exception, name),
                None => (Rule::Plain, line),
            },
        };
        // Names outside ASCII need the feature `idn`.
        let Ok(host) = Host::parse(name) else {
            continue;
        };
        names.push(host.to_string());
        if is_icann {
            rules.entry(host.to_string()).or_default().push(rule);
        }
    }
    (rules, names)
}

/// The algorithm of publicsuffix.org.
fn expected(rules: &BTreeMap<String, Vec<Rule>>, name: &str) -> String {
    let labels = name.split('.').collect::<Vec<_>>();
    let of_len = |len: usize| labels[labels.len() - len..].join(".");
    let mut longest = 1;
    for len in 1..=labels.len() {
        for rule in rules.get(&of_len(len)).into_iter().flatten() {
            match rule {
                Rule::Exception => return of_len(len - 1),
                Rule::Plain => longest = longest.max(len),
                // The parent of a wildcard counts, too.
                Rule::Wildcard => longest = longest.max((len + 1).min(labels.len())),
            }
        }
    }
    of_len(longest)
}

#[test]
fn the_compact_list_of_debian_has_the_suffixes_of_its_text() {
    let text = peers::file("/usr/share/publicsuffix/public_suffix_list.dat");
    let (Some(text), Some(compact)) = (text, peers::file(PublicSuffixes::PATH)) else {
        return;
    };
    let (rules, names) = read(str::from_utf8(&text).unwrap());
    assert!(names.len() > 5000 && rules.len() > 3000, "{}", names.len());
    let list = PublicSuffixes::from_bytes(compact).unwrap();
    for name in &names {
        for name in [
            name,
            &format!("a.{name}"),
            &format!("b.a.{name}"),
            &format!("a{name}"),
        ] {
            assert_eq!(list.public_suffix(name), expected(&rules, name), "{name}");
        }
    }
}
