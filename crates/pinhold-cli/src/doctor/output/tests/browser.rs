//! The page in headless Chromium.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::doctor::forecast::Report;
use crate::doctor::output::fixture;
use crate::doctor::output::page;
use crate::doctor::output::tests::{Folder, run};

/// Runs Chromium with these options on a page. Returns its output.
fn chromium(folder: &Folder, page: &str, options: &[&str]) -> Option<String> {
    let file = folder.write("page.html", page);
    let profile = format!("--user-data-dir={}", folder.path("profile").display());
    let url = format!("file://{file}");
    let fixed = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--hide-scrollbars",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        &profile,
    ];
    let arguments = [&fixed, options, &[&url]].concat();
    let (is_success, output) = run("chromium", &arguments)?;
    assert!(is_success, "{output}");
    Some(output)
}

/// Returns what a script finds in a copy of the page, in a frame of this width: windows have at least
/// 500 pixels. Only the copy may run scripts, which is a proof of the escaping, too: its policy would
/// not stop one that a text contains.
fn facts(report: &Report, width: u32) -> Option<Value> {
    let page = page::html(report);
    let policy = "default-src 'none';";
    assert_eq!(page.matches(policy).count(), 1);
    let copy = page.replace(policy, "default-src 'none'; script-src 'unsafe-inline';");
    let copy = copy.replace("</body>", &format!("<script>{SCRIPT}</script></body>"));
    let folder = Folder::new();
    folder.write("copy.html", &copy);
    let outer = format!(
        "<script>onmessage = (it) => document.documentElement.dataset.facts = it.data</script>\
         <iframe src=copy.html width={width} height=800></iframe>"
    );
    let options = ["--virtual-time-budget=5000", "--dump-dom"];
    let dom = chromium(&folder, &outer, &options)?;
    let (_, facts) = dom.split_once("data-facts=\"").expect(&dom);
    let (facts, _) = facts.split_once('"').unwrap();
    Some(serde_json::from_slice(&STANDARD.decode(facts).unwrap()).unwrap())
}

const SCRIPT: &str = "
const all = (query) => [...document.querySelectorAll(query)];
const texts = (query) => all(query).map((it) => it.textContent.trim());
const facts = {
    width: innerWidth,
    scrollWidth: document.documentElement.scrollWidth,
    title: document.title,
    requests: performance.getEntriesByType('resource').length,
    display: getComputedStyle(document.querySelector('.states')).display,
    elements: [...new Set(all('body *').map((it) => it.localName))],
    attributes: [...new Set(all('*').flatMap((it) => it.getAttributeNames()))],
    links: all('[href]').map((it) => it.getAttribute('href')),
    names: texts('.overview tbody .name'),
    states: texts('.overview tbody .state'),
    days: texts('.overview tbody .days'),
    sections: texts('section.host h3'),
    untils: texts('.lock-out .until'),
    opened: all('section.host > details').map((it) => it.open),
    widths: [...new Set(all('.timeline').slice(0, 1).flatMap((it) => [...it.querySelectorAll('svg')])
        .map((it) => it.parentElement.closest('svg') ? null : Math.round(it.getBoundingClientRect().width))
        .filter((it) => it !== null))].length,
    closed: all('details.notices').filter((it) => !it.open).length,
    bars: all('.timeline tbody svg').map((it) => it.getAttribute('aria-label')),
    pins: texts('code.pin'),
    broken: all('.overview a').filter((it) => !document.querySelector(it.getAttribute('href'))).length,
};
parent.postMessage(btoa(unescape(encodeURIComponent(JSON.stringify(facts)))), '*');
";

#[test]
fn a_phone_shows_the_page_without_scrolling_aside() {
    let mut report = fixture::every_kind();
    report.hosts.push(fixture::hostile());
    let Some(facts) = facts(&report, 360) else {
        return;
    };
    assert_eq!(facts["width"], 360);
    assert!(facts["scrollWidth"].as_u64().unwrap() <= 360, "{facts:#}");
    // The axis is as wide as the bars below it.
    assert_eq!(facts["widths"], 1);
    // The style sheet is the one that the policy permits.
    assert_eq!(facts["display"], "flex");
}

#[test]
fn the_page_shows_every_host_and_date_and_loads_nothing() {
    let Some(facts) = facts(&fixture::many(), 1280) else {
        return;
    };
    assert_eq!(facts["requests"], 0);
    assert_eq!(facts["broken"], 0);
    let names = facts["names"].as_array().unwrap();
    assert_eq!(names.len(), 200);
    assert_eq!(facts["sections"], facts["names"]);
    let first = |member: &str, count| facts[member].as_array().unwrap()[..count].to_vec();
    let worst = [
        "pay.example.com",
        "api.example.com",
        "old.example.com",
        "files.example.com",
    ];
    assert_eq!(first("names", 4), worst);
    assert_eq!(first("states", 4), ["locked out", "soon", "error", "later"]);
    assert_eq!(first("days", 4), ["now", "20 days", "-", "200 days"]);
    let untils = [
        "2026-11-27certain",
        "2026-12-20certain",
        "2027-06-18announced",
    ];
    assert_eq!(first("untils", 3), untils);
    assert_eq!(facts["opened"][0], true);
    assert_eq!(facts["opened"][199], false);
    assert_eq!(facts["closed"], 1);
    let bars = facts["bars"].as_array().unwrap();
    assert!(bars.contains(&Value::from("from 2026-11-10, until 2027-01-09")));
    assert!(bars.contains(&Value::from("connections are refused from 2027-06-18")));
    assert_eq!(facts["pins"].as_array().unwrap().len(), 400);
}

#[test]
fn hostile_texts_are_text() {
    let Some(facts) = facts(&fixture::with_hostile_texts(), 1280) else {
        return;
    };
    assert_eq!(facts["title"], "Pin forecast of 2026-11-30");
    assert_eq!(facts["requests"], 0);
    let found = |member: &str| facts[member].as_array().unwrap().clone();
    for element in ["img", "iframe", "style", "link", "object", "base", "form"] {
        assert!(
            !found("elements").contains(&Value::from(element)),
            "{element}"
        );
    }
    for attribute in found("attributes") {
        let name = attribute.as_str().unwrap();
        assert!(
            !name.starts_with("on") && name != "src" && name != "style",
            "{name}"
        );
    }
    for link in found("links") {
        assert!(link.as_str().unwrap().starts_with('#'), "{link}");
    }
}

#[test]
fn a_screenshot_has_the_requested_size() {
    let folder = Folder::new();
    let file = folder.path("page.png");
    let option = format!("--screenshot={}", file.display());
    let page = page::html(&fixture::every_kind());
    if chromium(&folder, &page, &["--window-size=1280,900", &option]).is_none() {
        return;
    }
    let png = fs::read(file).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert_eq!((number(16), number(20)), (1280, 900));
    // An empty page of this size has about 5 kB.
    assert!(png.len() > 40_000, "{} bytes", png.len());
}

#[test]
fn a_page_of_200_hosts_is_small() {
    let page = page::html(&fixture::many());
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    // No address of another place, and no script, whatever the policy permits.
    for text in [
        "http",
        "<script",
        "javascript:",
        "url(h",
        "@import",
        " src=",
    ] {
        let is_link =
            text == "http" && page.matches(text).count() == page.matches("http-equiv").count();
        assert!(is_link || !page.contains(text), "{text}");
    }
}
