//! The request queue: Curator's `SimpleDistributedQueue`, which is persistent sequential znodes `qn-NNNNNNNNNN` that hold
//! bare bytes.
//!
//! Offering is one transaction with a mark of our own, an ephemeral znode. Both get the same transaction id, so even when
//! the answer is lost, the mark tells whether the request is in the queue, and under which identity its result will
//! appear. Taking is not done here: the daemon deletes an item in the same transaction in which it records its effect.

use std::time::{Duration, Instant};

use crate::layout::{Layout, ZnodePath};

use crate::session::{CommitError, CreateMode, ReadResult, Session, Stat, Step, ZkError};

/// What an item's name starts with.
pub const ITEM_PREFIX: &str = "qn-";

/// The queue.
#[derive(Clone)]
pub struct Queue {
    session: Session,
    layout: Layout,
}

/// One waiting item.
#[derive(Clone, Debug)]
pub struct QueueItem {
    /// Its znode.
    pub path: ZnodePath,
    /// What it holds.
    pub data: Vec<u8>,
    /// Its stat.
    pub stat: Stat,
}

impl QueueItem {
    /// The identity of the request in it, unless the request names one itself: the transaction that created the item,
    /// and the item's name. (The name alone comes again when the queue is made anew.)
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{}{}", identity_prefix(self.stat.czxid), self.path.name())
    }
}

fn identity_prefix(czxid: i64) -> String {
    format!("{czxid:016x}-")
}

/// The transaction that put a request into the queue, if it is known by that. An `id` of a sender's own tells nothing.
#[must_use]
pub fn offered_by(identity: &str) -> Option<i64> {
    let (transaction, item) = identity.split_at_checked(16)?;
    if !item.starts_with("-qn-") {
        return None;
    }
    i64::from_str_radix(transaction, 16).ok()
}

/// A request that was put into the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// What the identity of the request begins with; no other request's does.
    pub identity_prefix: String,
}

/// Why a request is not in the queue, or may not be.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// It is not.
    #[error("the request was not put into the queue `{queue}`")]
    Failed {
        /// Which queue.
        queue: ZnodePath,
        /// Why.
        #[source]
        source: CommitError,
    },
    /// It is not, for too many wait already.
    #[error(
        "{waiting} requests wait in the queue `{queue}`, and no more than {limit} may; try again when the service has taken \
         some"
    )]
    Full {
        /// Which queue.
        queue: ZnodePath,
        /// How many wait.
        waiting: u32,
        /// How many may.
        limit: u32,
    },
    /// Nobody can tell.
    #[error(
        "ZooKeeper went away while the request was put into the queue `{queue}`; it may or may not be there"
    )]
    Unknown {
        /// Which queue.
        queue: ZnodePath,
        /// How.
        #[source]
        source: ZkError,
    },
}

impl Queue {
    /// The queue of a layout.
    #[must_use]
    pub fn new(session: Session, layout: Layout) -> Self {
        Self { session, layout }
    }

    /// Puts a request into the queue, once.
    ///
    /// # Errors
    /// [`OfferError::Full`] when too many wait there, [`OfferError::Failed`] when it is certainly not there for another
    /// reason, [`OfferError::Unknown`] when ZooKeeper stayed away too long to tell.
    pub async fn offer(&self, data: &[u8]) -> Result<Offered, OfferError> {
        let queue = &self.layout.queue;
        let unknown = |source| OfferError::Unknown {
            queue: queue.clone(),
            source,
        };
        let failed = |source: CommitError| OfferError::Failed {
            queue: queue.clone(),
            source,
        };
        let give_up = Instant::now() + PATIENCE;
        let stat = loop {
            match self.session.stat(queue).await {
                Err(error) if error.outcome_unknown() && Instant::now() < give_up => pause().await,
                stat => break stat.map_err(|source| failed(source.into()))?,
            }
        };
        let waiting = stat.map_or(0, |stat| u32::try_from(stat.num_children).unwrap_or(0));
        if waiting >= self.layout.queue_limit {
            return Err(OfferError::Full {
                queue: queue.clone(),
                waiting,
                limit: self.layout.queue_limit,
            });
        }
        let mark = self
            .layout
            .offers_root()
            .join(&uuid::Uuid::new_v4().to_string());
        let steps = [
            Step::Create {
                path: queue.join(ITEM_PREFIX),
                data: data.to_vec(),
                mode: CreateMode::PersistentSequential,
            },
            Step::Create {
                path: mark.clone(),
                data: Vec::new(),
                mode: CreateMode::Ephemeral,
            },
        ];
        let mut parents_made = false;
        let owner = self.session.id();
        // Whether the mark is there, for as long as it takes to find out.
        let marked = async || loop {
            match self.session.stat(&mark).await {
                Err(error) if error.outcome_unknown() && Instant::now() < give_up => pause().await,
                stat => return stat.map_err(unknown),
            }
        };
        loop {
            match self.session.commit(&steps).await {
                Ok(_) => break,
                // Parents vanish when a newer Curator made them, as container znodes.
                Err(CommitError::Step { source, .. }) if source.is_no_node() && !parents_made => {
                    for parent in [queue, &self.layout.offers_root()] {
                        self.session
                            .ensure(parent)
                            .await
                            .map_err(|e| failed(e.into()))?;
                    }
                    parents_made = true;
                }
                Err(error) if error.outcome_unknown() => {
                    match (marked().await?, error) {
                        (Some(_), _) => break,
                        // The mark went with the session that made it, or was never made: who knows.
                        (None, CommitError::Whole(source)) if self.session.id() != owner => {
                            return Err(unknown(source));
                        }
                        // It is certainly not there: the connection broke before.
                        (None, _) if Instant::now() < give_up => pause().await,
                        (None, error) => return Err(failed(error)),
                    }
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let czxid = marked()
            .await?
            .ok_or_else(|| unknown(ZkError::gone(&mark)))?
            .czxid;
        // The mark has served; should deleting it fail, it goes with the session.
        let _gone_with_the_session = self.session.delete(&mark, None).await;
        Ok(Offered {
            identity_prefix: identity_prefix(czxid),
        })
    }

    /// Reads the oldest `limit` items without taking them. One that can't be read is left out.
    ///
    /// # Errors
    /// When ZooKeeper can't be asked.
    pub async fn peek(&self, limit: usize) -> Result<Vec<QueueItem>, ZkError> {
        let names = in_order(self.session.children(&self.layout.queue).await?);
        let items = names.iter().filter(|name| name.starts_with(ITEM_PREFIX));
        let paths: Vec<ZnodePath> = items
            .take(limit)
            .map(|name| self.layout.queue.join(name))
            .collect();
        let contents = self.session.get_many(&paths).await?;
        let readable = paths.into_iter().zip(contents);
        let item = |(path, content): (ZnodePath, ReadResult)| {
            let (data, stat) = content.ok()??;
            Some(QueueItem { path, data, stat })
        };
        Ok(readable.filter_map(item).collect())
    }
}

/// How long a sender tries to reach a server that takes its request.
const PATIENCE: Duration = Duration::from_secs(10);

async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// The children of a queue in the order in which they came. ZooKeeper counts them with 32 bits and a sign, so that after
/// `qn-2147483647` comes `qn--2147483648`.
#[must_use]
pub fn in_order(mut names: Vec<String>) -> Vec<String> {
    let number = |name: &str| {
        let digits = name.strip_prefix(ITEM_PREFIX)?;
        digits.parse::<i32>().ok().map(i32::cast_unsigned)
    };
    names.sort_by_cached_key(|name| (number(name), name.clone()));
    names
}

#[cfg(test)]
mod tests {
    use super::{identity_prefix, in_order, offered_by};

    #[test]
    fn an_identity_tells_the_transaction_unless_the_sender_chose_it() {
        for zxid in [1, i64::MAX] {
            let identity = format!("{}qn-0000000001", identity_prefix(zxid));
            assert_eq!(offered_by(&identity), Some(zxid));
        }
        for own in ["mine", "", "0123456789abcdef-mine", "0123456789abcdex-qn-1"] {
            assert_eq!(offered_by(own), None, "{own}");
        }
    }

    #[test]
    fn items_keep_their_order_when_their_numbers_overflow() {
        let names = [
            "qn--2147483648",
            "qn-2147483647",
            "qn-0000000009",
            "qn-0000000010",
            "other",
        ];
        assert_eq!(
            in_order(names.map(str::to_owned).to_vec()),
            [
                "other",
                "qn-0000000009",
                "qn-0000000010",
                "qn-2147483647",
                "qn--2147483648"
            ]
        );
    }
}
