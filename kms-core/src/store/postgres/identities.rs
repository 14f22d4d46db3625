use postgres::Row;

use super::tx::PostgresTx;
use crate::model::{AccessKey, AccessKeyId, SecretAccessKey, Timestamp, UserName};
use crate::store::{ReadIdentities, StoreError, UserRecord, WriteIdentities};

impl PostgresTx<'_, '_> {
    fn user_row(&self, row: &Row) -> Result<UserRecord, StoreError> {
        let (name, sealed): (String, Vec<u8>) = (row.get(0), row.get(1));
        let parsed = name.parse().map_err(|_| StoreError::Corrupt { what: format!("user {name:?}") })?;
        self.codec.open_user(&parsed, &sealed)
    }

    fn access_key_row(&self, row: &Row) -> Result<(AccessKey, SecretAccessKey), StoreError> {
        let (id, user): (String, String) = (row.get(0), row.get(1));
        let corrupt = || StoreError::Corrupt { what: format!("access key {id:?}") };
        let key = AccessKey {
            access_key_id: id.parse().map_err(|_| corrupt())?,
            user: user.parse().map_err(|_| corrupt())?,
            creation_date: Timestamp::from_millis(row.get(2)),
        };
        let secret = self.codec.open_access_key(&key, row.get(3))?;
        Ok((key, secret))
    }
}

impl ReadIdentities for PostgresTx<'_, '_> {
    fn user(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        let found = self.row("SELECT name, sealed FROM kms_user WHERE name = $1", &[&name.as_str()])?;
        found.map(|row| self.user_row(&row)).transpose()
    }

    fn list_users(&self) -> Result<Vec<UserRecord>, StoreError> {
        let rows = self.rows("SELECT name, sealed FROM kms_user ORDER BY name", &[])?;
        rows.iter().map(|row| self.user_row(row)).collect()
    }

    fn access_key(&self, id: &AccessKeyId) -> Result<Option<(AccessKey, SecretAccessKey)>, StoreError> {
        let sql = "SELECT access_key_id, user_name, created, sealed FROM access_key WHERE access_key_id = $1";
        let found = self.row(sql, &[&id.as_str()])?;
        found.map(|row| self.access_key_row(&row)).transpose()
    }

    fn list_access_keys(&self, user: &UserName) -> Result<Vec<AccessKey>, StoreError> {
        let sql = "SELECT access_key_id, user_name, created, sealed FROM access_key
                   WHERE user_name = $1 ORDER BY access_key_id";
        let rows = self.rows(sql, &[&user.as_str()])?;
        rows.iter().map(|row| Ok(self.access_key_row(row)?.0)).collect()
    }
}

impl WriteIdentities for PostgresTx<'_, '_> {
    fn put_user(&self, record: &UserRecord) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO kms_user (name, sealed) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
            &[&record.name.as_str(), &self.codec.seal_user(record)?],
        )
    }

    fn delete_user(&self, name: &UserName) -> Result<(), StoreError> {
        self.execute("DELETE FROM kms_user WHERE name = $1", &[&name.as_str()])
    }

    fn put_access_key(&self, key: &AccessKey, secret: &SecretAccessKey) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO access_key (access_key_id, user_name, created, sealed) VALUES ($1, $2, $3, $4)",
            &[
                &key.access_key_id.as_str(),
                &key.user.as_str(),
                &key.creation_date.as_millis(),
                &self.codec.seal_access_key(key, secret)?,
            ],
        )
    }

    fn erase_access_key(&self, id: &AccessKeyId) -> Result<(), StoreError> {
        self.execute("DELETE FROM access_key WHERE access_key_id = $1", &[&id.as_str()])?;
        self.request_scrub()
    }
}
