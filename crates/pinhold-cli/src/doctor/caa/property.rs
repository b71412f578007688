//! The meaning of a CAA record set (RFC 8659 section 4).

use hickory_resolver::proto::rr::rdata::CAA;

use crate::doctor::observation::Caa;
use crate::output::{cut, printable};

/// Returns what the records of a domain permit.
pub(super) fn meaning(domain: &str, records: &[CAA]) -> Caa {
    let (mut issue, mut issue_wild) = (None, None);
    for record in records {
        let tag = record.tag.to_ascii_lowercase();
        let issuers = match tag.as_str() {
            "issue" => &mut issue,
            "issuewild" => &mut issue_wild,
            tag if record.issuer_critical && !OTHER_TAGS.contains(&tag) => {
                let tag = printable(&cut(tag, MAX_TAG));
                return Caa::Failed(format!(
                    "the CAA records of {domain} have the critical property {tag:?}, which is not \
                     known; a CA that does not know it must not issue"
                ));
            }
            _ => continue,
        };
        issuers
            .get_or_insert_with(Vec::new)
            .extend(issuer(&record.value));
    }
    let domain = domain.to_owned();
    // A DNS server returns records in any order.
    let issue_wild = issue_wild.map(sorted);
    match issue.map(sorted) {
        Some(issue) => Caa::Found {
            domain,
            issue,
            issue_wild,
        },
        None => Caa::Unrestricted { domain, issue_wild },
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns the issuer domain name of a property. A value that does not match the grammar counts as
/// an empty name (section 4.2), which permits no CA.
fn issuer(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let name = name.trim_matches(SPACE);
    let is_valid = name.split('.').all(is_label) && are_parameters(parameters);
    is_valid.then(|| name.to_ascii_lowercase())
}

fn is_label(text: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !text.is_empty()
        && text.bytes().all(is_inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn are_parameters(text: &str) -> bool {
    let text = text.trim_matches(SPACE);
    let is_visible = |byte: u8| byte.is_ascii_graphic();
    text.is_empty()
        || text.split(';').all(|parameter| {
            let pair = parameter.split_once('=');
            pair.is_some_and(|(tag, value)| {
                let value = value.trim_matches(SPACE);
                is_label(tag.trim_matches(SPACE)) && value.bytes().all(is_visible)
            })
        })
}

const SPACE: [char; 2] = [' ', '\t'];

/// Properties that do not restrict certificates for servers: RFC 8659, RFC 9495, the CA/Browser Forum's
/// Baseline Requirements (appendix A.1) and the requirements for Verified Mark Certificates.
const OTHER_TAGS: [&str; 5] = [
    "contactemail",
    "contactphone",
    "iodef",
    "issuemail",
    "issuevmc",
];

/// The number of characters of a tag that a message contains.
const MAX_TAG: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_a_name_without_its_parameters() {
        for (value, expected) in [
            ("letsencrypt.org", Some("letsencrypt.org")),
            ("  LetsEncrypt.ORG\t", Some("letsencrypt.org")),
            ("pki.goog; cansignhttpexchanges=yes", Some("pki.goog")),
            (
                "ca1.example;account=230123;  policy = ev ",
                Some("ca1.example"),
            ),
            ("ca1.example;", Some("ca1.example")),
            ("ca1.example; account=", Some("ca1.example")),
            (
                "letsencrypt.org; accounturi=https://acme.example/acct/1?a=b",
                Some("letsencrypt.org"),
            ),
            ("", None),
            (";", None),
            ("; account=1", None),
            ("%%%%%", None),
            ("ca1.example account=1", None),
            ("ca1.example; account", None),
            ("ca1.example; account=1;", None),
            ("ca1.example; =1", None),
            ("ca1.example; a b=1", None),
            ("ca1.example; a=b c", None),
            ("ca1.example.", None),
            ("-ca.example", None),
            ("ca-.example", None),
            ("ca..example", None),
            ("\u{e4}.example", None),
        ] {
            let found = issuer(value.as_bytes());
            assert_eq!(found.as_deref(), expected, "{value:?}");
        }
        assert_eq!(issuer(b"ca.example\xff"), None);
    }
}
