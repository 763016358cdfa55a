//! Cgroups: where one with a memory controller has been given to us, the kernel holds each copy to its memory.
//!
//! ```text
//! <base>/                  ours to divide; holds no process itself
//!   daemon/                the daemon, runners and wardens, without a limit
//!   copy-<instance id>/    a model with all its processes, for one start
//! ```
//! Where the base is, is decided once, when the daemon starts ([`take_base`]), and told to each runner. A cgroup that
//! divides memory among others may hold no process of its own, so whoever starts a service must be able to put it straight
//! into the leaf `daemon`: otherwise the first daemon could start, and the next one, while copies run on, could not.
//! Hence the rule: the base is what lies above a cgroup called `daemon` (systemd's `DelegateSubgroup=daemon`), or the root,
//! as a container sees its own. Anything else may belong to somebody else, writable or not.
//!
//! Reading and writing these files never waits for a process; what does is said to.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use maas_client::InstanceId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Where cgroups are mounted, by everybody's convention.
const MOUNT: &str = "/sys/fs/cgroup";

/// The cgroup below the base in which the daemon lives, and runners and wardens with it.
const LEAF: &str = "daemon";

/// How many processes *and threads* a copy's cgroup takes. What a copy may have is counted in processes and is less
/// (`runner/watchdog.rs`); this keeps a fork bomb from the machine's last number until it is found.
const MAX_TASKS: u32 = 16 * 1024;

/// How often processes beside us are moved out of the base: others may be starting there at this moment.
const CLEARINGS: usize = 10;

/// How long killed processes may take to be gone, which is not up to them, where nobody else waits meanwhile.
pub const DYING: Duration = Duration::from_secs(2);

const MB: u64 = 1024 * 1024;

/// Why the kernel can't limit the copies' memory here.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is no cgroup v2, or memory is not among what it divides.
    #[error("there is no cgroup v2 with a memory controller at `{}`", base.display())]
    NoController {
        /// Where it would have to be.
        base: PathBuf,
    },
    /// Nobody has given us a cgroup to divide.
    #[error("the service's cgroup is `{cgroup}`, which is not a delegated one's `{LEAF}`")]
    NotDelegated {
        /// The cgroup the service is in.
        cgroup: String,
    },
    /// The kernel refuses.
    #[error("`{}` can't be written", path.display())]
    Refused {
        /// What can't be written or made.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Finds the cgroup that has been given to us, moves this process into its leaf, and has memory divided below it.
///
/// # Errors
/// With the reason, when there is none.
pub fn take_base() -> Result<PathBuf, Unusable> {
    let own = own_cgroup().unwrap_or_default();
    let Some(base) = base_of(&own) else {
        return Err(Unusable::NotDelegated { cgroup: own });
    };
    let controllers = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
    let has = |name| controllers.split_ascii_whitespace().any(|c| c == name);
    if !has("memory") {
        return Err(Unusable::NoController { base });
    }
    let wanted = if has("pids") {
        "+memory +pids"
    } else {
        "+memory"
    };
    let leaf = base.join(LEAF);
    let moves = cgroup_at(&own) != leaf;
    if moves {
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(refused(&leaf)(error));
            }
            _ => {}
        }
        enter(&leaf).map_err(refused(&leaf))?;
    }
    divide(&base, &leaf, wanted).inspect_err(|_| {
        if moves {
            let _we_may_as_well_stay = enter(&base).and_then(|()| fs::remove_dir(&leaf));
        }
    })?;
    Ok(base)
}

fn refused(path: &Path) -> impl FnOnce(io::Error) -> Unusable {
    let path = path.to_owned();
    move |source| Unusable::Refused { path, source }
}

/// Has the base divide what is `wanted`. Whoever else is in it, a container's first process or a runner from before it was
/// given to us, is moved into the leaf, for then it may hold no process.
fn divide(base: &Path, leaf: &Path, wanted: &str) -> Result<(), Unusable> {
    let control = base.join("cgroup.subtree_control");
    let mut clearings = 0;
    loop {
        match fs::write(&control, wanted) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && clearings < CLEARINGS => {
                clearings += 1;
                let there = fs::read_to_string(base.join("cgroup.procs")).unwrap_or_default();
                for pid in there.lines() {
                    let _it_may_have_ended = fs::write(leaf.join("cgroup.procs"), pid);
                }
            }
            Err(error) => return Err(refused(&control)(error)),
        }
    }
}

/// The cgroup that is ours to divide, of a process in `cgroup`; `None` when that is not for us to say.
fn base_of(cgroup: &str) -> Option<PathBuf> {
    let base = match cgroup {
        "/" => "/",
        other => other.strip_suffix(LEAF)?.strip_suffix('/')?,
    };
    Some(cgroup_at(base))
}

/// Whether a path, which the model may have written, can be that of a cgroup: nobody makes links, pipes or files where cgroups
/// are.
#[must_use]
pub fn may_be_base(path: &Path) -> bool {
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    path.starts_with(MOUNT) && path.components().all(is_plain)
}

/// The folder of the cgroup that is called `cgroup` in `/proc`.
fn cgroup_at(cgroup: &str) -> PathBuf {
    Path::new(MOUNT).join(cgroup.trim_matches('/'))
}

/// The most memory that this process and all beside it may use by its cgroups, in bytes, if they say so.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    least_limit(Path::new(MOUNT), &cgroup_at(&own_cgroup().ok()?))
}

/// The least that a cgroup and those above it, up to where they are mounted, allow.
fn least_limit(mount: &Path, cgroup: &Path) -> Option<u64> {
    let limit = |cgroup: &Path| {
        let limit = fs::read_to_string(cgroup.join("memory.max")).ok()?;
        limit.trim().parse().ok()
    };
    let up = cgroup.ancestors();
    up.take_while(|above| above.starts_with(mount))
        .filter_map(limit)
        .min()
}

/// The cgroup (v2) this process is in, as `/proc` calls it.
fn own_cgroup() -> io::Result<String> {
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
    own.map(str::to_owned)
        .ok_or_else(|| io::Error::other("this process is in no cgroup of version 2"))
}

/// Moves this process there.
fn enter(cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}

/// Does something in another cgroup, so that whatever process it starts is born there, and comes back.
///
/// # Errors
/// When this process can't go there; then it was not done.
pub fn inside<T>(cgroup: &Path, act: impl FnOnce() -> T) -> io::Result<T> {
    let home = cgroup_at(&own_cgroup()?);
    enter(cgroup)?;
    let done = act();
    let _otherwise_we_share_its_fate = enter(&home);
    Ok(done)
}

/// The cgroup of one copy's model, if there is one.
#[derive(Clone, Debug)]
pub struct CopyCgroup {
    path: PathBuf,
}

/// How often the kernel has killed in a cgroup for want of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kills {
    /// How often the cgroup was at its limit and there was nothing to be had by tidying up.
    pub at_limit: u64,
    /// How many of its processes were killed, because of that or because others took the machine's memory.
    pub killed: u64,
}

impl CopyCgroup {
    /// The cgroup of `instance` below `base`, whether it is there or not.
    #[must_use]
    pub fn of(base: &Path, instance: &InstanceId) -> Self {
        Self {
            path: base.join(format!("copy-{instance}")),
        }
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it anew, for processes that use `limit_mb` megabytes (2²⁰ bytes) together. What an earlier one still holds is
    /// ended, which may take as long as [`end`](Self::end).
    ///
    /// # Errors
    /// When the kernel refuses; then there is none.
    pub fn create(&self, limit_mb: u32) -> io::Result<()> {
        self.end(DYING)?;
        fs::create_dir(&self.path)?;
        self.limit(u64::from(limit_mb) * MB).inspect_err(|_| {
            let _an_empty_one_harms_nobody = fs::remove_dir(&self.path);
        })
    }

    fn limit(&self, bytes: u64) -> io::Result<()> {
        let set = |file: &str, value: u64| fs::write(self.path.join(file), value.to_string());
        let set_if_there = |file: &str, value: u64| match set(file, value) {
            // Not every kernel can swap, or counts processes for us.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !self.has(file) => {
                Ok(())
            }
            done => done,
        };
        set("memory.max", bytes)?;
        set_if_there("memory.swap.max", 0)?;
        // A model that lost some of its processes is no model any more.
        set_if_there("memory.oom.group", 1)?;
        set_if_there("pids.max", MAX_TASKS.into())
    }

    fn has(&self, file: &str) -> bool {
        self.path.join(file).exists()
    }

    /// How often the kernel has killed in it; `None` when it can't be told.
    #[must_use]
    pub fn kills(&self) -> Option<Kills> {
        Kills::parse(&fs::read_to_string(self.path.join("memory.events")).ok()?)
    }

    /// The most memory that its processes used together, in bytes, where the kernel (5.19 or later) remembers it.
    #[must_use]
    pub fn peak(&self) -> Option<u64> {
        let peak = fs::read_to_string(self.path.join("memory.peak")).ok()?;
        peak.trim().parse().ok()
    }

    /// Kills whatever is in it and removes it. Waits until the killed are gone, for `patience` at most.
    ///
    /// # Errors
    /// When it can't be removed, as when they take longer.
    pub fn end(&self, patience: Duration) -> io::Result<()> {
        let populated = match File::open(self.path.join("cgroup.events")) {
            Ok(events) => events,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // Kernels before 5.14 don't kill for us; then what the warden and the daemon kill must do.
        let _if_it_can = fs::write(self.path.join("cgroup.kill"), "1");
        wait_until_empty(populated, patience)?;
        remove_tree(&self.path)
    }
}

impl Kills {
    fn parse(events: &str) -> Option<Self> {
        let count = |name: &str| {
            let mut lines = events.lines();
            let count = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            count.parse().ok()
        };
        Some(Self {
            at_limit: count("oom")?,
            // Newer kernels say of a whole group that it was killed, and count its processes besides.
            killed: count("oom_kill")?.max(count("oom_group_kill").unwrap_or(0)),
        })
    }
}

/// Waits until no process lives in the cgroup with these `cgroup.events`, whose change the kernel tells of.
fn wait_until_empty(mut events: File, patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let mut text = String::new();
        events.rewind()?;
        match events.read_to_string(&mut text) {
            Ok(_) if text.lines().any(|line| line == "populated 0") => return Ok(()),
            Ok(_) => {}
            // Somebody else has removed it.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::other(
                "processes in its cgroup don't end though they were killed",
            ));
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left))?;
    }
}

/// Removes a cgroup and all that the model may have made below it.
fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_the_root_or_what_lies_above_a_leaf_called_daemon() {
        let base = |cgroup: &str| base_of(cgroup).map(|base| base.display().to_string());
        assert_eq!(base("/").unwrap(), "/sys/fs/cgroup/");
        assert_eq!(base("/daemon").unwrap(), "/sys/fs/cgroup/");
        assert_eq!(
            base("/system.slice/maas.service/daemon").unwrap(),
            "/sys/fs/cgroup/system.slice/maas.service"
        );
        for others in [
            "",
            "/user.slice/user-0.slice/session-1.scope",
            "/system.slice/maas.service",
            "/system.slice/maas-daemon",
        ] {
            assert_eq!(base(others), None, "{others}");
        }
    }

    #[test]
    fn only_where_cgroups_are_something_is_taken_for_one() {
        let may_be = |path: &str| may_be_base(Path::new(path));
        assert!(may_be("/sys/fs/cgroup/") && may_be("/sys/fs/cgroup/system.slice/maas.service"));
        for other in [
            "/sys/fs/cgroup/../../tmp",
            "/sys/fs/cgroups",
            "/tmp/sys/fs/cgroup",
            "sys/fs/cgroup",
            "",
        ] {
            assert!(!may_be(other), "{other}");
        }
    }

    #[test]
    fn killings_are_read_from_the_kernels_list_by_their_whole_names() {
        let events = "low 0\nhigh 0\nmax 731\noom 2\noom_kill 3\noom_group_kill 1\n";
        let kills = Kills {
            at_limit: 2,
            killed: 3,
        };
        assert_eq!(Kills::parse(events), Some(kills));
        let older = events.replace("oom_group_kill 1\n", "");
        assert_eq!(Kills::parse(&older), Some(kills));
        assert_eq!(Kills::parse("low 0\n"), None);
    }

    #[test]
    fn what_is_not_there_has_ended() {
        let folder = test_support::TempDir::new().expect("a folder");
        let cgroup = CopyCgroup::of(folder.path(), &InstanceId::generate());
        cgroup.end(DYING).expect("nothing to do");
        assert_eq!((cgroup.kills(), cgroup.peak()), (None, None));
    }

    #[test]
    fn of_all_limits_above_the_least_counts() {
        let mount = test_support::TempDir::new().expect("a folder");
        let inner = mount.path().join("a/b");
        fs::create_dir_all(&inner).expect("made");
        let least = || least_limit(mount.path(), &inner);
        assert_eq!(least(), None);
        for (cgroup, limit) in [("a/b", "max\n"), ("a", "4096\n"), ("", "8192\n")] {
            fs::write(mount.path().join(cgroup).join("memory.max"), limit).expect("written");
        }
        assert_eq!(least(), Some(4096));
    }
}
