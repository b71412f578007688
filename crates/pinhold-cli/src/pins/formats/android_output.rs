//! Writing of Android's network security configuration, for the platform and for TrustKit.

use std::io;

use pinhold::policy::PlainHttp;
use pinhold::{Enforcement, Host, UserAddedRoots};

use crate::pins::expiry::print_date;
use crate::pins::formats::android::Flavour;
use crate::pins::rules::{Rule, Rules};
use crate::pins::xml::{self, Xml, element};

pub(super) fn write(rules: &Rules, flavour: Flavour) -> io::Result<String> {
    xml::write(|xml| {
        let root = xml.create_element("network-security-config");
        root.write_inner_content(|xml| {
            for rule in &rules.rules {
                config(xml, rule, rules, flavour)?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

fn config(xml: &mut Xml, rule: &Rule, rules: &Rules, flavour: Flavour) -> io::Result<()> {
    let mut config = xml.create_element("domain-config");
    if let Some(choice) = rule.plain_http {
        let value = (choice == PlainHttp::Allow).to_string();
        config = config.with_attribute(("cleartextTrafficPermitted", value.as_str()));
    }
    config.write_inner_content(|xml| {
        domain(xml, &rule.host, rule.scope.includes_subdomains())?;
        pin_set(xml, rule)?;
        if let Some(choice) = rule.user_added_roots {
            anchors(xml, choice)?;
        }
        if flavour == Flavour::TrustKit {
            trustkit(xml, rule)?;
        }
        for name in &rule.exempt {
            // A domain may be listed once: in the nearest domain-config that exempts it.
            let mut others = rules.rules.iter();
            if others.any(|it| it.is_nearer_than(rule) && it.exempt.contains(name)) {
                continue;
            }
            let nested = xml.create_element("domain-config");
            nested.write_inner_content(|xml| {
                domain(xml, name, true)?;
                xml.create_element("pin-set").write_empty()?;
                Ok(())
            })?;
        }
        Ok(())
    })?;
    Ok(())
}

fn domain(xml: &mut Xml, host: &Host, includes_subdomains: bool) -> io::Result<()> {
    let value = includes_subdomains.to_string();
    let element = xml.create_element("domain");
    let element = element.with_attribute(("includeSubdomains", value.as_str()));
    element.write_text_content(quick_xml::events::BytesText::new(host.as_str()))?;
    Ok(())
}

fn pin_set(xml: &mut Xml, rule: &Rule) -> io::Result<()> {
    let mut set = xml.create_element("pin-set");
    let date = rule.expiry.map(|(at, _)| print_date(at));
    if let Some(date) = &date {
        set = set.with_attribute(("expiration", date.as_str()));
    }
    set.write_inner_content(|xml| {
        for pin in rule.pins() {
            let base64 = pin.to_base64();
            let element = xml
                .create_element("pin")
                .with_attribute(("digest", "SHA-256"));
            element.write_text_content(quick_xml::events::BytesText::new(&base64))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn anchors(xml: &mut Xml, choice: UserAddedRoots) -> io::Result<()> {
    xml.create_element("trust-anchors")
        .write_inner_content(|xml| {
            xml.create_element("certificates")
                .with_attribute(("src", "system"))
                .write_empty()?;
            let mut user = xml
                .create_element("certificates")
                .with_attribute(("src", "user"));
            if choice == UserAddedRoots::SkipPins {
                user = user.with_attribute(("overridePins", "true"));
            }
            user.write_empty()?;
            Ok(())
        })?;
    Ok(())
}

fn trustkit(xml: &mut Xml, rule: &Rule) -> io::Result<()> {
    let enforce = (rule.enforcement == Enforcement::Enforce).to_string();
    let config = xml.create_element("trustkit-config");
    let config = config.with_attribute(("enforcePinning", enforce.as_str()));
    let config = config.with_attribute(("disableDefaultReportUri", "true"));
    config.write_inner_content(|xml| {
        for uri in &rule.report_uris {
            element(xml, "report-uri", uri.as_str())?;
        }
        Ok(())
    })?;
    Ok(())
}
