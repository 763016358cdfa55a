//! What a verdict costs: in the process, over HTTP, and in batches, beside a Python service with a forest over four features
//! (scikit-learn behind Flask), started in the same run.
//!
//! Goals: at most 5 µs for a name on one core; at least 400,000 names a second in batches over HTTP.
//!
//! Needs what `scripts/setup test` installs. Rounds of both services alternate, so that a noisy machine is noisy for both; the
//! figures are medians over the rounds. The names are made here, half of them random, half of them words: no list is needed,
//! and how good the forest's verdicts are is not the question.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that meets what it does not expect has failed"
)]

use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dga::detector::Detector;
use dga::families::{FAMILIES, Seed, sample_words};
use jiff::civil::Date;
use test_support::{goals_met, verdict};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1500);

fn main() -> ExitCode {
    let names = names();
    in_process(&names);
    let folder = tempfile::tempdir().unwrap();
    let ours = ours();
    let plain = plain(folder.path(), &names);
    singles(&ours, &plain, &names);
    batches(&ours, &plain, &names);
    goals_met()
}

/// Random names of several families and pairs of words, in turn.
fn names() -> Vec<String> {
    let seed = Seed {
        date: Date::constant(2026, 1, 2),
        number: 7,
        words: sample_words(),
    };
    let made = |family: &str, count| {
        FAMILIES
            .iter()
            .find(|known| known.name == family)
            .unwrap()
            .names(&seed, count)
    };
    let random: Vec<String> = ["ramnit", "necurs", "pykspa", "qakbot"]
        .iter()
        .flat_map(|family| made(family, 2500))
        .collect();
    let words: Vec<String> = ["suppobox", "matsnu", "gozi", "simda"]
        .iter()
        .flat_map(|family| made(family, 2500))
        .collect();
    random
        .into_iter()
        .zip(words)
        .flat_map(|(random, words)| [random, words])
        .take(10_000)
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn in_process(names: &[String]) {
    let detector = Detector::shipped().unwrap();
    let per_name = |work: &dyn Fn()| {
        let round = |_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() / names.len() as f64
        };
        median((0..9).map(round).collect()) * 1e6
    };
    let alone = per_name(&|| {
        for name in names {
            black_box(detector.judge(black_box(name)));
        }
    });
    let together = per_name(&|| {
        black_box(detector.judge_all(black_box(names)));
    });
    let outline = per_name(&|| {
        for name in names {
            black_box(detector.outline(black_box(name.split('.').next().unwrap())));
        }
    });
    let few = &names[..200];
    let start = Instant::now();
    for name in few {
        black_box(detector.explain(black_box(name.split('.').next().unwrap())));
    }
    let exact = start.elapsed().as_secs_f64() / few.len() as f64 * 1e6;
    println!("one core, in the process:");
    println!(
        "  a name alone             {alone:8.2} µs   (goal: at most 5, {})",
        verdict(alone <= 5.0)
    );
    println!("  a name of 10,000         {together:8.2} µs");
    println!("  the reasons in outline   {outline:8.2} µs");
    println!("  the reasons exactly      {exact:8.2} µs");
}

/// A server that goes away with its owner.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ours() -> Server {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dga"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("RUST_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let line = log
        .find(|line| line.contains("serving"))
        .expect("it serves");
    thread::spawn(move || log.for_each(drop));
    let address = line
        .split("http://")
        .nth(1)
        .unwrap()
        .split(['"', ' '])
        .next()
        .unwrap()
        .to_owned();
    Server { child, address }
}

fn plain(folder: &std::path::Path, names: &[String]) -> Server {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    );
    let python = cache.join("maas/python/bin/python");
    assert!(
        python.exists(),
        "there is no {}; run scripts/setup test",
        python.display()
    );
    let half = |odd: usize| {
        names
            .iter()
            .skip(odd)
            .step_by(2)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    };
    for (file, text) in [
        ("dga", half(0)),
        ("legit", half(1)),
        ("words", sample_words().join("\n")),
    ] {
        fs::write(folder.join(file), text).unwrap();
    }
    let mut child = Command::new(python)
        .args([
            "-W",
            "ignore",
            concat!(env!("CARGO_MANIFEST_DIR"), "/benches/forest_service.py"),
        ])
        .args(["legit", "dga", "words"].map(|file| folder.join(file)))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    assert!(
        !port.trim().is_empty(),
        "the Python service ended before it served"
    );
    Server {
        child,
        address: format!("127.0.0.1:{}", port.trim()),
    }
}

/// A connection that is kept.
struct Connection {
    stream: BufReader<TcpStream>,
    answer: Vec<u8>,
}

impl Connection {
    fn to(server: &Server) -> Connection {
        let stream = TcpStream::connect(&server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Connection {
            stream: BufReader::with_capacity(1 << 20, stream),
            answer: Vec::new(),
        }
    }

    /// Sends a request and reads all of its answer.
    fn ask(&mut self, request: &[u8]) -> bool {
        self.stream.get_mut().write_all(request).unwrap();
        let mut length = 0;
        let mut stays = true;
        let mut line = String::new();
        loop {
            line.clear();
            assert!(
                self.stream.read_line(&mut line).unwrap() > 0,
                "the server hung up"
            );
            let lower = line.trim().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            if lower.starts_with("http/") {
                assert!(lower.contains(" 200 "), "{lower}");
                stays = lower.starts_with("http/1.1");
            }
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            stays &= lower != "connection: close";
        }
        self.answer.resize(length, 0);
        self.stream.read_exact(&mut self.answer).unwrap();
        stays
    }
}

/// How many requests a second over so many connections, and the median and 99th percentile of one, in µs.
fn load(server: &Server, connections: usize, requests: &[Vec<u8>]) -> (f64, f64, f64) {
    let start = Instant::now();
    let worker = |offset: usize| {
        let mut taken = Vec::new();
        let mut connection = Connection::to(server);
        for request in requests.iter().cycle().skip(offset) {
            let before = Instant::now();
            if !connection.ask(request) {
                // A server of HTTP 1.0 hangs up after every answer; to connect again is part of its price.
                connection = Connection::to(server);
            }
            taken.push(before.elapsed().as_secs_f64() * 1e6);
            if start.elapsed() >= ROUND {
                break;
            }
        }
        taken
    };
    let mut taken: Vec<f64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|index| scope.spawn(move || worker(index * 97)))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    let rate = taken.len() as f64 / start.elapsed().as_secs_f64();
    taken.sort_by(f64::total_cmp);
    (rate, taken[taken.len() / 2], taken[taken.len() * 99 / 100])
}

/// Both services in turn, and the medians of what they did.
fn both(
    ours: &Server,
    plain: &Server,
    connections: usize,
    requests: &[Vec<u8>],
) -> [(f64, f64, f64); 2] {
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (server, rounds) in [ours, plain].into_iter().zip(&mut rounds) {
            rounds.push(load(server, connections, requests));
        }
    }
    rounds.map(|rounds| {
        let of = |part: fn(&(f64, f64, f64)) -> f64| median(rounds.iter().map(part).collect());
        (
            of(|round| round.0),
            of(|round| round.1),
            of(|round| round.2),
        )
    })
}

fn singles(ours: &Server, plain: &Server, names: &[String]) {
    let requests: Vec<Vec<u8>> = names
        .iter()
        .map(|name| format!("GET /apply?host={name} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes())
        .collect();
    println!("one name a request, over HTTP:");
    for connections in [1, 8] {
        let [(rate, half, most), (plain_rate, plain_half, plain_most)] =
            both(ours, plain, connections, &requests);
        println!(
            "  {connections} connection(s)   dga {rate:8.0} /s, median {half:6.0} µs, 99 % {most:6.0} µs   \
             forest {plain_rate:6.0} /s, median {plain_half:6.0} µs, 99 % {plain_most:6.0} µs   {:.0} times the rate",
            rate / plain_rate
        );
    }
}

fn batches(ours: &Server, plain: &Server, names: &[String]) {
    println!("batches, over HTTP:");
    for (size, connections) in [(1000, 2), (1000, 4), (10_000, 2)] {
        let requests: Vec<Vec<u8>> = names
            .chunks(size)
            .map(|names| {
                let body = serde_json::to_string(names).unwrap();
                let head = format!(
                    "POST /apply HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                (head + &body).into_bytes()
            })
            .collect();
        let [(rate, half, _), (plain_rate, plain_half, _)] =
            both(ours, plain, connections, &requests);
        let size = size as f64;
        let goal = if size < 2000.0 {
            let met = verdict(rate * size >= 400_000.0);
            format!("   (goal: at least 400,000, {met})")
        } else {
            String::new()
        };
        println!(
            "  {size:5} names, {connections} connections   dga {:9.0} names/s, median {:5.1} ms   \
             forest {:7.0} names/s, median {:6.1} ms   {:.0} times the rate{goal}",
            rate * size,
            half / 1e3,
            plain_rate * size,
            plain_half / 1e3,
            rate / plain_rate
        );
    }
}
