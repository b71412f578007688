//! [`HostTables`], the tables of all kinds of records that are kept by host beside noted pins.

#[cfg(feature = "hsts")]
use crate::hsts::KnownHstsHost;
#[cfg(feature = "first-use")]
use crate::known_keys::KnownKeys;
use crate::store::change::Change;
use crate::store::host_table::HostTable;
use crate::store::record::Record;
use crate::store::storage::Merged;

/// One table for each kind.
#[derive(Default)]
pub(crate) struct HostTables {
    #[cfg(feature = "first-use")]
    pub(crate) first_use: HostTable<KnownKeys>,
    #[cfg(feature = "hsts")]
    pub(crate) hsts: HostTable<KnownHstsHost>,
}

impl HostTables {
    pub(crate) fn load(&self, records: &[Record]) {
        #[cfg(feature = "first-use")]
        self.first_use.load(records);
        #[cfg(feature = "hsts")]
        self.hsts.load(records);
    }

    /// Returns these changes and those that are not stored yet.
    pub(crate) fn with_changes(&self, mut changes: Vec<Change>) -> Vec<Change> {
        #[cfg(feature = "first-use")]
        self.first_use.append_changes(&mut changes);
        #[cfg(feature = "hsts")]
        self.hsts.append_changes(&mut changes);
        changes
    }

    /// Returns whether an entry changed that open connections depend on.
    pub(crate) fn merge(&self, merged: &Merged, is_committed: bool) -> bool {
        let is_changed = false;
        // Keys are compared when a connection is made, not while it is open.
        #[cfg(feature = "first-use")]
        let _ = self.first_use.merge(merged, is_committed);
        #[cfg(feature = "hsts")]
        let is_changed = is_changed | self.hsts.merge(merged, is_committed);
        is_changed
    }

    pub(crate) fn store_again(&self) {
        #[cfg(feature = "first-use")]
        self.first_use.store_again();
        #[cfg(feature = "hsts")]
        self.hsts.store_again();
    }
}
