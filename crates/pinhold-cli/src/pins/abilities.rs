//! [`Abilities`], what a format can say of a pin file.

use crate::pins::loss::LossKind;

/// What a format can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    pub(crate) names: Vec<Names>,
    pub(crate) roles: Roles,
    pub(crate) exempt: Exempt,
    pub(crate) expiry: Expiry,
    pub(crate) overlap: Overlaps,
    /// The largest number of endpoints of a policy.
    pub(crate) report_uris: usize,
    /// Whether a host has one entry, and so one policy.
    pub(crate) one_entry: bool,
    /// What needs no more than a yes or no: candidates, report-only policies, the settings for
    /// user-added roots and plain HTTP, policies with a single pin, and all that concerns the whole
    /// file.
    pub(crate) says: Vec<LossKind>,
}

/// Names that the format can pin at once, beyond a single host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// A host and the names with one label more, with the same pins.
    HostAndOneLabel,
    HostAndSubdomains,
    OneLabel,
    Subdomains,
}

/// The requirements that a format can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Roles {
    /// One group of pins that match anywhere in the chain.
    Any,
    Full,
    /// One group of pins that match the leaf.
    Leaf,
    /// A group of pins that match the leaf, one of pins that match a CA, or both.
    LeafAndCa,
    /// One group of pins with any roles.
    OneGroup,
}

/// The exemptions that a format can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exempt {
    /// By an entry without pins, which ends the effect of all policies above it.
    Entry,
    /// The same, for the name alone.
    EntryAlone,
    Full,
    Never,
}

/// The expiries that a format can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// The beginning of a day in the time zone of the device; then the pins have no effect.
    DateOfDevice,
    /// The same, in UTC.
    DateUtc,
    Full,
    /// A duration from each response.
    MaxAge,
    Never,
}

/// Which pins apply to a name that several policies cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlaps {
    /// Those of any one of them, unless one is of the name itself.
    Arbitrary,
    /// Those of the nearest policy, even if it does not cover the name.
    Blocking,
    Both,
    /// Those of the nearest policy.
    Nearest,
    Union,
    /// In a comparison of the two above: the pins of all are added to the nearest.
    Flattened,
}

impl Abilities {
    /// What a pin file can say: all.
    pub(crate) fn full() -> Self {
        Self {
            names: vec![
                Names::HostAndOneLabel,
                Names::HostAndSubdomains,
                Names::OneLabel,
                Names::Subdomains,
            ],
            roles: Roles::Full,
            exempt: Exempt::Full,
            expiry: Expiry::Full,
            overlap: Overlaps::Both,
            report_uris: usize::MAX,
            one_entry: false,
            says: vec![
                LossKind::Backup,
                LossKind::Candidate,
                LossKind::PlainHttp,
                LossKind::Port,
                LossKind::RefusedKeys,
                LossKind::ReportOnly,
                LossKind::UnpinnedHosts,
                LossKind::UserAddedRoots,
            ],
        }
    }

    pub(crate) fn can_say(&self, kind: LossKind) -> bool {
        self.says.contains(&kind)
    }

    pub(crate) fn can_name(&self, names: Names) -> bool {
        self.names.contains(&names)
    }

    /// Returns what both formats can say.
    pub(crate) fn meet(&self, other: &Self) -> Self {
        Self {
            names: common(&self.names, &other.names),
            roles: self.roles.meet(other.roles),
            exempt: self.exempt.meet(other.exempt),
            expiry: self.expiry.meet(other.expiry),
            overlap: self.overlap.meet(other.overlap),
            report_uris: self.report_uris.min(other.report_uris),
            one_entry: self.one_entry || other.one_entry,
            says: common(&self.says, &other.says),
        }
    }
}

impl Roles {
    fn meet(self, other: Self) -> Self {
        match (self, other) {
            (Self::Full, role) | (role, Self::Full) => role,
            (Self::Any, _) | (_, Self::Any) => Self::Any,
            (Self::Leaf, _) | (_, Self::Leaf) => Self::Leaf,
            (one, other) if one == other => one,
            _ => Self::OneGroup,
        }
    }
}

impl Exempt {
    fn meet(self, other: Self) -> Self {
        match (self, other) {
            (Self::Full, it) | (it, Self::Full) => it,
            (one, other) if one == other => one,
            (Self::Entry, Self::EntryAlone) | (Self::EntryAlone, Self::Entry) => Self::EntryAlone,
            _ => Self::Never,
        }
    }
}

impl Expiry {
    fn meet(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            // A duration from each response can't be compared with a time.
            (Self::Never | Self::MaxAge, _) | (_, Self::Never | Self::MaxAge) => Self::Never,
            (Self::Full, it) | (it, Self::Full) => it,
            _ => Self::DateOfDevice,
        }
    }
}

impl Overlaps {
    fn meet(self, other: Self) -> Self {
        match (self, other) {
            (Self::Both, it) | (it, Self::Both) => it,
            (one, other) if one == other => one,
            (Self::Union | Self::Flattened, _) | (_, Self::Union | Self::Flattened) => {
                Self::Flattened
            }
            (Self::Blocking, _) | (_, Self::Blocking) => Self::Blocking,
            _ => Self::Nearest,
        }
    }
}

fn common<T: Copy + PartialEq>(one: &[T], other: &[T]) -> Vec<T> {
    let both = one.iter().filter(|it| other.contains(it));
    both.copied().collect()
}
