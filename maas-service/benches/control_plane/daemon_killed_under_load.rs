//! What callers and models notice when the daemon is killed with `kill -9` and started again. Goal: nothing; no call
//! fails, and no model is started again.

use std::time::Instant;

use test_support::verdict;

use crate::load::Load;
use crate::model;
use crate::stand::Stand;

const KILLS: usize = 5;
const COPIES: usize = 3;

pub(crate) async fn run() {
    let mut stand = Stand::start(&[]).await;
    let model = model::folder();
    let before = stand.runs(&model, COPIES).await;
    let load = Load::start(&stand, "m").await;
    println!("the daemon killed {KILLS} times under load, {COPIES} copies of a model");
    for kill in 1..=KILLS {
        stand.daemon.kill();
        load.goes_on(500).await;
        let start = Instant::now();
        stand.daemon.start_again();
        stand.is_answered().await;
        println!(
            "  kill {kill}: it answers requests {:.1} s after its start",
            start.elapsed().as_secs_f64()
        );
        load.goes_on(500).await;
    }
    load.end().await.print();
    stand.serving("m", "1.0", COPIES).await;
    let after = stand.who_runs("m", "1.0").await;
    let same = after.iter().filter(|copy| before.contains(copy)).count();
    println!(
        "  models started again: {} (goal: 0, {})",
        COPIES - same,
        verdict(before == after)
    );
    stand.session.close().await;
}
