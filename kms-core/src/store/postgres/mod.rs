//! The store of a replicated deployment: one PostgreSQL database, used by several servers at once.
//!
//! Records are sealed as in the embedded store. Whoever writes locks the row that counts changes first, so that writers
//! come one after the other, and what a change sees is what nobody else can change before it is written. Readers see one
//! consistent state.
//!
//! The counter is asked for at most every [`FRESHNESS`]: a change by one replica acts on the others within that time, and
//! on the replica itself at once. A replica that cannot ask does not use what it remembers any longer than that.
//!
//! A connection that breaks before the commit leaves nothing behind, and the transaction is run again on a new one. If it
//! breaks during the commit, the database is asked what became of the transaction.

mod audit;
mod connect;
mod custom_key_stores;
mod identities;
mod tx;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postgres::error::SqlState;

pub use audit::PostgresAuditStore;
pub use connect::PostgresConfig;

use super::{Locality, MetadataStore, ReadWork, RecordCodec, StoreError, WriteWork};
use crate::error::KmsError;
use connect::{Connection, Pool, detail};
use tx::{Begun, Failure, PostgresTx};

/// How old the counter of changes may be: how late a change by another replica may act here.
pub const FRESHNESS: Duration = Duration::from_millis(50);
/// How often a transaction is run, at most.
const ATTEMPTS: u32 = 5;
/// The steps from an empty database to the present schema. A step is never changed, only added.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("custom_key_stores.sql"),
    include_str!("marks.sql"),
    include_str!("usage.sql"),
    include_str!("../regional_key_stores.sql"),
];
/// Locks out whoever else might migrate the same database at this moment: any number does.
const MIGRATION_LOCK: i64 = 0x6b6d_7366;

/// Takes the lock of all writers, counts the change that is about to be made, and leaves a mark. Old marks go.
const LOCK_FOR_CHANGE: &str = "WITH locked AS (UPDATE change SET counter = counter + 1 RETURNING counter), \
     made AS (INSERT INTO mark SELECT gen_random_uuid(), false, now() FROM locked RETURNING id), \
     gone AS (DELETE FROM mark WHERE NOT of_audit AND at < now() - interval '1 hour') \
     SELECT counter, pg_current_xact_id()::text, made.id::text FROM locked, made";
/// Takes the lock of the audit log. Its records are not changes of keys, so nothing is counted.
const LOCK_FOR_AUDIT: &str = "WITH locked AS (SELECT pg_advisory_xact_lock(7)), \
     made AS (INSERT INTO mark SELECT gen_random_uuid(), true, now() FROM locked RETURNING id), \
     gone AS (DELETE FROM mark WHERE of_audit AND at < now() - interval '1 hour') \
     SELECT 0::bigint, pg_current_xact_id()::text, made.id::text FROM made";

/// A [`MetadataStore`] in a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresStore {
    database: Arc<Database>,
    locality: Locality,
}

/// What all Regions share.
struct Database {
    pool: Pool,
    codec: RecordCodec,
    /// The counter as it was last seen, and when.
    seen: Mutex<Option<(u64, Instant)>>,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresStore")
    }
}

impl PostgresStore {
    /// Opens a database whose schema is up to date; see [`PostgresHeader::migrate`].
    pub fn open(config: &PostgresConfig, codec: RecordCodec) -> Self {
        let database = Database { pool: Pool::new(config.clone()), codec, seen: Mutex::new(None) };
        Self { database: Arc::new(database), locality: Locality::Home }
    }
}

/// The place of the sealed root key, which is read before anything can be unsealed.
pub struct PostgresHeader(Pool);

impl std::fmt::Debug for PostgresHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresHeader")
    }
}

impl PostgresHeader {
    /// Connects to a database.
    pub fn connect(config: &PostgresConfig) -> Result<Self, StoreError> {
        let pool = Pool::new(config.clone());
        let connection = pool.take()?;
        pool.give(connection);
        Ok(Self(pool))
    }

    /// Brings the schema of the database up to date.
    pub fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.0.take()?;
        migrate(&mut connection)?;
        self.0.give(connection);
        Ok(())
    }

    /// The bytes; `None` if there is no keystore in the database.
    pub fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut connection = self.0.take()?;
        let row = connection.client.query_one("SELECT to_regclass('keystore') IS NOT NULL", &[]);
        let row = match row.map_err(backend)?.get(0) {
            true => connection.client.query_opt("SELECT header FROM keystore", &[]).map_err(backend)?,
            false => None,
        };
        self.0.give(connection);
        Ok(row.map(|row| row.get(0)))
    }

    /// Writes the bytes of a new keystore. `false` if there is one already.
    pub fn create(&self, header: &[u8]) -> Result<bool, StoreError> {
        let sql = "INSERT INTO keystore VALUES (1, $1) ON CONFLICT DO NOTHING";
        self.execute(sql, header)
    }

    /// Replaces the bytes.
    pub fn replace(&self, header: &[u8]) -> Result<bool, StoreError> {
        self.execute("UPDATE keystore SET header = $1", header)
    }

    fn execute(&self, sql: &str, header: &[u8]) -> Result<bool, StoreError> {
        let mut connection = self.0.take()?;
        let rows = connection.client.execute(sql, &[&header]).map_err(backend)?;
        self.0.give(connection);
        Ok(rows == 1)
    }
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let supported = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let mut tx = connection.client.transaction().map_err(backend)?;
    tx.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).map_err(backend)?;
    tx.batch_execute(
        "CREATE TABLE IF NOT EXISTS migration (version BIGINT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL)",
    )
    .map_err(backend)?;
    let row = tx.query_one("SELECT coalesce(max(version), 0) FROM migration", &[]).map_err(backend)?;
    let found: i64 = row.get(0);
    if found > supported {
        return Err(StoreError::NewerVersion { found, supported });
    }
    for (version, step) in (1_i64..).zip(MIGRATIONS) {
        if version > found {
            tx.batch_execute(step).map_err(backend)?;
            tx.execute("INSERT INTO migration VALUES ($1, now())", &[&version]).map_err(backend)?;
        }
    }
    tx.commit().map_err(backend)
}

/// Tells apart what may pass from what will not.
fn backend(error: postgres::Error) -> StoreError {
    let problem = detail(&error);
    match error.code() {
        Some(code)
            if [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED, SqlState::T_R_DEADLOCK_DETECTED]
                .contains(code) =>
        {
            StoreError::Busy
        }
        Some(code) if code.code().starts_with("57") || code.code().starts_with("53") => {
            StoreError::Unavailable { problem }
        }
        Some(_) => StoreError::Backend(problem),
        None => StoreError::Unavailable { problem },
    }
}

/// What became of one attempt.
enum Attempt<E> {
    Done,
    /// The work, the commit, or the connection failed for good.
    Failed(E),
    /// Nothing was changed, and another attempt may succeed.
    Again(E),
}

/// Runs attempts until one is conclusive.
fn attempts<E: From<StoreError>>(
    pool: &Pool,
    mut attempt: impl FnMut(&mut Connection) -> Attempt<E>,
) -> Result<(), E> {
    let mut left = ATTEMPTS;
    loop {
        let mut connection = pool.take()?;
        left -= 1;
        match attempt(&mut connection) {
            Attempt::Done => {
                pool.give(connection);
                return Ok(());
            }
            Attempt::Again(_) if left > 0 => {
                if connection.client.is_closed() {
                    pool.clear();
                } else {
                    pool.give(connection);
                }
            }
            Attempt::Failed(error) | Attempt::Again(error) => {
                pool.give(connection);
                return Err(error);
            }
        }
    }
}

/// Runs a transaction that changes nothing.
fn reading<E: From<StoreError>>(
    pool: &Pool,
    codec: &RecordCodec,
    locality: &Locality,
    work: &mut dyn FnMut(&PostgresTx<'_, '_>) -> Result<(), E>,
) -> Result<(), E> {
    attempts(pool, |connection| {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        if let Err(error) = connection.client.batch_execute(begin) {
            return Attempt::Again(backend(error).into());
        }
        let begun = Begun::new(connection);
        let result = work(&PostgresTx::new(&begun, codec, locality));
        let failure = begun.failure();
        // A connection that does not take this is not given back.
        let _ = connection.client.batch_execute("COMMIT");
        match (result, failure) {
            (Ok(()), _) => Attempt::Done,
            (Err(error), Failure::MayPass) => Attempt::Again(error),
            (Err(error), Failure::None) => Attempt::Failed(error),
        }
    })
}

/// Runs a transaction that may change something, under the lock that `lock` takes. `committed` gets what `lock` returned.
fn writing<E: From<StoreError>>(
    pool: &Pool,
    codec: &RecordCodec,
    locality: &Locality,
    lock: &'static str,
    work: &mut dyn FnMut(&PostgresTx<'_, '_>) -> Result<(), E>,
    mut committed: impl FnMut(u64, Instant),
) -> Result<(), E> {
    attempts(pool, |connection| {
        let Locked { counter, id, mark, since } = match begin_change(connection, lock) {
            Ok(locked) => locked,
            Err(error) => {
                let _ = connection.client.batch_execute("ROLLBACK");
                return match error {
                    StoreError::Unavailable { .. } => Attempt::Again(error.into()),
                    error => Attempt::Failed(error.into()),
                };
            }
        };
        let begun = Begun::new(connection);
        let result = work(&PostgresTx::new(&begun, codec, locality));
        let failure = begun.failure();
        if let Err(error) = result {
            let _ = connection.client.batch_execute("ROLLBACK");
            return match failure {
                Failure::MayPass => Attempt::Again(error),
                Failure::None => Attempt::Failed(error),
            };
        }
        match connection.client.batch_execute("COMMIT") {
            Ok(()) => {}
            Err(error) if error.code().is_some_and(|code| !code.code().starts_with("57")) => {
                return Attempt::Failed(backend(error).into());
            }
            // Nobody answered: it may have been committed.
            Err(error) => match fate(pool, &id, &mark) {
                Ok(true) => {}
                Ok(false) => return Attempt::Again(backend(error).into()),
                Err(error) => return Attempt::Failed(error.into()),
            },
        }
        committed(counter, since);
        Attempt::Done
    })
}

/// A transaction that holds its lock.
struct Locked {
    counter: u64,
    /// Its number.
    id: String,
    /// What it leaves in the database if it is committed.
    mark: String,
    /// When the lock was there.
    since: Instant,
}

/// Begins a transaction and takes a lock.
fn begin_change(connection: &mut Connection, lock: &'static str) -> Result<Locked, StoreError> {
    connection.client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").map_err(backend)?;
    let statement = connection.statement(lock).map_err(backend)?;
    let row = connection.client.query_one(&statement, &[]).map_err(backend)?;
    let counter = row.get::<_, i64>(0).cast_unsigned();
    Ok(Locked { counter, id: row.get(1), mark: row.get(2), since: Instant::now() })
}

/// Whether a transaction was committed whose commit was not answered: whether its mark is there, once it is over.
fn fate(pool: &Pool, id: &str, mark: &str) -> Result<bool, StoreError> {
    let mut problem = "what became of a change is not known".to_owned();
    pool.clear();
    for _ in 0..50 {
        let mut connection = pool.take()?;
        match ended(&mut connection, id, mark) {
            Ok(Some(committed)) => {
                pool.give(connection);
                return Ok(committed);
            }
            Ok(None) => pool.give(connection),
            // The database goes down again while it is asked.
            Err(StoreError::Unavailable { problem: new }) => problem = new,
            Err(error) => return Err(error),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(StoreError::Unavailable { problem })
}

/// Whether a transaction was committed; `None` as long as it is under way.
fn ended(connection: &mut Connection, id: &str, mark: &str) -> Result<Option<bool>, StoreError> {
    if is_under_way(connection, id)? {
        return Ok(None);
    }
    let found = "SELECT EXISTS (SELECT FROM mark WHERE id = $1::text::uuid)";
    Ok(Some(connection.client.query_one(found, &[&mark]).map_err(backend)?.get(0)))
}

/// Whether the transaction of this number is neither committed nor ended. After a crash it may be another's number.
fn is_under_way(connection: &mut Connection, id: &str) -> Result<bool, StoreError> {
    match connection.client.query_one("SELECT pg_xact_status($1::text::xid8) = 'in progress'", &[&id]) {
        Ok(row) => Ok(row.get::<_, Option<bool>>(0).unwrap_or(false)),
        // A number that the database has not given since it crashed.
        Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => Ok(false),
        Err(error) => Err(backend(error)),
    }
}

impl MetadataStore for PostgresStore {
    fn with_read(&self, work: ReadWork<'_>) -> Result<(), KmsError> {
        let Database { pool, codec, .. } = &*self.database;
        reading(pool, codec, &self.locality, &mut |tx| work(tx))
    }

    fn with_write(&self, work: WriteWork<'_>) -> Result<(), KmsError> {
        let Database { pool, codec, seen } = &*self.database;
        let work = &mut |tx: &PostgresTx<'_, '_>| work(tx);
        writing(pool, codec, &self.locality, LOCK_FOR_CHANGE, work, |counter, locked| {
            // Nobody else has changed anything between the lock and the commit.
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.is_none_or(|(known, _)| known < counter) {
                *seen = Some((counter, locked));
            }
        })
    }

    fn at(&self, locality: &Locality) -> Arc<dyn MetadataStore> {
        Arc::new(Self { database: Arc::clone(&self.database), locality: locality.clone() })
    }

    fn change_counter(&self) -> Result<u64, StoreError> {
        let mut seen = self.database.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((counter, at)) = *seen
            && at.elapsed() < FRESHNESS
        {
            return Ok(counter);
        }
        let mut found = None;
        attempts(&self.database.pool, |connection| {
            let at = Instant::now();
            let asked = connection
                .statement("SELECT counter FROM change")
                .and_then(|statement| connection.client.query_one(&statement, &[]));
            match asked {
                Ok(row) => {
                    found = Some((row.get::<_, i64>(0).cast_unsigned(), at));
                    Attempt::Done
                }
                Err(error) => match backend(error) {
                    error @ StoreError::Unavailable { .. } => Attempt::Again(error),
                    error => Attempt::Failed(error),
                },
            }
        })?;
        let (counter, at) = found.ok_or_else(|| StoreError::Backend("the counter is missing".into()))?;
        *seen = Some((counter, at));
        Ok(counter)
    }

    fn scrub(&self) -> Result<bool, StoreError> {
        let mut connection = self.database.pool.take()?;
        let scrubbed = scrub(&mut connection);
        self.database.pool.give(connection);
        match scrubbed {
            Err(StoreError::Busy) => Ok(false),
            other => other,
        }
    }
}

/// Rewrites the tables that hold secrets, so that their files have nothing left of what was erased.
fn scrub(connection: &mut Connection) -> Result<bool, StoreError> {
    let row = connection.client.query_one("SELECT erased, scrubbed FROM change", &[]).map_err(backend)?;
    let (erased, scrubbed): (i64, i64) = (row.get(0), row.get(1));
    if erased == scrubbed {
        return Ok(true);
    }
    let client = &mut connection.client;
    client.batch_execute("SET lock_timeout = '1s'").map_err(backend)?;
    // Each on its own, because none of them may be part of a transaction.
    let rewritten = client
        .batch_execute("VACUUM (FULL) material")
        .and_then(|()| client.batch_execute("VACUUM (FULL) access_key"));
    client.batch_execute("SET lock_timeout = '10s'").map_err(backend)?;
    rewritten.map_err(backend)?;
    let sql = "UPDATE change SET scrubbed = greatest(scrubbed, $1)";
    connection.client.execute(sql, &[&erased]).map_err(backend)?;
    Ok(true)
}
