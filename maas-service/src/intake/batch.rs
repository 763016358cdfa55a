//! Requests that are ruled on together and carried out in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use maas_client::layout::{Layout, ZnodePath};
use maas_client::queue::QueueItem;
use maas_client::session::{ReadResult, Step, ZkError};
use maas_client::wire::history::{Change, Generation, History};
use maas_client::wire::progress::Progress;
use maas_client::wire::request::{Action, ModelRequest};
use maas_client::wire::state::{Desired, Outcome, RequestResult, now_ms};
use maas_client::{InstanceId, ModelName, Version};
use tracing::{info, warn};

use super::letter::dead_letter;
use super::ruling::{self, Standing};
use crate::plan::{ModelKey, Room};
use crate::tree::{Tree, create, write};

/// An item of the queue, and the request in it with its identity, or why there is none.
pub(super) type Read<'a> = (&'a QueueItem, Result<(ModelRequest, String), String>);

/// One version of a model as the transaction finds and leaves it.
#[derive(Default)]
struct Model {
    desired: Option<Desired>,
    desired_version: Option<i32>,
    history: History,
    history_version: Option<i32>,
    /// Ruled on in this batch.
    changed: bool,
    /// What should run could not be read; it is known from the history.
    guessed: bool,
}

/// A request whose effect was taken back, and the one that did it.
struct Overtaken {
    model: ModelKey,
    made: Generation,
    by: String,
}

impl Overtaken {
    /// Whether it was carried out before, as far as can be told.
    fn was_reached(&self, progress: &Progress) -> bool {
        let serves = self.made.change == Change::Added && self.made.instances <= progress.serving;
        progress.reached >= self.made.generation || serves
    }
}

/// Requests ruled on together.
#[derive(Default)]
pub(super) struct Batch {
    models: BTreeMap<ModelKey, Model>,
    /// The folders of models that are not there yet.
    folders: BTreeSet<ZnodePath>,
    /// Identities that were answered before: a sender that repeats itself.
    answered: HashSet<String>,
    pub(super) results: Vec<RequestResult>,
    overtaken: Vec<Overtaken>,
    /// New answers to requests of before, by their znodes.
    superseded: BTreeMap<ZnodePath, Step>,
    /// What is recorded besides the results.
    records: Vec<Step>,
    deletions: Vec<Step>,
}

impl Batch {
    /// Rules on all that was read, and on what stands of the models it is about.
    pub(super) async fn of(
        tree: &impl Tree,
        layout: &Layout,
        machine: Room,
        read: &[Read<'_>],
    ) -> Result<Self, ZkError> {
        let mut batch = Self::default();
        batch.load(tree, layout, read).await?;
        for (item, request) in read {
            batch.add(layout, machine, item, request);
        }
        batch.supersede(tree, layout).await?;
        Ok(batch)
    }

    /// Reads what stands of the models the requests are about, all at once.
    async fn load(
        &mut self,
        tree: &impl Tree,
        layout: &Layout,
        read: &[Read<'_>],
    ) -> Result<(), ZkError> {
        let requests: Vec<_> = read
            .iter()
            .filter_map(|(_, read)| read.as_ref().ok())
            .collect();
        let models: BTreeSet<ModelKey> = requests
            .iter()
            .flat_map(|(request, _)| {
                let versions = [Some(&request.version), request.replace.as_ref()];
                versions.map(|version| Some((request.name.clone(), version?.clone())))
            })
            .flatten()
            .collect();
        let names: BTreeSet<&ModelName> = models.iter().map(|(name, _)| name).collect();
        let named: BTreeSet<&String> = requests
            .iter()
            .filter_map(|(request, identity)| request.id.as_ref().map(|_| identity))
            .collect();
        let paths: Vec<ZnodePath> = models
            .iter()
            .flat_map(|(name, version)| {
                [layout.desired(name, version), layout.history(name, version)]
            })
            .chain(names.iter().flat_map(|name| {
                [layout.desired_root(), layout.history_root()].map(|root| root.join(name.as_str()))
            }))
            .chain(
                named
                    .iter()
                    .map(|identity| layout.results_root().join(identity)),
            )
            .collect();
        let contents = tree.get_many(&paths).await?;
        let mut contents: HashMap<&ZnodePath, ReadResult> = paths.iter().zip(contents).collect();
        let mut take = |path: &ZnodePath| contents.remove(path).unwrap_or(Ok(None));
        for (name, version) in models {
            let desired = take(&layout.desired(&name, &version))?;
            let history = take(&layout.history(&name, &version))?;
            let unreadable = |what, error: &dyn std::fmt::Display| {
                warn!(model = %name, version = %version, %error, "{what} can't be read");
            };
            let desired_version = desired.as_ref().map(|(_, stat)| stat.version);
            let history_version = history.as_ref().map(|(_, stat)| stat.version);
            let history = history
                .and_then(|(data, _)| {
                    let history = History::parse(&data);
                    history
                        .inspect_err(|error| unreadable("the history", error))
                        .ok()
                })
                .unwrap_or_default();
            let mut guessed = false;
            let desired = desired.and_then(|(data, _)| match Desired::parse(&data) {
                Ok(desired) => Some(desired),
                // Somebody has spoilt it.
                Err(error) => {
                    unreadable("what should run", &error);
                    guessed = true;
                    last_wish(&name, &version, &history)
                }
            });
            let model = Model {
                guessed,
                desired,
                desired_version,
                history,
                history_version,
                changed: false,
            };
            self.models.insert((name, version), model);
        }
        for path in &paths {
            let parent = path.parent();
            let is_folder = parent.is_some_and(|parent| {
                parent == layout.desired_root() || parent == layout.history_root()
            });
            if is_folder && take(path)?.is_none() {
                self.folders.insert(path.clone());
            }
        }
        for identity in named {
            if take(&layout.results_root().join(identity))?.is_some() {
                self.answered.insert(identity.clone());
            }
        }
        Ok(())
    }

    /// Rules on one item.
    fn add(
        &mut self,
        layout: &Layout,
        machine: Room,
        item: &QueueItem,
        read: &Result<(ModelRequest, String), String>,
    ) {
        self.deletions.push(Step::Delete {
            path: item.path.clone(),
            version: None,
        });
        let result = match read {
            Ok((_, identity)) if !self.answered.insert(identity.clone()) => {
                info!(request = %identity, "a request came again; it has its answer already");
                return;
            }
            Ok((request, identity)) => self.rule(machine, request, identity),
            Err(reason) => {
                let letter = dead_letter(item, reason);
                let record = layout.dead_root().join(&item.identity());
                self.records.push(create(record, letter.to_bytes()));
                RequestResult {
                    request: item.identity(),
                    outcome: Outcome::SetAside,
                    reason: Some(letter.reason),
                    action: None,
                    name: None,
                    version: None,
                    instances: None,
                    generation: None,
                    answered_ms: now_ms(),
                }
            }
        };
        self.results.push(result);
    }

    fn rule(&mut self, machine: Room, request: &ModelRequest, identity: &str) -> RequestResult {
        let key = (request.name.clone(), request.version.clone());
        let old = request
            .replace
            .as_ref()
            .and_then(|old| self.models.get(&(request.name.clone(), old.clone())))
            // What can't be read is left as it is, so nothing can take its place.
            .filter(|old| !old.guessed)
            .and_then(|old| old.desired.clone());
        let model = self.models.entry(key.clone()).or_default();
        let standing = Standing {
            desired: model.desired.as_ref(),
            old: old.as_ref(),
            path: (model.desired.as_ref().map(|desired| &desired.path))
                .or(model.history.generations.last().map(|last| &last.path))
                .map(String::as_str),
            last_generation: model.history.last().max(
                model
                    .desired
                    .as_ref()
                    .map_or(0, |desired| desired.generation),
            ),
            machine,
            now_ms: now_ms(),
        };
        let ruling = ruling::rule(request, identity, &standing);
        let (Outcome::Accepted, Some(generation)) =
            (ruling.result.outcome, ruling.result.generation)
        else {
            return ruling.result;
        };
        if request.action == Action::Remove && ruling.desired.is_none() {
            // Back to when nothing ran.
            let of_now = model.history.generations.iter().rev();
            let of_now = of_now.take_while(|generation| generation.instances > 0);
            let made =
                of_now.filter(|made| matches!(made.change, Change::Added | Change::Restarted));
            self.overtaken.extend(made.map(|made| Overtaken {
                model: key.clone(),
                made: made.clone(),
                by: identity.to_owned(),
            }));
        }
        let stands = ruling.desired.as_ref().or(model.desired.as_ref());
        model.history.push(Generation {
            generation,
            change: request.action.into(),
            request: identity.to_owned(),
            instances: ruling
                .desired
                .as_ref()
                .map_or(0, |desired| desired.instances),
            memory_mb: stands.map_or(0, |desired| desired.memory_mb),
            path: stands.map_or(String::new(), |desired| desired.path.clone()),
            at_ms: ruling.result.answered_ms,
            note: ruling.result.reason.clone(),
        });
        model.desired = ruling.desired;
        model.changed = true;
        ruling.result
    }

    /// Requests that were not carried out yet when another one took them back are superseded.
    async fn supersede(&mut self, tree: &impl Tree, layout: &Layout) -> Result<(), ZkError> {
        // It becomes a znode's name; a history that was written by hand may hold anything.
        self.overtaken
            .retain(|overtaken| InstanceId::new(overtaken.made.request.as_str()).is_ok());
        let record = |overtaken: &Overtaken| layout.results_root().join(&overtaken.made.request);
        let paths: Vec<ZnodePath> = self
            .overtaken
            .iter()
            .flat_map(|overtaken| {
                let (name, version) = &overtaken.model;
                [layout.progress(name, version), record(overtaken)]
            })
            .collect();
        let mut contents = tree.get_many(&paths).await?.into_iter();
        for overtaken in &self.overtaken {
            let mut next = || contents.next().unwrap_or(Ok(None));
            let (progress, answer) = (next(), next());
            let was_reached = match progress {
                Ok(None) => false,
                Ok(Some((data, _))) => {
                    Progress::parse(&data).map_or(true, |told| overtaken.was_reached(&told))
                }
                Err(_) => true,
            };
            if was_reached {
                continue;
            }
            let reason = format!("request {} came before it was carried out", overtaken.by);
            let mut of_batch = self.results.iter_mut();
            if let Some(result) = of_batch.find(|result| result.request == overtaken.made.request) {
                result.outcome = Outcome::Superseded;
                result.reason = Some(reason);
                continue;
            }
            let Ok(Some((data, stat))) = answer else {
                continue;
            };
            let Ok(result) = RequestResult::parse(&data) else {
                continue;
            };
            if result.outcome == Outcome::Accepted {
                let superseded = RequestResult {
                    outcome: Outcome::Superseded,
                    reason: Some(reason),
                    ..result
                };
                let set = Step::Set {
                    path: record(overtaken),
                    data: superseded.to_bytes(),
                    version: Some(stat.version),
                };
                self.superseded.insert(record(overtaken), set);
            }
        }
        Ok(())
    }

    /// All that must happen at once.
    pub(super) fn steps(&self, layout: &Layout) -> Vec<Step> {
        let changed = || self.models.iter().filter(|(_, model)| model.changed);
        // A folder is made with the first thing in it.
        let in_use: BTreeSet<ZnodePath> = changed()
            .flat_map(|((name, _), model)| {
                let desired = model.desired.is_some().then(|| layout.desired_root());
                [desired, Some(layout.history_root())].map(|root| Some(root?.join(name.as_str())))
            })
            .flatten()
            .collect();
        let folders = self.folders.intersection(&in_use);
        let mut steps: Vec<Step> = folders
            .map(|folder| create(folder.clone(), Vec::new()))
            .collect();
        for ((name, version), model) in changed() {
            let path = layout.desired(name, version);
            match (&model.desired, model.desired_version) {
                (Some(desired), before) => steps.push(write(path, desired.to_bytes(), before)),
                (None, Some(before)) => steps.push(Step::Delete {
                    path,
                    version: Some(before),
                }),
                (None, None) => {}
            }
            let path = layout.history(name, version);
            steps.push(write(path, model.history.to_bytes(), model.history_version));
        }
        steps.extend(self.results.iter().map(|result| {
            create(
                layout.results_root().join(&result.request),
                result.to_bytes(),
            )
        }));
        steps.extend(self.records.iter().chain(&self.deletions).cloned());
        steps.extend(self.superseded.values().cloned());
        steps
    }

    /// Leaves the answers of before as they are, if it is one of these that keeps the steps from being carried out: `left` come
    /// after the one that was refused.
    pub(super) fn spare_superseded(&mut self, left: usize) -> bool {
        let is_one = left < self.superseded.len();
        if is_one {
            self.superseded.clear();
        }
        is_one
    }

    /// How many versions should run no more.
    pub(super) fn gone(&self) -> usize {
        let gone = |model: &&Model| model.changed && model.desired.is_none();
        self.models.values().filter(gone).count()
    }

    /// The models of which nothing should run any more.
    pub(super) fn emptied(&self) -> BTreeSet<&ModelName> {
        let emptied = self
            .models
            .iter()
            .filter(|(_, model)| model.changed && model.desired.is_none());
        emptied.map(|((name, _), _)| name).collect()
    }
}

/// What should run by the last change; nothing of an update that was going on.
fn last_wish(name: &ModelName, version: &Version, history: &History) -> Option<Desired> {
    let last = history.generations.last()?;
    (last.instances > 0).then(|| Desired {
        name: name.clone(),
        version: version.clone(),
        instances: last.instances,
        memory_mb: last.memory_mb,
        path: last.path.clone(),
        generation: last.generation,
        request: last.request.clone(),
        restarted: 0,
        replaces: None,
    })
}
