//! README, guide and examples: their code compiles as it is shown, with the dependencies that are
//! shown beside it, and they are as short as a reader was promised.
//!
//! Not on Windows: the documents are the same on every system, and under Wine no cargo runs.
#![cfg(not(windows))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod blocks;
#[cfg(feature = "hyper")]
#[path = "../common/mod.rs"]
mod common;
mod fresh_crate;
#[cfg(feature = "hyper")]
mod refusal;
mod roots;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use blocks::{Block, blocks};

const README_WORDS: usize = 800;
const README_BLOCK_LINES: usize = 12;
const PAGE_WORDS: usize = 600;
const EXAMPLE_LINES: usize = 40;

/// The kinds of blocks. Others would not compile in rustdoc, or not be compiled there.
const KINDS: [&str; 9] = [
    "rust",
    "rust,no_run",
    "sh",
    "text",
    "toml",
    "http",
    "json",
    "xml",
    "yaml",
];

#[test]
fn every_rust_block_compiles_as_it_stands_with_the_dependencies_beside_it() {
    let blocks = all_blocks();
    let mut crates = BTreeMap::<_, Vec<&Block>>::new();
    for block in blocks.iter().filter(|block| block.is_rust()) {
        assert!(!block.dependencies.is_empty(), "{block}: no `cargo add`");
        crates.entry(&block.dependencies).or_default().push(block);
    }
    assert!(crates.len() >= 2, "{} sets of dependencies", crates.len());
    for (index, (dependencies, blocks)) in crates.into_iter().enumerate() {
        let name = format!("fresh-crate-{index}");
        if fresh_crate::available(dependencies) {
            let checked = fresh_crate::check(&name, dependencies, &blocks);
            checked.unwrap_or_else(|messages| panic!("{dependencies:#?}\n{messages}"));
        } else {
            println!("skipped, a package is missing: {dependencies:?}");
        }
    }
}

#[test]
fn a_block_that_does_not_compile_is_found() {
    let page = "```sh\ncargo add pinhold --no-default-features\n```\n\
                ```rust\nfn broken() -> pinhold::Pinning {\n    1\n}\n```\n\
                ```rust\nuse pinhold::Pinning;\n```\n\
                ```rust\nfn sound() {}\n```\n";
    let blocks = blocks("page.md", page, Vec::new());
    let [add, broken, unused, sound] = &blocks[..] else {
        panic!("{blocks:#?}");
    };
    let check = |block| fresh_crate::check("broken-crate", &add.dependencies, &[block]);
    // The module of a block is named for its file and line.
    assert!(check(broken).is_err_and(|messages| messages.contains("page_md_4.rs:2")));
    assert!(check(unused).is_err_and(|messages| messages.contains("page_md_9.rs:1")));
    assert_eq!(check(sound), Ok(()));
}

#[test]
fn a_block_has_the_dependencies_shown_before_it() {
    let page = "```rust\nA\n```\n```sh\ncargo add b@1 --no-default-features --features c,d\n\
                cargo add --dev\n```";
    assert!(std::panic::catch_unwind(|| blocks("page.md", page, Vec::new())).is_err());
    let page = page.replace("cargo add --dev", "cargo add e --dev # comment");
    let blocks = blocks(
        "page.md",
        &format!("{page}\n```rust\nF\n\n# G\n```"),
        Vec::new(),
    );
    let [before, _, after] = &blocks[..] else {
        panic!("{blocks:#?}");
    };
    assert_eq!(before.dependencies, []);
    assert_eq!((after.line, &*after.text), (8, "F\n\n# G"));
    let added = after.dependencies.iter().map(|d| {
        let version = d.version.as_deref();
        (
            &*d.name,
            version,
            d.default_features,
            d.features.join(" "),
            d.dev,
        )
    });
    assert_eq!(
        added.collect::<Vec<_>>(),
        [
            ("b", Some("1"), false, "c d".to_owned(), false),
            ("e", None, true, String::new(), true)
        ]
    );
}

#[test]
fn every_block_is_of_a_known_kind_and_hides_no_line() {
    for block in all_blocks() {
        assert!(KINDS.contains(&&*block.kind), "{block}: `{}`", block.kind);
        // rustdoc hides such lines, and a reader would not paste them.
        let hidden = |line: &str| line.trim() == "#" || line.trim_start().starts_with("# ");
        let hides = block.is_rust() && block.text.lines().any(hidden);
        assert!(!hides, "{block}: hides a line");
    }
}

#[cfg(feature = "pin-file")]
#[test]
fn the_pin_files_of_the_guide_can_be_used() {
    let blocks = all_blocks().into_iter();
    let files = blocks.filter(|block| block.kind == "json");
    let used = files.map(|block| {
        let pins = pinhold::pin_file::PinFile::parse(&block.text).unwrap();
        pinhold::Pinning::builder().pins(pins).build().unwrap()
    });
    assert_eq!(used.count(), 1);
}

#[test]
fn readme_pages_and_examples_are_short() {
    let (readme, text) = readme();
    let words = words(&text);
    assert!(words <= README_WORDS, "{readme}: {words} words");
    for block in blocks(&readme, &text, Vec::new()) {
        let lines = block.text.lines().count();
        let short = !block.is_rust() || lines <= README_BLOCK_LINES;
        assert!(short, "{block}: {lines} lines");
    }
    for (page, text) in pages() {
        // Definitions of links are not shown.
        let shown = text.lines().filter(|line| definition(line).is_none());
        let words = shown.map(self::words).sum::<usize>();
        assert!(words < PAGE_WORDS, "{page}: {words} words");
    }
    for name in ["client", "reqwest"] {
        let path = format!("examples/{name}.rs");
        let text = fs::read_to_string(repository().join(&path)).unwrap();
        let lines = text.lines().count();
        assert!(lines <= EXAMPLE_LINES, "{path}: {lines} lines");
    }
}

#[test]
fn every_page_is_in_the_guide_and_in_its_table() {
    let module = fs::read_to_string(guide().join("mod.rs")).unwrap();
    for (page, _) in pages() {
        let name = page.strip_prefix("src/guide/").unwrap();
        let stem = name.strip_suffix(".md").unwrap();
        assert!(
            module.contains(&format!("\"{name}\"")),
            "{page}: not included"
        );
        assert!(
            module.contains(&format!("(self::{stem})")),
            "{page}: no link to it"
        );
    }
}

/// A package from a registry lacks the packages in this repository, so its documents name files
/// that it does not have.
#[test]
fn every_file_that_is_named_exists() {
    if !repository().join("crates").exists() {
        return;
    }
    let mut missing = BTreeSet::new();
    for (document, text) in std::iter::once(readme()).chain(pages()) {
        let folder = repository().join(&document);
        let links = linked_files(&text).into_iter();
        let links = links.map(|path| (folder.parent().unwrap().join(&path), path));
        let quoted = quoted_files(&text).into_iter();
        let quoted = quoted.map(|path| (repository().join(&path), path));
        for (file, path) in links.chain(quoted) {
            if !file.exists() {
                missing.insert(format!("{document}: {path}"));
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
    let text = "see [a](tests/a.rs#b), [c], `src/c.rs` or\n`cargo x --y`.\n\n[c]: d.md\n";
    assert_eq!(linked_files(text), ["tests/a.rs", "d.md"]);
    assert_eq!(quoted_files(text), ["src/c.rs"]);
}

/// A page is read in the repository, where its links lead to files, and in the documentation, where
/// `links.txt` replaces their targets by items.
#[test]
fn every_link_of_a_page_is_defined_for_the_repository_and_for_the_documentation() {
    let items = fs::read_to_string(guide().join("links.txt")).unwrap();
    let items = items.lines().map(|line| definition(line).unwrap());
    let items = items.collect::<BTreeMap<_, _>>();
    let mut used = BTreeSet::new();
    let pages = pages();
    for (page, text) in &pages {
        let files = text.lines().filter_map(definition);
        let files = files.collect::<BTreeMap<_, _>>();
        let labels = linked_labels(text);
        assert_eq!(
            files.keys().copied().collect::<BTreeSet<_>>(),
            labels,
            "{page}"
        );
        assert!(
            labels.iter().all(|label| items.contains_key(label)),
            "{page}: {labels:?}"
        );
        let dead = text
            .split("](")
            .skip(1)
            .find(|rest| !rest.starts_with("https:"));
        assert_eq!(dead, None, "{page}: works in one of the two places only");
        used.extend(labels);
    }
    assert_eq!(items.keys().copied().collect::<BTreeSet<_>>(), used);
    assert!(items.values().all(|item| item.starts_with("crate::")));
    let text = "[a][B::c], `[d][e]` and [f\ng][h].\n[h]: i.rs\n";
    assert_eq!(linked_labels(text), BTreeSet::from(["B::c", "e", "h"]));
}

/// Returns the label and the target of a definition `[LABEL]: TARGET`.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?
        .split_once("]: ")
        .filter(|(label, _)| !label.contains(']'))
}

/// Returns the labels of all links `[TEXT][LABEL]`.
fn linked_labels(text: &str) -> BTreeSet<&str> {
    let labels = text.split("][").skip(1);
    labels.filter_map(|rest| rest.split(']').next()).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let mut named = 0;
    let mut missing = BTreeSet::new();
    for (page, text) in pages() {
        for (program, filter) in named_tests(&text) {
            named += 1;
            let files = rust_files(&repository().join("tests").join(program));
            let file = repository().join("tests").join(format!("{program}.rs"));
            let files = files.iter().chain(file.exists().then_some(&file));
            let mut code = files
                .map(|path| fs::read_to_string(path).unwrap())
                .peekable();
            let is_program = code.peek().is_some();
            if !is_program || !code.any(|code| defines(&code, filter)) {
                missing.insert(format!("{page}: --test {program} {filter}"));
            }
        }
    }
    assert!(named > 10, "{named} tests are named");
    assert_eq!(missing, BTreeSet::new());
    assert!(defines("    async fn a_b_c() {}", "b_c"));
    assert!(!defines("fn a() { b_c() }", "b_c"));
}

/// Returns whether a function of this code has a name with this text.
fn defines(code: &str, filter: &str) -> bool {
    let names = code
        .split("fn ")
        .skip(1)
        .filter_map(|rest| rest.split('(').next());
    names.into_iter().any(|name| name.contains(filter))
}

/// Returns the test program, and the filter of names, of each command `cargo test --test ...`.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let quoted = text
        .split('`')
        .filter(|text| text.starts_with("cargo test "));
    let named = quoted.filter_map(|command| {
        let mut words = command
            .split_whitespace()
            .skip_while(|word| *word != "--test")
            .skip(1);
        let program = words.next()?;
        // A word in capitals stands for any name.
        let filter = words.next().filter(|word| *word != word.to_uppercase());
        Some((program, filter.unwrap_or_default()))
    });
    named.collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Returns the relative targets of links.
fn linked_files(text: &str) -> Vec<String> {
    let links = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let definitions = text.lines().filter_map(definition);
    let links = links.chain(definitions.map(|(_, target)| target));
    let links = links.filter(|link| !link.contains("//"));
    let links = links.map(|link| link.split('#').next().unwrap());
    links
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Returns the paths in backquotes, which are relative to the repository.
fn quoted_files(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let folders = ["benches/", "crates/", "examples/", "src/", "tests/"];
    let quoted = quoted.filter(|text| folders.iter().any(|folder| text.starts_with(folder)));
    let quoted = quoted.filter(|text| !text.contains(char::is_whitespace));
    quoted.map(str::to_owned).collect()
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// The blocks of README and guide. A page without `cargo add` lines needs those of the guide's
/// front page.
fn all_blocks() -> Vec<Block> {
    let (name, text) = readme();
    let mut all = blocks(&name, &text, Vec::new());
    let module = fs::read_to_string(guide().join("mod.rs")).unwrap();
    let docs = module.lines().filter_map(|line| line.strip_prefix("//!"));
    let docs = docs.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let front_page = blocks("guide", &docs.collect::<Vec<_>>().join("\n"), Vec::new());
    let dependencies = front_page.last().unwrap().dependencies.clone();
    assert!(
        !dependencies.is_empty(),
        "the guide's front page has no `cargo add`"
    );
    all.extend(front_page);
    for (name, text) in pages() {
        all.extend(blocks(&name, &text, dependencies.clone()));
    }
    all
}

fn readme() -> (String, String) {
    let text = fs::read_to_string(repository().join("README.md")).unwrap();
    ("README.md".to_owned(), text)
}

/// The name and text of each page of the guide.
fn pages() -> Vec<(String, String)> {
    let entries = fs::read_dir(guide()).unwrap();
    let mut paths = entries
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    assert!(paths.len() >= 10, "{} pages", paths.len());
    let pages = paths.into_iter().map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        (format!("src/guide/{name}"), text)
    });
    pages.collect()
}

fn guide() -> PathBuf {
    repository().join("src/guide")
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
