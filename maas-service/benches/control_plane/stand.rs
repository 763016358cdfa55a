//! What the measurements stand on: a ZooKeeper, a daemon, and somebody who sends requests and looks.

use std::time::Duration;

use maas_client::layout::{Layout, ZnodePath};
use maas_client::queue::Queue;
use maas_client::wire::state::{InstanceStatus, Outcome, Phase, RequestResult};
use maas_client::{Session, SessionConfig, instances};
use test_support::{Daemon, ModelFolder, ZooKeeper, eventually};

/// Longer than anything here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A ZooKeeper, of one server or several, with a daemon on it.
pub(crate) struct Stand<Z = ZooKeeper> {
    // Before the server, so that it goes first.
    pub(crate) daemon: Daemon,
    pub(crate) session: Session,
    pub(crate) layout: Layout,
    pub(crate) quorum: String,
    pub(crate) zookeeper: Z,
}

impl Stand {
    pub(crate) async fn start(options: &[&str]) -> Self {
        let zookeeper = ZooKeeper::start().await;
        let quorum = zookeeper.connect_string().to_owned();
        Self::on(zookeeper, &quorum, &quorum, options).await
    }
}

impl<Z> Stand<Z> {
    /// One whose daemon may have another way to ZooKeeper than we.
    pub(crate) async fn on(zookeeper: Z, quorum: &str, daemons: &str, options: &[&str]) -> Self {
        let session = connect(quorum).await;
        let daemon = Daemon::start(daemons, options);
        let stand = Self {
            daemon,
            session,
            layout: Layout::default(),
            quorum: quorum.to_owned(),
            zookeeper,
        };
        leads(&stand.session, &stand.layout).await;
        stand
    }

    /// Sends a request and waits for the answer.
    pub(crate) async fn ask(&self, request: &str) -> RequestResult {
        let queue = Queue::new(self.session.clone(), self.layout.clone());
        let offered = queue.offer(request.as_bytes()).await.unwrap();
        let root = self.layout.results_root();
        let answer = async || {
            let names = self.session.children(&root).await.unwrap();
            let name = names
                .iter()
                .find(|name| name.starts_with(&offered.identity_prefix))?;
            let (data, _) = self.session.get(&root.join(name)).await.unwrap()?;
            Some(RequestResult::parse(&data).unwrap())
        };
        eventually(LIMIT, "the answer to a request", answer).await
    }

    /// Asks for something that must be granted.
    pub(crate) async fn ask_and_get(&self, request: &str) {
        let answer = self.ask(request).await;
        assert_eq!(answer.outcome, Outcome::Accepted, "{answer:?}");
    }

    /// What the runners of a version's copies say of them.
    pub(crate) async fn statuses(&self, name: &str, version: &str) -> Vec<InstanceStatus> {
        let mut all = instances::statuses(&self.session, &self.layout)
            .await
            .unwrap();
        all.retain(|s| s.name.as_str() == name && s.version.as_str() == version);
        all
    }

    /// Waits until exactly so many copies of a version serve.
    pub(crate) async fn serving(
        &self,
        name: &str,
        version: &str,
        copies: usize,
    ) -> Vec<InstanceStatus> {
        let serving = async || {
            let statuses = self.statuses(name, version).await;
            let all = statuses.iter().all(|s| s.phase == Phase::Serving);
            if statuses.len() == copies && all {
                Ok(statuses)
            } else {
                Err(statuses)
            }
        };
        eventually(LIMIT, "copies to serve", serving).await
    }

    /// Has so many copies of a model `m` 1.0 serve; tells which.
    pub(crate) async fn runs(&self, model: &ModelFolder, copies: usize) -> Vec<(String, u32, u32)> {
        self.ask_and_get(&add("m", "1.0", copies, model, "")).await;
        self.serving("m", "1.0", copies).await;
        self.who_runs("m", "1.0").await
    }

    /// Which copies of a version there are, as which processes, started again how often.
    pub(crate) async fn who_runs(&self, name: &str, version: &str) -> Vec<(String, u32, u32)> {
        let statuses = self.statuses(name, version).await;
        let copy = |s: &InstanceStatus| (s.instance.to_string(), s.pid.unwrap(), s.restarts);
        statuses.iter().map(copy).collect()
    }

    /// Waits until somebody answers a request, though only by a refusal.
    pub(crate) async fn is_answered(&self) {
        let answer = self.ask(&remove("nobody", "1.0", 1)).await;
        assert_eq!(answer.outcome, Outcome::Refused, "{answer:?}");
    }

    /// Takes another session, for the old one may have ended.
    pub(crate) async fn reconnect(&mut self) {
        self.session = connect(&self.quorum).await;
    }

    /// Waits until nothing is left of any copy.
    pub(crate) async fn nothing_is_left(&self) {
        eventually(LIMIT, "nothing to be left of any copy", async || {
            self.daemon.folders().is_empty()
        })
        .await;
    }

    /// How many children a znode has.
    pub(crate) async fn count(&self, path: &ZnodePath) -> usize {
        count(&self.session, path).await
    }
}

/// How many children a znode has.
pub(crate) async fn count(session: &Session, path: &ZnodePath) -> usize {
    let stat = session.stat(path).await.unwrap();
    stat.map_or(0, |stat| usize::try_from(stat.num_children).unwrap())
}

pub(crate) async fn connect(quorum: &str) -> Session {
    Session::connect(SessionConfig::new(quorum)).await.unwrap()
}

/// Waits until some daemon leads.
pub(crate) async fn leads(session: &Session, layout: &Layout) {
    eventually(LIMIT, "the daemon to lead", async || {
        count(session, &layout.leader_root()).await > 0
    })
    .await;
}

/// The request for a version, as a sender writes it.
pub(crate) fn add(
    name: &str,
    version: &str,
    copies: usize,
    model: &ModelFolder,
    more: &str,
) -> String {
    format!(
        r#"{{"name":"{name}","version":"{version}","numInstances":{copies},"memory":16,"action":"ADD","path":"{}"{more}}}"#,
        model.path().display()
    )
}

/// The request to take copies away.
pub(crate) fn remove(name: &str, version: &str, copies: usize) -> String {
    format!(
        r#"{{"name":"{name}","version":"{version}","numInstances":{copies},"memory":0,"action":"REMOVE","path":null}}"#
    )
}
