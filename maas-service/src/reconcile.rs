//! The reconciler: keeps the running copies as they are desired.
//!
//! It observes, asks [`plan`](crate::plan) what to do, does it, and waits until something changes; after 30 s it looks again
//! even if nothing seems to have. It needs no memory of what happened before, but for one thing: a model whose runners die
//! is started again ever more slowly.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use maas_client::instances::statuses;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::session::{Session, TreeWatch, WatchScope, ZkError};
use maas_client::wire::state::{Desired, InstanceStatus, Phase};
use maas_client::{InstanceId, ModelName, Version};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use crate::launcher::LocalLauncher;
use crate::plan::{Action, Copy, Life, ModelKey, Wanted, plan};
use crate::runner::Backoff;

/// How long to wait at most before looking again.
const RESYNC: Duration = Duration::from_secs(30);

/// How long to wait at most while copies run elsewhere: they may just be ending.
const SOON: Duration = Duration::from_secs(5);

/// How long a model's runners must have lived for their earlier deaths to be forgotten.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// Keeps the copies on this machine as they are desired.
pub struct Reconciler {
    session: Session,
    layout: Layout,
    launcher: LocalLauncher,
    ends: mpsc::UnboundedReceiver<InstanceId>,
    troubles: HashMap<ModelKey, Trouble>,
    /// The dead runners that have been counted, until their folders are gone.
    mourned: HashSet<InstanceId>,
}

/// A model whose runners die.
struct Trouble {
    backoff: Backoff,
    not_before: Instant,
}

impl Reconciler {
    /// A reconciler that acts through `launcher`, and hears from it of runners that ended.
    #[must_use]
    pub fn new(
        session: Session,
        layout: Layout,
        launcher: LocalLauncher,
        ends: mpsc::UnboundedReceiver<InstanceId>,
    ) -> Self {
        Self {
            session,
            layout,
            launcher,
            ends,
            troubles: HashMap::new(),
            mourned: HashSet::new(),
        }
    }

    /// Reconciles for ever. Dropping the future between two passes is harmless.
    pub async fn run(&mut self) {
        let mut changes = self
            .session
            .watch(&self.layout.desired_root(), WatchScope::Tree);
        changes.next().await;
        loop {
            let pause = match self.reconcile().await {
                Ok(pause) => pause,
                Err(error) => {
                    warn!(
                        error = format!("{error:#}"),
                        "the copies can't be reconciled now"
                    );
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                _ = changes.next() => {}
                _ = self.ends.recv() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.coalesce(&mut changes).await;
        }
    }

    /// A burst of changes is one reason to look, not many.
    async fn coalesce(&mut self, changes: &mut TreeWatch) {
        while self.ends.try_recv().is_ok() {}
        while tokio::time::timeout(Duration::ZERO, changes.next())
            .await
            .is_ok()
        {}
    }

    /// One pass; tells when the next one is due at the latest.
    async fn reconcile(&mut self) -> anyhow::Result<Duration> {
        let (desired, unreadable) = self.desired().await?;
        let statuses = statuses(&self.session, &self.layout).await?;
        self.pass(&desired, &unreadable, &statuses).await
    }

    /// Stops every copy, and waits until they are gone or `limit` is over.
    pub async fn stop_all(&mut self, limit: Duration) {
        let nothing = BTreeMap::new();
        let all_gone = async {
            loop {
                match self.pass(&nothing, &HashSet::new(), &[]).await {
                    Ok(_) => {}
                    Err(error) => {
                        warn!(error = format!("{error:#}"), "copies can't be stopped now")
                    }
                }
                if self
                    .launcher
                    .observe(&HashMap::new())
                    .is_ok_and(|copies| copies.is_empty())
                {
                    return;
                }
                let _or_look_again =
                    tokio::time::timeout(Duration::from_millis(200), self.ends.recv()).await;
            }
        };
        if tokio::time::timeout(limit, all_gone).await.is_err() {
            error!("some copies have not ended in time");
        }
    }

    /// Brings what runs to `desired`, but for those models of which that can't be read; `statuses` is what the runners say of
    /// themselves, as far as they can be asked.
    async fn pass(
        &mut self,
        desired: &BTreeMap<ModelKey, Desired>,
        unreadable: &HashSet<ModelKey>,
        statuses: &[InstanceStatus],
    ) -> anyhow::Result<Duration> {
        let now = Instant::now();
        let phases: HashMap<InstanceId, Phase> = statuses
            .iter()
            .map(|s| (s.instance.clone(), s.phase))
            .collect();
        let mut copies = self.launcher.observe(&phases)?;
        self.note_deaths(&copies, desired, now);
        let here: HashSet<InstanceId> = copies.iter().map(|copy| copy.instance.clone()).collect();
        for status in statuses
            .iter()
            .filter(|status| !here.contains(&status.instance))
        {
            debug!(instance = %status.instance, host = %status.host, "a copy runs elsewhere");
            let model = Some((status.name.clone(), status.version.clone()));
            copies.push(Copy {
                instance: status.instance.clone(),
                model,
                life: Life::Elsewhere,
            });
        }
        let mut pause = if copies.iter().any(|copy| copy.life == Life::Elsewhere) {
            SOON
        } else {
            RESYNC
        };
        copies.retain(|copy| {
            copy.model
                .as_ref()
                .is_none_or(|model| !unreadable.contains(model))
        });
        let wanted = self.wanted(desired);
        let actions = plan(&wanted, &copies, now);
        for action in actions {
            if let Err(error) = self.carry_out(&action, desired, &copies).await {
                error!(
                    ?action,
                    error = format!("{error:#}"),
                    "an action has failed and will be tried again"
                );
                pause = Duration::from_secs(1);
            }
        }
        let due = wanted
            .values()
            .filter_map(|wanted| wanted.not_before)
            .filter(|&time| time > now)
            .min();
        Ok(due.map_or(pause, |due| pause.min(due - now)))
    }

    async fn carry_out(
        &mut self,
        action: &Action,
        desired: &BTreeMap<ModelKey, Desired>,
        copies: &[Copy],
    ) -> anyhow::Result<()> {
        match action {
            Action::Clean(instance) => {
                let model = copies.iter().find(|copy| copy.instance == *instance);
                self.withdraw(instance, model.and_then(|copy| copy.model.as_ref()))
                    .await;
                let last = self.launcher.clean(instance)?;
                info!(%instance, log = last.join(" | "), "what a dead runner left is cleaned away");
            }
            Action::Kill(instance) => self.launcher.kill(instance)?,
            Action::Stop(instance) => self.launcher.stop(instance)?,
            Action::Launch(model) => {
                if let Some(desired) = desired.get(model) {
                    self.launcher.launch(desired)?;
                }
            }
        }
        Ok(())
    }

    /// Takes what a dead runner published out of ZooKeeper. Its session would do that too, but some seconds later.
    async fn withdraw(&self, instance: &InstanceId, model: Option<&ModelKey>) {
        if !self.session.health().borrow().connected {
            return;
        }
        let registration = model.map(|(name, _)| self.layout.registration(name, instance));
        for path in registration
            .into_iter()
            .chain([self.layout.instance(instance)])
        {
            if let Err(error) = self.session.delete(&path, None).await {
                debug!(%error, "what a dead runner published goes with its session");
            }
        }
    }

    /// Runners end when they are told to. When one dies otherwise its model has to wait, the longer the more often it
    /// happens; copies that die together count once.
    fn note_deaths(
        &mut self,
        copies: &[Copy],
        desired: &BTreeMap<ModelKey, Desired>,
        now: Instant,
    ) {
        self.troubles.retain(|model, trouble| {
            desired.contains_key(model) && now < trouble.not_before + GOOD_RUN
        });
        let dead = |copy: &&Copy| copy.life == Life::Dead;
        let mut struck = HashSet::new();
        for copy in copies
            .iter()
            .filter(dead)
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
        }
        self.mourned = copies
            .iter()
            .filter(dead)
            .map(|copy| copy.instance.clone())
            .collect();
        for model in struck {
            let trouble = self.troubles.entry(model).or_insert_with(|| Trouble {
                backoff: Backoff::default(),
                not_before: now,
            });
            trouble.not_before = now + trouble.backoff.next_delay();
        }
    }

    fn wanted(&self, desired: &BTreeMap<ModelKey, Desired>) -> BTreeMap<ModelKey, Wanted> {
        let wanted = |(model, desired): (&ModelKey, &Desired)| {
            let not_before = self.troubles.get(model).map(|trouble| trouble.not_before);
            (
                model.clone(),
                Wanted {
                    copies: desired.instances,
                    not_before,
                },
            )
        };
        desired.iter().map(wanted).collect()
    }

    /// All that should run; and the models of which that can't be read, which are left as they are.
    async fn desired(&self) -> Result<(BTreeMap<ModelKey, Desired>, HashSet<ModelKey>), ZkError> {
        let root = self.layout.desired_root();
        let mut keys: Vec<ModelKey> = Vec::new();
        for name in self.session.children(&root).await? {
            for version in self.session.children(&root.join(&name)).await? {
                if let (Ok(name), Ok(version)) =
                    (ModelName::new(name.as_str()), Version::new(version))
                {
                    keys.push((name, version));
                }
            }
        }
        let paths: Vec<ZnodePath> = keys
            .iter()
            .map(|(name, version)| self.layout.desired(name, version))
            .collect();
        let (mut all, mut unreadable) = (BTreeMap::new(), HashSet::new());
        for (key, content) in keys.into_iter().zip(self.session.get_many(&paths).await?) {
            let error = match content.map(|content| content.map(|(data, _)| Desired::parse(&data)))
            {
                Ok(None) => continue,
                Ok(Some(Ok(desired))) => {
                    all.insert(key, desired);
                    continue;
                }
                Ok(Some(Err(error))) => anyhow::Error::from(error),
                Err(error) => error.into(),
            };
            error!(model = %key.0, version = %key.1, error = format!("{error:#}"), "what should run can't be read; it is left as it is");
            unreadable.insert(key);
        }
        Ok((all, unreadable))
    }
}
