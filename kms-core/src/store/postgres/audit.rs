use std::cell::RefCell;

use postgres::Row;

use super::connect::{Pool, PostgresConfig};
use super::tx::PostgresTx;
use super::{LOCK_FOR_AUDIT, reading, writing};
use crate::audit::{AuditError, AuditStore, AuditTx, AuditWork, Block, ChainHash, SignedHead};
use crate::model::Timestamp;
use crate::store::{Locality, RecordCodec, StoreError};

/// The audit log of all replicas, in the database of their keys.
pub struct PostgresAuditStore {
    pool: Pool,
    codec: RecordCodec,
}

impl std::fmt::Debug for PostgresAuditStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresAuditStore")
    }
}

impl PostgresAuditStore {
    /// A log in a database whose schema is up to date. Nothing in it is sealed, so the codec only has to be there.
    pub fn open(config: &PostgresConfig, codec: RecordCodec) -> Self {
        Self { pool: Pool::new(config.clone()), codec }
    }

    fn read<T>(
        &self,
        mut work: impl FnMut(&PostgresTx<'_, '_>) -> Result<T, StoreError>,
    ) -> Result<T, AuditError> {
        let found = RefCell::new(None);
        reading::<AuditError>(&self.pool, &self.codec, &Locality::Home, &mut |tx| {
            *found.borrow_mut() = Some(work(tx)?);
            Ok(())
        })?;
        found.into_inner().ok_or(AuditError::Missing)
    }
}

impl From<StoreError> for AuditError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::Busy,
            error => Self::Backend(error.to_string()),
        }
    }
}

impl AuditStore for PostgresAuditStore {
    fn with_tx(&self, work: AuditWork<'_>) -> Result<(), AuditError> {
        let Self { pool, codec } = self;
        writing::<AuditError>(pool, codec, &Locality::Home, LOCK_FOR_AUDIT, &mut |tx| work(tx), |_, _| {})
    }

    fn head(&self) -> Result<Option<SignedHead>, AuditError> {
        self.read(head)
    }

    fn blocks(&self, first: u64, limit: usize) -> Result<Vec<Block>, AuditError> {
        self.read(|tx| blocks(tx, first, limit))
    }

    fn block_before(&self, number: u64) -> Result<Option<u64>, AuditError> {
        let sql = "SELECT max(first) FROM audit_block WHERE first <= $1";
        let found = self.read(|tx| tx.row(sql, &[&number_of(number)]))?;
        Ok(found.and_then(|row| row.get::<_, Option<i64>>(0)).map(i64::cast_unsigned))
    }
}

impl AuditTx for PostgresTx<'_, '_> {
    fn head(&self) -> Result<Option<SignedHead>, AuditError> {
        Ok(head(self)?)
    }

    fn put_head(&self, head: &SignedHead) -> Result<(), AuditError> {
        let sql = "INSERT INTO audit_head VALUES (1, $1, $2)
                   ON CONFLICT (only_one) DO UPDATE SET body = excluded.body, signature = excluded.signature";
        Ok(self.execute(sql, &[&head.body, &head.signature])?)
    }

    fn block_from(&self, first: u64) -> Result<Option<Block>, AuditError> {
        Ok(blocks(self, first, 1)?.pop())
    }

    fn put_block(&self, block: &Block) -> Result<(), AuditError> {
        let (first, count) = (number_of(block.first), number_of(block.count));
        Ok(self.execute(
            "INSERT INTO audit_block VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                &first,
                &count,
                &block.time.as_millis(),
                &block.start.as_bytes().as_slice(),
                &block.end.as_bytes().as_slice(),
                &block.records,
                &block.signature,
            ],
        )?)
    }

    fn delete_block(&self, first: u64) -> Result<(), AuditError> {
        Ok(self.execute("DELETE FROM audit_block WHERE first = $1", &[&number_of(first)])?)
    }
}

fn head(tx: &PostgresTx<'_, '_>) -> Result<Option<SignedHead>, StoreError> {
    let found = tx.row("SELECT body, signature FROM audit_head", &[])?;
    Ok(found.map(|row| SignedHead { body: row.get(0), signature: row.get(1) }))
}

fn blocks(tx: &PostgresTx<'_, '_>, first: u64, limit: usize) -> Result<Vec<Block>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.rows(
        "SELECT first, count, time, start_hash, end_hash, records, signature FROM audit_block
         WHERE first >= $1 ORDER BY first LIMIT $2",
        &[&number_of(first), &limit],
    )?;
    Ok(rows.iter().map(block_row).collect())
}

/// Whatever the row holds becomes a block; whether it is one, its signature tells.
fn block_row(row: &Row) -> Block {
    let number = |column| row.get::<_, i64>(column).cast_unsigned();
    let hash = |column| ChainHash::from_bytes(row.get::<_, Vec<u8>>(column).try_into().unwrap_or_default());
    Block {
        first: number(0),
        count: number(1),
        time: Timestamp::from_millis(row.get(2)),
        start: hash(3),
        end: hash(4),
        records: row.get(5),
        signature: row.get(6),
    }
}

/// SQL has no unsigned numbers. No log gets that long.
fn number_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
