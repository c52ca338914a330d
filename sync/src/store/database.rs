//! `DIR/verge.sqlite`: the SQL behind the records. Only the writer thread of `records` uses it.
//!
//! Schema and pragmas: `docs/format.md`, database. Nothing is cached here; a crash loses the
//! transaction that has not been committed, whole.

use super::error::{At, StoreError};
use super::records::{Batch, MetaValue, Outcome, Placed, Row};
use crate::digest::Digest;
use crate::id::{RecordId, Version};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Each step brings the schema from the number of its index to the next; none is ever changed once
/// released. `user_version` is the number of steps done.
const MIGRATIONS: &[&str] = &[
    // 0x56726765 is "Vrge": tells file(1) and people what this is.
    "PRAGMA application_id = 0x56726765;
     CREATE TABLE record (
         id       BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 32),
         kind     INTEGER NOT NULL,
         subject  BLOB    NOT NULL,
         author   BLOB    NOT NULL CHECK (length(author) = 32),
         epoch    INTEGER NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295),
         sequence INTEGER NOT NULL CHECK (sequence BETWEEN 0 AND 4294967295),
         bytes    BLOB    NOT NULL
     ) STRICT;
     CREATE INDEX record_place ON record (kind, subject, author, epoch, sequence, id);
     CREATE TABLE meta (
         key   TEXT NOT NULL PRIMARY KEY,
         value ANY  NOT NULL
     ) STRICT, WITHOUT ROWID;",
    // The versions that are here whole and were checked.
    "CREATE TABLE whole (
         version BLOB NOT NULL PRIMARY KEY CHECK (length(version) = 32)
     ) STRICT, WITHOUT ROWID;",
];

/// The open database.
pub(super) struct Database {
    path: PathBuf,
    connection: Connection,
}

impl Database {
    /// Opens, or makes, the database, checks it and brings it to the newest schema. `SQLite` syncs
    /// the directory for its log but not for the database itself: that is left to the caller.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let at = |error| StoreError::database(path, error);
        // Made by us for its mode, which the log then has too.
        let mut options = OpenOptions::new();
        options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .at("open", path)?;
        let connection = Connection::open(path).map_err(at)?;
        configure(&connection).map_err(at)?;
        let mut database = Self {
            path: path.to_owned(),
            connection,
        };
        database.check()?;
        database.migrate()?;
        Ok(database)
    }

    /// Reads every page once: damage is a sentence at the start, not a surprise later.
    fn check(&self) -> Result<(), StoreError> {
        let verdict: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| self.error(error))?;
        if verdict == "ok" {
            return Ok(());
        }
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Err(self.error(rusqlite::Error::SqliteFailure(code, Some(verdict))))
    }

    fn migrate(&mut self) -> Result<(), StoreError> {
        let found: u32 = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(|error| self.error(error))?;
        let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
        if found > known {
            return Err(StoreError::DatabaseNewer {
                path: self.path.clone(),
                found,
                known,
            });
        }
        for (version, sql) in (1_u32..)
            .zip(MIGRATIONS)
            .filter(|(version, _)| *version > found)
        {
            run_migration(&mut self.connection, sql, version)
                .map_err(|error| StoreError::database(&self.path, error))?;
        }
        Ok(())
    }

    /// Writes all batches in one transaction and answers for each; durable when this returns.
    pub(super) fn commit(&mut self, batches: &[&Batch]) -> Result<Vec<Outcome>, StoreError> {
        let result = apply(&mut self.connection, batches);
        result.map_err(|error| StoreError::database(&self.path, error))
    }

    /// Every record, sorted by id.
    pub(super) fn all(&self) -> Result<Vec<Row>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Row>> {
            let mut statement = self.connection.prepare(
                "SELECT id, kind, subject, author, epoch, sequence, bytes FROM record ORDER BY id",
            )?;
            statement.query_map([], read_row)?.collect()
        };
        read().map_err(|error| self.error(error))
    }

    /// The value under `key`.
    pub(super) fn meta(&self, key: &str) -> Result<Option<MetaValue>, StoreError> {
        self.connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                Ok(match row.get_ref(0)? {
                    ValueRef::Integer(number) => MetaValue::Number(number.cast_unsigned()),
                    ValueRef::Blob(bytes) => MetaValue::Bytes(bytes.to_vec()),
                    other => {
                        return Err(rusqlite::Error::InvalidColumnType(
                            0,
                            "value".to_owned(),
                            other.data_type(),
                        ));
                    }
                })
            })
            .optional()
            .map_err(|error| self.error(error))
    }

    /// The versions that are here whole.
    pub(super) fn whole(&self) -> Result<Vec<Version>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Version>> {
            let mut statement = self.connection.prepare("SELECT version FROM whole")?;
            let versions = statement.query_map([], |row| Ok(Version::from_bytes(row.get(0)?)))?;
            versions.collect()
        };
        read().map_err(|error| self.error(error))
    }

    fn error(&self, error: rusqlite::Error) -> StoreError {
        StoreError::database(&self.path, error)
    }
}

/// The lock comes first: an exclusive owner keeps the log's index in its own memory, without the
/// shared memory map that would be a SIGBUS on a failing disk.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA mmap_size = 0;
         PRAGMA cache_size = -2048;
         PRAGMA journal_size_limit = 8388608;",
    )
}

/// A crash leaves the former schema with the former number.
fn run_migration(connection: &mut Connection, sql: &str, version: u32) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(sql)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

fn apply(connection: &mut Connection, batches: &[&Batch]) -> rusqlite::Result<Vec<Outcome>> {
    let transaction = connection.transaction()?;
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        let mut outcome = Outcome::default();
        for row in &batch.rows {
            outcome.placed.push(place(&transaction, row)?);
        }
        for id in &batch.gone {
            transaction
                .prepare_cached("DELETE FROM record WHERE id = ?1")?
                .execute([id.as_bytes()])?;
        }
        for (key, value) in &batch.meta {
            put_meta(&transaction, key, value)?;
        }
        for version in &batch.whole {
            transaction
                .prepare_cached("INSERT OR IGNORE INTO whole (version) VALUES (?1)")?
                .execute([version.as_bytes()])?;
        }
        for version in &batch.not_whole {
            transaction
                .prepare_cached("DELETE FROM whole WHERE version = ?1")?
                .execute([version.as_bytes()])?;
        }
        outcomes.push(outcome);
    }
    transaction.commit()?;
    Ok(outcomes)
}

/// Puts one record in, unless it is there.
fn place(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<Placed> {
    if let Some(stored) = stored_bytes(transaction, &row.id)? {
        return settle_bytes(transaction, row, &stored);
    }
    insert(transaction, row)?;
    Ok(Placed::New)
}

/// Two valid byte forms of one id differ in their signatures only; the lower digest stays, on every
/// node the same.
fn settle_bytes(
    transaction: &Transaction<'_>,
    row: &Row,
    stored: &[u8],
) -> rusqlite::Result<Placed> {
    if Digest::of(&row.bytes) >= Digest::of(stored) {
        return Ok(Placed::Known);
    }
    transaction
        .prepare_cached("UPDATE record SET bytes = ?2 WHERE id = ?1")?
        .execute(params![row.id.as_bytes(), row.bytes])?;
    Ok(Placed::Replaced)
}

fn stored_bytes(transaction: &Transaction<'_>, id: &RecordId) -> rusqlite::Result<Option<Vec<u8>>> {
    transaction
        .prepare_cached("SELECT bytes FROM record WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()
}

fn insert(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
    let values = params![
        row.id.as_bytes(),
        row.kind.cast_signed(),
        row.subject,
        row.author,
        row.epoch,
        row.sequence,
        row.bytes
    ];
    transaction
        .prepare_cached(
            "INSERT INTO record (id, kind, subject, author, epoch, sequence, bytes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(values)?;
    Ok(())
}

fn put_meta(transaction: &Transaction<'_>, key: &str, value: &MetaValue) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?;
    match value {
        MetaValue::Number(number) => statement.execute(params![key, number.cast_signed()])?,
        MetaValue::Bytes(bytes) => statement.execute(params![key, bytes])?,
    };
    Ok(())
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: RecordId::from_bytes(row.get(0)?),
        kind: row.get::<_, i64>(1)?.cast_unsigned(),
        subject: row.get(2)?,
        author: row.get(3)?,
        epoch: row.get(4)?,
        sequence: row.get(5)?,
        bytes: row.get(6)?,
    })
}
