//! The check of the SCTs of a handshake, and of what is known about them when a session is resumed.

use rustls_pki_types::UnixTime;

use crate::chain::ValidatedChain;
use crate::ct::{CtMode, CtOutcome, CtViolation, Evidence, LogList};
use crate::pinning::evaluation::Evaluation;
use crate::pinning::event::Event;
use crate::pinning::handle::Pinning;
use crate::policy::{AnchorOrigin, Host};

impl Pinning {
    /// Replaces the log list of [`CtOptions`](crate::ct::CtOptions), for all clones. Without options it
    /// has no effect.
    ///
    /// Full handshakes are checked by the new list from now on. A session is resumed if the certificate
    /// of its handshake complied by the list of that time; open connections stay open.
    ///
    /// ```no_run
    /// use pinhold::ct::LogList;
    /// # let pinning = pinhold::Pinning::builder().build()?;
    /// # fn received() -> String { String::new() }
    ///
    /// pinning.replace_log_list(LogList::parse(&received())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace_log_list(&self, list: LogList) {
        if let Some(transparency) = &self.shared.ct {
            transparency.replace(list);
            // What was found out about sessions is found out again.
            self.generation().advance();
            self.shared.wake_connections();
        }
    }

    /// Returns the log list in effect: that of the application, or that of the pin bundle in effect if it
    /// is newer and not from the future. `None` without [`CtOptions`](crate::ct::CtOptions).
    #[must_use]
    pub fn log_list(&self, now: UnixTime) -> Option<LogList> {
        let own = self.shared.ct.as_ref()?.list();
        #[cfg(feature = "bundles")]
        if let Some(bundled) = &self.shared.statics.read().bundled
            && let Some(list) = &bundled.log_list
            && list.timestamp() > own.timestamp()
            && !list.is_from_future(now)
        {
            return Some(list.clone());
        }
        #[cfg(not(feature = "bundles"))]
        let _ = now;
        Some(own)
    }

    /// Returns whether the SCTs of a host matter.
    pub(crate) fn looks_for_scts(&self, host: Option<&Host>) -> bool {
        self.ct_mode(host) != CtMode::Off
    }

    fn ct_mode(&self, host: Option<&Host>) -> CtMode {
        let transparency = self.shared.ct.as_ref();
        transparency.map_or(CtMode::Off, |transparency| transparency.mode(host))
    }

    /// Checks the SCTs of a chain, and adds the outcome to it. Chains to user-added roots, and those of
    /// hosts that need none, are not checked.
    ///
    /// # Errors
    ///
    /// The violation of an enforced rule.
    pub(crate) fn check_scts(
        &self,
        chain: ValidatedChain,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ValidatedChain, CtViolation> {
        let Some(outcome) = self.sct_outcome(&chain, ocsp_response, now) else {
            return Ok(chain);
        };
        let is_enforced = self.ct_mode(chain.host()) == CtMode::Enforce;
        if is_enforced && !outcome.complies() && !outcome.list_is_stale() {
            return Err(CtViolation::new(chain.server_name(), &outcome, true));
        }
        Ok(chain.with_ct(Some(outcome)))
    }

    fn sct_outcome(
        &self,
        chain: &ValidatedChain,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Option<CtOutcome> {
        let transparency = self.shared.ct.as_ref()?;
        let is_checked = chain.anchor_origin() == AnchorOrigin::BuiltIn;
        if !is_checked || !self.looks_for_scts(chain.host()) {
            return None;
        }
        let list = self.log_list(now)?;
        let evidence = Evidence {
            certificate: chain.served().first()?,
            issuer_key: *chain.fingerprints().get(1)?.as_bytes(),
            lifetime: chain.lifetime().unwrap_or(u64::MAX),
            ocsp_response,
            algorithms: chain.algorithms(),
        };
        let outcome = evidence.check(&list, &transparency.rules().policy, now);
        if outcome.list_is_stale() && transparency.is_first_report(list.timestamp()) {
            let timestamp = list.timestamp();
            self.emit(Event::CtListStale { timestamp });
        }
        Some(outcome)
    }

    /// Returns whether a session of this chain may be resumed: where SCTs are enforced now, its handshake
    /// had them. It had not if the list was stale then.
    pub(crate) fn may_resume_without_scts(&self, chain: &ValidatedChain, now: UnixTime) -> bool {
        let is_enforced = self.ct_mode(chain.host()) == CtMode::Enforce;
        if !is_enforced || chain.anchor_origin() != AnchorOrigin::BuiltIn {
            return true;
        }
        let complied = chain.ct_outcome().is_some_and(CtOutcome::complies);
        complied
            || self
                .sct_outcome(chain, &[], now)
                .is_some_and(|it| it.list_is_stale())
    }

    /// Emits that the certificate of a connection that is used is not logged as expected.
    pub(crate) fn report_missing_scts(&self, evaluation: &Evaluation) {
        let chain = evaluation.chain();
        let failed = chain.ct_outcome().filter(|outcome| !outcome.complies());
        if let Some(outcome) = failed.filter(|_| !evaluation.is_refused()) {
            let violation = CtViolation::new(chain.server_name(), outcome, false);
            self.emit(Event::CtViolation(violation));
        }
    }
}
