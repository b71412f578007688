//! Proxies that environment variables name, for connections by HTTP CONNECT.
//!
//! A variable that can't be honoured is an error: a connection that silently bypasses the proxy, or
//! fails for want of it, would mislead.

use std::env;
use std::fmt;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use crate::failure::Failure;

/// A proxy that is reached over plain TCP.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// The variable that names it.
    variable: &'static str,
    /// Without user name and password.
    pub(crate) uri: Uri,
    /// The value of `Proxy-Authorization`.
    pub(crate) login: Option<HeaderValue>,
}

impl Proxy {
    /// Returns the proxy for a URL, or `None` for a direct connection.
    pub(crate) fn for_url(url: &Uri) -> Result<Option<Self>, Failure> {
        let variables: &[&str] = match url.scheme_str() {
            // A web server passes a request's header `Proxy` to a CGI program as `HTTP_PROXY`. On
            // Windows the name in lower case reads the same variable.
            Some("http") if env::var_os("REQUEST_METHOD").is_some() => &["all_proxy", "ALL_PROXY"],
            Some("http") => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
            _ => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        };
        let Some((variable, value)) = first(variables, "http://HOST:PORT")? else {
            return Ok(None);
        };
        if value.is_empty() || is_exempt(url)? {
            return Ok(None);
        }
        let invalid = |reason: &str| {
            Failure::input(
                variable,
                format!(
                    "{reason}, expected http://HOST:PORT\n  what to do: change or unset {variable}, \
                     or add the host to no_proxy"
                ),
            )
        };
        // The value is not printed, since it may contain a password.
        if let Some((scheme, _)) = value.split_once("://")
            && !scheme.eq_ignore_ascii_case("http")
        {
            return Err(invalid("a proxy with this scheme is not supported"));
        }
        if !has_plain_authority(&value) {
            return Err(invalid(NOT_A_PROXY));
        }
        let intercept = Matcher::builder().all(value).build().intercept(url);
        let intercept = intercept.ok_or_else(|| invalid(NOT_A_PROXY))?;
        Ok(Some(Self {
            variable,
            uri: intercept.uri().clone(),
            login: intercept.basic_auth().cloned(),
        }))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.uri.authority().map_or("", |it| it.as_str());
        write!(f, "the proxy {address} ({})", self.variable)
    }
}

/// Returns whether the value has one authority, with a port, that every parser reads in the same
/// way: a part of a password that is taken for the host would be printed, and looked up by DNS.
fn has_plain_authority(value: &str) -> bool {
    let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    let (login, address) = authority.split_once('@').unwrap_or(("", authority));
    let has_port = matches!(address.rsplit_once(':'), Some((host, port))
        if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
    has_port && ![login, address, path].concat().contains('@')
}

/// Returns whether `no_proxy` names the host of the URL.
fn is_exempt(url: &Uri) -> Result<bool, Failure> {
    let Some((variable, exempt)) = first(&["no_proxy", "NO_PROXY"], NO_PROXY)? else {
        return Ok(false);
    };
    // The entry would match no host, so the connection would go through the proxy after all.
    let mut entries = exempt.split(',').map(str::trim);
    if entries.any(|entry| entry != "*" && entry.contains('*')) {
        let reason = format!("`*` as a part of an entry, expected {NO_PROXY}");
        return Err(Failure::input(variable, reason));
    }
    let any = Matcher::builder().all("http://proxy.invalid").no(exempt);
    Ok(any.build().intercept(url).is_none())
}

/// Returns the first variable that is set. `expected` is the form of its value.
fn first(
    variables: &[&'static str],
    expected: &str,
) -> Result<Option<(&'static str, String)>, Failure> {
    for variable in variables {
        match env::var(variable) {
            Ok(value) => return Ok(Some((variable, value))),
            Err(env::VarError::NotPresent) => {}
            Err(env::VarError::NotUnicode(_)) => {
                let reason = format!("not text, expected {expected}");
                return Err(Failure::input(variable, reason));
            }
        }
    }
    Ok(None)
}

const NOT_A_PROXY: &str =
    "not the URL of a proxy with its port; percent-encode @, /, ? and # in the password";

/// The form of `no_proxy`.
const NO_PROXY: &str = "names such as example.com (which includes its subdomains), addresses and networks, separated \
     by commas, or `*` for all";
