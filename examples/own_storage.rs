//! An application's own storage of noted pins: [`RedbStorage`], one table in a redb database.
//!
//! The program copies the entries of a store file to the database, and opens a store on that.
//! `cargo bench --bench store` measures from how many hosts on this storage is faster than a file.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::Path;

use pinhold::policy::KnownPinnedHost;
use pinhold::storage::{Batch, Change, Storage, StorageError};
use pinhold::{FileStorage, PinStore};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

const TABLE: TableDefinition<'_, &str, &str> = TableDefinition::new("noted pins");

/// A table of host names and entries as JSON text. redb locks its file, so no other process changes
/// the entries.
pub(crate) struct RedbStorage(Database);

impl RedbStorage {
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let mut options = Database::builder();
        // Without this check, redb may panic later on a file that another program has altered.
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

    /// Makes all of the changes, or none if an error occurs or the process ends before the commit.
    fn write(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        // `commit` returns when the changes are on disk. This is the default; a store relies on it.
        transaction.set_durability(Durability::Immediate)?;
        let mut table = transaction.open_table(TABLE)?;
        for change in changes {
            match change {
                Change::ClearedSince(time) => table.retain(|_, text| {
                    KnownPinnedHost::from_json(text).is_ok_and(|known| known.noted_at < *time)
                })?,
                Change::Noted { entry, .. } | Change::Replaced { entry, .. } => {
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

    // For example a file that an earlier version of the application has written.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/v1.jsonl");
    let entries = FileStorage::new(file).load()?;
    let changes = entries.into_iter().map(Change::noted);
    let changes = changes.collect::<Vec<_>>();
    let mut storage = RedbStorage::open(&database)?;
    storage.commit(&Batch::new(&changes, &Vec::new))?;
    drop(storage);
    println!("copied the pins of {} hosts to the database", changes.len());

    let store = PinStore::open(RedbStorage::open(&database)?)?;
    println!("the store on the database has these noted pins:");
    for known in store.list() {
        let pins = known.pins.iter().map(ToString::to_string);
        println!("  {}: {}", known.host, pins.collect::<Vec<_>>().join(", "));
    }
    Ok(())
}
