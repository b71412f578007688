//! Rejects retired words in the code, the documents and the texts of the command line. They were
//! metaphors, or words that only this project used, and a reader had to guess what they mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Words that no identifier contains, each with its replacement.
const RETIRED_WORDS: &[(&str, &str)] = &[
    ("afresh", "without_resumption"),
    ("ask", "request, query, check"),
    ("asked", "requested, queried, checked"),
    ("asks", "requests, queries, checks"),
    ("bystander", "unused pinned certificate"),
    ("foreign", "other, unrelated"),
    ("forgo", "disable_resumption"),
    ("heard", "received"),
    ("hurry", "skip_backoff"),
    ("mend", "repair"),
    ("mended", "repaired"),
    ("mends", "repairs"),
    ("nobody", "no one, or name what is missing"),
    ("outbound", "transport"),
    ("outdated", "stale"),
    ("patience", "timeout"),
    ("speaker", "ResponseSource"),
    ("speaks", "applies to"),
    ("tell", "emit, report"),
    ("telling", "emitting, reporting"),
    ("tells", "emits, reports"),
    ("tied", "TrackedConnection"),
    ("ties", "ConnectionMap"),
    ("told", "emitted, reported"),
    ("trial", "candidate, report-only"),
    ("trouble", "error"),
    ("unproved", "unverifiable"),
    ("voice", "name what is meant"),
    ("whoever", "name the party"),
    ("witness", "record_connection"),
];

/// Words that no document and no message contains, each with its replacement.
const RETIRED_IN_PROSE: &[(&str, &str)] = &[
    ("careless", "other"),
    ("somebody", "another party"),
    ("someone", "another party"),
    ("vouch", "issue"),
    ("vouches", "issues"),
];

/// Names that no item, field or variant has, each with its replacement. Local variables may have
/// them, and longer names may contain them.
const RETIRED_NAMES: &[(&str, &str)] = &[
    ("Audience", "Observers"),
    ("Damage", "Corruption"),
    ("EndpointProblem", "EndpointError"),
    ("Handed", "ParsedAnchor"),
    ("HasCome", "ReadyResponse"),
    ("Held", "PinCheck"),
    ("Judged", "Verdict"),
    ("LOCAL_FOLDERS", "LOCAL_ROOT_DIRS"),
    ("RepeatLayer", "PinRetryLayer"),
    ("ReportUris", "ReportUriPolicy"),
    ("Retiring", "OpenConnections"),
    ("Said", "CachedHeader"),
    ("Seen", "TrackedConnection"),
    ("Standing", "PolicyState"),
    ("Trail", "RedirectState"),
    ("damage", "corruption"),
    ("durable_within", "storage_timeout"),
    ("handed", "parsed"),
    ("held", "checked"),
    ("hold", "ensure_valid"),
    ("is_proved", "handshake_verified"),
    ("look_through", "reject_unsupported"),
    ("of_application", "static_policy"),
    ("pause", "backoff"),
    ("remote_pins", "pin bundle"),
    ("said", "cached_header"),
    ("session_gate", "resumption check"),
    ("signature_memory", "signature_cache"),
    ("standing", "state"),
    ("tie", "associate"),
    ("trail", "redirects"),
    ("user_added_in", "mark_user_added_from"),
    (
        "verifier_without_session_gate",
        "verifier_without_resumption_check",
    ),
    ("wrapping", "with_inner_verifier"),
];

/// Names that no file of the library has, each with its replacement.
const RETIRED_FILES: &[(&str, &str)] = &[
    ("finding", "error"),
    ("local_roots", "provenance"),
    ("repeat", "retry"),
    ("retiring", "open_connections"),
    ("sent", "rate_limit"),
    ("signatures", "signature_cache"),
];

#[test]
fn no_name_is_retired() {
    let mut found = Vec::new();
    for (path, code) in code_files() {
        let names = retired_names(&path, &code).into_iter();
        found.extend(names.map(|name| format!("{path}: {name}")));
    }
    assert!(found.is_empty(), "retired names:\n{}", found.join("\n"));
}

/// Returns the retired names in a file, each with its replacement.
fn retired_names(path: &str, code: &str) -> BTreeSet<String> {
    let find = |list: &[(&str, &str)], name: &str| {
        let entry = list.iter().find(|(retired, _)| *retired == name);
        entry.map(|(retired, better)| format!("`{retired}` (now: {better})"))
    };
    let mut found = BTreeSet::new();
    for identifier in identifiers(code) {
        let words = words(identifier).into_iter();
        let retired = words.filter_map(|word| find(RETIRED_WORDS, &word));
        found.extend(retired.map(|word| format!("{identifier} contains {word}")));
    }
    found.extend(declared_names(code).filter_map(|name| find(RETIRED_NAMES, name)));
    if path.starts_with("src/") {
        let stem = Path::new(path).file_stem().unwrap().to_str().unwrap();
        found.extend(find(RETIRED_FILES, stem));
    }
    found
}

#[test]
fn no_word_of_the_documents_is_retired() {
    let mut found = Vec::new();
    for (path, text) in documents() {
        let words = retired_in_prose(&text).into_iter();
        found.extend(words.map(|word| format!("{path}: {word}")));
    }
    assert!(found.is_empty(), "retired words:\n{}", found.join("\n"));
    let text = "A clock.\n```rust\ntell();\n```\n`ties` it: Nobody\n/// hears a voice-over.";
    let found = retired_in_prose(text).into_iter().collect::<Vec<_>>();
    assert_eq!(found.len(), 2, "{found:?}");
    let code = "/// Docs.\nfn told() { print(\"a \\\"b\\\" text\"); } // no text\n";
    assert_eq!(texts(code), " Docs.\na \\\"b\\\" text\n");
}

/// Returns the retired words of a text, each with its replacement. Code is no prose.
fn retired_in_prose(text: &str) -> BTreeSet<String> {
    let outside = text.split("\n```").step_by(2);
    let prose = outside.flat_map(|part| part.split('`').step_by(2));
    let words = prose.flat_map(|part| part.split(|char: char| !char.is_ascii_alphanumeric()));
    let words = words.map(str::to_ascii_lowercase);
    let mut found = BTreeSet::new();
    for word in words {
        // A reader can be advised to ask the operator of a server; no program asks another one.
        let lists = RETIRED_WORDS.iter().filter(|(word, _)| *word != "ask");
        let mut lists = lists.chain(RETIRED_IN_PROSE);
        if let Some((retired, better)) = lists.find(|(retired, _)| *retired == word) {
            found.insert(format!("`{retired}` (now: {better})"));
        }
    }
    found
}

/// README, guide and changelog, and the texts of the command line: its README, the documentation of
/// its arguments, and what it prints.
fn documents() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = BTreeMap::new();
    for path in ["README.md", "CHANGELOG.md", "crates/pinhold-cli/README.md"] {
        let text = fs::read_to_string(root.join(path)).unwrap();
        documents.insert(path.to_owned(), text);
    }
    let mut folders = vec![root.join("src/guide"), root.join("crates/pinhold-cli/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let is_code = path.extension().is_some_and(|extension| extension == "rs");
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            let text = if is_code { texts(&text) } else { text };
            documents.insert(name.replace('\\', "/"), text);
        }
    }
    assert!(documents.len() > 30, "found {} documents", documents.len());
    documents
}

/// The documentation and the string literals of code, one a line.
fn texts(code: &str) -> String {
    let mut texts = String::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_doc = rest.starts_with("///") || rest.starts_with("//!");
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            string_end(rest)
        } else if first == '\'' {
            char_end(rest)
        } else {
            0
        };
        let (text, after) = rest.split_at(length.max(first.len_utf8()));
        if is_doc {
            texts.push_str(&text[3..]);
            texts.push('\n');
        } else if first == '"' {
            texts.push_str(text.trim_matches('"'));
            texts.push('\n');
        }
        rest = after;
    }
    texts
}

#[test]
fn names_are_found_in_code_only() {
    let code = without_text(
        "// fn in_comment() {}\n\
         /// Docs.\n\
         pub(crate) struct FirstSeen<T: Fn(u8) -> u8> {\n\
             #[cfg(test)] pub(crate) held: Vec<(u8, u8)>,\n\
             rest: \"fn in_text() {}\",\n\
         }\n\
         enum Kind { Said, Other { inner: char }, Third(u8, u8) }\n\
         mod sent; const QUOTE: char = '\"'; fn told<'a>(seen: &'a str) { let pause = r#\"\"#; }",
    );
    assert_eq!(
        declared_names(&code).collect::<Vec<_>>(),
        [
            "FirstSeen",
            "held",
            "rest",
            "Kind",
            "Said",
            "Other",
            "Third",
            "sent",
            "QUOTE",
            "told"
        ]
    );
    assert!(identifiers(&code).any(|name| name == "pause"));
    assert!(!identifiers(&code).any(|name| name.starts_with("in_")));
    for (name, expected) in [
        ("FirstSeen", ["first", "seen"].as_slice()),
        ("told_by", &["told", "by"]),
        ("MAX_SENT", &["max", "sent"]),
        ("HTTPReporter", &["http", "reporter"]),
        ("Sha256", &["sha256"]),
        ("r#type", &["r", "type"]),
    ] {
        assert_eq!(words(name), expected, "{name}");
    }
}

/// The words of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in name.split(|char: char| !char.is_ascii_alphanumeric()) {
        let chars = part.chars().collect::<Vec<_>>();
        let mut word = String::new();
        for (at, char) in chars.iter().enumerate() {
            let after_lower = at > 0 && !chars[at - 1].is_ascii_uppercase();
            let before_lower = chars.get(at + 1).is_some_and(char::is_ascii_lowercase);
            if char.is_ascii_uppercase() && (after_lower || before_lower) && !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            word.push(char.to_ascii_lowercase());
        }
        if !word.is_empty() {
            words.push(word);
        }
    }
    words
}

fn is_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

fn identifiers(code: &str) -> impl Iterator<Item = &str> {
    code.split(|char| !is_name(char))
        .filter(|word| word.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_'))
}

/// The names of items, and of the fields and variants of types.
fn declared_names(code: &str) -> impl Iterator<Item = &str> {
    let tokens = tokens(code);
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = tokens.get(at + 1).filter(|name| name.starts_with(is_name)) else {
            continue;
        };
        match *token {
            "fn" | "mod" | "trait" | "type" | "const" | "static" => names.push(*name),
            "struct" | "enum" | "union" => {
                names.push(*name);
                names.extend(members(&tokens[at + 2..]));
            }
            _ => {}
        }
    }
    names.into_iter()
}

/// Splits code into names and single other characters, without white space.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match rest.find(|char| !is_name(char)) {
            Some(0) => first.len_utf8(),
            end => end.unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

/// The fields or variants of a type, of which the tokens after its name are given.
fn members<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut in_body = false;
    let mut expects_name = false;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            // A tuple or unit type, or one with a body before which nothing else opens a brace.
            ";" if depth == 0 => break,
            "{" if depth == 0 => {
                (in_body, expects_name) = (true, true);
                depth = 1;
            }
            "(" | "[" | "{" => depth += 1,
            // The `>` of an arrow is not a bracket.
            "<" => depth += 1,
            ">" if tokens[at - 1] == "-" => {}
            ")" | "]" | "}" | ">" => {
                depth -= 1;
                if in_body && depth == 0 {
                    break;
                }
            }
            "," if depth == 1 && in_body => expects_name = true,
            "#" | "pub" => {}
            name if in_body && depth == 1 && expects_name && name.starts_with(is_name) => {
                names.push(name);
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

/// The code without comments, strings and characters.
fn without_text(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            string_end(rest)
        } else if first == 'r' && !kept.ends_with(is_name) {
            raw_string_end(rest)
        } else if first == '\'' {
            char_end(rest)
        } else {
            0
        };
        if skipped == 0 {
            kept.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            kept.push(' ');
            rest = &rest[skipped..];
        }
    }
    kept
}

fn string_end(rest: &str) -> usize {
    let mut escaped = true;
    for (at, char) in rest.char_indices() {
        match char {
            '"' if !escaped => return at + 1,
            _ => escaped = char == '\\' && !escaped,
        }
    }
    rest.len()
}

/// Returns the length of the raw string at the beginning, or zero if there is none.
fn raw_string_end(rest: &str) -> usize {
    let hashes = rest[1..].chars().take_while(|char| *char == '#').count();
    if !rest[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = hashes + 2;
    rest[begin..]
        .find(&end)
        .map_or(rest.len(), |at| begin + at + end.len())
}

/// Returns the length of the character literal at the beginning, or zero if it is a lifetime.
fn char_end(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let (_, char) = chars.next().unwrap_or_default();
    let (at, after) = chars.next().unwrap_or_default();
    if char == '\\' {
        // The escaped character may be a quote.
        let begin = at + after.len_utf8();
        return rest[begin..]
            .find('\'')
            .map_or(rest.len(), |end| begin + end + 1);
    }
    if after == '\'' { at + 1 } else { 0 }
}

/// Every Rust file of the repository but this one: its path, and its code without comments and
/// texts.
fn code_files() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    let mut folders = Vec::<PathBuf>::new();
    folders.extend(
        ["src", "tests", "benches", "examples", "crates", "fuzz"].map(|name| root.join(name)),
    );
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                let code = without_text(&fs::read_to_string(&path).unwrap());
                files.insert(name.replace('\\', "/"), code);
            }
        }
    }
    assert!(files.len() > 100, "found {} files", files.len());
    files
}
