//! The report in JUnit XML, one test case for each host.

use std::io;

use quick_xml::events::BytesText;

use crate::doctor::forecast::{Finding, Report};
use crate::doctor::output::summary::{Row, State, date, name, rows, severity_word, when};
use crate::failure::Failure;
use crate::output::printable;
use crate::pins::xml::{self, Xml};
use crate::{pin_file, rfc3339};

/// Returns a document with one test suite. A host fails if it is locked out before the time of
/// `--fail-within`, or by an error without a date.
pub(super) fn document(report: &Report) -> Result<String, Failure> {
    let rows = rows(report);
    let text = xml::write(|xml| {
        let suites = xml.create_element("testsuites");
        suites.write_inner_content(|xml| suite(xml, &rows, report))?;
        Ok(())
    });
    text.map_err(|error| Failure::Internal {
        subject: "JUnit XML",
        error,
    })
}

fn suite(xml: &mut Xml, rows: &[Row<'_>], report: &Report) -> io::Result<()> {
    let failures = rows.iter().filter(|row| row.state.is_failure()).count();
    let at = rfc3339::print(report.at);
    let (tests, failures) = (rows.len().to_string(), failures.to_string());
    let suite = xml.create_element("testsuite").with_attributes([
        ("name", "pinhold doctor"),
        ("tests", &tests),
        ("failures", &failures),
        ("errors", "0"),
        ("skipped", "0"),
        ("timestamp", at.trim_end_matches('Z')),
        ("time", "0"),
    ]);
    suite.write_inner_content(|xml| {
        rows.iter().try_for_each(|row| case(xml, row))?;
        if !report.general.is_empty() {
            element(xml, "system-out", None, &texts(&report.general))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn case(xml: &mut Xml, row: &Row<'_>) -> io::Result<()> {
    let name = name(row.host);
    let scope = pin_file::scope_word(row.host.subject.scope);
    let class = format!("pinhold.doctor.{scope}");
    let case = xml.create_element("testcase").with_attributes([
        ("name", name.as_str()),
        ("classname", &class),
        ("time", "0"),
    ]);
    let findings = texts(&row.host.findings);
    if !row.state.is_failure() && findings.is_empty() {
        case.write_empty()?;
        return Ok(());
    }
    case.write_inner_content(|xml| {
        if !row.state.is_failure() {
            return element(xml, "system-out", None, &findings);
        }
        let message = format!("{}: {}", state(row), row.why());
        element(xml, "failure", Some(&message), &findings)
    })?;
    Ok(())
}

fn state(row: &Row<'_>) -> String {
    match (&row.host.lock_out, row.state) {
        (Some(lock_out), State::LockedOut | State::Soon) => {
            format!("locked out from {}", date(lock_out.at))
        }
        (_, state) => state.word().to_owned(),
    }
}

fn element(xml: &mut Xml, name: &str, message: Option<&str>, text: &str) -> io::Result<()> {
    let mut element = xml.create_element(name);
    if let Some(message) = message {
        let message = allowed(message);
        element = element.with_attributes([("message", &*message), ("type", "lock-out")]);
    }
    element.write_text_content(BytesText::new(&allowed(text)))?;
    Ok(())
}

fn texts(findings: &[Finding]) -> String {
    let texts = findings.iter().map(|finding| {
        let (severity, id) = (severity_word(finding.severity), finding.id);
        let (evidence, remedy) = (printable(&finding.evidence), printable(finding.remedy));
        format!(
            "{severity} ({}): {evidence} [{id}]\nwhat to do: {remedy}",
            when(finding)
        )
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// Removes the two characters that `printable` allows and XML 1.0 does not.
fn allowed(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}
