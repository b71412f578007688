//! [`OtherChanges`], the changes of other records than noted pins that wait for a commit.

use crate::store::change::Change;
use crate::store::record::Update;

/// Changes of other records that wait for a commit, at most one of each record.
#[derive(Clone, Debug, Default)]
pub(crate) struct OtherChanges(pub(super) Vec<Change>);

impl OtherChanges {
    /// Adds later changes. They keep their order, since a crash may store the first ones only.
    pub(crate) fn extend(&mut self, later: Self) {
        for change in later.0 {
            let mut known = self.0.iter().map(Change::update);
            let waiting = known.find(|known| known.id() == change.update().id());
            // The version of a bundle that waits is not replaced by a lower one either.
            if let Some(Update::Put(waiting)) = waiting
                && change.resolve(Some(waiting)).is_none()
            {
                continue;
            }
            self.0
                .retain(|known| known.update().id() != change.update().id());
            self.0.push(change);
        }
    }

    /// Adds changes of records that have none yet, before the others.
    pub(crate) fn add_stored(&mut self, stored: Vec<Change>) {
        let later = std::mem::replace(self, Self(stored));
        self.extend(later);
    }

    pub(crate) fn as_slice(&self) -> &[Change] {
        &self.0
    }
}

impl From<Vec<Change>> for OtherChanges {
    fn from(changes: Vec<Change>) -> Self {
        Self(changes)
    }
}
