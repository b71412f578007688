//! Android's network security configuration (`res/xml/network_security_config.xml`), and the same
//! file as TrustKit for Android reads it.
//!
//! Checked against `XmlConfigSource` of AOSP, and TrustKit-Android's `TrustKitConfiguration` and
//! `DomainPinningPolicy`.

use std::collections::HashSet;
use std::net::IpAddr;

use pinhold::policy::{AfterExpiry, PinRole, PlainHttp, ReportUri, Scope};
use pinhold::{Enforcement, Host, SpkiFingerprint, UserAddedRoots};
use roxmltree::Node;
use rustls::pki_types::UnixTime;

use crate::pins::abilities::{Abilities, Exempt, Expiry, Names, Overlaps, Roles};
use crate::pins::expiry::{ZONE, parse_date};
use crate::pins::loss::{LossKind, Losses};
use crate::pins::overlap::lose_after_expiry;
use crate::pins::rules::{Rule, Rules, group_of};
use crate::pins::source::InputError;
use crate::pins::xml;

/// The reader of the file on the device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    Platform,
    TrustKit,
}

pub(super) fn abilities(flavour: Flavour) -> Abilities {
    let mut says = vec![
        LossKind::PlainHttp,
        LossKind::UserAddedRoots,
        LossKind::Port,
    ];
    says.push(match flavour {
        Flavour::Platform => LossKind::Backup,
        Flavour::TrustKit => LossKind::ReportOnly,
    });
    Abilities {
        names: vec![Names::HostAndSubdomains],
        roles: Roles::Any,
        exempt: match flavour {
            Flavour::Platform => Exempt::Entry,
            // `DomainPinningPolicy` refuses fewer than two pins, and so an empty pin-set.
            Flavour::TrustKit => Exempt::Never,
        },
        expiry: Expiry::DateOfDevice,
        overlap: Overlaps::Nearest,
        report_uris: match flavour {
            Flavour::Platform => 0,
            Flavour::TrustKit => usize::MAX,
        },
        one_entry: true,
        says,
    }
}

/// The settings of a `domain-config`, with those that it inherits.
#[derive(Clone, Default)]
struct Settings {
    pins: Option<Vec<SpkiFingerprint>>,
    expiry: Option<UnixTime>,
    /// What the trust anchors say of user-added roots; the outer `None` if there are none.
    anchors: Option<Option<UserAddedRoots>>,
    plain_http: Option<PlainHttp>,
    enforce: Option<bool>,
    report_uris: Option<Vec<ReportUri>>,
    default_report: Option<bool>,
}

struct Domain {
    host: Host,
    includes_subdomains: bool,
    settings: Settings,
}

pub(super) fn read(text: &str, flavour: Flavour, losses: &mut Losses) -> Result<Rules, InputError> {
    let document = xml::parse(text)?;
    let root = document.root_element();
    if !root.has_tag_name("network-security-config") {
        let text = "expected the element <network-security-config>";
        return Err(xml::place(root).error(text));
    }
    let mut reader = Reader {
        flavour,
        losses,
        domains: Vec::new(),
        known: HashSet::new(),
    };
    // `XmlConfigSource` takes the base-config for those domain-configs only that follow it, but sets
    // the parent of the others afterwards: the order has no effect.
    let mut bases = root.children().filter(|it| it.has_tag_name("base-config"));
    let base = match bases.next() {
        Some(node) => reader.base(node)?,
        None => Settings::default(),
    };
    if let Some(second) = bases.next() {
        return Err(xml::place(second).error("a second <base-config>"));
    }
    for node in root.children().filter(Node::is_element) {
        match node.tag_name().name() {
            "base-config" => {}
            "domain-config" => reader.config(node, &base)?,
            name => {
                let detail = format!("<{name}> is not taken over");
                reader.losses.of_file(LossKind::Ignored, detail);
            }
        }
    }
    let domains = reader.domains;
    let rules = rules(domains, flavour, losses);
    lose_after_expiry(&rules, losses);
    Ok(rules)
}

struct Reader<'l> {
    flavour: Flavour,
    losses: &'l mut Losses,
    domains: Vec<Domain>,
    known: HashSet<Host>,
}

impl Reader<'_> {
    fn base(&mut self, node: Node<'_, '_>) -> Result<Settings, InputError> {
        let settings = self.settings(node, &Settings::default(), false)?;
        if settings.plain_http.is_some() {
            let detail = "cleartextTrafficPermitted of <base-config> is taken over for pinned hosts \
                          only";
            self.losses.of_file(LossKind::PlainHttp, detail);
        }
        Ok(settings)
    }

    fn config(&mut self, node: Node<'_, '_>, parent: &Settings) -> Result<(), InputError> {
        let settings = self.settings(node, parent, true)?;
        let mut hosts = Vec::new();
        let mut last = None;
        for domain in node.children().filter(|it| it.has_tag_name("domain")) {
            let host = self.domain(domain, &settings)?;
            hosts.extend(host.clone());
            last = Some((domain, host));
        }
        let Some((last, last_host)) = last else {
            return Err(xml::place(node).error("a <domain-config> without a <domain>"));
        };
        let other = hosts.iter().rfind(|host| Some(*host) != last_host.as_ref());
        if let Some(other) = other.filter(|_| self.flavour == Flavour::TrustKit) {
            let detail = format!(
                "TrustKit applies a <domain-config> to its last <domain>, here {}, and the target \
                 to each of them",
                xml::text(last)?
            );
            self.losses.of(other, LossKind::SeveralHosts, detail);
        }
        for nested in node
            .children()
            .filter(|it| it.has_tag_name("domain-config"))
        {
            self.config(nested, &settings)?;
        }
        Ok(())
    }

    /// Adds a domain. Returns `None` for an IP address, which a policy can't have.
    fn domain(
        &mut self,
        node: Node<'_, '_>,
        settings: &Settings,
    ) -> Result<Option<Host>, InputError> {
        let place = xml::place(node);
        let name = xml::text(node)?;
        if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            let has_pins = settings.pins.as_ref().is_some_and(|pins| !pins.is_empty());
            let (kind, what) = if has_pins {
                (LossKind::Scope, "its pins are not taken over")
            } else {
                (LossKind::Ignored, "its settings are not taken over")
            };
            let detail = format!("{name} is an IP address: {what}");
            self.losses.of_file(kind, detail);
            return Ok(None);
        }
        let host = place.host(&name)?;
        if !self.known.insert(host.clone()) {
            return Err(place.error(format!("the domain {host} twice")));
        }
        self.domains.push(Domain {
            host: host.clone(),
            includes_subdomains: boolean(node, "includeSubdomains")?.unwrap_or(false),
            settings: settings.clone(),
        });
        Ok(Some(host))
    }

    fn settings(
        &mut self,
        node: Node<'_, '_>,
        parent: &Settings,
        is_domain: bool,
    ) -> Result<Settings, InputError> {
        let mut settings = parent.clone();
        if let Some(is_permitted) = boolean(node, "cleartextTrafficPermitted")? {
            settings.plain_http = Some(if is_permitted {
                PlainHttp::Allow
            } else {
                PlainHttp::Refuse
            });
        }
        let mut has_pins = false;
        for child in node.children().filter(Node::is_element) {
            let place = xml::place(child);
            match child.tag_name().name() {
                "domain" | "domain-config" if is_domain => {}
                "pin-set" if is_domain && has_pins => {
                    return Err(place.error("a second <pin-set>"));
                }
                "pin-set" if is_domain => {
                    has_pins = true;
                    self.pin_set(child, &mut settings)?;
                }
                "trust-anchors" => settings.anchors = Some(self.anchors(child)?),
                "trustkit-config" => self.trustkit(child, &mut settings)?,
                name @ ("domain" | "domain-config" | "pin-set") => {
                    return Err(place.error(format!("<{name}> in <base-config>")));
                }
                name => {
                    let detail = format!("<{name}> is not taken over");
                    self.losses.of_file(LossKind::Ignored, detail);
                }
            }
        }
        Ok(settings)
    }

    fn pin_set(&self, node: Node<'_, '_>, settings: &mut Settings) -> Result<(), InputError> {
        let mut pins = Vec::new();
        for pin in node.children().filter(|it| it.has_tag_name("pin")) {
            let place = xml::place(pin);
            match pin.attribute("digest") {
                // The platform compares ignoring the case, TrustKit does not.
                Some(digest)
                    if digest == "SHA-256"
                        || (self.flavour == Flavour::Platform
                            && digest.eq_ignore_ascii_case("SHA-256")) =>
                {
                    pins.push(place.pin(&xml::text(pin)?)?);
                }
                digest => {
                    let digest = digest.unwrap_or("none");
                    let text = format!("the digest {digest}, expected SHA-256");
                    return Err(place.error(text));
                }
            }
        }
        settings.pins = Some(pins);
        settings.expiry = match node.attribute("expiration") {
            // TrustKit inherits each value on its own, the platform the set as a whole.
            None => settings
                .expiry
                .filter(|_| self.flavour == Flavour::TrustKit),
            Some(text) => Some(parse_date(text).ok_or_else(|| {
                xml::place(node).error(format!("the date {text:?}, expected 2027-06-30"))
            })?),
        };
        Ok(())
    }

    fn anchors(&mut self, node: Node<'_, '_>) -> Result<Option<UserAddedRoots>, InputError> {
        let mut user = None;
        let mut has_system = false;
        for source in node.children().filter(|it| it.has_tag_name("certificates")) {
            let overrides = boolean(source, "overridePins")?.unwrap_or(false);
            has_system |= source.attribute("src") == Some("system");
            match source.attribute("src") {
                Some("user") if overrides => user = Some(UserAddedRoots::SkipPins),
                Some("user") => user = user.or(Some(UserAddedRoots::EnforcePins)),
                Some("system") if !overrides => {}
                src => {
                    let src = src.unwrap_or_default();
                    let detail = if overrides {
                        format!(
                            "pins are skipped on chains to the roots {src}, and not by the target"
                        )
                    } else {
                        format!("the roots {src} are not taken over")
                    };
                    self.losses.of_file(LossKind::Ignored, detail);
                }
            }
        }
        if !has_system {
            let detail = "<trust-anchors> without the roots of the system, which the target trusts";
            self.losses.of_file(LossKind::Ignored, detail);
        }
        Ok(user)
    }

    fn trustkit(&mut self, node: Node<'_, '_>, settings: &mut Settings) -> Result<(), InputError> {
        if self.flavour == Flavour::Platform {
            let detail = "<trustkit-config> has no effect on the platform; --from \
                          trustkit-android reads it";
            self.losses.of_file(LossKind::Ignored, detail);
            return Ok(());
        }
        settings.enforce = boolean(node, "enforcePinning")?.or(settings.enforce);
        let disabled = boolean(node, "disableDefaultReportUri")?;
        settings.default_report = disabled.map(|it| !it).or(settings.default_report);
        let uris = node.children().filter(|it| it.has_tag_name("report-uri"));
        let uris = uris.map(|uri| xml::place(uri).report_uri(&xml::text(uri)?));
        settings.report_uris = Some(uris.collect::<Result<_, _>>()?);
        Ok(())
    }
}

fn boolean(node: Node<'_, '_>, name: &str) -> Result<Option<bool>, InputError> {
    match node.attribute(name) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => {
            let text = format!("{name} is {other:?}, expected true or false");
            Err(xml::place(node).error(text))
        }
    }
}

fn rules(domains: Vec<Domain>, flavour: Flavour, losses: &mut Losses) -> Rules {
    let mut rules = Vec::new();
    let mut unpinned = Vec::new();
    for domain in domains {
        let pins = domain.settings.pins.clone().unwrap_or_default();
        match group_of(PinRole::Any, pins) {
            Some(group) => rules.push(rule(domain, group, flavour, losses)),
            None => unpinned.push(domain),
        }
    }
    for domain in unpinned {
        if flavour == Flavour::TrustKit {
            losses.of(&domain.host, LossKind::Backup, TOO_FEW);
        }
        exempt(&domain, &mut rules, losses);
    }
    Rules {
        rules,
        ..Rules::default()
    }
}

fn rule(
    domain: Domain,
    group: pinhold::policy::PinGroup,
    flavour: Flavour,
    losses: &mut Losses,
) -> Rule {
    let Domain { host, settings, .. } = domain;
    let scope = if domain.includes_subdomains {
        Scope::HostAndSubdomains
    } else {
        Scope::Host
    };
    let mut rule = Rule::new(host.clone(), scope, vec![group]);
    if let Some(at) = settings.expiry {
        rule.expiry = Some((at, AfterExpiry::Unpin));
        losses.of(&host, LossKind::Expiry, ZONE);
    }
    rule.user_added_roots = settings.anchors.flatten();
    rule.plain_http = settings.plain_http;
    if flavour == Flavour::TrustKit {
        if settings.enforce != Some(true) {
            rule.enforcement = Enforcement::ReportOnly;
        }
        if rule.pins().len() < 2 {
            losses.of(&host, LossKind::Backup, TOO_FEW);
        }
        rule.report_uris = settings.report_uris.unwrap_or_default();
        if settings.default_report != Some(false) {
            losses.of(&host, LossKind::Reporting, DEFAULT_REPORT);
        }
    }
    rule
}

/// TrustKit's default, which is not taken over: the endpoint is not the application's own.
pub(super) const DEFAULT_REPORT: &str = "TrustKit reports to its vendor, too, unless that is disabled; \
                                         the target does not";

/// What TrustKit does where other readers take what there is.
pub(super) const TOO_FEW: &str =
    "TrustKit refuses the whole configuration, since a domain needs two pins";

/// Takes over a domain without pins: the most specific domain decides, so it ends the effect of all
/// domains above it.
fn exempt(domain: &Domain, rules: &mut [Rule], losses: &mut Losses) {
    let host = &domain.host;
    let mut is_exempt = false;
    let mut plain_http = None;
    for rule in rules.iter_mut() {
        if rule.scope.includes_subdomains() && host.is_subdomain_of(&rule.host) {
            rule.exempt.push(host.clone());
            is_exempt = true;
            plain_http = rule.plain_http;
        }
    }
    if is_exempt && !domain.includes_subdomains {
        let detail = "the names below it are pinned by the source, and exempt in the target";
        losses.of(host, LossKind::Exempt, detail);
    }
    if domain.settings.plain_http.is_some() && domain.settings.plain_http != plain_http {
        let detail = "a host without pins: whether http:// is allowed is not taken over";
        losses.of(host, LossKind::PlainHttp, detail);
    }
}
