//! The runner: one process per copy of a model, which outlives the daemon that started it.
//!
//! It fetches the bundle, starts the script, waits for `endpoint.dat`, asks the URL until it answers, publishes it, and
//! starts the script again when it ends. It withdraws the copy *before* it stops the model, and leaves nothing behind: no
//! process, no file, no znode. What it sees it tells in its status znode.

mod backoff;
mod bundle;
mod drain;
mod endpoint;
mod environment;
mod fault;
mod model;
mod output;
mod place;
mod probe;
mod restarts;
mod settings;
mod sockets;
mod status;
pub mod warden;
mod watchdog;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use maas_client::held::Held;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::registry::Registry;
use maas_client::wire::registration::Registration;
use maas_client::wire::state::{Phase, now_ms};
use maas_client::{Session, SessionConfig};
use rustix::process::{Pid, set_child_subreaper};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::cgroup::{CopyCgroup, DYING};
use crate::crash::{Point, crash_point};
use crate::instance_folder::{InstanceFolder, LaunchSpec};
use crate::outage::tell_of_outages;
pub use backoff::Backoff;
use bundle::{Bundle, DAMAGED_TRIES};
use drain::drain;
use endpoint::FolderWatch;
use environment::environment;
use fault::{Fault, Outcome};
use model::Model;
use output::Mark;
use place::{Place, Search};
use restarts::Restarts;
use settings::BundleSettings;
use status::Status;
use watchdog::Watchdog;

pub use endpoint::is_this_host;
pub use output::{RunnerLog, last_lines};

/// How long ZooKeeper may take to hear of a withdrawal, before the model is stopped all the same.
const WITHDRAWAL: Duration = Duration::from_secs(3);

/// How long when the model must not live on.
const HASTY_WITHDRAWAL: Duration = Duration::from_millis(250);

/// Runs the copy whose folder this is, until `stop` is cancelled.
///
/// # Errors
/// When the copy can't be run at all: its folder is broken. Whatever else fails is its status.
pub async fn run(folder: InstanceFolder, stop: CancellationToken) -> anyhow::Result<()> {
    let spec = folder
        .launch_spec()
        .context("the launch file can't be read")?;
    crash_point(Point::RunnerBeforeIdentity);
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
    let meanwhile = "the model goes on, and is started again if it fails; what becomes of it is told afterwards";
    let _telling = tell_of_outages(&session, &spec.settings.quorum, meanwhile);
    let registry = Registry::new(session.clone(), layout.clone());
    let mut runner = Runner {
        status: Status::new(&spec, Held::new(&session, layout.instance(&spec.instance))),
        registration: registry.place(&spec.name, &spec.instance),
        published: None,
        bundle: None,
        printed: Printed::default(),
        folder,
        spec,
        stop,
    };
    runner.keep_running().await;
    runner.withdraw(WITHDRAWAL).await;
    let tidied = registry.tidy(&runner.spec.name);
    let _an_empty_folder_harms_nobody = tokio::time::timeout(Duration::from_secs(2), tidied).await;
    // The status first: who finds a status without a folder takes the copy for one that runs elsewhere.
    crash_point(Point::RunnerBeforeStatusEnds);
    runner.status.end(WITHDRAWAL).await;
    crash_point(Point::RunnerBeforeRemoval);
    let removed = runner
        .folder
        .remove()
        .context("the copy's folder can't be removed");
    crash_point(Point::RunnerAfterRemoval);
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
    /// Where the copy answers, once that is in the registry or on its way there.
    published: Option<Place>,
    /// The bundle, once it is here.
    bundle: Option<Bundle>,
    /// What earlier attempts printed.
    printed: Printed,
    stop: CancellationToken,
}

/// How far the model's output went when an attempt began.
#[derive(Clone, Copy, Default)]
struct Printed {
    stdout: Mark,
    stderr: Mark,
}

impl Runner {
    /// Starts the model, and starts it again whenever it ends, until told to stop.
    async fn keep_running(&mut self) {
        let mut restarts = Restarts::new(self.spec.settings.restart_delay);
        let mut damaged = 0;
        loop {
            let outcome = self.attempt().await;
            self.withdraw(WITHDRAWAL).await;
            damaged = if matches!(outcome, Outcome::Damaged(_)) {
                damaged + 1
            } else {
                0
            };
            let fault = match outcome {
                Outcome::Stopped => return,
                Outcome::Hopeless(why) => return self.give_up(why).await,
                Outcome::Damaged(why) if damaged == DAMAGED_TRIES => {
                    let why = format!("{why} (it was fetched {damaged} times)");
                    return self.give_up(why).await;
                }
                Outcome::StoreAway(why) => Fault::of_store(why),
                Outcome::NotFetched(why) | Outcome::Damaged(why) => Fault::from(why),
                Outcome::Failed(fault) | Outcome::Exceeded(fault) => fault,
            };
            crash_point(Point::RunnerAfterFailure);
            let retry = restarts.failed(Instant::now(), self.status.attempt(), &mut rand::rng());
            warn!(reason = %fault.why, phase = %retry.phase, retry_ms = retry.delay.as_millis(), "the copy has failed and will be started again");
            let store_away = fault.store_away;
            let failure = fault.into_failure(self.last_output());
            self.status.retries(failure, retry);
            tokio::select! {
                () = tokio::time::sleep(retry.delay) => {}
                () = self.stop.cancelled() => return,
            }
            // Nothing of the model was started, nor has it had a chance.
            if !store_away {
                self.status.restarted();
            }
        }
    }

    /// Tells that the copy has failed for good, and waits to be stopped.
    async fn give_up(&mut self, why: String) {
        warn!(reason = %why, "the copy has failed for good");
        let failure = Fault::from(why).into_failure(self.last_output());
        self.status.gives_up(failure);
        self.stop.cancelled().await;
    }

    async fn attempt(&mut self) -> Outcome {
        self.status.attempts();
        let logs = self.folder.logs();
        self.printed = Printed {
            stdout: Mark::at_end_of(&logs.join("stdout")),
            stderr: Mark::at_end_of(&logs.join("stderr")),
        };
        let stop = self.stop.clone();
        let fetched = tokio::select! {
            fetched = self.fetch() => fetched,
            () = stop.cancelled() => return Outcome::Stopped,
        };
        let bundle = match fetched {
            Ok(bundle) => bundle,
            Err(outcome) => return outcome,
        };
        crash_point(Point::RunnerAfterFetch);
        let work = self.folder.work();
        // One that came with the bundle, or from the run before, would be believed at once.
        if let Err(error) = std::fs::remove_file(work.join(endpoint::ENDPOINT_FILE))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            let why = format!("the endpoint.dat of the run before can't be removed: {error}");
            return Outcome::Failed(why.into());
        }
        let mut changes = FolderWatch::new(&work);
        let environment = environment(&self.spec, &work);
        self.status.starts();
        let cgroup = self.make_cgroup().await;
        let outcome = self
            .run_model(&bundle, &mut changes, &environment, cgroup.as_ref())
            .await;
        if let Some(cgroup) = cgroup {
            end_cgroup(cgroup).await;
        }
        outcome
    }

    /// Starts the model, follows it to its end and sees to it that nothing of it is left.
    async fn run_model(
        &mut self,
        bundle: &Bundle,
        changes: &mut FolderWatch,
        environment: &BTreeMap<String, String>,
        cgroup: Option<&CopyCgroup>,
    ) -> Outcome {
        let (work, logs) = (self.folder.work(), self.folder.logs());
        let within = cgroup.map(CopyCgroup::path);
        let script = &bundle.script;
        let started = Model::start(script, &work, &logs, environment, within, &self.stop).await;
        let mut model = match started {
            Ok(model) => model,
            Err(why) if self.stop.is_cancelled() => {
                debug!(%why, "it has not come to be started");
                return Outcome::Stopped;
            }
            Err(why) => return Outcome::Failed(why.into()),
        };
        crash_point(Point::RunnerAfterStart);
        self.status.runs(model.pid);
        info!(pid = model.pid, "the script runs");
        let mut watchdog = Watchdog::new(model.warden_pid, self.spec.memory_mb, cgroup.cloned());
        let settings = bundle.settings.clone();
        let outcome = tokio::select! {
            outcome = self.follow(&mut model, changes, settings) => outcome,
            fault = watchdog.exceeded() => Outcome::Exceeded(fault),
        };
        let exceeded = tokio::select! {
            () = self.end(&mut model, &outcome) => None,
            // Who has taken too much is being killed already.
            fault = watchdog.exceeded(), if !matches!(outcome, Outcome::Exceeded(_)) => Some(fault),
        };
        if let Some(fault) = exceeded {
            warn!(reason = %fault.why, "the model takes more than it may as it ends, and is killed");
            self.withdraw(HASTY_WITHDRAWAL).await;
            model.kill().await;
        }
        if let Outcome::Failed(fault) = outcome {
            Outcome::Failed(watchdog.explain(fault))
        } else {
            outcome
        }
    }

    /// Makes the cgroup in which the model is to run, if it is to have one.
    async fn make_cgroup(&self) -> Option<CopyCgroup> {
        let base = self.spec.settings.cgroups.as_ref()?;
        let cgroup = CopyCgroup::of(base, &self.spec.instance);
        let (made, limit_mb) = (cgroup.clone(), self.spec.memory_mb);
        let made = tokio::task::spawn_blocking(move || made.create(limit_mb)).await;
        match made.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => Some(cgroup),
            Err(error) => {
                warn!(cgroup = %cgroup.path().display(), %error, "the copy's cgroup can't be made; its watchdog alone limits its memory");
                None
            }
        }
    }

    /// Ends what is left of a model.
    ///
    /// # Cancel safety
    /// Something of it may be left when the future is dropped.
    async fn end(&mut self, model: &mut Model, outcome: &Outcome) {
        // Withdraw first: clients must stop choosing this copy while it can still answer.
        let ending = match outcome {
            Outcome::Exceeded(_) => {
                self.withdraw(HASTY_WITHDRAWAL).await;
                model.kill().await
            }
            Outcome::Stopped => {
                self.status.enter(Phase::Draining, None);
                let place = self.published.clone();
                self.withdraw(WITHDRAWAL).await;
                if let Some(place) = place {
                    tokio::select! {
                        () = drain(&place, &self.spec.settings) => {}
                        _ = model.ended() => {}
                    }
                }
                model.stop(self.spec.settings.stop_grace).await
            }
            Outcome::StoreAway(_)
            | Outcome::NotFetched(_)
            | Outcome::Damaged(_)
            | Outcome::Failed(_)
            | Outcome::Hopeless(_) => {
                self.withdraw(WITHDRAWAL).await;
                model.stop(self.spec.settings.stop_grace).await
            }
        };
        debug!(%ending, "nothing of the model is left");
    }

    /// Follows a started model until it ends or must be ended.
    async fn follow(
        &mut self,
        model: &mut Model,
        changes: &mut FolderWatch,
        settings: BundleSettings,
    ) -> Outcome {
        let stop = self.stop.clone();
        let limit = settings.start_timeout;
        let limit = limit.unwrap_or(self.spec.settings.start_timeout);
        let search = Search {
            work: self.folder.work(),
            hostname: self.spec.settings.hostname.clone(),
            settings,
            warden: model.warden_pid,
        };
        let mut progress = "it has not written endpoint.dat".to_owned();
        // The deadline is the model's: it ends with the first good answer, whether ZooKeeper can be told of it or not.
        let found = tokio::select! {
            found = search.find(changes, &mut self.status, &mut progress) => found,
            ending = model.ended() => {
                let why = format!("the script {ending} before it served: {progress}");
                return Outcome::Failed(Fault::ended(ending, why));
            }
            () = tokio::time::sleep(limit) => {
                let why = format!("the model did not serve within {} s: {progress}", limit.as_secs());
                return Outcome::Failed(why.into());
            }
            () = stop.cancelled() => return Outcome::Stopped,
        };
        let place = match found {
            Ok(place) => place,
            Err(outcome) => return outcome,
        };
        tokio::select! {
            () = model.doomed() => {
                // Nobody is to choose it any more, however long it takes to end what is left of it.
                self.withdraw(WITHDRAWAL).await;
                let ending = model.ended().await;
                let why = format!("the script {ending}");
                Outcome::Failed(Fault::ended(ending, why))
            }
            why = self.serve(&search, changes, place) => Outcome::Failed(why.into()),
            () = stop.cancelled() => Outcome::Stopped,
        }
    }

    /// Keeps a model that answers in the registry, wherever it moves, until it answers no more; tells why that is.
    async fn serve(&mut self, search: &Search, changes: &mut FolderWatch, place: Place) -> String {
        let health = search.settings.health.as_deref();
        let interval = search.settings.health_interval;
        let interval = interval.unwrap_or(self.spec.settings.health_interval);
        let mut place = place;
        loop {
            crash_point(Point::RunnerBeforeRegistration);
            self.publish(&place);
            let Self {
                registration,
                status,
                ..
            } = self;
            let registered = async {
                // ZooKeeper may be away; the registration goes out as soon as it is back.
                while !registration.settled(Duration::from_secs(5)).await {
                    warn!("ZooKeeper has not taken the registration yet");
                    let why = "it answers, and ZooKeeper has not taken the registration yet";
                    status.enter(Phase::Probing, Some(why.to_owned()));
                }
                crash_point(Point::RunnerAfterRegistration);
                status.serving(place.url.to_string());
                info!(url = %place.url, "the copy is serving");
                std::future::pending::<Place>().await
            };
            let next = tokio::select! {
                next = registered => next,
                next = search.moved(changes, &place) => next,
                why = probe::fall_silent(&place, health, interval) => return why,
            };
            info!(from = %place.url, to = %next.url, "the model has moved");
            place = next;
        }
    }

    fn publish(&mut self, place: &Place) {
        let registration = Registration {
            name: self.spec.name.clone(),
            version: self.spec.version.clone(),
            instance: self.spec.instance.clone(),
            url: place.url.clone(),
            functions: place.written.functions.clone(),
            registered_ms: now_ms(),
        };
        self.published = Some(place.clone());
        self.registration.set(Some(registration.to_bytes()));
    }

    /// Takes the copy out of the registry, if it is in it. ZooKeeper may take `limit` to hear of it.
    async fn withdraw(&mut self, limit: Duration) {
        self.status.withdrawn();
        if self.published.take().is_some() {
            self.registration.set(None);
            crash_point(Point::WithdrawalBegun);
            if !self.registration.settled(limit).await {
                warn!(
                    "ZooKeeper has not heard of the withdrawal; the registration goes with our session"
                );
            }
            crash_point(Point::WithdrawalDone);
        }
    }

    /// Brings the bundle into the work folder, unless it is there already.
    async fn fetch(&mut self) -> Result<Bundle, Outcome> {
        if let Some(bundle) = &self.bundle {
            return Ok(bundle.clone());
        }
        let bundle = Bundle::fetch(&self.spec.path, &self.folder).await?;
        self.bundle = Some(bundle.clone());
        Ok(bundle)
    }

    /// What the model printed last in this attempt.
    fn last_output(&self) -> Vec<String> {
        let logs = self.folder.logs();
        let last = |mark: Mark, file: &str| output::last_lines_behind(mark, &logs.join(file), 5);
        let lines = last(self.printed.stderr, "stderr");
        if lines.is_empty() {
            last(self.printed.stdout, "stdout")
        } else {
            lines
        }
    }
}

/// Kills what may be left in a model's cgroup, and takes it away.
async fn end_cgroup(cgroup: CopyCgroup) {
    let path = cgroup.path().to_owned();
    let ended = tokio::task::spawn_blocking(move || cgroup.end(DYING)).await;
    if let Err(error) = ended.unwrap_or_else(|error| Err(io::Error::other(error))) {
        warn!(cgroup = %path.display(), %error, "the copy's cgroup can't be taken away");
    }
}

/// Where a runner's own log goes.
#[must_use]
pub fn log_file(folder: &InstanceFolder) -> PathBuf {
    folder.logs().join("runner.log")
}
