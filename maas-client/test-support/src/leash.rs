//! Child processes that cannot outlive the test.
//!
//! `Drop` does not run when a test program is killed with `kill -9`, nor for a `static`. So every program hangs on a
//! small `sh` process that reads orders from a pipe. The pipe's other end lives in the test program, and the kernel closes
//! it when that program ends, in whatever way. The shell then kills its child and removes the child's folder.
//!
//! The shell is the child's parent and takes the signals on our behalf: a process number cannot be handed to somebody
//! else while its parent has not waited for it, so no order can hit a stranger.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// How much of a log is shown when a test fails.
const LOG_TAIL: u64 = 16 * 1024;

/// The shell's own program: `$1` is the folder to remove at the end, the rest is the command line. The child leads a
/// session, and thus a process group, of its own, so that its children go with it.
const WATCHDOG: &str = r#"
folder=$1; shift
child=
send() { kill -s "$1" -- "-$child" || kill -s "$1" "$child"; }
reap() { [ -z "$child" ] || { send KILL; wait "$child"; child=; }; }
while read -r order; do
  case $order in
    start) setsid "$@" </dev/null >>"$folder/log" 2>&1 & child=$!; echo "$child" ;;
    reap) reap; echo reaped ;;
    *) send "$order"; echo sent ;;
  esac
done
reap
rm -rf "$folder"
"#;

/// What a [`Leash`] runs.
#[derive(Clone, Debug)]
pub struct Program {
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// The program `name`, looked up in `PATH` unless it is a path.
    pub fn new(name: impl Into<OsString>) -> Self {
        Self {
            command: vec![name.into()],
            environment: Vec::new(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.command.push(arg.into());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.extend(args.into_iter().map(Into::into));
        self
    }

    /// The same program, started by another one that is given these arguments before its name.
    #[must_use]
    pub fn within<'a>(mut self, program: &str, args: impl IntoIterator<Item = &'a str>) -> Self {
        let mut command: Vec<OsString> = vec![program.into()];
        command.extend(args.into_iter().map(Into::into));
        command.append(&mut self.command);
        self.command = command;
        self
    }

    /// Sets one environment variable; the others are the test program's.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}

/// One running program, its folder and its log (`log` in that folder).
///
/// When the leash is dropped, or the test program ends in any other way, the program is killed and the folder removed.
/// If the thread that drops it is panicking, the end of the log goes to stderr first.
#[derive(Debug)]
pub struct Leash {
    name: String,
    folder: PathBuf,
    watchdog: Child,
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    pid: Option<u32>,
}

impl Leash {
    /// Starts `program`; from here on `folder` belongs to the leash. `name` is used in messages only.
    ///
    /// # Panics
    ///
    /// When the machine cannot run `sh`.
    pub fn start(name: &str, folder: tempfile::TempDir, program: &Program) -> Self {
        let mut watchdog = Command::new("sh")
            .arg("-c")
            .arg(WATCHDOG)
            .arg("watchdog")
            .arg(folder.path())
            .args(&program.command)
            .envs(
                program
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal goes to the whole group. The watchdog must survive it to do its work.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("could not run `sh` to watch over {name}: {error}"));
        let orders = watchdog.stdin.take();
        let replies = BufReader::new(
            watchdog
                .stdout
                .take()
                .expect("stdout was asked to be a pipe"),
        );
        let mut leash = Self {
            name: name.to_owned(),
            folder: folder.keep(),
            watchdog,
            orders,
            replies,
            pid: None,
        };
        leash.start_again();
        leash
    }

    /// The folder with the program's files and its `log`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process number, or nothing after [`Leash::kill`].
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Whether the program still runs (a paused one does).
    pub fn is_running(&self) -> bool {
        self.pid.is_some_and(is_running)
    }

    /// Ends the program by `kill -9`, and returns when it is gone. Its folder stays.
    pub fn kill(&mut self) {
        if self.pid.take().is_some() {
            self.order("reap");
        }
    }

    /// Starts the same program with the same folder again, after killing it if it still runs.
    pub fn start_again(&mut self) {
        self.kill();
        let reply = self.order("start");
        let pid = reply.trim().parse();
        self.pid = Some(pid.unwrap_or_else(|_| {
            panic!("{}: the watchdog answered {reply:?} to `start`", self.name)
        }));
    }

    /// Sends the program a signal, by its name without `SIG`.
    pub fn signal(&mut self, signal: &str) {
        assert!(
            self.pid.is_some(),
            "{} was killed, so it cannot get SIG{signal}",
            self.name
        );
        self.order(signal);
    }

    /// The last part of the program's log.
    pub fn log_tail(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut log = File::open(self.folder.join("log"))?;
            let length = log.metadata()?.len();
            log.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
            let mut tail = Vec::new();
            log.take(LOG_TAIL).read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).into_owned())
        };
        read().unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Shows the end of the log on stderr if this thread is panicking, that is, if the test fails.
    pub fn show_log_if_the_test_fails(&self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the end of the log of {} ---\n{}\n---",
                self.name,
                self.log_tail()
            );
        }
    }

    fn order(&mut self, order: &str) -> String {
        let orders = self
            .orders
            .as_mut()
            .expect("the pipe is only closed by drop");
        let mut reply = String::new();
        writeln!(orders, "{order}")
            .and_then(|()| self.replies.read_line(&mut reply))
            .unwrap_or_else(|error| {
                panic!(
                    "{}: the watchdog did not take `{order}`: {error}",
                    self.name
                )
            });
        assert!(
            !reply.is_empty(),
            "{}: somebody killed the watchdog",
            self.name
        );
        reply
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.show_log_if_the_test_fails();
        // Closing the pipe is the order to end everything. Waiting makes "gone on drop" true, not nearly true; there is
        // nothing to do about a failure.
        drop(self.orders.take());
        let _ = self.watchdog.wait();
    }
}

/// A process that has ended but was not waited for (a zombie) does not run any more.
fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        // The state follows the command's name, which is in brackets and may hold anything, even brackets.
        .and_then(|stat| {
            stat.rsplit_once(") ")
                .map(|(_, rest)| !rest.starts_with(['Z', 'X']))
        })
        .unwrap_or(false)
}
