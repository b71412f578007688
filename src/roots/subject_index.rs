//! [`SubjectIndex`], by which the anchors of a subject are found.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// The positions of the anchors whose subject has a given hash, in ascending order. The subjects
/// come from the application, so a fast hash is safe; a lookup compares the bytes.
#[derive(Default)]
pub(crate) struct SubjectIndex {
    seed: RandomState,
    first: HashMap<u64, usize, RandomState>,
    /// The next position with the same hash.
    next: Vec<Option<usize>>,
}

impl SubjectIndex {
    pub(crate) fn new<'a>(
        subjects: impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator,
    ) -> Self {
        let mut index = Self::default();
        index.first.reserve(subjects.len());
        // From the end, so that each position follows those before it.
        let next = subjects.enumerate().rev().map(|(position, subject)| {
            let hash = index.seed.hash_one(subject);
            index.first.insert(hash, position)
        });
        index.next = next.collect();
        index.next.reverse();
        index
    }

    pub(crate) fn get(&self, subject: &[u8]) -> impl Iterator<Item = usize> {
        let first = self.first.get(&self.seed.hash_one(subject)).copied();
        std::iter::successors(first, |position| *self.next.get(*position)?)
    }

    /// Lets a lookup of this subject find this position, as if another one had the same hash.
    #[cfg(test)]
    pub(crate) fn add_collision(&mut self, subject: &[u8], position: usize) {
        self.first.insert(self.seed.hash_one(subject), position);
    }
}
