//! The program, run.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Runs the program to its end, with this on its standard input.
pub(crate) fn dga_with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dga"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs the program to its end.
pub(crate) fn dga(arguments: &[&str]) -> Output {
    dga_with_input(arguments, b"")
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A server in a folder of its own. It is killed if the test fails before it was stopped.
pub(crate) struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a server and returns once it has written where it answers.
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dga"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--endpoint-file",
                "endpoint.dat",
            ])
            .args(more)
            .current_dir(folder)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut server = Server {
            child,
            address: String::new(),
        };
        let mut lines = log.lines().map_while(Result::ok);
        assert!(
            lines.any(|line| line.contains("serving")),
            "it ended before it served"
        );
        // The log has to be read on, or the server would meet a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let endpoint: Value =
            serde_json::from_slice(&fs::read(folder.join("endpoint.dat")).unwrap()).unwrap();
        assert_eq!(endpoint["functions"]["apply"], "apply");
        let url = endpoint["url"].as_str().unwrap();
        server.address = url.strip_prefix("http://").unwrap().to_owned();
        server
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a request as it is and gives the status and body of the answer.
    pub(crate) fn ask(&self, request: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // A server that has heard enough may hang up while we are still talking.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {answer:?}"));
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask(
            format!("GET {path} HTTP/1.1\r\nHost: dga\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        (
            status,
            serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}")),
        )
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: dga\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        self.ask(&[head.as_bytes(), body].concat())
    }

    /// Tells the server to stop and waits until it has.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}
