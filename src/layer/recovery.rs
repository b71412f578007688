//! Recovery of a refused request by a pin bundle: [`Recovery`]. Without the feature `bundles` there is
//! none.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

#[cfg(feature = "bundles")]
use crate::pinning::{self, Pinning};
#[cfg(feature = "bundles")]
use crate::tls::error;
#[cfg(feature = "bundles")]
use crate::violation::PinViolation;

/// The pins whose bundles can make a refused server acceptable, if the application wants that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovery {
    #[cfg(feature = "bundles")]
    pub(crate) pinning: Option<Pinning>,
}

/// A recovery that is under way. Resolves to whether the pins accept the server.
pub(crate) struct Recovering {
    #[cfg(feature = "bundles")]
    inner: pinning::Recovering,
    #[cfg(not(feature = "bundles"))]
    never: std::convert::Infallible,
}

impl Recovery {
    pub(crate) fn is_wanted(&self) -> bool {
        #[cfg(feature = "bundles")]
        return self.pinning.is_some();
        #[cfg(not(feature = "bundles"))]
        false
    }

    /// Begins the recovery from an error, if pins refused the server and the request may be repeated: it
    /// is idempotent, or was not sent. There is one recovery for each request.
    #[cfg(feature = "bundles")]
    pub(crate) fn begin(
        &mut self,
        error: &(impl Error + 'static),
        is_idempotent: bool,
    ) -> Option<Recovering> {
        // With the client of another crate it is not known what was sent.
        if self.pinning.is_none() || !(is_idempotent || error::is_unsent(error)) {
            return None;
        }
        let violation = PinViolation::find(error)?;
        let recovery = self.pinning.take()?.recovery()?;
        let inner = recovery.recover(violation);
        Some(Recovering { inner })
    }

    #[cfg(not(feature = "bundles"))]
    #[expect(
        clippy::unused_self,
        clippy::needless_pass_by_ref_mut,
        reason = "see above"
    )]
    pub(crate) fn begin(&mut self, _: &(impl Error + 'static), _: bool) -> Option<Recovering> {
        None
    }
}

impl Future for Recovering {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        #[cfg(feature = "bundles")]
        return Pin::new(&mut self.get_mut().inner).poll(cx);
        #[cfg(not(feature = "bundles"))]
        {
            let _ = cx;
            match self.never {}
        }
    }
}
