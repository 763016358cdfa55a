//! A model of ZooKeeper, as far as intake and reconciler use it: znodes with versions, sequential names, transactions that
//! happen wholly or not at all.
//!
//! Every call can be interrupted before and after it takes effect, and its answer can be lost: the caller then gets a
//! connection loss, or is killed before it hears anything.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use maas_client::layout::ZnodePath;
use maas_client::session::{CommitError, CreateMode, ListResult, ReadResult, Stat, Step, ZkError};
use zookeeper_client::Error;

use crate::tree::Tree;

/// What all handles share.
#[derive(Default)]
pub(super) struct ModelTree {
    nodes: BTreeMap<String, Node>,
    zxid: i64,
    /// How many calls have taken effect.
    pub(super) calls: u64,
    /// The transactions that took effect, each by the handle that made it.
    pub(super) commits: Vec<(usize, Vec<Step>)>,
}

struct Node {
    data: Vec<u8>,
    version: i32,
    czxid: i64,
    mzxid: i64,
    /// How many sequential children it has had.
    sequence: i32,
}

impl ModelTree {
    pub(super) fn get(&self, path: &ZnodePath) -> Option<(Vec<u8>, Stat)> {
        let node = self.nodes.get(path.as_str())?;
        Some((node.data.clone(), stat(node)))
    }

    pub(super) fn children(&self, path: &ZnodePath) -> Vec<String> {
        let prefix = format!("{path}/");
        let below = self
            .nodes
            .range(prefix.clone()..)
            .take_while(|(child, _)| child.starts_with(&prefix));
        let names = below.map(|(child, _)| &child[prefix.len()..]);
        names
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn ensure(&mut self, path: &ZnodePath) {
        if let Some(parent) = path.parent() {
            self.ensure(&parent);
        }
        if !self.nodes.contains_key(path.as_str()) {
            self.zxid += 1;
            self.insert(path, Vec::new());
        }
    }

    /// Writes a znode whatever was there, as a runner does with what is its own.
    pub(super) fn put(&mut self, path: &ZnodePath, data: Vec<u8>) {
        if let Some(parent) = path.parent() {
            self.ensure(&parent);
        }
        self.zxid += 1;
        self.insert(path, data);
    }

    /// Takes a znode away, if it is there.
    pub(super) fn take(&mut self, path: &ZnodePath) {
        self.zxid += 1;
        self.nodes.remove(path.as_str());
    }

    fn insert(&mut self, path: &ZnodePath, data: Vec<u8>) {
        let node = Node {
            data,
            version: 0,
            czxid: self.zxid,
            mzxid: self.zxid,
            sequence: 0,
        };
        self.nodes.insert(path.as_str().to_owned(), node);
    }

    /// Carries out all steps, or none and tells which one can't be.
    pub(super) fn commit(&mut self, who: usize, steps: &[Step]) -> Result<(), (usize, Error)> {
        let mut undo: Vec<(String, Option<Node>)> = Vec::new();
        self.zxid += 1;
        for (index, step) in steps.iter().enumerate() {
            if let Err(error) = self.apply(step, &mut undo) {
                for (path, before) in undo.into_iter().rev() {
                    match before {
                        Some(node) => self.nodes.insert(path, node),
                        None => self.nodes.remove(&path),
                    };
                }
                return Err((index, error));
            }
        }
        self.commits.push((who, steps.to_vec()));
        Ok(())
    }

    fn apply(&mut self, step: &Step, undo: &mut Vec<(String, Option<Node>)>) -> Result<(), Error> {
        match step {
            Step::Check { path, version } => self.versioned(path, Some(*version)).map(|_| ()),
            Step::Create { path, data, mode } => {
                let parent = path.parent().ok_or(Error::NoNode)?;
                let parent = self.nodes.get_mut(parent.as_str()).ok_or(Error::NoNode)?;
                let sequential = matches!(
                    mode,
                    CreateMode::PersistentSequential | CreateMode::EphemeralSequential
                );
                let path = if sequential {
                    // That the number is not taken back with the rest is as it is in ZooKeeper.
                    parent.sequence += 1;
                    format!("{path}{:010}", parent.sequence - 1)
                } else {
                    path.as_str().to_owned()
                };
                if self.nodes.contains_key(&path) {
                    return Err(Error::NodeExists);
                }
                undo.push((path.clone(), None));
                let path = ZnodePath::new(path).map_err(|_| Error::BadArguments(&"path"))?;
                self.insert(&path, data.clone());
                Ok(())
            }
            Step::Set {
                path,
                data,
                version,
            } => {
                let zxid = self.zxid;
                let node = self.versioned(path, *version)?;
                let before = Node {
                    data: node.data.clone(),
                    ..*node
                };
                node.data.clone_from(data);
                node.version += 1;
                node.mzxid = zxid;
                undo.push((path.as_str().to_owned(), Some(before)));
                Ok(())
            }
            Step::Delete { path, version } => {
                self.versioned(path, *version)?;
                if !self.children(path).is_empty() {
                    return Err(Error::NotEmpty);
                }
                let before = self.nodes.remove(path.as_str());
                undo.push((path.as_str().to_owned(), before));
                Ok(())
            }
        }
    }

    fn versioned(&mut self, path: &ZnodePath, version: Option<i32>) -> Result<&mut Node, Error> {
        let node = self.nodes.get_mut(path.as_str()).ok_or(Error::NoNode)?;
        match version {
            Some(version) if version != node.version => Err(Error::BadVersion),
            _ => Ok(node),
        }
    }
}

fn stat(node: &Node) -> Stat {
    Stat {
        czxid: node.czxid,
        mzxid: node.mzxid,
        pzxid: node.mzxid,
        ctime: maas_client::wire::state::now_ms(),
        mtime: 0,
        version: node.version,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 0,
        data_length: i32::try_from(node.data.len()).unwrap_or(i32::MAX),
        num_children: 0,
    }
}

/// What happens to the next call of a handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing bad.
    #[default]
    None,
    /// The connection breaks before the call arrives.
    Unsent,
    /// The connection breaks after the call took effect.
    Unanswered,
}

/// One daemon's way to the tree.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) who: usize,
    pub(super) tree: Rc<RefCell<ModelTree>>,
    pub(super) fault: Rc<Cell<Fault>>,
    /// Which of all calls was its last to take effect.
    pub(super) last_call: Rc<Cell<u64>>,
}

impl Handle {
    fn now<R>(&self, effect: impl FnOnce(&mut ModelTree) -> R) -> R {
        let mut tree = self.tree.borrow_mut();
        tree.calls += 1;
        self.last_call.set(tree.calls);
        effect(&mut tree)
    }

    /// One call: the scheduler may do other things, or end the daemon, before it takes effect and after.
    async fn call<R>(
        &self,
        path: &str,
        effect: impl FnOnce(&mut ModelTree) -> R,
    ) -> Result<R, ZkError> {
        let lost = || ZkError::Operation {
            operation: "reach",
            znode: path.to_owned(),
            source: Error::ConnectionLoss,
        };
        interrupted().await;
        let fault = self.fault.take();
        if fault == Fault::Unsent {
            return Err(lost());
        }
        let outcome = self.now(effect);
        interrupted().await;
        if fault == Fault::Unanswered {
            return Err(lost());
        }
        Ok(outcome)
    }
}

impl Tree for Handle {
    async fn children(&self, path: &ZnodePath) -> Result<Vec<String>, ZkError> {
        self.call(path.as_str(), |tree| tree.children(path)).await
    }

    async fn children_many(&self, paths: &[ZnodePath]) -> Result<Vec<ListResult>, ZkError> {
        let list =
            |tree: &mut ModelTree| paths.iter().map(|path| Ok(tree.children(path))).collect();
        self.call("several", list).await
    }

    async fn get_many(&self, paths: &[ZnodePath]) -> Result<Vec<ReadResult>, ZkError> {
        let read = |tree: &mut ModelTree| paths.iter().map(|path| Ok(tree.get(path))).collect();
        self.call("several", read).await
    }

    async fn commit(&self, steps: &[Step]) -> Result<(), CommitError> {
        let committed = self
            .call("several", |tree| tree.commit(self.who, steps))
            .await?;
        committed.map_err(|(index, source)| {
            let (Step::Check { path, .. }
            | Step::Create { path, .. }
            | Step::Set { path, .. }
            | Step::Delete { path, .. }) = &steps[index];
            let source = ZkError::Operation {
                operation: "change",
                znode: path.to_string(),
                source,
            };
            CommitError::Step { index, source }
        })
    }

    async fn ensure(&self, path: &ZnodePath) -> Result<(), ZkError> {
        self.call(path.as_str(), |tree| tree.ensure(path)).await
    }

    fn is_connected(&self) -> bool {
        true
    }
}

/// Gives way once.
fn interrupted() -> impl Future<Output = ()> {
    struct Once(bool);
    impl Future for Once {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            if std::mem::replace(&mut self.0, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }
    }
    Once(false)
}
