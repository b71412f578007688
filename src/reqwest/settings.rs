//! The settings of reqwest that a client with pins refuses, because they would leak credentials or
//! have no effect.

use ::reqwest::tls::Version;
use ::reqwest::{Client, ClientBuilder};
use http::HeaderValue;

use crate::reqwest::error::ClientBuildError;
use crate::reqwest::redirect::{CREDENTIALS, Redirects};

/// Refuses settings that would leak credentials or have no effect. They are read from the `Debug`
/// output of reqwest's builder, the only place where it shows them.
pub(crate) fn reject_unsupported(
    builder: &ClientBuilder,
    redirects: Redirects,
) -> Result<(), ClientBuildError> {
    if !shows_settings(&canary()) {
        return Err(ClientBuildError::UncheckedSettings);
    }
    let settings = format!("{builder:?}");
    for name in CREDENTIALS {
        let is_default = settings.contains(&format!("\"{name}\": "));
        if is_default && matches!(redirects, Redirects::Noted(_)) {
            return Err(ClientBuildError::DefaultCredentials { name });
        }
    }
    for (debug_output, setting) in IGNORED {
        if settings.contains(debug_output) {
            return Err(ClientBuildError::IgnoredSetting { setting });
        }
    }
    Ok(())
}

/// Returns a builder with every setting that must be refused.
fn canary() -> ClientBuilder {
    let headers = CREDENTIALS.map(|name| (name, HeaderValue::from_static("canary")));
    Client::builder()
        .default_headers(headers.into_iter().collect())
        .http1_only()
        .tls_danger_accept_invalid_certs(true)
        .tls_danger_accept_invalid_hostnames(true)
        .tls_sni(false)
        .tls_version_max(Version::TLS_1_2)
        .tls_version_min(Version::TLS_1_2)
}

/// Returns whether the builder's `Debug` output shows every setting that must be refused. Another
/// version of reqwest may print it otherwise, and then nothing would be refused.
fn shows_settings(builder: &ClientBuilder) -> bool {
    let settings = format!("{builder:?}");
    let shows_header = |name| settings.contains(&format!("\"{name}\": "));
    let shows_setting = |(debug_output, _): (&str, _)| settings.contains(debug_output);
    CREDENTIALS.iter().all(shows_header) && IGNORED.into_iter().all(shows_setting)
}

/// Settings without effect: how reqwest's `Debug` output shows each, and its method.
const IGNORED: [(&str, &str); 6] = [
    ("http1_only: true", "http1_only"),
    (
        "tls_danger_accept_invalid_certs: true",
        "tls_danger_accept_invalid_certs",
    ),
    (
        "tls_danger_accept_invalid_hostnames: true",
        "tls_danger_accept_invalid_hostnames",
    ),
    ("tls_sni: false", "tls_sni"),
    ("tls_version_max: ", "tls_version_max"),
    ("tls_version_min: ", "tls_version_min"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_shows_each_setting_and_another_builder_does_not() {
        assert!(shows_settings(&canary()));
        assert!(!shows_settings(&canary().tls_sni(true)));
        assert!(!shows_settings(&Client::builder()));
    }
}
