//! The model as its runner sees it: a warden that can be listened to and given orders.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Signal, WaitOptions, wait};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use super::warden::{self, Report};
use crate::crash::{CRASH_FILE, Point, crash_file, crash_point};
use crate::process::descendants;

/// How long a warden may take to start the script, on the busiest of machines.
const STARTING: Duration = Duration::from_secs(60);

/// How long when the model is to be stopped.
const STARTING_WHEN_STOPPED: Duration = Duration::from_secs(3);

/// A started model, with all the processes it may have.
pub(super) struct Model {
    warden: Child,
    orders: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
    /// The script's process id.
    pub pid: u32,
    /// The process id of its warden, below which all of the model is.
    pub warden_pid: u32,
    end: Option<Ending>,
}

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Together with its warden, which was killed.
    WithWarden,
    /// Well, and of what it left running the last that failed ended with an exit code.
    LeftCode(i32),
    /// Well, and of what it left running the last that failed was ended by a signal.
    LeftSignal(i32),
}

impl Ending {
    /// Whether whatever the script has started ends with it. A script that ends well may have left its server behind.
    fn takes_all_along(&self) -> bool {
        *self != Self::Code(0)
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => {
                write!(f, "was ended by signal {signal} ({})", signal_name(*signal))
            }
            Self::WithWarden => write!(f, "was ended because its warden was killed"),
            Self::LeftCode(code) => write!(
                f,
                "ended with exit code 0, and what it left running with exit code {code}"
            ),
            Self::LeftSignal(signal) => write!(
                f,
                "ended with exit code 0, and what it left running was ended by signal {signal} ({})",
                signal_name(*signal)
            ),
        }
    }
}

/// The name by which people know a signal.
fn signal_name(signal: i32) -> &'static str {
    const NAMED: [(Signal, &str); 9] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::TERM, "SIGTERM"),
    ];
    NAMED
        .iter()
        .find(|(named, _)| named.as_raw() == signal)
        .map_or("see `kill -l`", |(_, name)| name)
}

impl Model {
    /// Starts `script` in `folder` under a warden, in `cgroup` if there is one for it. A warden that does not say soon that it has
    /// is given up, sooner when `stop` is cancelled.
    ///
    /// # Errors
    /// With the reason, when the warden or the script can't be started.
    pub(super) async fn start(
        script: &Path,
        folder: &Path,
        logs: &Path,
        environment: &BTreeMap<String, String>,
        cgroup: Option<&Path>,
        stop: &CancellationToken,
    ) -> Result<Self, String> {
        let runner = std::env::current_exe()
            .map_err(|error| format!("this program can't find itself: {error}"))?;
        let mut warden = Command::new(runner)
            .arg(warden::ARGUMENT)
            .arg(script)
            .arg(logs)
            .args(cgroup)
            .current_dir(folder)
            .env_clear()
            .envs(environment)
            .envs(crash_file().map(|file| (CRASH_FILE, file)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("the model's warden can't be started: {error}"))?;
        let warden_pid = warden.id().expect("it has not been waited for");
        let orders = warden.stdin.take().expect("it was asked for");
        let mut reports = BufReader::new(warden.stdout.take().expect("it was asked for")).lines();
        let heard = tokio::select! {
            line = reports.next_line() => Some(line.ok().flatten()),
            () = tokio::time::sleep(STARTING) => None,
            () = async {
                stop.cancelled().await;
                tokio::time::sleep(STARTING_WHEN_STOPPED).await;
            } => None,
        };
        let Some(first) = heard else {
            return Err(give_up(warden).await);
        };
        match first.as_deref().and_then(Report::parse) {
            Some(Report::Started { pid }) => Ok(Self {
                warden,
                orders,
                reports,
                pid,
                warden_pid,
                end: None,
            }),
            Some(Report::Refused { why }) => Err(format!(
                "the script `{}` can't be started: {why}",
                script.display()
            )),
            other => {
                let status = warden
                    .wait()
                    .await
                    .map_or_else(|e| e.to_string(), |s| s.to_string());
                // It may have started the script before it could say so.
                end_orphans();
                Err(format!(
                    "the model's warden ended at once ({status}, {other:?})"
                ))
            }
        }
    }

    /// Waits until the script has ended in a way that takes the model along, or nothing is left of the model. It comes before
    /// [`ended`](Self::ended) by the time it takes to find and kill what is left.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn doomed(&mut self) {
        while !self.end.as_ref().is_some_and(Ending::takes_all_along) && self.hear().await {}
    }

    /// Waits until the last process of the model is gone, and tells how the script ended.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn ended(&mut self) -> Ending {
        while self.hear().await {}
        let _it_has_closed_its_pipe_or_is_dead = self.warden.wait().await;
        end_orphans();
        self.end.clone().unwrap_or(Ending::WithWarden)
    }

    /// Hears the warden's next report; tells whether there was one.
    async fn hear(&mut self) -> bool {
        let Ok(Some(line)) = self.reports.next_line().await else {
            return false;
        };
        match Report::parse(&line) {
            Some(Report::Exited { code }) => self.end = Some(Ending::Code(code)),
            Some(Report::Signalled { signal }) => self.end = Some(Ending::Signal(signal)),
            // Of a script that failed itself, the rest was killed.
            Some(Report::LeftExited { code }) if self.end == Some(Ending::Code(0)) => {
                self.end = Some(Ending::LeftCode(code));
            }
            Some(Report::LeftSignalled { signal }) if self.end == Some(Ending::Code(0)) => {
                self.end = Some(Ending::LeftSignal(signal));
            }
            Some(Report::LeftExited { .. } | Report::LeftSignalled { .. }) => {}
            Some(Report::Started { .. } | Report::Refused { .. }) | None => {}
        }
        true
    }

    /// Ends the model: SIGTERM to all its processes, and SIGKILL to those left after `grace`.
    pub(super) async fn stop(&mut self, grace: Duration) -> Ending {
        self.order(warden::TERMINATE).await;
        crash_point(Point::StopAfterTerm);
        if let Ok(ending) = tokio::time::timeout(grace, self.ended()).await {
            return ending;
        }
        crash_point(Point::StopBeforeKill);
        self.kill().await
    }

    /// Ends the model at once.
    pub(super) async fn kill(&mut self) -> Ending {
        self.order(warden::KILL).await;
        self.ended().await
    }

    async fn order(&mut self, order: &str) {
        // A warden that can't be told is dead, and so is the model.
        let _told = self.orders.write_all(format!("{order}\n").as_bytes()).await;
    }
}

/// Kills a warden that hangs before it has started the script; tells what happened.
async fn give_up(mut warden: Child) -> String {
    let killed = async {
        warden.start_kill()?;
        warden.wait().await
    };
    match tokio::time::timeout(STARTING_WHEN_STOPPED, killed).await {
        Ok(Ok(_)) => {
            // It may just have started the script.
            end_orphans();
            "the model's warden did not start the script and was killed".to_owned()
        }
        Ok(Err(error)) => format!("the model's warden hangs and can't be killed: {error}"),
        Err(_) => "the model's warden hangs and can't be killed".to_owned(),
    }
}

/// Ends what a killed warden left to us: we are the next subreaper up, and have no other children when this is called.
fn end_orphans() {
    loop {
        let orphans = descendants(std::process::id());
        if orphans.is_empty() {
            return;
        }
        for orphan in orphans {
            if let Err(error) = orphan.signal(Signal::KILL) {
                tracing::warn!(pid = orphan.pid, %error, "a process of the model can't be killed");
            }
        }
        // Blocks only until one of those just killed is gone.
        if wait(WaitOptions::empty()).is_err() {
            return;
        }
        // Of many, all that are gone by now: each look at what is left goes over every process there is.
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
    }
}
