//! Staged bundles: for which installations they are in effect, and what the others count.

use crate::app::{App, HOST, version};
use crate::common::bundles::{Body, ISSUED, Operator, pins, time};
use crate::common::noted::temp_dir;
use crate::common::pki::Ca;
use crate::common::server::{Names, Server, client, get};
use crate::common::validated::{built_in_anchors, verified_chain};
use crate::common::{DAY, NOW, at};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pinhold::bundle::{BundleError, BundleOutcome, InstallId, Staging};
use pinhold::storage::{Change, Merged, Record, Storage, StorageError};
use pinhold::{
    Decision, Event, FileStorage, Host, PinStore, Pinning, SpkiFingerprint, ValidatedChain,
};

/// A storage with the number of an installation, and nothing else.
struct Install(u128);

impl Storage for Install {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        let value = format!("\"{}\"", STANDARD.encode(self.0.to_be_bytes()));
        let record = Record::new(Record::BUNDLE_STATE, "install", &value, at(ISSUED));
        Ok(vec![record.unwrap()])
    }

    fn commit(&mut self, _: &[Change]) -> Result<Merged, StorageError> {
        Ok(Merged::Nothing)
    }
}

/// A chain, and the bundles of an operator with its pins or with wrong ones.
struct Fixture {
    operator: Operator,
    chain: ValidatedChain,
    right: [SpkiFingerprint; 2],
}

impl Fixture {
    async fn new() -> Self {
        let root = Ca::root("Root");
        let anchors = built_in_anchors(&[&root]);
        Self {
            operator: Operator::default(),
            chain: verified_chain(&root.leaf(&[HOST]), HOST, &anchors).await,
            right: [root.pin(), pins(99)[0]],
        }
    }

    /// Returns a bundle whose pins the chain has.
    fn right(&self, version: u64) -> Body {
        Body::new(version, [(HOST, self.right)])
    }

    /// Returns a bundle whose pins the chain lacks, staged for these percent.
    fn staged(version: u64, percent: u8, salt: &str) -> Body {
        let staging = format!(r#"{{ "percent": {percent}, "salt": "{salt}" }}"#);
        Body::new(version, [(HOST, pins(66))]).with("staging", staging)
    }

    /// Starts an installation with a bundle whose pins are right.
    fn start(&self, install: u128) -> App {
        let store = PinStore::open(Install(install)).unwrap();
        App::start(&self.operator, &self.right(1), store)
    }

    fn apply(&self, app: &App, body: &Body) -> BundleOutcome {
        app.pinning.apply_bundle(&self.operator.sign(body)).unwrap()
    }

    fn decide(&self, app: &App, now: u64) -> Decision {
        app.pinning.check(&host(), &self.chain, at(now))
    }

    fn is_refused(&self, app: &App) -> bool {
        matches!(self.decide(app, ISSUED + DAY), Decision::Refuse(_))
    }
}

fn host() -> Host {
    Host::parse(HOST).unwrap()
}

fn includes(install: u128, percent: u8, salt: &str) -> bool {
    let staging = Staging::new(percent, salt).unwrap();
    staging.includes(InstallId::from_bytes(install.to_be_bytes()))
}

/// Returns the first installation that is in these percent, or not.
fn install(percent: u8, salt: &str, is_included: bool) -> u128 {
    (0..)
        .find(|number| includes(*number, percent, salt) == is_included)
        .unwrap()
}

#[tokio::test]
async fn a_staged_bundle_is_in_effect_for_its_share_of_installations() {
    let fixture = Fixture::new().await;
    let staged = Fixture::staged(2, 10, "2027-01");
    let until = format!(r#"{{ "until": {} }}"#, time(ISSUED + 10 * DAY));
    let killed = fixture.right(3).with("kill_switch", until);
    let mut included = 0;
    for number in 0..1000 {
        let app = fixture.start(number);
        let outcome = fixture.apply(&app, &staged);
        let is_included = includes(number, 10, "2027-01");
        let decision = fixture.decide(&app, ISSUED + DAY);
        let (in_effect, floor) = app.versions();
        assert_eq!(floor, version(1, 2));
        let rollout = app.pinning.rollout(&host()).unwrap();
        let counted = rollout.pins.iter().map(|(pin, _)| *pin).collect::<Vec<_>>();
        assert_eq!(counted, pins(66), "the counts are those of the staged pins");
        if is_included {
            included += 1;
            assert_eq!(outcome, BundleOutcome::Applied(floor));
            assert_eq!(in_effect, floor);
            assert!(matches!(decision, Decision::Refuse(_)));
        } else {
            assert_eq!(outcome, BundleOutcome::Staged(floor));
            assert_eq!(in_effect, version(1, 1));
            assert!(matches!(decision, Decision::ReportOnly(_)));
        }
        if number % 10 == 0 {
            // The kill switch makes each of them report-only, and ends for each of them.
            fixture.apply(&app, &killed);
            assert!(!matches!(
                fixture.decide(&app, ISSUED + DAY),
                Decision::Refuse(_)
            ));
            assert_eq!(app.versions(), (version(1, 3), version(1, 3)));
        }
    }
    assert!((70..=130).contains(&included), "{included}");
}

#[tokio::test]
async fn a_kill_switch_ends_at_its_time_for_all_installations() {
    let fixture = Fixture::new().await;
    let end = ISSUED + 10 * DAY;
    let wrong = |version| Body::new(version, [(HOST, pins(66))]);
    for is_included in [true, false] {
        let app = fixture.start(install(10, "s", is_included));
        fixture.apply(&app, &Fixture::staged(2, 10, "s"));
        assert_eq!(fixture.is_refused(&app), is_included);
        let until = format!(r#"{{ "until": {} }}"#, time(end));
        fixture.apply(&app, &wrong(3).with("kill_switch", until));
        for (now, is_killed) in [(0, true), (ISSUED, true), (end, true), (end + 1, false)] {
            app.clock.set(now);
            let decision = fixture.decide(&app, now);
            assert_eq!(
                matches!(decision, Decision::ReportOnly(_)),
                is_killed,
                "{now}"
            );
            assert_eq!(matches!(decision, Decision::Refuse(_)), !is_killed, "{now}");
            let killed_until = app.status().killed_until;
            assert_eq!(killed_until, is_killed.then_some(at(end)), "{now}");
        }
        let killed = |event: &&Event| matches!(event, Event::BundleKilled { .. });
        assert_eq!(app.events().iter().filter(killed).count(), 1);
        assert_eq!(app.status().counts.killed, 1);
    }
}

#[tokio::test]
async fn a_growing_share_keeps_its_installations() {
    let fixture = Fixture::new().await;
    for number in (0..300).step_by(3) {
        let app = fixture.start(number);
        let mut was_included = false;
        for (index, percent) in [0, 5, 20, 60, 99, 100].into_iter().enumerate() {
            let next = u64::try_from(index).unwrap() + 2;
            let outcome = fixture.apply(&app, &Fixture::staged(next, percent, "s"));
            let is_included = outcome == BundleOutcome::Applied(version(1, next));
            assert_eq!(is_included, includes(number, percent, "s"));
            assert_eq!(is_included, fixture.is_refused(&app));
            assert!(is_included || !was_included);
            assert!(is_included || percent < 100);
            was_included = is_included;
        }
        // Withdrawn by the next version.
        fixture.apply(&app, &fixture.right(8));
        assert!(!fixture.is_refused(&app));
        let error = app
            .pinning
            .apply_bundle(&fixture.operator.sign(&fixture.right(7)));
        assert!(matches!(error, Err(BundleError::Rollback { .. })));
    }
}

/// A key is refused because it was stolen: that can't wait for a share.
#[tokio::test]
async fn the_refused_keys_of_a_staged_bundle_apply_everywhere_at_once() {
    let fixture = Fixture::new().await;
    let key = fixture.chain.fingerprints()[0];
    let in_pins = format!(
        r#"{{ "version": 1, "refused_keys": ["{key}"],
        "policies": [{{ "hosts": ["other.example"], "pins": ["{}", "{}"] }}] }}"#,
        pins(1)[0],
        pins(1)[1]
    );
    let staged = fixture
        .right(2)
        .with("staging", r#"{ "percent": 10, "salt": "s" }"#);
    for refusing in [
        staged.clone().with("refused_keys", format!(r#"["{key}"]"#)),
        staged.with("pins", in_pins.replace('\n', " ")),
    ] {
        for is_included in [true, false] {
            let app = fixture.start(install(10, "s", is_included));
            assert!(!fixture.is_refused(&app));
            fixture.apply(&app, &refusing);
            assert!(fixture.is_refused(&app));
            assert_eq!(
                app.status().in_effect,
                version(1, 1 + u64::from(is_included))
            );
            // The next bundle that is not staged has no such key.
            fixture.apply(&app, &fixture.right(3));
            assert!(!fixture.is_refused(&app));
        }
    }
}

#[test]
fn an_installation_keeps_its_number_and_its_staged_bundle_across_restarts() {
    let operator = Operator::default();
    let mut included = [0, 0];
    for _ in 0..40 {
        let folder = temp_dir();
        let file = folder.path().join("pins.jsonl");
        let start = || App::with_file(&operator, &Body::new(1, [(HOST, pins(1))]), &file);
        let app = start();
        let staged = operator.sign(&Fixture::staged(2, 50, "s"));
        let outcome = app.pinning.apply_bundle(&staged).unwrap();
        let versions = app.versions();
        included[usize::from(outcome == BundleOutcome::Applied(version(1, 2)))] += 1;
        drop(app);
        for _ in 0..2 {
            let app = start();
            assert_eq!(app.versions(), versions);
            let again = app.pinning.apply_bundle(&staged).unwrap();
            assert_eq!(again, BundleOutcome::Unchanged(version(1, 2)));
            let counts = app.status().counts;
            assert_eq!(counts.applied + counts.staged, 1);
        }
    }
    // Two numbers in a row are the same once in 2^128 times.
    assert!(included.iter().all(|count| *count > 3), "{included:?}");
}

/// Both slots have a text: a full bundle below a staged one.
#[test]
fn the_full_bundle_below_a_staged_one_is_kept() {
    let operator = Operator::default();
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let start = || App::with_file(&operator, &Body::new(1, [(HOST, pins(1))]), &file);
    let full = |number: u8| operator.sign(&Body::new(number.into(), [(HOST, pins(number))]));
    let app = start();
    app.pinning.apply_bundle(&full(2)).unwrap();
    for number in [3, 4] {
        let staged = Fixture::staged(number, 0, "s");
        app.pinning.apply_bundle(&operator.sign(&staged)).unwrap();
    }
    drop(app);
    let app = start();
    assert_eq!(app.versions(), (version(1, 2), version(1, 4)));
    assert_eq!(app.pins(), pins(2));
    let error = app.pinning.apply_bundle(&full(3)).unwrap_err();
    assert!(matches!(error, BundleError::Rollback { .. }), "{error}");
    app.pinning.apply_bundle(&full(5)).unwrap();
    drop(app);
    let stored = FileStorage::new(&file).load().unwrap();
    let texts = stored
        .iter()
        .filter(|record| record.kind() == Record::BUNDLE_TEXT);
    assert_eq!(texts.count(), 1, "texts that no slot has are removed");
    let app = start();
    assert_eq!(app.versions(), (version(1, 5), version(1, 5)));
    assert_eq!(app.pins(), pins(5));
    let unreadable = |event: &Event| matches!(event, Event::BundleUnreadable { .. });
    assert!(!app.events().iter().any(unreadable));
}

#[tokio::test]
async fn connections_are_counted_by_the_staged_pins() {
    let root = Ca::root("Root");
    let leaf = root.leaf(&[HOST]);
    let server = Server::start(&leaf, &[]).await;
    let names = Names::new([(HOST, &server)]);
    let operator = Operator::default();
    for is_included in [true, false] {
        let store = PinStore::open(Install(install(10, "s", is_included))).unwrap();
        let right = Body::new(1, [(HOST, [root.pin(), pins(99)[0]])]);
        let app = App::start(&operator, &right, store);
        // Before the certificates expire. The bundle counts as issued.
        app.clock.set(NOW);
        let staged = operator.sign(&Fixture::staged(2, 10, "s"));
        app.pinning.apply_bundle(&staged).unwrap();
        for count in 1..4 {
            let mut client = client(&app.pinning, built_in_anchors(&[&root]), &names);
            let response = get(&mut client, &format!("https://{HOST}/")).await;
            assert_eq!(response.is_err(), is_included);
            let rollout = app.pinning.rollout(&host()).unwrap();
            let expected = if is_included { 0 } else { count };
            assert_eq!(rollout.connections, expected);
            assert_eq!(rollout.would_have_failed, expected);
        }
    }
}

/// The event says that the switch is on.
#[test]
fn a_kill_switch_that_has_ended_is_not_reported_after_a_restart() {
    let operator = Operator::default();
    let folder = temp_dir();
    let file = folder.path().join("pins.jsonl");
    let until = format!(r#"{{ "until": {} }}"#, time(ISSUED + 2 * DAY));
    let killed = Body::new(2, [(HOST, pins(2))]).with("kill_switch", until);
    let built_in = Body::new(1, [(HOST, pins(1))]);
    let is_killed = |event: &Event| matches!(event, Event::BundleKilled { .. });
    let app = App::with_file(&operator, &built_in, &file);
    app.pinning.apply_bundle(&operator.sign(&killed)).unwrap();
    assert!(app.events().iter().any(is_killed));
    drop(app);
    for (now, is_on) in [(ISSUED + 2 * DAY, true), (ISSUED + 2 * DAY + 1, false)] {
        let store = PinStore::open(FileStorage::new(&file)).unwrap();
        let builder = Pinning::builder().bundles(operator.bundles(&built_in));
        let app = App::build_at(now, builder.store(store));
        assert_eq!(app.status().in_effect, version(1, 2));
        assert_eq!(app.events().iter().any(is_killed), is_on);
    }
}
