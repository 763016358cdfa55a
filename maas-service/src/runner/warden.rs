//! The warden: the process between a runner and its model.
//!
//! It starts the script, drains its output, and is the *subreaper* of everything the script starts: whatever detaches
//! itself, in a session of its own or by a double fork, becomes the warden's child and can't get away. It holds one end
//! of a pipe to the runner; when the runner dies, however it dies, the pipe ends, and the warden takes the model with it.
//! When the warden itself is killed, the runner (the next subreaper up) inherits the model and ends it.
//!
//! The script starts with limits: no core files, a bounded number of open files, and a mark by which the kernel takes it
//! before us when the machine runs out of memory. Where there are cgroups for copies, it starts in one, and the warden
//! stays out of it: it has to tell how the script ended when the kernel kills all that is in there.
//!
//! The warden speaks with the runner in lines. It is told `term` or `kill` on its standard input, and says on its standard
//! output `started <pid>`, `refused <why>`, `exited <code>` or `signalled <number>`; and at the end, of what the script left
//! running, `left exited <code>` or `left signalled <number>` if something of it has failed. When the last process of the model is
//! gone, the warden ends. A script that fails takes along what it has started; one that was told to end does not.

use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getrlimit, set_child_subreaper,
    setrlimit, wait,
};

use super::output::RotatedFile;
use crate::cgroup;
use crate::crash::{CRASH_FILE, Point, crash_point};
use crate::process::descendants;

/// By this argument the runner's binary knows that it is to be a warden.
pub const ARGUMENT: &str = "--warden";
/// What the warden is told.
pub const TERMINATE: &str = "term";
/// What the warden is told when there is no more time.
pub const KILL: &str = "kill";

/// How long what a model printed last may take to reach its files.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How many files each process of a model may have open, where the machine allows that many.
const MAX_OPEN_FILES: u64 = 16 * 1024;

/// Where the kernel is told in which order to take processes when memory runs out, and how much sooner models come.
const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";
const SOONER: i32 = 500;

/// Set once nothing of the model may live on.
static KILLING: AtomicBool = AtomicBool::new(false);

/// Set once the model has been told to end: whatever of it ends first, the others may take the time they were given.
static TERMINATING: AtomicBool = AtomicBool::new(false);

/// What the warden says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The script runs.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// The script could not be started.
    Refused {
        /// Why.
        why: String,
    },
    /// The script ended.
    Exited {
        /// With this code.
        code: i32,
    },
    /// The script was ended by a signal.
    Signalled {
        /// By this one.
        signal: i32,
    },
    /// The last process that failed of those that the script left running has ended.
    LeftExited {
        /// With this code.
        code: i32,
    },
    /// The last process that failed of those that the script left running was ended by a signal.
    LeftSignalled {
        /// By this one.
        signal: i32,
    },
}

impl Report {
    /// Reads a line of the warden's.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (left, line) = match line.strip_prefix("left ") {
            Some(line) => (true, line),
            None => (false, line),
        };
        let (word, rest) = line.split_once(' ')?;
        Some(match word {
            "exited" if left => Self::LeftExited {
                code: rest.parse().ok()?,
            },
            "signalled" if left => Self::LeftSignalled {
                signal: rest.parse().ok()?,
            },
            _ if left => return None,
            "started" => Self::Started {
                pid: rest.parse().ok()?,
            },
            "refused" => Self::Refused {
                why: rest.to_owned(),
            },
            "exited" => Self::Exited {
                code: rest.parse().ok()?,
            },
            "signalled" => Self::Signalled {
                signal: rest.parse().ok()?,
            },
            _ => return None,
        })
    }

    fn say(&self) {
        let line = match self {
            Self::Started { pid } => format!("started {pid}\n"),
            Self::Refused { why } => format!("refused {}\n", why.replace('\n', " ")),
            Self::Exited { code } => format!("exited {code}\n"),
            Self::Signalled { signal } => format!("signalled {signal}\n"),
            Self::LeftExited { code } => format!("left exited {code}\n"),
            Self::LeftSignalled { signal } => format!("left signalled {signal}\n"),
        };
        // Nobody listens when the runner is dead; its silence on the other pipe is what counts then.
        let _the_runner_may_be_dead = io::stdout().write_all(line.as_bytes());
    }
}

/// Runs the warden: starts `script` in the folder this process is in, with this process's environment, in `cgroup` if
/// there is one for it, and ends when nothing of it is left.
///
/// # Errors
/// When the kernel lacks what the warden needs.
pub fn run(script: &Path, logs: &Path, cgroup: Option<&Path>) -> io::Result<()> {
    set_child_subreaper(Some(Pid::from_raw(1).expect("1 is a process id")))?;
    let mut command = Command::new(script);
    // A pipe that never delivers anything, as the original's; and a process group that the terminal's keys don't reach.
    command
        .env_remove(CRASH_FILE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    limit();
    crash_point(Point::WardenBeforeStart);
    let spawned = match cgroup {
        // A child is born where its parent is. Without its limit it is not to run at all.
        Some(cgroup) => cgroup::inside(cgroup, || spawn_as_first_to_go(&mut command))
            .unwrap_or_else(|error| Err(no_cgroup(cgroup, &error))),
        None => spawn_as_first_to_go(&mut command),
    };
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            Report::Refused {
                why: error.to_string(),
            }
            .say();
            return Ok(());
        }
    };
    crash_point(Point::WardenAfterStart);
    let script_pid = child.id();
    Report::Started { pid: script_pid }.say();
    let stdout = child.stdout.take().expect("it was asked for");
    let stderr = child.stderr.take().expect("it was asked for");
    let (drained, drains) = mpsc::channel();
    drain(
        stdout,
        RotatedFile::new(logs.join("stdout")),
        drained.clone(),
    );
    drain(stderr, RotatedFile::new(logs.join("stderr")), drained);
    std::thread::spawn(obey);
    reap(script_pid)?;
    // What is still in the pipes is worth a moment; but a stranger may hold their other ends, and never let go.
    let deadline = Instant::now() + LAST_WORDS;
    while drains
        .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        .is_ok()
    {}
    drop(child);
    Ok(())
}

fn no_cgroup(cgroup: &Path, error: &io::Error) -> io::Error {
    let cgroup = cgroup.display();
    io::Error::new(
        error.kind(),
        format!("the copy's cgroup `{cgroup}` can't be entered: {error}"),
    )
}

/// Limits this process, and so all that it starts. What can't be limited further is limited enough already.
fn limit() {
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _cores = setrlimit(Resource::Core, nothing);
    let allowed = getrlimit(Resource::Nofile).maximum;
    let files = Some(allowed.map_or(MAX_OPEN_FILES, |allowed| allowed.min(MAX_OPEN_FILES)));
    let files = Rlimit {
        current: files,
        maximum: files,
    };
    let _files = setrlimit(Resource::Nofile, files);
}

/// Starts the script with the mark by which the kernel takes it before its warden and everybody else of ours. The mark is
/// inherited, so it is ours for the moment of the start, and no process of the model is ever without it.
fn spawn_as_first_to_go(command: &mut Command) -> io::Result<Child> {
    let own = std::fs::read_to_string(OOM_SCORE_ADJ);
    let own = own.ok().and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(own) = own {
        let theirs = (own + SOONER).min(1000);
        let _a_kernel_that_refuses_judges_by_size =
            std::fs::write(OOM_SCORE_ADJ, theirs.to_string());
    }
    let child = command.spawn();
    if let Some(own) = own {
        let _then_we_go_first_too = std::fs::write(OOM_SCORE_ADJ, own.to_string());
    }
    child
}

fn drain(stream: impl Read + AsFd + Send + 'static, file: RotatedFile, done: mpsc::Sender<()>) {
    std::thread::spawn(move || {
        file.drain(stream);
        let _nobody_waits_any_more = done.send(());
    });
}

/// Follows the runner's orders; its death is the last of them.
fn obey() {
    for line in io::stdin().lock().lines() {
        match line.as_deref() {
            Ok(TERMINATE) => {
                TERMINATING.store(true, Ordering::SeqCst);
                signal_all(Signal::TERM);
            }
            _ => break,
        }
    }
    KILLING.store(true, Ordering::SeqCst);
    signal_all(Signal::KILL);
}

/// Signals every process of the model that there is at this moment.
fn signal_all(signal: Signal) {
    for process in descendants(std::process::id()) {
        if let Err(error) = process.signal(signal) {
            #[expect(
                clippy::print_stderr,
                reason = "the runner's log is all there is to tell it to"
            )]
            {
                eprintln!(
                    "process {} of the model can't be signalled: {error}",
                    process.pid
                );
            }
        }
    }
}

/// Waits until no process of the model is left, and reports the script's own end, and how of the others the last ended that failed.
fn reap(script_pid: u32) -> io::Result<()> {
    let mut left = None;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => {
                let mut note = |pid: Pid, status: WaitStatus| {
                    if u32::try_from(pid.as_raw_pid()) == Ok(script_pid) {
                        report_end(status);
                    } else if let Some(signal) = status.terminating_signal() {
                        left = Some(Report::LeftSignalled { signal });
                    } else if let Some(code) = status.exit_status().filter(|&code| code != 0) {
                        left = Some(Report::LeftExited { code });
                    }
                };
                note(pid, status);
                // Of many, all that are gone by now: each look at what is left goes over every process there is.
                while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                    note(pid, status);
                }
                // What a dead process leaves behind has become our child just now.
                if KILLING.load(Ordering::SeqCst) {
                    signal_all(Signal::KILL);
                }
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CHILD) => {
                if let Some(left) = left {
                    left.say();
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn report_end(status: WaitStatus) {
    // A script that ends well may have left its server in the background: that is the model then. A script that fails takes
    // along whatever it started, unless it was told to end: a shell dies of that at once, and the server it waits for may have
    // to save something. The runner knows how long that may take.
    let fails = if let Some(signal) = status.terminating_signal() {
        Report::Signalled { signal }.say();
        true
    } else if let Some(code) = status.exit_status() {
        Report::Exited { code }.say();
        code != 0
    } else {
        false
    };
    if fails && !TERMINATING.load(Ordering::SeqCst) {
        KILLING.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_as_they_are_said() {
        assert_eq!(
            Report::parse("started 12"),
            Some(Report::Started { pid: 12 })
        );
        assert_eq!(
            Report::parse("exited -1"),
            Some(Report::Exited { code: -1 })
        );
        assert_eq!(
            Report::parse("signalled 9"),
            Some(Report::Signalled { signal: 9 })
        );
        let refused = Report::Refused {
            why: "No such file or directory (os error 2)".to_owned(),
        };
        assert_eq!(
            Report::parse("refused No such file or directory (os error 2)"),
            Some(refused)
        );
        assert_eq!(
            Report::parse("left exited 3"),
            Some(Report::LeftExited { code: 3 })
        );
        assert_eq!(
            Report::parse("left signalled 11"),
            Some(Report::LeftSignalled { signal: 11 })
        );
        assert_eq!(Report::parse("left started 3"), None);
        assert_eq!(Report::parse("what"), None);
    }
}
