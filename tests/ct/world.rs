//! Logs, a CA, and an application that expects SCTs.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pinhold::ct::{CtMode, CtOptions, CtViolation, LogList, SctVerdict};
use pinhold::policy::Scope;
use pinhold::{Event, Pinning, PinningBuilder, PinningVerifier};
use rcgen::CertificateParams;
use rustls::{ClientConfig, Error, HandshakeKind, ServerConfig};

use crate::common::pki::{Ca, Leaf, leaf_params};
use crate::common::server::server_config;
use crate::common::tls::handshake;
use crate::common::validated::built_in_anchors;
use crate::common::{Clock, DAY, NOW, TIMEOUT, provider};
use crate::log::TestLog;

pub(crate) const HOST: &str = "example.com";

/// Three logs, two of one operator, and a public CA.
pub(crate) struct World {
    pub(crate) elm: TestLog,
    pub(crate) oak: TestLog,
    pub(crate) ash: TestLog,
    pub(crate) root: Ca,
    pub(crate) ca: Ca,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = Ca::root("Root");
        Self {
            elm: TestLog::new("Elm", "One"),
            oak: TestLog::new("Oak", "One"),
            ash: TestLog::new("Ash", "Two"),
            ca: root.intermediate("Intermediate"),
            root,
        }
    }

    /// Returns the list of the three logs, all usable, of the time of the tests.
    pub(crate) fn list(&self) -> LogList {
        let usable = [&self.elm, &self.oak, &self.ash].map(|log| (log, USABLE));
        list_of(NOW, &usable)
    }

    pub(crate) fn options(&self) -> CtOptions {
        CtOptions::new(self.list()).host(HOST, Scope::Host, CtMode::Enforce)
    }

    pub(crate) fn app(&self) -> App {
        App::new(self.options())
    }

    /// Returns the configuration of a client with the root of this world as a built-in one.
    pub(crate) fn client(&self, pinning: &Pinning) -> Arc<ClientConfig> {
        let verifier = PinningVerifier::builder(pinning.clone())
            .with_anchors(built_in_anchors(&[&self.root]))
            .with_provider(provider());
        Arc::new(verifier.client_config().unwrap())
    }

    /// Makes a handshake with a server that has this certificate and staples this response.
    pub(crate) fn visit_stapled(
        &self,
        app: &App,
        leaf: &Leaf,
        ocsp_response: Vec<u8>,
    ) -> Result<HandshakeKind, Error> {
        let server = stapling(leaf, ocsp_response);
        handshake(&self.client(&app.pinning), &server, HOST)
    }

    pub(crate) fn visit(&self, app: &App, leaf: &Leaf) -> Result<HandshakeKind, Error> {
        self.visit_stapled(app, leaf, Vec::new())
    }

    /// Returns the refusal of a server with this certificate.
    #[track_caller]
    pub(crate) fn refusal(&self, app: &App, leaf: &Leaf) -> CtViolation {
        violation(self.visit(app, leaf))
    }
}

/// A server with this certificate that staples this response, if it is not empty.
pub(crate) fn stapling(leaf: &Leaf, ocsp_response: Vec<u8>) -> Arc<ServerConfig> {
    let mut config = server_config(leaf, provider(), rustls::ALL_VERSIONS);
    if !ocsp_response.is_empty() {
        config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert_with_ocsp(leaf.chain.clone(), leaf.key(), ocsp_response)
            .unwrap();
    }
    Arc::new(config)
}

#[track_caller]
pub(crate) fn violation(visit: Result<HandshakeKind, Error>) -> CtViolation {
    let violation = CtViolation::find(&visit.unwrap_err()).expect("a CT violation");
    assert!(violation.is_refused());
    violation
}

/// The verdicts of the SCTs that were seen.
pub(crate) fn verdicts(violation: &CtViolation) -> Vec<SctVerdict> {
    let scts = violation.outcome().scts().iter();
    scts.map(|sct| sct.verdict).collect()
}

/// The state of a usable log.
pub(crate) const USABLE: &str = r#"{"usable": {"timestamp": "2020-01-01T00:00:00Z"}}"#;

/// Returns a list of logs, each with its state.
pub(crate) fn list_of(time: u64, logs: &[(&TestLog, &str)]) -> LogList {
    LogList::parse(&json(time, logs)).unwrap()
}

pub(crate) fn json(time: u64, logs: &[(&TestLog, &str)]) -> String {
    let operators = logs.iter().map(|(log, state)| {
        format!(
            r#"{{"name": {:?}, "logs": [{{"description": {:?}, "log_id": {:?}, "key": {:?},
                "state": {state}}}]}}"#,
            log.operator,
            log.name,
            STANDARD.encode(log.id()),
            STANDARD.encode(log.public_key()),
        )
    });
    format!(
        r#"{{"version": "1.0", "log_list_timestamp": {}, "operators": [{}]}}"#,
        time_text(time),
        operators.collect::<Vec<_>>().join(",")
    )
}

/// Returns the JSON text of a time.
pub(crate) fn time_text(seconds: u64) -> String {
    // The days of the 400 years that begin on 1 March of year 0.
    let days = seconds / DAY + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year + era * 400 + next;
    let second = seconds % DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z\"")
}

/// Parameters of a certificate that is valid for 90 days from a day before [`NOW`].
pub(crate) fn short_lived() -> CertificateParams {
    let mut params = leaf_params(&[HOST]);
    params.not_before = rcgen::date_time_ymd(2023, 11, 13);
    params.not_after = rcgen::date_time_ymd(2024, 2, 11);
    params
}

/// An application with a clock whose events are received.
pub(crate) struct App {
    pub(crate) pinning: Pinning,
    pub(crate) clock: Arc<Clock>,
    events: Receiver<Event>,
}

impl App {
    pub(crate) fn new(options: CtOptions) -> Self {
        Self::build(Pinning::builder().certificate_transparency(options))
    }

    pub(crate) fn build(builder: PinningBuilder) -> Self {
        let clock = Clock::new();
        let (sender, events) = channel();
        let builder = builder.time_provider(clock.clone());
        let builder = builder.observer(move |event| drop(sender.send(event.clone())));
        Self {
            pinning: builder.build().unwrap(),
            clock,
            events,
        }
    }

    /// Returns the events since the last call.
    pub(crate) fn events(&self) -> Vec<Event> {
        assert!(self.pinning.flush_reports(TIMEOUT));
        self.events.try_iter().collect()
    }

    /// Returns whether each CT violation since the last call was refused.
    pub(crate) fn violations(&self) -> Vec<bool> {
        let events = self.events().into_iter();
        let violations = events.filter_map(|event| match event {
            Event::CtViolation(violation) => Some(violation.is_refused()),
            _ => None,
        });
        violations.collect()
    }
}
