//! The embedded store: one SQLite database, used by several processes at once.
//!
//! Durability and secrecy come from the pragmas in [`connect`]: a committed change survives a power cut, and what is
//! deleted is overwritten in the database. The write-ahead log keeps old pages until [`MetadataStore::scrub`] empties
//! it.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::sql::{parse_key_id, parse_locality, select_key_regions, sql_limit};
use super::{
    AliasRecord, GrantFilter, GrantRecord, KeyRecord, Locality, MetadataStore, ReadTx, ReadWork, RecordCodec,
    StoreError, WriteTx, WriteWork,
};
use crate::error::KmsError;
use crate::model::{AliasName, GrantId, KeyId, KeyLastUsage, MaterialId, Timestamp};

/// How long a process waits for another one to finish its transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an erasure waits for readers. It is made good later if they take longer.
const SCRUB_TIMEOUT: Duration = Duration::from_secs(1);

/// The steps from an empty database to the present schema. A step is never changed, only added.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("grants.sql"),
    include_str!("identities.sql"),
    include_str!("settings.sql"),
    include_str!("custom_key_stores.sql"),
    include_str!("regions.sql"),
    include_str!("usage.sql"),
    include_str!("regional_key_stores.sql"),
];

/// A [`MetadataStore`] in a SQLite database.
#[derive(Clone)]
pub struct SqliteStore {
    database: Arc<Database>,
    locality: Locality,
}

/// The connections, which all Regions share.
struct Database {
    codec: RecordCodec,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    /// Never writes, so its `data_version` counts the changes of everybody else, and that is everybody: the other
    /// processes and the writer above. Apart from the reader, so that the check before each operation does not wait
    /// for a long list.
    watcher: Mutex<Connection>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

impl SqliteStore {
    /// Opens the database at `path`, creates it if it is missing, and brings its schema up to date.
    pub fn open(path: &Path, codec: RecordCodec) -> Result<Self, StoreError> {
        let mut writer = connect(path)?;
        migrate(&mut writer, MIGRATIONS)?;
        let (reader, watcher) = (connect(path)?, connect(path)?);
        let database = Database {
            codec,
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            watcher: Mutex::new(watcher),
        };
        let store = Self { database: Arc::new(database), locality: Locality::Home };
        // Makes good an erasure that a crash cut short.
        store.scrub()?;
        Ok(store)
    }
}

/// A panic inside a transaction rolls it back when the transaction is dropped, so the connection is good again.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(backend)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(backend)?;
    // The order matters: the journal mode is a property of the file, the others of this connection.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(backend)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(backend)?;
    connection.pragma_update(None, "secure_delete", "ON").map_err(backend)?;
    connection.pragma_update(None, "foreign_keys", "ON").map_err(backend)?;
    connection.pragma_update(None, "trusted_schema", "OFF").map_err(backend)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Brings the schema of a database up to date.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let supported = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(backend)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS migration (version INTEGER NOT NULL PRIMARY KEY, applied_at TEXT NOT NULL) STRICT",
    )
    .map_err(backend)?;
    let found: i64 = tx
        .query_row("SELECT coalesce(max(version), 0) FROM migration", [], |row| row.get(0))
        .map_err(backend)?;
    if found > supported {
        return Err(StoreError::NewerVersion { found, supported });
    }
    for (version, step) in (1_i64..).zip(migrations) {
        if version > found {
            tx.execute_batch(step).map_err(backend)?;
            tx.execute("INSERT INTO migration VALUES (?1, datetime('now'))", [version]).map_err(backend)?;
        }
    }
    tx.commit().map_err(backend)
}

pub(super) fn backend(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt { what: "the key database".into() }
        }
        _ => StoreError::Backend(error.to_string()),
    }
}

impl MetadataStore for SqliteStore {
    fn with_read(&self, work: ReadWork<'_>) -> Result<(), KmsError> {
        let mut reader = lock(&self.database.reader);
        let inner = reader.transaction().map_err(backend)?;
        work(&SqliteTx { inner: &inner, codec: &self.database.codec, locality: self.locality.clone() })
    }

    fn with_write(&self, work: WriteWork<'_>) -> Result<(), KmsError> {
        let mut writer = lock(&self.database.writer);
        let inner = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(backend)?;
        work(&SqliteTx { inner: &inner, codec: &self.database.codec, locality: self.locality.clone() })?;
        inner.commit().map_err(|error| backend(error).into())
    }

    fn at(&self, locality: &Locality) -> Arc<dyn MetadataStore> {
        Arc::new(Self { database: Arc::clone(&self.database), locality: locality.clone() })
    }

    fn change_counter(&self) -> Result<u64, StoreError> {
        let watcher = lock(&self.database.watcher);
        let mut statement = watcher.prepare_cached("PRAGMA data_version").map_err(backend)?;
        let version: i64 = statement.query_row([], |row| row.get(0)).map_err(backend)?;
        Ok(version.cast_unsigned())
    }

    fn scrub(&self) -> Result<bool, StoreError> {
        let writer = lock(&self.database.writer);
        let (erased, scrubbed): (i64, i64) = writer
            .query_row("SELECT erased, scrubbed FROM erasure", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(backend)?;
        if erased == scrubbed {
            return Ok(true);
        }
        writer.busy_timeout(SCRUB_TIMEOUT).map_err(backend)?;
        let emptied = empty_log(&writer, erased);
        writer.busy_timeout(BUSY_TIMEOUT).map_err(backend)?;
        match emptied {
            Err(StoreError::Busy) => Ok(false),
            other => other,
        }
    }
}

/// Writes the log back into the database, cuts it to nothing, and notes that this covers the first `erased` erasures:
/// what another process erases meanwhile is not covered. `false` if somebody still reads from the log.
fn empty_log(writer: &Connection, erased: i64) -> Result<bool, StoreError> {
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let blocked: i64 = writer.query_row(checkpoint, [], |row| row.get(0)).map_err(backend)?;
    if blocked != 0 {
        return Ok(false);
    }
    writer.execute("UPDATE erasure SET scrubbed = max(scrubbed, ?1)", [erased]).map_err(backend)?;
    Ok(true)
}

pub(super) struct SqliteTx<'a> {
    pub(super) inner: &'a Transaction<'a>,
    pub(super) codec: &'a RecordCodec,
    pub(super) locality: Locality,
}

impl SqliteTx<'_> {
    /// The Region of the rows.
    pub(super) fn region(&self) -> &str {
        self.locality.column()
    }

    fn blob(&self, sql: &str, parameters: &[&dyn rusqlite::ToSql]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut statement = self.inner.prepare_cached(sql).map_err(backend)?;
        statement.query_row(parameters, |row| row.get(0)).optional().map_err(backend)
    }

    pub(super) fn execute(&self, sql: &str, parameters: &[&dyn rusqlite::ToSql]) -> Result<(), StoreError> {
        self.inner.prepare_cached(sql).and_then(|mut one| one.execute(parameters)).map_err(backend)?;
        Ok(())
    }

    /// Remembered in the same transaction as the erasure, so that a crash before the log is emptied is made good.
    pub(super) fn request_scrub(&self) -> Result<(), StoreError> {
        self.execute("UPDATE erasure SET erased = erased + 1", &[])
    }

    fn key_ids(&self, sql: &str, parameters: &[&dyn rusqlite::ToSql]) -> Result<Vec<KeyId>, StoreError> {
        let mut statement = self.inner.prepare_cached(sql).map_err(backend)?;
        let rows = statement.query_map(parameters, |row| row.get::<_, String>(0)).map_err(backend)?;
        rows.map(|row| parse_key_id(&row.map_err(backend)?)).collect()
    }

    fn alias_row(&self, row: &Row<'_>) -> Result<AliasRecord, StoreError> {
        let name: String = row.get(0).map_err(backend)?;
        let key_id: String = row.get(1).map_err(backend)?;
        let sealed: Vec<u8> = row.get(2).map_err(backend)?;
        let parsed = name.parse().map_err(|_| StoreError::Corrupt { what: format!("alias {name:?}") })?;
        self.codec.open_alias(&self.locality, &parsed, &parse_key_id(&key_id)?, &sealed)
    }

    fn grant_rows(
        &self,
        sql: &str,
        parameters: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<GrantRecord>, StoreError> {
        let mut statement = self.inner.prepare_cached(sql).map_err(backend)?;
        let mut rows = statement.query(parameters).map_err(backend)?;
        let mut records = Vec::new();
        while let Some(row) = rows.next().map_err(backend)? {
            let grant_id: String = row.get(0).map_err(backend)?;
            let key_id: String = row.get(1).map_err(backend)?;
            let sealed: Vec<u8> = row.get(2).map_err(backend)?;
            let parsed =
                grant_id.parse().map_err(|_| StoreError::Corrupt { what: format!("grant {grant_id:?}") })?;
            records.push(self.codec.open_grant(&self.locality, &parsed, &parse_key_id(&key_id)?, &sealed)?);
        }
        Ok(records)
    }
}

impl ReadTx for SqliteTx<'_> {
    fn key(&self, key_id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let sealed = self.blob(
            "SELECT sealed FROM kms_key WHERE region = ?1 AND key_id = ?2",
            params![self.region(), key_id.to_string()],
        )?;
        sealed.map(|sealed| self.codec.open_key(&self.locality, key_id, &sealed)).transpose()
    }

    fn material_handle(
        &self,
        key_id: &KeyId,
        material_id: &MaterialId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let sealed = self.blob(
            "SELECT sealed FROM material WHERE region = ?1 AND key_id = ?2 AND material_id = ?3",
            params![self.region(), key_id.to_string(), material_id.to_string()],
        )?;
        sealed.map(|sealed| self.codec.open_handle(&self.locality, key_id, material_id, &sealed)).transpose()
    }

    fn alias(&self, name: &AliasName) -> Result<Option<AliasRecord>, StoreError> {
        let sql = "SELECT name, key_id, sealed FROM alias WHERE region = ?1 AND name = ?2";
        let mut statement = self.inner.prepare_cached(sql).map_err(backend)?;
        let mut rows = statement.query([self.region(), name.as_str()]).map_err(backend)?;
        rows.next().map_err(backend)?.map(|row| self.alias_row(row)).transpose()
    }

    fn list_keys(&self, after: Option<&KeyId>, limit: usize) -> Result<Vec<KeyId>, StoreError> {
        let after = after.map(KeyId::to_string).unwrap_or_default();
        self.key_ids(
            "SELECT key_id FROM kms_key WHERE region = ?1 AND key_id > ?2 ORDER BY key_id LIMIT ?3",
            params![self.region(), after, sql_limit(limit)],
        )
    }

    fn list_aliases(
        &self,
        key_id: Option<&KeyId>,
        after: Option<&AliasName>,
        limit: usize,
    ) -> Result<Vec<AliasRecord>, StoreError> {
        // One statement for each form, so that the aliases of one key go through their own index.
        let sql = match key_id {
            None => {
                "SELECT name, key_id, sealed FROM alias
                 WHERE region = ?1 AND name > ?2 AND ?3 IS NULL ORDER BY name LIMIT ?4"
            }
            Some(_) => {
                "SELECT name, key_id, sealed FROM alias
                 WHERE region = ?1 AND name > ?2 AND key_id = ?3 ORDER BY name LIMIT ?4"
            }
        };
        let after = after.map(AliasName::as_str).unwrap_or_default();
        let key_id = key_id.map(KeyId::to_string);
        let mut statement = self.inner.prepare_cached(sql).map_err(backend)?;
        let mut rows =
            statement.query(params![self.region(), after, key_id, sql_limit(limit)]).map_err(backend)?;
        let mut records = Vec::new();
        while let Some(row) = rows.next().map_err(backend)? {
            records.push(self.alias_row(row)?);
        }
        Ok(records)
    }

    fn grant(&self, grant_id: &GrantId) -> Result<Option<GrantRecord>, StoreError> {
        let sql = "SELECT grant_id, key_id, sealed FROM kms_grant WHERE region = ?1 AND grant_id = ?2";
        Ok(self.grant_rows(sql, params![self.region(), grant_id.to_string()])?.pop())
    }

    fn list_grants(
        &self,
        filter: GrantFilter<'_>,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Result<Vec<GrantRecord>, StoreError> {
        let after = after.map(GrantId::to_string).unwrap_or_default();
        let limit = sql_limit(limit);
        // One statement for each filter, so that each goes through its own index.
        match filter {
            GrantFilter::Key(key_id) => self.grant_rows(
                "SELECT grant_id, key_id, sealed FROM kms_grant
                 WHERE region = ?1 AND key_id = ?4 AND grant_id > ?2 ORDER BY grant_id LIMIT ?3",
                params![self.region(), after, limit, key_id.to_string()],
            ),
            GrantFilter::Grantee(key_id, grantee) => self.grant_rows(
                "SELECT grant_id, key_id, sealed FROM kms_grant
                 WHERE region = ?1 AND key_id = ?4 AND grantee = ?5 AND grant_id > ?2 ORDER BY grant_id LIMIT ?3",
                params![self.region(), after, limit, key_id.to_string(), grantee.lookup_name()],
            ),
            GrantFilter::Named(key_id, grantee, name) => self.grant_rows(
                "SELECT grant_id, key_id, sealed FROM kms_grant
                 WHERE region = ?1 AND key_id = ?4 AND grantee = ?5 AND name = ?6 AND grant_id > ?2
                 ORDER BY grant_id LIMIT ?3",
                params![self.region(), after, limit, key_id.to_string(), grantee.lookup_name(), name],
            ),
            GrantFilter::Retiring(principal) => self.grant_rows(
                "SELECT grant_id, key_id, sealed FROM kms_grant
                 WHERE region = ?1 AND retiring = ?4 AND grant_id > ?2 ORDER BY grant_id LIMIT ?3",
                params![self.region(), after, limit, principal.lookup_name()],
            ),
        }
        // A column that was changed by hand must not bring a grant to somebody else.
        .map(|records| records.into_iter().filter(|record| filter.picks(record)).collect())
    }

    fn count_grants(&self, key_id: &KeyId) -> Result<usize, StoreError> {
        let sql = "SELECT count(*) FROM kms_grant WHERE region = ?1 AND key_id = ?2";
        let mut statement = self.inner.prepare_cached(sql).map_err(backend)?;
        let parameters = params![self.region(), key_id.to_string()];
        let count: i64 = statement.query_row(parameters, |row| row.get(0)).map_err(backend)?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let sealed = self.blob("SELECT sealed FROM setting WHERE name = ?1", params![name])?;
        sealed.map(|sealed| self.codec.open_setting(name, &sealed)).transpose()
    }

    fn due_keys(&self, now: Timestamp, limit: usize) -> Result<Vec<KeyId>, StoreError> {
        self.key_ids(
            "SELECT key_id FROM kms_key WHERE region = ?1 AND next_due <= ?2 ORDER BY next_due, key_id LIMIT ?3",
            params![self.region(), now.as_millis(), sql_limit(limit)],
        )
    }

    fn last_usage(&self, key_id: &KeyId) -> Result<Option<KeyLastUsage>, StoreError> {
        let sealed = self.blob(
            "SELECT sealed FROM key_usage WHERE region = ?1 AND key_id = ?2",
            params![self.region(), key_id.to_string()],
        )?;
        sealed.map(|sealed| self.codec.open_usage(&self.locality, key_id, &sealed)).transpose()
    }

    fn usage_recorded_since(&self) -> Result<Timestamp, StoreError> {
        let sql = "SELECT since FROM usage_tracking";
        let mut statement = self.inner.prepare_cached(sql).map_err(backend)?;
        let since: i64 = statement.query_row([], |row| row.get(0)).map_err(backend)?;
        Ok(Timestamp::from_millis(since))
    }

    fn localities(&self) -> Result<Vec<Locality>, StoreError> {
        let sql = concat!(select_key_regions!(), "UNION SELECT region FROM custom_key_store ORDER BY 1");
        let mut statement = self.inner.prepare_cached(sql).map_err(backend)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(backend)?;
        rows.map(|row| parse_locality(&row.map_err(backend)?)).collect()
    }
}

impl WriteTx for SqliteTx<'_> {
    fn put_key(&self, record: &KeyRecord) -> Result<(), StoreError> {
        let next_due = record.next_due().map(Timestamp::as_millis);
        self.execute(
            "INSERT INTO kms_key (region, key_id, next_due, sealed) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (region, key_id) DO UPDATE SET next_due = excluded.next_due, sealed = excluded.sealed",
            params![
                self.region(),
                record.key_id.to_string(),
                next_due,
                self.codec.seal_key(&self.locality, record)?
            ],
        )
    }

    fn put_material_handle(
        &self,
        key_id: &KeyId,
        material_id: &MaterialId,
        handle: &[u8],
    ) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO material (region, key_id, material_id, sealed) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (region, key_id, material_id) DO UPDATE SET sealed = excluded.sealed",
            params![
                self.region(),
                key_id.to_string(),
                material_id.to_string(),
                self.codec.seal_handle(&self.locality, key_id, material_id, handle)?
            ],
        )
    }

    fn erase_material_handle(&self, key_id: &KeyId, material_id: &MaterialId) -> Result<(), StoreError> {
        let row = params![self.region(), key_id.to_string(), material_id.to_string()];
        // Overwritten in place first: secure_delete then has only zeros to remove.
        self.execute(
            "UPDATE material SET sealed = zeroblob(length(sealed))
             WHERE region = ?1 AND key_id = ?2 AND material_id = ?3",
            row,
        )?;
        self.execute("DELETE FROM material WHERE region = ?1 AND key_id = ?2 AND material_id = ?3", row)?;
        self.request_scrub()
    }

    fn erase_key(&self, key_id: &KeyId) -> Result<(), StoreError> {
        let row = params![self.region(), key_id.to_string()];
        self.execute(
            "UPDATE material SET sealed = zeroblob(length(sealed)) WHERE region = ?1 AND key_id = ?2",
            row,
        )?;
        self.execute("DELETE FROM material WHERE region = ?1 AND key_id = ?2", row)?;
        self.execute("DELETE FROM alias WHERE region = ?1 AND key_id = ?2", row)?;
        self.execute("DELETE FROM kms_grant WHERE region = ?1 AND key_id = ?2", row)?;
        self.execute("DELETE FROM key_usage WHERE region = ?1 AND key_id = ?2", row)?;
        self.execute("DELETE FROM kms_key WHERE region = ?1 AND key_id = ?2", row)?;
        self.request_scrub()
    }

    fn put_alias(&self, record: &AliasRecord) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO alias (region, name, key_id, sealed) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (region, name) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed",
            params![
                self.region(),
                record.name.as_str(),
                record.key_id.to_string(),
                self.codec.seal_alias(&self.locality, record)?
            ],
        )
    }

    fn delete_alias(&self, name: &AliasName) -> Result<(), StoreError> {
        self.execute(
            "DELETE FROM alias WHERE region = ?1 AND name = ?2",
            params![self.region(), name.as_str()],
        )
    }

    fn put_grant(&self, record: &GrantRecord) -> Result<(), StoreError> {
        let retiring = record.retiring.as_ref().map(|principal| principal.lookup_name());
        self.execute(
            "INSERT INTO kms_grant (region, grant_id, key_id, grantee, retiring, name, sealed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                self.region(),
                record.grant_id.to_string(),
                record.key_id.to_string(),
                record.grantee.lookup_name(),
                retiring,
                record.name,
                self.codec.seal_grant(&self.locality, record)?
            ],
        )
    }

    fn delete_grant(&self, grant_id: &GrantId) -> Result<(), StoreError> {
        let row = params![self.region(), grant_id.to_string()];
        self.execute("DELETE FROM kms_grant WHERE region = ?1 AND grant_id = ?2", row)
    }

    fn put_last_usage(&self, key_id: &KeyId, usage: &KeyLastUsage) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO key_usage (region, key_id, sealed) VALUES (?1, ?2, ?3)
             ON CONFLICT (region, key_id) DO UPDATE SET sealed = excluded.sealed",
            params![self.region(), key_id.to_string(), self.codec.seal_usage(&self.locality, key_id, usage)?],
        )
    }

    fn at<'a>(&'a self, locality: &Locality) -> Box<dyn WriteTx + 'a> {
        Box::new(SqliteTx { inner: self.inner, codec: self.codec, locality: locality.clone() })
    }

    fn put_setting(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO setting (name, sealed) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
            params![name, self.codec.seal_setting(name, value)?],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{Purpose, RootKey};
    use crate::store::custom_key_stores::contract::some_key_store;

    /// A record as it was written before keys had policies.
    const FIRST_RECORD: &str = r#"{"key_id":"6f1b8bd8-3b57-4f2b-9d6b-2c1f7c1b0a11","key_spec":"SYMMETRIC_DEFAULT",
        "key_usage":"ENCRYPT_DECRYPT","origin":"AWS_KMS","key_manager":"CUSTOMER","managing_service":null,
        "description":"d","creation_date":1,"enabled":true,"deletion_date":null,
        "rotation":{"schedule":null,"on_demand_count":0},"materials":[],"tags":[{"key":"a","value":"b"}]}"#;

    #[test]
    fn a_database_of_the_first_schema_opens_with_its_records() {
        let dir = tempfile::TempDir::new().expect("temporary directory");
        let path = dir.path().join("keys.sqlite");
        let root = RootKey::generate().expect("random");
        let sealer = || root.sealer(Purpose::Records).expect("derives");
        let key_id: KeyId = "6f1b8bd8-3b57-4f2b-9d6b-2c1f7c1b0a11".parse().expect("a key id");
        let sealed = sealer().seal(&[b"key", &key_id.to_bytes()], FIRST_RECORD.as_bytes()).expect("seals");
        let mut first = connect(&path).expect("connects");
        migrate(&mut first, &MIGRATIONS[..1]).expect("migrates");
        let row = params![key_id.to_string(), sealed];
        first.execute("INSERT INTO kms_key VALUES (?1, NULL, ?2)", row).expect("fills");
        drop(first);
        let store = SqliteStore::open(&path, RecordCodec::new(sealer())).expect("opens");
        let record = super::super::read(&store, |tx| Ok(tx.key(&key_id)?)).expect("reads").expect("is there");
        assert_eq!((record.description.as_str(), record.tags.len(), record.policy), ("d", 1, None));
        let version: i64 = connect(&path)
            .and_then(|now| {
                now.query_row("SELECT max(version) FROM migration", [], |row| row.get(0)).map_err(backend)
            })
            .expect("reads");
        assert_eq!(usize::try_from(version), Ok(MIGRATIONS.len()));
    }

    #[test]
    fn a_key_store_from_before_there_were_regions_is_of_the_home() {
        let dir = tempfile::TempDir::new().expect("temporary directory");
        let path = dir.path().join("keys.sqlite");
        let root = RootKey::generate().expect("random");
        let codec = RecordCodec::new(root.sealer(Purpose::Records).expect("derives"));
        let record = some_key_store();
        let sealed = codec.seal_key_store(&Locality::Home, &record).expect("seals");
        let mut before = connect(&path).expect("connects");
        migrate(&mut before, &MIGRATIONS[..5]).expect("migrates");
        let row = params![record.id.as_str(), sealed];
        before.execute("INSERT INTO custom_key_store VALUES (?1, ?2)", row).expect("fills");
        drop(before);
        let store = SqliteStore::open(&path, codec).expect("opens");
        let away = store.at(&Locality::Away("eu-west-1".parse().expect("a Region")));
        let found =
            |store: &dyn MetadataStore| super::super::read(store, |tx| Ok(tx.list_custom_key_stores()?));
        assert_eq!((found(&store), found(&*away)), (Ok(vec![record]), Ok(Vec::new())));
    }
}
