//! The local launcher: copies of models as processes of this machine.
//!
//! For each copy it makes an [`InstanceFolder`] and starts a runner in it, which from then on needs nobody. What lives is
//! found by looking at the folders, not by remembering: so a daemon that was killed and started again goes on where the last
//! one stopped. Only runners of the same ZooKeeper tree are ours; several daemons can share a machine.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use maas_client::InstanceId;
use maas_client::wire::state::{Desired, Phase};
use rustix::process::{PidfdFlags, Signal, pidfd_open};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::instance_folder::{self, InstanceFolder, LaunchSpec, RunnerSettings};
use crate::plan::{Copy, Life};
use crate::process::{ProcessIdentity, watched, with_environment};
use crate::runner::{last_lines, log_file};

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
    ended: mpsc::UnboundedSender<InstanceId>,
    /// One task for each runner, which waits for its end.
    attended: JoinSet<()>,
    /// The runners that have such a task.
    known: HashMap<InstanceId, ProcessIdentity>,
}

impl LocalLauncher {
    /// A launcher, and where it tells of runners that ended.
    ///
    /// # Errors
    /// When the folder for the copies can't be made.
    pub fn new(
        settings: LaunchSettings,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<InstanceId>)> {
        std::fs::create_dir_all(&settings.instances)?;
        instance_folder::remove_unfinished(&settings.instances)?;
        let (ended, ends) = mpsc::unbounded_channel();
        Ok((
            Self {
                settings,
                ended,
                attended: JoinSet::new(),
                known: HashMap::new(),
            },
            ends,
        ))
    }

    /// The copies there are. A copy's phase is what `phases` says of it.
    ///
    /// # Errors
    /// When the copies' folders can't be listed.
    pub fn observe(&mut self, phases: &HashMap<InstanceId, Phase>) -> io::Result<Vec<Copy>> {
        let mut copies = Vec::new();
        for (instance, folder) in instance_folder::all(&self.settings.instances)? {
            let spec = folder.launch_spec();
            if spec.as_ref().is_ok_and(|spec| !self.is_ours(spec)) {
                continue;
            }
            let life = match folder.is_alive() {
                Ok(true)
                    if folder
                        .stopping_for()
                        .is_some_and(|time| time > self.patience()) =>
                {
                    Life::Hanging
                }
                Ok(true) if folder.stopping_for().is_some() => Life::Stopping,
                Ok(true) => Life::Running(phases.get(&instance).copied()),
                Ok(false) => Life::Dead,
                Err(error) => {
                    warn!(%instance, %error, "it can't be told whether a copy lives; it is left alone");
                    continue;
                }
            };
            if life == Life::Dead {
                self.known.remove(&instance);
            } else {
                self.attend(&instance, &folder);
            }
            copies.push(Copy {
                instance,
                model: spec.ok().map(|spec| (spec.name, spec.version)),
                life,
            });
        }
        Ok(copies)
    }

    fn is_ours(&self, spec: &LaunchSpec) -> bool {
        spec.settings.tree == self.settings.copies.tree
    }

    /// How long a runner that was told to end may take.
    fn patience(&self) -> Duration {
        self.settings.copies.stop_limit() + Duration::from_secs(15)
    }

    /// Starts one more copy.
    ///
    /// # Errors
    /// When its folder can't be made or its runner can't be started.
    pub fn launch(&mut self, desired: &Desired) -> io::Result<InstanceId> {
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
        let child = folder
            .create(&spec)
            .and_then(|lock| start_runner(&settings.runner, &folder, lock.into()));
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                folder.remove()?;
                return Err(error);
            }
        };
        info!(model = %spec.name, version = %spec.version, %instance, pid = child.id(), "copy launched");
        if let Some(identity) = child.id().and_then(ProcessIdentity::of) {
            self.known.insert(instance.clone(), identity);
        }
        self.attend_child(instance.clone(), child);
        Ok(instance)
    }

    /// Tells a runner to end. Does not wait for it.
    ///
    /// # Errors
    /// When it can't be told.
    pub fn stop(&self, instance: &InstanceId) -> io::Result<()> {
        let folder = InstanceFolder::new(&self.settings.instances, instance);
        // A runner that has not said yet who it is can't have done anything yet either; its child handle tells.
        let identity = folder
            .runner()
            .or_else(|| self.known.get(instance).copied());
        let Some(identity) = identity else {
            return Err(io::Error::other(
                "its runner has not said yet which process it is",
            ));
        };
        // In this order: were we killed between the two, the next daemon would tell it again.
        if identity.signal(Signal::TERM)? {
            info!(%instance, pid = identity.pid, "copy told to end");
        }
        folder.mark_stopping()
    }

    /// Ends a runner that hangs. Its warden takes the model along.
    ///
    /// # Errors
    /// When it can't be killed.
    pub fn kill(&self, instance: &InstanceId) -> io::Result<()> {
        let folder = InstanceFolder::new(&self.settings.instances, instance);
        let identity = folder
            .runner()
            .or_else(|| self.known.get(instance).copied());
        if let Some(identity) = identity
            && identity.signal(Signal::KILL)?
        {
            warn!(%instance, pid = identity.pid, "a runner did not end when told to, and was killed");
        }
        Ok(())
    }

    /// Whether a copy has been told to end.
    #[must_use]
    pub fn was_told_to_end(&self, instance: &InstanceId) -> bool {
        InstanceFolder::new(&self.settings.instances, instance)
            .stopping_for()
            .is_some()
    }

    /// Takes away what a dead runner left, and tells how its log ended.
    ///
    /// # Errors
    /// When something can't be removed.
    pub fn clean(&self, instance: &InstanceId) -> io::Result<Vec<String>> {
        let folder = InstanceFolder::new(&self.settings.instances, instance);
        let last = last_lines(&log_file(&folder), 5);
        // Where runner and warden were killed together, nobody took the model along.
        for process in with_environment("MAAS_INSTANCE", instance.as_str()) {
            warn!(%instance, pid = process.pid, "a process outlived its runner; ending it");
            process.signal(Signal::KILL)?;
        }
        folder.remove()?;
        Ok(last)
    }

    /// Waits for the end of a runner that another daemon started.
    fn attend(&mut self, instance: &InstanceId, folder: &InstanceFolder) {
        if self.known.contains_key(instance) {
            return;
        }
        let Some(identity) = folder.runner() else {
            return;
        };
        let Some(pid) = i32::try_from(identity.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        else {
            return;
        };
        let pidfd: OwnedFd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) if identity.is_alive() => pidfd,
            _ => return,
        };
        info!(%instance, pid = identity.pid, "copy adopted");
        self.known.insert(instance.clone(), identity);
        let (instance, ended) = (instance.clone(), self.ended.clone());
        self.attended.spawn(async move {
            if let Ok(pidfd) = watched(pidfd) {
                let _readable_when_it_has_ended = pidfd.readable().await;
            }
            let _nobody_listens_when_we_stop = ended.send(instance);
        });
    }

    fn attend_child(&mut self, instance: InstanceId, mut child: Child) {
        let ended = self.ended.clone();
        self.attended.spawn(async move {
            match child.wait().await {
                Ok(status) if !status.success() => warn!(%instance, %status, "a runner has failed"),
                _ => {}
            }
            let _nobody_listens_when_we_stop = ended.send(instance);
        });
        while self.attended.try_join_next().is_some() {}
    }
}

fn start_runner(runner: &Path, folder: &InstanceFolder, lock: OwnedFd) -> io::Result<Child> {
    let log = std::fs::File::create(log_file(folder))?;
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", runner.display()));
    Command::new(runner)
        .arg(folder.path())
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
