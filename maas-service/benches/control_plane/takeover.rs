//! How long nobody takes requests when the leading daemon is killed with `kill -9` while another one stands by. Goal: at most
//! a second, for the one that stands by sees it die, and does not wait for its session to end. No call fails meanwhile.

use std::mem;
use std::time::{Duration, Instant};

use test_support::{Daemon, eventually};

use crate::figures::verdict;
use crate::load::Load;
use crate::model;
use crate::stand::{LIMIT, Stand};

const KILLS: usize = 4;
const COPIES: usize = 3;
const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

pub(crate) async fn run() {
    let timeout = SESSION_TIMEOUT.as_millis().to_string();
    let options = ["--session_timeout", &timeout];
    let mut stand = Stand::start(&options).await;
    let instances = stand.daemon.instances();
    let place = ["--instances_dir", instances.to_str().unwrap()];
    let mut other = Daemon::start(stand.zookeeper.connect_string(), &[place, options].concat());
    let model = model::folder();
    let before = stand.runs(&model, COPIES).await;
    let load = Load::start(&stand, "m").await;
    println!(
        "the leading daemon killed {KILLS} times while another one stands by; session timeout {} s",
        SESSION_TIMEOUT.as_secs()
    );
    let mut worst = Duration::ZERO;
    for kill in 1..=KILLS {
        two_in_line(&stand).await;
        let start = Instant::now();
        stand.daemon.kill();
        stand.is_answered().await;
        let took = start.elapsed();
        println!(
            "  kill {kill}: requests are answered again after {:.2} s",
            took.as_secs_f64()
        );
        worst = worst.max(took);
        stand.daemon.start_again();
        // The other one leads now.
        mem::swap(&mut stand.daemon, &mut other);
    }
    load.end().await.print();
    assert_eq!(stand.who_runs("m", "1.0").await, before);
    let most = Duration::from_secs(1);
    println!(
        "  the longest: {:.2} s (goal: <= {}, {})",
        worst.as_secs_f64(),
        most.as_secs(),
        verdict(worst <= most)
    );
    stand.session.close().await;
}

async fn two_in_line(stand: &Stand) {
    let line = stand.layout.leader_root();
    eventually(LIMIT, "two daemons to stand in line", async || {
        let there = stand.count(&line).await;
        (there == 2).then_some(()).ok_or(there)
    })
    .await;
}
