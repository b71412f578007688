//! [`PinGroup`], pins of which a chain must contain one, and [`Requirement`], the groups of a
//! policy.

use std::sync::Arc;

use crate::policy::fingerprint::SpkiFingerprint;
use crate::policy::fingerprint_error::ParseFingerprintError;
use crate::policy::pin_set::{PinSet, PolicyError};

/// Pins of which the validated chain must contain at least one, in the position that the pin's role
/// demands.
///
/// A policy has one group or several, all of which must hold ([`PinPolicy::all_of`]).
///
/// ```
/// use pinhold::PinPolicy;
/// use pinhold::policy::PinGroup;
///
/// const LEAF: &str = "sha256/UvrJ7xWQqIai1LiDUqrxuenMtEA5O+GkGhR09c59iJk=";
/// const NEXT_LEAF: &str = "sha256/dQM9OzcacVHH/cQgoluB6qJ5CSvgqL5ejLzW7eR3Av4=";
/// const ISRG_X1: &str = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=";
/// const GTS_R1: &str = "sha256/hxqRlPTu1bMS/0DITB1SSu0vd4u/8l8TjPgfaAp63Gc=";
///
/// // One of our own keys, certified by one of two CAs.
/// let ours = PinGroup::leaf([LEAF, NEXT_LEAF])?;
/// let policy = PinPolicy::all_of([ours, PinGroup::ca([ISRG_X1, GTS_R1])?])?;
/// assert_eq!(policy.groups().len(), 2);
/// # Ok::<(), pinhold::policy::PolicyError>(())
/// ```
///
/// [`PinPolicy::all_of`]: crate::PinPolicy::all_of
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PinGroup {
    any: Option<PinSet>,
    ca: Option<PinSet>,
    leaf: Option<PinSet>,
}

impl PinGroup {
    /// Creates a group of pins that match any key of the chain.
    ///
    /// # Errors
    ///
    /// [`PolicyError::Pin`] for a pin that can't be parsed, [`PolicyError::NoPins`] if there is
    /// none.
    pub fn new<P>(pins: impl IntoIterator<Item = P>) -> Result<Self, PolicyError>
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        Self::of_role(PinRole::Any, pins)
    }

    /// Creates a group of pins that match the key of the server's certificate only.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    pub fn leaf<P>(pins: impl IntoIterator<Item = P>) -> Result<Self, PolicyError>
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        Self::of_role(PinRole::Leaf, pins)
    }

    /// Creates a group of pins that match the keys of CAs only: of the intermediate certificates
    /// and of the trust anchor.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    pub fn ca<P>(pins: impl IntoIterator<Item = P>) -> Result<Self, PolicyError>
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        Self::of_role(PinRole::Ca, pins)
    }

    /// Creates a group of pins with this role.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    pub fn of_role<P>(role: PinRole, pins: impl IntoIterator<Item = P>) -> Result<Self, PolicyError>
    where
        P: TryInto<SpkiFingerprint, Error: Into<ParseFingerprintError>>,
    {
        Ok(Self::of_set(role, PinSet::parse(pins)?))
    }

    pub(crate) fn of_set(role: PinRole, pins: PinSet) -> Self {
        let mut group = Self {
            any: None,
            ca: None,
            leaf: None,
        };
        *group.slot(role) = Some(pins);
        group
    }

    /// Joins the pins of both groups: a chain that contains a pin of either satisfies the result.
    ///
    /// ```
    /// use pinhold::policy::{PinGroup, PinRole};
    ///
    /// const LEAF: &str = "sha256/UvrJ7xWQqIai1LiDUqrxuenMtEA5O+GkGhR09c59iJk=";
    /// const ISRG_X1: &str = "sha256/C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=";
    ///
    /// let group = PinGroup::leaf([LEAF])?.or(PinGroup::ca([ISRG_X1])?);
    /// assert_eq!(group.pins(PinRole::Leaf).map(|pins| pins.len()), Some(1));
    /// assert!(group.pins(PinRole::Any).is_none());
    /// # Ok::<(), pinhold::policy::PolicyError>(())
    /// ```
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (role, pins) in [
            (PinRole::Any, other.any),
            (PinRole::Ca, other.ca),
            (PinRole::Leaf, other.leaf),
        ] {
            let slot = self.slot(role);
            *slot = match (slot.take(), pins) {
                (Some(one), Some(other)) => Some(one.join(&other)),
                (one, other) => one.or(other),
            };
        }
        self
    }

    /// Returns the pins with this role; `None` if there is none.
    #[must_use]
    pub fn pins(&self, role: PinRole) -> Option<&PinSet> {
        match role {
            PinRole::Any => self.any.as_ref(),
            PinRole::Ca => self.ca.as_ref(),
            PinRole::Leaf => self.leaf.as_ref(),
        }
    }

    fn slot(&mut self, role: PinRole) -> &mut Option<PinSet> {
        match role {
            PinRole::Any => &mut self.any,
            PinRole::Ca => &mut self.ca,
            PinRole::Leaf => &mut self.leaf,
        }
    }

    /// Returns whether a path with these keys, leaf first, contains a pin of the group.
    pub(crate) fn matches(&self, keys: &[SpkiFingerprint]) -> bool {
        let (leaf, cas) = keys.split_at(keys.len().min(1));
        let has = |pins: &Option<PinSet>, keys| pins.as_ref().is_some_and(|it| it.matches(keys));
        has(&self.any, keys) || has(&self.leaf, leaf) || has(&self.ca, cas)
    }

    fn sets(&self) -> impl Iterator<Item = &PinSet> {
        [&self.any, &self.ca, &self.leaf].into_iter().flatten()
    }

    /// Returns each pin with its role, in the order leaf, CA, any.
    pub fn iter(&self) -> impl Iterator<Item = (PinRole, &SpkiFingerprint)> {
        let of = |role| self.pins(role).into_iter().flat_map(PinSet::iter);
        let roles = [PinRole::Leaf, PinRole::Ca, PinRole::Any];
        roles
            .into_iter()
            .flat_map(move |role| of(role).map(move |pin| (role, pin)))
    }

    /// Returns whether there are two distinct keys, one of which can be a backup.
    pub(crate) fn has_backup(&self) -> bool {
        let mut pins = self.iter().map(|(_, pin)| pin);
        let first = pins.next();
        pins.any(|pin| Some(pin) != first)
    }
}

/// The position in the validated chain at which a pinned key is accepted.
///
/// ```
/// use pinhold::policy::PinRole;
///
/// assert_eq!(PinRole::Ca.to_string(), "ca");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PinRole {
    /// Anywhere in the chain, as in RFC 7469.
    Any,
    /// In an intermediate certificate or the trust anchor.
    Ca,
    /// In the server's own certificate.
    Leaf,
}

impl std::fmt::Display for PinRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Any => "any",
            Self::Ca => "ca",
            Self::Leaf => "leaf",
        })
    }
}

/// What a chain must contain: a pin of each group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// The pins of all groups.
    pub(crate) pins: PinSet,
    /// `None` if any of `pins` is sufficient in any position, as for nearly every policy.
    pub(crate) groups: Option<Arc<[PinGroup]>>,
}

impl Requirement {
    /// Returns the requirement of one of these pins, in any position.
    pub(crate) fn any(pins: PinSet) -> Self {
        Self { pins, groups: None }
    }

    pub(crate) fn has_several_groups(&self) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.len() > 1)
    }

    /// Returns the requirement of these groups, equal ones once.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoPins`] if there is no group.
    pub(crate) fn new(groups: impl IntoIterator<Item = PinGroup>) -> Result<Self, PolicyError> {
        let mut distinct = Vec::new();
        for group in groups {
            if !distinct.contains(&group) {
                distinct.push(group);
            }
        }
        Self::of_distinct(distinct)
    }

    fn of_distinct(distinct: Vec<PinGroup>) -> Result<Self, PolicyError> {
        let mut sets = distinct.iter().flat_map(PinGroup::sets);
        let first = sets.next().ok_or(PolicyError::NoPins)?.clone();
        let pins = sets.fold(first, |pins, set| pins.join(set));
        let groups = match &*distinct {
            [group] if group.ca.is_none() && group.leaf.is_none() => None,
            _ => Some(distinct.into()),
        };
        Ok(Self { pins, groups })
    }

    /// Returns the requirement of a single group; `None` if there are several.
    pub(crate) fn single_group(&self) -> Option<PinGroup> {
        match self.groups.as_deref() {
            None => Some(PinGroup::of_set(PinRole::Any, self.pins.clone())),
            Some([group]) => Some(group.clone()),
            Some(_) => None,
        }
    }

    pub(crate) fn groups(&self) -> Vec<PinGroup> {
        let single = self.single_group().map(|group| vec![group]);
        single.unwrap_or_else(|| self.groups.iter().flat_map(|all| all.to_vec()).collect())
    }

    pub(crate) fn has_backup(&self) -> bool {
        match &self.groups {
            None => self.pins.len() > 1,
            Some(groups) => groups.iter().all(PinGroup::has_backup),
        }
    }
}
