//! The command `pinhold pins diff`: the differences of files in any formats.
//!
//! Two files are compared by what both formats can say: both are reduced to it. What is lost by
//! that is no difference, and is listed as notes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use pinhold::Host;
use pinhold::policy::PinGroup;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;
use crate::pins::formats::Format;
use crate::pins::input::{Options, read_text};
use crate::pins::loss::Losses;
use crate::pins::reduce::reduce;
use crate::pins::rules::{Index, Rule, Rules};
use crate::pins::source::Context;
use crate::pins::{DIFFERENT, detect, diff_output};
use crate::rfc3339;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Write the result as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the result as SARIF 2.1.0
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    /// Files to compare, each with the first: PATH, or FORMAT:PATH
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    files: Vec<String>,
}

impl Arguments {
    /// Refuses to write a result over a file that is compared, or over the other result.
    fn refuse_overwriting(&self) -> Result<(), Failure> {
        let compared = self
            .files
            .iter()
            .map(|file| Path::new(detect::split(file).1));
        let mut known = compared.collect::<Vec<_>>();
        for result in [&self.junit, &self.sarif].into_iter().flatten() {
            if known.iter().any(|path| is_same(path, result)) {
                let reason = "is another file of the comparison, too; expected a path of its own";
                return Err(Failure::input(&result.display().to_string(), reason));
            }
            known.push(result);
        }
        Ok(())
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let same = |(one, other): (PathBuf, PathBuf)| one == other;
    let files = fs::canonicalize(one).ok().zip(fs::canonicalize(other).ok());
    one == other || files.is_some_and(same)
}

/// A file that was read.
pub(super) struct File {
    pub(super) path: String,
    pub(super) format: Format,
    rules: Rules,
    losses: Losses,
}

/// The result of comparing a file with the first one.
pub(super) struct Comparison<'f> {
    pub(super) file: &'f File,
    /// The hosts of both files.
    pub(super) hosts: Vec<Host>,
    pub(super) differences: Vec<Difference>,
    pub(super) first_notes: Losses,
    pub(super) second_notes: Losses,
}

/// A value that differs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// `None` if it is of the whole file.
    pub(crate) host: Option<Host>,
    pub(crate) field: &'static str,
    /// The value in the first file, or the part of it that the other one lacks.
    pub(crate) first: Value,
    pub(crate) second: Value,
}

pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    arguments.refuse_overwriting()?;
    let context = arguments.options.context()?;
    let files = arguments
        .files
        .iter()
        .map(|argument| open(argument, &context));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let Some((first, others)) = files.split_first() else {
        return Err(Failure::Usage("two files are needed".to_owned()));
    };
    let comparisons = others.iter().map(|other| compare(first, other, &context));
    let comparisons = comparisons.collect::<Vec<_>>();
    if let Some(path) = &arguments.junit {
        diff_output::write(path, &diff_output::junit(first, &comparisons)?)?;
    }
    if let Some(path) = &arguments.sarif {
        diff_output::write(path, &diff_output::sarif(first, &comparisons))?;
    }
    let text = diff_output::text(first, &comparisons);
    output.print(&diff_output::json(first, &comparisons), &text)?;
    if comparisons.iter().all(|it| it.differences.is_empty()) {
        Ok(())
    } else {
        Err(Failure::AlreadyPrinted { code: DIFFERENT })
    }
}

fn open(argument: &str, context: &Context) -> Result<File, Failure> {
    let (format, path) = detect::split(argument);
    let text = read_text(path)?;
    let format = format
        .or_else(|| detect::format(&text))
        .ok_or_else(|| Failure::input(path, "the format is not known, expected FORMAT:PATH"))?;
    let read = format.read(&text, context);
    let read = read.map_err(|error| Failure::input(path, error.message(&text)))?;
    Ok(File {
        path: path.to_owned(),
        format,
        rules: read.rules,
        losses: read.losses,
    })
}

fn compare<'f>(first: &File, second: &'f File, context: &Context) -> Comparison<'f> {
    let abilities = first.format.abilities().meet(&second.format.abilities());
    let reduced = |file: &File| {
        let mut notes = file.losses.clone();
        let rules = reduce(file.rules.clone(), &abilities, context.at, &mut notes);
        (rules, notes)
    };
    let ((one, first_notes), (other, second_notes)) = (reduced(first), reduced(second));
    let (hosts, differences) = differences(&one, &other);
    Comparison {
        file: second,
        hosts,
        differences,
        first_notes,
        second_notes,
    }
}

/// Returns all hosts, and the differences.
pub(crate) fn differences(one: &Rules, other: &Rules) -> (Vec<Host>, Vec<Difference>) {
    let mut differences = Vec::new();
    let all = one.rules.iter().chain(&other.rules);
    let mut hosts = all.map(|rule| rule.host.clone()).collect::<Vec<_>>();
    hosts.sort_unstable();
    hosts.dedup();
    let (one_index, other_index) = (Index::new(&one.rules), Index::new(&other.rules));
    for host in &hosts {
        let of = |index: &Index<'_>| {
            let mut own = index
                .of(host)
                .iter()
                .map(|it| (*it).clone())
                .collect::<Vec<_>>();
            own.sort_by_key(|rule| rule.scope);
            own
        };
        let mut add = |field, first, second| {
            add_unless_equal(&mut differences, Some(host), field, first, second);
        };
        let (one, other) = (of(&one_index), of(&other_index));
        add("scope", scopes(&one), scopes(&other));
        for rule in &one {
            let mut others = other.iter();
            let same = others.find(|it| it.scope == rule.scope || one.len() + other.len() == 2);
            for (field, value) in same.map(|same| fields(rule, same)).unwrap_or_default() {
                add(field, value.0, value.1);
            }
        }
    }
    for (field, value) in file_fields(one, other) {
        add_unless_equal(&mut differences, None, field, value.0, value.1);
    }
    (hosts, differences)
}

fn add_unless_equal(
    differences: &mut Vec<Difference>,
    host: Option<&Host>,
    field: &'static str,
    first: Value,
    second: Value,
) {
    if first != second {
        differences.push(Difference {
            host: host.cloned(),
            field,
            first,
            second,
        });
    }
}

type Field = (&'static str, (Value, Value));

fn fields(one: &Rule, other: &Rule) -> Vec<Field> {
    let both = |value: fn(&Rule) -> Value| (value(one), value(other));
    let pins = |rule: &Rule, other: &Rule| {
        let theirs = pins(&other.groups);
        let mut own = pins(&rule.groups);
        if own.len() == theirs.len() || own.len() == 1 {
            own.retain(|pin| !theirs.contains(pin));
        }
        json!(own)
    };
    vec![
        ("pins", (pins(one, other), pins(other, one))),
        ("exempt", both(|rule| texts(&rule.exempt))),
        ("candidate", both(|rule| json!(self::pins(&rule.candidate)))),
        ("enforcement", both(|rule| json!(word(&rule.enforcement)))),
        (
            "expires",
            both(|rule| json!(rule.expiry.map(|(at, _)| rfc3339::print(at)))),
        ),
        (
            "after_expiry",
            both(|rule| json!(rule.expiry.map(|(_, then)| word(&then)))),
        ),
        ("report_uris", both(|rule| texts(&rule.report_uris))),
        (
            "user_added_roots",
            both(|rule| json!(rule.user_added_roots.map(|it| word(&it)))),
        ),
        (
            "plain_http",
            both(|rule| json!(rule.plain_http.map(|it| word(&it)))),
        ),
    ]
}

fn file_fields(one: &Rules, other: &Rules) -> Vec<Field> {
    let both = |value: fn(&Rules) -> Value| (value(one), value(other));
    vec![
        (
            "overlap",
            both(|rules| json!(rules.overlap.map(|it| word(&it)))),
        ),
        (
            "refused_keys",
            both(|rules| {
                let keys = rules.refused_keys.iter().flat_map(pinhold::PinSet::iter);
                keys.map(ToString::to_string).collect()
            }),
        ),
        (
            "unpinned_hosts",
            both(|rules| json!(word(&rules.unpinned_hosts))),
        ),
        ("allow_unpinned", both(|rules| texts(&rules.allow_unpinned))),
    ]
}

/// Returns the pins with their roles; those of several groups with the number of the group.
fn pins(groups: &[PinGroup]) -> Vec<String> {
    let mut texts = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        for (role, pin) in group.iter() {
            let number = (groups.len() > 1).then(|| format!("group {} ", index + 1));
            let role = match role {
                pinhold::policy::PinRole::Any => String::new(),
                role => format!("{role} "),
            };
            texts.push(format!("{}{role}{pin}", number.unwrap_or_default()));
        }
    }
    texts
}

fn scopes(rules: &[Rule]) -> Value {
    rules.iter().map(|rule| json!(word(&rule.scope))).collect()
}

fn texts<T: ToString>(values: &[T]) -> Value {
    let mut texts = values.iter().map(ToString::to_string).collect::<Vec<_>>();
    texts.sort_unstable();
    json!(texts)
}

/// Returns the word of a pin file for a setting: `HostAndSubdomains` is `host-and-subdomains`.
fn word(value: &impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for char in format!("{value:?}").chars() {
        if char.is_ascii_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.push(char.to_ascii_lowercase());
    }
    word
}
