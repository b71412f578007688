//! An application's own storage: [`RedbStorage`], one table in a redb database.
//!
//! The program copies the records of a store file to the database, and opens a store on that.
//! `cargo bench --bench store` compares it with a file.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::Path;

use pinhold::rustls::pki_types::UnixTime;
use pinhold::storage::{Change, Merged, Record, Storage, StorageError, Update};
use pinhold::{FileStorage, PinStore};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

/// Kind and key; time in seconds since 1970 and value.
const TABLE: TableDefinition<'_, (&str, &str), (u64, &str)> = TableDefinition::new("records");

/// A table of records. redb locks its file, so no other process changes them.
pub(crate) struct RedbStorage(Database);

impl RedbStorage {
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let mut options = Database::builder();
        // Without this check, redb may panic later on a file that another program has altered.
        options.set_check_integrity_on_open(true);
        Ok(Self(options.create(path).map_err(StorageError::other)?))
    }

    fn read(&self) -> Result<Vec<Record>, Box<dyn Error + Send + Sync>> {
        let transaction = self.0.begin_read()?;
        let table = match transaction.open_table(TABLE) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let records = table.iter()?.map(|row| {
            let (id, stored) = row?;
            let ((kind, key), (seconds, value)) = (id.value(), stored.value());
            let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
            Ok(Record::new(kind, key, value, time)?)
        });
        records.collect()
    }

    /// Makes all of the changes, or none if an error occurs or the process ends before the commit.
    fn write(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        // `commit` returns when the changes are on disk. This is the default; a store relies on it.
        transaction.set_durability(Durability::Immediate)?;
        let mut table = transaction.open_table(TABLE)?;
        for change in changes {
            match change.update() {
                Update::Put(record) => {
                    let stored = (record.time().as_secs(), record.value());
                    table.insert((record.kind(), record.key()), stored)?;
                }
                Update::Removed { kind, key } => drop(table.remove((&**kind, &**key))?),
                Update::ClearedSince { kind, time } => {
                    table.retain(|(of, _), (seconds, _)| of != kind || seconds < time.as_secs())?
                }
            }
        }
        drop(table);
        Ok(transaction.commit()?)
    }
}

impl Storage for RedbStorage {
    fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        self.read().map_err(StorageError::other)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Merged, StorageError> {
        self.write(changes).map_err(StorageError::other)?;
        Ok(Merged::Nothing)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("noted-pins.redb");

    // For example a file that an earlier version of the application has written.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/v2.jsonl");
    let records = FileStorage::new(file).load()?.into_iter();
    let changes = records.map(Change::put).collect::<Vec<_>>();
    let mut storage = RedbStorage::open(&database)?;
    storage.commit(&changes)?;
    drop(storage);
    println!("copied {} records to the database", changes.len());

    let store = PinStore::open(RedbStorage::open(&database)?)?;
    println!("the store on the database has these noted pins:");
    for known in store.list() {
        let pins = known.pins.iter().map(ToString::to_string);
        println!("  {}: {}", known.host, pins.collect::<Vec<_>>().join(", "));
    }
    Ok(())
}
