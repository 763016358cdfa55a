//! Intake: turns requests in the queue into desired state, each exactly once.
//!
//! A batch of requests is ruled on in memory and then carried out in ONE transaction: check that we still lead, write what
//! should run, write the results, delete the queue nodes. All or nothing, so a request takes effect once whatever is
//! killed when; and when an answer is lost, looking at the queue again tells what happened. What can't be understood is set
//! aside with its reason, and never holds up the next request. Nothing here waits for a model to start.

mod ruling;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use maas_client::layout::{Layout, ZnodePath};
use maas_client::queue::{Queue, QueueItem};
use maas_client::session::{CommitError, CreateMode, Session, Step, WatchScope, ZkError};
use maas_client::wire::request::ModelRequest;
use maas_client::wire::state::{DeadLetter, Desired, Outcome, RequestResult, now_ms};
use maas_client::{ModelName, Version};
use tracing::{debug, info, warn};

use crate::leader::Lead;

/// How many requests are carried out in one transaction.
const BATCH: usize = 50;

/// How many results and how many dead letters are kept, and for how long.
const KEPT: usize = 1000;
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many bytes of an item that was set aside are kept.
const EXCERPT: usize = 1000;

/// Takes requests from the queue while we lead.
pub struct Intake {
    session: Session,
    layout: Layout,
    queue: Queue,
    /// Children of the queue that can't be taken, and have been reported: foreign ones, and those ZooKeeper won't give up.
    reported: HashSet<String>,
}

/// We lead no more.
struct Fenced;

/// Why a batch was not carried out.
enum Undone {
    /// We lead no more.
    Fenced,
    /// Somebody else changed what the batch stands on, or ZooKeeper was away. Look again.
    LookAgain(CommitError),
}

impl Intake {
    /// Intake for the queue of a layout.
    #[must_use]
    pub fn new(session: Session, layout: Layout) -> Self {
        let queue = Queue::new(session.clone(), layout.clone());
        Self {
            session,
            layout,
            queue,
            reported: HashSet::new(),
        }
    }

    /// Takes requests until we lead no more.
    pub async fn run(&mut self, lead: &Lead) {
        let mut changes = self.session.watch(&self.layout.queue, WatchScope::Node);
        self.prune_all(0).await;
        loop {
            changes.next().await;
            loop {
                match self.take_batch(lead, BATCH).await {
                    Ok(0) => break,
                    Ok(taken) => debug!(taken, "requests taken"),
                    Err(Undone::Fenced) => return,
                    Err(Undone::LookAgain(error)) => {
                        debug!(%error, "a batch of requests was not carried out; looking again");
                        if self.take_one_by_one(lead).await.is_err() {
                            return;
                        }
                    }
                }
            }
            self.prune_all(KEPT).await;
        }
    }

    /// Takes the oldest request alone, so that only what really can't be taken is held up; and when it is the item itself
    /// that can't be taken, twice in a row, sets it aside where it is.
    async fn take_one_by_one(&mut self, lead: &Lead) -> Result<(), Fenced> {
        let mut culprit = None;
        for _ in 0..2 {
            match self.take_batch(lead, 1).await {
                Ok(_) => return Ok(()),
                Err(Undone::Fenced) => return Err(Fenced),
                Err(Undone::LookAgain(error)) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "a request can't be taken now"
                    );
                    culprit = match &error {
                        CommitError::Step { source, .. } => source.znode().map(str::to_owned),
                        CommitError::Whole(_) => None,
                    };
                }
            }
        }
        if let Ok(waiting) = self.queue.peek(1, &mut self.reported).await
            && let Some(item) = waiting.items.into_iter().next()
            && culprit.as_deref() == Some(item.path.as_str())
        {
            let reason = "it can't be taken out of the queue; it is left where it is";
            if let Err(error) = self.report(&item, reason).await {
                debug!(%error, "an item that can't be taken is not reported yet");
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(())
    }

    /// Takes the oldest requests; tells how many.
    async fn take_batch(&mut self, lead: &Lead, limit: usize) -> Result<usize, Undone> {
        let look_again = |error: ZkError| Undone::LookAgain(error.into());
        let waiting = self
            .queue
            .peek(limit, &mut self.reported)
            .await
            .map_err(look_again)?;
        self.report_foreign(&waiting.foreign)
            .await
            .map_err(look_again)?;
        for (path, error) in &waiting.unreadable {
            let error = error as &dyn std::error::Error;
            warn!(
                item = path.name(),
                error, "an item of the queue can't be read; it is left where it is"
            );
            self.reported.insert(path.name().to_owned());
        }
        if waiting.items.is_empty() {
            return Ok(waiting.unreadable.len());
        }
        let mut batch = Batch::default();
        let read: Vec<_> = waiting
            .items
            .iter()
            .map(|item| (item, Self::read(item)))
            .collect();
        batch
            .load(&self.session, &self.layout, &read)
            .await
            .map_err(look_again)?;
        for (item, read) in &read {
            batch.add(&self.layout, item, read);
        }
        let mut steps = vec![lead.still_leads()];
        steps.extend(batch.steps(&self.layout));
        match self.session.commit(&steps).await {
            Ok(_) => {
                batch.results.iter().for_each(log);
                self.tidy(&batch).await;
                Ok(waiting.items.len())
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
                self.layout_ready().await.map_err(look_again)?;
                Err(Undone::LookAgain(error))
            }
        }
    }

    /// Takes away the folders of models of which nothing should run any more.
    async fn tidy(&self, batch: &Batch) {
        for ((name, _), standing) in &batch.standing {
            if standing.desired.is_none()
                && let Err(error) = self
                    .session
                    .delete(&self.layout.desired_root().join(name.as_str()), None)
                    .await
                && !error.is_not_empty()
            {
                debug!(model = %name, %error, "an empty folder stays");
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
            layout.instances_root(),
            layout.results_root(),
            layout.dead_root(),
            layout.offers_root(),
        ] {
            self.session.ensure(&folder).await?;
        }
        Ok(())
    }

    fn read(item: &QueueItem) -> Result<(ModelRequest, String), String> {
        let request = ModelRequest::parse(&item.data).map_err(|error| error.to_string())?;
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

    /// Records what lies in the queue and is no request. It is not ours to delete.
    async fn report_foreign(&mut self, foreign: &[ZnodePath]) -> Result<(), ZkError> {
        for path in foreign {
            match self.session.get(path).await {
                Ok(Some((data, stat))) => {
                    let item = QueueItem {
                        path: path.clone(),
                        data,
                        stat,
                    };
                    let reason = "its name does not start with `qn-`, so it is no request; it is left where it is";
                    self.report(&item, reason).await?;
                }
                Ok(None) => {}
                Err(error) if error.outcome_unknown() => return Err(error),
                Err(error) => {
                    warn!(
                        item = path.name(),
                        error = &error as &dyn std::error::Error,
                        "a foreign item can't be read"
                    );
                    self.reported.insert(path.name().to_owned());
                }
            }
        }
        Ok(())
    }

    /// Records an item that stays in the queue, and passes it over from now on.
    async fn report(&mut self, item: &QueueItem, reason: &str) -> Result<(), ZkError> {
        let letter = dead_letter(item, reason);
        let record = self.layout.dead_root().join(&item.identity());
        match self
            .session
            .create(&record, &letter.to_bytes(), CreateMode::Persistent)
            .await
        {
            Err(error) if error.is_no_node() => self.layout_ready().await?,
            Err(error) if !error.is_node_exists() => return Err(error),
            _ => {
                warn!(item = %letter.item, reason = %letter.reason, "an item of the queue is set aside");
                self.reported.insert(letter.item);
            }
        }
        Ok(())
    }

    /// Goes through the records wherever there are more than `tolerated`.
    async fn prune_all(&self, tolerated: usize) {
        for root in [self.layout.results_root(), self.layout.dead_root()] {
            if let Err(error) = self.prune(&root, tolerated).await {
                debug!(znode = %root, %error, "old records stay a while longer");
            }
        }
    }

    /// Deletes the oldest records in a folder when there are too many, and those that are too old.
    async fn prune(&self, root: &ZnodePath, tolerated: usize) -> Result<(), ZkError> {
        let names = self.session.children(root).await?;
        if names.len() <= tolerated {
            return Ok(());
        }
        let paths: Vec<ZnodePath> = names.iter().map(|name| root.join(name)).collect();
        let mut records: Vec<(i64, ZnodePath)> = self
            .session
            .get_many(&paths)
            .await?
            .into_iter()
            .zip(paths)
            .filter_map(|(content, path)| Some((content.ok()??.1.ctime, path)))
            .collect();
        records.sort();
        let oldest_kept = now_ms() - i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX);
        // A tenth more goes than must, so that this is not done again for every request.
        let surplus = if records.len() > KEPT {
            records.len() - KEPT + KEPT / 10
        } else {
            0
        };
        for (n, (ctime, path)) in records.into_iter().enumerate() {
            if n < surplus || ctime < oldest_kept {
                self.session.delete(&path, None).await?;
            }
        }
        Ok(())
    }
}

type Key = (ModelName, Version);
type Read = Result<(ModelRequest, String), String>;

/// What stands of one version, and which version of its znode that was.
#[derive(Default)]
struct Standing {
    before: Option<i32>,
    desired: Option<Desired>,
    changed: bool,
}

/// Requests ruled on together.
#[derive(Default)]
struct Batch {
    standing: BTreeMap<Key, Standing>,
    /// Identities that were answered before: a sender that repeats itself.
    answered: HashSet<String>,
    results: Vec<RequestResult>,
    records: Vec<Step>,
    deletions: Vec<Step>,
}

impl Batch {
    /// Reads what stands of the models the requests are about.
    async fn load(
        &mut self,
        session: &Session,
        layout: &Layout,
        read: &[(&QueueItem, Read)],
    ) -> Result<(), ZkError> {
        let requests: Vec<_> = read
            .iter()
            .filter_map(|(_, read)| read.as_ref().ok())
            .collect();
        let keys: Vec<Key> = requests
            .iter()
            .map(|(r, _)| (r.name.clone(), r.version.clone()))
            .collect();
        let paths: Vec<ZnodePath> = keys
            .iter()
            .map(|(name, version)| layout.desired(name, version))
            .collect();
        for (key, content) in keys.into_iter().zip(session.get_many(&paths).await?) {
            let standing = match content? {
                None => {
                    // The folder can't be part of the transaction: many versions share it.
                    session.ensure(&layout.desired_root().join(key.0.as_str())).await?;
                    Standing::default()
                }
                Some((data, stat)) => Standing {
                    before: Some(stat.version),
                    desired: Desired::parse(&data)
                        .inspect_err(|error| warn!(model = %key.0, version = %key.1, %error, "what should run can't be read"))
                        .ok(),
                    changed: false,
                },
            };
            self.standing.insert(key, standing);
        }
        let named: Vec<&String> = requests
            .iter()
            .filter(|(r, _)| r.id.is_some())
            .map(|(_, identity)| identity)
            .collect();
        let results: Vec<ZnodePath> = named
            .iter()
            .map(|identity| layout.results_root().join(identity))
            .collect();
        for (identity, content) in named.into_iter().zip(session.get_many(&results).await?) {
            if content?.is_some() {
                self.answered.insert(identity.clone());
            }
        }
        Ok(())
    }

    /// Rules on one item.
    fn add(&mut self, layout: &Layout, item: &QueueItem, read: &Read) {
        self.deletions.push(Step::Delete {
            path: item.path.clone(),
            version: None,
        });
        let (identity, result) = match read {
            Ok((request, identity)) => {
                if !self.answered.insert(identity.clone()) {
                    info!(request = %identity, "a request came again; it has its answer already");
                    return;
                }
                let standing = self
                    .standing
                    .entry((request.name.clone(), request.version.clone()))
                    .or_default();
                let ruling = ruling::rule(request, identity, standing.desired.as_ref(), now_ms());
                if ruling.result.outcome == Outcome::Accepted {
                    standing.desired = ruling.desired;
                    standing.changed = true;
                }
                (identity.clone(), ruling.result)
            }
            Err(reason) => {
                let letter = dead_letter(item, reason);
                let record = layout.dead_root().join(&item.identity());
                self.records.push(create(record, letter.to_bytes()));
                let result = RequestResult {
                    request: item.identity(),
                    outcome: Outcome::SetAside,
                    reason: Some(reason.clone()),
                    action: None,
                    name: None,
                    version: None,
                    instances: None,
                    answered_ms: now_ms(),
                };
                (item.identity(), result)
            }
        };
        self.records.push(create(
            layout.results_root().join(&identity),
            result.to_bytes(),
        ));
        self.results.push(result);
    }

    /// All that must happen at once.
    fn steps(&self, layout: &Layout) -> Vec<Step> {
        let mut steps = Vec::new();
        for ((name, version), standing) in self
            .standing
            .iter()
            .filter(|(_, standing)| standing.changed)
        {
            let path = layout.desired(name, version);
            match (&standing.desired, standing.before) {
                (Some(desired), Some(before)) => {
                    steps.push(Step::Set {
                        path,
                        data: desired.to_bytes(),
                        version: Some(before),
                    });
                }
                (Some(desired), None) => steps.push(create(path, desired.to_bytes())),
                (None, Some(before)) => steps.push(Step::Delete {
                    path,
                    version: Some(before),
                }),
                (None, None) => {}
            }
        }
        steps.extend(self.records.iter().chain(&self.deletions).cloned());
        steps
    }
}

fn create(path: ZnodePath, data: Vec<u8>) -> Step {
    Step::Create {
        path,
        data,
        mode: CreateMode::Persistent,
    }
}

fn dead_letter(item: &QueueItem, reason: &str) -> DeadLetter {
    let excerpt = String::from_utf8_lossy(&item.data[..item.data.len().min(EXCERPT)]).into_owned();
    DeadLetter {
        item: item.path.name().to_owned(),
        reason: reason.to_owned(),
        bytes: item.data.len(),
        excerpt,
        at_ms: now_ms(),
    }
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
        Outcome::SetAside => warn!(%request, reason, "an item of the queue is set aside"),
    }
}
