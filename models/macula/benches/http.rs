//! What a score costs over HTTP, with and without the model of names that comes along, beside a bare axum server that gives the
//! query back, started in the same run; and what the service takes in memory.
//!
//! Goals: the median of a single score within 30 µs of the bare server's; at most 60 MB without lists; while ten million entries are
//! reloaded, no request over 10 ms.
//!
//! Rounds of all alternate, so that a noisy machine is noisy for all; the figures are medians over the rounds. The bare server
//! is a process of its own, this program called with `echo`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that meets what it does not expect has failed"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "requests that come at a steady rate are waited for by time"
)]

#[path = "../threat-lists/benches/made/lists.rs"]
mod made_lists;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::RawQuery;
use axum::routing::get;
use axum::serve::ListenerExt;
use made_lists::{ENTRIES, name, write_lists};
use test_support::{goals_met, verdict};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1000);

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("echo") {
        echo();
        return ExitCode::SUCCESS;
    }
    if std::env::args().all(|argument| argument != "reload") {
        scores();
    }
    reload();
    goals_met()
}

fn scores() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("blacklist.txt"), "# nothing yet\n").unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/model");
    let without = macula(folder.path(), &[]);
    let with = macula(folder.path(), &["--model", model]);
    let plain = plain();
    println!("without lists:");
    memory("after the start", &without, &with);
    singles(&without, &with, &plain);
    for (name, server) in [("no model", &without), ("a model", &with)] {
        batches(name, server);
        fill(server);
    }
    memory("with the cache filled", &without, &with);
}

fn memory(when: &str, without: &Server, with: &Server) {
    let [without, with] = [without, with].map(Server::megabytes);
    println!(
        "  memory {when:22} {without:6.1} MB, with a model {with:6.1} MB   (goal: at most 60, {})",
        verdict(without.max(with) <= 60.0)
    );
}

/// The bare server: what axum, tokio and the loopback cost without any work.
#[tokio::main]
async fn echo() {
    let answer = async |RawQuery(query): RawQuery| query.unwrap_or_default();
    let router = Router::new().route("/api/score", get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    axum::serve(listener, router).await.unwrap();
}

/// A server that goes away with its owner.
struct Server {
    child: Child,
    address: String,
    admin: Option<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Waits for the line that says where the server is, and reads on so that it never meets a closed pipe.
    fn listening(child: Child, said: impl Read + Send + 'static) -> Server {
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("http://")).unwrap();
        thread::spawn(move || lines.for_each(drop));
        let mut addresses = line.split("http://").skip(1).map(|address| {
            let address = address.split(['"', ' ']).next();
            address.unwrap().to_owned()
        });
        Server {
            child,
            address: addresses.next().unwrap(),
            admin: addresses.next(),
        }
    }

    /// What of its memory is in use now.
    fn megabytes(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kilobytes: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes * 1024.0 / 1e6
    }
}

fn macula(lists: &Path, more: &[&str]) -> Server {
    let mut child = Command::new(env!("CARGO_BIN_EXE_macula"))
        .args(["serve", "--listen", "127.0.0.1:0", "--lists"])
        .arg(lists)
        .args(more)
        .env("RUST_LOG", "info")
        .env("MALLOC_ARENA_MAX", "2") // as the bundle's start script has it
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = child.stderr.take().unwrap();
    Server::listening(child, log)
}

fn plain() -> Server {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("echo")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = child.stdout.take().unwrap();
    Server::listening(child, said)
}

/// A connection that is kept.
struct Connection {
    stream: BufReader<TcpStream>,
    answer: Vec<u8>,
}

impl Connection {
    fn to(server: &Server) -> Connection {
        Connection::at(&server.address)
    }

    fn at(address: &str) -> Connection {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let limit = Some(Duration::from_secs(600));
        stream.set_read_timeout(limit).unwrap();
        Connection {
            stream: BufReader::with_capacity(1 << 20, stream),
            answer: Vec::new(),
        }
    }

    /// Sends a request and reads all of its answer.
    fn ask(&mut self, request: &[u8]) {
        self.stream.get_mut().write_all(request).unwrap();
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "it hung up");
            let lower = line.trim().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            assert!(
                !lower.starts_with("http/") || lower.contains(" 200 "),
                "{lower}"
            );
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        self.answer.resize(length, 0);
        self.stream.read_exact(&mut self.answer).unwrap();
    }
}

fn requests(options: &str) -> Vec<Vec<u8>> {
    (0..10_000)
        .map(|n| {
            let path = format!("/api/score?indicators=host-{n}.example{options}");
            format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes()
        })
        .collect()
}

/// The median and the 99th percentile of a request over one connection, in µs.
fn load(server: &Server, requests: &[Vec<u8>]) -> (f64, f64) {
    let mut connection = Connection::to(server);
    let start = Instant::now();
    let mut taken = Vec::new();
    for request in requests.iter().cycle() {
        let before = Instant::now();
        connection.ask(request);
        taken.push(before.elapsed().as_secs_f64() * 1e6);
        if start.elapsed() >= ROUND {
            break;
        }
    }
    taken.sort_by(f64::total_cmp);
    (taken[taken.len() / 2], taken[taken.len() * 99 / 100])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn singles(without: &Server, with: &Server, plain: &Server) {
    let kinds = [
        ("bare echo", plain, ""),
        ("score, from the cache", without, ""),
        ("score, made anew", without, "&useCache=false"),
        ("score, explained", without, "&explain=true&summary=true"),
        ("by a model, from the cache", with, ""),
        ("by a model, made anew", with, "&useCache=false"),
        ("by a model, explained", with, "&explain=true&summary=true"),
    ];
    let kinds = kinds.map(|(name, server, options)| (name, server, requests(options)));
    let mut rounds = [const { Vec::new() }; 7];
    for _ in 0..ROUNDS {
        for ((_, server, requests), rounds) in kinds.iter().zip(&mut rounds) {
            rounds.push(load(server, requests));
        }
    }
    println!("one indicator a request, over one connection:");
    let half = |rounds: &[(f64, f64)]| median(rounds.iter().map(|round| round.0).collect());
    let bare = half(&rounds[0]);
    for ((name, ..), rounds) in kinds.iter().zip(&rounds) {
        let most = median(rounds.iter().map(|round| round.1).collect());
        let half = half(rounds);
        let above = half - bare;
        // The goal is of scores alone; what a model is asked about why is told beside them.
        let goal = if name.ends_with("explained") {
            String::new()
        } else {
            format!("   (goal: at most +30, {})", verdict(above <= 30.0))
        };
        println!("  {name:28} median {half:6.1} µs, 99 % {most:6.1} µs, {above:+5.1} µs{goal}");
    }
}

fn batches(name: &str, macula: &Server) {
    let names: Vec<String> = (0..10_000)
        .map(|n| format!("\"host-{n}.example\""))
        .collect();
    let body = format!("[{}]", names.join(","));
    let head = "POST /api/score?useCache=false HTTP/1.1\r\nHost: bench";
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut connection = Connection::to(macula);
    let round = |_| {
        let before = Instant::now();
        connection.ask(request.as_bytes());
        before.elapsed().as_secs_f64()
    };
    let seconds = median((0..15).map(round).collect());
    println!(
        "batches of 10,000, {name}: {:.1} ms, {:.0} indicators/s",
        seconds * 1e3,
        1e4 / seconds
    );
}

/// Scores far more different names than the cache holds.
fn fill(macula: &Server) {
    let mut connection = Connection::to(macula);
    for batch in 0..20 {
        let names: Vec<String> = (0..10_000)
            .map(|n| format!("\"a-somewhat-longer-name-{batch}-{n}.example\""))
            .collect();
        let body = format!("[{}]", names.join(","));
        let head = "POST /api/score HTTP/1.1\r\nHost: bench";
        let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        connection.ask(request.as_bytes());
    }
}

/// So often somebody asks while lists are reloaded.
const STEP: Duration = Duration::from_millis(1);

/// What requests take while ten million entries are reloaded, beside what they take when nothing happens. The same is done to the
/// bare server while Macula reloads: what that shows as well is the machine's.
fn reload() {
    let folder = tempfile::tempdir().unwrap();
    let lists = folder.path().join("lists");
    write_lists(&lists);
    let scratch = folder.path().to_str().unwrap();
    let more = ["--admin", "127.0.0.1:0", "--scratch", scratch];
    let macula = macula(&lists, &more);
    let plain = plain();
    println!("ten million entries, a request each millisecond:");
    let requests: Vec<Vec<u8>> = (0..10_000)
        .map(|n| {
            let name = name(n * (ENTRIES / 5000));
            let path = format!("/api/score?indicators=www.{name}&useCache=false");
            format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes()
        })
        .collect();
    let done = AtomicBool::new(false);
    let quiet = Duration::from_secs(10);
    let [ours, theirs] = thread::scope(|scope| {
        let steady = [&macula, &plain].map(|server| {
            let (requests, done) = (&requests, &done);
            scope.spawn(move || steady(server, requests, done))
        });
        thread::sleep(quiet);
        done.store(true, Ordering::Relaxed);
        steady.map(|asking| asking.join().unwrap())
    });
    tell("nothing happens", &ours, &theirs);
    done.store(false, Ordering::Relaxed);
    let started = Instant::now();
    let [ours, theirs] = thread::scope(|scope| {
        let steady = [&macula, &plain].map(|server| {
            let (requests, done) = (&requests, &done);
            scope.spawn(move || steady(server, requests, done))
        });
        let mut admin = Connection::at(macula.admin.as_ref().unwrap());
        admin.ask(b"POST /admin/reload?force=true HTTP/1.1\r\nHost: bench\r\n\r\n");
        // The old lists are let go of after the answer.
        thread::sleep(Duration::from_secs(1));
        done.store(true, Ordering::Relaxed);
        steady.map(|asking| asking.join().unwrap())
    });
    let name = format!("reloading, {:.1} s", started.elapsed().as_secs_f64());
    tell(&name, &ours, &theirs);
}

/// What each of many requests took, in µs. One that had to wait for the one before took as long as since it was due.
fn steady(server: &Server, requests: &[Vec<u8>], done: &AtomicBool) -> Vec<f64> {
    let mut connection = Connection::to(server);
    let mut taken = Vec::new();
    let mut due = Instant::now();
    let mut answered = due;
    for request in requests.iter().cycle() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // That we woke up late is our fault.
        let from = if answered > due { due } else { Instant::now() };
        connection.ask(request);
        answered = Instant::now();
        taken.push((answered - from).as_secs_f64() * 1e6);
        due += STEP;
        if done.load(Ordering::Relaxed) {
            break;
        }
    }
    taken.sort_by(f64::total_cmp);
    taken
}

fn tell(name: &str, ours: &[f64], theirs: &[f64]) {
    let over = |taken: &[f64]| taken.iter().filter(|taken| **taken > 1e4).count();
    for (who, taken) in [("Macula", ours), ("bare echo", theirs)] {
        let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize];
        println!(
            "  {name:18} {who:9} {:6} requests, median {:5.0} µs, 99 % {:6.0} µs, {} over 10 ms, slowest {:6.2} ms",
            taken.len(),
            at(0.5),
            at(0.99),
            over(taken),
            at(1.0) / 1e3,
        );
    }
    let met = verdict(over(ours) <= over(theirs));
    println!("  {name:18} goal: none over 10 ms but as many as of the bare server's, {met}");
}
