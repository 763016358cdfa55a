//! The ZooKeeper session: the one module that knows how ZooKeeper and its client crate really behave.
//!
//! * **A session may expire.** The crate's client is then dead for good. [`Session`] makes a new one and counts it: each
//!   client is one *generation*, and whatever lives on a session (ephemeral znodes, watches) belongs to a generation.
//! * **Watches are lost at every reconnect**, silently (crate 0.11.2). [`TreeWatch`] watches again and says
//!   [`TreeEvent::Reload`], upon which its owner lists again.
//! * **A lost connection shows itself under two names**, and calls wait while it lasts. Every call here has a deadline,
//!   and [`ZkError::outcome_unknown`] tells when a write may or may not have happened.
//! * **Sizes are checked before sending**; the server would drop the connection, and everything else in flight with it.
//! * **Leaving takes an await**: [`Session::close`], or the ephemerals stay for a session timeout.

mod transaction;
mod tree_watch;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};
use zookeeper_client as zk;

pub use transaction::{CommitError, Step};
pub use tree_watch::{TreeEvent, TreeWatch, WatchScope};
pub use zk::{CreateMode, Stat};

use crate::layout::ZnodePath;

/// The most bytes written into one znode. ZooKeeper's own limit is 1 MiB for the whole message.
pub const MAX_ZNODE_BYTES: usize = 900 * 1024;

/// How many reads travel in one message.
const READ_BATCH: usize = 200;

const OPEN: zk::Acls<'static> = zk::Acls::anyone_all();

/// How to reach ZooKeeper.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// `host:port[,host:port…][/chroot]`
    pub quorum: String,
    /// How long the servers keep our ephemerals when they don't hear from us. They may negotiate another value.
    pub session_timeout: Duration,
    /// How long [`Session::connect`] tries.
    pub connect_timeout: Duration,
    /// How long a call may take.
    pub call_timeout: Duration,
}

impl SessionConfig {
    /// The defaults: 6 s session, 15 s to connect, 10 s for a call.
    #[must_use]
    pub fn new(quorum: impl Into<String>) -> Self {
        Self {
            quorum: quorum.into(),
            session_timeout: Duration::from_secs(6),
            connect_timeout: Duration::from_secs(15),
            call_timeout: Duration::from_secs(10),
        }
    }
}

/// Why something asked of ZooKeeper did not come.
#[derive(Debug, thiserror::Error)]
pub enum ZkError {
    /// Nobody answered at all.
    #[error("no ZooKeeper server of `{quorum}` answered within {} s", waited.as_secs())]
    Unreachable {
        /// Who was asked.
        quorum: String,
        /// How long.
        waited: Duration,
        /// What came instead.
        #[source]
        source: zk::Error,
    },
    /// The chroot in the connect string does not exist.
    #[error(
        "the chroot `{chroot}` of `{quorum}` does not exist in ZooKeeper; create it first, or leave it out"
    )]
    NoChroot {
        /// Who was asked.
        quorum: String,
        /// The missing path.
        chroot: String,
    },
    /// One operation failed.
    #[error("could not {operation} znode `{znode}`")]
    Operation {
        /// What was tried.
        operation: &'static str,
        /// On what.
        znode: String,
        /// What came of it.
        #[source]
        source: zk::Error,
    },
    /// One operation was not answered in time.
    #[error("ZooKeeper did not answer within {} s when asked to {operation} znode `{znode}`", waited.as_secs())]
    Deadline {
        /// What was tried.
        operation: &'static str,
        /// On what.
        znode: String,
        /// How long.
        waited: Duration,
    },
    /// The connect string is none.
    #[error("`{quorum}` is no ZooKeeper address: {why}; write host:port[,host:port...][/chroot]")]
    BadQuorum {
        /// What was given.
        quorum: String,
        /// What is wrong with it.
        why: String,
    },
    /// More bytes than a znode, or a message, can hold.
    #[error("{bytes} bytes are too many for znode `{znode}`; at most {MAX_ZNODE_BYTES} fit")]
    TooLarge {
        /// Where they were to go.
        znode: String,
        /// How many.
        bytes: usize,
    },
}

impl ZkError {
    /// A znode of ours is gone, and our session with it.
    pub(crate) fn gone(znode: &ZnodePath) -> Self {
        Self::Operation {
            operation: "find",
            znode: znode.to_string(),
            source: zk::Error::SessionExpired,
        }
    }

    /// The crate's error underneath, if there is one.
    fn cause(&self) -> Option<&zk::Error> {
        match self {
            Self::Operation { source, .. } | Self::Unreachable { source, .. } => Some(source),
            Self::NoChroot { .. }
            | Self::BadQuorum { .. }
            | Self::Deadline { .. }
            | Self::TooLarge { .. } => None,
        }
    }

    /// On which znode it happened, if on one.
    #[must_use]
    pub fn znode(&self) -> Option<&str> {
        match self {
            Self::Operation { znode, .. }
            | Self::Deadline { znode, .. }
            | Self::TooLarge { znode, .. } => Some(znode),
            Self::Unreachable { .. } | Self::NoChroot { .. } | Self::BadQuorum { .. } => None,
        }
    }

    /// The znode, or its parent, is not there.
    #[must_use]
    pub fn is_no_node(&self) -> bool {
        matches!(self.cause(), Some(zk::Error::NoNode))
    }

    /// The znode is there already.
    #[must_use]
    pub fn is_node_exists(&self) -> bool {
        matches!(self.cause(), Some(zk::Error::NodeExists))
    }

    /// The znode has another version than expected: somebody else was faster.
    #[must_use]
    pub fn is_bad_version(&self) -> bool {
        matches!(self.cause(), Some(zk::Error::BadVersion))
    }

    /// The server does not know this operation.
    fn is_unimplemented(&self) -> bool {
        matches!(self.cause(), Some(zk::Error::Unimplemented))
    }

    /// The znode has children.
    #[must_use]
    pub fn is_not_empty(&self) -> bool {
        matches!(self.cause(), Some(zk::Error::NotEmpty))
    }

    /// ZooKeeper has answered no, and will until somebody changes something: the rights, or what was asked.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::TooLarge { .. } => true,
            Self::Operation { source, .. } => matches!(
                source,
                zk::Error::NoAuth
                    | zk::Error::AuthFailed
                    | zk::Error::InvalidAcl
                    | zk::Error::BadArguments(_)
                    | zk::Error::QuotaExceeded
                    | zk::Error::NoChildrenForEphemerals
            ),
            Self::Unreachable { .. }
            | Self::Deadline { .. }
            | Self::NoChroot { .. }
            | Self::BadQuorum { .. } => false,
        }
    }

    /// ZooKeeper was out of reach: a write may or may not have happened, and only reading can tell.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Deadline { .. } | Self::Unreachable { .. } => true,
            Self::Operation { source, .. } => matches!(
                source,
                zk::Error::ConnectionLoss
                    | zk::Error::Custom(_)
                    | zk::Error::Timeout
                    | zk::Error::NoHosts
                    | zk::Error::SessionExpired
                    | zk::Error::SessionMoved
                    | zk::Error::ClientClosed
            ),
            Self::NoChroot { .. } | Self::BadQuorum { .. } | Self::TooLarge { .. } => false,
        }
    }
}

/// What listing one znode of many gave.
pub type ListResult = Result<Vec<String>, ZkError>;

/// What reading one znode of many gave; `None` when it does not exist.
pub type ReadResult = Result<Option<(Vec<u8>, Stat)>, ZkError>;

/// The state of the session, for those who live on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionHealth {
    /// Which client this is; the first is 1.
    pub generation: u64,
    /// Whether a server answers right now.
    pub connected: bool,
}

/// A session that is made anew whenever it is lost. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    config: SessionConfig,
    /// The client of the current generation; `None` once closed.
    client: Mutex<Option<zk::Client>>,
    health: watch::Sender<SessionHealth>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get_mut().ok().and_then(Option::take) {
            keeper.abort();
        }
    }
}

impl Session {
    /// Connects, and keeps connected until [`close`](Self::close) or the last clone is dropped.
    ///
    /// # Errors
    /// [`ZkError::Unreachable`] when no server answered in time, [`ZkError::NoChroot`] when the chroot is missing.
    pub async fn connect(config: SessionConfig) -> Result<Self, ZkError> {
        let client = connect_within(&config).await?;
        check_chroot(&config, &client).await?;
        let (health, _) = watch::channel(SessionHealth {
            generation: 1,
            connected: true,
        });
        let shared = Arc::new(Shared {
            config,
            client: Mutex::new(Some(client)),
            health,
            keeper: Mutex::new(None),
        });
        // The keeper holds no strong reference, so that dropping the last session ends it.
        #[expect(
            clippy::disallowed_methods,
            reason = "its parent is this session, which aborts it"
        )]
        let keeper = tokio::spawn(keep(Arc::downgrade(&shared)));
        *shared
            .keeper
            .lock()
            .expect("nobody panics while holding it") = Some(keeper);
        Ok(Self { shared })
    }

    /// Watches the session's health.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<SessionHealth> {
        self.shared.health.subscribe()
    }

    /// The id by which the servers know the current session, as in [`Stat::ephemeral_owner`].
    #[must_use]
    pub fn id(&self) -> i64 {
        self.live().map_or(0, |client| client.session_id().0)
    }

    /// Ends the session, so that its ephemerals are gone at once. Gives up after 2 s.
    pub async fn close(&self) {
        let keeper = self
            .shared
            .keeper
            .lock()
            .expect("nobody panics while holding it")
            .take();
        if let Some(keeper) = keeper {
            keeper.abort();
        }
        let client = self
            .shared
            .client
            .lock()
            .expect("nobody panics while holding it")
            .take();
        let Some(client) = client else { return };
        let mut states = client.state_watcher();
        drop(client);
        let ended = async { while !states.changed().await.is_terminated() {} };
        if tokio::time::timeout(Duration::from_secs(2), ended)
            .await
            .is_err()
        {
            debug!("the ZooKeeper session did not close in time; the servers will let it expire");
        }
    }

    fn live(&self) -> Option<zk::Client> {
        self.shared
            .client
            .lock()
            .expect("nobody panics while holding it")
            .clone()
    }

    /// Runs one call of the crate under the deadline, and names its path if it fails.
    async fn call<T, F: Future<Output = Result<T, zk::Error>>>(
        &self,
        operation: &'static str,
        znode: &str,
        call: impl FnOnce(zk::Client) -> F,
    ) -> Result<T, ZkError> {
        let failed = |source| ZkError::Operation {
            operation,
            znode: znode.to_owned(),
            source,
        };
        let client = self.live().ok_or_else(|| failed(zk::Error::ClientClosed))?;
        let waited = self.shared.config.call_timeout;
        match tokio::time::timeout(waited, call(client)).await {
            Ok(outcome) => outcome.map_err(failed),
            Err(_) => Err(ZkError::Deadline {
                operation,
                znode: znode.to_owned(),
                waited,
            }),
        }
    }

    /// Reads a znode; `None` when it does not exist.
    ///
    /// # Errors
    /// When ZooKeeper can't be asked or refuses.
    pub async fn get(&self, path: &ZnodePath) -> Result<Option<(Vec<u8>, Stat)>, ZkError> {
        let read = self
            .call("read", path.as_str(), |c| async move {
                c.get_data(path.as_str()).await
            })
            .await;
        absent_is_none(read)
    }

    /// A znode's stat; `None` when it does not exist.
    ///
    /// # Errors
    /// When ZooKeeper can't be asked or refuses.
    pub async fn stat(&self, path: &ZnodePath) -> Result<Option<Stat>, ZkError> {
        self.call("look at", path.as_str(), |c| async move {
            c.check_stat(path.as_str()).await
        })
        .await
    }

    /// The names of a znode's children; empty when the znode does not exist.
    ///
    /// # Errors
    /// When ZooKeeper can't be asked or refuses.
    pub async fn children(&self, path: &ZnodePath) -> Result<Vec<String>, ZkError> {
        let listed = self
            .call("list", path.as_str(), |c| async move {
                c.list_children(path.as_str()).await
            })
            .await;
        Ok(absent_is_none(listed)?.unwrap_or_default())
    }

    /// The names of the children of many znodes, a few hundred in a message, in the order asked. Each has its own outcome; one
    /// that does not exist has none.
    ///
    /// # Errors
    /// When ZooKeeper can't be asked at all.
    pub async fn children_many(&self, paths: &[ZnodePath]) -> Result<Vec<ListResult>, ZkError> {
        let listed = self
            .read_many("list", paths, |reader, path| reader.add_get_children(path))
            .await?;
        let names = |(path, result): (&ZnodePath, zk::MultiReadResult)| {
            if let zk::MultiReadResult::Children { children } = result {
                return Ok(children);
            }
            Ok(refused("list", path, result)?.unwrap_or_default())
        };
        Ok(paths.iter().zip(listed).map(names).collect())
    }

    /// Reads many znodes, a few hundred in a message, in the order asked. Each has its own outcome: one that can't be read
    /// never hides its neighbours. Those that don't exist are `None`.
    ///
    /// # Errors
    /// When ZooKeeper can't be asked at all.
    pub async fn get_many(&self, paths: &[ZnodePath]) -> Result<Vec<ReadResult>, ZkError> {
        let read = self
            .read_many("read", paths, |reader, path| reader.add_get_data(path))
            .await?;
        let content = |(path, result): (&ZnodePath, zk::MultiReadResult)| {
            if let zk::MultiReadResult::Data { data, stat } = result {
                return Ok(Some((data, stat)));
            }
            refused("read", path, result)
        };
        Ok(paths.iter().zip(read).map(content).collect())
    }

    async fn read_many(
        &self,
        operation: &'static str,
        paths: &[ZnodePath],
        add: fn(&mut zk::MultiReader<'_>, &str) -> Result<(), zk::Error>,
    ) -> Result<Vec<zk::MultiReadResult>, ZkError> {
        let mut all = Vec::with_capacity(paths.len());
        for batch in paths.chunks(READ_BATCH) {
            let read = |c: zk::Client| async move {
                let mut reader = c.new_multi_reader();
                for path in batch {
                    add(&mut reader, path.as_str())?;
                }
                reader.commit().await
            };
            all.extend(self.call(operation, &several(batch), read).await?);
        }
        Ok(all)
    }

    /// Creates a persistent znode and those above it, unless they are there.
    ///
    /// # Errors
    /// When ZooKeeper can't be asked or refuses.
    pub async fn ensure(&self, path: &ZnodePath) -> Result<(), ZkError> {
        let made = |c: zk::Client| async move {
            c.mkdir(path.as_str(), &zk::CreateMode::Persistent.with_acls(OPEN))
                .await
        };
        match self.call("create", path.as_str(), made).await {
            Err(error) if !error.is_node_exists() => Err(error),
            _ => Ok(()),
        }
    }

    /// Creates a znode of the given kind.
    ///
    /// # Errors
    /// [`ZkError::is_node_exists`], [`ZkError::is_no_node`] when the parent is missing, or ZooKeeper can't be asked.
    pub async fn create(
        &self,
        path: &ZnodePath,
        data: &[u8],
        mode: zk::CreateMode,
    ) -> Result<Stat, ZkError> {
        check_size(path, data.len())?;
        let made = |c: zk::Client| async move {
            c.create(path.as_str(), data, &mode.with_acls(OPEN)).await
        };
        Ok(self.call("create", path.as_str(), made).await?.0)
    }

    /// Writes a znode, if it still has the version expected.
    ///
    /// # Errors
    /// [`ZkError::is_bad_version`], [`ZkError::is_no_node`], or ZooKeeper can't be asked.
    pub async fn set(
        &self,
        path: &ZnodePath,
        data: &[u8],
        version: Option<i32>,
    ) -> Result<Stat, ZkError> {
        check_size(path, data.len())?;
        self.call("write", path.as_str(), |c| async move {
            c.set_data(path.as_str(), data, version).await
        })
        .await
    }

    /// Deletes a znode, if it still has the version expected. A znode that is not there counts as deleted.
    ///
    /// # Errors
    /// [`ZkError::is_bad_version`], [`ZkError::is_not_empty`], or ZooKeeper can't be asked.
    pub async fn delete(&self, path: &ZnodePath, version: Option<i32>) -> Result<(), ZkError> {
        let deleted = self.call("delete", path.as_str(), |c| async move {
            c.delete(path.as_str(), version).await
        });
        absent_is_none(deleted.await).map(|_| ())
    }

    /// Watches a znode or a whole tree, through everything that may happen to the session.
    #[must_use]
    pub fn watch(&self, path: &ZnodePath, scope: WatchScope) -> TreeWatch {
        TreeWatch::new(self.clone(), path.clone(), scope)
    }
}

fn check_size(path: &ZnodePath, bytes: usize) -> Result<(), ZkError> {
    if bytes > MAX_ZNODE_BYTES {
        return Err(ZkError::TooLarge {
            znode: path.to_string(),
            bytes,
        });
    }
    Ok(())
}

fn absent_is_none<T>(outcome: Result<T, ZkError>) -> Result<Option<T>, ZkError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_no_node() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an operation on one znode of many came to that has not given what was asked for.
fn refused<T>(
    operation: &'static str,
    path: &ZnodePath,
    result: zk::MultiReadResult,
) -> Result<Option<T>, ZkError> {
    let source = if let zk::MultiReadResult::Error { err } = result {
        err
    } else {
        zk::Error::UnexpectedError(format!("{result:?} in answer to a {operation}"))
    };
    if source == zk::Error::NoNode {
        return Ok(None);
    }
    Err(ZkError::Operation {
        operation,
        znode: path.to_string(),
        source,
    })
}

fn several(paths: &[ZnodePath]) -> String {
    match paths {
        [] => String::new(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn connector(config: &SessionConfig) -> zk::Connector {
    // A connection is given up when nothing has come over it for this long, though it is asked for a sign of life after 3/8
    // of it: the longest that the crate permits, so that a slow server (two seconds for an answer, in a session of six) is
    // not taken for a dead one, and left and found again for ever.
    zk::Client::connector()
        .with_session_timeout(config.session_timeout)
        .with_connection_timeout(config.session_timeout * 3 / 5)
}

/// Tries until a server answers or the time is over. The crate gives up at the first failure of a young connection.
async fn connect_within(config: &SessionConfig) -> Result<zk::Client, ZkError> {
    let start = tokio::time::Instant::now();
    let mut last = zk::Error::Timeout;
    while let Some(left) = config
        .connect_timeout
        .checked_sub(start.elapsed())
        .filter(|left| !left.is_zero())
    {
        match tokio::time::timeout(left, connector(config).connect(&config.quorum)).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(zk::Error::BadArguments(why))) => {
                return Err(ZkError::BadQuorum {
                    quorum: config.quorum.clone(),
                    why: (*why).to_string(),
                });
            }
            Ok(Err(error)) => last = error,
            Err(_) => break,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(ZkError::Unreachable {
        quorum: config.quorum.clone(),
        waited: config.connect_timeout,
        source: last,
    })
}

async fn check_chroot(config: &SessionConfig, client: &zk::Client) -> Result<(), ZkError> {
    let Some((_, chroot)) = config.quorum.split_once('/') else {
        return Ok(());
    };
    match client.check_stat("/").await {
        Ok(None) | Err(zk::Error::NoNode) => Err(ZkError::NoChroot {
            quorum: config.quorum.clone(),
            chroot: format!("/{chroot}"),
        }),
        Ok(Some(_)) => Ok(()),
        Err(source) => Err(ZkError::Operation {
            operation: "look at",
            znode: format!("/{chroot}"),
            source,
        }),
    }
}

/// Follows the client's state, and makes a new client when it ends.
async fn keep(shared: std::sync::Weak<Shared>) {
    loop {
        let Some(mut states) = shared.upgrade().and_then(|s| {
            s.client
                .lock()
                .expect("nobody panics while holding it")
                .as_ref()
                .map(zk::Client::state_watcher)
        }) else {
            return;
        };
        let mut state = states.state();
        while !state.is_terminated() {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let connected = state == zk::SessionState::SyncConnected;
            shared.health.send_if_modified(|health| {
                let changed = health.connected != connected;
                if changed && connected {
                    info!(generation = health.generation, "ZooKeeper is back");
                } else if changed {
                    warn!(generation = health.generation, quorum = %shared.config.quorum, "ZooKeeper is out of reach");
                }
                health.connected = connected;
                changed
            });
            drop(shared);
            state = states.changed().await;
        }
        let Some(config) = shared.upgrade().map(|s| {
            s.health.send_modify(|health| health.connected = false);
            s.config.clone()
        }) else {
            return;
        };
        warn!(
            ?state,
            "the ZooKeeper session has ended; a new one is being made"
        );
        let client = loop {
            match connect_within(&config).await {
                Ok(client) => break client,
                Err(error) => debug!(%error, "no new ZooKeeper session yet"),
            }
            if shared.strong_count() == 0 {
                return;
            }
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        *shared
            .client
            .lock()
            .expect("nobody panics while holding it") = Some(client);
        shared.health.send_modify(|health| {
            *health = SessionHealth {
                generation: health.generation + 1,
                connected: true,
            };
            info!(generation = health.generation, "a new ZooKeeper session");
        });
    }
}
