//! What the tests stand on: a ZooKeeper, a daemon, and somebody who sends requests and looks.

use std::path::Path;
use std::time::Duration;

use maas_client::layout::{Layout, ZnodePath};
use maas_client::queue::{OfferError, Queue};
use maas_client::registry::Registry;
use maas_client::wire::progress::{Leader, Progress};
use maas_client::wire::registration::Registration;
use maas_client::wire::state::{DeadLetter, InstanceStatus, Phase, RequestResult};
use maas_client::{MaasClient, Session, SessionConfig};
use test_support::{Daemon, SharedZooKeeper, ZooKeeper, eventually};

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A ZooKeeper tree of its own with a daemon on it.
pub(crate) struct World {
    pub(crate) daemon: Daemon,
    pub(crate) session: Session,
    pub(crate) layout: Layout,
    pub(crate) quorum: String,
    _zookeeper: Option<SharedZooKeeper>,
}

impl World {
    pub(crate) async fn start(options: &[&str]) -> Self {
        Self::start_with(options, Daemon::start).await
    }

    /// One whose daemon has a disk of its own, mounted with these options.
    pub(crate) async fn start_on_disk(mount: &str, options: &[&str]) -> Self {
        let start = |quorum: &str, options: &[&str]| Daemon::start_on_disk(quorum, options, mount);
        Self::start_with(options, start).await
    }

    pub(crate) async fn start_with(
        options: &[&str],
        start: impl FnOnce(&str, &[&str]) -> Daemon,
    ) -> Self {
        let zookeeper = ZooKeeper::shared().await;
        let quorum = zookeeper.connect_string().to_owned();
        let options: Vec<&str> = ["--session_timeout", "3000"]
            .iter()
            .chain(options)
            .copied()
            .collect();
        let daemon = start(&quorum, &options);
        Self::around(daemon, quorum, Some(zookeeper)).await
    }

    /// One on a ZooKeeper of the test's own.
    pub(crate) async fn on(quorum: &str, options: &[&str]) -> Self {
        Self::between(quorum, quorum, options).await
    }

    /// One on a ZooKeeper of the test's own, to which the daemon has another way than the test.
    pub(crate) async fn between(quorum: &str, daemons: &str, options: &[&str]) -> Self {
        let daemon = Daemon::start(daemons, options);
        Self::around(daemon, quorum.to_owned(), None).await
    }

    async fn around(daemon: Daemon, quorum: String, shared: Option<SharedZooKeeper>) -> Self {
        let session = Session::connect(SessionConfig::new(&quorum)).await.unwrap();
        Self {
            daemon,
            session,
            layout: Layout::default(),
            quorum,
            _zookeeper: shared,
        }
    }

    /// Puts a request into the queue; as often as it is told that the request is certainly not there, again.
    pub(crate) async fn offer(&self, item: &str) -> String {
        let queue = Queue::new(self.session.clone(), self.layout.clone());
        let offered = async || match queue.offer(item.as_bytes()).await {
            Ok(offered) => Some(offered),
            Err(OfferError::Failed { source, .. }) if source.outcome_unknown() => None,
            Err(error) => panic!("{error:?}"),
        };
        eventually(LIMIT, "the queue to take a request", offered)
            .await
            .identity_prefix
    }

    /// Asks for copies of the model in `folder`, and gives the answer.
    pub(crate) async fn add(&self, name: &str, copies: u32, folder: &Path) -> RequestResult {
        self.add_with_memory(name, copies, folder, 64).await
    }

    pub(crate) async fn add_with_memory(
        &self,
        name: &str,
        copies: u32,
        folder: &Path,
        memory_mb: u32,
    ) -> RequestResult {
        let item = format!(
            r#"{{"name":"{name}","version":"1.0","numInstances":{copies},"memory":{memory_mb},"action":"ADD","path":"{}"}}"#,
            folder.display()
        );
        self.answer(&self.offer(&item).await).await
    }

    pub(crate) async fn remove(&self, name: &str, copies: u32) -> RequestResult {
        let item = format!(
            r#"{{"name":"{name}","version":"1.0","numInstances":{copies},"memory":0,"action":"REMOVE","path":null}}"#
        );
        self.answer(&self.offer(&item).await).await
    }

    /// The answer to a request.
    pub(crate) async fn answer(&self, identity_prefix: &str) -> RequestResult {
        let root = self.layout.results_root();
        let answer = async || {
            let names = self.session.children(&root).await.unwrap();
            let name = names
                .into_iter()
                .find(|name| name.starts_with(identity_prefix))?;
            let (data, _) = self.session.get(&root.join(&name)).await.unwrap()?;
            Some(RequestResult::parse(&data).unwrap())
        };
        eventually(LIMIT, "the answer to a request", answer).await
    }

    async fn documents<T>(&self, root: &ZnodePath, parse: impl Fn(&[u8]) -> T) -> Vec<T> {
        let mut names = self.session.children(root).await.unwrap();
        names.sort();
        let paths: Vec<ZnodePath> = names.iter().map(|name| root.join(name)).collect();
        let contents = self.session.get_many(&paths).await.unwrap();
        contents
            .into_iter()
            .filter_map(|content| Some(parse(&content.unwrap()?.0)))
            .collect()
    }

    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.documents(&self.layout.dead_root(), |data| {
            DeadLetter::parse(data).unwrap()
        })
        .await
    }

    /// What the runners of a model's copies say of themselves, oldest first.
    pub(crate) async fn statuses(&self, name: &str) -> Vec<InstanceStatus> {
        let all = self
            .documents(&self.layout.instances_root(), |data| {
                InstanceStatus::parse(data).unwrap()
            })
            .await;
        all.into_iter()
            .filter(|status| status.name.as_str() == name)
            .collect()
    }

    /// What the daemon that leads tells of itself.
    pub(crate) async fn leader(&self) -> Option<Leader> {
        let root = self.layout.progress_root();
        let (data, _) = self.session.get(&root).await.unwrap()?;
        // Empty until somebody leads.
        Leader::parse(&data).ok()
    }

    /// What is told of version 1.0 of a model.
    pub(crate) async fn progress(&self, name: &str) -> Option<Progress> {
        self.progress_of(name, "1.0").await
    }

    /// What is told of a version of a model.
    pub(crate) async fn progress_of(&self, name: &str, version: &str) -> Option<Progress> {
        let (name, version) = (name.parse().unwrap(), version.parse().unwrap());
        let path = self.layout.progress(&name, &version);
        let (data, _) = self.session.get(&path).await.unwrap()?;
        Some(Progress::parse(&data).unwrap())
    }

    /// The entries of a model's copies, oldest first.
    pub(crate) async fn registered(&self, name: &str) -> Vec<Registration> {
        let entries = Registry::new(self.session.clone(), self.layout.clone())
            .list()
            .await
            .unwrap();
        let readable = entries
            .into_iter()
            .map(|entry| entry.registration.unwrap().unwrap());
        readable
            .filter(|entry| entry.name.as_str() == name)
            .collect()
    }

    /// Waits until exactly so many copies of a model serve and are registered.
    pub(crate) async fn serving(&self, name: &str, copies: usize) -> Vec<Registration> {
        let serving = async || {
            let statuses = self.statuses(name).await;
            let registered = self.registered(name).await;
            let right = statuses.len() == copies
                && statuses.iter().all(|status| status.phase == Phase::Serving)
                && registered.len() == copies;
            if right {
                Ok(registered)
            } else {
                Err((statuses, registered))
            }
        };
        eventually(
            LIMIT,
            &format!("{copies} copies of {name} to serve"),
            serving,
        )
        .await
    }

    /// Waits until the only copy of a model is in a phase for a reason that holds `why`.
    pub(crate) async fn explained(&self, name: &str, phase: Phase, why: &str) -> InstanceStatus {
        let explained = async || {
            let statuses = self.statuses(name).await;
            let fits = |s: &InstanceStatus| {
                s.phase == phase && s.reason.as_deref().is_some_and(|r| r.contains(why))
            };
            statuses
                .iter()
                .find(|status| fits(status))
                .cloned()
                .ok_or(statuses)
        };
        eventually(
            LIMIT,
            &format!("{name} to be {phase} because of `{why}`"),
            explained,
        )
        .await
    }

    /// Waits until nothing is left of any copy: no process, no folder, no znode.
    pub(crate) async fn nothing_is_left(&self) {
        let left = async || {
            let mut left = self.daemon.processes_of_copies();
            left.extend(
                self.daemon
                    .folders()
                    .iter()
                    .map(|folder| folder.display().to_string()),
            );
            for root in [
                self.layout.service_root.clone(),
                self.layout.instances_root(),
                self.layout.desired_root(),
            ] {
                left.extend(
                    self.session
                        .children(&root)
                        .await
                        .unwrap()
                        .iter()
                        .map(|child| root.join(child).to_string()),
                );
            }
            if left.is_empty() { Ok(()) } else { Err(left) }
        };
        eventually(LIMIT, "nothing to be left of any copy", left).await;
    }

    /// Finds a model as a program does, and calls it.
    pub(crate) async fn apply(
        &self,
        name: &str,
        args: &[(&str, &str)],
    ) -> serde_json::Map<String, serde_json::Value> {
        let maas = MaasClient::connect(SessionConfig::new(&self.quorum))
            .await
            .unwrap();
        let endpoint = maas.get_endpoint(name, None).unwrap();
        let answer = maas.model_apply(&endpoint, None, args).await.unwrap();
        maas.close().await;
        answer
    }

    pub(crate) async fn leads(&self) {
        let leads = async || {
            !self
                .session
                .children(&self.layout.leader_root())
                .await
                .unwrap()
                .is_empty()
        };
        eventually(LIMIT, "the daemon to lead", leads).await;
    }
}
