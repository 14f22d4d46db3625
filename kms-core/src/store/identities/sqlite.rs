use rusqlite::{Row, params};

use super::{ReadIdentities, UserRecord, WriteIdentities};
use crate::model::{AccessKey, AccessKeyId, SecretAccessKey, Timestamp, UserName};
use crate::store::StoreError;
use crate::store::sqlite::{SqliteTx, backend};

impl SqliteTx<'_> {
    fn user_row(&self, row: &Row<'_>) -> Result<UserRecord, StoreError> {
        let name: String = row.get(0).map_err(backend)?;
        let sealed: Vec<u8> = row.get(1).map_err(backend)?;
        let parsed = name.parse().map_err(|_| StoreError::Corrupt { what: format!("user {name:?}") })?;
        self.codec.open_user(&parsed, &sealed)
    }

    fn users(&self, sql: &str, parameters: &[&dyn rusqlite::ToSql]) -> Result<Vec<UserRecord>, StoreError> {
        let mut statement = self.inner.prepare_cached(sql).map_err(backend)?;
        let mut rows = statement.query(parameters).map_err(backend)?;
        let mut users = Vec::new();
        while let Some(row) = rows.next().map_err(backend)? {
            users.push(self.user_row(row)?);
        }
        Ok(users)
    }

    fn access_keys(
        &self,
        sql: &str,
        parameter: &str,
    ) -> Result<Vec<(AccessKey, SecretAccessKey)>, StoreError> {
        let mut statement = self.inner.prepare_cached(sql).map_err(backend)?;
        let mut rows = statement.query([parameter]).map_err(backend)?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next().map_err(backend)? {
            keys.push(self.access_key_row(row)?);
        }
        Ok(keys)
    }

    fn access_key_row(&self, row: &Row<'_>) -> Result<(AccessKey, SecretAccessKey), StoreError> {
        let id: String = row.get(0).map_err(backend)?;
        let user: String = row.get(1).map_err(backend)?;
        let created: i64 = row.get(2).map_err(backend)?;
        let sealed: Vec<u8> = row.get(3).map_err(backend)?;
        let corrupt = || StoreError::Corrupt { what: format!("access key {id:?}") };
        let key = AccessKey {
            access_key_id: id.parse().map_err(|_| corrupt())?,
            user: user.parse().map_err(|_| corrupt())?,
            creation_date: Timestamp::from_millis(created),
        };
        let secret = self.codec.open_access_key(&key, &sealed)?;
        Ok((key, secret))
    }
}

impl ReadIdentities for SqliteTx<'_> {
    fn user(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        let sql = "SELECT name, sealed FROM kms_user WHERE name = ?1";
        Ok(self.users(sql, params![name.as_str()])?.pop())
    }

    fn list_users(&self) -> Result<Vec<UserRecord>, StoreError> {
        self.users("SELECT name, sealed FROM kms_user ORDER BY name", &[])
    }

    fn access_key(&self, id: &AccessKeyId) -> Result<Option<(AccessKey, SecretAccessKey)>, StoreError> {
        let sql = "SELECT access_key_id, user_name, created, sealed FROM access_key WHERE access_key_id = ?1";
        Ok(self.access_keys(sql, id.as_str())?.pop())
    }

    fn list_access_keys(&self, user: &UserName) -> Result<Vec<AccessKey>, StoreError> {
        let sql = "SELECT access_key_id, user_name, created, sealed FROM access_key
                   WHERE user_name = ?1 ORDER BY access_key_id";
        Ok(self.access_keys(sql, user.as_str())?.into_iter().map(|(key, _)| key).collect())
    }
}

impl WriteIdentities for SqliteTx<'_> {
    fn put_user(&self, record: &UserRecord) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO kms_user (name, sealed) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
            params![record.name.as_str(), self.codec.seal_user(record)?],
        )
    }

    fn delete_user(&self, name: &UserName) -> Result<(), StoreError> {
        self.execute("DELETE FROM kms_user WHERE name = ?1", params![name.as_str()])
    }

    fn put_access_key(&self, key: &AccessKey, secret: &SecretAccessKey) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO access_key (access_key_id, user_name, created, sealed) VALUES (?1, ?2, ?3, ?4)",
            params![
                key.access_key_id.as_str(),
                key.user.as_str(),
                key.creation_date.as_millis(),
                self.codec.seal_access_key(key, secret)?
            ],
        )
    }

    fn erase_access_key(&self, id: &AccessKeyId) -> Result<(), StoreError> {
        let row = params![id.as_str()];
        self.execute(
            "UPDATE access_key SET sealed = zeroblob(length(sealed)) WHERE access_key_id = ?1",
            row,
        )?;
        self.execute("DELETE FROM access_key WHERE access_key_id = ?1", row)?;
        self.request_scrub()
    }
}
