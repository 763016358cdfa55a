//! Watching a tree of znodes without ever missing a change for good.
//!
//! ZooKeeper tells what changed while the connection stands; of what changed while it did not stand, it tells nothing.
//! So the promise here is: after [`TreeEvent::Reload`], and not before you have listed the tree again, every change is
//! reported. A reload comes first, after every reconnect, and after every new session.

use std::time::Duration;

use tracing::{debug, error, warn};
use zookeeper_client as zk;

use super::Session;
use crate::layout::ZnodePath;

/// How much is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchScope {
    /// One znode: its data, and which children it has.
    Node,
    /// A znode and everything below it.
    Tree,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeEvent {
    /// Anything may have changed: list everything again.
    Reload,
    /// This znode came, went, or holds other data or (scope [`WatchScope::Node`]) other children.
    Changed(ZnodePath),
}

/// See the module.
pub struct TreeWatch {
    session: Session,
    path: ZnodePath,
    scope: WatchScope,
    watcher: Option<zk::PersistentWatcher>,
    /// The watcher that a reconnect made useless. Dropped only after its successor stands: dropping the last watcher of a
    /// path takes the watch off the server.
    stale: Option<zk::PersistentWatcher>,
    warned: bool,
}

impl TreeWatch {
    pub(super) fn new(session: Session, path: ZnodePath, scope: WatchScope) -> Self {
        Self {
            session,
            path,
            scope,
            watcher: None,
            stale: None,
            warned: false,
        }
    }

    /// Waits for the next event. Waits through outages, for as long as they last.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> TreeEvent {
        loop {
            let Some(watcher) = self.watcher.as_mut() else {
                self.watch_again().await;
                return TreeEvent::Reload;
            };
            let event = watcher.changed().await;
            if event.event_type != zk::EventType::Session {
                match ZnodePath::new(event.path) {
                    Ok(path) => return TreeEvent::Changed(path),
                    Err(error) => {
                        warn!(%error, "ZooKeeper reported a change at a path that is none")
                    }
                }
                continue;
            }
            match event.session_state {
                zk::SessionState::Disconnected | zk::SessionState::ConnectedReadOnly => {}
                zk::SessionState::SyncConnected => self.stale = self.watcher.take(),
                // The end of this client. Its watcher must not be asked again, it would panic.
                zk::SessionState::Expired
                | zk::SessionState::Closed
                | zk::SessionState::AuthFailed => {
                    self.watcher = None;
                    self.stale = None;
                }
            }
        }
    }

    async fn watch_again(&mut self) {
        let mode = match self.scope {
            WatchScope::Node => zk::AddWatchMode::Persistent,
            WatchScope::Tree => zk::AddWatchMode::PersistentRecursive,
        };
        let mut health = self.session.health();
        loop {
            // Also waits for a new generation: the old one never becomes connected again.
            if health.wait_for(|health| health.connected).await.is_err() {
                // The session is gone for good, and nobody will ever hear from this watch again.
                std::future::pending::<()>().await;
            }
            let path = self.path.as_str();
            match self
                .session
                .call("watch", path, |c| async move { c.watch(path, mode).await })
                .await
            {
                Ok(watcher) => {
                    self.watcher = Some(watcher);
                    self.stale = None;
                    return;
                }
                // Servers before 3.6 don't know this kind of watch, and there is no other way to wait for it to appear.
                Err(error) if error.is_unimplemented() && !self.warned => {
                    self.warned = true;
                    error!(
                        znode = path,
                        "this ZooKeeper is older than 3.6 and can't watch trees; nothing will be noticed"
                    );
                }
                Err(error) => debug!(%error, "not watching yet"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
