//! [`UnpinnedHost`], the refusal of a host that no enforced static policy covers.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rustls_pki_types::ServerName;

use crate::policy::text::write_with_causes;
use crate::policy::{AppliedPolicy, PolicyState};

/// A host that no enforced static policy covers, in an application that refuses such hosts or wants
/// them reported ([`PinningBuilder::unpinned_hosts`](crate::PinningBuilder::unpinned_hosts)).
///
/// `Display` and `Debug` print the name, why it is not pinned, and what to do. Cheap to clone.
///
/// ```
/// use pinhold::UnpinnedHost;
///
/// let error = std::io::Error::other("connection reset");
/// assert!(UnpinnedHost::find(&error).is_none());
/// ```
#[derive(Clone)]
pub struct UnpinnedHost(Arc<Facts>);

struct Facts {
    name: ServerName<'static>,
    policy: Option<AppliedPolicy>,
    is_refused: bool,
}

impl UnpinnedHost {
    pub(crate) fn new(
        name: &ServerName<'_>,
        policy: Option<&AppliedPolicy>,
        is_refused: bool,
    ) -> Self {
        Self(Arc::new(Facts {
            name: name.to_owned(),
            policy: policy.cloned(),
            is_refused,
        }))
    }

    /// Returns the requested name: a host or an IP address.
    #[must_use]
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.0.name
    }

    /// Returns the static policy that covers the host but is only report-only, if there is one.
    #[must_use]
    pub fn policy(&self) -> Option<&AppliedPolicy> {
        self.0.policy.as_ref()
    }

    /// Returns whether connections to the host are refused, and not only reported.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.0.is_refused
    }
}

impl fmt::Display for UnpinnedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.name.to_str();
        let consequence = if self.0.is_refused {
            "connections to unpinned hosts are refused"
        } else {
            "the connection is not refused"
        };
        writeln!(f, "{name} is not pinned; {consequence}")?;
        match self.policy() {
            Some(policy) if policy.state == PolicyState::ReportOnly => {
                writeln!(f, "  its policy is report-only, {}", policy.provenance())?;
            }
            _ if matches!(self.0.name, ServerName::IpAddress(_)) => {
                writeln!(f, "  it is an IP address, which can't be pinned")?;
            }
            _ => writeln!(
                f,
                "  no static policy covers it: none is set, it is exempt, or the policy has expired"
            )?,
        }
        write!(
            f,
            "  what to do: if the application may connect to it, set a policy for it \
             (`PinningBuilder::static_pins`) or list it in `PinningBuilder::allow_unpinned`; \
             otherwise find out which URL or redirect led to it"
        )
    }
}

impl fmt::Debug for UnpinnedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for UnpinnedHost {}
