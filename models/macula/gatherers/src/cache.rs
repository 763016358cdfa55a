//! The cache of answers: in memory, and beneath it on disk or in a database that several copies share.
//!
//! How long an answer counts is a matter of the service it came from: what is cheap is asked often, what costs money rarely.
//! [`CachePolicy`] says so for each gatherer. A store that fails or hangs is left alone for a while, and makes no answer worse
//! than it would be without one.

mod disk;
mod policy;
mod postgres;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::warn;

pub(crate) use disk::DiskStore;
pub(crate) use policy::Age;
pub use policy::CachePolicy;
pub(crate) use postgres::PostgresStore;

use crate::breaker::{Breaker, BreakerPolicy};
use crate::clock::Clock;
use crate::source::Content;
use crate::span::Span;

/// How long a store may take: a cache that is slower than this is none.
const STORE_TIMEOUT: Duration = Duration::from_millis(500);

/// An answer, and when it was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// What was told.
    pub content: Content,
    /// When.
    pub fetched_at: Timestamp,
}

/// Where answers lie while the program does not run.
#[derive(Debug)]
pub(crate) enum Store {
    /// A file of this copy.
    Disk(DiskStore),
    /// A database.
    Postgres(PostgresStore),
}

/// A store, and whether it works.
#[derive(Debug)]
pub(crate) struct StoreHandle {
    store: Store,
    breaker: Breaker,
    clock: Clock,
}

impl StoreHandle {
    /// A store that is thought to work.
    pub(crate) fn new(store: Store, clock: Clock) -> StoreHandle {
        let policy = BreakerPolicy {
            failures: 3,
            rest: Span::seconds(10),
        };
        StoreHandle {
            store,
            breaker: Breaker::new(policy),
            clock,
        }
    }

    async fn get(&self, gatherer: &str, key: &str) -> Option<Answer> {
        let asked = async {
            match &self.store {
                Store::Disk(disk) => disk.get(gatherer, key).await,
                Store::Postgres(postgres) => postgres.get(gatherer, key).await,
            }
        };
        self.guard("get", asked).await.flatten()
    }

    async fn put(&self, gatherer: &str, key: &str, answer: &Answer, policy: &CachePolicy) {
        let asked = async {
            match &self.store {
                Store::Disk(disk) => disk.put(gatherer, key, answer, policy).await,
                Store::Postgres(postgres) => postgres.put(gatherer, key, answer, policy).await,
            }
        };
        self.guard("put", asked).await;
    }

    /// Counts a question of a day, and says how many that makes with those of former runs and other copies.
    pub(crate) async fn count_question(&self, gatherer: &str, day: i64) -> Option<u64> {
        let asked = async {
            match &self.store {
                Store::Disk(disk) => disk.count_question(gatherer, day).await,
                Store::Postgres(postgres) => postgres.count_question(gatherer, day).await,
            }
        };
        self.guard("count", asked).await
    }

    async fn guard<T>(
        &self,
        operation: &'static str,
        asked: impl Future<Output = Result<T, StoreError>>,
    ) -> Option<T> {
        if !self.breaker.admits(self.clock.now()) {
            return None;
        }
        let error = match timeout(STORE_TIMEOUT, asked).await {
            Ok(Ok(answer)) => {
                self.breaker.succeeded();
                return Some(answer);
            }
            Ok(Err(StoreError::Unreadable(error))) => {
                // Of another version, say. The store itself is well, and the question is asked anew.
                self.breaker.succeeded();
                warn!(operation, %error, "what is stored cannot be read");
                return None;
            }
            Ok(Err(error)) => error,
            Err(_) => StoreError::Timeout,
        };
        self.breaker.failed(self.clock.now());
        let error = with_causes(&error);
        warn!(operation, error, "the store of answers failed");
        None
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The answers of one gatherer.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    gatherer: Arc<str>,
    policy: CachePolicy,
    memory: moka::sync::Cache<String, Arc<Answer>>,
    /// When questions were asked that the source does not take. Of old answers to them nothing is lost by that.
    rejected: moka::sync::Cache<String, Timestamp>,
    store: Option<Arc<StoreHandle>>,
}

impl Cache {
    /// An empty one, above a store that may have answers already.
    pub(crate) fn new(
        gatherer: &str,
        policy: CachePolicy,
        store: Option<Arc<StoreHandle>>,
    ) -> Cache {
        Cache {
            gatherer: gatherer.into(),
            memory: moka::sync::Cache::builder()
                .max_capacity(policy.max_entries)
                .time_to_live(policy.keep())
                .build(),
            rejected: moka::sync::Cache::builder()
                .max_capacity(policy.max_entries)
                .time_to_live(policy.keep())
                .build(),
            policy,
            store,
        }
    }

    /// The answer to this question, and whether it still counts. An answer that does not is never given out.
    pub(crate) async fn get(&self, key: &str, now: Timestamp) -> Option<(Arc<Answer>, Age)> {
        let known = self.memory.get(key);
        let known = known.and_then(|answer| self.judge(key, answer, now));
        if let Some((_, Age::Fresh | Age::Refresh)) = known {
            return known;
        }
        // Another copy may have asked since.
        let Some(store) = &self.store else {
            return known;
        };
        let stored = store.get(&self.gatherer, key).await;
        let stored = stored.filter(|stored| {
            let mut known = known.iter();
            known.all(|(known, _)| stored.fetched_at > known.fetched_at)
        });
        let Some((answer, age)) = stored.and_then(|answer| self.judge(key, answer.into(), now))
        else {
            return known;
        };
        self.memory.insert(key.to_owned(), Arc::clone(&answer));
        Some((answer, age))
    }

    /// Keeps an answer.
    pub(crate) async fn put(&self, key: &str, answer: Arc<Answer>) {
        self.memory.insert(key.to_owned(), answer.clone());
        if let Some(store) = &self.store {
            store.put(&self.gatherer, key, &answer, &self.policy).await;
        }
    }

    /// Remembers that the source does not take this question.
    pub(crate) fn reject(&self, key: &str, now: Timestamp) {
        self.rejected.insert(key.to_owned(), now);
    }

    /// Whether the source did not take this question, for as long as it counts that it knows nothing.
    pub(crate) fn is_rejected(&self, key: &str, now: Timestamp) -> bool {
        self.rejected.get(key).is_some_and(|at| {
            let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
            self.policy.age(key, true, age) == Age::Fresh
        })
    }

    fn judge(&self, key: &str, answer: Arc<Answer>, now: Timestamp) -> Option<(Arc<Answer>, Age)> {
        let age = now.duration_since(answer.fetched_at);
        let age = Duration::try_from(age).unwrap_or_default();
        let negative = answer.content.is_fleeting();
        match self.policy.age(key, negative, age) {
            Age::Gone => None,
            age @ (Age::Fresh | Age::Refresh | Age::OnlyOnError) => Some((answer, age)),
        }
    }
}

/// Why a store did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file.
    #[error("the file of answers failed")]
    Disk(#[source] Box<redb::Error>),
    /// The file is another program's.
    #[error(
        "the file of answers `{0}` is in use by another process: give every copy its own, or let them share a database"
    )]
    InUse(std::path::PathBuf),
    /// The database's settings.
    #[error("the settings of the database are wrong: {0}")]
    Settings(String),
    /// No connection to the database.
    #[error("no connection to the database")]
    Connect(#[source] deadpool_postgres::PoolError),
    /// The database said no.
    #[error("the database failed")]
    Postgres(#[source] tokio_postgres::Error),
    /// The database is too old.
    #[error("the database is PostgreSQL {0}; 9.5 or later is needed")]
    Old(String),
    /// What lies there is none of ours.
    #[error("what is stored cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// It took too long.
    #[error("the store of answers takes too long")]
    Timeout,
    /// The program is stopping.
    #[error("the program is stopping")]
    Stopping,
}
