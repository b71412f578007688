//! Exports, read by other parsers, and what they must not contain.

use std::collections::BTreeMap;

use pinhold::health::{Health, HealthOptions, HostNames};
use pinhold::policy::AfterExpiry;
use pinhold::{PinStore, Pinning, TrustAnchors};

use crate::common::{DAY, NOW, at};
use crate::world::{App, HOST, World};

/// An application with a policy that expires, a skipped and a refused connection, and a candidate.
async fn app(world: &World, names: HostNames) -> App {
    let options = HealthOptions::new("1.4.2 (beta)").host_names(names);
    let builder = Pinning::builder()
        .store(PinStore::in_memory())
        .health(options);
    let policy = world
        .policy([0, 1])
        .expires(at(NOW + 20 * DAY), AfterExpiry::Refuse);
    let candidate = world.policy([1, 2]);
    let policy = policy.candidate(candidate.pins().iter().copied()).unwrap();
    let app = world.build(builder.static_pins(HOST, policy));
    app.connect_on(world, [0, 1, 1]).await;
    let user_added = TrustAnchors::new().with_user_added([world.root.certificate()]);
    world.serve(2);
    assert!(app.connect_with(world, user_added.unwrap()).await);
    assert!(!app.connect(world).await);
    app
}

/// The labels and the value of a sample.
type Sample = (BTreeMap<String, String>, f64);

/// Returns the samples of a text in the format 0.0.4, and fails for any other text.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Vec<Sample>> {
    let mut samples = BTreeMap::<_, Vec<_>>::new();
    let mut declared = String::new();
    assert!(text.ends_with('\n') && text.is_ascii());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty() && !samples.contains_key(name), "{line}");
            declared = name.to_owned();
            continue;
        }
        if let Some(declaration) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declaration.split_once(' ').unwrap();
            assert_eq!(name, declared);
            let is_counter = name.ends_with("_total");
            assert_eq!(kind, if is_counter { "counter" } else { "gauge" });
            samples.insert(name.to_owned(), Vec::new());
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        assert_eq!(name, declared, "samples follow their declaration");
        let (labels, value) = rest.rsplit_once("} ").unwrap();
        let labels = labels.split("\",").map(|label| {
            let (label, value) = label.split_once("=\"").unwrap();
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(label.bytes().all(is_name), "{line}");
            (label.to_owned(), value.trim_end_matches('"').to_owned())
        });
        let labels = labels.collect::<BTreeMap<_, _>>();
        assert!(labels.values().all(|value| !value.contains(['"', '\\'])));
        let of_name = samples.get_mut(name).unwrap();
        assert!(of_name.iter().all(|(known, _)| *known != labels), "{line}");
        of_name.push((labels, value.parse().unwrap()));
    }
    samples
}

#[tokio::test]
async fn the_text_for_prometheus_is_as_written_here() {
    let world = World::new().await;
    let health = app(&world, HostNames::Include).await.pinning.health();
    let mut pins = [world.pin(0), world.pin(1)];
    pins.sort();
    let day = (NOW / DAY + 1) * DAY;
    let seen = pins.map(|pin| if pin == world.pin(0) { day } else { 0 });
    let expected = format!(
        r#"# HELP pinhold_connections_total Connections to pinned hosts, by what the pins decided.
# TYPE pinhold_connections_total counter
pinhold_connections_total{{app_version="1.4.2 (beta)",host="{HOST}",outcome="passed"}} 3
pinhold_connections_total{{app_version="1.4.2 (beta)",host="{HOST}",outcome="refused"}} 1
pinhold_connections_total{{app_version="1.4.2 (beta)",host="{HOST}",outcome="skipped"}} 1
pinhold_connections_total{{app_version="1.4.2 (beta)",host="{HOST}",outcome="would_be_refused"}} 0
# HELP pinhold_candidate_connections_total Connections by what candidate pins would decide.
# TYPE pinhold_candidate_connections_total counter
pinhold_candidate_connections_total{{app_version="1.4.2 (beta)",host="{HOST}",outcome="candidate_passed"}} 1
pinhold_candidate_connections_total{{app_version="1.4.2 (beta)",host="{HOST}",outcome="candidate_would_be_refused"}} 3
# HELP pinhold_pin_last_seen_timestamp_seconds The last day on which a pin was seen, 0 if never.
# TYPE pinhold_pin_last_seen_timestamp_seconds gauge
pinhold_pin_last_seen_timestamp_seconds{{host="{HOST}",scope="host",pin="{}"}} {}
pinhold_pin_last_seen_timestamp_seconds{{host="{HOST}",scope="host",pin="{}"}} {}
# HELP pinhold_policy_expiry_timestamp_seconds When the policy expires.
# TYPE pinhold_policy_expiry_timestamp_seconds gauge
pinhold_policy_expiry_timestamp_seconds{{host="{HOST}",scope="host"}} {}
# HELP pinhold_health_warning 1 for each warning that holds.
# TYPE pinhold_health_warning gauge
pinhold_health_warning{{host="{HOST}",scope="host",warning="bypass_active"}} 1
pinhold_health_warning{{host="{HOST}",scope="host",warning="expires_soon"}} 1
"#,
        pins[0],
        seen[0],
        pins[1],
        seen[1],
        NOW + 20 * DAY,
    );
    let text = health.to_prometheus();
    assert_eq!(text, expected);
    assert_eq!(parse(&text).len(), 5);
}

#[tokio::test]
async fn the_json_has_the_same_facts() {
    let world = World::new().await;
    let health = app(&world, HostNames::Include).await.pinning.health();
    let json = serde_json::from_str::<serde_json::Value>(&health.to_json()).unwrap();
    assert_eq!(json["app_version"], "1.4.2 (beta)");
    let policy = &json["policies"][0];
    assert_eq!(policy["host"], HOST);
    assert_eq!(
        (&policy["scope"], &policy["current"]),
        (&"host".into(), &true.into())
    );
    assert_eq!(
        (&policy["since"], &policy["days"]),
        (&"2023-11-14".into(), &2.into())
    );
    assert_eq!(policy["last_connection"], "2023-11-15");
    assert_eq!(policy["expires"], "2023-12-04T22:13:20Z");
    assert_eq!(
        policy["warnings"],
        serde_json::json!(["bypass_active", "expires_soon"])
    );
    let counts = &policy["versions"][0];
    let expected = serde_json::json!({
        "app_version": "1.4.2 (beta)", "passed": 3, "refused": 1, "would_be_refused": 0,
        "skipped": 1, "candidate_passed": 0, "candidate_would_be_refused": 0,
    });
    assert_eq!(*counts, expected);
    let pins = policy["pins"].as_array().unwrap();
    let live = world.pin(0).to_string();
    let pin = pins.iter().find(|pin| pin["pin"] == live).unwrap();
    assert_eq!(
        (&pin["first_seen"], &pin["last_seen"]),
        (&"2023-11-14".into(), &"2023-11-15".into())
    );
    let backup = pins.iter().find(|pin| pin["pin"] != live).unwrap();
    assert!(backup["first_seen"].is_null() && backup["last_seen"].is_null());
    assert_eq!(json["policies"][1]["candidate"], true);
}

/// Without names, nothing that identifies a host, its pins included, is in any byte.
#[tokio::test]
async fn no_name_and_no_pin_is_exported_by_default() {
    let world = World::new().await;
    let app = app(&world, HostNames::default()).await;
    let health = app.pinning.health();
    let mut secrets = vec!["example".to_owned(), "api".to_owned(), "com\"".to_owned()];
    for index in 0..3 {
        let pin = world.pin(index).to_base64();
        secrets.extend([pin[..12].to_owned(), pin]);
    }
    secrets.extend([world.root.pin().to_base64(), "sha256".to_owned()]);
    for export in [
        health.to_json(),
        health.to_prometheus(),
        format!("{health:?}"),
    ] {
        for secret in &secrets {
            assert!(!export.contains(secret.as_str()), "{secret}: {export}");
        }
    }
    let samples = parse(&health.to_prometheus());
    let pins = samples["pinhold_pin_last_seen_timestamp_seconds"].iter();
    assert_eq!(
        pins.map(|(labels, _)| &*labels["pin"]).collect::<Vec<_>>(),
        ["1", "2"]
    );
}

fn label(health: &Health) -> String {
    let json = serde_json::from_str::<serde_json::Value>(&health.to_json()).unwrap();
    json["policies"][0]["host"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_digest_of_a_host_is_that_of_the_installation() {
    let world = World::new().await;
    let mut labels = Vec::new();
    for _ in 0..3 {
        let app = world.start(world.policy([0, 1]));
        app.connect_on(&world, [0]).await;
        labels.push(label(&app.pinning.health()));
        app.stop();
    }
    assert_eq!(labels[0].len(), 16);
    assert!(labels.iter().all(|label| *label == labels[0]), "{labels:?}");
    let other = World::new().await;
    let app = other.start(other.policy([0, 1]));
    app.connect_on(&other, [0]).await;
    assert_ne!(label(&app.pinning.health()), labels[0]);
}

/// Counters of a host go on when its pins change: a counter that falls is a restart to Prometheus.
#[tokio::test]
async fn counts_are_summed_over_the_pin_sets_of_a_host() {
    let world = World::new().await;
    let app = world.start(world.policy([0, 1]));
    app.connect_on(&world, [0, 0]).await;
    let replaced = world.policy([0, 2]).include_subdomains();
    app.pinning.replace_pins([(HOST, replaced)]).unwrap();
    app.connect_on(&world, [0]).await;
    let samples = parse(&app.pinning.health().to_prometheus());
    let passed = samples["pinhold_connections_total"].iter();
    let passed = passed.filter(|(labels, _)| labels["outcome"] == "passed");
    assert_eq!(passed.map(|(_, value)| *value).collect::<Vec<_>>(), [3.0]);
}

#[test]
fn without_connections_the_exports_are_well_formed() {
    let pinning = Pinning::builder()
        .health(HealthOptions::new("1"))
        .build()
        .unwrap();
    assert_eq!(
        pinning.health().to_json(),
        r#"{"app_version":"1","policies":[]}"#
    );
    let samples = parse(&pinning.health().to_prometheus());
    assert!(samples.values().all(Vec::is_empty));
    let pinning = Pinning::builder().build().unwrap();
    assert_eq!(
        pinning.health().to_json(),
        r#"{"app_version":"","policies":[]}"#
    );
}
