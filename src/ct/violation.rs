//! [`CtViolation`], the refusal of a certificate that is not known to enough logs.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::ServerName;

use crate::ct::outcome::{CtOutcome, SctDelivery, SctVerdict, SeenSct};
use crate::policy::text::{hex, write_with_causes};
use crate::policy::timestamp::{at, print_capped};

/// A certificate whose SCTs don't comply, of a host for which that matters to the application
/// ([`CtOptions`](crate::ct::CtOptions)).
///
/// `Display` and `Debug` print the SCTs that were seen, what was expected, the likely cause, and what
/// to do. Cheap to clone.
///
/// ```
/// use pinhold::ct::CtViolation;
///
/// let error = std::io::Error::other("connection reset");
/// assert!(CtViolation::find(&error).is_none());
/// ```
#[derive(Clone)]
pub struct CtViolation(Arc<Facts>);

struct Facts {
    name: ServerName<'static>,
    outcome: CtOutcome,
    is_refused: bool,
}

impl CtViolation {
    pub(crate) fn new(name: &ServerName<'_>, outcome: &CtOutcome, is_refused: bool) -> Self {
        Self(Arc::new(Facts {
            name: name.to_owned(),
            outcome: outcome.clone(),
            is_refused,
        }))
    }

    /// Returns the name of the server.
    #[must_use]
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.0.name
    }

    /// Returns what the SCTs have shown.
    #[must_use]
    pub fn outcome(&self) -> &CtOutcome {
        &self.0.outcome
    }

    /// Returns whether the connection was refused, and not only reported.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.0.is_refused
    }

    /// Returns the likely cause and the remedy.
    fn advice(&self) -> &'static str {
        let scts = self.outcome().scts();
        let any = |verdict| scts.iter().any(|sct| sct.verdict == verdict);
        if scts.is_empty() {
            "the certificate is in no log: it was issued in secret, or by a private CA whose root is \
             declared as built-in; what to do: don't use the connection; ask the operator of the \
             host, or declare the root as user-added"
        } else if any(SctVerdict::BadSignature) {
            "SCTs were made for another certificate or another issuer: the certificate is forged, or \
             was changed after it was logged; what to do: don't use the connection, and ask the CA"
        } else if any(SctVerdict::UnknownLog) {
            "the log list is older than the logs of the certificate; what to do: ship a new log list \
             (`Pinning::replace_log_list`, or a pin bundle)"
        } else if any(SctVerdict::Future) {
            "the clock is behind, or the certificate was prepared with a false time; what to do: \
             correct the clock"
        } else {
            "the CA chose logs that don't suffice any more; what to do: ask the operator of the host \
             to renew the certificate"
        }
    }
}

impl fmt::Display for CtViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = self.outcome();
        let consequence = if self.is_refused() {
            "the connection is refused"
        } else {
            "the connection is not refused"
        };
        let name = self.server_name().to_str();
        writeln!(
            f,
            "the certificate of {name} is not logged as expected; {consequence}"
        )?;
        writeln!(f, "  seen: {}", outcome.verdict())?;
        for sct in outcome.scts() {
            write_sct(sct, f)?;
        }
        let stale = if outcome.list_is_stale() {
            ", which the clock shows as too old or not yet published: nothing is refused by it"
        } else {
            ""
        };
        writeln!(
            f,
            "  log list of {}{stale}",
            print_capped(outcome.list_timestamp())
        )?;
        write!(f, "  likely cause: {}", self.advice())
    }
}

fn write_sct(sct: &SeenSct, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let delivery = match sct.delivery {
        SctDelivery::Embedded => "embedded",
        SctDelivery::Ocsp => "in the OCSP response",
    };
    let time = print_capped(at(sct.timestamp / 1000));
    write!(f, "    SCT {delivery}, {time}, ")?;
    match &sct.log {
        Some((log, operator)) => write!(f, "log {log:?} of {operator:?}")?,
        None => write!(f, "log {}", hex(&sct.log_id))?,
    }
    writeln!(f, ": {}", sct.verdict)
}

impl fmt::Debug for CtViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for CtViolation {}
