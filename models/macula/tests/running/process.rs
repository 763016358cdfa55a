//! The program as a process, with the lists it comes with.

#![allow(dead_code, reason = "not every test does everything with a process")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) const LISTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lists");

/// A process that is killed if the test fails before it has stopped it.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server in `folder` and returns when it says that it serves.
pub(crate) fn start(folder: &Path, more: &[&str]) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_macula"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--endpoint-file",
            "endpoint.dat",
            "--lists",
            LISTS,
        ])
        .args(more)
        .current_dir(folder)
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .expect("must start");
    let log = BufReader::new(child.stderr.take().expect("it is piped"));
    let running = Running(child);
    let mut lines = log.lines().map_while(Result::ok);
    assert!(
        lines.any(|line| line.contains("serving")),
        "ended before it served"
    );
    // The log has to be read on, or the server would meet a closed pipe.
    std::thread::spawn(move || lines.for_each(drop));
    running
}

pub(crate) fn stop(server: Running) {
    kill_process(Pid::from_child(&server.0), Signal::TERM).expect("it runs");
    wait_for(server);
}

/// Waits for a server that was told to stop.
pub(crate) fn wait_for(mut server: Running) {
    let status = server.0.wait().expect("it is ours");
    assert!(status.success(), "{status}");
}

pub(crate) fn endpoint(folder: &Path) -> Value {
    let content = fs::read(folder.join("endpoint.dat")).expect("must be there once it serves");
    serde_json::from_slice(&content).expect("must be JSON")
}
