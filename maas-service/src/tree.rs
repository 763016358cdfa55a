//! What the daemon's mind needs of ZooKeeper: to read, and to change several znodes at once.
//!
//! [`Session`] is the real one. The simulation brings one of its own, which can lose an answer or stop at any step; so what
//! is simulated is the very code that runs.

use maas_client::layout::ZnodePath;
use maas_client::session::{
    CommitError, CreateMode, ListResult, ReadResult, Session, Step, ZkError,
};

/// A tree of znodes.
#[expect(
    async_fn_in_trait,
    reason = "its futures are awaited where they are made and never sent to another thread"
)]
pub trait Tree {
    /// The names of a znode's children; empty when the znode does not exist.
    ///
    /// # Errors
    /// When the tree can't be asked.
    async fn children(&self, path: &ZnodePath) -> Result<Vec<String>, ZkError>;

    /// The names of the children of many znodes, each with its own outcome; empty when it does not exist.
    ///
    /// # Errors
    /// When the tree can't be asked.
    async fn children_many(&self, paths: &[ZnodePath]) -> Result<Vec<ListResult>, ZkError>;

    /// Reads many znodes, each with its own outcome.
    ///
    /// # Errors
    /// When the tree can't be asked.
    async fn get_many(&self, paths: &[ZnodePath]) -> Result<Vec<ReadResult>, ZkError>;

    /// Carries out all steps or none.
    ///
    /// # Errors
    /// When a step is refused or the tree can't be asked; [`CommitError::outcome_unknown`] tells which.
    async fn commit(&self, steps: &[Step]) -> Result<(), CommitError>;

    /// Creates a persistent znode and those above it, unless they are there.
    ///
    /// # Errors
    /// When the tree can't be asked or refuses.
    async fn ensure(&self, path: &ZnodePath) -> Result<(), ZkError>;

    /// Whether the tree is within reach at this moment.
    fn is_connected(&self) -> bool;
}

impl Tree for Session {
    async fn children(&self, path: &ZnodePath) -> Result<Vec<String>, ZkError> {
        Session::children(self, path).await
    }

    async fn children_many(&self, paths: &[ZnodePath]) -> Result<Vec<ListResult>, ZkError> {
        Session::children_many(self, paths).await
    }

    async fn get_many(&self, paths: &[ZnodePath]) -> Result<Vec<ReadResult>, ZkError> {
        Session::get_many(self, paths).await
    }

    async fn commit(&self, steps: &[Step]) -> Result<(), CommitError> {
        Session::commit(self, steps).await
    }

    async fn ensure(&self, path: &ZnodePath) -> Result<(), ZkError> {
        Session::ensure(self, path).await
    }

    fn is_connected(&self) -> bool {
        self.health().borrow().connected
    }
}

/// The step that creates a persistent znode.
pub(crate) fn create(path: ZnodePath, data: Vec<u8>) -> Step {
    Step::Create {
        path,
        data,
        mode: CreateMode::Persistent,
    }
}

/// The step that writes a znode which has `version`, or creates one that was not there.
pub(crate) fn write(path: ZnodePath, data: Vec<u8>, version: Option<i32>) -> Step {
    match version {
        Some(_) => Step::Set {
            path,
            data,
            version,
        },
        None => create(path, data),
    }
}
