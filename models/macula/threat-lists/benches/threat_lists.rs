//! What the rules cost with ten million entries in four lists, beside hash maps of strings that are asked the same.
//!
//! Goals: at most 1 µs for a domain, and at most 16 bytes of memory for an entry. Also told: how long a reload of them all
//! takes, and the slowest look-up while it goes on.
//!
//! The names are made here. Half of the questions hit, as far below a listed name as may be; the other half misses.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that meets what it does not expect has failed"
)]

#[path = "made/lists.rs"]
mod made_lists;

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicators::Indicator;
use made_lists::{ENTRIES, FILES, name, write_lists};
use rustix::time::{ClockId, clock_gettime};
use test_support::{goals_met, verdict};
use threat_lists::{Library, Selection, Settings};

const QUESTIONS: usize = 200_000;
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    write_lists(folder.path());
    let before = resident();
    let started = Instant::now();
    let place = folder.path().to_str().unwrap();
    let settings = Settings {
        scratch: folder.path().to_owned(),
        ..Settings::default()
    };
    let library = Library::open(place, settings).await.unwrap();
    let took = started.elapsed();
    let lists = library.current();
    let per_entry = |bytes: f64| bytes / lists.entries() as f64;
    let bytes = per_entry((resident() - before) as f64);
    println!(
        "{} entries read in {:.1} s; {bytes:.1} bytes of memory an entry, {:.1} of them the index (goal <= 16, {})",
        lists.entries(),
        took.as_secs_f64(),
        per_entry(lists.iter().map(|list| list.index_bytes()).sum::<usize>() as f64),
        verdict(bytes <= 16.0),
    );

    let before = resident();
    let plain = plain();
    println!(
        "hash maps of strings: {:.1} bytes an entry",
        per_entry((resident() - before) as f64)
    );
    let (hits, misses) = (questions(true), questions(false));
    let mixed: Vec<_> = hits.iter().zip(&misses).flat_map(|(a, b)| [a, b]).collect();
    let ours = |indicator: &Indicator| {
        black_box(lists.find(indicator, |_| true));
    };
    let theirs = |indicator: &Indicator| {
        black_box(find(&plain, indicator));
    };
    let both = |name: &str, indicators: &[&Indicator]| {
        let rounds = (0..ROUNDS).map(|_| (each(indicators, ours), each(indicators, theirs)));
        let (ours, theirs): (Vec<f64>, Vec<f64>) = rounds.unzip();
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = ours / theirs;
        println!(
            "{name}: {ours:.0} ns; hash maps of strings {theirs:.0} ns, {ratio:.2} times that"
        );
        ours
    };
    let took = both("half hits", &mixed);
    println!("  goal: <= 1000 ns, {}", verdict(took <= 1000.0));
    both("hits only", &hits.iter().collect::<Vec<_>>());
    both("misses only", &misses.iter().collect::<Vec<_>>());
    drop(plain);
    reload(&library, &misses).await;
    goals_met()
}

/// Reads everything again while somebody asks all the time.
async fn reload(library: &Library, questions: &[Indicator]) {
    let done = AtomicBool::new(false);
    let slowest = |done: &AtomicBool| {
        let (mut slowest, mut count) = (Duration::ZERO, 0u64);
        while !done.load(Ordering::Relaxed) {
            for indicator in questions.iter().take(1000) {
                let started = Instant::now();
                black_box(library.current().find(indicator, |_| true));
                slowest = slowest.max(started.elapsed());
                count += 1;
            }
        }
        (slowest, count)
    };
    let runtime = tokio::runtime::Handle::current();
    let started = Instant::now();
    let (outcomes, (slowest, count)) = thread::scope(|scope| {
        let asking = scope.spawn(|| slowest(&done));
        let reloading = scope.spawn(|| {
            let outcomes = runtime.block_on(library.reload(&Selection::All, true));
            done.store(true, Ordering::Relaxed);
            outcomes.unwrap()
        });
        (reloading.join().unwrap(), asking.join().unwrap())
    });
    println!(
        "{} lists read again in {:.1} s; meanwhile {count} look-ups, the slowest {:.2} ms",
        outcomes.len(),
        started.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1e3,
    );
}

fn questions(hit: bool) -> Vec<Indicator> {
    let question = |at: usize| {
        let number = at * (ENTRIES / QUESTIONS) + if hit { 0 } else { ENTRIES };
        format!("www.{}", name(number)).parse().unwrap()
    };
    (0..QUESTIONS).map(question).collect()
}

/// What one would write first: a map from the name to its line, for each list.
type Plain = Vec<HashMap<Box<str>, u32>>;

fn plain() -> Plain {
    let list = |at: usize| {
        let numbers = (at..ENTRIES).step_by(FILES.len());
        numbers
            .zip(1..)
            .map(|(number, line)| (name(number).into(), line))
            .collect()
    };
    (0..FILES.len()).map(list).collect()
}

fn find(lists: &Plain, indicator: &Indicator) -> Vec<u32> {
    let Indicator::Domain(name) = indicator else {
        return Vec::new();
    };
    let find = |list: &HashMap<Box<str>, u32>| {
        let itself = list.get(name.as_str());
        itself
            .or_else(|| name.ancestors().find_map(|above| list.get(above)))
            .copied()
    };
    lists.iter().filter_map(find).collect()
}

/// Nanoseconds for each, of which this thread was at work; what others do on the machine meanwhile is not counted.
fn each(indicators: &[&Indicator], look_up: impl Fn(&Indicator)) -> f64 {
    let started = at_work();
    for indicator in indicators {
        look_up(indicator);
    }
    (at_work() - started).as_nanos() as f64 / indicators.len() as f64
}

fn at_work() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Bytes of memory this process has.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}
