//! The client as programs use it: one value that finds models and calls them.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::task::JoinSet;

use crate::apply::{ApplyError, ApplyOptions, Caller};
use crate::complaints::complain;
use crate::discovery::{Discovery, Endpoint, LookupError, ModelHandle, Snapshots};
use crate::layout::{DEFAULT_CONFIG_NODE, Layout, ZnodePath, ZnodePathError};
use crate::name::{ModelName, Version};
use crate::session::{Session, SessionConfig, ZkError};
use crate::wire::WireError;
use crate::wire::config::MaasConfig;

/// Finds deployed models and calls them. Share it behind an `Arc`; make one per program.
pub struct MaasClient {
    session: Session,
    discovery: Discovery,
    caller: Caller,
    /// Lets go of connections to copies that are gone, and complains of those that give no answers; ends with us.
    _tasks: JoinSet<()>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// ZooKeeper can't be asked.
    #[error(transparent)]
    ZooKeeper(#[from] ZkError),
    /// The config node is no config.
    #[error("the config node `{znode}` can't be used")]
    Config {
        /// Where it lies.
        znode: ZnodePath,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// A path in the config node is none.
    #[error("the config node `{znode}` names a path that can't be used")]
    Path {
        /// Where it lies.
        znode: ZnodePath,
        /// What is wrong with it.
        #[source]
        source: ZnodePathError,
    },
    /// The HTTP side can't be set up.
    #[error(transparent)]
    Http(#[from] ApplyError),
}

impl Layout {
    /// Reads the config node; where there is none, the defaults hold.
    ///
    /// # Errors
    /// When ZooKeeper can't be asked, or the node holds no usable config.
    pub async fn read(session: &Session, config_node: &ZnodePath) -> Result<Self, ConnectError> {
        let Some((data, _)) = session.get(config_node).await? else {
            return Ok(Self::default());
        };
        let config = MaasConfig::parse(&data).map_err(|source| ConnectError::Config {
            znode: config_node.clone(),
            source,
        })?;
        Self::of(&config).map_err(|source| ConnectError::Path {
            znode: config_node.clone(),
            source,
        })
    }
}

impl MaasClient {
    /// Connects with the default config node and options.
    ///
    /// # Errors
    /// [`ConnectError`] tells what is missing.
    pub async fn connect(config: SessionConfig) -> Result<Self, ConnectError> {
        let config_node =
            ZnodePath::new(DEFAULT_CONFIG_NODE).expect("the built-in path is a good one");
        Self::connect_with(config, &config_node, ApplyOptions::default()).await
    }

    /// Connects with another config node, or other options for calls.
    ///
    /// # Errors
    /// [`ConnectError`] tells what is missing.
    pub async fn connect_with(
        config: SessionConfig,
        config_node: &ZnodePath,
        options: ApplyOptions,
    ) -> Result<Self, ConnectError> {
        let session = Session::connect(config).await?;
        let layout = Layout::read(&session, config_node).await?;
        let discovery = Discovery::start(&session, &layout).await?;
        let (caller, failed) = Caller::new(options)?.heard();
        let mut tasks = JoinSet::new();
        tasks.spawn(let_go(caller.clone(), discovery.follow()));
        tasks.spawn(complain(
            session.clone(),
            layout,
            discovery.follow(),
            failed,
        ));
        Ok(Self {
            session,
            discovery,
            caller,
            _tasks: tasks,
        })
    }

    /// A live copy of a model, drawn with equal chances: of the version asked for, or else of the highest (versions are
    /// ordered naturally, `1.10` above `1.9`). Never waits.
    ///
    /// # Errors
    /// [`LookupError`] names what could be had instead.
    pub fn get_endpoint(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Arc<Endpoint>, LookupError> {
        self.discovery.pick(name, version)
    }

    /// A handle for many lookups of the same model.
    #[must_use]
    pub fn handle(&self, name: ModelName, version: Option<Version>) -> ModelHandle {
        self.discovery.handle(name, version)
    }

    /// Calls a function of a model: `GET <url>/<function>?<args>`, a JSON object back. Without a function, the one the
    /// model calls `apply`.
    ///
    /// # Errors
    /// [`ApplyError`] tells the caller's faults from the model's.
    pub async fn model_apply(
        &self,
        endpoint: &Endpoint,
        function: Option<&str>,
        args: &[(&str, &str)],
    ) -> Result<Map<String, Value>, ApplyError> {
        self.caller.apply(endpoint, function, args).await
    }

    /// Discovery itself: snapshots, and news of them.
    #[must_use]
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Ends the session at once.
    pub async fn close(self) {
        self.session.close().await;
    }
}

/// Tells the caller of every new snapshot, for as long as there are any.
async fn let_go(caller: Caller, mut snapshots: Snapshots) {
    let mut before = snapshots.current();
    while let Some(now) = snapshots.next().await {
        caller.follow(&before, &now);
        before = now;
    }
}
