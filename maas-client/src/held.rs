//! An ephemeral znode that is held: kept as it should be through reconnects, expired sessions and foreign deletes.
//!
//! A runner's registration and its status are such znodes. Its owner says what it should hold; a task of its own sees to
//! it that ZooKeeper agrees, and compares before it writes, so that watchers see no gap where nothing changed.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::layout::ZnodePath;
use crate::session::{CommitError, CreateMode, Session, Step, WatchScope, ZkError};

/// An ephemeral znode under our care. Dropping it ends the care; the znode then lives as long as the session.
pub struct Held {
    path: ZnodePath,
    wanted: watch::Sender<Wanted>,
    settled: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Wanted {
    /// Counts the changes, so that it can be told which one ZooKeeper has.
    change: u64,
    data: Option<Vec<u8>>,
}

impl Held {
    /// Takes `path` into care. It does not exist until [`set`](Self::set) is called.
    #[must_use]
    pub fn new(session: &Session, path: ZnodePath) -> Self {
        let (wanted, changes) = watch::channel(Wanted::default());
        let (settle, settled) = watch::channel(0);
        #[expect(
            clippy::disallowed_methods,
            reason = "its parent is this value, which aborts it"
        )]
        let task = tokio::spawn(care(session.clone(), path.clone(), changes, settle));
        Self {
            path,
            wanted,
            settled,
            task,
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &ZnodePath {
        &self.path
    }

    /// Says what it should hold from now on; with `None`, that it should not exist. Does not wait.
    pub fn set(&self, data: Option<Vec<u8>>) {
        self.wanted.send_modify(|wanted| {
            *wanted = Wanted {
                change: wanted.change + 1,
                data,
            }
        });
    }

    /// Waits until ZooKeeper has what was last said, for at most `limit`. Tells whether it has.
    pub async fn settled(&self, limit: Duration) -> bool {
        let change = self.wanted.borrow().change;
        let mut settled = self.settled.clone();
        let arrived = tokio::time::timeout(limit, settled.wait_for(|&done| done >= change));
        matches!(arrived.await, Ok(Ok(_)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn care(
    session: Session,
    path: ZnodePath,
    mut changes: watch::Receiver<Wanted>,
    settle: watch::Sender<u64>,
) {
    let mut events = session.watch(&path, WatchScope::Node);
    let mut pause = Duration::from_millis(50);
    loop {
        let wanted = changes.borrow_and_update().clone();
        if wanted.change > 0 {
            match bring_about(&session, &path, wanted.data.as_deref()).await {
                Ok(()) => {
                    settle.send_replace(wanted.change);
                    pause = Duration::from_millis(50);
                }
                Err(error) => {
                    debug!(znode = %path, %error, "the znode is not yet as it should be");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                    continue;
                }
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            _ = events.next() => {}
        }
    }
}

async fn bring_about(
    session: &Session,
    path: &ZnodePath,
    data: Option<&[u8]>,
) -> Result<(), ZkError> {
    let Some(data) = data else {
        return session.delete(path, None).await;
    };
    match session.get(path).await? {
        Some((now, stat)) if stat.ephemeral_owner == session.id() => {
            if now != data {
                session.set(path, data, None).await?;
            }
            return Ok(());
        }
        // Our own from an earlier session, or somebody else's: an ephemeral can't change its owner. In one transaction,
        // so that nobody sees it missing.
        Some((_, stat)) => {
            if stat.ephemeral_owner == 0 {
                warn!(znode = %path, "a persistent znode stands where ours should be; replacing it");
            }
            let replace = [
                Step::Delete {
                    path: path.clone(),
                    version: None,
                },
                Step::Create {
                    path: path.clone(),
                    data: data.to_vec(),
                    mode: CreateMode::Ephemeral,
                },
            ];
            return session.commit(&replace).await.map_err(|error| match error {
                CommitError::Step { source, .. } | CommitError::Whole(source) => source,
            });
        }
        None => {}
    }
    match session.create(path, data, CreateMode::Ephemeral).await {
        Err(error) if error.is_no_node() => {
            if let Some(parent) = path.parent() {
                session.ensure(&parent).await?;
            }
            session.create(path, data, CreateMode::Ephemeral).await?;
        }
        created => {
            created?;
        }
    }
    Ok(())
}
