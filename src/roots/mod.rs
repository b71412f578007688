//! Trust anchors and the origin of each: whether it came with the application, from the platform,
//! or from the user of the device.
//!
//! Uses `policy` only.
//!
//! Offers [`TrustAnchors`] to path building and to the verifier.

mod anchors;
#[cfg(feature = "native-certs")]
mod native;
#[cfg(feature = "native-certs")]
mod native_error;
#[cfg(pinhold_debug_overrides)]
mod overrides;
#[cfg(all(feature = "native-certs", any(target_os = "macos", windows, test)))]
mod provenance;
#[cfg(feature = "native-certs")]
mod root_files;
#[cfg(feature = "native-certs")]
mod sections;
mod subject_index;

pub use crate::policy::origin::AnchorOrigin;
pub(crate) use crate::roots::anchors::Anchor;
#[cfg(feature = "direct-trust")]
pub(crate) use crate::roots::anchors::parse;
pub use crate::roots::anchors::{AnchorError, TrustAnchors};
#[cfg(feature = "native-certs")]
pub use crate::roots::native_error::NativeRootError;
#[cfg(pinhold_debug_overrides)]
pub(crate) use crate::roots::overrides::Overrides;
