//! What a pass comes to: of each model what there is, what was done, and why something is missing, in words. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use maas_client::InstanceId;
use maas_client::wire::progress::{Leader, Lost, Pending, Progress};
use maas_client::wire::state::InstanceStatus;

use super::board::Board;
use super::update::Update;
use super::{Found, model_of};
use crate::plan::{Action, Copy, Life, ModelKey, Plan, Room, Shortage, Wanted};

/// All that a pass saw and did.
pub(super) struct Pass<'a> {
    pub(super) desired: &'a BTreeMap<ModelKey, Found>,
    pub(super) wanted: &'a BTreeMap<ModelKey, Wanted>,
    pub(super) copies: &'a [Copy],
    pub(super) statuses: &'a [InstanceStatus],
    /// The copies whose runners have said nothing for long, and since when.
    pub(super) silent: &'a BTreeMap<InstanceId, SystemTime>,
    pub(super) updates: &'a [Update],
    pub(super) planned: &'a Plan,
    /// What went wrong, of which model.
    pub(super) failures: &'a [(Option<ModelKey>, String)],
}

impl Pass<'_> {
    /// What is to be published of every model that should run or does; `lost` tells of dead runners, `board` what was
    /// published before.
    pub(super) fn progress(
        &self,
        board: &Board,
        lost: impl Fn(&ModelKey) -> Option<Lost>,
    ) -> BTreeMap<ModelKey, Progress> {
        let blank = |key: &ModelKey| {
            let before = board.progress(key);
            Progress {
                wanted: self.wanted.get(key).map_or(0, |wanted| wanted.copies),
                running: 0,
                serving: 0,
                elsewhere: 0,
                reached: before.map_or(0, |before| before.reached),
                doing: self.doing(key),
                pending: self.pending(key),
                lost: lost(key).or_else(|| before?.lost.clone()),
                since_ms: 0,
            }
        };
        let mut all: BTreeMap<ModelKey, Progress> = self
            .desired
            .keys()
            .map(|key| (key.clone(), blank(key)))
            .collect();
        for copy in self.copies.iter().filter(|copy| copy.life != Life::Dead) {
            if let Some(key) = &copy.model {
                let progress = all.entry(key.clone()).or_insert_with(|| blank(key));
                progress.running += 1;
                progress.elsewhere += u32::from(copy.life == Life::Elsewhere);
            }
        }
        for status in self
            .statuses
            .iter()
            .filter(|status| status.phase.is_serving())
        {
            let key = (status.name.clone(), status.version.clone());
            if let Some(progress) = all.get_mut(&key) {
                progress.serving += 1;
            }
        }
        for (key, progress) in &mut all {
            if let Some(found) = self.desired.get(key) {
                let asked = found.desired.instances;
                let as_asked = (progress.running, progress.serving) == (asked, asked);
                if as_asked
                    && found.desired.replaces.is_none()
                    && progress.doing.is_empty()
                    && progress.pending.is_none()
                {
                    progress.reached = found.desired.generation;
                }
            }
        }
        all
    }

    /// The leader as it shows itself, where the machine has `room` for copies in all.
    pub(super) fn leader(&self, leader: &Leader, room: Room) -> Leader {
        let living = self.copies.iter().filter(|copy| copy.life != Life::Dead);
        Leader {
            memory_used_mb: room.memory_mb - room.beside(self.copies).memory_mb,
            copies: u32::try_from(living.count()).unwrap_or(u32::MAX),
            ..leader.clone()
        }
    }

    fn pending(&self, key: &ModelKey) -> Option<Pending> {
        let (copies, shortage) = self.planned.pending.get(key)?;
        let needed = self.wanted.get(key).map_or(0, |wanted| wanted.memory_mb);
        let mut reason = match shortage {
            Shortage::Memory { free_mb } => format!(
                "a copy needs {needed} MB, and of this machine's memory for copies {free_mb} MB are free"
            ),
            Shortage::Vcores => "every virtual core of this machine is given to a copy".to_owned(),
            Shortage::KeptFor((name, version)) => format!(
                "what is free is kept for some minutes for {name} {version}, which was asked for before it and has waited for long"
            ),
            Shortage::TooSoon(_) => {
                "its last runner died; the next one is started a little later".to_owned()
            }
            Shortage::Elsewhere(copies) => {
                let (run, them) = match copies {
                    1 => ("a copy", "it"),
                    _ => ("copies", "them"),
                };
                let hosts: Vec<&str> = self.hosts_elsewhere(key).into_iter().collect();
                let hosts = hosts.join(", ");
                format!(
                    "its place is taken by {run} on {hosts}, out of this service's reach; end {them} there"
                )
            }
        };
        if let Some(mend) = self.mend(key).filter(|_| shortage.is_of_room()) {
            reason.push_str("; ");
            reason.push_str(&mend);
        }
        Some(Pending {
            copies: *copies,
            reason,
            since_ms: 0,
        })
    }

    /// The hosts of its copies that can't be reached.
    fn hosts_elsewhere(&self, key: &ModelKey) -> BTreeSet<&str> {
        let elsewhere = |status: &&InstanceStatus| {
            let copies = &mut self.copies.iter();
            copies.any(|copy| copy.life == Life::Elsewhere && copy.instance == status.instance)
        };
        self.statuses
            .iter()
            .filter(|status| status.name == key.0 && status.version == key.1)
            .filter(elsewhere)
            .map(|status| status.host.as_str())
            .collect()
    }

    /// What can be done where a copy that is to be replaced can't make room for its successor, for it is the last one.
    fn mend(&self, key: &ModelKey) -> Option<String> {
        let update = self
            .updates
            .iter()
            .find(|update| update.new == *key && !update.standing.going_back);
        if let Some(update) = update {
            let old = &update.old.1;
            let standing = &update.standing;
            return (standing.old.running == 1 && standing.settled == 0).then(|| format!(
                "the last copy of {old} is not stopped before this one serves: make room for it, or remove {old} and \
                 do without for a moment"
            ));
        }
        let wanted = self.wanted.get(key)?;
        let mut running = self.copies.iter().filter(|copy| {
            copy.model.as_ref() == Some(key) && matches!(copy.life, Life::Running(_))
        });
        let (Some(only), None) = (running.next(), running.next()) else {
            return None;
        };
        (only.generation < wanted.restarted).then(|| {
            "its only copy is not stopped before the new one serves: make room for it, or remove it, do without for a \
             moment, and add it again"
                .to_owned()
        })
    }

    /// What was done about one model.
    fn doing(&self, key: &ModelKey) -> Vec<String> {
        let mut doing = Vec::new();
        for update in self.updates {
            let standing = &update.standing;
            if update.new == *key && standing.going_back {
                doing.push(format!("giving way to {} again", update.old.1));
            } else if update.new == *key {
                doing.push(format!(
                    "taking the place of {}: {} of {} copies are in place",
                    update.old.1, standing.settled, standing.new.asked
                ));
            }
            if update.old == *key {
                doing.push(format!("{} takes its place", update.new.1));
            }
        }
        let count = |is: fn(&Action) -> bool| {
            let ours = |action: &&Action| is(action) && model_of(action, self.copies) == Some(key);
            self.planned.actions.iter().filter(ours).count()
        };
        let ending = self
            .copies
            .iter()
            .filter(|copy| copy.model.as_ref() == Some(key) && copy.life == Life::Stopping);
        let numbers = [
            (
                "starting",
                count(|action| matches!(action, Action::Launch(_))),
            ),
            (
                "stopping",
                count(|action| matches!(action, Action::Stop(_))),
            ),
            ("killing", count(|action| matches!(action, Action::Kill(_)))),
            ("waiting for the end of", ending.count()),
        ];
        doing.extend(
            numbers
                .iter()
                .filter(|(_, number)| *number > 0)
                .map(|(verb, number)| {
                    format!(
                        "{verb} {number} {}",
                        if *number == 1 { "copy" } else { "copies" }
                    )
                }),
        );
        doing.extend(self.silent_ones(key));
        let ours = self
            .failures
            .iter()
            .filter(|(model, _)| model.as_ref() == Some(key));
        doing.extend(ours.map(|(_, error)| format!("failed and will be tried again: {error}")));
        doing
    }

    /// Of its copies that run and of which nothing is heard.
    fn silent_ones(&self, key: &ModelKey) -> impl Iterator<Item = String> {
        let ours = self.copies.iter();
        let ours = ours.filter(move |copy| copy.model.as_ref() == Some(key));
        ours.filter_map(|copy| {
            let since = self.silent.get(&copy.instance)?;
            let since = humantime::format_rfc3339_seconds(*since);
            let instance = &copy.instance;
            Some(format!(
                "waiting for word of copy {instance}, whose runner runs and has said nothing since {since}: it hangs, or can't \
                 reach ZooKeeper (its log: {instance}/logs/runner.log, in the folder for copies)"
            ))
        })
    }
}
