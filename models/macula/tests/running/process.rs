//! The program as a process, with the lists it comes with.

#![allow(dead_code, reason = "not every test does everything with a process")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use test_support::eventually;

pub(crate) const LISTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lists");

/// A process that is killed if the test fails before it has stopped it.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// What it said when it began to serve.
    pub(crate) line: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts a server in `folder` and returns when it says that it serves.
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Running {
        Running::start_with(folder, more, &[])
    }

    /// The same with variables of the environment.
    pub(crate) fn start_with(folder: &Path, more: &[&str], variables: &[(&str, &str)]) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_macula"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--endpoint-file", "endpoint.dat"])
            .args(if more.contains(&"--lists") {
                &[][..]
            } else {
                &["--lists", LISTS]
            })
            .args(more)
            .current_dir(folder)
            .env_remove("RUST_LOG")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .expect("must start");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut running = Running {
            child,
            line: String::new(),
        };
        let mut lines = log.lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("serving"));
        running.line = line.expect("it ended before it served");
        // The log has to be read on, or the server would meet a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        running
    }

    pub(crate) fn tell_to_stop(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
    }

    /// Waits for the end of a server that was told to stop.
    pub(crate) fn wait(mut self) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let limit = Duration::from_secs(20);
        let status = runtime.block_on(eventually(limit, "the server's end", async || {
            self.child.try_wait().expect("it is ours")
        }));
        assert!(status.success(), "{status}");
    }

    pub(crate) fn stop(self) {
        self.tell_to_stop();
        self.wait();
    }
}

pub(crate) fn endpoint(folder: &Path) -> Value {
    let content = fs::read(folder.join("endpoint.dat")).expect("must be there once it serves");
    serde_json::from_slice(&content).expect("must be JSON")
}
