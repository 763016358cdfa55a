//! The folder of one running copy, and what its files mean.
//!
//! ```text
//! <instances>/<instance id>/
//!   launch.json    what is to be run, written before the runner starts
//!   lock           locked by the runner for as long as it lives, so that its death needs no witness
//!   runner.json    which process the runner is; believed only where the kernel says the same
//!   stopping       there when the runner has been told to end
//!   fetching/      the bundle, while it is not complete
//!   work/          the bundle; the script runs here
//!   logs/          stdout and stderr of the model, rotated, and runner.log
//! ```
//! Whatever lies in it, the model can have replaced: it is read without trust ([`crate::untrusted`]).
//! The lock is taken before the runner is started and handed to it as its standard input: from the first moment to the
//! last, whoever finds the folder can tell a living copy from a dead one.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use maas_client::{InstanceId, ModelName, Version};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::crash::{Point, crash_point};
use crate::instances;
use crate::process::{ProcessIdentity, all_that_name_last};
use crate::untrusted;

/// The most bytes of `launch.json`: environment variables may be long.
const MAX_JSON_BYTES: u64 = 4 * 1024 * 1024;

/// The longest that a setting may have anything last: enough for whoever means for ever, and far from where sums overflow.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// All that we put into a copy's folder.
const PARTS: [&str; 9] = [
    "launch.json",
    "lock",
    "logs",
    "runner.json",
    "runner.tmp",
    "stopping",
    "fetching",
    "work",
    "launch.tmp",
];

/// What a runner needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// Which copy.
    pub instance: InstanceId,
    /// Of which model.
    pub name: ModelName,
    /// Of which version.
    pub version: Version,
    /// Memory of the copy, in MB.
    pub memory_mb: u32,
    /// Where the bundle lies in the model store.
    pub path: String,
    /// The generation of what should run by which it is launched.
    #[serde(default)]
    pub generation: u64,
    /// What all copies of a daemon have in common.
    #[serde(flatten)]
    pub settings: RunnerSettings,
}

/// What all copies of a daemon have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerSettings {
    /// Which ZooKeeper: `host:port[,host:port…][/chroot]`.
    pub quorum: String,
    /// Where the config node lies.
    pub config_node: String,
    /// The identity of the ZooKeeper tree, whatever it is called by: only its daemons own this copy.
    pub tree: String,
    /// How long ZooKeeper keeps our znodes when it hears nothing from us.
    pub session_timeout: Duration,
    /// The name of this host in published URLs.
    pub hostname: String,
    /// What the model finds in its environment besides the usual.
    pub environment: BTreeMap<String, String>,
    /// How long the model may take until it answers.
    pub start_timeout: Duration,
    /// How long a withdrawn model goes on answering those who have not heard of it yet.
    pub drain: Duration,
    /// How long a withdrawn model may take for the calls it is still answering.
    #[serde(default = "default_drain_limit")]
    pub drain_limit: Duration,
    /// How long the model may take to end after SIGTERM, before SIGKILL.
    pub stop_grace: Duration,
    /// How often a serving model is asked whether it still answers.
    pub health_interval: Duration,
    /// How long to wait before a model that failed is started again for the first time.
    #[serde(default = "default_restart_delay")]
    pub restart_delay: Duration,
    /// Below which cgroup each copy gets one of its own; `None` where memory is watched over instead.
    #[serde(default)]
    pub cgroups: Option<PathBuf>,
}

/// What holds for copies launched before there was such a setting.
fn default_drain_limit() -> Duration {
    Duration::from_secs(10)
}

fn default_restart_delay() -> Duration {
    Duration::from_millis(500)
}

impl RunnerSettings {
    /// How long a runner that was told to end may take for its model. However the model has changed what is read here, not
    /// without end.
    #[must_use]
    pub fn stop_limit(&self) -> Duration {
        self.drain.max(self.drain_limit).min(LONGEST) + self.stop_grace.min(LONGEST)
    }
}

/// The folder of one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceFolder {
    path: PathBuf,
}

impl InstanceFolder {
    /// The folder of `instance` among all instances' folders.
    #[must_use]
    pub fn new(instances: &Path, instance: &InstanceId) -> Self {
        Self {
            path: instances.join(instance.as_str()),
        }
    }

    /// The folder at `path`.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Makes the folder with what its runner needs, and locks it for the runner. It is put together in the folder `workshop`
    /// and appears under its name only when it is complete and locked, so that nobody takes it for a dead copy's.
    ///
    /// # Errors
    /// When the folder can't be made or written, or the workshop is taken away meanwhile.
    pub fn create(&self, spec: &LaunchSpec, workshop: &Path) -> io::Result<File> {
        let unfinished = Self {
            path: workshop.join(spec.instance.as_str()),
        };
        let made = unfinished.fill(spec).and_then(|lock| {
            crash_point(Point::LaunchBeforeMove);
            fs::rename(&unfinished.path, &self.path)?;
            Ok(lock)
        });
        if made.is_err() {
            let _the_next_daemon_removes_what_is_left = unfinished.remove();
        }
        made
    }

    fn fill(&self, spec: &LaunchSpec) -> io::Result<File> {
        let mut builder = fs::DirBuilder::new();
        // A model's environment may hold secrets; nobody else is to read them.
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.path)?;
        builder.create(self.logs())?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        write_json(&self.path.join("launch.json"), spec)?;
        Ok(lock)
    }

    /// What is to be run here.
    ///
    /// # Errors
    /// When the file is missing or broken.
    pub fn launch_spec(&self) -> io::Result<LaunchSpec> {
        read_json(&self.path.join("launch.json"))
    }

    /// Whether a runner lives here.
    ///
    /// # Errors
    /// When the lock can't be tried.
    pub fn is_alive(&self) -> io::Result<bool> {
        let lock = match untrusted::open(&self.path.join("lock")) {
            Ok(lock) => lock,
            // A lock that is none was put there by the model; whoever held the true one can't be found by it any more.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidData
                ) =>
            {
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // The model has locked us out of what is ours; with the doors open again, the lock tells.
                open_up(&self.path);
                let lock = self.path.join("lock");
                fs::set_permissions(&lock, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
                untrusted::open(&lock)?
            }
            Err(error) => return Err(error),
        };
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down which process the runner is.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_identity(&self) -> io::Result<()> {
        write_json(&self.path.join("runner.json"), &ProcessIdentity::own()?)
    }

    /// Which process the runner is, by what the kernel says of it; `None` when none is. The file only tells where to look
    /// first.
    #[must_use]
    pub fn runner(&self) -> Option<ProcessIdentity> {
        let said: Option<ProcessIdentity> = read_json(&self.path.join("runner.json")).ok();
        let name = self.path.file_name()?;
        said.filter(|process| process.is_alive() && process.names_last(name))
            .into_iter()
            .chain(iter::once_with(|| all_that_name_last(name)).flatten())
            .find(|process| self.is_locked_by(process))
    }

    /// Of which ZooKeeper tree its living runner is, as it was started; those that earlier releases started don't tell.
    pub(crate) fn tree_of_runner(&self) -> Option<OsString> {
        let mut arguments = self.runner()?.arguments();
        let _folder = arguments.pop();
        let tree = arguments.pop();
        tree.filter(|_| !arguments.is_empty())
    }

    /// Whether a process was started with our lock as its standard input, as runners are and nobody else.
    fn is_locked_by(&self, process: &ProcessIdentity) -> bool {
        let input = fs::read_link(format!("/proc/{}/fd/0", process.pid)).unwrap_or_default();
        let folder = input.parent().and_then(Path::file_name);
        input.ends_with("lock") && folder == self.path.file_name()
    }

    /// Whether this is certainly the folder of `instance`.
    pub(crate) fn is_provably_of(&self, instance: &InstanceId) -> bool {
        let spec = self.launch_spec();
        spec.is_ok_and(|spec| spec.instance == *instance) || self.is_spoilt()
    }

    /// What is to be run here; nothing when the file is missing or broken, and so will be the next time, too.
    ///
    /// # Errors
    /// When it can't be told now, say for want of descriptors.
    pub(crate) fn lasting_launch_spec(&self) -> io::Result<Option<LaunchSpec>> {
        lasting(self.launch_spec())
    }

    /// Whether this is certainly a copy's folder although its launch file tells nothing.
    pub(crate) fn is_spoilt(&self) -> bool {
        self.runner().is_some() || self.is_laid_out()
    }

    /// Whether its name is an id of ours, and in it is nothing but what we put there, a launch file without content among it.
    fn is_laid_out(&self) -> bool {
        let name = self.path.file_name().and_then(OsStr::to_str);
        let entries = fs::read_dir(&self.path).and_then(Iterator::collect);
        let entries: Vec<fs::DirEntry> = entries.unwrap_or_default();
        let names: HashSet<OsString> = entries.iter().map(fs::DirEntry::file_name).collect();
        let has_all = ["launch.json", "lock"].map(OsStr::new);
        let launch = read_json::<serde::de::IgnoredAny>(&self.path.join("launch.json"));
        name.is_some_and(instances::is_id)
            && has_all.iter().all(|name| names.contains(*name))
            && names
                .iter()
                .all(|name| PARTS.iter().any(|part| name == part))
            && matches!(lasting(launch), Ok(None))
    }

    /// Notes that the runner has been told to end.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn mark_stopping(&self) -> io::Result<()> {
        File::create(self.path.join("stopping")).map(|_| ())
    }

    /// Whether the runner has been told to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        fs::symlink_metadata(self.path.join("stopping")).is_ok()
    }

    /// Takes the folder and all in it away. What makes it a copy's goes last, under a name by which whatever is left of it is known
    /// to be ours: whoever finds a half of it can still tell whose it is, and whether somebody lives there.
    ///
    /// # Errors
    /// When something in it can't be removed.
    pub fn remove(&self) -> io::Result<()> {
        for part in [self.work(), self.unfinished_work()] {
            // The model may have put anything in its place; the removal of the whole tells.
            let _perhaps_it_is_no_folder = self.remove_part(&part);
        }
        crash_point(Point::RemovalHalfDone);
        let name = self.path.file_name().unwrap_or_default();
        let gone = self.path.with_file_name(instances::leftover(name));
        let rest = match fs::rename(&self.path, &gone) {
            Ok(()) => Self::at(gone),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Say, for the disk is full.
            Err(_) => self.clone(),
        };
        rest.delete()
    }

    /// Deletes the folder and all in it, in whatever order.
    pub(crate) fn delete(&self) -> io::Result<()> {
        self.remove_part(&self.path)
    }

    fn remove_part(&self, part: &Path) -> io::Result<()> {
        let removed = fs::remove_dir_all(part).or_else(|error| {
            if error.kind() != io::ErrorKind::PermissionDenied {
                return Err(error);
            }
            // The model may have locked a folder of its own against us.
            open_up(&self.path);
            fs::remove_dir_all(part)
        });
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the script runs.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// Where the bundle is put together before it becomes the folder the script runs in.
    #[must_use]
    pub fn unfinished_work(&self) -> PathBuf {
        self.path.join("fetching")
    }

    /// Where logs are written.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}

/// Gives us back the right to look into and change every folder below `path`. Links are not followed.
fn open_up(path: &Path) {
    let _what_remains_closed_is_reported_by_the_removal =
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, serde_json::to_vec_pretty(value)?)?;
    fs::rename(temporary, path)
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> io::Result<T> {
    let named = |kind: io::ErrorKind, error: &dyn std::fmt::Display| {
        io::Error::new(kind, format!("{}: {error}", path.display()))
    };
    let bytes =
        untrusted::read(path, MAX_JSON_BYTES).map_err(|error| named(error.kind(), &error))?;
    serde_json::from_slice(&bytes).map_err(|error| named(io::ErrorKind::InvalidData, &error))
}

/// What was read; nothing when there is nothing to be read, now or later.
fn lasting<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    const LASTING: [io::ErrorKind; 5] = [
        io::ErrorKind::NotFound,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::InvalidData,
        io::ErrorKind::FileTooLarge,
    ];
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if LASTING.contains(&error.kind()) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use test_support::TempDir;

    use super::*;

    pub(crate) fn spec(instance: &str, name: &str, version: &str) -> LaunchSpec {
        LaunchSpec {
            instance: InstanceId::new(instance).expect("an id"),
            name: ModelName::new(name).expect("a name"),
            version: Version::new(version).expect("a version"),
            memory_mb: 64,
            path: "/models/x".to_owned(),
            generation: 1,
            settings: RunnerSettings {
                quorum: "localhost:2181".to_owned(),
                config_node: "/metron/maas/config".to_owned(),
                tree: "a tree".to_owned(),
                session_timeout: Duration::from_secs(6),
                hostname: "localhost".to_owned(),
                environment: BTreeMap::new(),
                start_timeout: Duration::from_secs(60),
                drain: Duration::ZERO,
                drain_limit: Duration::from_secs(10),
                stop_grace: Duration::from_secs(5),
                health_interval: Duration::from_secs(10),
                restart_delay: Duration::from_millis(500),
                cgroups: None,
            },
        }
    }

    #[test]
    fn a_launch_file_of_an_earlier_release_is_read() {
        let spec = spec("i1", "dga", "1.0");
        let mut json = serde_json::to_value(&spec).expect("JSON");
        for later in ["drain_limit", "restart_delay", "generation", "cgroups"] {
            assert!(
                json.as_object_mut()
                    .expect("an object")
                    .remove(later)
                    .is_some()
            );
        }
        let read: LaunchSpec = serde_json::from_value(json).expect("read");
        assert_eq!(read.settings, spec.settings);
    }

    #[test]
    fn a_folder_that_cannot_be_made_leaves_nothing_behind() {
        let (instances, workshop) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let spec = spec("i1", "dga", "1.0");
        let folder = InstanceFolder::new(instances.path(), &spec.instance);
        // Something lies where the folder should come to lie.
        fs::create_dir_all(folder.path().join("in the way")).expect("made");
        assert!(folder.create(&spec, workshop.path()).is_err());
        let left = |folder: &TempDir| fs::read_dir(folder).expect("listed").count();
        assert_eq!((left(&instances), left(&workshop)), (1, 0));
        // Nor can it be made where there is no workshop, which is not made for its sake.
        let gone = workshop.path().join("gone");
        assert!(folder.create(&spec, &gone).is_err() && !gone.exists());
    }

    #[test]
    fn a_folder_is_alive_exactly_as_long_as_somebody_holds_its_lock() {
        let (instances, workshop) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let spec = spec("i1", "dga", "1.0");
        let folder = InstanceFolder::new(instances.path(), &spec.instance);
        assert!(!folder.is_alive().expect("no folder, no life"));
        let lock = folder.create(&spec, workshop.path()).expect("made");
        assert!(folder.is_alive().expect("asked"));
        assert_eq!(folder.launch_spec().expect("written"), spec);
        // Handed to a child, it outlives us.
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(lock)
            .spawn()
            .expect("cat");
        assert!(folder.is_alive().expect("asked"));
        drop(child.stdin.take());
        child.wait().expect("ended");
        assert!(!folder.is_alive().expect("asked"));
        folder.remove().expect("removed");
        let left = fs::read_dir(instances.path()).expect("listed").count();
        assert_eq!(left, 0);
    }
}
