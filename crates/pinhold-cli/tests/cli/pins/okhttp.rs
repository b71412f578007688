//! Sources of Kotlin and of Java with more in them than chained calls with literals.

use serde_json::{Value, json};

use crate::pins::kit::{A, B, C, assert_read, convert, filled, kinds};

fn policy(host: &str, pin: &str) -> Value {
    json!({ "hosts": [host], "pins": [pin], "without_backup": true })
}

#[test]
fn calls_in_the_scope_of_a_builder_are_read() {
    let input = r#"val pinner = CertificatePinner.Builder().apply {
            add("b.example", "sha256/{A}")
            this.add("c.example", "sha256/{B}")
        }.build()
        fun other(b: Other) = with(pinners(b)) { add("d.example", "sha256/{C}") }
        pinners.add(CertificatePinner.of(builder.add("e.example", "sha256/{A}").build()))"#;
    let policies = json!([
        policy("b.example", A),
        policy("c.example", B),
        policy("d.example", C),
        policy("e.example", A),
    ]);
    assert_read("okhttp", input, &policies, &[]);
}

#[test]
fn literals_and_comments_hide_no_calls() {
    let policies = json!([policy("a.example", A)]);
    let call = r#".add("a.example", "sha256/{A}")"#;
    for before in [
        r#"val quote = '"'"#,
        r#"val quotes = "'" + '\'' + '"' + '\"' + '\u0022'"#,
        r#"val raw = """odd " quote""""#,
        r#"val raw = """
            // one " /*
            """"#,
        r#"val raw = """quotes at the end """""""#,
        r#"fun `it's an odd " name`() = 1"#,
        r#"/* /* */ .add("gone.example", "sha256/{B}") */"#,
        r#"// CertificatePinner.Builder of "one"#,
        r#"/* Java: /* */"#,
        r#"val open = "never closed"#,
        r#"Headers.Builder().add("Content-Type", "application/json").build()"#,
        "fun add(one: Int, two: Int) = one + two",
        "int add(int one, int two) { return one; }",
    ] {
        let input = format!("{before}\nval pinner = CertificatePinner.Builder()\n{call}");
        assert_read("okhttp", &input, &policies, &[]);
        let input = format!("import okhttp3.CertificatePinner\n{before}\n{call}");
        assert_read("okhttp", &input, &policies, &[]);
    }
    let raw = r#".add("""a.example""", """sha256/{A}""")"#;
    assert_read("okhttp", raw, &policies, &[]);
}

#[test]
fn a_pin_that_is_in_no_call_is_stated() {
    let call = "CertificatePinner.Builder().add(\"a.example\", \"sha256/{A}\")";
    let policies = json!([policy("a.example", A)]);
    for (other, line) in [
        ("val pins = mapOf(\"b.example\" to \"sha256/{B}\")", 2),
        ("\nconst val PIN = \"sha256/{B}\"", 3),
        ("val pin = \"sha1/AAAA\"", 2),
        ("val pins = \"\"\"\n    sha256/{B}\n\"\"\".lines()", 3),
        ("val pin = \"${of(\"sha256/{B}\")}\"", 2),
        ("pinner.add(\"b.example\", *arrayOf(\"sha256/{B}\"))", 2),
        ("with(b) { add(\"b.example\", PIN) }", 2),
        ("pinner.add(HOST, PIN)", 2),
    ] {
        let input = format!("{call}\n{other}");
        assert_read("okhttp", &input, &policies, &["ignored"]);
        let json = convert("okhttp", "pin-file", &filled(&input), &[]).json();
        let losses = json["losses"].as_array().unwrap();
        let detail = losses[0]["detail"].as_str().unwrap();
        assert!(
            losses.len() == 1 && detail.starts_with(&format!("line {line}: ")),
            "{json:#}"
        );
    }
}

#[test]
fn two_builders_are_united_and_it_is_stated() {
    let input = r#"val one = CertificatePinner.Builder().add("a.example", "sha256/{A}").build()
        val two = CertificatePinner.Builder().add("a.example", "sha256/{B}").build()"#;
    let policies = json!([{ "hosts": ["a.example"], "pins": [A, B] }]);
    assert_read("okhttp", input, &policies, &["overlap"]);
}

#[test]
fn a_host_with_sha1_pins_only_is_not_pinned() {
    let input = filled(
        r#".add("a.example", "sha256/{A}").add("*.b.example", "sha1/AAAA").add("a.example", "sha1/AAAA")"#,
    );
    let json = convert("okhttp", "pin-file", &input, &[])
        .expect_code(0)
        .json();
    assert_eq!(kinds(&json), ["algorithm"]);
    let losses = json["losses"].as_array().unwrap().iter();
    let unpinned = losses.filter(|loss| {
        let detail = loss["detail"].as_str().unwrap();
        detail == "*.b.example: no pin is left: it is not pinned"
    });
    let hosts = unpinned.map(|loss| &loss["host"]).collect::<Vec<_>>();
    assert_eq!(hosts, ["b.example"], "{json:#}");
}
