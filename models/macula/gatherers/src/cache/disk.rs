//! Answers in a file of this copy.
//!
//! The file is a cache: what was written in the last second before a power cut may be lost, and that is the price for writes
//! that do not wait for the disk. It belongs to one process; a second one is told so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::task::spawn_blocking;

use super::{Answer, CachePolicy, StoreError};

/// Gatherer and key, to when the answer goes (seconds since 1970) and the answer as JSON.
const ANSWERS: TableDefinition<(&str, &str), (i64, &[u8])> = TableDefinition::new("answers");

/// Gatherer, to the day and how many questions it had.
const QUESTIONS: TableDefinition<&str, (i64, u64)> = TableDefinition::new("questions");

/// After so many writes they are made safe on the disk.
const WRITES_TO_SYNC: u64 = 64;

/// After so many writes, what is old or too many goes.
const WRITES_TO_SWEEP: u64 = 1024;

/// A file of answers.
#[derive(Clone, Debug)]
pub(crate) struct DiskStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    path: PathBuf,
    writes: AtomicU64,
}

impl DiskStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it cannot be opened, is no such file, or belongs to another process.
    pub(crate) fn open(path: &Path) -> Result<DiskStore, StoreError> {
        let database = Database::create(path).map_err(|error| {
            if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
                return StoreError::InUse(path.into());
            }
            disk(error)
        })?;
        let inner = Inner {
            database,
            path: path.into(),
            writes: AtomicU64::new(0),
        };
        inner.prepare().map_err(disk)?;
        Ok(DiskStore {
            inner: Arc::new(inner),
        })
    }

    pub(super) async fn get(
        &self,
        gatherer: &str,
        key: &str,
    ) -> Result<Option<Answer>, StoreError> {
        let (gatherer, key) = (gatherer.to_owned(), key.to_owned());
        let found = self
            .blocking(move |inner| inner.get(&gatherer, &key))
            .await?;
        let read = |bytes: Vec<u8>| serde_json::from_slice(&bytes);
        found.map(read).transpose().map_err(StoreError::Unreadable)
    }

    pub(super) async fn put(
        &self,
        gatherer: &str,
        key: &str,
        answer: &Answer,
        policy: &CachePolicy,
    ) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(answer).map_err(StoreError::Unreadable)?;
        let keep = i64::try_from(policy.keep().as_secs()).unwrap_or(i64::MAX);
        let until = answer.fetched_at.as_second().saturating_add(keep);
        let now = answer.fetched_at;
        let (gatherer, key) = (gatherer.to_owned(), key.to_owned());
        let most = policy.max_entries;
        self.blocking(move |inner| {
            let write = inner.put(&gatherer, &key, until, &bytes)?;
            if write.is_multiple_of(WRITES_TO_SWEEP) {
                inner.sweep(&gatherer, most, now)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn count_question(&self, gatherer: &str, day: i64) -> Result<u64, StoreError> {
        let gatherer = gatherer.to_owned();
        self.blocking(move |inner| inner.count(&gatherer, day))
            .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.inner.clone();
        let done = spawn_blocking(move || work(&inner)).await;
        done.map_err(|_| StoreError::Stopping)?.map_err(disk)
    }
}

impl Inner {
    fn prepare(&self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(ANSWERS)?;
        transaction.open_table(QUESTIONS)?;
        Ok(transaction.commit()?)
    }

    fn get(&self, gatherer: &str, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        let table = self.database.begin_read()?.open_table(ANSWERS)?;
        let found = table.get((gatherer, key))?;
        Ok(found.map(|entry| entry.value().1.to_vec()))
    }

    /// Returns the number of this write.
    fn put(&self, gatherer: &str, key: &str, until: i64, bytes: &[u8]) -> Result<u64, redb::Error> {
        let write = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        let mut transaction = self.database.begin_write()?;
        if !write.is_multiple_of(WRITES_TO_SYNC) {
            transaction.set_durability(Durability::None)?;
        }
        transaction
            .open_table(ANSWERS)?
            .insert((gatherer, key), (until, bytes))?;
        transaction.commit()?;
        Ok(write)
    }

    fn count(&self, gatherer: &str, day: i64) -> Result<u64, redb::Error> {
        let transaction = self.database.begin_write()?;
        let used = {
            let mut table = transaction.open_table(QUESTIONS)?;
            let before = table.get(gatherer)?.map(|entry| entry.value());
            let used = match before {
                Some((counted, used)) if counted == day => used + 1,
                _ => 1,
            };
            table.insert(gatherer, (day, used))?;
            used
        };
        transaction.commit()?;
        Ok(used)
    }

    /// Takes away what counts no more, and then what goes first, until no more than `most` are left.
    fn sweep(&self, gatherer: &str, most: u64, now: Timestamp) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(ANSWERS)?;
            let mut left: Vec<(i64, String)> = Vec::new();
            for entry in table.range((gatherer, "")..)? {
                let (key, value) = entry?;
                let (owner, key) = key.value();
                if owner != gatherer {
                    break;
                }
                left.push((value.value().0, key.to_owned()));
            }
            left.sort_unstable();
            let expired = left.partition_point(|(until, _)| *until <= now.as_second());
            let too_many = left
                .len()
                .saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
            for (_, key) in &left[..expired.max(too_many)] {
                table.remove((gatherer, key.as_str()))?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // An empty write that waits for the disk makes those before it safe.
        let synced = self
            .database
            .begin_write()
            .map_err(redb::Error::from)
            .and_then(|transaction| Ok(transaction.commit()?));
        if let Err(error) = synced {
            tracing::warn!(%error, path = %self.path.display(), "the last answers may not be on the disk");
        }
    }
}

fn disk(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Disk(Box::new(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Content;
    use crate::span::Span;

    fn answer(second: i64) -> Answer {
        Answer {
            content: Content::Nothing,
            fetched_at: Timestamp::from_second(second).unwrap(),
        }
    }

    #[tokio::test]
    async fn answers_and_counts_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.redb");
        let policy = CachePolicy::default();
        let store = DiskStore::open(&path).unwrap();
        store.put("geo", "a", &answer(1), &policy).await.unwrap();
        store.put("geo", "a", &answer(2), &policy).await.unwrap();
        assert_eq!(store.count_question("geo", 7).await.unwrap(), 1);
        assert_eq!(store.count_question("geo", 7).await.unwrap(), 2);
        assert!(
            matches!(DiskStore::open(&path), Err(StoreError::InUse(_))),
            "the file belongs to one process"
        );
        drop(store);
        let store = DiskStore::open(&path).unwrap();
        assert_eq!(store.get("geo", "a").await.unwrap(), Some(answer(2)));
        assert_eq!(store.get("wot", "a").await.unwrap(), None);
        assert_eq!(store.count_question("geo", 7).await.unwrap(), 3);
        assert_eq!(store.count_question("geo", 8).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_is_old_or_too_many_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = DiskStore::open(&folder.path().join("answers.redb")).unwrap();
        let policy = CachePolicy {
            ttl: Span::seconds(100),
            negative_ttl: Span::seconds(100),
            stale_if_error: Span::seconds(0),
            ..CachePolicy::default()
        };
        for second in 0..10 {
            let key = format!("k{second}");
            store
                .put("geo", &key, &answer(second), &policy)
                .await
                .unwrap();
        }
        store.put("wot", "k0", &answer(0), &policy).await.unwrap();
        let now = Timestamp::from_second(103).unwrap();
        store
            .blocking(move |inner| inner.sweep("geo", 4, now))
            .await
            .unwrap();
        for (key, stays) in [("k3", false), ("k5", false), ("k6", true), ("k9", true)] {
            let found = store.get("geo", key).await.unwrap();
            assert_eq!(found.is_some(), stays, "{key}");
        }
        assert!(store.get("wot", "k0").await.unwrap().is_some());
    }
}
