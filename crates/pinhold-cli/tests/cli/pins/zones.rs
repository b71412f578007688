//! TLSA records among the other lines of a zone file.

use serde_json::{Value, json};

use crate::pins::kit::{A, B, assert_read, convert};

/// The pin [`A`] in hexadecimal digits.
const HEX_A: &str = "0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3";
/// The pin [`B`] in hexadecimal digits.
const HEX_B: &str = "762195c225586ee6c0237456e2107dc54f1efc21f61a792ebd515913cce68332";

/// Reads a zone with `{a}` and `{b}` replaced by records, and expects these policies and losses.
#[track_caller]
fn assert_zone(zone: &str, policies: &Value, losses: &[&str]) {
    assert_read("tlsa", &with_records(zone), policies, losses);
}

fn with_records(zone: &str) -> String {
    let zone = zone.replace("{a}", &format!("TLSA 1 1 1 {HEX_A}"));
    zone.replace("{b}", &format!("TLSA 1 1 1 {HEX_B}"))
}

fn policy(host: &str, pin: &str) -> Value {
    json!({ "hosts": [host], "leaf_pins": [pin], "without_backup": true })
}

#[test]
fn a_record_without_owner_has_that_of_the_record_before() {
    let zone = "$ORIGIN example.com.\n_443._tcp.a {a}\n_443._tcp.b TXT \"x\"\n  IN {b}\n";
    let policies = json!([policy("a.example.com", A), policy("b.example.com", B)]);
    assert_zone(zone, &policies, &["port"]);
}

#[test]
fn an_origin_is_relative_to_the_origin_before() {
    let zone =
        "$ORIGIN example.com.\n$ORIGIN www\n_443._tcp {a}\n$ORIGIN .\n_443._tcp.b.example {b}";
    let policies = json!([policy("www.example.com", A), policy("b.example", B)]);
    assert_zone(zone, &policies, &["port"]);
    for zone in ["$ORIGIN www\n_443._tcp {a}", "_443._tcp.www {a}"] {
        convert("tlsa", "pin-file", &with_records(zone), &[])
            .expect_code(2)
            .json();
    }
    let zone = "_443._tcp.www.example.com {a}";
    assert_zone(zone, &json!([policy("www.example.com", A)]), &["port"]);
}

#[test]
fn quoted_parentheses_and_comments_are_text() {
    let zone = "_443._tcp.a.example. TXT \"( ; \\\" (\"\n_443._tcp.a.example. {a}\n";
    assert_zone(zone, &json!([policy("a.example", A)]), &["port"]);
    for zone in [
        "_443._tcp.a.example. {a}\nb TXT (",
        "_443._tcp.a.example. {a} )",
    ] {
        convert("tlsa", "pin-file", &with_records(zone), &[]).expect_code(2);
    }
}

#[test]
fn a_type_in_the_data_of_another_record_is_none() {
    let zone = "_443._tcp.a.example. 1h IN {a}\n_443._tcp.a.example. IN 3600 RRSIG TLSA 8 5 3600\n\
                _443._tcp.a.example. NSEC b.example. TLSA RRSIG\nTLSA A 192.0.2.1\n";
    assert_zone(zone, &json!([policy("a.example", A)]), &["port"]);
}

#[test]
fn records_that_are_not_read_are_stated() {
    let policies = json!([policy("a.example", A)]);
    for other in [
        "_443._tcp.b.example. TYPE52 \\# 35 010101",
        "_443._tcp.b.example. TLSA \\# 35 010101",
        "$INCLUDE other.zone",
        "$GENERATE 1-2 _443._tcp.b$.example. {b}",
        "*.b.example. {b}",
        "_443._udp.b.example. {b}",
        "_https._tcp.b.example. {b}",
        "@ {b}",
    ] {
        let zone = format!("_443._TCP.a.example. {{a}}\n{other}\n");
        assert_zone(&zone, &policies, &["ignored", "port"]);
    }
}

#[test]
fn records_of_other_ports_are_left_out() {
    let zone = "_443._tcp.a.example. {a}\n_25._tcp.a.example. {b}\n_25._tcp.b.example. {b}\n";
    assert_zone(zone, &json!([policy("a.example", A)]), &["port"]);
    let json = convert("tlsa", "pin-file", &with_records(zone), &[]).json();
    let losses = json["losses"].as_array().unwrap().iter();
    let hosts = losses.map(|it| &it["host"]).collect::<Vec<_>>();
    assert_eq!(
        hosts,
        [&json!("a.example"), &json!("b.example"), &Value::Null]
    );
}
