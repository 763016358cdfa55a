//! How long nobody takes requests when the leading daemon fails while another one stands by. Goal when it is killed with
//! `kill -9`: at most a second, for the one that stands by sees it die, and does not wait for its session to end. Goal when it
//! hangs, or is cut off from ZooKeeper: at most a second longer than its session lasts, for only that tells. No call fails
//! when a daemon is killed or hangs, and no model is started again or doubled in any case.

use std::mem;
use std::time::{Duration, Instant};

use test_support::{Daemon, ModelFolder, Proxy, ZooKeeper, eventually, verdict};

use crate::load::Load;
use crate::model;
use crate::stand::{LIMIT, Stand};

const ROUNDS: usize = 4;
const COPIES: usize = 3;
const SESSION_TIMEOUT: Duration = Duration::from_secs(4);
const SECOND: Duration = Duration::from_secs(1);

pub(crate) async fn run() {
    println!(
        "the leading daemon fails {ROUNDS} times each way while another one stands by; session timeout {} s",
        SESSION_TIMEOUT.as_secs()
    );
    let kill = |leader: &mut Daemon| leader.kill();
    on_one_machine("killed", SECOND, kill, Daemon::start_again).await;
    let stop = |leader: &mut Daemon| leader.signal("STOP");
    let go_on = |leader: &mut Daemon| leader.signal("CONT");
    on_one_machine("hangs", SESSION_TIMEOUT + SECOND, stop, go_on).await;
    cut_off().await;
}

/// Two daemons that lead by turns.
struct Pair {
    stand: Stand,
    other: Daemon,
    before: Vec<(String, u32, u32)>,
    longest: Duration,
}

impl Pair {
    /// Both with their ways to ZooKeeper.
    async fn start(zookeeper: ZooKeeper, ways: [&str; 2], model: &ModelFolder) -> Self {
        let timeout = SESSION_TIMEOUT.as_millis().to_string();
        let options = ["--session_timeout", &timeout];
        let quorum = zookeeper.connect_string().to_owned();
        let stand = Stand::on(zookeeper, &quorum, ways[0], &options).await;
        let instances = stand.daemon.instances();
        let place = ["--instances_dir", instances.to_str().unwrap()];
        let other = Daemon::start(ways[1], &[place, options].concat());
        let before = stand.runs(model, COPIES).await;
        Self {
            stand,
            other,
            before,
            longest: Duration::ZERO,
        }
    }

    /// Waits until one leads and the other one stands by.
    async fn two_in_line(&self) {
        let line = self.stand.layout.leader_root();
        eventually(LIMIT, "two daemons to stand in line", async || {
            let there = self.stand.count(&line).await;
            (there == 2).then_some(()).ok_or(there)
        })
        .await;
    }

    /// Waits until somebody takes requests again, which must be the one that stood by.
    async fn taken_over(&mut self, failed: Instant) {
        self.stand.is_answered().await;
        self.longest = self.longest.max(failed.elapsed());
    }

    /// Which one leads has changed.
    fn swap(&mut self) {
        mem::swap(&mut self.stand.daemon, &mut self.other);
    }

    async fn end(self, how: &str, goal: Duration) {
        println!(
            "  {how}: requests are answered again after {:.2} s at the longest (goal: <= {}, {})",
            self.longest.as_secs_f64(),
            goal.as_secs(),
            verdict(self.longest <= goal)
        );
        self.stand.serving("m", "1.0", COPIES).await;
        assert_eq!(self.stand.who_runs("m", "1.0").await, self.before);
        self.stand.session.close().await;
    }
}

/// The leader fails in some way, and comes back; nobody else is touched by it.
async fn on_one_machine(
    how: &str,
    goal: Duration,
    fail: impl Fn(&mut Daemon),
    come_back: impl Fn(&mut Daemon),
) {
    let zookeeper = ZooKeeper::start().await;
    let way = zookeeper.connect_string().to_owned();
    let model = model::folder();
    let mut pair = Pair::start(zookeeper, [&way, &way], &model).await;
    let load = Load::start(&pair.stand, "m").await;
    for _ in 0..ROUNDS {
        pair.two_in_line().await;
        let failed = Instant::now();
        fail(&mut pair.stand.daemon);
        pair.taken_over(failed).await;
        come_back(&mut pair.stand.daemon);
        pair.swap();
    }
    load.end().await.print();
    pair.end(how, goal).await;
}

/// The leader is cut off from ZooKeeper; those of the copies that it started are so with it.
async fn cut_off() {
    let zookeeper = ZooKeeper::start().await;
    let ways = [
        Proxy::start(zookeeper.connect_string()).await,
        Proxy::start(zookeeper.connect_string()).await,
    ];
    let addresses = ways.each_ref().map(Proxy::address);
    let model = model::folder();
    let mut pair = Pair::start(zookeeper, addresses.each_ref().map(String::as_str), &model).await;
    for way in ways.iter().cycle().take(ROUNDS) {
        pair.two_in_line().await;
        let failed = Instant::now();
        way.cut();
        pair.taken_over(failed).await;
        way.mend();
        pair.swap();
    }
    pair.end("cut off", SESSION_TIMEOUT + SECOND).await;
}
