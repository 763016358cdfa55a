//! Intake: turns requests in the queue into desired state, each exactly once.
//!
//! A batch of requests is ruled on in memory and then carried out in ONE transaction: check that we still lead, write what
//! should run and its history, write the results, delete the queue nodes. All or nothing, so a request takes effect once
//! whatever is killed when; and when an answer is lost, looking at the queue again tells what happened. What can't be
//! understood is set aside with its reason, and never holds up the next request. Nothing here waits for a model to start.

mod batch;
mod held_up;
#[cfg(test)]
mod history_check;
pub(crate) mod letter;
mod records;
mod ruling;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use maas_client::layout::{Layout, ZnodePath};
use maas_client::queue::{ITEM_PREFIX, QueueItem, in_order};
use maas_client::session::{CommitError, Session, Step, WatchScope, ZkError};
use maas_client::wire::progress::HeldItem;
use maas_client::wire::request::ModelRequest;
use maas_client::wire::state::{DeadLetter, Outcome, RequestResult};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::crash::{Point, crash_point};
use crate::leader::Lead;
use crate::plan::Room;
use crate::tree::{Tree, create};
use batch::{Batch, Read};
use held_up::HeldUp;
pub(crate) use held_up::Refused;
use letter::{dead_letter, holds_password, unreadable_letter};
use records::{GONE_BEFORE_A_LOOK, Records};

/// How many requests are carried out in one transaction, and how many bytes they may have together.
const BATCH: usize = 250;
const BATCH_BYTES: usize = 256 * 1024;

/// How often records that are too old are looked for.
const PRUNED_EVERY: Duration = Duration::from_secs(3600);

/// How long to wait at most before looking at the queue again: who may not read it is not told of changes either.
const RESYNC: Duration = Duration::from_secs(10);

/// How long an item that could not be read or taken is passed over before it is tried again: somebody may have mended it.
const PASSED_OVER: Duration = Duration::from_secs(120);

/// How many batches of a long queue are taken before the queue, and what is kept of what was taken, is looked at again.
const BATCHES_A_ROUND: usize = 20;

/// Takes requests from the queue while we lead.
pub struct Intake<T = Session> {
    tree: T,
    layout: Layout,
    /// All that the machine has for copies.
    machine: Room,
    /// Children of the queue that can't be taken, and have been reported: foreign ones, and those ZooKeeper won't give up.
    passed_over: HashSet<String>,
    /// How many versions have gone since their histories were looked through.
    gone: usize,
    held_up: HeldUp,
}

/// We lead no more.
#[derive(Debug)]
pub(crate) struct Fenced;

/// Why a batch was not carried out.
enum Undone {
    /// We lead no more.
    Fenced,
    /// Somebody else changed what the batch stands on, or ZooKeeper was away. Look again.
    LookAgain(CommitError),
}

impl From<ZkError> for Undone {
    fn from(error: ZkError) -> Self {
        Self::LookAgain(error.into())
    }
}

/// Whether there may be more to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// The queue was found empty.
    Empty,
    /// Something was taken; there may be more.
    Taken,
    /// Something could not be taken now: this item, or the queue itself, unless that passes.
    Held(Option<Refused>),
}

impl Intake<Session> {
    /// Takes requests until we lead no more. What is kept of them is pruned beside it: that takes many reads, and nobody is to
    /// wait for them.
    pub async fn run(&mut self, lead: &Lead) {
        let records = self.records();
        let pruned = async {
            loop {
                records.prune_all(lead).await;
                tokio::time::sleep(PRUNED_EVERY).await;
            }
        };
        tokio::select! {
            () = self.take_all(lead) => {}
            () = pruned => {}
        }
    }

    async fn take_all(&mut self, lead: &Lead) {
        let mut changes = self.tree.watch(&self.layout.queue, WatchScope::Node);
        // What held up the queue when we led before is no longer so, or is found out anew.
        self.held_up.clear();
        let mut passing_over = Instant::now();
        self.passed_over.clear();
        while self.empty(lead).await.is_ok() {
            let _changed_or_time_is_over = tokio::time::timeout(RESYNC, changes.next()).await;
            if passing_over.elapsed() > PASSED_OVER {
                passing_over = Instant::now();
                // What is no request does not become one.
                (self.passed_over).retain(|name| !name.starts_with(ITEM_PREFIX));
            }
        }
    }

    /// Takes all that waits.
    async fn empty(&mut self, lead: &Lead) -> Result<(), Fenced> {
        loop {
            match self.round(lead).await? {
                Round::Empty => {
                    self.held_up.clear();
                    return Ok(());
                }
                Round::Taken => {
                    self.held_up.clear();
                    // What a long queue leaves behind is not to grow with it.
                    self.records().prune_surplus().await;
                    if self.gone >= GONE_BEFORE_A_LOOK {
                        self.gone = 0;
                        self.records().prune_histories(lead).await;
                    }
                }
                Round::Held(refused) => {
                    if let Some(refused) = refused {
                        self.held_up.note(refused, Instant::now());
                    }
                    tokio::time::sleep(self.held_up.pause()).await;
                }
            }
        }
    }

    fn records(&self) -> Records {
        Records::new(self.tree.clone(), self.layout.clone())
    }
}

impl<T: Tree> Intake<T> {
    /// Intake for the queue of a layout, on a machine that has `machine` for copies.
    #[must_use]
    pub fn new(tree: T, layout: Layout, machine: Room) -> Self {
        Self {
            tree,
            layout,
            machine,
            passed_over: HashSet::new(),
            gone: 0,
            held_up: HeldUp::default(),
        }
    }

    /// Tells what holds up the queue, while something does.
    pub fn held_up(&self) -> watch::Receiver<Option<HeldItem>> {
        self.held_up.told()
    }

    /// Looks at the queue once and takes what waits there, of a long one the oldest.
    pub(crate) async fn round(&mut self, lead: &Lead) -> Result<Round, Fenced> {
        let names = match self.waiting().await {
            Ok(names) if names.is_empty() => return Ok(Round::Empty),
            Ok(names) => names,
            Err(error) => {
                debug!(%error, "the queue can't be looked at now");
                let queue = &self.layout.queue;
                let lasts = error.is_lasting();
                return Ok(Round::Held(lasts.then(|| Refused::queue(queue, &error))));
            }
        };
        for batch in names.chunks(BATCH).take(BATCHES_A_ROUND) {
            match self.take(lead, batch).await {
                Ok(taken) => debug!(taken, "requests taken"),
                Err(Undone::Fenced) => return Err(Fenced),
                Err(Undone::LookAgain(error)) => {
                    debug!(%error, "a batch of requests was not carried out; looking again");
                    return self.take_oldest(lead).await;
                }
            }
        }
        Ok(Round::Taken)
    }

    /// The names of the items that wait, oldest first.
    async fn waiting(&mut self) -> Result<Vec<String>, ZkError> {
        let names = in_order(self.tree.children(&self.layout.queue).await?);
        if !self.passed_over.is_empty() {
            // A name that is no longer there may come again when the queue is made anew.
            let there: HashSet<&String> = names.iter().collect();
            self.passed_over.retain(|name| there.contains(name));
        }
        let (items, foreign): (Vec<String>, Vec<String>) = names
            .into_iter()
            .filter(|name| !self.passed_over.contains(name))
            .partition(|name| name.starts_with(ITEM_PREFIX));
        self.report_foreign(&foreign).await?;
        Ok(items)
    }

    /// Takes the oldest request alone, so that only what really can't be taken is held up; and when it is the item itself
    /// that can't be taken, twice in a row, passes it over from then on. What can't be carried out for a reason that will
    /// last is set aside, so that the next one gets its turn.
    async fn take_oldest(&mut self, lead: &Lead) -> Result<Round, Fenced> {
        let (mut culprit, mut refusal, mut refused) = (None, None, None);
        for _ in 0..2 {
            let Ok(names) = self.waiting().await else {
                return Ok(Round::Held(refused));
            };
            let Some(oldest) = names.first() else {
                return Ok(Round::Empty);
            };
            match self.take(lead, std::slice::from_ref(oldest)).await {
                Ok(_) => return Ok(Round::Taken),
                Err(Undone::Fenced) => return Err(Fenced),
                Err(Undone::LookAgain(error)) => {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "a request can't be taken now"
                    );
                    let path = self.layout.queue.join(oldest);
                    refusal = is_lasting(&error).then(|| (path.clone(), told(&error)));
                    refused = Some(Refused::new(&path, &error));
                    culprit = match &error {
                        CommitError::Step { source, .. }
                            if source.znode() == Some(path.as_str()) =>
                        {
                            Some(path)
                        }
                        CommitError::Step { .. } | CommitError::Whole(_) => None,
                    };
                }
            }
        }
        if let Some(path) = &culprit
            && let Ok(Some(item)) = self.item(path).await
        {
            let reason = "it can't be taken out of the queue; it is left where it is";
            if let Err(error) = self.report(&item, reason).await {
                debug!(%error, "an item that can't be taken is not reported yet");
            }
        }
        if let Some((path, reason)) = refusal
            && culprit.is_none()
        {
            return self.set_aside(lead, &path, reason).await;
        }
        Ok(Round::Held(refused))
    }

    /// Answers an item that can't be carried out, and takes it out of the queue.
    async fn set_aside(
        &mut self,
        lead: &Lead,
        path: &ZnodePath,
        reason: String,
    ) -> Result<Round, Fenced> {
        let Ok(Some(item)) = self.item(path).await else {
            return Ok(Round::Held(None));
        };
        let read: [Read<'_>; 1] = [(&item, Err(reason))];
        match self.carry_out(lead, &read).await {
            Ok(()) => Ok(Round::Taken),
            Err(Undone::Fenced) => Err(Fenced),
            Err(Undone::LookAgain(error)) => {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "a request that can't be carried out can't be set aside now"
                );
                Ok(Round::Held(Some(Refused::new(path, &error))))
            }
        }
    }

    /// Takes the items of these names, or the first of them when they are many bytes; tells how many are done with.
    async fn take(&mut self, lead: &Lead, names: &[String]) -> Result<usize, Undone> {
        let (mut done, mut at_once) = (0, names.len());
        while done < names.len() {
            let some = &names[done..names.len().min(done + at_once)];
            match self.take_some(lead, some).await {
                Ok(taken) => done += taken,
                // The histories of many models are many bytes.
                Err(Undone::LookAgain(CommitError::Whole(ZkError::TooLarge { .. })))
                    if some.len() > 1 =>
                {
                    at_once = some.len() / 2;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    async fn take_some(&mut self, lead: &Lead, names: &[String]) -> Result<usize, Undone> {
        let (items, done) = self.read_items(names).await?;
        if items.is_empty() {
            return Ok(done);
        }
        let read: Vec<Read<'_>> = items.iter().map(|item| (item, parse(item))).collect();
        self.carry_out(lead, &read).await?;
        Ok(done)
    }

    /// Rules on items and carries out what comes of it, all at once.
    async fn carry_out(&mut self, lead: &Lead, read: &[Read<'_>]) -> Result<(), Undone> {
        let mut batch = Batch::of(&self.tree, &self.layout, self.machine, read).await?;
        let steps = |batch: &Batch| {
            let steps = batch.steps(&self.layout).into_iter();
            Vec::from_iter(std::iter::once(lead.still_leads()).chain(steps))
        };
        let all = steps(&batch);
        crash_point(Point::IntakeBeforeTransaction);
        let committed = match self.tree.commit(&all).await {
            Err(CommitError::Step { index, source })
                if batch.spare_superseded(all.len() - index - 1) =>
            {
                debug!(
                    error = &source as &dyn std::error::Error,
                    "senders are not told that they were overtaken"
                );
                self.tree.commit(&steps(&batch)).await
            }
            committed => committed,
        };
        match committed {
            Ok(()) => {
                crash_point(Point::IntakeAfterTransaction);
                batch.results.iter().for_each(log);
                self.gone += batch.gone();
                self.tidy(&batch).await;
                Ok(())
            }
            Err(CommitError::Step { index: 0, source }) => {
                warn!(
                    error = &source as &dyn std::error::Error,
                    "another daemon leads now"
                );
                Err(Undone::Fenced)
            }
            Err(error) => {
                // A folder in the tree may be missing; making it is all that helps then.
                self.layout_ready().await?;
                Err(Undone::LookAgain(error))
            }
        }
    }

    /// Reads the items of these names, as many as fit into one transaction; and tells how many names that covers. Those that
    /// can't be read are passed over, those that are gone are done.
    async fn read_items(&mut self, names: &[String]) -> Result<(Vec<QueueItem>, usize), ZkError> {
        let paths: Vec<ZnodePath> = names
            .iter()
            .map(|name| self.layout.queue.join(name))
            .collect();
        let contents = self.tree.get_many(&paths).await?;
        let (mut items, mut bytes, mut done) = (Vec::new(), 0, 0);
        for (path, content) in paths.into_iter().zip(contents) {
            match content {
                Ok(Some((data, stat))) => {
                    bytes += data.len();
                    if bytes > BATCH_BYTES && !items.is_empty() {
                        break;
                    }
                    items.push(QueueItem { path, data, stat });
                }
                Ok(None) => {}
                Err(error) => self.report_unreadable(path.name(), &error).await?,
            }
            done += 1;
        }
        Ok((items, done))
    }

    async fn item(&self, path: &ZnodePath) -> Result<Option<QueueItem>, ZkError> {
        let mut contents = self.tree.get_many(std::slice::from_ref(path)).await?;
        let content = contents.pop().unwrap_or(Ok(None))?;
        Ok(content.map(|(data, stat)| QueueItem {
            path: path.clone(),
            data,
            stat,
        }))
    }

    /// Takes away the folders that have become empty, which need not happen at the same time.
    async fn tidy(&self, batch: &Batch) {
        for name in batch.emptied() {
            let delete = Step::Delete {
                path: self.layout.desired_root().join(name.as_str()),
                version: None,
            };
            if let Err(error) = self.tree.commit(&[delete]).await {
                debug!(model = %name, %error, "a folder stays, for other versions are in it");
            }
        }
    }

    /// Makes the folders requests are recorded in.
    ///
    /// # Errors
    /// When ZooKeeper can't be asked.
    pub async fn layout_ready(&self) -> Result<(), ZkError> {
        let layout = &self.layout;
        for folder in [
            layout.queue.clone(),
            layout.service_root.clone(),
            layout.desired_root(),
            layout.history_root(),
            layout.progress_root(),
            layout.instances_root(),
            layout.results_root(),
            layout.dead_root(),
            layout.offers_root(),
            layout.complaints_root(),
        ] {
            self.tree.ensure(&folder).await?;
        }
        Ok(())
    }

    /// Records what lies in the queue and is no request. It is not ours to delete.
    async fn report_foreign(&mut self, foreign: &[String]) -> Result<(), ZkError> {
        let queue = &self.layout.queue;
        let paths: Vec<ZnodePath> = foreign.iter().map(|name| queue.join(name)).collect();
        let contents = self.tree.get_many(&paths).await?;
        for (path, content) in paths.into_iter().zip(contents) {
            match content {
                Ok(Some((data, stat))) => {
                    let reason = "its name does not start with `qn-`, so it is no request; it is left where it is";
                    self.report(&QueueItem { path, data, stat }, reason).await?;
                }
                Ok(None) => {}
                Err(error) => self.report_unreadable(path.name(), &error).await?,
            }
        }
        Ok(())
    }

    /// Records an item of which no more than its name is known.
    async fn report_unreadable(&mut self, name: &str, error: &ZkError) -> Result<(), ZkError> {
        let letter = unreadable_letter(name, error);
        self.pass_over(name, letter).await
    }

    /// Records an item that stays in the queue.
    async fn report(&mut self, item: &QueueItem, reason: &str) -> Result<(), ZkError> {
        let letter = dead_letter(item, reason);
        self.pass_over(&item.identity(), letter).await
    }

    /// Records an item that stays in the queue under its identity, and passes it over from now on.
    async fn pass_over(&mut self, identity: &str, letter: DeadLetter) -> Result<(), ZkError> {
        let record = create(self.layout.dead_root().join(identity), letter.to_bytes());
        let (item, reason) = (letter.item, letter.reason);
        match self.tree.commit(&[record]).await {
            Ok(()) => warn!(%item, %reason, "an item of the queue is set aside"),
            Err(CommitError::Step { source, .. } | CommitError::Whole(source)) => {
                if source.is_no_node() {
                    return self.layout_ready().await;
                }
                if source.is_lasting() {
                    // It is in nobody's way for that.
                    let error = &source as &dyn std::error::Error;
                    warn!(%item, %reason, error, "an item of the queue is set aside, and that can't be recorded");
                } else if !source.is_node_exists() {
                    return Err(source);
                }
            }
        }
        self.passed_over.insert(item);
        Ok(())
    }
}

/// Whether it will fail by the same cause the next time.
fn is_lasting(error: &CommitError) -> bool {
    let (CommitError::Step { source, .. } | CommitError::Whole(source)) = error;
    source.is_lasting()
}

/// Why a request can't be carried out, for its sender.
fn told(error: &CommitError) -> String {
    format!("it can't be carried out: {}", with_causes(error))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(&format!(": {error}"));
        cause = error.source();
    }
    told
}

/// The request in an item with its identity, or why there is none.
fn parse(item: &QueueItem) -> Result<(ModelRequest, String), String> {
    let request = ModelRequest::parse(&item.data).map_err(|error| error.to_string())?;
    if request.path.as_deref().is_some_and(holds_password) {
        return Err(
            "`path` is refused: it holds a password, and what is asked for is open to read"
                .to_owned(),
        );
    }
    let identity = match &request.id {
        // The id becomes a znode's name; what is good for an instance's is good for it.
        // And it must not pass for the identity of another item.
        Some(id) if id.get(16..).is_some_and(|rest| rest.starts_with("-qn-")) => {
            return Err(
                "`id` is refused: it looks like the identity of another request".to_owned(),
            );
        }
        Some(id) => maas_client::InstanceId::new(id.as_str())
            .map_err(|e| format!("`id` is refused: {e}"))?
            .to_string(),
        None => item.identity(),
    };
    Ok((request, identity))
}

fn log(result: &RequestResult) {
    let text = |value: Option<String>| value.unwrap_or_default();
    let model = text(result.name.as_ref().map(ToString::to_string));
    let version = text(result.version.as_ref().map(ToString::to_string));
    let reason = result.reason.as_deref().unwrap_or_default();
    let request = &result.request;
    match result.outcome {
        Outcome::Accepted => {
            info!(%request, model, version, copies = result.instances, reason, "request accepted");
        }
        Outcome::Refused => warn!(%request, model, version, reason, "request refused"),
        Outcome::Superseded => info!(%request, model, version, reason, "request superseded"),
        Outcome::SetAside => warn!(%request, reason, "an item of the queue is set aside"),
    }
}
