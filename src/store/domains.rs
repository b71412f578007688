//! The domain of a host, by which the shares of a store are counted: [`Domains`].

use std::fmt;
use std::sync::Arc;

use crate::policy::Host;

/// Finds the public suffix of a name. It is a trait, so that a program that uses no list does not
/// contain the reader of one.
pub(crate) trait FindSuffix: Send + Sync {
    /// Returns the public suffix of this name: the name itself, or the labels at its end under
    /// which anyone can register.
    fn public_suffix<'a>(&self, name: &'a str) -> &'a str;
}

/// The domains of hosts, by a list of public suffixes if there is one.
#[derive(Clone, Default)]
pub(crate) struct Domains(pub(crate) Option<Arc<dyn FindSuffix>>);

impl Domains {
    /// Returns the domain under which the host is counted: its public suffix and one more label, or
    /// the name itself if it is a public suffix. Without a list, its last two labels: all domains
    /// under a suffix such as `co.uk` then count as one.
    pub(crate) fn domain_of<'a>(&self, host: &'a Host) -> &'a str {
        let name = host.as_str();
        let suffix = match &self.0 {
            Some(list) => list.public_suffix(name),
            None => name.rsplit('.').next().unwrap_or(name),
        };
        let rest = name.strip_suffix(suffix).unwrap_or_default();
        let label = rest.trim_end_matches('.').rsplit('.').next();
        // The dot between them counts, too, unless there is no label before the suffix.
        let len = match label {
            Some(label) if !label.is_empty() => label.len() + 1 + suffix.len(),
            _ => suffix.len(),
        };
        name.get(name.len().saturating_sub(len)..).unwrap_or(name)
    }

    /// Returns the [domain](Self::domain_of) and one more label, if the name has one.
    pub(crate) fn subdomain_of<'a>(&self, host: &'a Host) -> &'a str {
        let name = host.as_str();
        let rest = name.strip_suffix(self.domain_of(host)).unwrap_or_default();
        let rest = rest.strip_suffix('.').unwrap_or(rest);
        let begin = rest.rfind('.').map_or(0, |dot| dot + 1);
        name.get(begin..).unwrap_or(name)
    }

    /// Returns whether the list has the host as a public suffix.
    pub(crate) fn is_public_suffix(&self, host: &Host) -> bool {
        let list = self.0.as_ref();
        list.is_some_and(|list| list.public_suffix(host.as_str()) == host.as_str())
    }
}

impl fmt::Debug for Domains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = if self.0.is_some() {
            "public suffixes"
        } else {
            "last two labels"
        };
        f.write_str(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct CoUk;

    impl FindSuffix for CoUk {
        fn public_suffix<'a>(&self, name: &'a str) -> &'a str {
            let suffixes = ["co.uk", "uk", "com"];
            let is_suffix =
                |suffix: &&&str| name == **suffix || name.ends_with(&format!(".{suffix}"));
            let len = suffixes
                .iter()
                .find(is_suffix)
                .map_or(0, |suffix| suffix.len());
            &name[name.len() - len..]
        }
    }

    #[test]
    fn a_subdomain_has_one_more_label() {
        let list = Domains(Some(Arc::new(CoUk)));
        for (name, with_list, without) in [
            ("a.b.evil.co.uk", "b.evil.co.uk", "evil.co.uk"),
            ("evil.co.uk", "evil.co.uk", "evil.co.uk"),
            ("co.uk", "co.uk", "co.uk"),
            ("com", "com", "com"),
        ] {
            let host = Host::parse(name).unwrap();
            assert_eq!(list.subdomain_of(&host), with_list);
            assert_eq!(Domains::default().subdomain_of(&host), without);
        }
    }

    #[test]
    fn a_domain_is_a_public_suffix_and_one_label_or_else_the_last_two_labels() {
        let list = Domains(Some(Arc::new(CoUk)));
        for (name, with_list, without) in [
            ("a.b.evil.co.uk", "evil.co.uk", "co.uk"),
            ("evil.co.uk", "evil.co.uk", "co.uk"),
            ("co.uk", "co.uk", "co.uk"),
            ("www.example.com", "example.com", "example.com"),
            ("com", "com", "com"),
            ("a.uk", "a.uk", "a.uk"),
        ] {
            let host = Host::parse(name).unwrap();
            assert_eq!(list.domain_of(&host), with_list);
            assert_eq!(Domains::default().domain_of(&host), without);
            assert_eq!(
                list.is_public_suffix(&host),
                ["co.uk", "com"].contains(&name)
            );
            assert!(!Domains::default().is_public_suffix(&host));
        }
    }
}
