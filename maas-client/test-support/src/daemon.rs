//! The daemon `maas_service`, with a folder of its own for the copies it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::binary;
use crate::leash::{Leash, Program};
use crate::signal::send_signal;

/// The file in the daemon's folder that says where it is to be killed.
const CRASH_FILE: &str = "crash-at";

/// A running daemon. When it is dropped, the daemon and all its copies are gone.
#[derive(Debug)]
pub struct Daemon {
    leash: Leash,
}

impl Daemon {
    /// Starts a daemon on a ZooKeeper, with further options. Does not wait until it leads.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub fn start(connect_string: &str, options: &[&str]) -> Self {
        let program = Program::new(binary("maas_service"));
        Self::start_program(program, connect_string, options)
    }

    /// Starts a daemon whose folder is a disk of its own, mounted with these options of `tmpfs`. Nobody but the daemon and
    /// what it starts sees that disk, but for [`disk`](Self::disk).
    ///
    /// # Panics
    ///
    /// When it can't be started, or the machine lets nobody mount anything, not even for himself.
    pub fn start_on_disk(connect_string: &str, options: &[&str], mount: &str) -> Self {
        const MOUNT: &str =
            r#"mount -t tmpfs -o "$1" tmpfs "$MAAS_HOME" || exit; shift; exec "$@""#;
        let program = Program::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", mount])
            .arg(binary("maas_service"));
        Self::start_program(program, connect_string, options)
    }

    /// Starts a daemon in a cgroup, which is made if it is not there. Whenever it is started again, it starts there.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub fn start_in_cgroup(connect_string: &str, options: &[&str], cgroup: &Path) -> Self {
        const ENTER: &str =
            r#"mkdir -p "$1" && echo $$ > "$1/cgroup.procs" || exit; shift; exec "$@""#;
        let program = Program::new("sh")
            .args(["-c", ENTER, "sh"])
            .arg(cgroup)
            .arg(binary("maas_service"));
        Self::start_program(program, connect_string, options)
    }

    /// Starts a daemon in a container, as far as cgroups go: it sees the cgroup as the root of all, and shares it with a
    /// process that was there first.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub fn start_in_container(connect_string: &str, options: &[&str], cgroup: &Path) -> Self {
        const ENTER: &str = r#"mkdir -p "$1" && echo $$ > "$1/cgroup.procs" || exit; shift
            exec unshare --cgroup --mount sh -c 'umount /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit; sleep 1000 & exec "$@"' sh "$@""#;
        let program = Program::new("sh")
            .args(["-c", ENTER, "sh"])
            .arg(cgroup)
            .arg(binary("maas_service"));
        Self::start_program(program, connect_string, options)
    }

    /// Starts a daemon that may have so many files open, at first and at most, as `prlimit` has it: `16:4096`.
    ///
    /// # Panics
    ///
    /// When it can't be started.
    pub fn start_with_files(connect_string: &str, options: &[&str], files: &str) -> Self {
        let program = Program::new(binary("maas_service"));
        let program = program.within("prlimit", [format!("--nofile={files}").as_str()]);
        Self::start_program(program, connect_string, options)
    }

    fn start_program(program: Program, connect_string: &str, options: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let program = program
            .args(["-zq", connect_string, "--drain", "50"])
            .args(options)
            .env("MAAS_HOME", folder.path())
            .env("MAAS_CRASH_FILE", folder.path().join(CRASH_FILE))
            .env("MAAS_LOG", "info,zookeeper_client=warn");
        Self {
            leash: Leash::start("maas_service", folder, &program),
        }
    }

    /// The daemon's folder as the daemon itself sees it.
    ///
    /// # Panics
    ///
    /// When the daemon was killed.
    pub fn disk(&self) -> PathBuf {
        let pid = self.pid();
        let folder = self.leash.folder().display();
        PathBuf::from(format!("/proc/{pid}/root{folder}"))
    }

    /// Lets nobody write any more in the folders of its copies, on a disk of its own, but for what is open already.
    ///
    /// # Panics
    ///
    /// When it was killed, or has no disk of its own.
    pub fn make_unwritable(&self) {
        self.on_its_disk(r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1""#);
    }

    /// Lets all write there again.
    ///
    /// # Panics
    ///
    /// When it was killed, or they could write there.
    pub fn make_writable(&self) {
        self.on_its_disk(r#"umount --lazy "$1""#);
    }

    /// Runs a script where its disk is seen, with the folder of its copies.
    fn on_its_disk(&self, script: &str) {
        let status = Command::new("nsenter")
            .args(["--user", "--preserve-credentials", "--mount", "--target"])
            .arg(self.pid().to_string())
            .args(["sh", "-c", script, "sh"])
            .arg(self.instances())
            .status();
        let status = status.expect("nsenter is there");
        assert!(status.success(), "{script}: {status}");
    }

    /// Its process number.
    ///
    /// # Panics
    ///
    /// When it was killed.
    pub fn pid(&self) -> u32 {
        self.leash.pid().expect("it runs")
    }

    /// Where the folders of its copies lie.
    pub fn instances(&self) -> PathBuf {
        self.leash.folder().join("instances")
    }

    /// The copies' folders there are.
    pub fn folders(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.instances())
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect());
        let mut folders: Vec<PathBuf> = entries.unwrap_or_default();
        // One whose name begins with a dot is still being made, or was when its daemon was killed.
        folders.retain(|f| {
            !f.file_name()
                .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."))
        });
        folders.sort();
        folders
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.leash.is_running()
    }

    /// Kills it with SIGKILL; its copies run on.
    pub fn kill(&mut self) {
        self.leash.kill();
    }

    /// Has the first process that comes to this point in its program killed there: the daemon or one of its runners.
    ///
    /// # Panics
    ///
    /// When it can't be told.
    pub fn crash_at(&self, point: &str) {
        let unfinished = self.leash.folder().join("crash-at.new");
        fs::write(&unfinished, point).expect("our own folder can be written");
        fs::rename(&unfinished, self.leash.folder().join(CRASH_FILE))
            .expect("our own folder can be written");
    }

    /// Has the first process that comes to this point in its program put to sleep there, until it is sent `CONT`.
    ///
    /// # Panics
    ///
    /// When it can't be told.
    pub fn sleep_at(&self, point: &str) {
        self.crash_at(&format!("sleep at {point}"));
    }

    /// Whether what [`crash_at`](Self::crash_at) or [`sleep_at`](Self::sleep_at) asked for has happened.
    pub fn has_crashed(&self) -> bool {
        !self.leash.folder().join(CRASH_FILE).exists()
    }

    /// Starts it again, with the same folder.
    pub fn start_again(&mut self) {
        self.leash.start_again();
    }

    /// Sends it a signal, by name.
    pub fn signal(&mut self, signal: &str) {
        self.leash.signal(signal);
    }

    /// How its log ends.
    pub fn log_tail(&self) -> String {
        self.leash.log_tail()
    }

    /// The command line of every process that belongs to a copy of this daemon, now. Daemons themselves don't.
    pub fn processes_of_copies(&self) -> Vec<String> {
        processes()
            .into_iter()
            .filter(|(_, line)| line.contains(&self.marker()) && !line.contains("maas_service -zq"))
            .map(|(_, line)| line)
            .collect()
    }

    /// The ids of the processes whose command line holds both the path of this daemon's copies and `text`.
    pub fn pids_of(&self, text: &str) -> Vec<u32> {
        let marker = self.marker();
        processes()
            .into_iter()
            .filter(|(_, l)| l.contains(&marker) && l.contains(text))
            .map(|(pid, _)| pid)
            .collect()
    }

    fn marker(&self) -> String {
        self.instances().display().to_string()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.leash.show_log_if_the_test_fails();
            for folder in self.folders() {
                for log in ["runner.log", "stderr"] {
                    let path = folder.join("logs").join(log);
                    eprintln!(
                        "--- {}:\n{}",
                        path.display(),
                        fs::read_to_string(&path).unwrap_or_default()
                    );
                }
            }
        }
        self.leash.kill();
        // Runners outlive their daemon; without these, and without their folder, they would end by themselves, but later.
        // Only the runners: a warden whose runner is gone takes its model along, and must live to do so. What else has heard of them,
        // by its environment as cargo makes it, is none.
        let is_runner = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut arguments = line.split(|&byte| byte == 0);
            let program = arguments.next().unwrap_or_default();
            program.ends_with(b"/maas_runner") && arguments.next() != Some(b"--warden")
        };
        let mut runners = self.pids_of("maas_runner");
        runners.retain(is_runner);
        send_signal("KILL", &runners);
    }
}

/// Every process there is, with its command line.
fn processes() -> Vec<(u32, String)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let line = |pid: u32| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        // A model's own processes are known by their working folder, which is in their environment.
        let text = [bytes, environment]
            .concat()
            .iter()
            .map(|&b| if b == 0 { b' ' } else { b })
            .collect::<Vec<u8>>();
        let text = String::from_utf8_lossy(&text).into_owned();
        (!text.trim().is_empty()).then_some((pid, text))
    };
    entries
        .flatten()
        .filter_map(|e| line(e.file_name().to_str()?.parse().ok()?))
        .collect()
}
