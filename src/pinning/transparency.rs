//! The rules of Certificate Transparency of a [`Pinning`](crate::Pinning), and the log list in effect.

use parking_lot::{Mutex, RwLock};
use rustls_pki_types::UnixTime;

use crate::ct::{CtMode, CtOptions, CtRules, LogList};
use crate::pinning::build_error::BuildError;
use crate::policy::Host;

/// What an application expects of certificates, and the logs that it accepts.
pub(crate) struct Transparency {
    rules: CtRules,
    list: RwLock<LogList>,
    /// The time of the last list that was reported as stale.
    stale: Mutex<Option<UnixTime>>,
}

impl Transparency {
    pub(crate) fn new(options: CtOptions) -> Result<Self, BuildError> {
        let (rules, list) = options.into_parts().map_err(BuildError::Host)?;
        Ok(Self {
            rules,
            list: RwLock::new(list),
            stale: Mutex::new(None),
        })
    }

    pub(crate) fn rules(&self) -> &CtRules {
        &self.rules
    }

    pub(crate) fn mode(&self, host: Option<&Host>) -> CtMode {
        self.rules.mode(host)
    }

    /// Returns the list that the application has set.
    pub(crate) fn list(&self) -> LogList {
        self.list.read().clone()
    }

    pub(crate) fn replace(&self, list: LogList) {
        *self.list.write() = list;
    }

    /// Returns whether this list was not reported as stale yet.
    pub(crate) fn is_first_report(&self, list: UnixTime) -> bool {
        self.stale.lock().replace(list) != Some(list)
    }
}
