//! What items of the queue cost that are no requests. Goal: whatever is wrong with it, each is set aside, with its reason, within
//! 10 ms (the median of each kind; what is above is the machine's and the disk's, as the floor shows); and where every second item
//! is one, the daemon takes as many items a second as where none is (at least 80 %). The floor is the least there is to do: the
//! item is read, and one transaction takes it away and writes letter and answer.

use std::time::Instant;

use maas_client::layout::Layout;
use maas_client::session::{CreateMode, Step, TreeEvent, TreeWatch, WatchScope};
use test_support::{ZooKeeper, verdict};

use crate::drain::{check, drain, fill, request};
use crate::figures::{at, rate, sorted_ms};
use crate::stand::{LIMIT, Stand, connect, count};

const ROUNDS: usize = 60;
const TURNS: usize = 3;
const GOAL_MS: f64 = 10.0;

pub(crate) async fn run(requests: usize) {
    one_by_one().await;
    println!(
        "{requests} queued requests, and as many with a short item of poison after each, items per second, {TURNS} turns"
    );
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        without.push(items_per_second(requests, false).await);
        with.push(items_per_second(requests, true).await);
    }
    let [without, with] = [without, with].map(median);
    let ratio = with / without;
    println!("  median without {without:9.0}\n  median with    {with:9.0}");
    println!(
        "  ratio: {ratio:.2} (goal: >= 0.8, {})",
        verdict(ratio >= 0.8)
    );
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    at(&rates, 0.5)
}

/// Items of all kinds that are no requests. Those behind are long.
fn kinds() -> [(&'static str, String); 7] {
    let good = request(0);
    [
        ("no JSON", "garbage".to_owned()),
        ("null", "null".to_owned()),
        ("an unknown action", good.replace("ADD", "SCALE")),
        (
            "a negative number",
            good.replace("\"numInstances\":1", "\"numInstances\":-1"),
        ),
        ("a path for a name", good.replace("\"m0\"", "\"../../etc\"")),
        ("60,000 levels", "[".repeat(60_000)),
        (
            "900 KB",
            good.replace("\"m0\"", &format!("\"{}\"", "x".repeat(900_000))),
        ),
    ]
}

const SHORT: usize = 5;

/// From an item in the queue until another session hears of its letter.
async fn one_by_one() {
    let stand = Stand::start(&[]).await;
    let dead = stand.layout.dead_root();
    let watcher = connect(&stand.quorum).await;
    stand.session.ensure(&dead).await.unwrap();
    stand.is_answered().await;
    let mut watch = watcher.watch(&dead, WatchScope::Tree);
    assert_eq!(watch.next().await, TreeEvent::Reload);
    println!(
        "from an item that is no request until its letter is there, {ROUNDS} of each kind, ms"
    );
    println!("                             p50     p99     max");
    let mut slowest = 0.0_f64;
    for (kind, item) in kinds() {
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let item = item.as_bytes();
            let path = stand.layout.queue.join("qn-");
            let mode = CreateMode::PersistentSequential;
            stand.session.create(&path, item, mode).await.unwrap();
            let start = Instant::now();
            next_change(&mut watch).await;
            took.push(start.elapsed());
        }
        let took = sorted_ms(&took);
        print(kind, &took);
        slowest = slowest.max(at(&took, 0.5));
    }
    let letters = stand.count(&dead).await;
    assert_eq!(letters, ROUNDS * kinds().len(), "each has a letter");
    let item = stand.layout.state_root.join("item");
    let mut floor = Vec::new();
    for n in 0..ROUNDS {
        let create = |path, data: &[u8]| Step::Create {
            path,
            data: data.to_vec(),
            mode: CreateMode::Persistent,
        };
        let short = [create(item.clone(), b"garbage")];
        stand.session.commit(&short).await.unwrap();
        let start = Instant::now();
        let (data, _) = stand.session.get(&item).await.unwrap().unwrap();
        let [letter, answer] =
            [&dead, &stand.layout.results_root()].map(|root| root.join(&format!("floor-{n}")));
        let (path, version) = (item.clone(), None);
        let delete = Step::Delete { path, version };
        let steps = [create(letter, &data), create(answer, &data), delete];
        stand.session.commit(&steps).await.unwrap();
        next_change(&mut watch).await;
        floor.push(start.elapsed());
    }
    print("floor", &sorted_ms(&floor));
    println!(
        "  goal: p50 of each kind <= {GOAL_MS} ms, {}",
        verdict(slowest <= GOAL_MS)
    );
    stand.session.close().await;
}

async fn next_change(watch: &mut TreeWatch) {
    let changed = async { while !matches!(watch.next().await, TreeEvent::Changed(_)) {} };
    tokio::time::timeout(LIMIT, changed).await.unwrap();
}

fn print(what: &str, sorted: &[f64]) {
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| at(sorted, quantile));
    println!("  {what:22} {p50:7.1} {p99:7.1} {max:7.1}");
}

/// How fast a daemon takes so many requests, with or without a short item after each that is none.
async fn items_per_second(requests: usize, poison: bool) -> f64 {
    let zookeeper = ZooKeeper::start().await;
    let session = connect(zookeeper.connect_string()).await;
    let layout = Layout::default();
    let kinds = kinds();
    let item = |n: usize| {
        let poison = poison.then(|| kinds[n % SHORT].1.clone());
        [Some(request(n)), poison].into_iter().flatten()
    };
    let items: Vec<String> = (0..requests).flat_map(item).collect();
    fill(&session, &layout.queue, &items).await;
    let (leading, ..) = drain(&zookeeper, &session, &layout).await;
    let letters = count(&session, &layout.dead_root()).await;
    assert_eq!(letters, items.len() - requests, "each has a letter");
    check(&session, &layout, requests, items.len()).await;
    session.close().await;
    rate(items.len(), leading)
}
