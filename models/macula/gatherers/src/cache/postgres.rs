//! Answers in a PostgreSQL database, which several copies share; 9.5 or later, for its insert-or-update.
//!
//! The connection is not encrypted: the database is in a network you trust, or behind a tunnel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;

use super::{Answer, CachePolicy, StoreError};

/// Connections at most: a cache must not be what fills the database.
const CONNECTIONS: usize = 8;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// After so many writes, what is old or too many goes.
const WRITES_TO_SWEEP: u64 = 1024;

/// The oldest that has insert-or-update.
const OLDEST: u32 = 90_500;

const PREPARE: &str = "
    CREATE TABLE IF NOT EXISTS macula_answers (
        gatherer text NOT NULL,
        key text NOT NULL,
        answer text NOT NULL,
        fetched_at bigint NOT NULL,
        keep_until bigint NOT NULL,
        PRIMARY KEY (gatherer, key)
    );
    CREATE INDEX IF NOT EXISTS macula_answers_keep_until ON macula_answers (gatherer, keep_until);
    CREATE TABLE IF NOT EXISTS macula_questions (
        gatherer text PRIMARY KEY,
        day bigint NOT NULL,
        used bigint NOT NULL
    )";

/// Two copies that make the tables at once would disturb each other; one waits for the other here. The lock is the
/// transaction's: given back any earlier, it would let the other one in before the tables are there for it to see.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7526411553527181409)";

const GET: &str = "SELECT answer FROM macula_answers WHERE gatherer = $1 AND key = $2";

/// An older answer never takes the place of a newer one, whichever copy comes first.
const PUT: &str = "
    INSERT INTO macula_answers (gatherer, key, answer, fetched_at, keep_until) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (gatherer, key) DO UPDATE
    SET answer = excluded.answer, fetched_at = excluded.fetched_at, keep_until = excluded.keep_until
    WHERE macula_answers.fetched_at <= excluded.fetched_at";

const COUNT: &str = "
    INSERT INTO macula_questions (gatherer, day, used) VALUES ($1, $2, 1)
    ON CONFLICT (gatherer) DO UPDATE
    SET used = CASE WHEN macula_questions.day = excluded.day THEN macula_questions.used + 1 ELSE 1 END, day = excluded.day
    RETURNING used";

const SWEEP: &str = "
    DELETE FROM macula_answers WHERE gatherer = $1 AND (keep_until <= $2 OR key IN (
        SELECT key FROM macula_answers WHERE gatherer = $1 ORDER BY keep_until DESC OFFSET $3))";

/// A database of answers.
#[derive(Debug)]
pub(crate) struct PostgresStore {
    pool: Pool,
    writes: AtomicU64,
}

impl PostgresStore {
    /// Connects, and makes the tables if they are not there. `settings` is a connection string,
    /// like `host=/run/postgresql dbname=macula` or `postgresql://user@host/macula`.
    ///
    /// # Errors
    /// When the settings are none, the database cannot be reached or is too old.
    pub(crate) async fn connect(settings: &str) -> Result<PostgresStore, StoreError> {
        let mut settings: tokio_postgres::Config = settings
            .parse()
            // The text may hold a password: it must not be in the error.
            .map_err(|_| StoreError::Settings("not a connection string".into()))?;
        if settings.get_connect_timeout().is_none() {
            settings.connect_timeout(CONNECT_TIMEOUT);
        }
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let pool = Pool::builder(Manager::from_config(settings, NoTls, recycling))
            .max_size(CONNECTIONS)
            .wait_timeout(Some(CONNECT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Settings(error.to_string()))?;
        let store = PostgresStore {
            pool,
            writes: AtomicU64::new(0),
        };
        store.prepare().await?;
        Ok(store)
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let row = connection
            .query_one("SHOW server_version_num", &[])
            .await
            .map_err(StoreError::Postgres)?;
        let version: String = row.get(0);
        if version.parse().unwrap_or(0) < OLDEST {
            return Err(StoreError::Old(version));
        }
        // Statements sent as one batch are one transaction.
        let prepared = connection
            .batch_execute(&format!("{LOCK}; {PREPARE}"))
            .await;
        prepared.map_err(StoreError::Postgres)
    }

    pub(super) async fn get(
        &self,
        gatherer: &str,
        key: &str,
    ) -> Result<Option<Answer>, StoreError> {
        let connection = self.connection().await?;
        let get = connection.prepare_cached(GET).await;
        let get = get.map_err(StoreError::Postgres)?;
        let row = connection
            .query_opt(&get, &[&gatherer, &key])
            .await
            .map_err(StoreError::Postgres)?;
        let Some(row) = row else { return Ok(None) };
        let answer: &str = row.get(0);
        serde_json::from_str(answer)
            .map(Some)
            .map_err(StoreError::Unreadable)
    }

    pub(super) async fn put(
        &self,
        gatherer: &str,
        key: &str,
        answer: &Answer,
        policy: &CachePolicy,
    ) -> Result<(), StoreError> {
        let text = serde_json::to_string(answer).map_err(StoreError::Unreadable)?;
        let keep = i64::try_from(policy.keep().as_secs()).unwrap_or(i64::MAX);
        let until = answer.fetched_at.as_second().saturating_add(keep);
        let fetched_at = answer.fetched_at.as_millisecond();
        let connection = self.connection().await?;
        let put = connection.prepare_cached(PUT).await;
        let put = put.map_err(StoreError::Postgres)?;
        connection
            .execute(&put, &[&gatherer, &key, &text, &fetched_at, &until])
            .await
            .map_err(StoreError::Postgres)?;
        let write = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        drop(connection);
        if write.is_multiple_of(WRITES_TO_SWEEP) {
            self.sweep(gatherer, policy.max_entries, answer.fetched_at.as_second())
                .await?;
        }
        Ok(())
    }

    /// Takes away what counts no more, and then what goes first, until no more than `most` are left.
    async fn sweep(&self, gatherer: &str, most: u64, now: i64) -> Result<(), StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let connection = self.connection().await?;
        connection
            .execute(SWEEP, &[&gatherer, &now, &most])
            .await
            .map_err(StoreError::Postgres)?;
        Ok(())
    }

    pub(super) async fn count_question(&self, gatherer: &str, day: i64) -> Result<u64, StoreError> {
        let connection = self.connection().await?;
        let row = connection
            .query_one(COUNT, &[&gatherer, &day])
            .await
            .map_err(StoreError::Postgres)?;
        let used: i64 = row.get(0);
        Ok(used.unsigned_abs())
    }

    async fn connection(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(StoreError::Connect)
    }
}
