//! Who a process is, so that only the right one is ever signalled.
//!
//! A process id alone is a poor name: it is given to a stranger as soon as its owner is gone. Together with the time the
//! process started it is unique for as long as the machine is up, and together with what the kernel calls this time of
//! its being up, for ever.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

/// One process, and no other that may get its number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
    /// Which time of the machine's being up that was; 0 when it was not written down.
    #[serde(default)]
    pub boot: u64,
}

/// What `/proc/<pid>/stat` tells of a process.
#[derive(Clone, Copy, Debug)]
struct Stat {
    parent: u32,
    started: u64,
}

impl ProcessIdentity {
    /// The process that has this id now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self::new(pid, read_stat(pid)?))
    }

    fn new(pid: u32, stat: Stat) -> Self {
        Self {
            pid,
            started: stat.started,
            boot: boot(),
        }
    }

    /// This process.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
            .ok_or_else(|| io::Error::other("/proc/self/stat can't be read"))
    }

    /// Whether it still runs (or waits to be reaped).
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let is_it =
            |now: Self| now.started == self.started && (self.boot == 0 || now.boot == self.boot);
        Self::of(self.pid).is_some_and(is_it)
    }

    /// What it was started with, its own name first; nothing of one that has ended.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let arguments = line.strip_suffix(&[0]).unwrap_or(&line).split(|&b| b == 0);
        arguments
            .map(|argument| OsStr::from_bytes(argument).to_owned())
            .collect()
    }

    /// Whether the last argument it was started with is a path to something of this name.
    #[must_use]
    pub fn names_last(&self, name: &OsStr) -> bool {
        let last = self.arguments().pop().unwrap_or_default();
        Path::new(&last).file_name() == Some(name)
    }

    /// A descriptor of it, and of no other process; nothing when it is gone.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn pinned(&self, flags: PidfdFlags) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        // The descriptor pins whichever process has the number now; only then is it checked to be the right one.
        match pidfd_open(pid, flags) {
            Ok(pidfd) => Ok(self.is_alive().then_some(pidfd)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it has ended, or ends within so long, for which this thread waits.
    ///
    /// # Errors
    /// When the system doesn't let it be waited for.
    pub fn has_ended_within(&self, patience: Duration) -> io::Result<bool> {
        let Some(pidfd) = self.pinned(PidfdFlags::empty())? else {
            return Ok(true);
        };
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout))?;
        Ok(ended > 0)
    }

    /// How often the kernel has let a thread of it run. Of one that is stopped or waits for what never comes, this stays as it is.
    #[must_use]
    pub fn turns(&self) -> Option<u64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).ok()?;
        let statuses = tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
        let turns = statuses.map(|status| turns(&status)).sum();
        self.is_alive().then_some(turns)
    }

    /// Sends it a signal; tells whether it was there to get it.
    ///
    /// # Errors
    /// When the system refuses, say for lack of permission.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pidfd) = self.pinned(PidfdFlags::empty())? else {
            return Ok(false);
        };
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// A process, told so that others can find out whether it has died: those on the same machine that see the same processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mortal {
    process: ProcessIdentity,
    /// What the kernel calls the processes among which it has its number: a container has its own.
    namespace: u64,
}

impl Mortal {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn own() -> io::Result<Self> {
        Ok(Self {
            process: ProcessIdentity::own()?,
            namespace: pid_namespace()?,
        })
    }

    /// Whether it is certain that it runs, or ran, where we see no processes: on another machine, on this one before it last
    /// went down, or in another container.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        let theirs = self.process.boot;
        let known = [theirs, boot()].iter().all(|&boot| boot > UNKNOWN_BOOT);
        known && (theirs != boot() || pid_namespace().is_ok_and(|ours| ours != self.namespace))
    }

    /// Whether it is certain that it has died. It is not where nobody here can tell, nor where another process has its number
    /// by now.
    #[must_use]
    pub fn has_died(&self) -> bool {
        let is_ours = self.process.boot == boot()
            && boot() != UNKNOWN_BOOT
            && pid_namespace().is_ok_and(|namespace| namespace == self.namespace);
        let pid = i32::try_from(self.process.pid).ok().and_then(Pid::from_raw);
        let is_gone = |pid| {
            let found = pidfd_open(pid, PidfdFlags::empty());
            matches!(found, Err(rustix::io::Errno::SRCH))
        };
        is_ours && pid.is_some_and(is_gone)
    }
}

/// What the kernel calls the processes that this one sees.
fn pid_namespace() -> io::Result<u64> {
    Ok(std::fs::metadata("/proc/self/ns/pid")?.ino())
}

/// Waits for events of a descriptor without blocking.
///
/// # Errors
/// When the runtime can't watch it.
pub fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // What is unsound about it needs a type that gives out descriptors it does not own; an `OwnedFd` owns its.
    #[expect(
        deprecated,
        reason = "its successor is an unsafe function, and we have no unsafe code"
    )]
    AsyncFd::new(descriptor)
}

/// All processes below `ancestor`, nearest first.
#[must_use]
pub fn descendants(ancestor: u32) -> Vec<ProcessIdentity> {
    let mut all = Vec::new();
    if let Ok(entries) = std::fs::read_dir("/proc") {
        for pid in entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
        {
            all.extend(read_stat(pid).map(|stat| (pid, stat)));
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![ancestor];
    while !parents.is_empty() {
        let (children, rest): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(_, stat)| parents.contains(&stat.parent));
        parents = children.iter().map(|(pid, _)| *pid).collect();
        let children = children.into_iter();
        found.extend(children.map(|(pid, stat)| ProcessIdentity::new(pid, stat)));
        all = rest;
    }
    found
}

/// The ids of the processes below `ancestor`, at most about `limit` of them. Cheaper than [`descendants`], for its cost is
/// theirs alone and not that of the whole machine; but one whose sibling ends at this moment may be missing.
#[must_use]
pub fn below(ancestor: u32, limit: usize) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop()
        && found.len() < limit
    {
        match children(parent) {
            Some(children) => {
                found.extend(&children);
                parents.extend(children);
            }
            // Some kernels are built without these lists.
            None if ProcessIdentity::of(parent).is_some() => {
                let all = descendants(ancestor);
                return all.into_iter().map(|p| p.pid).take(limit).collect();
            }
            None => {}
        }
    }
    found
}

/// The children of a process, each of which belongs to one of its threads; `None` when the kernel has no lists of them, or
/// the process is gone.
fn children(pid: u32) -> Option<Vec<u32>> {
    let mut children = Vec::new();
    let mut listed = false;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))
        .ok()?
        .flatten()
    {
        let Ok(list) = std::fs::read_to_string(thread.path().join("children")) else {
            continue;
        };
        listed = true;
        children.extend(
            list.split_ascii_whitespace()
                .filter_map(|child| child.parse::<u32>().ok()),
        );
    }
    listed.then_some(children)
}

/// All processes that were started with this in their environment.
#[must_use]
pub fn with_environment(name: &str, value: &str) -> Vec<ProcessIdentity> {
    let wanted = format!("{name}={value}");
    let holds = |pid: u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|&byte| byte == 0)
            .any(|entry| entry == wanted.as_bytes())
    };
    // The identity first: should the number pass to another process, it is the first one that is meant.
    all().filter(|process| holds(process.pid)).collect()
}

/// All processes whose last argument is a path to something of this name, those that started first before the others.
#[must_use]
pub fn all_that_name_last(name: &OsStr) -> Vec<ProcessIdentity> {
    let mut found: Vec<_> = all().filter(|process| process.names_last(name)).collect();
    found.sort_by_key(|process| process.started);
    found
}

/// All processes there are.
fn all() -> impl Iterator<Item = ProcessIdentity> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(ProcessIdentity::of)
}

/// What stands for a time of being up whose name can't be read.
const UNKNOWN_BOOT: u64 = 1;

/// What the kernel calls this time of the machine's being up: the first half of a random number, and never 0.
fn boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = id
            .chars()
            .filter(char::is_ascii_hexdigit)
            .take(16)
            .collect();
        u64::from_str_radix(&digits, 16).map_or(UNKNOWN_BOOT, |boot| boot.max(UNKNOWN_BOOT))
    })
}

/// The switches of one thread, those it asked for and the others.
fn turns(status: &str) -> u64 {
    let lines = status
        .lines()
        .filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
    lines
        .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
        .sum()
}

fn read_stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { parent, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_process_is_found_by_its_lists_of_children_as_by_all_of_proc() {
        // A child, and a grandchild that it waits for.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "cat; true"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("sh");
        let both = || {
            let mut listed = below(std::process::id(), 1000);
            let mut scanned: Vec<u32> = descendants(std::process::id())
                .iter()
                .map(|p| p.pid)
                .collect();
            listed.sort_unstable();
            scanned.sort_unstable();
            (listed, scanned)
        };
        let ours = |pids: &[u32]| {
            let own = below(child.id(), 10);
            pids.contains(&child.id()) && own.len() == 1 && pids.contains(&own[0])
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let (listed, scanned) = both();
            if ours(&listed) && ours(&scanned) {
                break;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{listed:?}, {scanned:?}"
            );
            std::thread::yield_now();
        }
        assert_eq!(below(child.id(), 1).len(), 1);
        drop(child.stdin.take());
        child.wait().expect("ended");
    }

    #[test]
    fn that_a_process_has_died_is_certain_only_where_its_number_is_seen() {
        let own = Mortal::own().expect("/proc");
        assert!(!own.has_died());
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat");
        let process = ProcessIdentity::of(child.id()).expect("it runs");
        let its = Mortal { process, ..own };
        assert!(!its.has_died());
        drop(child.stdin.take());
        child.wait().expect("ended");
        assert!(its.has_died());
        let boot = process.boot ^ 2;
        let elsewhere = [
            Mortal {
                namespace: own.namespace + 1,
                ..its
            },
            Mortal {
                process: ProcessIdentity { boot, ..process },
                ..its
            },
        ];
        assert!(!elsewhere.iter().any(Mortal::has_died));
        assert!(elsewhere.iter().all(Mortal::is_elsewhere));
        // Where the time of being up was not written down, it is not known.
        let untold = Mortal {
            process: ProcessIdentity { boot: 0, ..process },
            ..its
        };
        assert!(!untold.is_elsewhere() && !own.is_elsewhere());
    }

    #[test]
    fn a_process_is_known_by_id_start_and_boot() {
        let own = ProcessIdentity::own().expect("/proc");
        assert!(own.is_alive());
        let later = ProcessIdentity {
            started: own.started + 1,
            ..own
        };
        // As it comes out of a folder that has outlived the machine's going down.
        let earlier_boot = ProcessIdentity {
            boot: own.boot ^ 1,
            ..own
        };
        for stranger in [later, earlier_boot] {
            assert!(!stranger.is_alive());
            assert!(
                !stranger.signal(Signal::KILL).expect("no refusal"),
                "a stranger must not be signalled"
            );
        }
        let earlier_release = format!(r#"{{"pid":{},"started":{}}}"#, own.pid, own.started);
        let read: ProcessIdentity = serde_json::from_str(&earlier_release).expect("read");
        assert!(read.is_alive());
    }
}
