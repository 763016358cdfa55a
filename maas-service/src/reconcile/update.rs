//! Rolling updates as the reconciler carries them out: what [`rollout`](crate::rollout) decides becomes how many copies of
//! each version should run for now, or the end of the update in one transaction.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use maas_client::layout::Layout;
use maas_client::session::{CommitError, Step};
use maas_client::wire::history::{Change, Generation, History};
use maas_client::wire::state::{Desired, InstanceStatus, Phase, now_ms};
use tracing::{info, warn};

use super::{Found, Reconciler};
use crate::crash::crash_point;
use crate::launcher::Launcher;
use crate::leader::Lead;
use crate::plan::ModelKey;
use crate::rollout::{self, SETTLING, Standing};
use crate::tree::{Tree, write};

/// A rolling update that is going on.
pub(super) struct Update {
    pub(super) old: ModelKey,
    pub(super) new: ModelKey,
    pub(super) standing: Standing,
}

impl<T: Tree, L: Launcher> Reconciler<T, L> {
    /// The rolling updates that are going on, and how they stand.
    pub(super) fn updates(
        &mut self,
        desired: &BTreeMap<ModelKey, Found>,
        statuses: &[InstanceStatus],
        now: Instant,
    ) -> Vec<Update> {
        self.updating.retain(|key, _| {
            desired
                .get(key)
                .is_some_and(|found| found.desired.replaces.is_some())
        });
        let replacing = desired.iter().filter_map(|(new, found)| {
            let replaces = found.desired.replaces.as_ref()?;
            Some((new, found, replaces))
        });
        let mut updates = Vec::new();
        for (new, found, replaces) in replacing {
            let old = (new.0.clone(), replaces.version.clone());
            let began = *self.updating.entry(new.clone()).or_insert(now);
            let of_new = statuses
                .iter()
                .filter(|s| s.name == new.0 && s.version == new.1);
            let settled = of_new.clone().filter(|status| {
                let since = self.serving.get(&status.instance);
                status.phase.is_serving() && since.is_some_and(|&since| now >= since + SETTLING)
            });
            let lost =
                |status: &&InstanceStatus| matches!(status.phase, Phase::Failed | Phase::CrashLoop);
            let hopeless = of_new.clone().find(lost).map(|status| {
                let why = status.reason.as_deref().unwrap_or("it failed");
                format!("copy {}: {why}", status.instance)
            });
            let copies = found.desired.instances;
            let standing = Standing {
                old: desired.get(&old).map_or(0, |found| found.desired.instances),
                new: copies,
                settled: u32::try_from(settled.count())
                    .unwrap_or(u32::MAX)
                    .min(copies),
                hopeless,
                crowded: self.crowded.contains(new),
                elapsed: now.duration_since(began),
                deadline: Duration::from_secs(replaces.deadline_s),
            };
            updates.push(Update {
                old,
                new: new.clone(),
                standing,
            });
        }
        updates
    }

    /// Takes one step of an update. When it ends here, that is written down; the two versions are left alone until it is read.
    ///
    /// # Errors
    /// When the end can't be written.
    pub(super) async fn advance(
        &self,
        lead: &Lead,
        update: &Update,
        desired: &BTreeMap<ModelKey, Found>,
    ) -> Result<Option<(u32, u32)>, CommitError> {
        let (Some(new), old) = (desired.get(&update.new), desired.get(&update.old)) else {
            return Ok(None);
        };
        let (name, version) = &update.new;
        let replaced = &update.old.1;
        let next = match old {
            Some(_) => rollout::step(&update.standing),
            // It was removed meanwhile; there is nothing left to replace.
            None => rollout::Step::Finish,
        };
        match next {
            rollout::Step::Continue { old, new } => return Ok(Some((old, new))),
            rollout::Step::Finish => {
                let done = Desired {
                    replaces: None,
                    ..new.desired.clone()
                };
                let mut steps = vec![
                    lead.still_leads(),
                    Step::Set {
                        path: self.layout.desired(name, version),
                        data: done.to_bytes(),
                        version: Some(new.znode_version),
                    },
                ];
                let note = format!("instead of {replaced}");
                steps.extend(
                    self.record(&done, Change::Replaced, done.generation, note)
                        .await?,
                );
                if let Some(old) = old {
                    steps.push(delete(&self.layout, &update.old, old.znode_version));
                    let gone = Desired {
                        instances: 0,
                        ..old.desired.clone()
                    };
                    let note = format!("by {version}");
                    let generation = gone.generation + 1;
                    steps.extend(
                        self.record(&gone, Change::ReplacedByOther, generation, note)
                            .await?,
                    );
                }
                crash_point("update: before its end is written");
                self.tree.commit(&steps).await?;
                crash_point("update: after its end was written");
                info!(model = %name, version = %version, old = %replaced, "the new version has taken the place of the old one");
            }
            rollout::Step::RollBack(why) => {
                let gone = Desired {
                    instances: 0,
                    ..new.desired.clone()
                };
                let mut steps = vec![
                    lead.still_leads(),
                    delete(&self.layout, &update.new, new.znode_version),
                ];
                let generation = gone.generation + 1;
                let note = format!("{replaced} is back: {why}");
                steps.extend(
                    self.record(&gone, Change::RolledBack, generation, note)
                        .await?,
                );
                self.tree.commit(&steps).await?;
                warn!(model = %name, version = %version, old = %replaced, reason = %why, "the new version is given up, the old one is back");
            }
        }
        Ok(None)
    }

    /// The step that adds a line to a version's history.
    async fn record(
        &self,
        desired: &Desired,
        change: Change,
        generation: u64,
        note: String,
    ) -> Result<Option<Step>, CommitError> {
        let path = self.layout.history(&desired.name, &desired.version);
        let mut contents = self.tree.get_many(std::slice::from_ref(&path)).await?;
        let Some((data, stat)) = contents.pop().unwrap_or(Ok(None))? else {
            // Whoever deleted it by hand did not want it.
            return Ok(None);
        };
        let mut history = History::parse(&data).unwrap_or_default();
        history.push(Generation {
            generation,
            change,
            request: desired.request.clone(),
            instances: desired.instances,
            memory_mb: desired.memory_mb,
            path: desired.path.clone(),
            at_ms: now_ms(),
            note: Some(note),
        });
        Ok(Some(write(path, history.to_bytes(), Some(stat.version))))
    }
}

fn delete(layout: &Layout, (name, version): &ModelKey, znode_version: i32) -> Step {
    Step::Delete {
        path: layout.desired(name, version),
        version: Some(znode_version),
    }
}
