//! The local launcher: copies of models as processes of this machine.
//!
//! For each copy it makes an [`InstanceFolder`] and starts a runner in it, which from then on needs nobody. What lives is
//! found by looking at the folders, not by remembering: so a daemon that was killed and started again goes on where the last
//! one stopped. Only runners of the same ZooKeeper tree are ours; several daemons can share a machine.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use maas_client::InstanceId;
use maas_client::wire::state::{Desired, Phase};
use rustix::process::{PidfdFlags, Signal};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::cgroup::{self, CopyCgroup};
use crate::crash::{Point, crash_point};
use crate::descriptors;
use crate::fence::{self, Fence, Hold};
use crate::instance_folder::{InstanceFolder, LaunchSpec, RunnerSettings};
use crate::instances;
use crate::plan::{Copy, Life, ModelKey};
use crate::process::{ProcessIdentity, watched, with_environment};
use crate::runner::{last_lines, log_file, warden};

/// How long the daemon waits for processes it has killed. Who takes longer is cleaned up after in a later pass.
const MOMENT: Duration = Duration::from_millis(100);

/// How long a runner of which nothing is heard may do nothing at all before it counts as hanging, unless the session timeout
/// is longer: whatever it waits for, it turns to ZooKeeper more often than that.
const IDLE: Duration = Duration::from_secs(30);

/// So much of the time since the last look counts at most: who looks again after a long break may have been stopped itself.
const LOOK: Duration = Duration::from_secs(10);

/// How long a runner may take beside its model, until it has told everybody and has taken its folder away.
const TIDYING: Duration = Duration::from_secs(15);

/// No longer than this, or than what holds now, does a copy take to end by what held when it was launched.
const LONGEST_OF_BEFORE: Duration = Duration::from_secs(60 * 60);

/// For so long a copy's folder that can't be looked at keeps everything as it is, before it passes for nobody's.
const UNSEEN: Duration = Duration::from_secs(60);

/// How long a dead runner's warden may take to end the model, before it is killed with what is left.
const WARDENS_TIME: Duration = Duration::from_secs(5);

/// What starts, stops and finds copies.
pub trait Launcher {
    /// Makes this daemon the only one that starts, stops and kills, for as long as the lead of this transaction lasts. To be
    /// asked before each pass.
    ///
    /// # Errors
    /// When it can't be told; then nothing is started.
    fn hold(&mut self, lead: i64) -> io::Result<Hold>;

    /// The copies there are. A copy's phase is what `phases` says of it.
    ///
    /// # Errors
    /// When they can't be looked at.
    fn observe(&mut self, phases: &HashMap<InstanceId, Phase>) -> io::Result<Vec<Copy>>;

    /// Starts one more copy.
    ///
    /// # Errors
    /// When it can't be started.
    fn launch(&mut self, desired: &Desired) -> io::Result<InstanceId>;

    /// Tells a runner to end. Does not wait for it.
    ///
    /// # Errors
    /// When it can't be told.
    fn stop(&mut self, instance: &InstanceId) -> io::Result<()>;

    /// Ends a runner that hangs.
    ///
    /// # Errors
    /// When it can't be killed.
    fn kill(&mut self, instance: &InstanceId) -> io::Result<()>;

    /// Takes away what a dead runner left, and tells how its log ended.
    ///
    /// # Errors
    /// When something can't be removed.
    fn clean(&mut self, instance: &InstanceId) -> io::Result<Vec<String>>;

    /// Whether a copy has been told to end.
    fn was_told_to_end(&self, instance: &InstanceId) -> bool;
}

/// A runner that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose runner it was.
    pub instance: InstanceId,
    /// How it ended, in words.
    pub how: String,
}

/// What all copies have in common.
#[derive(Clone, Debug)]
pub struct LaunchSettings {
    /// Where the copies' folders are made.
    pub instances: PathBuf,
    /// The runner's binary.
    pub runner: PathBuf,
    /// What their runners need to know.
    pub copies: RunnerSettings,
}

/// Starts, stops and finds copies on this machine.
pub struct LocalLauncher {
    settings: LaunchSettings,
    /// Tells of runners that ended.
    ended: mpsc::UnboundedSender<Ended>,
    /// One task for each runner, which waits for its end.
    attended: JoinSet<()>,
    /// The runners that have such a task.
    known: HashMap<InstanceId, ProcessIdentity>,
    /// Since when this daemon knows that a runner has been told to end.
    stopping: HashMap<InstanceId, Instant>,
    /// Since when this daemon waits for the wardens of dead runners.
    wardens: HashMap<InstanceId, Instant>,
    /// What the runners do of which nothing is heard.
    unheard: HashMap<InstanceId, Idleness>,
    /// Since when a copy's folder can't be looked at.
    unseen: HashMap<InstanceId, Instant>,
    /// What was read of the copies' launch files.
    briefs: HashMap<InstanceId, Brief>,
    /// What is in the folder and not ours.
    foreign: Vec<OsString>,
    /// The transaction by which we came to lead.
    lead: Option<i64>,
    /// Our part of the folder, while we lead and it can be made.
    fence: Option<Fence>,
}

/// For how long a runner has done nothing.
struct Idleness {
    turns: u64,
    looked: Instant,
    time: Duration,
}

/// What is to be known of a copy's launch.
#[derive(Clone)]
struct Brief {
    /// Whether it is of our ZooKeeper tree.
    is_ours: bool,
    /// Of what it is a copy; `None` when its launch file no longer tells.
    model: Option<ModelKey>,
    generation: u64,
    memory_mb: u32,
    /// How long its runner may take for its model when it is told to end: it goes by what held when it was launched.
    stop_limit: Duration,
    /// Below which cgroup its own lies, if it has one.
    cgroups: Option<PathBuf>,
}

impl LocalLauncher {
    /// A launcher of copies in a folder [claimed](instances::claim) for them, and where it tells of runners that ended.
    #[must_use]
    pub fn new(settings: LaunchSettings) -> (Self, mpsc::UnboundedReceiver<Ended>) {
        let (ended, ends) = mpsc::unbounded_channel();
        let launcher = Self {
            settings,
            ended,
            attended: JoinSet::new(),
            known: HashMap::new(),
            stopping: HashMap::new(),
            wardens: HashMap::new(),
            unheard: HashMap::new(),
            unseen: HashMap::new(),
            briefs: HashMap::new(),
            foreign: Vec::new(),
            lead: None,
            fence: None,
        };
        (launcher, ends)
    }

    /// What is to be known of a copy's launch; nothing of a folder that is not provably a copy's. It is read once: later the
    /// model may have replaced the file.
    ///
    /// # Errors
    /// When it can't be told now.
    fn brief(
        &mut self,
        instance: &InstanceId,
        folder: &InstanceFolder,
    ) -> io::Result<Option<&Brief>> {
        if !self.briefs.contains_key(instance) {
            let spec = folder.lasting_launch_spec()?;
            let spec = spec.filter(|spec| spec.instance == *instance);
            let brief = match spec {
                Some(spec) => self.brief_of(spec),
                // It is of no use any more, and known no better than to be like ours, unless its runner says whose it is.
                None if folder.is_spoilt() => Brief {
                    is_ours: folder
                        .tree_of_runner()
                        .is_none_or(|tree| tree == *self.settings.copies.tree),
                    model: None,
                    generation: 0,
                    memory_mb: 0,
                    stop_limit: Duration::ZERO,
                    cgroups: self.settings.copies.cgroups.clone(),
                },
                None => return Ok(None),
            };
            self.briefs.insert(instance.clone(), brief);
        }
        Ok(self.briefs.get(instance))
    }

    fn brief_of(&self, spec: LaunchSpec) -> Brief {
        Brief {
            is_ours: spec.settings.tree == self.settings.copies.tree,
            model: Some((spec.name, spec.version)),
            generation: spec.generation,
            memory_mb: spec.memory_mb,
            stop_limit: spec.settings.stop_limit(),
            cgroups: spec
                .settings
                .cgroups
                .filter(|base| cgroup::may_be_base(base)),
        }
    }

    /// Tells, once, of what is in the folder and not ours.
    fn leave_alone(&mut self, mut foreign: Vec<OsString>, folders: &[InstanceId]) {
        foreign.extend(folders.iter().map(|folder| folder.as_str().into()));
        for entry in foreign.iter().filter(|entry| !self.foreign.contains(entry)) {
            let path = self.settings.instances.join(entry);
            warn!(path = %path.display(), "this is no copy's, and is left alone; it does not belong in the folder for copies");
        }
        self.foreign = foreign;
    }

    /// Refuses to act for a daemon that has been overtaken. Where we have no part of the folder, for the disk is full, a later
    /// daemon's tells; why not having one does not keep us from stopping, [`fence`] says.
    fn check_lead(&self) -> io::Result<()> {
        let copies = &self.settings.copies;
        let is_overtaken = match (&self.fence, self.lead) {
            (Some(fence), _) => fence.hold() == Hold::Overtaken,
            (None, Some(lead)) => {
                fence::later(&self.settings.instances, &copies.tree, lead)?.is_some()
            }
            (None, None) => false,
        };
        if is_overtaken {
            return Err(io::Error::other(
                "another daemon has come to lead here; this one leaves the copies alone",
            ));
        }
        Ok(())
    }

    /// Which process a copy's runner is: what we have started or looked at, or else what the kernel says.
    fn runner(&self, instance: &InstanceId, folder: &InstanceFolder) -> Option<ProcessIdentity> {
        let known = self.known.get(instance).copied();
        let known = known.filter(ProcessIdentity::is_alive);
        known.or_else(|| folder.runner())
    }

    /// Leaves a dead runner's warden time to end the model: it finds processes that nobody else does.
    fn let_warden_end(&mut self, instance: &InstanceId) -> io::Result<()> {
        let warden = with_environment("MAAS_INSTANCE", instance.as_str())
            .into_iter()
            .find(is_warden);
        let Some(warden) = warden else {
            self.wardens.remove(instance);
            return Ok(());
        };
        let since = *self
            .wardens
            .entry(instance.clone())
            .or_insert_with(Instant::now);
        if warden.has_ended_within(MOMENT)? || since.elapsed() > WARDENS_TIME {
            self.wardens.remove(instance);
            return Ok(());
        }
        Err(io::Error::other(
            "its warden has not ended all of the model's processes yet",
        ))
    }

    /// Whether what keeps a copy's folder from being looked at may pass soon.
    fn may_pass(&mut self, instance: &InstanceId, now: Instant) -> bool {
        let since = *self.unseen.entry(instance.clone()).or_insert(now);
        instances::is_id(instance.as_str()) && now.duration_since(since) < UNSEEN
    }

    /// How long a runner that was told to end may take, by what held when it was launched and by what holds now.
    fn patience(&self, brief: &Brief) -> Duration {
        // The model may have written what is read there after a restart.
        let then = brief.stop_limit.min(LONGEST_OF_BEFORE);
        self.settings.copies.stop_limit().max(then) + TIDYING
    }

    /// How long all copies may take that there were at the last look, when they are told to end.
    #[must_use]
    pub fn longest_patience(&self) -> Duration {
        let ours = self.briefs.values().filter(|brief| brief.is_ours);
        let patience = ours.map(|brief| self.patience(brief)).max();
        patience.unwrap_or(self.settings.copies.stop_limit() + TIDYING)
    }

    /// Whether a runner of which nothing is heard hangs. One that is only cut off from ZooKeeper does not: it tries again and again.
    fn hangs(&mut self, instance: &InstanceId, folder: &InstanceFolder, now: Instant) -> bool {
        let runner = self.runner(instance, folder);
        let Some(turns) = runner.and_then(|runner| runner.turns()) else {
            return false;
        };
        let idleness = self.unheard.entry(instance.clone()).or_insert(Idleness {
            turns,
            looked: now,
            time: Duration::ZERO,
        });
        let passed = now.duration_since(idleness.looked).min(LOOK);
        *idleness = Idleness {
            turns,
            looked: now,
            time: if turns == idleness.turns {
                idleness.time + passed
            } else {
                Duration::ZERO
            },
        };
        idleness.time >= IDLE.max(self.settings.copies.session_timeout)
    }

    /// Waits for the end of a runner that another daemon started. That takes one of the descriptors to `spare`; where there is
    /// none, its end is noticed in the next pass.
    fn attend(&mut self, instance: &InstanceId, folder: &InstanceFolder, spare: &mut usize) {
        if self.known.contains_key(instance) || *spare == 0 {
            return;
        }
        let Some(identity) = folder.runner() else {
            return;
        };
        let Ok(Some(pidfd)) = identity.pinned(PidfdFlags::NONBLOCK) else {
            return;
        };
        *spare -= 1;
        info!(%instance, pid = identity.pid, "copy adopted");
        self.known.insert(instance.clone(), identity);
        let (instance, ended) = (instance.clone(), self.ended.clone());
        self.attended.spawn(async move {
            if let Ok(pidfd) = watched(pidfd) {
                let _readable_when_it_has_ended = pidfd.readable().await;
            }
            let how = "its runner died without having been told to".to_owned();
            let _nobody_listens_when_we_stop = ended.send(Ended { instance, how });
        });
    }

    fn attend_child(&mut self, instance: InstanceId, mut child: Child) {
        let ended = self.ended.clone();
        self.attended.spawn(async move {
            let how = match child.wait().await {
                Ok(status) => format!("its runner ended with {status}"),
                Err(error) => format!("its runner's end can't be told: {error}"),
            };
            debug!(%instance, how, "a runner has ended");
            let _nobody_listens_when_we_stop = ended.send(Ended { instance, how });
        });
        while self.attended.try_join_next().is_some() {}
    }
}

impl Launcher for LocalLauncher {
    fn hold(&mut self, lead: i64) -> io::Result<Hold> {
        if let Some(fence) = self.fence.as_ref().filter(|fence| fence.is_of(lead)) {
            return Ok(fence.hold());
        }
        (self.fence, self.lead) = (None, Some(lead));
        let settings = &self.settings;
        self.fence = Fence::raise(&settings.instances, &settings.copies.tree, lead)?;
        Ok(self.fence.as_ref().map_or(Hold::Overtaken, Fence::hold))
    }

    fn observe(&mut self, phases: &HashMap<InstanceId, Phase>) -> io::Result<Vec<Copy>> {
        let contents = instances::look(&self.settings.instances)?;
        if let Err(error) = instances::remove_leftovers(&contents.leftovers) {
            warn!(%error, "what a daemon left that was killed can't be removed");
        }
        let folders = contents.folders;
        let there: HashSet<&InstanceId> = folders.iter().map(|(instance, _)| instance).collect();
        self.briefs.retain(|instance, _| there.contains(instance));
        self.stopping.retain(|instance, _| there.contains(instance));
        self.wardens.retain(|instance, _| there.contains(instance));
        self.unheard
            .retain(|instance, _| there.contains(instance) && !phases.contains_key(instance));
        self.unseen
            .retain(|instance, _| there.contains(instance) && !self.briefs.contains_key(instance));
        let (now, mut spare) = (Instant::now(), descriptors::spare());
        let (mut copies, mut foreign) = (Vec::new(), Vec::new());
        for (instance, folder) in &folders {
            let brief = match self.brief(instance, folder).map(|brief| brief.cloned()) {
                Ok(Some(brief)) => brief,
                Ok(None) => {
                    // A copy may have ended just now.
                    foreign.extend(folder.path().exists().then(|| instance.clone()));
                    continue;
                }
                // It counts by its status, as one that can't be reached; without one, it would be started a second time.
                Err(error) if phases.contains_key(instance) => {
                    warn!(%instance, %error, "it can't be told what a copy is of; it is left alone");
                    continue;
                }
                Err(error) if self.may_pass(instance, now) => return Err(error),
                Err(error) => {
                    debug!(%instance, %error, "this can't be looked at, and passes for nobody's");
                    foreign.push(instance.clone());
                    continue;
                }
            };
            if !brief.is_ours {
                continue;
            }
            let life = match folder.is_alive() {
                Ok(true) if self.stopping.contains_key(instance) || folder.is_stopping() => {
                    // By a clock that nobody sets, and not by what lies in the folder: the model may have put it there.
                    let since = *self.stopping.entry(instance.clone()).or_insert(now);
                    if now.duration_since(since) > self.patience(&brief) {
                        Life::Hanging
                    } else {
                        Life::Stopping
                    }
                }
                Ok(true) => match phases.get(instance) {
                    None if self.hangs(instance, folder, now) => Life::Hanging,
                    phase => Life::Running(phase.copied()),
                },
                Ok(false) => Life::Dead,
                Err(error) => {
                    warn!(%instance, %error, "it can't be told whether a copy lives; it counts as one that does");
                    if self.stopping.contains_key(instance) {
                        Life::Stopping
                    } else {
                        Life::Running(phases.get(instance).copied())
                    }
                }
            };
            if life == Life::Dead {
                self.known.remove(instance);
            } else {
                self.attend(instance, folder, &mut spare);
            }
            copies.push(Copy {
                instance: instance.clone(),
                generation: brief.generation,
                memory_mb: brief.memory_mb,
                model: brief.model,
                life,
            });
        }
        self.leave_alone(contents.foreign, &foreign);
        Ok(copies)
    }

    fn launch(&mut self, desired: &Desired) -> io::Result<InstanceId> {
        let instance = InstanceId::generate();
        let settings = &self.settings;
        let spec = LaunchSpec {
            instance: instance.clone(),
            name: desired.name.clone(),
            version: desired.version.clone(),
            memory_mb: desired.memory_mb,
            path: desired.path.clone(),
            generation: desired.generation,
            settings: settings.copies.clone(),
        };
        let folder = InstanceFolder::new(&settings.instances, &instance);
        if descriptors::spare() == 0 {
            return Err(io::Error::other(format!(
                "the service has only {} of the open files left that it may have; allow it more (`ulimit -n`, or LimitNOFILE in its unit)",
                descriptors::RESERVE
            )));
        }
        let fence = self.fence.as_ref().ok_or_else(|| {
            io::Error::other("the folder for copies can't be written, so none can be started")
        })?;
        crash_point(Point::LaunchBeforeFolder);
        let child = folder.create(&spec, fence.folder()).and_then(|lock| {
            crash_point(Point::LaunchAfterMove);
            start_runner(
                &settings.runner,
                &settings.copies.tree,
                &folder,
                lock.into(),
            )
        });
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                // Otherwise it has failed by what it does not find, which tells nobody why.
                self.check_lead()?;
                folder.remove()?;
                return Err(error);
            }
        };
        crash_point(Point::LaunchAfterStart);
        info!(model = %spec.name, version = %spec.version, %instance, pid = child.id(), "copy launched");
        if let Some(identity) = child.id().and_then(ProcessIdentity::of) {
            self.known.insert(instance.clone(), identity);
        }
        self.attend_child(instance.clone(), child);
        let brief = self.brief_of(spec);
        self.briefs.insert(instance.clone(), brief);
        Ok(instance)
    }

    fn stop(&mut self, instance: &InstanceId) -> io::Result<()> {
        self.check_lead()?;
        let folder = InstanceFolder::new(&self.settings.instances, instance);
        let Some(identity) = self.runner(instance, &folder) else {
            return if folder.is_alive()? {
                Err(no_runner(&folder, "told to end"))
            } else {
                Ok(())
            };
        };
        // In this order: were we killed between the two, the next daemon would tell it again.
        crash_point(Point::StopBeforeSignal);
        if identity.signal(Signal::TERM)? {
            info!(%instance, pid = identity.pid, "copy told to end");
        }
        crash_point(Point::StopAfterSignal);
        self.stopping
            .entry(instance.clone())
            .or_insert_with(Instant::now);
        match folder.mark_stopping() {
            // It has ended already, and taken its folder away.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn kill(&mut self, instance: &InstanceId) -> io::Result<()> {
        self.check_lead()?;
        let folder = InstanceFolder::new(&self.settings.instances, instance);
        let runner = self.runner(instance, &folder);
        crash_point(Point::KillBeforeSignal);
        let killed = match runner {
            Some(runner) => runner.signal(Signal::KILL)?.then_some(runner.pid),
            None => None,
        };
        crash_point(Point::KillAfterSignal);
        if let Some(pid) = killed {
            warn!(%instance, pid, "a runner hung, and was killed");
        } else if !kill_what_is_left_of(instance)? && folder.is_alive()? {
            return Err(no_runner(&folder, "killed"));
        }
        Ok(())
    }

    fn was_told_to_end(&self, instance: &InstanceId) -> bool {
        self.stopping.contains_key(instance)
            || InstanceFolder::new(&self.settings.instances, instance).is_stopping()
    }

    fn clean(&mut self, instance: &InstanceId) -> io::Result<Vec<String>> {
        self.check_lead()?;
        let folder = InstanceFolder::new(&self.settings.instances, instance);
        let last = last_lines(&log_file(&folder), 5);
        self.let_warden_end(instance)?;
        // Where runner and warden were killed together, nobody took the model along.
        kill_what_is_left_of(instance)?;
        // The daemon that launched it may have lived in another cgroup than we do.
        let base = self.brief(instance, &folder)?;
        if let Some(base) = base.and_then(|brief| brief.cgroups.clone()) {
            CopyCgroup::of(&base, instance).end(MOMENT)?;
        }
        crash_point(Point::CleanBeforeRemoval);
        folder.remove()?;
        Ok(last)
    }
}

fn is_warden(process: &ProcessIdentity) -> bool {
    let arguments = process.arguments();
    arguments
        .get(1)
        .is_some_and(|first| first == warden::ARGUMENT)
}

/// Kills the processes of a copy that outlived its runner; tells whether there were any.
fn kill_what_is_left_of(instance: &InstanceId) -> io::Result<bool> {
    let left = with_environment("MAAS_INSTANCE", instance.as_str());
    for process in &left {
        warn!(%instance, pid = process.pid, "a process outlived its runner; ending it");
        process.signal(Signal::KILL)?;
    }
    Ok(!left.is_empty())
}

/// Somebody else than a runner keeps a copy's folder locked.
fn no_runner(folder: &InstanceFolder, to_be: &str) -> io::Error {
    let folder = folder.path().display();
    io::Error::other(format!(
        "no process is its runner, so none can be {to_be}, and yet something holds `{folder}/lock` (`fuser` tells what): end that"
    ))
}

fn start_runner(
    runner: &Path,
    tree: &str,
    folder: &InstanceFolder,
    lock: OwnedFd,
) -> io::Result<Child> {
    let log = std::fs::File::create(log_file(folder))?;
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", runner.display()));
    Command::new(runner)
        .args([OsStr::new(tree), folder.path().as_os_str()])
        .current_dir(folder.path())
        .stdin(Stdio::from(lock))
        .stdout(log.try_clone()?)
        .stderr(log)
        // Signals from our terminal are for us, not for the models.
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .map_err(named)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use test_support::TempDir;

    use super::*;
    use crate::instance_folder::tests::spec;

    /// A launcher on a disk where nothing can be made, so that it has no part of the folder, and where a copy may lie.
    fn on_a_full_disk(instances: &Path) -> LocalLauncher {
        let settings = LaunchSettings {
            instances: instances.to_owned(),
            runner: PathBuf::from("/no/runner"),
            copies: spec("i1", "dga", "1.0").settings,
        };
        let (mut launcher, _) = LocalLauncher::new(settings);
        launcher.lead = Some(0x10);
        launcher
    }

    #[tokio::test]
    async fn on_a_full_disk_copies_are_stopped_and_not_started_but_not_by_one_that_was_overtaken() {
        let (instances, workshop) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut launcher = on_a_full_disk(instances.path());
        let spec = spec("i1", "dga", "1.0");
        let folder = InstanceFolder::new(instances.path(), &spec.instance);
        drop(folder.create(&spec, workshop.path()).expect("made"));
        let desired = Desired {
            name: spec.name,
            version: spec.version,
            instances: 1,
            memory_mb: 64,
            path: spec.path,
            generation: 1,
            request: "r".to_owned(),
            restarted: 0,
            replaces: None,
        };
        let error = launcher.launch(&desired).unwrap_err().to_string();
        assert!(error.contains("can't be written"), "{error}");
        // An earlier daemon's part is no reason.
        let mark = |lead: i64| {
            let tree = &spec.settings.tree;
            std::fs::create_dir(instances.path().join(format!(".lead-{tree}-{lead:016x}")))
                .unwrap();
        };
        mark(0x0f);
        launcher.stop(&spec.instance).expect("it has ended");
        mark(0x11);
        let refusals = [
            launcher.stop(&spec.instance),
            launcher.kill(&spec.instance),
            launcher.clean(&spec.instance).map(|_| ()),
        ];
        for refusal in refusals {
            let error = refusal.unwrap_err().to_string();
            assert!(error.contains("another daemon has come to lead"), "{error}");
        }
        assert!(folder.path().exists());
    }

    /// A folder whose launch file, or whose lock, too, has a longer path than the kernel takes: to look at it fails, and yet it is
    /// there.
    fn out_of_sight(instances: &Path, instance: &InstanceId, length: usize) -> PathBuf {
        let mut path = instances.to_owned();
        let rest = |path: &Path| length - path.as_os_str().len() - 1 - instance.as_str().len() - 1;
        while rest(&path) > 200 {
            path.push("x".repeat(100));
        }
        path.push("x".repeat(rest(&path)));
        std::fs::create_dir_all(path.join(instance.as_str())).expect("made");
        path
    }

    #[tokio::test]
    async fn a_copy_at_which_nobody_can_look_now_is_neither_taken_for_a_spoilt_one_nor_forgotten() {
        let base = TempDir::new().unwrap();
        let instance = InstanceId::generate();
        let copies = out_of_sight(base.path(), &instance, 4085);
        std::fs::write(copies.join(instance.as_str()).join("lock"), "").expect("written");
        let mut launcher = on_a_full_disk(&copies);
        let nobody = HashMap::new();
        let error = launcher.observe(&nobody).unwrap_err().to_string();
        assert!(error.contains("launch.json: File name too long"), "{error}");
        // Where its status tells of it, it counts by that.
        let status = HashMap::from([(instance.clone(), Phase::Serving)]);
        assert_eq!(launcher.observe(&status).expect("looked"), []);
        assert!(launcher.briefs.is_empty() && launcher.foreign.is_empty());
    }

    #[tokio::test]
    async fn a_copy_of_which_it_cannot_be_told_whether_it_lives_counts_as_one_that_does() {
        let base = TempDir::new().unwrap();
        let instance = InstanceId::generate();
        let copies = out_of_sight(base.path(), &instance, 4092);
        let mut launcher = on_a_full_disk(&copies);
        let brief = launcher.brief_of(spec("i1", "dga", "1.0"));
        launcher.briefs.insert(instance.clone(), brief);
        let observed = launcher.observe(&HashMap::new()).expect("looked");
        assert_eq!(observed.len(), 1);
        assert_eq!(observed[0].life, Life::Running(None));
    }

    #[tokio::test]
    async fn a_runner_hangs_that_does_nothing_in_many_looks_and_no_longer_when_it_does_something() {
        let instances = TempDir::new().unwrap();
        let mut launcher = on_a_full_disk(instances.path());
        let spec = spec("i1", "dga", "1.0");
        let folder = InstanceFolder::new(instances.path(), &spec.instance);
        // It does something whenever it is given a line.
        let mut cat = std::process::Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cat");
        let (mut input, output) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        let mut answers = BufReader::new(output).lines();
        let identity = ProcessIdentity::of(cat.id()).expect("it runs");
        launcher.known.insert(spec.instance.clone(), identity);
        let mut now = Instant::now();
        let mut look = |after: Duration| {
            now += after;
            launcher.hangs(&spec.instance, &folder, now)
        };
        for _ in 0..2 {
            writeln!(input, "wake up").unwrap();
            assert_eq!(answers.next().unwrap().unwrap(), "wake up");
            assert!(!look(Duration::from_secs(3600)), "it has done something");
            // It may have gone back to sleep only after that look. A long break is no long idleness.
            let looks = (1..100).find(|_| look(Duration::from_secs(3600)));
            assert!(looks.is_some_and(|looks| looks >= 3), "{looks:?}");
        }
        drop(input);
        cat.wait().unwrap();
        assert!(!look(Duration::from_secs(10)), "it has ended");
    }

    #[tokio::test]
    async fn a_copy_may_take_as_long_to_end_as_when_it_was_launched_whatever_the_daemon_is_told_since()
     {
        let (instances, workshop) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut launcher = on_a_full_disk(instances.path());
        launcher.settings.copies.drain_limit = Duration::ZERO;
        let mut spec = spec("i1", "dga", "1.0");
        spec.settings.drain_limit = Duration::from_secs(600);
        let folder = InstanceFolder::new(instances.path(), &spec.instance);
        let lock = folder.create(&spec, workshop.path()).expect("made");
        folder.mark_stopping().expect("marked");
        let instance = spec.instance.clone();
        let mut life_after = |secs: u64| {
            let since = Instant::now().checked_sub(Duration::from_secs(secs));
            let since = since.expect("the machine has been up that long");
            launcher.stopping.insert(instance.clone(), since);
            let copies = launcher.observe(&HashMap::new()).expect("looked");
            copies[0].life
        };
        assert_eq!(life_after(0), Life::Stopping);
        assert_eq!(life_after(600), Life::Stopping);
        assert_eq!(life_after(630), Life::Hanging);
        // Nor less than it is now.
        launcher.settings.copies.drain_limit = Duration::from_secs(700);
        assert!(launcher.longest_patience() > Duration::from_secs(700));
        drop(lock);
    }

    #[tokio::test]
    async fn a_copy_that_cannot_be_ended_because_it_has_no_runner_is_an_error_until_it_is_dead() {
        let (instances, workshop) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut launcher = on_a_full_disk(instances.path());
        let spec = spec("i1", "dga", "1.0");
        let folder = InstanceFolder::new(instances.path(), &spec.instance);
        let lock = folder.create(&spec, workshop.path()).expect("made");
        for _ in 0..2 {
            for ending in [launcher.stop(&spec.instance), launcher.kill(&spec.instance)] {
                let error = ending.unwrap_err().to_string();
                assert!(error.contains("no process is its runner"), "{error}");
            }
        }
        assert!(!launcher.was_told_to_end(&spec.instance));
        drop(lock);
        launcher.stop(&spec.instance).expect("there is none");
        launcher.kill(&spec.instance).expect("there is none");
    }
}
