//! The reconciler: keeps the running copies as they are desired.
//!
//! It observes, asks [`plan`](crate::plan) what to do, does it, publishes what it did and why, and waits until something
//! changes; after 30 s it looks again even if nothing seems to have. It needs little memory of what happened before: which
//! models' runners die, for they are started again ever more slowly, and since when copies serve.

mod board;
mod portion;
mod report;
mod update;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use maas_client::instances::readable;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::session::{CommitError, Session, Step, TreeWatch, WatchScope, ZkError};
use maas_client::wire::progress::{Halted, HeldItem, Leader, Lost};
use maas_client::wire::state::{Desired, Failure, InstanceStatus, Phase, now_ms};
use maas_client::{InstanceId, ModelName, Version};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info, warn};

use crate::fence::Hold;
use crate::launcher::{Ended, Launcher, LocalLauncher};
use crate::leader::Lead;
use crate::plan::{Action, Copy, Life, ModelKey, Plan, Room, Shortage, Wanted, plan};
use crate::redaction::harmless;
use crate::rollout::SETTLING;
use crate::runner::Backoff;
use crate::tree::Tree;
use board::Board;
use portion::portion;
use report::Pass;
use update::Update;

/// How long to wait at most before looking again.
const RESYNC: Duration = Duration::from_secs(30);

/// How long to wait at most while copies run elsewhere: they may just be ending.
const SOON: Duration = Duration::from_secs(5);

/// How long a runner may take to say how its copy is before it is told of.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a model's runners must have lived for their earlier deaths to be forgotten.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// Copies tell of themselves often; they are looked at together.
const NEWS_PAUSE: Duration = Duration::from_millis(200);

/// Keeps the copies on this machine as they are desired.
pub struct Reconciler<T = Session, L = LocalLauncher> {
    tree: T,
    layout: Layout,
    launcher: L,
    /// The leading service as it shows itself, but for what changes.
    leader: Leader,
    board: Board,
    troubles: HashMap<ModelKey, Trouble>,
    /// The dead runners that have been counted, until their folders are gone.
    mourned: HashSet<InstanceId>,
    /// How runners that ended did so, as far as it is known.
    ends: HashMap<InstanceId, String>,
    /// The last runner of each model that died.
    lost: HashMap<ModelKey, Lost>,
    /// Since when copies serve without a break; not known before the first look.
    serving: Option<HashMap<InstanceId, Instant>>,
    /// Since when nothing has been heard of runners that run, and what time of day that was.
    silent: HashMap<InstanceId, (Instant, SystemTime)>,
    /// When rolling updates last made a step forward, and how far they were then.
    updating: HashMap<ModelKey, (Instant, (bool, u32))>,
    /// The models for whose next copy there is no room, and since when.
    crowded: HashMap<ModelKey, Instant>,
    /// What could not be done in the last pass.
    failed: HashSet<Action>,
    /// Since when no pass has been carried out to its end.
    halted: Option<i64>,
    /// What chance decides, it decides: with the same dice the same happens.
    dice: StdRng,
}

/// Why a pass was not carried out to its end.
#[derive(Debug)]
pub(crate) enum Halt {
    /// Another daemon leads now.
    Overtaken,
    /// Something could not be seen or done. It may be another time.
    Later(anyhow::Error),
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Later(error)
    }
}

impl From<ZkError> for Halt {
    fn from(error: ZkError) -> Self {
        Self::Later(error.into())
    }
}

/// A model whose runners die.
struct Trouble {
    backoff: Backoff,
    not_before: Instant,
}

/// All that should run; the versions of which that can't be read; and the models whose versions can't.
type AllDesired = (
    BTreeMap<ModelKey, Found>,
    HashSet<ModelKey>,
    HashSet<ModelName>,
);

/// What came of a plan.
#[derive(Default)]
struct Done {
    /// What went wrong, of which model.
    failures: Vec<(Option<ModelKey>, String)>,
    /// What could not be done.
    failed: HashSet<Action>,
    /// What was not done, for it no longer fits what is so by now.
    spared: Vec<Action>,
}

/// What should run of a version, and which version of its znode says so.
pub(crate) struct Found {
    desired: Desired,
    znode_version: i32,
    /// The transaction that made the znode.
    made: i64,
}

impl Found {
    /// When it was asked for first; of a version that takes the place of another one, when that was.
    fn asked(&self, (name, _): &ModelKey, all: &BTreeMap<ModelKey, Self>) -> i64 {
        let replaced = self.desired.replaces.as_ref();
        let replaced = replaced.and_then(|old| all.get(&(name.clone(), old.version.clone())));
        replaced.map_or(self.made, |old| old.made.min(self.made))
    }
}

impl Reconciler<Session, LocalLauncher> {
    /// Reconciles for as long as we lead; `ends` tells of runners that ended, `held` what holds up the queue. Dropping the
    /// future is harmless.
    pub async fn run(
        &mut self,
        lead: &Lead,
        ends: &mut mpsc::UnboundedReceiver<Ended>,
        held: &mut watch::Receiver<Option<HeldItem>>,
    ) {
        self.leader.since_ms = now_ms();
        // Another daemon may have led meanwhile: what was known may hold no more.
        self.board = Board::default();
        self.serving = None;
        self.updating.clear();
        self.mourned.clear();
        self.halted = None;
        let mut changes = self
            .tree
            .watch(&self.layout.desired_root(), WatchScope::Tree);
        let mut news = self
            .tree
            .watch(&self.layout.instances_root(), WatchScope::Tree);
        changes.next().await;
        loop {
            self.leader.held = held.borrow_and_update().clone();
            let pause = match self.reconcile(lead, Instant::now()).await {
                Ok(pause) => {
                    self.halted = None;
                    pause
                }
                Err(Halt::Overtaken) => return,
                Err(Halt::Later(error)) => {
                    let error = format!("{error:#}");
                    warn!(error, "the copies can't be reconciled now");
                    self.tell_halted(lead, &error).await;
                    Duration::from_secs(1)
                }
            };
            let looked = tokio::time::Instant::now();
            tokio::select! {
                _ = changes.next() => {}
                ended = ends.recv() => self.note_end(ended),
                Ok(()) = held.changed() => {}
                _ = news.next() => {
                    tokio::select! {
                        _ = changes.next() => {}
                        ended = ends.recv() => self.note_end(ended),
                        () = tokio::time::sleep_until(looked + NEWS_PAUSE) => {}
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
            // A burst of changes is one reason to look, not many.
            while let Ok(ended) = ends.try_recv() {
                self.note_end(Some(ended));
            }
            coalesce(&mut changes).await;
            coalesce(&mut news).await;
        }
    }

    /// Stops every copy, and waits until they are gone, as long as they may take and `extra`.
    ///
    /// # Errors
    /// When some are left then.
    pub async fn stop_all(
        &mut self,
        ends: &mut mpsc::UnboundedReceiver<Ended>,
        extra: Duration,
    ) -> anyhow::Result<()> {
        let nothing = BTreeMap::new();
        let began = Instant::now();
        loop {
            let left = self.launcher.observe(&HashMap::new());
            match &left {
                Ok(copies) if copies.is_empty() => return Ok(()),
                Ok(copies) => {
                    let planned = plan(&BTreeMap::new(), copies, self.room(), Instant::now());
                    self.carry_out(&planned, &nothing, &BTreeMap::new(), copies)
                        .await;
                }
                Err(error) => warn!(%error, "copies can't be looked at now"),
            }
            if began.elapsed() > self.launcher.longest_patience() + extra {
                let left = left.context("the copies can't be looked at")?.len();
                bail!(
                    "some copies have not ended in time: {left} are left, for the next service to stop or adopt"
                );
            }
            let _or_look_again =
                tokio::time::timeout(Duration::from_millis(200), ends.recv()).await;
        }
    }
}

async fn coalesce(changes: &mut TreeWatch) {
    while tokio::time::timeout(Duration::ZERO, changes.next())
        .await
        .is_ok()
    {}
}

impl<T: Tree, L: Launcher> Reconciler<T, L> {
    /// A reconciler that acts through `launcher`, for a service that shows itself as `leader`.
    #[must_use]
    pub fn new(tree: T, layout: Layout, launcher: L, leader: Leader, dice: StdRng) -> Self {
        Self {
            tree,
            layout,
            launcher,
            leader,
            board: Board::default(),
            troubles: HashMap::new(),
            mourned: HashSet::new(),
            ends: HashMap::new(),
            lost: HashMap::new(),
            serving: None,
            silent: HashMap::new(),
            updating: HashMap::new(),
            crowded: HashMap::new(),
            failed: HashSet::new(),
            halted: None,
            dice,
        }
    }

    /// Tells that copies are left as they are, and why, where that was so in the pass before, too.
    async fn tell_halted(&mut self, lead: &Lead, why: &str) {
        let Some(since_ms) = self.halted else {
            self.halted = Some(now_ms());
            return;
        };
        let halted = Halted {
            why: harmless(why),
            since_ms,
        };
        let told = self.board.leader().unwrap_or(&self.leader).clone();
        let leader = Leader {
            held: self.leader.held.clone(),
            halted: Some(halted),
            ..told
        };
        let told = self
            .board
            .tell(&self.tree, &self.layout, lead, leader)
            .await;
        if let Err(error) = told {
            debug!(%error, "it can't be told that the copies are left as they are");
        }
    }

    fn note_end(&mut self, ended: Option<Ended>) {
        if let Some(Ended { instance, how }) = ended {
            // Why it was killed tells more than that it was.
            self.ends.entry(instance).or_insert(how);
        }
    }

    /// All that this machine has for copies.
    fn room(&self) -> Room {
        Room {
            memory_mb: self.leader.memory_mb,
            vcores: self.leader.vcores,
        }
    }

    /// One pass; tells when the next one is due at the latest.
    ///
    /// # Errors
    /// With the reason why it was not carried out to its end.
    pub(crate) async fn reconcile(&mut self, lead: &Lead, now: Instant) -> Result<Duration, Halt> {
        match self.launcher.hold(lead.transaction()) {
            Ok(Hold::Ours) => {}
            Ok(Hold::Overtaken) => return Err(Halt::Overtaken),
            Err(error) => warn!(%error, "no copy can be started now"),
        }
        let (desired, mut held, hidden) = self.desired().await?;
        let statuses = self.statuses().await?;
        if let Err(error) = self.board.load(&self.tree, &self.layout).await {
            debug!(%error, "what was published can't be read now");
        }
        let copies = self.observe(&statuses, now)?;
        let models = copies.iter().filter_map(|copy| copy.model.as_ref());
        held.extend(models.filter(|(name, _)| hidden.contains(name)).cloned());
        self.note_deaths(&copies, &desired, now);
        let updates = self.updates(&desired, &copies, &statuses, now);
        let mut targets: BTreeMap<ModelKey, u32> = BTreeMap::new();
        for update in &updates {
            match self.advance(lead, update, &desired, &held).await {
                Ok(Some((old, new))) => {
                    // Where several take its place, the old version makes way for all of them.
                    for (model, copies) in [(&update.old, old), (&update.new, new)] {
                        let target = targets.entry(model.clone()).or_insert(copies);
                        *target = copies.min(*target);
                    }
                }
                Ok(None) => held.extend([update.old.clone(), update.new.clone()]),
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "the end of a rolling update can't be written now"
                    );
                    held.extend([update.old.clone(), update.new.clone()]);
                }
            }
        }
        let free = self.room().beside(&copies);
        let wanted = self.wanted(&desired, &targets, &held);
        let touchable: Vec<Copy> = copies
            .iter()
            .filter(|copy| {
                copy.model
                    .as_ref()
                    .is_none_or(|model| !held.contains(model))
            })
            .cloned()
            .collect();
        let mut planned = plan(&wanted, &touchable, free, now);
        let (actions, unfinished) = portion(planned.actions, &self.failed, &touchable);
        planned.actions = actions;
        self.note_crowded(&planned, now);
        let Done {
            failures,
            failed,
            spared,
        } = self
            .carry_out(&planned, &desired, &wanted, &touchable)
            .await;
        self.failed = failed;
        planned.actions.retain(|action| !spared.contains(action));
        self.note_given_up(&planned.actions, &touchable, &statuses);
        let pass = Pass {
            desired: &desired,
            wanted: &wanted,
            copies: &copies,
            statuses: &statuses,
            silent: &self.silent(&copies, now),
            updates: &updates,
            planned: &planned,
            failures: &failures,
        };
        let progress = pass.progress(&self.board, |model| self.lost.get(model).cloned());
        let leader = pass.leader(&self.leader, self.room());
        let published = self
            .board
            .publish(&self.tree, &self.layout, lead, progress, leader)
            .await;
        match &published {
            Ok(()) => {}
            // The first step is the check that we lead.
            Err(CommitError::Step { index: 0, .. }) => return Err(Halt::Overtaken),
            Err(CommitError::Step { source, .. }) if source.is_no_node() => {
                warn!(
                    "somebody has deleted where it is published what is being done; it is made again"
                );
                self.tree.ensure(&self.layout.progress_root()).await?;
            }
            Err(error) => debug!(%error, "what is being done is published the next time"),
        }
        if unfinished && failures.is_empty() {
            return Ok(Duration::ZERO);
        }
        Ok(self.pause(
            &copies,
            &planned,
            &updates,
            !failures.is_empty() || !spared.is_empty() || !held.is_empty() || published.is_err(),
            now,
        ))
    }

    /// When to look again at the latest.
    fn pause(
        &self,
        copies: &[Copy],
        planned: &Plan,
        updates: &[Update],
        soon: bool,
        now: Instant,
    ) -> Duration {
        let mut pause = RESYNC;
        if copies.iter().any(|copy| copy.life == Life::Elsewhere) || !self.silent.is_empty() {
            pause = SOON;
        }
        if soon || !updates.is_empty() {
            pause = pause.min(SETTLING / 3);
        }
        let too_soon = planned
            .pending
            .values()
            .filter_map(|(_, shortage)| match shortage {
                Shortage::TooSoon(time) => Some(time.saturating_duration_since(now)),
                Shortage::Memory { .. }
                | Shortage::Vcores
                | Shortage::KeptFor(_)
                | Shortage::Elsewhere(_) => None,
            });
        too_soon.fold(pause, Duration::min)
    }

    /// The copies whose runners have said nothing for long, and since when.
    fn silent(&mut self, copies: &[Copy], now: Instant) -> BTreeMap<InstanceId, SystemTime> {
        let is_silent = |copy: &&Copy| copy.life == Life::Running(None);
        let silent = copies.iter().filter(is_silent);
        let silent: HashSet<&InstanceId> = silent.map(|copy| &copy.instance).collect();
        self.silent.retain(|instance, _| silent.contains(instance));
        for instance in silent {
            let since = (now, SystemTime::now());
            self.silent.entry(instance.clone()).or_insert(since);
        }
        let long = self.silent.iter();
        let long = long.filter(|(_, (since, _))| now.duration_since(*since) >= SILENCE);
        long.map(|(instance, (_, time))| (instance.clone(), *time))
            .collect()
    }

    fn note_crowded(&mut self, planned: &Plan, now: Instant) {
        let waits = |model: &ModelKey| planned.pending.contains_key(model);
        self.crowded.retain(|model, _| waits(model));
        for (model, (_, shortage)) in &planned.pending {
            if shortage.is_of_room() {
                self.crowded.entry(model.clone()).or_insert(now);
            }
        }
    }

    /// The copies there are, here and elsewhere.
    fn observe(&mut self, statuses: &[InstanceStatus], now: Instant) -> anyhow::Result<Vec<Copy>> {
        let phases: HashMap<InstanceId, Phase> = statuses
            .iter()
            .map(|s| (s.instance.clone(), s.phase))
            .collect();
        let first_look = self.serving.is_none();
        let serving = self.serving.get_or_insert_default();
        serving.retain(|instance, _| phases.get(instance).is_some_and(|phase| phase.is_serving()));
        for status in statuses.iter().filter(|status| status.phase.is_serving()) {
            // What has served under another daemon need not settle anew. Only the time of day tells since when that is, and
            // it is asked this once, for it may jump.
            let age = if first_look {
                now_ms().saturating_sub(status.since_ms)
            } else {
                0
            };
            let age = Duration::from_millis(u64::try_from(age).unwrap_or(0)).min(SETTLING);
            let since = now.checked_sub(age).unwrap_or(now);
            serving.entry(status.instance.clone()).or_insert(since);
        }
        let mut copies = self.launcher.observe(&phases)?;
        let here: HashSet<InstanceId> = copies.iter().map(|copy| copy.instance.clone()).collect();
        // Those that ended as they were told to have left nothing to explain.
        self.ends.retain(|instance, _| here.contains(instance));
        for status in statuses
            .iter()
            .filter(|status| !here.contains(&status.instance))
        {
            debug!(instance = %status.instance, host = %status.host, "a copy runs elsewhere");
            copies.push(Copy {
                instance: status.instance.clone(),
                model: Some((status.name.clone(), status.version.clone())),
                generation: status.generation,
                memory_mb: 0,
                life: Life::Elsewhere,
            });
        }
        Ok(copies)
    }

    /// Carries out a plan.
    async fn carry_out(
        &mut self,
        planned: &Plan,
        desired: &BTreeMap<ModelKey, Found>,
        wanted: &BTreeMap<ModelKey, Wanted>,
        copies: &[Copy],
    ) -> Done {
        let mut done = Done::default();
        // The models of which a copy that was to be stopped stays: one that was to take its place would be one too many.
        let mut whole: HashSet<&ModelKey> = HashSet::new();
        for action in &planned.actions {
            let model = model_of(action, copies);
            if matches!(action, Action::Launch(model) if whole.contains(model)) {
                done.spared.push(action.clone());
                continue;
            }
            let outcome = match self.is_outdated(action, wanted, copies).await {
                Ok(true) => {
                    info!(
                        ?action,
                        "the copy has come to serve meanwhile, and is looked at again"
                    );
                    done.spared.push(action.clone());
                    whole.extend(model);
                    continue;
                }
                Ok(false) => self.act(action, desired, copies).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = outcome {
                let error = format!("{error:#}");
                error!(
                    ?action,
                    error, "an action has failed and will be tried again"
                );
                done.failures.push((model.cloned(), error));
                done.failed.insert(action.clone());
                whole.extend(model.filter(|_| matches!(action, Action::Stop(_))));
            }
        }
        done
    }

    /// Whether an action is to stop a copy for serving nobody that has come to serve since it was looked at. Where all copies of
    /// the model are to go, that makes no difference.
    async fn is_outdated(
        &self,
        action: &Action,
        wanted: &BTreeMap<ModelKey, Wanted>,
        copies: &[Copy],
    ) -> Result<bool, ZkError> {
        let Action::Stop(instance) = action else {
            return Ok(false);
        };
        let copy = copies.iter().find(|copy| copy.instance == *instance);
        let served =
            |copy: &&Copy| matches!(copy.life, Life::Running(Some(phase)) if phase.is_serving());
        let copy = copy.filter(|copy| !served(copy));
        let model = copy.and_then(|copy| copy.model.as_ref());
        let some_stay = |model: &&ModelKey| wanted.get(*model).is_some_and(|w| w.copies > 0);
        let Some((name, _)) = model.filter(some_stay) else {
            return Ok(false);
        };
        let registration = [self.layout.registration(name, instance)];
        let found = self.tree.get_many(&registration).await?.pop();
        Ok(found.unwrap_or(Ok(None))?.is_some())
    }

    async fn act(
        &mut self,
        action: &Action,
        desired: &BTreeMap<ModelKey, Found>,
        copies: &[Copy],
    ) -> anyhow::Result<()> {
        match action {
            Action::Clean(instance) => {
                let model = model_of(action, copies);
                self.withdraw(instance, model, desired).await;
                let last_output = self.launcher.clean(instance)?;
                info!(%instance, log = last_output.join(" | "), "what a dead runner left is cleaned away");
                let why = self.ends.remove(instance);
                if let Some(lost) = model.and_then(|model| self.lost.get_mut(model))
                    && lost.instance == *instance
                {
                    lost.failure.why = why.unwrap_or_else(|| lost.failure.why.clone());
                    lost.failure.last_output = last_output;
                }
            }
            Action::Kill(instance) => {
                self.launcher.kill(instance)?;
                if !self.launcher.was_told_to_end(instance) {
                    let why = "its runner hung: it did nothing for long and nothing was heard of it; it was killed";
                    self.ends.insert(instance.clone(), why.to_owned());
                }
            }
            Action::Stop(instance) => self.launcher.stop(instance)?,
            Action::Launch(model) => {
                if let Some(found) = desired.get(model) {
                    self.launcher.launch(&found.desired)?;
                }
            }
        }
        Ok(())
    }

    /// Takes what a dead runner published out of ZooKeeper. Its session would do that too, but some seconds later; and the
    /// folder of a model that is to run no more would stay.
    async fn withdraw(
        &self,
        instance: &InstanceId,
        model: Option<&ModelKey>,
        desired: &BTreeMap<ModelKey, Found>,
    ) {
        if !self.tree.is_connected() {
            return;
        }
        let registration = model.map(|(name, _)| self.layout.registration(name, instance));
        let is_wanted = |name: &ModelName| desired.keys().any(|(wanted, _)| wanted == name);
        let folder = model.filter(|(name, _)| !is_wanted(name));
        let folder = folder.map(|(name, _)| self.layout.service(name));
        let published = [registration, Some(self.layout.instance(instance)), folder];
        for path in published.into_iter().flatten() {
            let delete = Step::Delete {
                path,
                version: None,
            };
            if let Err(error) = self.tree.commit(&[delete]).await {
                debug!(%error, "what a dead runner published is gone, or goes with its session");
            }
        }
    }

    /// Of a copy that has failed and is given up for a new one, the failure is told on.
    fn note_given_up(&mut self, actions: &[Action], copies: &[Copy], statuses: &[InstanceStatus]) {
        for action in actions {
            let Action::Stop(instance) = action else {
                continue;
            };
            let status = statuses.iter().find(|status| status.instance == *instance);
            let status = status.filter(|status| status.phase.has_failed());
            let failure = status.and_then(|status| status.last_failure.clone());
            if let (Some(model), Some(failure)) = (model_of(action, copies), failure) {
                let instance = instance.clone();
                self.lost.insert(model.clone(), Lost { instance, failure });
            }
        }
    }

    /// Runners end when they are told to. When one dies otherwise its model has to wait, the longer the more often it
    /// happens; copies that die together count once.
    fn note_deaths(&mut self, copies: &[Copy], desired: &BTreeMap<ModelKey, Found>, now: Instant) {
        self.troubles.retain(|model, trouble| {
            desired.contains_key(model) && now < trouble.not_before + GOOD_RUN
        });
        self.lost.retain(|model, _| desired.contains_key(model));
        let dead: Vec<&Copy> = copies
            .iter()
            .filter(|copy| copy.life == Life::Dead)
            .collect();
        let mut struck = BTreeSet::new();
        for copy in dead
            .iter()
            .filter(|copy| !self.mourned.contains(&copy.instance))
            .filter(|copy| !self.launcher.was_told_to_end(&copy.instance))
        {
            let Some(model) = copy
                .model
                .as_ref()
                .filter(|model| desired.contains_key(*model))
            else {
                continue;
            };
            warn!(model = %model.0, version = %model.1, instance = %copy.instance, "a runner has died");
            struck.insert(model.clone());
            self.lost.insert(model.clone(), lost(&copy.instance));
        }
        self.mourned = dead.iter().map(|copy| copy.instance.clone()).collect();
        for model in struck {
            let trouble = self.troubles.entry(model).or_insert_with(|| Trouble {
                backoff: Backoff::default(),
                not_before: now,
            });
            trouble.not_before = now + trouble.backoff.draw_delay(&mut self.dice);
        }
    }

    fn wanted(
        &self,
        desired: &BTreeMap<ModelKey, Found>,
        targets: &BTreeMap<ModelKey, u32>,
        held: &HashSet<ModelKey>,
    ) -> BTreeMap<ModelKey, Wanted> {
        let wanted = |(model, found): (&ModelKey, &Found)| {
            let instances = found.desired.instances;
            let wanted = Wanted {
                copies: targets
                    .get(model)
                    .map_or(instances, |&target| instances.min(target)),
                memory_mb: found.desired.memory_mb,
                generation: found.desired.generation,
                restarted: found.desired.restarted,
                not_before: self.troubles.get(model).map(|trouble| trouble.not_before),
                asked: found.asked(model, desired),
                crowded_since: self.crowded.get(model).copied(),
            };
            (model.clone(), wanted)
        };
        desired
            .iter()
            .filter(|(model, _)| !held.contains(*model))
            .map(wanted)
            .collect()
    }

    async fn statuses(&self) -> Result<Vec<InstanceStatus>, ZkError> {
        let root = self.layout.instances_root();
        let names = self.tree.children(&root).await?;
        let paths: Vec<ZnodePath> = names.iter().map(|name| root.join(name)).collect();
        Ok(readable(&paths, self.tree.get_many(&paths).await?))
    }

    /// All that should run; and the versions and the models of which that can't be read, which are left as they are.
    async fn desired(&self) -> Result<AllDesired, ZkError> {
        let root = self.layout.desired_root();
        let mut keys: Vec<ModelKey> = Vec::new();
        let mut hidden = HashSet::new();
        let names = self.tree.children(&root).await?;
        let models: Vec<ModelName> = names
            .into_iter()
            .filter_map(|name| ModelName::new(name).ok())
            .collect();
        let folders: Vec<ZnodePath> = models.iter().map(|m| root.join(m.as_str())).collect();
        let listed = self.tree.children_many(&folders).await?;
        for (model, versions) in models.into_iter().zip(listed) {
            match versions {
                Ok(versions) => {
                    let versions = versions.into_iter().filter_map(|v| Version::new(v).ok());
                    keys.extend(versions.map(|version| (model.clone(), version)));
                }
                Err(error) if error.is_lasting() => {
                    let error = &error as &dyn std::error::Error;
                    error!(%model, error, "which versions should run can't be read; all are left as they are");
                    hidden.insert(model);
                }
                Err(error) => return Err(error),
            }
        }
        let paths: Vec<ZnodePath> = keys
            .iter()
            .map(|(name, version)| self.layout.desired(name, version))
            .collect();
        let (mut all, mut unreadable) = (BTreeMap::new(), HashSet::new());
        for (key, content) in keys.into_iter().zip(self.tree.get_many(&paths).await?) {
            let error = match content {
                Ok(None) => continue,
                Ok(Some((data, stat))) => match Desired::parse(&data) {
                    Ok(desired) => {
                        let found = Found {
                            desired,
                            znode_version: stat.version,
                            made: stat.czxid,
                        };
                        all.insert(key, found);
                        continue;
                    }
                    Err(error) => anyhow::Error::from(error),
                },
                Err(error) => error.into(),
            };
            error!(model = %key.0, version = %key.1, error = format!("{error:#}"), "what should run can't be read; it is left as it is");
            unreadable.insert(key);
        }
        Ok((all, unreadable, hidden))
    }
}

fn model_of<'a>(action: &'a Action, copies: &'a [Copy]) -> Option<&'a ModelKey> {
    match action {
        Action::Clean(instance) | Action::Kill(instance) | Action::Stop(instance) => {
            let copy = copies.iter().find(|copy| copy.instance == *instance);
            copy.and_then(|copy| copy.model.as_ref())
        }
        Action::Launch(model) => Some(model),
    }
}

/// A runner that died, before more is known of it.
fn lost(instance: &InstanceId) -> Lost {
    Lost {
        instance: instance.clone(),
        failure: Failure {
            at_ms: now_ms(),
            why: "its runner died without having been told to".to_owned(),
            exit_code: None,
            signal: None,
            out_of_memory: None,
            store_away: false,
            last_output: Vec::new(),
        },
    }
}
