//! [`Staging`]: which installations a staged bundle is in effect for.

use crate::policy::sha256;

/// The random number of an installation by which staged bundles choose it. It never leaves the
/// process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstallId(pub(crate) [u8; 16]);

impl InstallId {
    /// Returns the ID with these bytes.
    ///
    /// ```
    /// use pinhold::bundle::{InstallId, Staging};
    ///
    /// let staging = Staging::new(10, "2026-12 new CA").unwrap();
    /// let installs = (0..1000_u128).map(|number| InstallId::from_bytes(number.to_be_bytes()));
    /// let included = installs.filter(|install| staging.includes(*install)).count();
    /// assert!((70..=130).contains(&included));
    /// ```
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// The share of installations for which a bundle is in effect. The others keep the last bundle that
/// is not staged, and count what the staged one would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staging {
    percent: u8,
    salt: String,
}

impl Staging {
    /// Returns the staging for this percentage of all installations, 0 to 100. The salt selects
    /// them; keep it while the percentage grows, so that no installation goes back.
    ///
    /// Returns `None` for more than 100.
    #[must_use]
    pub fn new(percent: u8, salt: impl Into<String>) -> Option<Self> {
        let salt = salt.into();
        (percent <= 100).then_some(Self { percent, salt })
    }

    /// Returns the percentage of installations, 0 to 100.
    #[must_use]
    pub fn percent(&self) -> u8 {
        self.percent
    }

    /// Returns the salt of the roll-out.
    #[must_use]
    pub fn salt(&self) -> &str {
        &self.salt
    }

    /// Returns whether the bundle is in effect for this installation: whether the first 8 bytes of
    /// SHA-256(salt ‖ install ID), as a big-endian number, are below the percentage of 2⁶⁴.
    #[must_use]
    pub fn includes(&self, install: InstallId) -> bool {
        let digest = sha256(&[self.salt.as_bytes(), &install.0]);
        let position = digest.first_chunk().copied().unwrap_or_default();
        let position = u128::from(u64::from_be_bytes(position));
        // In 128 bits, since a percentage times 2^64 needs 71.
        position * 100 < u128::from(self.percent) << 64
    }
}
