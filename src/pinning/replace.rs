//! Replacement of the static pins of an application.

use crate::pinning::build_error::BuildError;
use crate::pinning::handle::Pinning;
use crate::pinning::rare_rules::merge_settings;
use crate::pinning::static_pins::{StaticEntries, StaticPins};
#[cfg(feature = "bundles")]
use crate::policy::StaticRules;
use crate::policy::{Host, IntoStaticRules, PinPolicy};

impl Pinning {
    /// Replaces all static pins of all clones in one step: each evaluation uses either the old ones
    /// or the new ones. `rules` are pairs of a host and its policy, or a `PinFile`. If the builder had
    /// a pin file and other policies beside it, a new pin file replaces the pin file only.
    ///
    /// Also replaced are the refused keys, the overlap and the rules for unpinned hosts of an
    /// earlier pin file. Those that the builder set stay, and disabled hosts stay disabled. The
    /// roll-out counts of a host are kept if the counted pins stay the same.
    ///
    /// # Errors
    ///
    /// [`BuildError::Host`], [`BuildError::DuplicateHost`], [`BuildError::Exemption`],
    /// [`BuildError::HostInPinFile`] and [`BuildError::UnionOfGroups`], as from
    /// [`PinningBuilder::build`](crate::PinningBuilder::build). The pins are then unchanged.
    ///
    /// ```
    /// use pinhold::{PinPolicy, Pinning};
    ///
    /// let pinning = Pinning::builder().build()?;
    /// let policy = PinPolicy::new([
    ///     "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=",
    ///     "sha256/diGVwiVYbubAI3RW4hB9xU8e/CH2GnkuvVFZE8zmgzI=",
    /// ])?;
    /// pinning.replace_pins([("example.com", policy)])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace_pins<R: IntoStaticRules>(&self, rules: R) -> Result<(), BuildError> {
        let rules = rules.into_rules().map_err(BuildError::Host)?;
        let mut merge = self.shared.merge_settings;
        if R::HAS_SETTINGS {
            merge = Some(merge_settings);
        }
        let mut policies = rules.policies;
        if R::HAS_SETTINGS {
            policies = with_pin_file(self.shared.beside_pin_file.clone(), policies)?;
        }
        #[cfg(feature = "bundles")]
        if let Some(bundles) = &self.shared.bundles {
            let settings = rules.settings;
            let rules = StaticRules { policies, settings };
            return bundles.replace_base(&self.shared, rules, set_origin::<R>);
        }
        let merged = merge.map(|merge| merge(&self.shared.settings, rules.settings));
        let entries = StaticEntries::new(policies, merged.unwrap_or_default())?;
        self.shared.replace_entries(entries, set_origin::<R>);
        self.shared.wake_connections();
        Ok(())
    }
}

/// Records whether the rules are those of a pin file.
fn set_origin<R: IntoStaticRules>(statics: &mut StaticPins) {
    statics.has_pin_file = R::HAS_SETTINGS;
}

/// Returns the policies of the application and those of its pin file.
///
/// # Errors
///
/// [`BuildError::HostInPinFile`] for a host that both name.
pub(crate) fn with_pin_file(
    mut policies: Vec<(Host, PinPolicy)>,
    of_file: Vec<(Host, PinPolicy)>,
) -> Result<Vec<(Host, PinPolicy)>, BuildError> {
    let is_named = |host| policies.iter().any(|(known, _)| known == host);
    if let Some((host, _)) = of_file.iter().find(|(host, _)| is_named(host)) {
        return Err(BuildError::HostInPinFile { host: host.clone() });
    }
    policies.extend(of_file);
    Ok(policies)
}
