//! How fast a long queue is taken: by the daemon, and by Curator's own `SimpleDistributedQueue`, one item after the other,
//! from the same server. Goal: at least ten times as fast.
//!
//! Each request is one ADD or REMOVE of one copy, so that the generation of what should run in the end counts those that
//! took effect, and its number of copies shows their order.
//!
//! Of a queue so long that its names don't fit into one of Curator's packets, only the daemon takes. It holds the names of
//! all that waits for a moment, and nothing else that grows with it. Goal: at most 256 bytes of memory for each.

use std::time::{Duration, Instant};

use maas_client::Session;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::session::{CreateMode, Step};
use maas_client::wire::state::Desired;
use test_support::{Curator, Daemon, ZooKeeper, verdict};

use crate::figures::{memory_mb, rate};
use crate::stand::{LIMIT, connect, count, leads};

const MODELS: usize = 7;

/// After this time it is known well enough how fast Curator is.
const CURATORS_TIME: Duration = Duration::from_secs(150);

/// So many results are kept at least.
const RESULTS_KEPT: usize = 18_000;

/// Of more requests the names are more than the 1,048,575 bytes a Java client takes in one packet (`jute.maxbuffer`).
const CURATORS_MOST: usize = 50_000;

pub(crate) async fn run(requests: usize) {
    if requests > CURATORS_MOST {
        return run_alone(requests).await;
    }
    let drained = fill_and_drain(requests).await;
    let curators = ZnodePath::new("/curator/queue").unwrap();
    fill(&drained.session, &curators, &all(requests)).await;
    let (taken, time) = take_one_by_one(&drained.zookeeper, &curators, requests).await;
    let (ours, theirs) = (rate(requests, drained.leading), rate(taken, time));
    println!(
        "  Curator 5, taking one by one ({taken} of them) {:8.2} s {theirs:9.0}/s",
        time.as_secs_f64()
    );
    let ratio = ours / theirs;
    println!(
        "  ratio: {ratio:.1} (goal: >= 10, {})",
        verdict(ratio >= 10.0)
    );
    drained.session.close().await;
}

/// Has the daemon alone take a tenth of the requests, and then another daemon all of them.
async fn run_alone(requests: usize) {
    let mut peaks = Vec::new();
    for requests in [requests / 10, requests] {
        let drained = fill_and_drain(requests).await;
        peaks.push(drained.peak);
        drained.session.close().await;
    }
    let more_requests = u32::try_from(requests - requests / 10).unwrap();
    let each = (peaks[1] - peaks[0]) * f64::from(1 << 20) / f64::from(more_requests);
    println!(
        "  memory: {each:.0} bytes for each further request (goal: <= 256, {})",
        verdict(each <= 256.0)
    );
}

/// What is left when a daemon has taken all requests of a ZooKeeper's.
struct Drained {
    zookeeper: ZooKeeper,
    session: Session,
    /// How long it took since the daemon led.
    leading: Duration,
    /// The most memory it used, in MB.
    peak: f64,
}

/// Has a daemon take so many requests of a new ZooKeeper's queue, sees that each had its effect, and tells how fast it was.
async fn fill_and_drain(requests: usize) -> Drained {
    let zookeeper = ZooKeeper::start().await;
    let session = connect(zookeeper.connect_string()).await;
    let layout = Layout::default();
    fill(&session, &layout.queue, &all(requests)).await;
    let (leading, whole, peak) = drain(&zookeeper, &session, &layout).await;
    check(&session, &layout, requests, requests).await;
    println!("{requests} queued requests, every one with its effect once");
    println!(
        "  the daemon, from leading to the queue empty   {:8.2} s {:9.0}/s  (from its start: {:.2} s; at most {peak:.0} MB)",
        leading.as_secs_f64(),
        rate(requests, leading),
        whole.as_secs_f64()
    );
    Drained {
        zookeeper,
        session,
        leading,
        peak,
    }
}

/// The n-th request. Of each model one copy stays, or two.
pub(crate) fn request(n: usize) -> String {
    let (model, turn) = (n % MODELS, n / MODELS);
    let (action, path) = match turn {
        turn if turn > 0 && turn % 2 == 0 => ("REMOVE", "null"),
        _ => ("ADD", r#""file:/nowhere""#),
    };
    format!(
        r#"{{"name":"m{model}","version":"1.0","numInstances":1,"memory":1,"action":"{action}","path":{path}}}"#
    )
}

fn all(requests: usize) -> Vec<String> {
    (0..requests).map(request).collect()
}

/// Puts items into a queue.
pub(crate) async fn fill(session: &Session, queue: &ZnodePath, items: &[String]) {
    session.ensure(queue).await.unwrap();
    let item = |item: &String| Step::Create {
        path: queue.join("qn-"),
        data: item.clone().into_bytes(),
        mode: CreateMode::PersistentSequential,
    };
    for items in items.chunks(1000) {
        let steps: Vec<Step> = items.iter().map(item).collect();
        session.commit(&steps).await.unwrap();
    }
    assert_eq!(count(session, queue).await, items.len());
}

/// Has a daemon take all that waits. Tells how long it took since it led, how long since it was started, and the most
/// memory it used, in MB.
pub(crate) async fn drain(
    zookeeper: &ZooKeeper,
    session: &Session,
    layout: &Layout,
) -> (Duration, Duration, f64) {
    // Building it, if it must be, is not its time.
    test_support::binary("maas_service");
    let start = Instant::now();
    let daemon = Daemon::start(zookeeper.connect_string(), &["--memory", "1000000"]);
    leads(session, layout).await;
    let leading = Instant::now();
    let mut left = usize::MAX;
    let mut taken_lately = Instant::now();
    while left > 0 {
        let now = count(session, &layout.queue).await;
        if now < left {
            (left, taken_lately) = (now, Instant::now());
        }
        assert!(taken_lately.elapsed() < LIMIT, "the queue is not taken");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let now = Instant::now();
    let peak = memory_mb(daemon.pid(), "VmHWM");
    (now - leading, now - start, peak)
}

/// Every request must have had its effect, once and in order, and every item of the queue its answer.
pub(crate) async fn check(session: &Session, layout: &Layout, requests: usize, items: usize) {
    for model in 0..MODELS {
        let turns = requests / MODELS + usize::from(model < requests % MODELS);
        let name = format!("m{model}").parse().unwrap();
        let path = layout.desired(&name, &"1.0".parse().unwrap());
        let (data, _) = session.get(&path).await.unwrap().unwrap();
        let desired = Desired::parse(&data).unwrap();
        let copies = if turns == 1 || turns % 2 == 1 { 1 } else { 2 };
        assert_eq!(
            (desired.generation, desired.instances),
            (u64::try_from(turns).unwrap(), copies),
            "{name}"
        );
    }
    let results = count(session, &layout.results_root()).await;
    assert!(results >= items.min(RESULTS_KEPT), "{results} results");
    assert!(results <= items, "{results} results");
}

/// Has Curator take the items; tells how many it took, in which time.
async fn take_one_by_one(
    zookeeper: &ZooKeeper,
    queue: &ZnodePath,
    requests: usize,
) -> (usize, Duration) {
    let mut curator = Curator::start(zookeeper.connect_string()).await;
    let start = Instant::now();
    let mut taken = 0;
    while taken < requests && start.elapsed() < CURATORS_TIME {
        let item = curator.take(queue.as_str()).await.unwrap();
        assert_eq!(item, request(taken).into_bytes(), "in order");
        taken += 1;
    }
    assert!(taken > 0);
    (taken, start.elapsed())
}
