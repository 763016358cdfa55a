//! Rolling updates as the reconciler carries them out: what [`rollout`](crate::rollout) decides becomes how many copies of
//! each version should run for now, or the end of the update in one transaction.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use maas_client::layout::Layout;
use maas_client::session::{CommitError, Step};
use maas_client::wire::history::{Change, Generation, History};
use maas_client::wire::state::{Desired, InstanceStatus, Phase, Replaces, now_ms};
use tracing::{info, warn};

use super::{Found, Reconciler};
use crate::crash::{Point, crash_point};
use crate::launcher::Launcher;
use crate::leader::Lead;
use crate::plan::{Copy, Life, ModelKey};
use crate::rollout::{self, FAR, SETTLING, Side, Standing};
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
        copies: &[Copy],
        statuses: &[InstanceStatus],
        now: Instant,
    ) -> Vec<Update> {
        self.updating.retain(|key, _| {
            desired
                .get(key)
                .is_some_and(|found| found.desired.replaces.is_some())
        });
        let mut updates = Vec::new();
        for (new, found) in desired {
            let Some(replaces) = &found.desired.replaces else {
                continue;
            };
            let old = (new.0.clone(), replaces.version.clone());
            let of_new = || {
                let is_new = |s: &&InstanceStatus| s.name == new.0 && s.version == new.1;
                statuses.iter().filter(is_new)
            };
            let settled = serving(copies, new).filter(|copy| self.has_served(copy, SETTLING, now));
            let settled = count(settled).min(found.desired.instances);
            // What failed before it began says nothing about it.
            let lost = of_new().find(|status| {
                matches!(status.phase, Phase::Failed | Phase::CrashLoop)
                    && status.generation >= replaces.since
            });
            let hopeless = lost.map(|status| {
                let why = status.reason.as_deref().unwrap_or("it failed");
                format!("copy {}: {why}", status.instance)
            });
            let (old_side, new_side) = (
                self.side(&old, desired, copies, now),
                self.side(new, desired, copies, now),
            );
            let progress = match replaces.going_back {
                Some(_) => old_side.serving + old_side.far,
                None => settled,
            };
            let going_back = replaces.going_back.is_some();
            let last = self.updating.entry(new.clone());
            let last = last.or_insert((now, (going_back, progress)));
            let (way, before) = last.1;
            if way != going_back || progress > before {
                *last = (now, (going_back, progress));
            }
            let standing = Standing {
                old: old_side,
                new: new_side,
                settled,
                before: replaces.before,
                hopeless,
                going_back,
                elapsed: now.duration_since(last.0),
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

    /// Whether a copy has been seen serving for so long.
    fn has_served(&self, copy: &Copy, time: Duration, now: Instant) -> bool {
        let serving = self.serving.as_ref();
        let since = serving.and_then(|serving| serving.get(&copy.instance));
        since.is_some_and(|&since| now >= since + time)
    }

    fn side(
        &self,
        key: &ModelKey,
        desired: &BTreeMap<ModelKey, Found>,
        copies: &[Copy],
        now: Instant,
    ) -> Side {
        let running = copies.iter().filter(|copy| {
            copy.model.as_ref() == Some(key) && matches!(copy.life, Life::Running(_))
        });
        let elsewhere = copies
            .iter()
            .filter(|copy| copy.model.as_ref() == Some(key) && copy.life == Life::Elsewhere);
        let have_served = elsewhere
            .clone()
            .filter(|copy| self.has_served(copy, FAR, now));
        Side {
            asked: desired.get(key).map_or(0, |found| found.desired.instances),
            running: count(running),
            serving: count(serving(copies, key)),
            far: count(have_served),
            elsewhere: count(elsewhere),
            crowded: self.crowded.contains_key(key),
        }
    }

    /// Takes one step of an update, and tells how many copies of each version should run for now. When it turns or ends here,
    /// that is written down; the two versions are left alone until it is read.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) async fn advance(
        &self,
        lead: &Lead,
        update: &Update,
        desired: &BTreeMap<ModelKey, Found>,
        held: &HashSet<ModelKey>,
    ) -> Result<Option<(u32, u32)>, CommitError> {
        let (Some(new), old) = (desired.get(&update.new), desired.get(&update.old)) else {
            return Ok(None);
        };
        if held.contains(&update.old) {
            return Ok(None);
        }
        let next = match old {
            Some(_) => rollout::step(&update.standing),
            // It was removed meanwhile; there is nothing left to replace.
            None => rollout::Step::Finish,
        };
        let steps = match next {
            rollout::Step::Continue { old, new } => return Ok(Some((old, new))),
            rollout::Step::Finish => self.finish(update, new, old).await?,
            rollout::Step::GoBack(why) => vec![self.go_back(new, why)],
            rollout::Step::Returned => self.give_up(update, new).await?,
        };
        let mut fenced = vec![lead.still_leads()];
        fenced.extend(steps);
        crash_point(Point::UpdateBeforeEnd);
        self.tree.commit(&fenced).await?;
        crash_point(Point::UpdateAfterEnd);
        let (name, version) = &update.new;
        info!(model = %name, version = %version, old = %update.old.1, "a rolling update has turned or ended");
        Ok(None)
    }

    /// The new version is in place.
    async fn finish(
        &self,
        update: &Update,
        new: &Found,
        old: Option<&Found>,
    ) -> Result<Vec<Step>, CommitError> {
        let done = Desired {
            replaces: None,
            ..new.desired.clone()
        };
        let mut steps = vec![self.set(new, &done)];
        let note = format!("instead of {}", update.old.1);
        let generation = done.generation;
        steps.extend(
            self.record(&done, Change::Replaced, generation, note)
                .await?,
        );
        if let Some(old) = old {
            steps.push(delete(&self.layout, &update.old, old.znode_version));
            let gone = Desired {
                instances: 0,
                ..old.desired.clone()
            };
            let note = format!("by {}", update.new.1);
            let generation = gone.generation + 1;
            steps.extend(
                self.record(&gone, Change::ReplacedByOther, generation, note)
                    .await?,
            );
        }
        Ok(steps)
    }

    /// The new version is to be given up.
    fn go_back(&self, new: &Found, why: String) -> Step {
        let replaces = new.desired.replaces.clone();
        warn!(model = %new.desired.name, version = %new.desired.version, reason = %why, "the new version does not come to serve; the old one comes back");
        let turned = Desired {
            replaces: replaces.map(|replaces| Replaces {
                going_back: Some(why),
                ..replaces
            }),
            ..new.desired.clone()
        };
        self.set(new, &turned)
    }

    /// The old version is whole again: of the new one stays what was there before.
    async fn give_up(&self, update: &Update, new: &Found) -> Result<Vec<Step>, CommitError> {
        let replaces = new.desired.replaces.as_ref();
        let why = replaces.and_then(|replaces| replaces.going_back.as_deref());
        let note = format!("{} is back: {}", update.old.1, why.unwrap_or("given up"));
        let left = Desired {
            instances: update.standing.before,
            generation: new.desired.generation + 1,
            replaces: None,
            ..new.desired.clone()
        };
        let change = if left.instances > 0 {
            self.set(new, &left)
        } else {
            delete(&self.layout, &update.new, new.znode_version)
        };
        let generation = left.generation;
        let record = self
            .record(&left, Change::RolledBack, generation, note)
            .await?;
        Ok([Some(change), record].into_iter().flatten().collect())
    }

    fn set(&self, found: &Found, desired: &Desired) -> Step {
        Step::Set {
            path: self.layout.desired(&desired.name, &desired.version),
            data: desired.to_bytes(),
            version: Some(found.znode_version),
        }
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

/// The copies of a version that serve. What a copy has published stays for a while after its death, so that only those count
/// that are seen to live.
fn serving<'c>(copies: &'c [Copy], key: &ModelKey) -> impl Iterator<Item = &'c Copy> {
    copies.iter().filter(move |copy| {
        let serves = matches!(copy.life, Life::Running(Some(phase)) if phase.is_serving());
        serves && copy.model.as_ref() == Some(key)
    })
}

fn delete(layout: &Layout, (name, version): &ModelKey, znode_version: i32) -> Step {
    Step::Delete {
        path: layout.desired(name, version),
        version: Some(znode_version),
    }
}

fn count<T>(all: impl Iterator<Item = T>) -> u32 {
    u32::try_from(all.count()).unwrap_or(u32::MAX)
}
