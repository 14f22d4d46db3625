//! Where the database is, and connections to it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postgres::config::{Host, SslMode};
use postgres::error::SqlState;
use postgres::{Client, NoTls, Statement};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::model::Plaintext;
use crate::store::StoreError;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a database that is not there is waited for: a restart takes less.
const OUTAGE_LIMIT: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are kept. More are made when more are needed at once.
const KEPT_CONNECTIONS: usize = 16;
/// Of each connection. A commit that was acknowledged is durable whatever the default of the database is, and a replica
/// whose machine is gone keeps nobody from writing for long.
const SESSION: &str = "SET synchronous_commit = on; SET statement_timeout = '30s'; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '10s'; SET client_min_messages = warning";

/// Where a PostgreSQL database is, and who logs in.
#[derive(Clone)]
pub struct PostgresConfig {
    config: Box<postgres::Config>,
}

impl PostgresConfig {
    /// Reads `postgres://USER@HOST:PORT/DATABASE?...`. The password comes apart, because an address is shown and stands on
    /// command lines: one with a password is refused.
    ///
    /// # Errors
    /// [`StoreError::Address`].
    pub fn parse(address: &str, password: Option<&Plaintext>) -> Result<Self, StoreError> {
        let refused = |problem: String| StoreError::Address { problem };
        let mut config: postgres::Config =
            address.parse().map_err(|error: postgres::Error| refused(detail(&error)))?;
        if config.get_password().is_some() {
            return Err(refused("a password must not be part of the address".into()));
        }
        if config.get_user().is_none() || config.get_hosts().is_empty() {
            return Err(refused("the address names no user or no host".into()));
        }
        if let Some(password) = password {
            config.password(password.expose());
        }
        if config.get_ssl_mode() == SslMode::Prefer && !config.get_hosts().iter().all(is_local) {
            // What crosses a network is encrypted unless somebody says `sslmode=disable`.
            config.ssl_mode(SslMode::Require);
        }
        config.connect_timeout(CONNECT_TIMEOUT).application_name("kms-core");
        Ok(Self { config: Box::new(config) })
    }

    fn connect(&self) -> Result<Client, postgres::Error> {
        let mut client = match self.config.get_ssl_mode() {
            SslMode::Require => self.config.connect(tls())?,
            _ => self.config.connect(NoTls)?,
        };
        client.batch_execute(SESSION)?;
        Ok(client)
    }
}

impl fmt::Display for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        let port = self.config.get_ports().first().map(|port| format!(":{port}")).unwrap_or_default();
        let user = self.config.get_user().unwrap_or_default();
        write!(f, "postgres://{user}@{host}{port}/{}", self.config.get_dbname().unwrap_or(user))
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Whether what is sent there stays on this machine.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// Verifies the certificate of the server with the authorities of the system, or those that `SSL_CERT_FILE` names.
fn tls() -> MakeRustlsConnect {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, _unusable) = roots.add_parsable_certificates(found.certs);
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the protocol versions that rustls considers safe")
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

/// A connection with the statements that were prepared on it.
pub(super) struct Connection {
    pub(super) client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Connection {
    /// A statement, prepared once.
    pub(super) fn statement(&mut self, sql: &'static str) -> Result<Statement, postgres::Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql)?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }
}

/// Connections to one database.
pub(super) struct Pool {
    config: PostgresConfig,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(super) fn new(config: PostgresConfig) -> Self {
        Self { config, idle: Mutex::new(Vec::new()) }
    }

    /// An idle connection, or a new one. Waits a while for a database that is about to come back.
    pub(super) fn take(&self) -> Result<Connection, StoreError> {
        if let Some(connection) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(connection);
        }
        let since = Instant::now();
        loop {
            match self.config.connect() {
                Ok(client) => return Ok(Connection { client, statements: HashMap::new() }),
                Err(error) if may_pass(&error) && since.elapsed() < OUTAGE_LIMIT => {
                    std::thread::sleep(RETRY_PAUSE);
                }
                Err(error) => {
                    let problem = format!("cannot connect to {}: {}", self.config, detail(&error));
                    return Err(StoreError::Unavailable { problem });
                }
            }
        }
    }

    /// Gives a connection back that is between two transactions.
    pub(super) fn give(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.client.is_closed() && idle.len() < KEPT_CONNECTIONS {
            idle.push(connection);
        }
    }

    /// Forgets all idle connections: when one breaks, the others are likely to be broken too.
    pub(super) fn clear(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(idle);
    }
}

/// Whether a connection may succeed a little later: nobody listens, or the database starts, stops, or is full.
fn may_pass(error: &postgres::Error) -> bool {
    match error.code() {
        Some(code) => [
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::TOO_MANY_CONNECTIONS,
        ]
        .contains(code),
        // Without a code the server did not answer.
        None => true,
    }
}

/// What went wrong, with what is behind it.
pub(super) fn detail(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(answer) => answer.message().to_owned(),
        None => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_password_and_a_network_is_crossed_encrypted() {
        let parse = |address: &str| PostgresConfig::parse(address, None);
        for address in ["", "postgres://", "mysql://a@b/c", "postgres://u:secret@h/d", "postgres://h/d"] {
            let error = parse(address).expect_err(address);
            assert!(matches!(error, StoreError::Address { .. }), "{error}");
            assert!(!error.to_string().contains("secret"));
        }
        let mode = |address: &str| parse(address).expect(address).config.get_ssl_mode();
        assert_eq!(mode("postgres://u@db.example.org/d"), SslMode::Require);
        assert_eq!(mode("postgres://u@db.example.org/d?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://u@127.0.0.1/d"), SslMode::Prefer);
        assert_eq!(mode("postgres://u@%2Frun%2Fpg/d"), SslMode::Prefer);
        let shown = PostgresConfig::parse("postgres://u@h:5433/d", Some(&Plaintext::copy_of(b"secret")));
        assert_eq!(format!("{:?}", shown.expect("parses")), "postgres://u@h:5433/d");
    }
}
