use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use pinhold::policy::Scope;
use pinhold::{Host, UserAddedRoots};
use tokio::time::Instant;

use super::test_server::{Answer, DnsServer};
use super::*;
use crate::peer::Timeout;

fn subject(name: &str) -> Subject {
    Subject {
        host: Host::parse(name).unwrap(),
        scope: Scope::Host,
        source: String::new(),
        probe: Probe::Name(Host::parse(name).unwrap()),
        port: 443,
        groups: Vec::new(),
        expiry: None,
        staleness: None,
        is_enforced: true,
        refused_keys: Vec::new(),
        user_added_roots: UserAddedRoots::SkipPins,
    }
}

async fn found(server: &DnsServer, names: &[&str], limit: Duration) -> Vec<Caa> {
    let options = Options {
        resolver: vec![NameServer(server.address)],
        no_dns: false,
    };
    let subjects = names.iter().map(|name| subject(name)).collect::<Vec<_>>();
    let mut observations = subjects.iter().map(|_| Observations::default());
    let mut observations = observations.by_ref().collect::<Vec<_>>();
    let deadline = Deadline::after(Some(Timeout(limit)));
    let queries = Queries::start(&subjects, &options, deadline);
    queries.add(&mut observations).await;
    observations.into_iter().map(|it| it.caa).collect()
}

/// Returns what is found for one name.
async fn one(answers: &[(&'static str, Answer)], name: &str) -> Caa {
    let server = DnsServer::start(answers).await;
    found(&server, &[name], LIMIT).await.remove(0)
}

/// Longer than any of these queries takes.
const LIMIT: Duration = Duration::from_secs(30);

fn issue(issuer: &'static str) -> Answer {
    Answer::Caa(vec![(0, "issue", issuer)])
}

fn permitted(domain: &str, issuers: &[&str]) -> Caa {
    Caa::Found {
        domain: domain.to_owned(),
        issue: issuers.iter().map(|it| (*it).to_owned()).collect(),
        issue_wild: None,
    }
}

#[track_caller]
fn assert_failed(caa: &Caa, reason: &str) {
    assert!(
        matches!(caa, Caa::Failed(text) if text.contains(reason)),
        "{caa:?}"
    );
}

#[tokio::test]
async fn the_closest_domain_with_records_applies_and_each_domain_is_queried_once() {
    let answers = [
        ("shop.example", issue("ca1.example")),
        ("api.shop.example", Answer::Code(ResponseCode::NoError)),
        ("example", issue("ca2.example")),
    ];
    let server = DnsServer::start(&answers).await;
    let names = [
        "v1.api.shop.example",
        "v2.api.shop.example",
        "shop.example",
        "other.example",
    ];
    let found = found(&server, &names, LIMIT).await;
    let expected = [
        permitted("shop.example", &["ca1.example"]),
        permitted("shop.example", &["ca1.example"]),
        permitted("shop.example", &["ca1.example"]),
        permitted("example", &["ca2.example"]),
    ];
    assert_eq!(found, expected);
    let expected = [
        "udp api.shop.example",
        "udp example",
        "udp other.example",
        "udp shop.example",
        "udp v1.api.shop.example",
        "udp v2.api.shop.example",
    ];
    assert_eq!(server.queries(), expected);
}

#[tokio::test]
async fn without_records_up_to_the_top_level_domain_every_ca_may_issue() {
    let server = DnsServer::start(&[]).await;
    let found = found(&server, &["www.shop.example"], LIMIT).await;
    assert_eq!(found, [Caa::Absent]);
    let expected = ["udp example", "udp shop.example", "udp www.shop.example"];
    assert_eq!(server.queries(), expected);
}

#[tokio::test]
async fn an_alias_is_followed_and_climbing_continues_at_the_name_itself() {
    let answers = [
        ("www.shop.example", Answer::Alias("edge.cdn.example.")),
        ("edge.cdn.example", issue("ca1.example")),
        ("api.shop.example", Answer::Alias("none.cdn.example.")),
        ("cdn.example", issue("ca2.example")),
        ("shop.example", issue("ca3.example")),
    ];
    let caa = one(&answers, "www.shop.example").await;
    assert_eq!(caa, permitted("www.shop.example", &["ca1.example"]));
    // RFC 8659 section 3: the parents of the target are not searched.
    let caa = one(&answers, "api.shop.example").await;
    assert_eq!(caa, permitted("shop.example", &["ca3.example"]));
}

#[tokio::test]
async fn two_names_with_one_alias_have_its_records() {
    let answers = [
        ("a.example", Answer::Alias("edge.cdn.example.")),
        ("b.example", Answer::Alias("edge.cdn.example.")),
        ("edge.cdn.example", issue("ca1.example")),
    ];
    let server = DnsServer::start(&answers).await;
    let both = found(
        &server,
        &["a.example", "b.example", "edge.cdn.example"],
        LIMIT,
    )
    .await;
    let expected = ["a.example", "b.example", "edge.cdn.example"];
    assert_eq!(both, expected.map(|it| permitted(it, &["ca1.example"])));
}

#[tokio::test]
async fn an_alias_to_itself_is_not_followed_forever() {
    let answers = [("a.example", Answer::Alias("a.example."))];
    let caa = one(&answers, "a.example").await;
    assert!(matches!(caa, Caa::Absent | Caa::Failed(_)), "{caa:?}");
}

#[tokio::test]
async fn a_server_failure_is_not_the_absence_of_records() {
    for (code, reason) in [
        (ResponseCode::ServFail, "SERVFAIL"),
        (ResponseCode::Refused, "Refused"),
        (ResponseCode::NotImp, "Implement"),
    ] {
        let answers = [
            ("shop.example", Answer::Code(code)),
            ("example", issue("ca1.example")),
        ];
        assert_failed(&one(&answers, "www.shop.example").await, reason);
    }
}

#[tokio::test]
async fn a_truncated_answer_is_repeated_by_tcp() {
    let records = vec![(0, "issue", "ca1.example"), (0, "issue", "ca2.example")];
    let server = DnsServer::start(&[("shop.example", Answer::CaaByTcp(records))]).await;
    let found = found(&server, &["shop.example"], LIMIT).await;
    let expected = permitted("shop.example", &["ca1.example", "ca2.example"]);
    assert_eq!(found, [expected]);
    let expected = ["tcp shop.example", "udp shop.example"];
    assert_eq!(server.queries(), expected);
}

#[tokio::test]
async fn a_server_without_an_answer_delays_the_command_no_longer_than_its_limit() {
    let answers = [
        ("shop.example", Answer::Nothing),
        ("bank.example", issue("ca1.example")),
    ];
    let server = DnsServer::start(&answers).await;
    let begun = Instant::now();
    let names = ["shop.example", "bank.example"];
    let found = found(&server, &names, Duration::from_millis(500)).await;
    assert_failed(&found[0], "did not answer in time");
    assert_eq!(found[1], permitted("bank.example", &["ca1.example"]));
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn an_answer_that_is_not_dns_is_not_the_absence_of_records() {
    let answers = [("shop.example", Answer::NotDns)];
    let server = DnsServer::start(&answers).await;
    let found = found(&server, &["shop.example"], Duration::from_secs(1)).await;
    assert!(matches!(found[0], Caa::Failed(_)), "{found:?}");
}

#[tokio::test]
async fn properties_are_read_as_rfc_8659_defines_them() {
    let records = vec![
        (0, "ISSUE", "CA1.example; account=230123"),
        (0, "issue", "ca1.example"),
        (0, "issue", ";"),
        (1, "IssueWild", ";"),
        (128, "iodef", "mailto:ca@shop.example"),
        (0, "future", "unknown"),
    ];
    let caa = one(&[("shop.example", Answer::Caa(records))], "shop.example").await;
    let expected = Caa::Found {
        domain: "shop.example".to_owned(),
        issue: vec!["ca1.example".to_owned()],
        issue_wild: Some(Vec::new()),
    };
    assert_eq!(caa, expected);
}

#[tokio::test]
async fn an_empty_issuer_forbids_and_no_issuer_property_permits() {
    let caa = one(&[("shop.example", issue(";"))], "shop.example").await;
    assert_eq!(caa, permitted("shop.example", &[]));
    let records = vec![(0, "iodef", "mailto:ca@shop.example")];
    let answers = [
        ("shop.example", Answer::Caa(records)),
        ("example", issue(";")),
    ];
    let expected = Caa::Unrestricted {
        domain: "shop.example".to_owned(),
        issue_wild: None,
    };
    assert_eq!(one(&answers, "www.shop.example").await, expected);
    let records = vec![(0, "issuewild", "ca1.example")];
    let caa = one(&[("shop.example", Answer::Caa(records))], "shop.example").await;
    let expected = Caa::Unrestricted {
        domain: "shop.example".to_owned(),
        issue_wild: Some(vec!["ca1.example".to_owned()]),
    };
    assert_eq!(caa, expected);
}

#[tokio::test]
async fn an_unknown_critical_property_forbids() {
    let records = vec![(0, "issue", "ca1.example"), (128, "future", "x")];
    let answers = [("shop.example", Answer::Caa(records))];
    assert_failed(&one(&answers, "www.shop.example").await, "\"future\"");
}

#[tokio::test]
async fn a_name_with_too_many_labels_is_not_queried() {
    let server = DnsServer::start(&[]).await;
    let name = format!("{}example", "a.".repeat(16));
    let found = found(&server, &[&name], LIMIT).await;
    assert_failed(&found[0], "16 labels");
    assert_eq!(server.queries(), [""; 0]);
}

#[tokio::test]
async fn nothing_is_queried_without_dns() {
    let server = DnsServer::start(&[]).await;
    let options = Options {
        resolver: vec![NameServer(server.address)],
        no_dns: true,
    };
    let deadline = Deadline::after(None);
    let queries = Queries::start(&[subject("shop.example")], &options, deadline);
    let mut observations = [Observations::default()];
    queries.add(&mut observations).await;
    assert_eq!(observations[0].caa, Caa::NotQueried);
    assert_eq!(server.queries(), [""; 0]);
}
