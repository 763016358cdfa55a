//! What callers and models notice when the daemon is killed with `kill -9` and started again. Goal: nothing; no call
//! fails, and no model is started again.

use std::time::Instant;

use maas_client::wire::state::Outcome;

use crate::figures::verdict;
use crate::load::Load;
use crate::model;
use crate::stand::{Stand, add, remove};

const KILLS: usize = 5;
const COPIES: usize = 3;

pub(crate) async fn run() {
    let mut stand = Stand::start(&[]).await;
    let model = model::folder();
    stand
        .ask_and_get(&add("m", "1.0", COPIES, &model, ""))
        .await;
    stand.serving("m", "1.0", COPIES).await;
    let before = who_runs(&stand).await;
    let load = Load::start(&stand, "m").await;
    println!("the daemon killed {KILLS} times under load, {COPIES} copies of a model");
    for kill in 1..=KILLS {
        stand.daemon.kill();
        load.goes_on(500).await;
        let start = Instant::now();
        stand.daemon.start_again();
        // It is back when it answers a request, though only by a refusal.
        let answer = stand.ask(&remove("nobody", "1.0", 1)).await;
        assert_eq!(answer.outcome, Outcome::Refused, "{answer:?}");
        println!(
            "  kill {kill}: it answers requests {:.1} s after its start",
            start.elapsed().as_secs_f64()
        );
        load.goes_on(500).await;
    }
    load.end().await.print();
    stand.serving("m", "1.0", COPIES).await;
    let after = who_runs(&stand).await;
    let same = after.iter().filter(|copy| before.contains(copy)).count();
    println!(
        "  models started again: {} (goal: 0, {})",
        COPIES - same,
        verdict(before == after)
    );
    stand.session.close().await;
}

/// Which copies there are, as which processes, started again how often.
async fn who_runs(stand: &Stand) -> Vec<(String, u32, u32)> {
    let statuses = stand.statuses("m", "1.0").await;
    let copy = |s: &maas_client::wire::state::InstanceStatus| {
        (s.instance.to_string(), s.pid.unwrap(), s.restarts)
    };
    statuses.iter().map(copy).collect()
}
