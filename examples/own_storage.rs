//! Noted pins in a database of one's own: [`RedbStorage`], one table of host and entry in redb.
//!
//! It moves the entries of a file into the database, and opens a store on that. From how many hosts
//! a database pays: `cargo bench --bench store`, which measures this very storage.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::Path;

use pinhold::policy::KnownPinnedHost;
use pinhold::storage::{Batch, Change, Storage, StorageError};
use pinhold::{FileStorage, PinStore};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

const TABLE: TableDefinition<'_, &str, &str> = TableDefinition::new("noted pins");

/// Entries as JSON text under the names of their hosts. redb locks its file, so no other process
/// changes what is stored.
pub(crate) struct RedbStorage(Database);

impl RedbStorage {
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let mut options = Database::builder();
        // Else redb may panic later over a file that was altered from outside.
        options.set_check_integrity_on_open(true);
        Ok(Self(options.create(path).map_err(StorageError::other)?))
    }

    fn read(&self) -> Result<Vec<String>, redb::Error> {
        let transaction = self.0.begin_read()?;
        let table = match transaction.open_table(TABLE) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let rows = table.iter()?.map(|row| Ok(row?.1.value().to_owned()));
        rows.collect()
    }

    /// All of the changes or, when it fails or the process dies on the way, none.
    fn write(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        // On disk when `commit` returns. It is the default; a store relies on it.
        transaction.set_durability(Durability::Immediate)?;
        let mut table = transaction.open_table(TABLE)?;
        for change in changes {
            match change {
                Change::ClearedSince(time) => table.retain(|_, text| {
                    KnownPinnedHost::from_json(text).is_ok_and(|known| known.noted_at < *time)
                })?,
                Change::Noted { entry, .. } | Change::Refreshed { entry, .. } => {
                    table.insert(entry.host.as_str(), entry.to_json().as_str())?;
                }
                Change::Removed { host, .. } => drop(table.remove(host.as_str())?),
            }
        }
        drop(table);
        Ok(transaction.commit()?)
    }
}

impl Storage for RedbStorage {
    fn load(&mut self) -> Result<Vec<KnownPinnedHost>, StorageError> {
        let rows = self.read().map_err(StorageError::other)?;
        let entries = rows.iter().map(|text| KnownPinnedHost::from_json(text));
        entries
            .map(|entry| entry.map_err(StorageError::other))
            .collect()
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<KnownPinnedHost>>, StorageError> {
        self.write(batch.changes()).map_err(StorageError::other)?;
        Ok(None)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("noted-pins.redb");

    // A file that an earlier version of the application has written, say.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/v1.jsonl");
    let entries = FileStorage::new(file).load()?;
    let changes = entries.into_iter().map(Change::noted);
    let changes = changes.collect::<Vec<_>>();
    let mut storage = RedbStorage::open(&database)?;
    storage.commit(&Batch::new(&changes, &Vec::new))?;
    drop(storage);
    println!(
        "moved {} hosts from a file into a database, and closed it",
        changes.len()
    );

    let store = PinStore::open(RedbStorage::open(&database)?)?;
    println!("a store opened on the database knows:");
    for known in store.list() {
        println!("  {} with {} pin(s)", known.host, known.pins.len());
    }
    Ok(())
}
