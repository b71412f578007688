//! The result of a comparison as text, JSON, JUnit XML and SARIF.

use std::path::Path;
use std::{fs, io};

use quick_xml::events::BytesText;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::printable;
use crate::pins::diff::{Comparison, Difference, File};
use crate::pins::xml;

/// Writes a result file.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::Internal {
        subject: "result file",
        error: io::Error::other(format!("{}: {error}", path.display())),
    })
}

pub(super) fn text(first: &File, comparisons: &[Comparison<'_>]) -> String {
    let mut lines = Vec::new();
    for it in comparisons {
        let state = if it.differences.is_empty() {
            "equal to"
        } else {
            "differs from"
        };
        lines.push(format!("{} {state} {}", named(it.file), named(first)));
        let differences = it.differences.iter();
        lines.extend(differences.map(|difference| {
            let texts = description(difference, first, it.file);
            format!("  {texts}")
        }));
        for (file, notes) in [(first, &it.first_notes), (it.file, &it.second_notes)] {
            let notes = notes.iter();
            lines.extend(
                notes.map(|note| format!("  not compared of {}: {}", file.path, note.line())),
            );
        }
    }
    // Names and values of the files could otherwise control the terminal.
    let lines = lines.iter().map(|line| printable(line));
    lines.collect::<Vec<_>>().join("\n")
}

fn named(file: &File) -> String {
    format!("{} ({})", file.path, file.format.name())
}

fn description(difference: &Difference, first: &File, second: &File) -> String {
    let host = difference
        .host
        .as_ref()
        .map_or("all hosts", pinhold::Host::as_str);
    let field = difference.field;
    let values = [(&difference.first, first), (&difference.second, second)];
    let values = values.map(|(value, file)| format!("{} in {}", value_text(value), file.path));
    format!("{host}: {field}: {}", values.join(", "))
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => {
            let texts = values.iter().map(value_text).collect::<Vec<_>>();
            texts.join(" ")
        }
        value => value.to_string(),
    }
}

pub(super) fn json(first: &File, comparisons: &[Comparison<'_>]) -> Value {
    let file = |file: &File| json!({ "file": file.path, "format": file.format.name() });
    let difference = |it: &Difference| {
        json!({
            "host": it.host.as_ref().map(pinhold::Host::as_str),
            "field": it.field,
            "first": it.first,
            "second": it.second,
        })
    };
    let comparison = |it: &Comparison<'_>| {
        json!({
            "second": file(it.file),
            "equal": it.differences.is_empty(),
            "differences": it.differences.iter().map(difference).collect::<Value>(),
            "first_notes": it.first_notes.json(),
            "second_notes": it.second_notes.json(),
        })
    };
    json!({
        "equal": comparisons.iter().all(|it| it.differences.is_empty()),
        "first": file(first),
        "comparisons": comparisons.iter().map(comparison).collect::<Value>(),
    })
}

/// Returns a test suite for each file, with a test case for each host.
pub(super) fn junit(first: &File, comparisons: &[Comparison<'_>]) -> Result<String, Failure> {
    let text = xml::write(|xml| {
        xml.create_element("testsuites")
            .write_inner_content(|xml| {
                for it in comparisons {
                    suite(xml, first, it)?;
                }
                Ok(())
            })?;
        Ok(())
    });
    text.map_err(|error| Failure::Internal {
        subject: "JUnit XML",
        error,
    })
}

fn suite(xml: &mut xml::Xml, first: &File, comparison: &Comparison<'_>) -> io::Result<()> {
    let hosts = comparison.hosts.iter().map(Some).chain([None]);
    let cases = hosts.map(|host| {
        let differences = comparison.differences.iter();
        let own = differences.filter(|it| it.host.as_ref() == host);
        let texts = own.map(|it| printable(&description(it, first, comparison.file)));
        let name = host.map_or("all hosts", pinhold::Host::as_str);
        (name, texts.collect::<Vec<_>>())
    });
    let cases = cases.collect::<Vec<_>>();
    let failures = cases.iter().filter(|(_, texts)| !texts.is_empty()).count();
    let (tests, failures) = (cases.len().to_string(), failures.to_string());
    // XML can't have control characters, not even as references.
    let name = printable(&format!("{} and {}", first.path, comparison.file.path));
    let suite = xml.create_element("testsuite").with_attributes([
        ("name", name.as_str()),
        ("tests", &tests),
        ("failures", &failures),
    ]);
    suite.write_inner_content(|xml| {
        for (name, texts) in &cases {
            let case = xml.create_element("testcase");
            let case = case.with_attributes([("classname", "pinhold"), ("name", *name)]);
            if texts.is_empty() {
                case.write_empty()?;
                continue;
            }
            case.write_inner_content(|xml| {
                let failure = xml.create_element("failure");
                let failure = failure.with_attribute(("message", "the pins differ"));
                failure.write_text_content(BytesText::new(&texts.join("\n")))?;
                Ok(())
            })?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Returns a log in SARIF 2.1.0 with a result for each difference.
pub(super) fn sarif(first: &File, comparisons: &[Comparison<'_>]) -> String {
    let result = |comparison: &Comparison<'_>, difference: &Difference| {
        json!({
            "ruleId": format!("pins-differ/{}", difference.field),
            "level": "error",
            "message": { "text": description(difference, first, comparison.file) },
            "locations": [{
                "physicalLocation": { "artifactLocation": { "uri": uri(&comparison.file.path) } },
            }],
        })
    };
    let results = comparisons.iter().flat_map(|comparison| {
        let differences = comparison.differences.iter();
        differences.map(move |difference| result(comparison, difference))
    });
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "pinhold",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": "https://docs.rs/pinhold",
            }},
            "results": results.collect::<Value>(),
        }],
    });
    format!("{log:#}\n")
}

/// Returns a path as a relative URI.
pub(crate) fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        match byte {
            b'\\' => uri.push('/'),
            _ if is_plain => uri.push(char::from(byte)),
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}
