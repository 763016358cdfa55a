//! What a ZooKeeper that is away for long costs. Goal: no call fails and no model is started again meanwhile, and requests are
//! taken again within five seconds of its return.

use std::time::{Duration, Instant};

use test_support::verdict;

use crate::load::Load;
use crate::model;
use crate::stand::Stand;

const COPIES: usize = 3;
const GOAL: Duration = Duration::from_secs(5);

pub(crate) async fn run(seconds: usize) {
    let mut stand = Stand::start(&[]).await;
    let model = model::folder();
    let before = stand.runs(&model, COPIES).await;
    let load = Load::start(&stand, "m").await;
    println!("ZooKeeper away for {seconds} s under load, {COPIES} copies of a model");
    stand.zookeeper.kill().await;
    tokio::time::sleep(Duration::from_secs(seconds.try_into().unwrap())).await;
    stand.zookeeper.restart().await;
    let back = Instant::now();
    stand.reconnect().await;
    stand.is_answered().await;
    let took = back.elapsed();
    println!(
        "  requests are answered {:.2} s after its return (goal: <= {}, {})",
        took.as_secs_f64(),
        GOAL.as_secs(),
        verdict(took <= GOAL)
    );
    stand.serving("m", "1.0", COPIES).await;
    load.end().await.print();
    let after = stand.who_runs("m", "1.0").await;
    println!(
        "  models started again: {} (goal: 0, {})",
        after.iter().filter(|copy| !before.contains(copy)).count(),
        verdict(before == after)
    );
    stand.session.close().await;
}
