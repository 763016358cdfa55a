//! The board: where the leader publishes what it is doing about each model, and why.
//!
//! It is written only where it changed, in the same fenced transactions as everything else. What stands on it when a daemon
//! comes to lead is read once, so that a model's last reached generation is remembered.

use std::collections::{BTreeMap, BTreeSet};

use maas_client::ModelName;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::session::{Step, ZkError};
use maas_client::wire::progress::{Leader, Progress};
use maas_client::wire::state::now_ms;
use maas_client::{Version, session::CommitError};

use crate::leader::Lead;
use crate::plan::ModelKey;
use crate::tree::{Tree, create};

/// How many entries are written in one transaction.
const WRITTEN_AT_ONCE: usize = 200;

/// What is published.
#[derive(Default)]
pub(super) struct Board {
    /// What stands in the tree, once it has been read.
    published: Option<BTreeMap<ModelKey, Progress>>,
    /// The folders of models that are there, whether or not there is something in them.
    folders: BTreeSet<ModelName>,
    leader: Option<Leader>,
}

impl Board {
    /// What was published of a model last.
    pub(super) fn progress(&self, model: &ModelKey) -> Option<&Progress> {
        self.published.as_ref()?.get(model)
    }

    /// What was published of the service last.
    pub(super) fn leader(&self) -> Option<&Leader> {
        self.leader.as_ref()
    }

    /// Publishes what is to be told of the service alone, where it differs from what stands there.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) async fn tell(
        &mut self,
        tree: &impl Tree,
        layout: &Layout,
        lead: &Lead,
        leader: Leader,
    ) -> Result<(), CommitError> {
        let stood = self.leader.take();
        if stood.as_ref() != Some(&leader) {
            let step = Step::Set {
                path: layout.progress_root(),
                data: leader.to_bytes(),
                version: None,
            };
            tree.commit(&[lead.still_leads(), step]).await?;
        }
        self.leader = Some(leader);
        Ok(())
    }

    /// Reads what stands there, unless it is known.
    pub(super) async fn load(&mut self, tree: &impl Tree, layout: &Layout) -> Result<(), ZkError> {
        if self.published.is_some() {
            return Ok(());
        }
        let root = layout.progress_root();
        let mut keys: Vec<ModelKey> = Vec::new();
        let names = tree.children(&root).await?;
        let models: Vec<ModelName> = names
            .into_iter()
            .filter_map(|name| ModelName::new(name).ok())
            .collect();
        let folders: Vec<ZnodePath> = models.iter().map(|m| root.join(m.as_str())).collect();
        for (model, versions) in models.iter().zip(tree.children_many(&folders).await?) {
            let versions = versions?.into_iter().filter_map(|v| Version::new(v).ok());
            keys.extend(versions.map(|version| (model.clone(), version)));
        }
        self.folders = models.into_iter().collect();
        let paths: Vec<ZnodePath> = keys.iter().map(|(n, v)| layout.progress(n, v)).collect();
        let contents = tree.get_many(&paths).await?;
        let readable = keys.into_iter().zip(contents).map(|(key, content)| {
            let progress = content
                .ok()
                .flatten()
                .map(|(data, _)| Progress::parse(&data));
            // One that can't be read is written anew.
            let unknown = Progress {
                wanted: 0,
                running: 0,
                serving: 0,
                elsewhere: 0,
                reached: 0,
                doing: Vec::new(),
                pending: None,
                lost: None,
                since_ms: 0,
            };
            (key, progress.and_then(Result::ok).unwrap_or(unknown))
        });
        self.published = Some(readable.collect());
        Ok(())
    }

    /// Publishes `now`, where it differs from what stands there.
    ///
    /// # Errors
    /// When it can't be written; it is read anew the next time then.
    pub(super) async fn publish(
        &mut self,
        tree: &impl Tree,
        layout: &Layout,
        lead: &Lead,
        now: BTreeMap<ModelKey, Progress>,
        leader: Leader,
    ) -> Result<(), CommitError> {
        let (steps, published) = self.changes(layout, now);
        // Whatever becomes of the writing, what was known holds no more.
        self.published = None;
        for steps in steps.chunks(WRITTEN_AT_ONCE) {
            let mut fenced = vec![lead.still_leads()];
            fenced.extend(steps.iter().cloned());
            tree.commit(&fenced).await?;
        }
        self.tell(tree, layout, lead, leader).await?;
        self.folders = published.keys().map(|(name, _)| name.clone()).collect();
        self.published = Some(published);
        Ok(())
    }

    /// The steps from what stands there to `now`, and what stands there after them.
    fn changes(
        &self,
        layout: &Layout,
        now: BTreeMap<ModelKey, Progress>,
    ) -> (Vec<Step>, BTreeMap<ModelKey, Progress>) {
        let nothing = BTreeMap::new();
        let before = self.published.as_ref().unwrap_or(&nothing);
        let names = |all: &BTreeMap<ModelKey, Progress>| -> BTreeSet<ModelName> {
            all.keys().map(|(name, _)| name.clone()).collect()
        };
        let new_names = names(&now);
        let folder = |name: &ModelName| layout.progress_root().join(name.as_str());
        let mut steps: Vec<Step> = new_names
            .difference(&self.folders)
            .map(|name| create(folder(name), Vec::new()))
            .collect();
        let mut after = BTreeMap::new();
        for (key, mut progress) in now {
            let path = layout.progress(&key.0, &key.1);
            let standing = before.get(&key);
            if let Some(pending) = &mut progress.pending {
                // The reason may change while they wait: it tells how much is free.
                let waiting = standing.and_then(|standing| standing.pending.as_ref());
                pending.since_ms = waiting.map_or_else(now_ms, |waiting| waiting.since_ms);
            }
            let same = |standing: &&Progress| {
                progress
                    == Progress {
                        since_ms: progress.since_ms,
                        ..(*standing).clone()
                    }
            };
            let progress = match standing.filter(same) {
                Some(standing) => standing.clone(),
                None => {
                    let progress = Progress {
                        since_ms: now_ms(),
                        ..progress
                    };
                    let data = progress.to_bytes();
                    steps.push(match standing {
                        Some(_) => Step::Set {
                            path,
                            data,
                            version: None,
                        },
                        None => create(path, data),
                    });
                    progress
                }
            };
            after.insert(key, progress);
        }
        let delete = |path| Step::Delete {
            path,
            version: None,
        };
        let gone = before.keys().filter(|key| !after.contains_key(*key));
        steps.extend(gone.map(|(name, version)| delete(layout.progress(name, version))));
        steps.extend(
            self.folders
                .difference(&new_names)
                .map(|name| delete(folder(name))),
        );
        (steps, after)
    }
}

#[cfg(test)]
mod tests {
    use maas_client::wire::progress::Pending;

    use super::*;

    fn waits(reason: &str, since_ms: i64) -> BTreeMap<ModelKey, Progress> {
        let key = (
            ModelName::new("dga").expect("a name"),
            Version::new("1.0").expect("a version"),
        );
        let pending = (!reason.is_empty()).then(|| Pending {
            copies: 1,
            reason: reason.to_owned(),
            since_ms,
        });
        let progress = Progress {
            wanted: 1,
            running: 0,
            serving: 0,
            elsewhere: 0,
            reached: 0,
            doing: Vec::new(),
            pending,
            lost: None,
            since_ms,
        };
        BTreeMap::from([(key, progress)])
    }

    #[test]
    fn since_when_copies_wait_does_not_change_with_the_reason() {
        let waiting_since = |before, now| {
            let board = Board {
                published: Some(waits(before, 5)),
                ..Board::default()
            };
            let (_, after) = board.changes(&Layout::default(), waits(now, 0));
            let pending = after.into_values().next().and_then(|after| after.pending);
            pending.map(|pending| pending.since_ms)
        };
        assert_eq!(waiting_since("10 MB are free", "10 MB are free"), Some(5));
        assert_eq!(waiting_since("10 MB are free", "20 MB are free"), Some(5));
        assert!(waiting_since("", "20 MB are free") > Some(5));
        assert_eq!(waiting_since("10 MB are free", ""), None);
    }
}
