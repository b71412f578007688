//! `pinhold completions` and `pinhold man`.

use crate::program::run;

const COMMANDS: [&str; 11] = [
    "bundle",
    "completions",
    "explain",
    "fingerprint",
    "get",
    "header",
    "key",
    "man",
    "pins",
    "self-test",
    "store",
];
const ACTIONS: [&str; 6] = ["check", "clear", "forget", "list", "query", "recover"];

#[test]
fn completions_of_every_shell_name_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = run(["completions", shell]).expect_code(0);
        assert_eq!(run.stderr, "");
        for name in COMMANDS.iter().chain(&ACTIONS) {
            assert!(run.text().contains(name), "{shell} lacks {name}");
        }
        for option in ["timeout", "syntax", "fail"] {
            assert!(run.text().contains(option), "{shell} lacks --{option}");
        }
    }
    run(["completions", "unknown"]).expect_code(2);
    run(["completions"]).expect_code(2);
}

#[test]
fn the_man_page_has_every_command_with_its_options() {
    let run = run(["man"]).expect_code(0);
    assert_eq!(run.stderr, "");
    let page = run.text();
    assert!(page.contains(".TH pinhold 1"), "the title");
    for name in COMMANDS {
        let section = format!(".SH \"PINHOLD {}\"", name.to_uppercase());
        assert!(page.contains(&section), "{name}");
    }
    for action in ACTIONS {
        let section = format!(".SH \"PINHOLD STORE {}\"", action.to_uppercase());
        assert!(page.contains(&section), "{action}");
    }
    for action in ["CHECK", "CONVERT", "DIFF"] {
        let section = format!(".SH \"PINHOLD PINS {action}\"");
        assert!(page.contains(&section), "{action}");
    }
    let bundle = [
        "INIT-ROOT",
        "ADD-KEY",
        "ROLL-ROOT",
        "TBS",
        "SIGN",
        "ATTACH",
        "VERIFY",
        "SHOW",
    ];
    for action in bundle {
        let section = format!(".SH \"PINHOLD BUNDLE {action}\"");
        assert!(page.contains(&section), "{action}");
    }
    for text in ["timeout", "no_proxy", "EXIT CODES", "EXAMPLES"] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(page.matches(".TH ").count(), 1, "one page");
}
