//! Typed records in a transaction.

use std::cell::{Cell, RefCell};

use postgres::error::SqlState;
use postgres::types::ToSql;
use postgres::{Error, Row};

use super::backend;
use super::connect::Connection;
use crate::model::{AliasName, GrantId, KeyId, KeyLastUsage, MaterialId, Timestamp};
use crate::store::sql::{parse_key_id, parse_locality, select_key_regions, sql_limit};
use crate::store::{
    AliasRecord, GrantFilter, GrantRecord, KeyRecord, Locality, ReadTx, RecordCodec, StoreError, WriteTx,
};

/// The values of a statement.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Whether running a failed transaction again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    None,
    MayPass,
}

/// A connection on which a transaction was begun.
pub(super) struct Begun<'c> {
    connection: RefCell<&'c mut Connection>,
    failure: Cell<Failure>,
}

impl<'c> Begun<'c> {
    pub(super) fn new(connection: &'c mut Connection) -> Self {
        Self { connection: RefCell::new(connection), failure: Cell::new(Failure::None) }
    }

    /// What a statement of this transaction failed with.
    pub(super) fn failure(&self) -> Failure {
        self.failure.get()
    }
}

/// A transaction, looking at one Region.
pub(super) struct PostgresTx<'a, 'c> {
    begun: &'a Begun<'c>,
    pub(super) codec: &'a RecordCodec,
    pub(super) locality: Locality,
}

impl<'a, 'c> PostgresTx<'a, 'c> {
    pub(super) fn new(begun: &'a Begun<'c>, codec: &'a RecordCodec, locality: &Locality) -> Self {
        Self { begun, codec, locality: locality.clone() }
    }

    /// The Region of the rows.
    pub(super) fn region(&self) -> &str {
        self.locality.column()
    }

    pub(super) fn rows(&self, sql: &'static str, values: Values<'_>) -> Result<Vec<Row>, StoreError> {
        let mut connection = self.begun.connection.borrow_mut();
        let statement = connection.statement(sql).map_err(|error| self.failed(error))?;
        connection.client.query(&statement, values).map_err(|error| self.failed(error))
    }

    pub(super) fn row(&self, sql: &'static str, values: Values<'_>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values)?.into_iter().next())
    }

    pub(super) fn execute(&self, sql: &'static str, values: Values<'_>) -> Result<(), StoreError> {
        let mut connection = self.begun.connection.borrow_mut();
        let statement = connection.statement(sql).map_err(|error| self.failed(error))?;
        connection.client.execute(&statement, values).map(drop).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: Error) -> StoreError {
        let conflict = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
        let conflict = error.code().is_some_and(|code| conflict.contains(code));
        let error = backend(error);
        if conflict || matches!(error, StoreError::Unavailable { .. }) {
            self.begun.failure.set(Failure::MayPass);
        }
        error
    }

    /// Remembered in the same transaction as the erasure, so that a crash before the files are rewritten is made good.
    pub(super) fn request_scrub(&self) -> Result<(), StoreError> {
        self.execute("UPDATE change SET erased = erased + 1", &[])
    }

    fn grants(&self, rows: Vec<Row>) -> Result<Vec<GrantRecord>, StoreError> {
        let open = |row: &Row| {
            let (grant_id, key_id, sealed): (String, String, Vec<u8>) = (row.get(0), row.get(1), row.get(2));
            let corrupt = || StoreError::Corrupt { what: format!("grant {grant_id:?}") };
            self.codec.open_grant(
                &self.locality,
                &grant_id.parse().map_err(|_| corrupt())?,
                &parse_key_id(&key_id)?,
                &sealed,
            )
        };
        rows.iter().map(open).collect()
    }

    fn alias_row(&self, row: &Row) -> Result<AliasRecord, StoreError> {
        let (name, key_id, sealed): (String, String, Vec<u8>) = (row.get(0), row.get(1), row.get(2));
        let parsed = name.parse().map_err(|_| StoreError::Corrupt { what: format!("alias {name:?}") })?;
        self.codec.open_alias(&self.locality, &parsed, &parse_key_id(&key_id)?, &sealed)
    }
}

fn key_ids(rows: &[Row]) -> Result<Vec<KeyId>, StoreError> {
    rows.iter().map(|row| parse_key_id(row.get(0))).collect()
}

impl ReadTx for PostgresTx<'_, '_> {
    fn key(&self, key_id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let found = self.row(
            "SELECT sealed FROM kms_key WHERE region = $1 AND key_id = $2",
            &[&self.region(), &key_id.to_string()],
        )?;
        found.map(|row| self.codec.open_key(&self.locality, key_id, row.get(0))).transpose()
    }

    fn material_handle(
        &self,
        key_id: &KeyId,
        material_id: &MaterialId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT sealed FROM material WHERE region = $1 AND key_id = $2 AND material_id = $3";
        let found = self.row(sql, &[&self.region(), &key_id.to_string(), &material_id.to_string()])?;
        found.map(|row| self.codec.open_handle(&self.locality, key_id, material_id, row.get(0))).transpose()
    }

    fn alias(&self, name: &AliasName) -> Result<Option<AliasRecord>, StoreError> {
        let found = self.row(
            "SELECT name, key_id, sealed FROM alias WHERE region = $1 AND name = $2",
            &[&self.region(), &name.as_str()],
        )?;
        found.map(|row| self.alias_row(&row)).transpose()
    }

    fn list_keys(&self, after: Option<&KeyId>, limit: usize) -> Result<Vec<KeyId>, StoreError> {
        let after = after.map(KeyId::to_string).unwrap_or_default();
        let sql = "SELECT key_id FROM kms_key WHERE region = $1 AND key_id > $2 ORDER BY key_id LIMIT $3";
        key_ids(&self.rows(sql, &[&self.region(), &after, &sql_limit(limit)])?)
    }

    fn list_aliases(
        &self,
        key_id: Option<&KeyId>,
        after: Option<&AliasName>,
        limit: usize,
    ) -> Result<Vec<AliasRecord>, StoreError> {
        let (after, limit) = (after.map(AliasName::as_str).unwrap_or_default(), sql_limit(limit));
        let rows = match key_id.map(KeyId::to_string) {
            Some(key_id) => self.rows(
                "SELECT name, key_id, sealed FROM alias
                 WHERE region = $1 AND key_id = $4 AND name > $2 ORDER BY name LIMIT $3",
                &[&self.region(), &after, &limit, &key_id],
            ),
            None => self.rows(
                "SELECT name, key_id, sealed FROM alias WHERE region = $1 AND name > $2 ORDER BY name LIMIT $3",
                &[&self.region(), &after, &limit],
            ),
        };
        rows?.iter().map(|row| self.alias_row(row)).collect()
    }

    fn grant(&self, grant_id: &GrantId) -> Result<Option<GrantRecord>, StoreError> {
        let sql = "SELECT grant_id, key_id, sealed FROM kms_grant WHERE region = $1 AND grant_id = $2";
        Ok(self.grants(self.rows(sql, &[&self.region(), &grant_id.to_string()])?)?.pop())
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
        let rows = match filter {
            GrantFilter::Key(key_id) => self.rows(
                "SELECT grant_id, key_id, sealed FROM kms_grant
                 WHERE region = $1 AND key_id = $4 AND grant_id > $2 ORDER BY grant_id LIMIT $3",
                &[&self.region(), &after, &limit, &key_id.to_string()],
            ),
            GrantFilter::Grantee(key_id, grantee) => self.rows(
                "SELECT grant_id, key_id, sealed FROM kms_grant
                 WHERE region = $1 AND key_id = $4 AND grantee = $5 AND grant_id > $2 ORDER BY grant_id LIMIT $3",
                &[&self.region(), &after, &limit, &key_id.to_string(), &grantee.lookup_name()],
            ),
            GrantFilter::Named(key_id, grantee, name) => self.rows(
                "SELECT grant_id, key_id, sealed FROM kms_grant
                 WHERE region = $1 AND key_id = $4 AND grantee = $5 AND name = $6 AND grant_id > $2
                 ORDER BY grant_id LIMIT $3",
                &[&self.region(), &after, &limit, &key_id.to_string(), &grantee.lookup_name(), &name],
            ),
            GrantFilter::Retiring(principal) => self.rows(
                "SELECT grant_id, key_id, sealed FROM kms_grant
                 WHERE region = $1 AND retiring = $4 AND grant_id > $2 ORDER BY grant_id LIMIT $3",
                &[&self.region(), &after, &limit, &principal.lookup_name()],
            ),
        };
        // A column that was changed by hand must not bring a grant to somebody else.
        Ok(self.grants(rows?)?.into_iter().filter(|record| filter.picks(record)).collect())
    }

    fn count_grants(&self, key_id: &KeyId) -> Result<usize, StoreError> {
        let sql = "SELECT count(*) FROM kms_grant WHERE region = $1 AND key_id = $2";
        let count =
            self.row(sql, &[&self.region(), &key_id.to_string()])?.map_or(0, |row| row.get::<_, i64>(0));
        Ok(usize::try_from(count).unwrap_or(0))
    }

    fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.row("SELECT sealed FROM setting WHERE name = $1", &[&name])?;
        found.map(|row| self.codec.open_setting(name, row.get(0))).transpose()
    }

    fn due_keys(&self, now: Timestamp, limit: usize) -> Result<Vec<KeyId>, StoreError> {
        let sql = "SELECT key_id FROM kms_key WHERE region = $1 AND next_due <= $2 ORDER BY next_due, key_id LIMIT $3";
        key_ids(&self.rows(sql, &[&self.region(), &now.as_millis(), &sql_limit(limit)])?)
    }

    fn last_usage(&self, key_id: &KeyId) -> Result<Option<KeyLastUsage>, StoreError> {
        let found = self.row(
            "SELECT sealed FROM key_usage WHERE region = $1 AND key_id = $2",
            &[&self.region(), &key_id.to_string()],
        )?;
        found.map(|row| self.codec.open_usage(&self.locality, key_id, row.get(0))).transpose()
    }

    fn usage_recorded_since(&self) -> Result<Timestamp, StoreError> {
        let found = self.row("SELECT since FROM usage_tracking", &[])?;
        let row = found.ok_or_else(|| StoreError::Corrupt { what: "the last use of keys".into() })?;
        Ok(Timestamp::from_millis(row.get(0)))
    }

    fn localities(&self) -> Result<Vec<Locality>, StoreError> {
        let sql = concat!(
            select_key_regions!(),
            "UNION SELECT region COLLATE \"C\" FROM custom_key_store ORDER BY 1"
        );
        self.rows(sql, &[])?.iter().map(|row| parse_locality(row.get(0))).collect()
    }
}

impl WriteTx for PostgresTx<'_, '_> {
    fn put_key(&self, record: &KeyRecord) -> Result<(), StoreError> {
        let next_due = record.next_due().map(Timestamp::as_millis);
        self.execute(
            "INSERT INTO kms_key (region, key_id, next_due, sealed) VALUES ($1, $2, $3, $4)
             ON CONFLICT (region, key_id) DO UPDATE SET next_due = excluded.next_due, sealed = excluded.sealed",
            &[&self.region(), &record.key_id.to_string(), &next_due, &self.codec.seal_key(&self.locality, record)?],
        )
    }

    fn put_material_handle(
        &self,
        key_id: &KeyId,
        material_id: &MaterialId,
        handle: &[u8],
    ) -> Result<(), StoreError> {
        let sealed = self.codec.seal_handle(&self.locality, key_id, material_id, handle)?;
        self.execute(
            "INSERT INTO material (region, key_id, material_id, sealed) VALUES ($1, $2, $3, $4)
             ON CONFLICT (region, key_id, material_id) DO UPDATE SET sealed = excluded.sealed",
            &[&self.region(), &key_id.to_string(), &material_id.to_string(), &sealed],
        )
    }

    fn erase_material_handle(&self, key_id: &KeyId, material_id: &MaterialId) -> Result<(), StoreError> {
        let sql = "DELETE FROM material WHERE region = $1 AND key_id = $2 AND material_id = $3";
        self.execute(sql, &[&self.region(), &key_id.to_string(), &material_id.to_string()])?;
        self.request_scrub()
    }

    fn erase_key(&self, key_id: &KeyId) -> Result<(), StoreError> {
        let (region, key_id) = (self.region(), key_id.to_string());
        self.execute("DELETE FROM material WHERE region = $1 AND key_id = $2", &[&region, &key_id])?;
        self.execute("DELETE FROM alias WHERE region = $1 AND key_id = $2", &[&region, &key_id])?;
        self.execute("DELETE FROM kms_grant WHERE region = $1 AND key_id = $2", &[&region, &key_id])?;
        self.execute("DELETE FROM key_usage WHERE region = $1 AND key_id = $2", &[&region, &key_id])?;
        self.execute("DELETE FROM kms_key WHERE region = $1 AND key_id = $2", &[&region, &key_id])?;
        self.request_scrub()
    }

    fn put_alias(&self, record: &AliasRecord) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO alias (region, name, key_id, sealed) VALUES ($1, $2, $3, $4)
             ON CONFLICT (region, name) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed",
            &[
                &self.region(),
                &record.name.as_str(),
                &record.key_id.to_string(),
                &self.codec.seal_alias(&self.locality, record)?,
            ],
        )
    }

    fn delete_alias(&self, name: &AliasName) -> Result<(), StoreError> {
        self.execute("DELETE FROM alias WHERE region = $1 AND name = $2", &[&self.region(), &name.as_str()])
    }

    fn put_grant(&self, record: &GrantRecord) -> Result<(), StoreError> {
        let retiring = record.retiring.as_ref().map(|principal| principal.lookup_name());
        self.execute(
            "INSERT INTO kms_grant (region, grant_id, key_id, grantee, retiring, name, sealed)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                &self.region(),
                &record.grant_id.to_string(),
                &record.key_id.to_string(),
                &record.grantee.lookup_name(),
                &retiring,
                &record.name,
                &self.codec.seal_grant(&self.locality, record)?,
            ],
        )
    }

    fn delete_grant(&self, grant_id: &GrantId) -> Result<(), StoreError> {
        let sql = "DELETE FROM kms_grant WHERE region = $1 AND grant_id = $2";
        self.execute(sql, &[&self.region(), &grant_id.to_string()])
    }

    fn put_last_usage(&self, key_id: &KeyId, usage: &KeyLastUsage) -> Result<(), StoreError> {
        let sealed = self.codec.seal_usage(&self.locality, key_id, usage)?;
        self.execute(
            "INSERT INTO key_usage (region, key_id, sealed) VALUES ($1, $2, $3)
             ON CONFLICT (region, key_id) DO UPDATE SET sealed = excluded.sealed",
            &[&self.region(), &key_id.to_string(), &sealed],
        )
    }

    fn at<'s>(&'s self, locality: &Locality) -> Box<dyn WriteTx + 's> {
        Box::new(Self::new(self.begun, self.codec, locality))
    }

    fn put_setting(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO setting (name, sealed) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
            &[&name, &self.codec.seal_setting(name, value)?],
        )
    }
}
