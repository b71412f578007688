//! Host names, compared with the names of rustls and with the hosts of URLs.

use std::net::IpAddr;

use pinhold::Host;
use pinhold::policy::HostError;
use reqwest::Url;
use rustls_pki_types::ServerName;

/// The input is one name a line, two at most.
///
/// # Panics
///
/// If an accepted name is not canonical, is not a DNS name of rustls, or is another host in a URL;
/// if a DNS name of rustls is refused that is no address; or if one name is a subdomain of the
/// other by `Host` and not by its labels.
pub fn target(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    let hosts = [first, second].map(check);
    let [Some(one), Some(other)] = hosts else {
        return;
    };
    for (host, parent) in [(&one, &other), (&other, &one), (&one, &one)] {
        let labels = |host: &Host| {
            host.as_str()
                .rsplit('.')
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (host_labels, parent_labels) = (labels(host), labels(parent));
        let below = host_labels.len() > parent_labels.len();
        let expected = below && host_labels.starts_with(&parent_labels);
        assert_eq!(host.is_subdomain_of(parent), expected, "{host} {parent}");
    }
}

fn check(name: &str) -> Option<Host> {
    let as_server_name = match ServerName::try_from(name) {
        Ok(ServerName::DnsName(name)) => Some(Host::from(&name)),
        _ => None,
    };
    match Host::parse(name) {
        Ok(host) => {
            check_canonical(name, &host);
            if name.is_ascii() {
                assert_eq!(
                    as_server_name.as_ref(),
                    Some(&host),
                    "the name that TLS verifies"
                );
            }
            Some(host)
        }
        Err(error) => {
            check_error(name, &error);
            let is_address = matches!(error, HostError::IpAddress { .. });
            assert!(
                as_server_name.is_none() || is_address,
                "TLS verifies {name:?}"
            );
            None
        }
    }
}

fn check_canonical(name: &str, host: &Host) {
    let canonical = host.as_str();
    assert!(canonical.is_ascii() && canonical.len() <= 253 && !canonical.is_empty());
    assert!(!canonical.bytes().any(|byte| byte.is_ascii_uppercase()));
    assert!(!canonical.starts_with('.') && !canonical.ends_with('.'));
    assert!(canonical.parse::<IpAddr>().is_err());
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    assert!(!canonical.rsplit('.').next().is_some_and(is_number));
    assert_eq!(host.is_single_label(), canonical.split('.').count() == 1);
    assert_eq!(Host::parse(canonical).as_ref(), Ok(host));
    assert_eq!(
        Host::parse(&canonical.to_ascii_uppercase()).as_ref(),
        Ok(host)
    );
    if canonical.len() < 253 {
        assert_eq!(Host::parse(&format!("{canonical}.")).as_ref(), Ok(host));
    }
    let Ok(ServerName::DnsName(dns)) = ServerName::try_from(canonical) else {
        panic!("{canonical} is not a DNS name of rustls");
    };
    assert_eq!(Host::from(&dns), *host);
    // A client that is given the name in a URL connects to the same host.
    let url = Url::parse(&format!("https://{name}/"));
    let of_url = url.as_ref().ok().and_then(|url| url.host_str());
    if let Some(of_url) = of_url {
        assert_eq!(of_url.strip_suffix('.').unwrap_or(of_url), canonical);
    }
}

fn check_error(name: &str, error: &HostError) {
    let (HostError::Invalid { name: given }
    | HostError::IpAddress { name: given }
    | HostError::Port { name: given }
    | HostError::Url { name: given }) = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(given, name);
    assert!(!error.to_string().is_empty());
}
