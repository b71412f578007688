//! [`Batch`], the changes of one commit.

use crate::store::change::Change;
use crate::store::noted::NotedChange;
#[cfg(feature = "bundles")]
use crate::store::other_changes::OtherChanges;
use crate::store::pending::Pending;

/// The changes of one commit.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) noted: Vec<NotedChange>,
    #[cfg(feature = "bundles")]
    pub(crate) others: OtherChanges,
    /// Dropped if the commit fails, since they are made again for the next one.
    #[cfg(any(feature = "first-use", feature = "health", feature = "hsts"))]
    pub(crate) recorded: Vec<Change>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        #[cfg(any(feature = "first-use", feature = "health", feature = "hsts"))]
        if !self.recorded.is_empty() {
            return false;
        }
        #[cfg(feature = "bundles")]
        if !self.others.as_slice().is_empty() {
            return false;
        }
        self.noted.is_empty()
    }

    /// Returns the changes as a storage takes them: those of whole kinds come first.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let changes = self.noted.iter().map(Change::from);
        #[cfg(feature = "bundles")]
        let changes = changes.chain(self.others.as_slice().iter().cloned());
        #[cfg(any(feature = "first-use", feature = "health", feature = "hsts"))]
        let changes = changes.chain(self.recorded.iter().cloned());
        #[cfg_attr(
            not(any(feature = "first-use", feature = "hsts")),
            expect(unused_mut, reason = "noted pins are in order")
        )]
        let mut changes = changes.collect::<Vec<_>>();
        #[cfg(any(feature = "first-use", feature = "hsts"))]
        changes.sort_by_key(|change| change.update().id().is_some());
        changes
    }

    /// Returns the changes in the form in which later ones are added to them.
    pub(crate) fn into_pending(self) -> Pending {
        let mut pending = Pending::default();
        let noted = self.noted.into_iter();
        noted.for_each(|change| pending.record(change));
        #[cfg(feature = "bundles")]
        pending.others.extend(self.others);
        pending
    }
}
