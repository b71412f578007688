//! Code blocks of Markdown files, each with the dependencies that are shown beside it.

use std::fmt;

/// One block between two fences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) file: String,
    /// Of the opening fence, from 1.
    pub(crate) line: usize,
    /// The text after the opening fence, such as `rust,no_run`.
    pub(crate) kind: String,
    pub(crate) text: String,
    /// Those of the last block of `cargo add` lines before this one, in the same file.
    pub(crate) dependencies: Vec<Dependency>,
}

impl Block {
    pub(crate) fn is_rust(&self) -> bool {
        self.kind.split(',').next() == Some("rust")
    }

    /// Returns a name for a module of this block.
    pub(crate) fn module(&self) -> String {
        let name = self.file.replace(|char: char| !char.is_alphanumeric(), "_");
        format!("{}_{}", name.to_lowercase(), self.line)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What one line `cargo add ...` adds to a manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) default_features: bool,
    pub(crate) features: Vec<String>,
    /// Whether only tests have it.
    pub(crate) dev: bool,
}

impl Dependency {
    /// Parses `cargo add NAME[@VERSION] [--dev] [--no-default-features] [--features A,B]`.
    /// Returns `None` for any other line.
    fn parse(line: &str) -> Option<Self> {
        let line = line.split('#').next()?;
        let mut words = line.strip_prefix("cargo add ")?.split_whitespace();
        let name = words.next()?;
        let (name, version) = match name.split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (name, None),
        };
        let mut dependency = Self {
            name: name.to_owned(),
            version,
            default_features: true,
            features: Vec::new(),
            dev: false,
        };
        if name.starts_with('-') {
            return None;
        }
        while let Some(word) = words.next() {
            match word {
                "--dev" => dependency.dev = true,
                "--features" => {
                    let features = words.next()?.split(',').map(str::to_owned);
                    dependency.features.extend(features);
                }
                "--no-default-features" => dependency.default_features = false,
                _ => return None,
            }
        }
        Some(dependency)
    }
}

/// Returns all blocks of a file. Those before the first `cargo add` line have `dependencies`.
pub(crate) fn blocks(file: &str, text: &str, mut dependencies: Vec<Dependency>) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((fence, line)) = lines.next() {
        let Some(kind) = fence.strip_prefix("```") else {
            continue;
        };
        let inside = lines.by_ref().take_while(|(line, _)| *line != "```");
        let inside = inside.map(|(line, _)| line).collect::<Vec<_>>();
        let commands = inside.iter().filter(|line| line.starts_with("cargo add "));
        let added = commands.map(|command| {
            let added = Dependency::parse(command);
            added.unwrap_or_else(|| panic!("{file}:{line}: can't parse `{command}`"))
        });
        let added = added.collect::<Vec<_>>();
        if !added.is_empty() {
            dependencies = added;
        }
        blocks.push(Block {
            file: file.to_owned(),
            line,
            kind: kind.to_owned(),
            text: inside.join("\n"),
            dependencies: dependencies.clone(),
        });
    }
    blocks
}
