//! The files that `pinhold doctor` writes.

use std::fs;

use serde_json::Value;

use crate::pki::{Ca, Leaf};
use crate::program::{Folder, pem, pin, run};

/// A folder with the pins of a host, and the chain and the root of its server.
struct Inputs {
    folder: Folder,
    options: Vec<String>,
}

impl Inputs {
    /// `pinned` is pinned beside a backup.
    fn new(root: &Ca, leaf: &Leaf, pinned: &str) -> Self {
        let folder = Folder::new();
        let backup = pin(1);
        let text = format!(
            "{{\"version\": 1, \"policies\": [\n{{\"hosts\": [\"shop.example\"],\n\
             \"pins\": [\"{pinned}\", \"{backup}\"]}}]}}"
        );
        let pins = folder.write("pins.json", text);
        let chain = leaf.chain.iter().map(|it| pem("CERTIFICATE", it));
        let chain = folder.write("chain.pem", chain.collect::<String>());
        let root = folder.write("root.pem", root.pem());
        let options = [
            "doctor",
            "--pins",
            &pins,
            "--offline",
            "--chain",
            &chain,
            "--ca",
            &root,
        ];
        Self {
            options: options.map(str::to_owned).to_vec(),
            folder,
        }
    }

    fn options<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let options = self.options.iter().map(String::as_str);
        options.chain(more.iter().copied()).collect()
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn each_file_states_what_the_exit_code_does() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&["shop.example"]);
    let other = Ca::root("Other").pin().to_string();
    for (pinned, code, failures) in [(root.pin().to_string(), 0, 0), (other, 90, 1)] {
        let inputs = Inputs::new(&root, &leaf, &pinned);
        let [sarif, junit, html] =
            ["pins.sarif", "pins.xml", "pins.html"].map(|name| inputs.folder.path(name));
        let files = [
            "--sarif", &sarif, "--junit", &junit, "--html", &html, "--json",
        ];
        // The second run replaces the files of the first one.
        for _ in 0..2 {
            let json = run(inputs.options(&files)).expect_code(code).json();
            let locked_out = &json["summary"]["locked_out"];
            assert_eq!(*locked_out, Value::from(failures), "{json:#}");
        }
        let failed = read(&junit).matches("<failure ").count();
        assert_eq!(failed, failures, "{}", read(&junit));
        let page = read(&html);
        for name in ["shop.example", &pinned] {
            assert!(page.contains(name), "{name}");
        }
        let log = serde_json::from_str::<Value>(&read(&sarif)).unwrap();
        let results = log["runs"][0]["results"].as_array().unwrap();
        let locked_out = results.iter().filter(|it| it["ruleId"] == "locked-out");
        let locked_out = locked_out.collect::<Vec<_>>();
        assert_eq!(locked_out.len(), failures, "{log:#}");
        for result in locked_out {
            let region = &result["locations"][0]["physicalLocation"]["region"];
            assert_eq!(region["startLine"], 2, "{result:#}");
        }
    }
}

#[test]
fn a_file_that_was_read_is_not_replaced() {
    let root = Ca::root("Root");
    let inputs = Inputs::new(
        &root,
        &root.leaf(&["shop.example"]),
        &root.pin().to_string(),
    );
    let before = inputs.folder.contents();
    for option in ["--sarif", "--junit", "--html"] {
        for name in ["pins.json", "chain.pem", "root.pem"] {
            let input = inputs.folder.path(name);
            run(inputs.options(&[option, &input])).expect_code(2);
        }
        let missing = inputs.folder.path("no/such/folder");
        run(inputs.options(&[option, &missing])).expect_code(1);
    }
    assert_eq!(inputs.folder.contents(), before);
}
