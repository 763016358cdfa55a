//! The runner: one process per copy of a model, which outlives the daemon that started it.
//!
//! It fetches the bundle, starts the script, waits for `endpoint.dat`, asks the URL until it answers, publishes it, and
//! starts the script again when it ends. It withdraws the copy *before* it stops the model, and leaves nothing behind: no
//! process, no file, no znode. What it sees it tells in its status znode.

mod backoff;
mod endpoint;
mod model;
mod output;
mod probe;
pub mod warden;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use maas_client::endpoint_url::EndpointUrl;
use maas_client::held::Held;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::registry::Registry;
use maas_client::wire::endpoint_dat::{EndpointDat, Functions};
use maas_client::wire::registration::Registration;
use maas_client::wire::state::{Failure, InstanceStatus, Phase, now_ms};
use maas_client::{Session, SessionConfig};
use model_store::{Digest, Limits, Location, Store};
use rustix::process::{Pid, set_child_subreaper};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::instance_folder::{InstanceFolder, LaunchSpec};
pub use backoff::Backoff;
use endpoint::{FolderWatch, Found};
use model::Model;

pub use endpoint::is_this_host;
pub use output::last_lines;

/// How long a copy must have served for its earlier failures to be forgotten.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// How often a serving model may fail to answer before it is taken for dead.
const TRIES: u32 = 3;

/// How long ZooKeeper may take to hear of a withdrawal, before the model is stopped all the same.
const WITHDRAWAL: Duration = Duration::from_secs(3);

/// Runs the copy whose folder this is, until `stop` is cancelled.
///
/// # Errors
/// When the copy can't be run at all: its folder is broken. Whatever else fails is its status.
pub async fn run(folder: InstanceFolder, stop: CancellationToken) -> anyhow::Result<()> {
    let spec = folder
        .launch_spec()
        .context("the launch file can't be read")?;
    folder
        .write_identity()
        .context("the runner's identity can't be written")?;
    set_child_subreaper(Some(Pid::from_raw(1).expect("1 is a process id")))?;
    let _stops_with_its_folder = stop_when_gone(&folder, &stop);
    let Some((session, layout)) = connect(&spec, &stop).await else {
        folder
            .remove()
            .context("the copy's folder can't be removed")?;
        return Ok(());
    };
    let registry = Registry::new(session.clone(), layout.clone());
    let mut runner = Runner {
        status: Status::new(&spec, Held::new(&session, layout.instance(&spec.instance))),
        registration: registry.place(&spec.name, &spec.instance),
        published: false,
        script: None,
        folder,
        spec,
        stop,
    };
    runner.keep_running().await;
    runner.withdraw().await;
    let tidied = registry.tidy(&runner.spec.name);
    let _an_empty_folder_harms_nobody = tokio::time::timeout(Duration::from_secs(2), tidied).await;
    // The status first: who finds a status without a folder takes the copy for one that runs elsewhere.
    runner.status.end().await;
    let removed = runner
        .folder
        .remove()
        .context("the copy's folder can't be removed");
    info!("the copy is gone");
    drop(runner);
    session.close().await;
    removed
}

/// Stops the runner when somebody has taken its folder away: nobody knows of it any more then.
fn stop_when_gone(folder: &InstanceFolder, stop: &CancellationToken) -> JoinSet<()> {
    let (folder, stop) = (folder.clone(), stop.clone());
    let mut watch = JoinSet::new();
    watch.spawn(async move {
        let mut looks = tokio::time::interval(Duration::from_secs(1));
        while folder.path().exists() {
            looks.tick().await;
        }
        warn!("the copy's folder is gone; stopping");
        stop.cancel();
    });
    watch
}

/// Connects to ZooKeeper, however long it takes. `None` when there is nothing to connect for any more.
async fn connect(spec: &LaunchSpec, stop: &CancellationToken) -> Option<(Session, Layout)> {
    let config = SessionConfig {
        session_timeout: spec.settings.session_timeout,
        ..SessionConfig::new(&spec.settings.quorum)
    };
    let attempt = async || -> anyhow::Result<(Session, Layout)> {
        let session = Session::connect(config.clone()).await?;
        let layout = Layout::read(&session, &ZnodePath::new(&spec.settings.config_node)?).await?;
        Ok((session, layout))
    };
    let mut backoff = Backoff::default();
    loop {
        let outcome = tokio::select! {
            outcome = attempt() => outcome,
            () = stop.cancelled() => return None,
        };
        match outcome {
            Ok(connected) => return Some(connected),
            Err(error) => warn!(error = format!("{error:#}"), "ZooKeeper can't be used yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_delay()) => {}
            () = stop.cancelled() => return None,
        }
    }
}

/// One copy of a model on its way through its phases.
struct Runner {
    spec: LaunchSpec,
    folder: InstanceFolder,
    status: Status,
    registration: Held,
    /// Whether the copy is in the registry, or on its way there.
    published: bool,
    /// The script, once the bundle is here.
    script: Option<PathBuf>,
    stop: CancellationToken,
}

/// How one attempt to run the model ended.
enum Outcome {
    /// We were told to stop it.
    Stopped,
    /// It failed, and may do better another time.
    Failed(String),
    /// It failed, and will fail every time.
    Hopeless(String),
}

impl Runner {
    /// Starts the model, and starts it again whenever it ends, until told to stop.
    async fn keep_running(&mut self) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let outcome = self.attempt().await;
            self.withdraw().await;
            let why = match outcome {
                Outcome::Stopped => return,
                Outcome::Hopeless(why) => {
                    warn!(reason = %why, "the copy has failed for good");
                    self.status
                        .fail(Phase::Failed, why, None, self.last_output());
                    return self.stop.cancelled().await;
                }
                Outcome::Failed(why) => why,
            };
            if self
                .status
                .was_serving_since(began)
                .is_some_and(|good| good >= GOOD_RUN)
            {
                backoff = Backoff::default();
            }
            let delay = backoff.next_delay();
            warn!(reason = %why, retry_ms = delay.as_millis(), "the copy has failed and will be started again");
            self.status
                .fail(Phase::Backoff, why, Some(delay), self.last_output());
            tokio::select! {
                () = tokio::time::sleep(delay) => self.status.restarted(),
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn attempt(&mut self) -> Outcome {
        self.status.enter(Phase::Fetching, None);
        let stop = self.stop.clone();
        let fetched = tokio::select! {
            fetched = self.fetch() => fetched,
            () = stop.cancelled() => return Outcome::Stopped,
        };
        let script = match fetched {
            Ok(script) => script,
            Err(outcome) => return outcome,
        };
        // One that came with the bundle, or from the run before, would be believed at once.
        let stale = self.folder.work().join(endpoint::ENDPOINT_FILE);
        if let Err(error) = std::fs::remove_file(&stale)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Outcome::Failed(format!(
                "the endpoint.dat of the run before can't be removed: {error}"
            ));
        }
        let mut changes = FolderWatch::new(&self.folder.work());
        let environment = environment(&self.spec, &self.folder.work());
        let started = Model::start(
            &script,
            &self.folder.work(),
            &self.folder.logs(),
            &environment,
        )
        .await;
        let mut model = match started {
            Ok(model) => model,
            Err(why) => return Outcome::Failed(why),
        };
        self.status.started(model.pid);
        info!(pid = model.pid, "the script runs");
        let outcome = self.follow(&mut model, &mut changes).await;
        // Withdraw first: clients must stop choosing this copy while it can still answer.
        if matches!(outcome, Outcome::Stopped) {
            self.status.enter(Phase::Draining, None);
            if self.withdraw().await {
                tokio::time::sleep(self.spec.settings.drain).await;
            }
        } else {
            self.withdraw().await;
        }
        let ending = model.stop(self.spec.settings.stop_grace).await;
        debug!(%ending, "nothing of the model is left");
        outcome
    }

    /// Follows a started model until it ends or must be ended.
    async fn follow(&mut self, model: &mut Model, changes: &mut FolderWatch) -> Outcome {
        let stop = self.stop.clone();
        let deadline = tokio::time::sleep(self.spec.settings.start_timeout);
        tokio::pin!(deadline);
        let limit = self.spec.settings.start_timeout.as_secs();
        let mut progress = "it has not written endpoint.dat".to_owned();
        let serving = tokio::select! {
            serving = self.bring_up(changes, &mut progress) => serving,
            ending = model.ended() => return Outcome::Failed(format!("the script {ending} before it served: {progress}")),
            () = &mut deadline => return Outcome::Failed(format!("the model did not serve within {limit} s: {progress}")),
            () = stop.cancelled() => return Outcome::Stopped,
        };
        let url = match serving {
            Ok(url) => url,
            Err(outcome) => return outcome,
        };
        tokio::select! {
            ending = model.ended() => Outcome::Failed(format!("the script {ending}")),
            why = self.fall_silent(&url) => Outcome::Failed(why),
            () = stop.cancelled() => Outcome::Stopped,
        }
    }

    /// Asks a serving model from time to time; tells when it has not answered three times in a row.
    async fn fall_silent(&self, url: &EndpointUrl) -> String {
        let mut silent = 0;
        loop {
            tokio::time::sleep(self.spec.settings.health_interval).await;
            match probe::ask(url.url()).await {
                Ok(()) => silent = 0,
                Err(why) if silent + 1 >= TRIES => {
                    return format!("the model answers no more: {why}");
                }
                Err(why) => {
                    silent += 1;
                    warn!(silent, reason = %why, "the model did not answer");
                }
            }
        }
    }

    /// Waits for `endpoint.dat`, asks the URL, and publishes it. Keeps `progress` telling what is being waited for.
    async fn bring_up(
        &mut self,
        changes: &mut FolderWatch,
        progress: &mut String,
    ) -> Result<EndpointUrl, Outcome> {
        let endpoint = self.await_endpoint(changes, progress).await?;
        let url = endpoint::public_url(&endpoint.url, &self.spec.settings.hostname)
            .await
            .map_err(Outcome::Failed)?;
        self.status.enter(Phase::Probing, None);
        *progress = format!("{url} has not been asked yet");
        self.await_answer(&url, &endpoint.url, progress).await;
        *progress = "ZooKeeper has not taken the registration yet".to_owned();
        self.publish(&url, endpoint.functions).await;
        info!(%url, "the copy is serving");
        Ok(url)
    }

    async fn await_endpoint(
        &mut self,
        changes: &mut FolderWatch,
        progress: &mut String,
    ) -> Result<EndpointDat, Outcome> {
        loop {
            match endpoint::read(&self.folder.work()) {
                Found::Endpoint(endpoint) => return Ok(endpoint),
                Found::Never(why) => return Err(Outcome::Failed(why)),
                Found::NotYet(why) if *progress != why => {
                    self.status.enter(Phase::Starting, Some(why.clone()));
                    *progress = why;
                }
                Found::NotYet(_) | Found::Nothing => {}
            }
            changes.changed().await;
        }
    }

    /// Asks at `url` until it answers; `written` is what the model itself calls it.
    async fn await_answer(&self, url: &EndpointUrl, written: &str, progress: &mut String) {
        let mut pause = Duration::from_millis(5);
        while let Err(why) = probe::ask(url.url()).await {
            *progress = match EndpointUrl::parse(written) {
                // The usual mistake: other hosts can't reach what listens on the loopback address only.
                Ok(written)
                    if written.host() != url.host() && probe::ask(written.url()).await.is_ok() =>
                {
                    format!(
                        "{why}, though {written} answers; the server must listen on 0.0.0.0 or on $MAAS_HOST"
                    )
                }
                _ => why,
            };
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    async fn publish(&mut self, url: &EndpointUrl, functions: Functions) {
        let registration = Registration {
            name: self.spec.name.clone(),
            version: self.spec.version.clone(),
            instance: self.spec.instance.clone(),
            url: url.clone(),
            functions,
            registered_ms: now_ms(),
        };
        self.published = true;
        self.registration.set(Some(registration.to_bytes()));
        // ZooKeeper may be away; the registration goes out as soon as it is back.
        while !self.registration.settled(Duration::from_secs(5)).await {
            warn!("ZooKeeper has not taken the registration yet");
        }
        self.status.serving(url.to_string());
    }

    /// Takes the copy out of the registry, if it is in it; tells whether it was.
    async fn withdraw(&mut self) -> bool {
        let was_serving = self.status.withdrawn();
        if std::mem::take(&mut self.published) {
            self.registration.set(None);
            if !self.registration.settled(WITHDRAWAL).await {
                warn!(
                    "ZooKeeper has not heard of the withdrawal; the registration goes with our session"
                );
            }
        }
        was_serving
    }

    /// Brings the bundle into the work folder, unless it is there already.
    async fn fetch(&mut self) -> Result<PathBuf, Outcome> {
        if let Some(script) = &self.script {
            return Ok(script.clone());
        }
        let failed = |error: &dyn std::error::Error| Outcome::Failed(chain(error));
        let location =
            Location::parse(&self.spec.path).map_err(|e| Outcome::Hopeless(chain(&e)))?;
        let digest = location.file_name().parse::<Digest>().ok();
        let store = Store::open(&location).map_err(|e| failed(&e))?;
        let work = self.folder.work();
        if work.exists() {
            std::fs::remove_dir_all(&work).map_err(|e| failed(&e))?;
        }
        let fetched = store
            .fetch(&location, digest.as_ref(), &work, &Limits::default())
            .await
            .map_err(|e| failed(&e))?;
        info!(bytes = fetched.bytes, digest = %fetched.digest, "the bundle is here");
        self.script = Some(fetched.script.clone());
        Ok(fetched.script)
    }

    fn last_output(&self) -> Vec<String> {
        let lines = output::last_lines(&self.folder.logs().join("stderr"), 5);
        if lines.is_empty() {
            output::last_lines(&self.folder.logs().join("stdout"), 5)
        } else {
            lines
        }
    }
}

/// What the model finds in its environment: what any program needs of ours, what is its own, and what the operator added.
fn environment(spec: &LaunchSpec, work: &std::path::Path) -> BTreeMap<String, String> {
    let needed = |name: &str| {
        const NAMES: [&str; 9] = [
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "SHELL",
            "TMPDIR",
            "TZ",
            "LANG",
            "JAVA_HOME",
        ];
        NAMES.contains(&name) || name.starts_with("LC_")
    };
    let mut environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| needed(name))
        .collect();
    let own = [
        ("PWD", work.display().to_string()),
        ("CONTAINER_ID", spec.instance.to_string()),
        ("MAAS_INSTANCE", spec.instance.to_string()),
        ("MAAS_MODEL", spec.name.to_string()),
        ("MAAS_VERSION", spec.version.to_string()),
        ("MAAS_MEMORY_MB", spec.memory_mb.to_string()),
        ("MAAS_HOST", spec.settings.hostname.clone()),
    ];
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    environment.extend(spec.settings.environment.clone());
    environment
}

/// An error with all its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// The status znode, and what of it must be remembered from phase to phase.
struct Status {
    znode: Held,
    now: InstanceStatus,
    serving_since: Option<Instant>,
    last_served: Option<(Instant, Duration)>,
}

impl Status {
    fn new(spec: &LaunchSpec, znode: Held) -> Self {
        let now = InstanceStatus {
            instance: spec.instance.clone(),
            name: spec.name.clone(),
            version: spec.version.clone(),
            host: spec.settings.hostname.clone(),
            phase: Phase::Pending,
            since_ms: now_ms(),
            restarts: 0,
            pid: None,
            url: None,
            reason: None,
            retry_at_ms: None,
            generation: spec.generation,
            last_failure: None,
        };
        let status = Self {
            znode,
            now,
            serving_since: None,
            last_served: None,
        };
        status.tell();
        status
    }

    fn tell(&self) {
        self.znode.set(Some(self.now.to_bytes()));
    }

    fn enter(&mut self, phase: Phase, reason: Option<String>) {
        if self.now.phase != phase {
            self.now.since_ms = now_ms();
        }
        self.now.phase = phase;
        // After a restart, the reason for it stays visible until the copy serves again.
        if reason.is_some() || self.now.restarts == 0 {
            self.now.reason = reason;
        }
        self.now.retry_at_ms = None;
        self.tell();
    }

    fn started(&mut self, pid: u32) {
        self.now.pid = Some(pid);
        self.enter(Phase::Starting, None);
    }

    fn serving(&mut self, url: String) {
        self.serving_since = Some(Instant::now());
        self.now.phase = Phase::Serving;
        self.now.since_ms = now_ms();
        self.now.url = Some(url);
        self.now.reason = None;
        self.tell();
    }

    /// Notes that it is out of the registry; tells whether it was in it.
    fn withdrawn(&mut self) -> bool {
        self.now.url = None;
        let Some(since) = self.serving_since.take() else {
            return false;
        };
        self.last_served = Some((since, since.elapsed()));
        true
    }

    /// For how long it served, if it did after `began`.
    fn was_serving_since(&self, began: Instant) -> Option<Duration> {
        self.last_served
            .filter(|(since, _)| *since >= began)
            .map(|(_, long)| long)
    }

    fn fail(
        &mut self,
        phase: Phase,
        why: String,
        delay: Option<Duration>,
        last_output: Vec<String>,
    ) {
        self.now.pid = None;
        self.now.last_failure = Some(Failure {
            at_ms: now_ms(),
            why: why.clone(),
            exit_code: None,
            signal: None,
            out_of_memory: None,
            last_output,
        });
        self.enter(phase, Some(why));
        let delay_ms = delay.and_then(|delay| i64::try_from(delay.as_millis()).ok());
        self.now.retry_at_ms = delay_ms.map(|delay| now_ms() + delay);
        self.tell();
    }

    fn restarted(&mut self) {
        self.now.restarts += 1;
    }

    async fn end(&self) {
        self.znode.set(None);
        self.znode.settled(WITHDRAWAL).await;
    }
}

/// Where a runner's own log goes.
#[must_use]
pub fn log_file(folder: &InstanceFolder) -> PathBuf {
    folder.logs().join("runner.log")
}
