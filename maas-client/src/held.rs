//! An ephemeral znode that is held: kept as it should be through reconnects, expired sessions and foreign deletes.
//!
//! A runner's registration and its status are such znodes. Its owner says what it should hold; a task of its own sees to
//! it that ZooKeeper agrees, and compares before it writes, so that watchers see no gap where nothing changed.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::layout::ZnodePath;
use crate::session::{CommitError, CreateMode, Session, Step, WatchScope, ZkError};

/// How long what is said to last for moments only may go unwritten.
const MOMENTS: Duration = Duration::from_millis(100);

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
    /// It need not be written before that.
    due: Option<Instant>,
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
                due: None,
            }
        });
    }

    /// As [`set`](Self::set), for what may be overtaken within moments: it is written only if it lasts longer.
    pub fn set_if_it_lasts(&self, data: Vec<u8>) {
        self.wanted.send_modify(|wanted| {
            let unwritten = *self.settled.borrow() < wanted.change;
            *wanted = Wanted {
                change: wanted.change + 1,
                data: Some(data),
                // Who is overtaken again and again is to be heard of all the same.
                due: match wanted.due {
                    due if unwritten => due,
                    _ => Some(Instant::now() + MOMENTS),
                },
            }
        });
    }

    /// Whether it should exist.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.borrow().data.is_some()
    }

    /// Whether ZooKeeper has what was last said.
    pub(crate) fn is_settled(&self) -> bool {
        *self.settled.borrow() >= self.wanted.borrow().change
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
    // Before the first look, which else would have to be repeated.
    events.next().await;
    let mut pause = Duration::from_millis(50);
    // The session in which the znode is known to be ours.
    let mut ours: Option<i64> = None;
    loop {
        let wanted = changes.borrow_and_update().clone();
        if let Some(due) = wanted.due {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                changed = changes.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            }
        }
        if wanted.change > 0 {
            let data = wanted.data.as_deref();
            let done = match data {
                Some(data) if ours == Some(session.id()) => overwrite(&session, &path, data).await,
                _ => bring_about(&session, &path, data).await,
            };
            match done {
                Ok(()) => {
                    ours = data.map(|_| session.id());
                    settle.send_replace(wanted.change);
                    pause = Duration::from_millis(50);
                }
                Err(error) => {
                    ours = None;
                    debug!(znode = %path, %error, "the znode is not yet as it should be");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                    continue;
                }
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            _ = events.next() => ours = None,
        }
    }
}

/// Writes a znode that was ours when we heard of it last, without a look at it.
async fn overwrite(session: &Session, path: &ZnodePath, data: &[u8]) -> Result<(), ZkError> {
    match session.set(path, data, None).await {
        Err(error) if error.is_no_node() => bring_about(session, path, Some(data)).await,
        written => written.map(|_| ()),
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
