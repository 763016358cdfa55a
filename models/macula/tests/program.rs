//! The program as it is deployed: the real process, with the lists it comes with.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LISTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lists");

fn macula(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_macula");
    Command::new(program)
        .args(arguments)
        .output()
        .expect("must run")
}

/// A process that is killed if the test fails before it has stopped it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server in `folder` and returns when it says that it serves.
fn start(folder: &Path) -> Running {
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

fn stop(server: Running) {
    kill_process(Pid::from_child(&server.0), Signal::TERM).expect("it runs");
    wait_for(server);
}

/// Waits for a server that was told to stop.
fn wait_for(mut server: Running) {
    let status = server.0.wait().expect("it is ours");
    assert!(status.success(), "{status}");
}

fn endpoint(folder: &Path) -> Value {
    let content = fs::read(folder.join("endpoint.dat")).expect("must be there once it serves");
    serde_json::from_slice(&content).expect("must be JSON")
}

fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.strip_prefix("http://").expect("http")).expect("must accept")
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

#[test]
fn a_server_says_where_it_is_answers_there_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("endpoint.dat"), "left over").expect("must be written");
    let server = start(folder.path());
    let endpoint = endpoint(folder.path());
    assert_eq!(endpoint["functions"]["apply"], "apply");
    let mut stream = connect(endpoint["url"].as_str().expect("a URL"));
    stream
        .write_all(
            b"GET /apply?host=evil.example HTTP/1.1\r\nHost: macula\r\nConnection: close\r\n\r\n",
        )
        .expect("must be taken");
    assert!(read(stream).contains(r#""is_malicious":"malicious""#));
    stop(server);
    let left: Vec<_> = fs::read_dir(folder.path()).expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_request_under_way_is_answered_before_the_server_stops() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = start(folder.path());
    let endpoint = endpoint(folder.path());
    let mut stream = connect(endpoint["url"].as_str().expect("a URL"));
    // The server asks for the body by `100 Continue`, so that we know it has begun with this request.
    stream
        .write_all(b"POST /api/score HTTP/1.1\r\nHost: macula\r\nExpect: 100-continue\r\nContent-Length: 16\r\n\r\n")
        .expect("must be taken");
    let mut go_on = [0; 25];
    stream
        .read_exact(&mut go_on)
        .expect("must be told to go on");
    kill_process(Pid::from_child(&server.0), Signal::TERM).expect("it runs");
    stream
        .write_all(br#"["evil.example"]"#)
        .expect("must be taken");
    assert!(read(stream).contains(r#""rescaled":100.0"#));
    wait_for(server);
}

#[test]
fn the_lists_that_are_shipped_have_no_bad_line() {
    let lists = threat_lists::Lists::load(Path::new(LISTS)).expect("must load");
    assert!(lists.entries() > 20);
    for list in lists.iter() {
        assert_eq!(list.set_aside(), [], "{}", list.name());
    }
}

#[test]
fn indicators_are_scored_on_the_command_line() {
    let table = macula(&[
        "score",
        "--lists",
        LISTS,
        "hxxp://evil[.]example/x",
        "wikipedia.org",
    ]);
    assert!(table.status.success());
    let text = String::from_utf8(table.stdout).expect("text");
    assert!(
        text.contains("blacklist: evil.example") && text.contains("benign"),
        "{text}"
    );

    let json = macula(&[
        "score",
        "--lists",
        LISTS,
        "--format",
        "json",
        "evil.example",
        "nonsense",
    ]);
    assert_eq!(json.status.code(), Some(1), "one item is no indicator");
    let answer: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(answer["evil.example"]["rescaled"], 100.0);
    assert_eq!(answer["nonsense"]["meta"]["success"], false);
}

#[test]
fn what_cannot_work_is_said_with_the_thing_it_failed_on() {
    let failed = macula(&["score", "--lists", "/nowhere/at/all", "evil.example"]);
    assert_eq!(failed.status.code(), Some(2));
    let told = String::from_utf8(failed.stderr).expect("text");
    assert!(told.contains("/nowhere/at/all"), "{told}");
    let failed = macula(&["serve", "--listen", "host.invalid:0", "--lists", LISTS]);
    assert_eq!(failed.status.code(), Some(2));
}
