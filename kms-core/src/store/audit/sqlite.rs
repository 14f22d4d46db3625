use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::audit::{AuditError, AuditStore, AuditTx, AuditWork, Block, ChainHash, SignedHead};
use crate::model::Timestamp;
use crate::store::StoreError;
use crate::store::sqlite::{connect, migrate};

/// The steps from an empty database to the present schema. A step is never changed, only added.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];
const COLUMNS: &str = "first, count, time, start_hash, end_hash, records, signature";

/// An audit log in a SQLite database of its own, so that a record does not make anybody look again for changes of keys.
pub struct SqliteAuditStore {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl std::fmt::Debug for SqliteAuditStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteAuditStore")
    }
}

impl SqliteAuditStore {
    /// Opens the database at `path`, creates it if it is missing, and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut writer = connect(path)?;
        migrate(&mut writer, MIGRATIONS)?;
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(connect(path)?) })
    }
}

/// A panic inside a transaction rolls it back when the transaction is dropped, so the connection is good again.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: rusqlite::Error) -> AuditError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => AuditError::Busy,
        _ => AuditError::Backend(error.to_string()),
    }
}

impl AuditStore for SqliteAuditStore {
    fn with_tx(&self, work: AuditWork<'_>) -> Result<(), AuditError> {
        let mut writer = lock(&self.writer);
        let tx =
            SqliteAuditTx(writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?);
        work(&tx)?;
        tx.0.commit().map_err(failed)
    }

    fn head(&self) -> Result<Option<SignedHead>, AuditError> {
        head(&lock(&self.reader))
    }

    fn blocks(&self, first: u64, limit: usize) -> Result<Vec<Block>, AuditError> {
        blocks(&lock(&self.reader), first, limit)
    }

    fn block_before(&self, number: u64) -> Result<Option<u64>, AuditError> {
        let reader = lock(&self.reader);
        let sql = "SELECT max(first) FROM audit_block WHERE first <= ?1";
        let found: Option<i64> =
            reader.query_row(sql, [number_of(number)], |row| row.get(0)).map_err(failed)?;
        Ok(found.map(i64::cast_unsigned))
    }
}

struct SqliteAuditTx<'a>(Transaction<'a>);

impl AuditTx for SqliteAuditTx<'_> {
    fn head(&self) -> Result<Option<SignedHead>, AuditError> {
        head(&self.0)
    }

    fn put_head(&self, head: &SignedHead) -> Result<(), AuditError> {
        let sql = "INSERT INTO audit_head VALUES (1, ?1, ?2)
                   ON CONFLICT (only) DO UPDATE SET body = excluded.body, signature = excluded.signature";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        statement.execute(params![head.body, head.signature]).map(drop).map_err(failed)
    }

    fn block_from(&self, first: u64) -> Result<Option<Block>, AuditError> {
        Ok(blocks(&self.0, first, 1)?.pop())
    }

    fn put_block(&self, block: &Block) -> Result<(), AuditError> {
        let sql = "INSERT INTO audit_block VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let row = params![
            number_of(block.first),
            number_of(block.count),
            block.time.as_millis(),
            block.start.as_bytes(),
            block.end.as_bytes(),
            block.records,
            block.signature
        ];
        statement.execute(row).map(drop).map_err(failed)
    }

    fn delete_block(&self, first: u64) -> Result<(), AuditError> {
        let sql = "DELETE FROM audit_block WHERE first = ?1";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        statement.execute([number_of(first)]).map(drop).map_err(failed)
    }
}

fn head(connection: &Connection) -> Result<Option<SignedHead>, AuditError> {
    let mut statement =
        connection.prepare_cached("SELECT body, signature FROM audit_head").map_err(failed)?;
    let row = |row: &Row<'_>| Ok(SignedHead { body: row.get(0)?, signature: row.get(1)? });
    statement.query_row([], row).optional().map_err(failed)
}

fn blocks(connection: &Connection, first: u64, limit: usize) -> Result<Vec<Block>, AuditError> {
    let sql = format!("SELECT {COLUMNS} FROM audit_block WHERE first >= ?1 ORDER BY first LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![number_of(first), limit], block_row).map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}

/// Whatever the row holds becomes a block; whether it is one, its signature tells.
fn block_row(row: &Row<'_>) -> rusqlite::Result<Block> {
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let hash = |column| -> rusqlite::Result<ChainHash> {
        let bytes: Vec<u8> = row.get(column)?;
        Ok(ChainHash::from_bytes(bytes.try_into().unwrap_or_default()))
    };
    Ok(Block {
        first: number(0)?,
        count: number(1)?,
        time: Timestamp::from_millis(row.get(2)?),
        start: hash(3)?,
        end: hash(4)?,
        records: row.get(5)?,
        signature: row.get(6)?,
    })
}

/// SQL has no unsigned numbers. No log gets that long.
fn number_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
