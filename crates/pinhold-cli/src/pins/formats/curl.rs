//! curl's option `--pinnedpubkey`, on command lines and in files for `--config`.
//!
//! curl compares the key of the server's certificate only, independently of validation
//! (`Curl_pin_peer_pubkey`), and the option applies to every URL of a transfer.

use std::collections::HashSet;

use http::Uri;
use pinhold::policy::{PinRole, Scope};
use pinhold::{Host, SpkiFingerprint};

use crate::pins::abilities::{Abilities, Exempt, Expiry, Overlaps, Roles};
use crate::pins::loss::{LossKind, Losses};
use crate::pins::rules::{Rule, Rules, group_of};
use crate::pins::source::{Context, HostLines, InputError, Place, host_line, no_host};

const OPTION: &str = "pinnedpubkey";
/// The other options with a value, of which a URL is none of the transfer (`curl --help all`).
const LONG: &str = "\
    abstract-unix-socket alt-svc aws-sigv4 cacert capath cert cert-type ciphers config \
    connect-timeout connect-to continue-at cookie cookie-jar create-file-mode crlfile curves \
    data data-ascii data-binary data-raw data-urlencode delegation dns-interface dns-ipv4-addr \
    dns-ipv6-addr dns-servers doh-url dump-header ech egd-file engine etag-compare etag-save \
    expect100-timeout form form-string ftp-account ftp-alternative-to-user ftp-method ftp-port \
    ftp-ssl-ccc-mode happy-eyeballs-timeout-ms haproxy-clientip header hostpubmd5 hostpubsha256 \
    hsts interface ip-tos ipfs-gateway json keepalive-cnt keepalive-time key key-type krb \
    libcurl limit-rate local-port login-options mail-auth mail-from mail-rcpt max-filesize \
    max-redirs max-time netrc-file noproxy oauth2-bearer output output-dir parallel-max pass \
    preproxy proto proto-default proto-redir proxy proxy-cacert proxy-capath proxy-cert \
    proxy-cert-type proxy-ciphers proxy-crlfile proxy-header proxy-key proxy-key-type proxy-pass \
    proxy-pinnedpubkey proxy-service-name proxy-tls13-ciphers proxy-tlsauthtype \
    proxy-tlspassword proxy-tlsuser proxy-user proxy1.0 pubkey quote random-file range rate \
    referer request request-target resolve retry retry-delay retry-max-time sasl-authzid \
    service-name socks4 socks4a socks5 socks5-gssapi-service socks5-hostname speed-limit \
    speed-time stderr telnet-option tftp-blksize time-cond tls-max tls13-ciphers tlsauthtype \
    tlspassword tlsuser trace trace-ascii trace-config unix-socket upload-file url-query user \
    user-agent variable vlan-priority write-out";
const SHORT: &str = "ACDEFHKPQTUXYbcdehmortuwxyz";

pub(super) fn abilities() -> Abilities {
    Abilities {
        names: Vec::new(),
        roles: Roles::Leaf,
        exempt: Exempt::Never,
        expiry: Expiry::Never,
        overlap: Overlaps::Nearest,
        report_uris: 0,
        one_entry: true,
        says: vec![LossKind::Backup, LossKind::Port],
    }
}

pub(super) fn read(
    text: &str,
    context: &Context,
    losses: &mut Losses,
) -> Result<Rules, InputError> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut known = HashSet::new();
    for (place, host, line) in HostLines::new(text, context) {
        let words = words(line);
        let command = Command::parse(&words);
        if command.has_next {
            return Err(place.error("--next, expected a line for each transfer"));
        }
        if command.is_insecure {
            let detail = "--insecure: the source does not validate the chain, the target does";
            losses.of_file(LossKind::Validation, detail);
        }
        let value = match *command.pins {
            [value] => value,
            [] => {
                if !command.is_insecure {
                    let detail = format!("line {}: no --{OPTION}", number(place));
                    losses.of_file(LossKind::Ignored, detail);
                }
                continue;
            }
            _ => {
                return Err(place.error(format!(
                    "--{OPTION} twice, of which curl takes the last one"
                )));
            }
        };
        let Some(group) = group_of(PinRole::Leaf, pins(place, value)?) else {
            return Err(place.error(format!("no pin in --{OPTION}")));
        };
        for host in hosts(place, &command.urls, host, losses)? {
            if !known.insert(host.clone()) {
                return Err(place.error(format!("a second --{OPTION} for {host}")));
            }
            rules.push(Rule::new(host, Scope::Host, vec![group.clone()]));
        }
    }
    Ok(Rules {
        rules,
        ..Rules::default()
    })
}

fn number(place: Place) -> usize {
    match place {
        Place::Line(line) => line,
        _ => 0,
    }
}

/// Returns the hosts of these URLs, each once; `known` if none is of TLS.
fn hosts(
    place: Place,
    urls: &[&str],
    known: Option<Host>,
    losses: &mut Losses,
) -> Result<Vec<Host>, InputError> {
    let mut hosts = Vec::new();
    let mut distinct = HashSet::new();
    for url in urls {
        let Some((scheme, rest)) = url.split_once("://") else {
            continue;
        };
        if !scheme.eq_ignore_ascii_case("https") {
            let detail = format!("line {}: a URL of {scheme}, expected https", number(place));
            losses.of_file(LossKind::Ignored, detail);
            continue;
        }
        if authority_of(rest).contains('@') {
            return Err(place.error("user information in a URL, expected https://HOST"));
        }
        // A path of curl may have characters that one of a URI does not.
        let uri = format!("https://{}", authority_of(rest)).parse::<Uri>();
        let uri = uri.map_err(|error| place.error(format!("{url:?}: {error}")))?;
        let host = place.host(uri.host().unwrap_or_default())?;
        if distinct.insert(host.clone()) {
            hosts.push(host);
        }
    }
    if hosts.is_empty() {
        hosts.push(known.ok_or_else(|| no_host(place))?);
    }
    Ok(hosts)
}

fn authority_of(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// What a line has of a transfer.
#[derive(Default)]
struct Command<'w> {
    /// The values of the option.
    pins: Vec<&'w str>,
    urls: Vec<&'w str>,
    is_insecure: bool,
    has_next: bool,
}

impl<'w> Command<'w> {
    /// Reads a command, a line of a configuration file, or the value of the option alone.
    fn parse(words: &'w [String]) -> Self {
        let mut command = Self::default();
        let mut rest = words.iter().map(String::as_str);
        if let Some(first) = words.first() {
            let (name, _) = assigned(first);
            if words.len() == 1 && first.starts_with("sha256//") {
                command.pins.push(first);
                return command;
            }
            if takes_value(name) || matches!(name, "insecure" | "next") {
                rest.next();
                command.long(first, &mut rest);
            }
        }
        while let Some(word) = rest.next() {
            if let Some(option) = word.strip_prefix("--") {
                command.long(option, &mut rest);
            } else if let Some(options) = word.strip_prefix('-') {
                command.short(options, &mut rest);
            } else {
                command.urls.push(word);
            }
        }
        command
    }

    fn long(&mut self, option: &'w str, rest: &mut impl Iterator<Item = &'w str>) {
        let (name, value) = assigned(option);
        self.is_insecure |= name == "insecure";
        self.has_next |= name == "next";
        if !takes_value(name) {
            return;
        }
        let Some(value) = value.or_else(|| rest.next()) else {
            return;
        };
        match name {
            OPTION => self.pins.push(value),
            "url" => self.urls.push(value),
            _ => {}
        }
    }

    fn short(&mut self, options: &str, rest: &mut impl Iterator<Item = &'w str>) {
        for (index, option) in options.char_indices() {
            self.is_insecure |= option == 'k';
            self.has_next |= option == ':';
            if SHORT.contains(option) {
                if index + option.len_utf8() == options.len() {
                    rest.next();
                }
                return;
            }
        }
    }
}

/// Splits `name=value` or `name:value`.
fn assigned(option: &str) -> (&str, Option<&str>) {
    match option.split_once(['=', ':']) {
        Some((name, value)) => (name, Some(value).filter(|value| !value.is_empty())),
        None => (option, None),
    }
}

fn takes_value(name: &str) -> bool {
    name == OPTION || name == "url" || LONG.split_whitespace().any(|it| it == name)
}

fn pins(place: Place, value: &str) -> Result<Vec<SpkiFingerprint>, InputError> {
    let parts = value
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| match part.strip_prefix("sha256//") {
            Some(base64) => place.pin(&format!("sha256/{base64}")),
            None => Err(place.error(format!(
                "{part:?} is a file with a key, expected sha256//BASE64"
            ))),
        })
        .collect()
}

/// Splits a line as a shell and as curl's configuration files do: at white space and `=`, unless
/// quoted.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        let Some(word) = words.last_mut() else {
            break;
        };
        match (char, quote) {
            (char, Some(end)) if char == end => quote = None,
            ('\\', Some('"') | None) => word.extend(chars.next()),
            ('"' | '\'', None) => quote = Some(char),
            (' ' | '\t', None) if !word.is_empty() => words.push(String::new()),
            (' ' | '\t', None) => {}
            ('=', None) if word.trim_start_matches('-') == OPTION => words.push(String::new()),
            ('=' | ':', None) if word.is_empty() => {}
            _ => word.push(char),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

pub(super) fn write(rules: &Rules, losses: &mut Losses) -> String {
    if rules.rules.len() > 1 {
        let detail = "curl applies the option to every URL of a transfer: each value is for a command \
                      or a file of its own";
        losses.of_file(LossKind::SeveralHosts, detail);
    }
    let line = |rule: &Rule| line(&rule.host, &rule.pins());
    let lines = rules.rules.iter().map(line);
    lines.collect()
}

fn line(host: &Host, pins: &[SpkiFingerprint]) -> String {
    let pins = pins
        .iter()
        .map(|pin| format!("sha256//{}", pin.to_base64()));
    let pins = pins.collect::<Vec<_>>().join(";");
    format!("{}{OPTION} = \"{pins}\"\n", host_line(host))
}
